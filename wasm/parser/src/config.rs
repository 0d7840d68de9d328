//! The module's configuration: text, one directive a line, fields separated by one space.
//! components/attribution/passive.py writes it. One line that cannot be read refuses all of it.
//!
//! ```text
//! timeout_after MS                            a crawler that waited as long was not cancelled
//! with_targets                                metrics have the label `proxy_target`
//! codes STATUS ...                            statuses with a `response_code` of their own
//! rule VENDOR FIRST LAST KIND HEADER|- OUTCOME [TEXT TO THE END]   a vendor's own, before the table
//! answer FIRST LAST KIND CONDITION OUTCOME    the table; the first match wins
//! socks method|auth|reply FIRST LAST OUTCOME  what a SOCKS5 vendor says
//! result OUTCOME RESULT                       the label `proxy_result` of its bytes
//! pool VENDOR CIDR POOL|-                     the vendor's longest range wins
//! product VENDOR PATTERN NAME                 of the user name, before pools; the first match wins
//! target HOST|*.HOST GROUP                    the longest match wins
//! ```
//!
//! KIND is `any`, `plain` or `tunnel`, which is the answer to a CONNECT.
//! CONDITION is `-`, `credentials`, `no-credentials`, `header:NAME` or `header:NAME:TEXT`. A value
//! must contain TEXT, in this case. A list of rules tells at most 128 conditions apart.

use alloc::vec::Vec;

use crate::address::{range, Address};
use crate::memory::{append, push};
use crate::outcome::{self, Answer, Condition, Kind, Rule, Rules, When, CONDITIONS};
use crate::product::Products;
use crate::table::{hash, hash_on, Index, Names};
use crate::target::Targets;
use crate::text::{decimal, split_at_first};

/// A line of the configuration; a longer one cannot be read.
const LONGEST_LINE: usize = 4096;
const MOST_OUTCOMES: usize = 255;
/// Of vendors, of pools and of groups of targets; a configuration with more cannot be read.
const MOST_NAMES: usize = 4096;

/// The name that stands for all hosts without a group.
const OTHER: &[u8] = b"other";
/// The pool of an address that no line names.
pub const NO_POOL: u16 = 0;
/// The result of bytes of which no outcome is known, and of an outcome that no line names.
pub const NO_RESULT: u8 = 0;

pub struct Config {
    pub timeout_after_ms: u64,
    pub with_targets: bool,
    /// Statuses with a `response_code` value of their own, as bits.
    codes: [u64; 16],
    table: Rules,
    socks: Vec<SocksRule>,
    pub outcomes: Names,
    pub results: Names,
    /// By outcome.
    result_of: Vec<u8>,
    pub vendors: Names,
    own_rules: Vec<Rules>,
    products: Vec<Products>,
    pub pools: Names,
    pool_ranges: Vec<PoolRange>,
    pool_index: Index,
    /// Whether a pool's range has this length, by IP version.
    pool_lengths: [u128; 2],
    everywhere: [bool; 2],
    pub groups: Names,
    targets: Targets,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SocksStep {
    Method,
    Auth,
    Reply,
}

struct SocksRule {
    step: SocksStep,
    first: u8,
    last: u8,
    outcome: u8,
}

struct PoolRange {
    vendor: u16,
    start: Address,
    length: u8,
    pool: u16,
}

/// Reads a configuration in pieces of any size.
pub struct Reader {
    config: Config,
    line: Vec<u8>,
    /// The line that is being read, from 1.
    number: u32,
    /// The first line that could not be read.
    wrong: Option<u32>,
}

impl Reader {
    pub fn new() -> Self {
        let mut config = Config::empty();
        let named = outcome::BUILT_IN
            .iter()
            .all(|name| config.outcomes.number(name, MOST_OUTCOMES).is_some())
            && config.groups.number(OTHER, MOST_NAMES).is_some()
            && config.pools.number(b"", MOST_NAMES).is_some()
            && config.results.number(b"", MOST_OUTCOMES).is_some();
        Reader { config, line: Vec::new(), number: 1, wrong: if named { None } else { Some(0) } }
    }

    pub fn push(&mut self, mut piece: &[u8]) {
        while let Some((end, rest)) = split_at_first(piece, b'\n') {
            self.keep(end);
            self.end_line();
            piece = rest;
        }
        self.keep(piece);
    }

    /// Returns the configuration, or the number of the first line that cannot be read.
    pub fn finish(mut self) -> Result<Config, u32> {
        self.end_line();
        self.wrong.map_or(Ok(self.config), Err)
    }

    fn keep(&mut self, piece: &[u8]) {
        let fits = self.line.len().saturating_add(piece.len()) <= LONGEST_LINE;
        if !(fits && append(&mut self.line, piece)) {
            self.wrong = self.wrong.or(Some(self.number));
        }
    }

    fn end_line(&mut self) {
        if self.wrong.is_none() && !self.line.is_empty() && self.config.read(&self.line).is_none() {
            self.wrong = Some(self.number);
        }
        self.line.clear();
        self.number = self.number.saturating_add(1);
    }
}

impl Default for Reader {
    fn default() -> Self {
        Reader::new()
    }
}

impl Config {
    const fn empty() -> Self {
        Config {
            timeout_after_ms: 10_000,
            with_targets: false,
            codes: [0; 16],
            table: Rules { rules: Vec::new(), conditions: Vec::new(), lengths: 0 },
            socks: Vec::new(),
            outcomes: Names::new(),
            results: Names::new(),
            result_of: Vec::new(),
            vendors: Names::new(),
            own_rules: Vec::new(),
            products: Vec::new(),
            pools: Names::new(),
            pool_ranges: Vec::new(),
            pool_index: Index::new(),
            pool_lengths: [0; 2],
            everywhere: [false; 2],
            groups: Names::new(),
            targets: Targets::new(),
        }
    }

    /// Reads a whole text; see `Reader::finish`.
    pub fn from_text(text: &[u8]) -> Result<Config, u32> {
        let mut reader = Reader::new();
        reader.push(text);
        reader.finish()
    }

    pub fn vendor(&self, name: &[u8]) -> Option<u16> {
        Some(self.vendors.find(name)? as u16)
    }

    /// Finds the pool by the longest of the vendor's ranges.
    pub fn pool(&self, vendor: Option<u16>, address: Address) -> u16 {
        let vendor = match vendor {
            Some(vendor) => vendor,
            None => return NO_POOL,
        };
        let family = usize::from(address.is_ipv6);
        let mut lengths = self.pool_lengths.get(family).copied().unwrap_or(0);
        while lengths != 0 {
            let highest = 127u32.wrapping_sub(lengths.leading_zeros());
            lengths ^= 1u128.wrapping_shl(highest);
            if let Some(pool) = self.pool_at(vendor, address, highest.wrapping_add(1) as u8) {
                return pool;
            }
        }
        match self.everywhere.get(family) {
            Some(true) => self.pool_at(vendor, address, 0).unwrap_or(NO_POOL),
            _ => NO_POOL,
        }
    }

    fn pool_at(&self, vendor: u16, address: Address, length: u8) -> Option<u16> {
        let start = address.masked(length);
        let is_it = |entry: u32| {
            self.pool_ranges.get(entry as usize).map_or(false, |known| {
                known.vendor == vendor && known.length == length && known.start == start
            })
        };
        let entry = self.pool_index.find(range_hash(vendor, start, length), is_it)?;
        Some(self.pool_ranges.get(entry as usize)?.pool)
    }

    pub fn group(&self, authority: &[u8]) -> u16 {
        self.targets.group(authority)
    }

    /// Returns a vendor's own rules.
    pub fn rules_of(&self, vendor: Option<u16>) -> Option<&Rules> {
        self.own_rules.get(usize::from(vendor?))
    }

    /// Returns a vendor's products.
    pub fn products_of(&self, vendor: Option<u16>) -> Option<&Products> {
        self.products.get(usize::from(vendor?))
    }

    pub fn table(&self) -> &Rules {
        &self.table
    }

    /// Returns an answer's outcome.
    ///
    /// `met` and `met_own` are the conditions of the table and of the vendor that its head met.
    pub fn outcome(&self, vendor: Option<u16>, answer: Answer, met: u128, met_own: u128) -> u8 {
        let own = self.rules_of(vendor).and_then(|rules| rules.outcome(answer, met_own));
        own.or_else(|| self.table.outcome(answer, met)).unwrap_or(match answer.status {
            0..=399 => outcome::SUCCESS,
            _ => outcome::TARGET_ERROR,
        })
    }

    /// Returns the outcome of a step of SOCKS5's handshake, if a line names it.
    pub fn socks_outcome(&self, step: SocksStep, code: u8) -> Option<u8> {
        let fits = |rule: &&SocksRule| rule.step == step && rule.first <= code && code <= rule.last;
        self.socks.iter().find(fits).map(|rule| rule.outcome)
    }

    /// Returns a number of `results`.
    pub fn result_of(&self, outcome: u8) -> u8 {
        self.result_of.get(usize::from(outcome)).copied().unwrap_or(NO_RESULT)
    }

    pub fn has_own_code(&self, status: u16) -> bool {
        let word = self.codes.get(usize::from(status >> 6)).copied().unwrap_or(0);
        word & (1 << (status & 63)) != 0
    }

    fn read(&mut self, line: &[u8]) -> Option<()> {
        let mut fields = Fields { rest: Some(line) };
        match fields.next()? {
            b"timeout_after" => self.timeout_after_ms = decimal(fields.last()?)?,
            b"with_targets" => {
                self.with_targets = true;
                fields.end()?;
            }
            b"codes" => self.read_codes(fields)?,
            b"answer" => self.read_answer(fields)?,
            b"socks" => self.read_socks(fields)?,
            b"result" => self.read_result(fields)?,
            b"rule" => self.read_rule(fields)?,
            b"pool" => self.read_pool(fields)?,
            b"product" => self.read_product(fields)?,
            b"target" => {
                let host = fields.next()?;
                let group = self.groups.number(fields.last()?, MOST_NAMES)? as u16;
                self.targets.add(host, group)?;
            }
            _ => return None,
        }
        Some(())
    }

    fn read_codes(&mut self, mut fields: Fields) -> Option<()> {
        while fields.rest.is_some() {
            let code = status(fields.next()?)?;
            let word = self.codes.get_mut(usize::from(code >> 6))?;
            *word |= 1 << (code & 63);
        }
        Some(())
    }

    fn read_answer(&mut self, mut fields: Fields) -> Option<()> {
        let (first, last) = (status(fields.next()?)?, status(fields.next()?)?);
        let kind = kind(fields.next()?)?;
        let condition = fields.next()?;
        let outcome = self.outcome_number(fields.last()?)?;
        let when = match condition {
            b"-" => When::Always,
            b"credentials" => When::Credentials,
            b"no-credentials" => When::NoCredentials,
            _ => {
                let header = condition.strip_prefix(b"header:")?;
                let (name, text) = split_at_first(header, b':').unwrap_or((header, b""));
                When::Header(self.table.condition(name, text)?)
            }
        };
        self.table.add(Rule { first, last, kind, when, outcome })
    }

    fn read_rule(&mut self, mut fields: Fields) -> Option<()> {
        let vendor = self.vendor_number(fields.next()?)?;
        let (first, last) = (status(fields.next()?)?, status(fields.next()?)?);
        let kind = kind(fields.next()?)?;
        let header = fields.next()?;
        let outcome = self.outcome_number(fields.next()?)?;
        let text = fields.rest.unwrap_or(b"");
        let rules = self.own_rules.get_mut(usize::from(vendor))?;
        let when = match header {
            b"-" if text.is_empty() => When::Always,
            b"-" => return None,
            name => When::Header(rules.condition(name, text)?),
        };
        rules.add(Rule { first, last, kind, when, outcome })
    }

    fn read_socks(&mut self, mut fields: Fields) -> Option<()> {
        let step = match fields.next()? {
            b"method" => SocksStep::Method,
            b"auth" => SocksStep::Auth,
            b"reply" => SocksStep::Reply,
            _ => return None,
        };
        let (first, last) = (octet(fields.next()?)?, octet(fields.next()?)?);
        let outcome = self.outcome_number(fields.last()?)?;
        given(push(&mut self.socks, SocksRule { step, first, last, outcome }))
    }

    fn read_result(&mut self, mut fields: Fields) -> Option<()> {
        let outcome = usize::from(self.outcome_number(fields.next()?)?);
        let result = self.results.number(fields.last()?, MOST_OUTCOMES)? as u8;
        while self.result_of.len() <= outcome {
            given(push(&mut self.result_of, NO_RESULT))?;
        }
        *self.result_of.get_mut(outcome)? = result;
        Some(())
    }

    fn read_pool(&mut self, mut fields: Fields) -> Option<()> {
        let vendor = self.vendor_number(fields.next()?)?;
        let (start, length) = range(fields.next()?)?;
        let pool = match fields.last()? {
            b"-" => NO_POOL, // a range without a pool, inside one that has one
            name => self.pools.number(name, MOST_NAMES)? as u16,
        };
        let family = usize::from(start.is_ipv6);
        match length.checked_sub(1) {
            Some(shift) => {
                *self.pool_lengths.get_mut(family)? |= 1u128.wrapping_shl(u32::from(shift))
            }
            None => *self.everywhere.get_mut(family)? = true,
        }
        let entry = self.pool_ranges.len() as u32;
        given(push(&mut self.pool_ranges, PoolRange { vendor, start, length, pool }))?;
        given(self.pool_index.insert(range_hash(vendor, start, length), entry))
    }

    fn read_product(&mut self, mut fields: Fields) -> Option<()> {
        let vendor = self.vendor_number(fields.next()?)?;
        let pattern = fields.next()?;
        let pool = self.pools.number(fields.last()?, MOST_NAMES)? as u16;
        given(self.products.get_mut(usize::from(vendor))?.add(pattern, pool))
    }

    fn outcome_number(&mut self, name: &[u8]) -> Option<u8> {
        Some(self.outcomes.number(name, MOST_OUTCOMES)? as u8)
    }

    fn vendor_number(&mut self, name: &[u8]) -> Option<u16> {
        let number = self.vendors.number(name, MOST_NAMES)?;
        while self.own_rules.len() <= number as usize {
            given(push(&mut self.own_rules, Rules::default()))?;
            given(push(&mut self.products, Products::default()))?;
        }
        Some(number as u16)
    }
}

impl Rules {
    fn add(&mut self, rule: Rule) -> Option<()> {
        given(rule.first <= rule.last && push(&mut self.rules, rule))
    }

    /// Returns the number of a condition; rules share equal ones.
    fn condition(&mut self, name: &[u8], text: &[u8]) -> Option<u8> {
        let known = |own: &Condition| own.name == name && own.text == text;
        if let Some(number) = self.conditions.iter().position(known) {
            return Some(number as u8);
        }
        let number = self.conditions.len();
        if number >= CONDITIONS || name.is_empty() || name.len() > 63 {
            return None;
        }
        let mut condition = Condition { name: Vec::new(), text: Vec::new() };
        given(append(&mut condition.name, name) && append(&mut condition.text, text))?;
        given(push(&mut self.conditions, condition))?;
        self.lengths |= 1 << (name.len() & 63);
        Some(number as u8)
    }
}

/// The fields of a line, which single spaces separate.
struct Fields<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest?;
        let (field, behind) = match split_at_first(rest, b' ') {
            Some((field, behind)) => (field, Some(behind)),
            None => (rest, None),
        };
        self.rest = behind;
        if field.is_empty() {
            None
        } else {
            Some(field)
        }
    }

    fn last(mut self) -> Option<&'a [u8]> {
        let field = self.next()?;
        self.end()?;
        Some(field)
    }

    fn end(self) -> Option<()> {
        given(self.rest.is_none())
    }
}

fn given(done: bool) -> Option<()> {
    if done {
        Some(())
    } else {
        None
    }
}

fn status(field: &[u8]) -> Option<u16> {
    decimal(field).filter(|status| *status <= 999).map(|status| status as u16)
}

fn kind(field: &[u8]) -> Option<Kind> {
    match field {
        b"any" => Some(Kind::Any),
        b"plain" => Some(Kind::Plain),
        b"tunnel" => Some(Kind::Tunnel),
        _ => None,
    }
}

fn octet(field: &[u8]) -> Option<u8> {
    decimal(field).filter(|number| *number <= 255).map(|number| number as u8)
}

fn range_hash(vendor: u16, start: Address, length: u8) -> u32 {
    let own = hash(&start.bits.to_be_bytes());
    let own = hash_on(hash_on(own, length), u8::from(start.is_ipv6));
    hash(&vendor.to_be_bytes()) ^ own
}
