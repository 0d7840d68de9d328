//! What a request's and an answer's head say of framing, target and outcome.

use crate::body::Body;
use crate::config::{Config, NO_POOL};
use crate::line::Line;
use crate::text::{decimal, split_at_first, split_at_last, trim, trim_end};

/// A method has at most so many bytes; text without a space there is no HTTP.
const LONGEST_METHOD: usize = 32;

/// How a message's body is delimited, as far as its headers were read.
#[derive(Clone, Copy, Default)]
pub struct Framing {
    length: Option<u64>,
    coding: Coding,
    /// Lengths that differ or are no numbers.
    is_ambiguous: bool,
    /// The line before was about framing; one that continues it cannot be read.
    just_read: bool,
    is_broken: bool,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Coding {
    #[default]
    None,
    Chunked,
    /// A coding other than chunked is the last: only the connection's end delimits.
    Other,
}

impl Framing {
    /// Reads a header line that is not empty.
    fn read(&mut self, name: &[u8], value: &[u8], is_cut: bool) {
        self.just_read = true;
        if name.eq_ignore_ascii_case(b"content-length") {
            for part in value.split(|byte| *byte == b',') {
                match decimal(trim(part)) {
                    Some(length) if !is_cut && self.length.unwrap_or(length) == length => {
                        self.length = Some(length);
                    }
                    _ => self.is_ambiguous = true,
                }
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.is_broken |= is_cut;
            for part in value.split(|byte| *byte == b',') {
                let part = trim(part);
                if part.eq_ignore_ascii_case(b"chunked") {
                    self.coding = Coding::Chunked;
                } else if !part.is_empty() && !part.eq_ignore_ascii_case(b"identity") {
                    // Something was done to the chunks: what is inside cannot be told.
                    self.is_broken |= self.coding == Coding::Chunked;
                    self.coding = Coding::Other;
                }
            }
        } else {
            self.just_read = false;
        }
    }

    fn read_continuation(&mut self, line: &[u8]) {
        self.is_broken |= self.just_read && !trim(line).is_empty();
    }

    /// Returns the body of a request; `Err` if its end cannot be known.
    pub fn of_request(&self) -> Result<Option<Body>, Unreadable> {
        match self.coding {
            _ if self.is_broken => Err(Unreadable),
            Coding::Chunked => Ok(Some(Body::chunked())),
            Coding::Other => Err(Unreadable),
            Coding::None if self.is_ambiguous => Err(Unreadable),
            Coding::None => Ok(self.length.filter(|length| *length > 0).map(Body::Length)),
        }
    }

    /// Returns the body of an answer that may have one.
    pub fn of_answer(&self) -> Result<Option<Body>, Unreadable> {
        match (self.coding, self.length) {
            _ if self.is_broken => Err(Unreadable),
            (Coding::Chunked, _) => Ok(Some(Body::chunked())),
            (Coding::Other, _) => Ok(Some(Body::UntilClose)),
            _ if self.is_ambiguous => Err(Unreadable),
            (Coding::None, Some(0)) => Ok(None),
            (Coding::None, Some(length)) => Ok(Some(Body::Length(length))),
            (Coding::None, None) => Ok(Some(Body::UntilClose)),
        }
    }
}

/// What cannot be read is left alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unreadable;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    Head,
    Connect,
    Other,
}

#[derive(Clone, Copy)]
pub struct RequestHead {
    pub method: Method,
    pub group: u16,
    pub has_credentials: bool,
    /// See `Label::product`.
    pub product: u16,
    pub framing: Framing,
    /// The target named the host, or a Host header did.
    has_group: bool,
}

impl RequestHead {
    /// Reads "GET http://shop.test/ HTTP/1.1".
    pub fn from_line(line: &Line, config: &Config) -> Option<Self> {
        if !may_be_request(line.start) {
            return None;
        }
        let (method, rest) = split_at_first(line.start, b' ')?;
        let end = if line.is_long { &line.tail } else { line.start };
        let (target_end, version) = split_at_last(trim_end(end), b' ')?;
        if !is_http_1(version) {
            return None;
        }
        let target =
            if line.is_long { rest } else { target_end.get(method.len().wrapping_add(1)..)? };
        let method = match method {
            b"HEAD" => Method::Head,
            b"CONNECT" => Method::Connect,
            _ => Method::Other,
        };
        let authority = match method {
            Method::Connect => Some(trim(target)),
            _ => crate::target::authority_of_url(trim(target)),
        };
        Some(RequestHead {
            method,
            group: authority.map_or(crate::target::OTHER, |authority| config.group(authority)),
            has_credentials: false,
            product: NO_POOL,
            framing: Framing::default(),
            has_group: authority.is_some(),
        })
    }

    /// Reads a header line.
    pub fn read(&mut self, line: &Line, config: &Config, vendor: Option<u16>) {
        let (name, value) = match header(line, &mut self.framing) {
            Some(header) => header,
            None => return,
        };
        // By length first: most lines are about something else.
        match name.len() {
            4 if !self.has_group && name.eq_ignore_ascii_case(b"host") => {
                self.has_group = true;
                self.group = config.group(value);
                self.framing.just_read = false;
            }
            19 if name.eq_ignore_ascii_case(b"proxy-authorization") => {
                if let (false, Some(products)) = (self.has_credentials, config.products_of(vendor))
                {
                    self.product = products.of_authorization(value);
                }
                self.has_credentials = true;
                self.framing.just_read = false;
            }
            14 | 17 => self.framing.read(name, value, line.is_long),
            _ => self.framing.just_read = false,
        }
    }
}

/// Whether the start of a line may be a request's: a method, or as much of one as has come.
pub fn may_be_request(start: &[u8]) -> bool {
    for (at, byte) in start.iter().enumerate() {
        match byte {
            b' ' => return at > 0,
            0x21..=0x7e if at < LONGEST_METHOD => {}
            _ => return false,
        }
    }
    true
}

#[derive(Clone, Copy)]
pub struct AnswerHead {
    pub status: u16,
    pub framing: Framing,
    /// Conditions of the table that the head met, and of the vendor's rules.
    pub met: u128,
    pub met_own: u128,
}

impl AnswerHead {
    /// Reads "HTTP/1.1 200 OK".
    pub fn from_line(line: &Line) -> Option<Self> {
        let rest = line.start.get(8..).filter(|_| may_be_answer(line.start))?;
        let rest = rest.strip_prefix(b" ").map(trim)?;
        let status = decimal(rest.get(..3)?)? as u16;
        match rest.get(3) {
            None | Some(b' ' | b'\t') if status >= 100 => {
                Some(AnswerHead { status, framing: Framing::default(), met: 0, met_own: 0 })
            }
            _ => None,
        }
    }

    pub fn read(&mut self, line: &Line, config: &Config, vendor: Option<u16>) {
        let (name, value) = match header(line, &mut self.framing) {
            Some(header) => header,
            None => return,
        };
        self.framing.read(name, value, line.is_long);
        self.met |= config.table().met_by(name, value);
        if let Some(own) = config.rules_of(vendor) {
            self.met_own |= own.met_by(name, value);
        }
    }

    /// 100 and 103 announce an answer that is still to come.
    pub fn is_interim(&self) -> bool {
        self.status < 200 && self.status != 101
    }
}

/// Whether the start of a line may be a status line's, or as much of one as has come.
pub fn may_be_answer(start: &[u8]) -> bool {
    start.iter().zip(b"HTTP/1.0").all(|(byte, expected)| match expected {
        b'0' => byte.is_ascii_digit(),
        _ => byte == expected,
    })
}

fn is_http_1(version: &[u8]) -> bool {
    version.len() == 8 && may_be_answer(version)
}

/// Splits a header line. Spaces before the colon and in the name are the sender's business.
fn header<'a>(line: &Line<'a>, framing: &mut Framing) -> Option<(&'a [u8], &'a [u8])> {
    if let Some(b' ' | b'\t') = line.start.first() {
        framing.read_continuation(line.start);
        return None;
    }
    match split_at_first(line.start, b':') {
        Some((name, value)) => Some((trim_end(name), trim(value))),
        None => {
            framing.just_read = false;
            None
        }
    }
}
