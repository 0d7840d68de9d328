//! Plays scripts to a connection and writes down what it counts.

mod script;

use std::collections::BTreeMap;

use passive_parser::{Config, Connection, Ending, Exchange, Host, Label, Side, Source, Visibility};

pub use script::{Script, Step};

/// What was counted, as texts that can be compared and read.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// "http success 200 shops", in order; " setup=5" behind those that the vendor answered.
    pub exchanges: Vec<String>,
    /// Opaque connections.
    pub opaque: usize,
    /// By direction, visibility, group, product and result.
    pub bytes: BTreeMap<String, u64>,
    pub by_crawler: u64,
    pub by_vendor: u64,
}

pub struct Recorder<'a> {
    config: &'a Config,
    now_ms: u64,
    is_connected: bool,
    pub counts: Counts,
}

impl Recorder<'_> {
    /// Returns the group, and the product if there is one.
    fn group(&self, label: Label) -> String {
        let group = String::from_utf8_lossy(self.config.groups.get(label.group.into()));
        let product = String::from_utf8_lossy(self.config.pools.get(label.product.into()));
        format!("{} {}", group, product).trim_end().to_string()
    }
}

pub fn visibility(label: Label) -> &'static str {
    match label.visibility {
        Visibility::Http => "http",
        Visibility::Tunnel => "tunnel",
        Visibility::Socks => "socks",
        Visibility::Opaque => "opaque",
    }
}

impl Host for Recorder<'_> {
    fn now_ms(&mut self) -> u64 {
        self.now_ms
    }

    fn is_connected(&mut self) -> bool {
        self.is_connected
    }

    fn count_exchange(&mut self, exchange: &Exchange) {
        let outcome = String::from_utf8_lossy(self.config.outcomes.get(exchange.outcome.into()));
        let setup = exchange.setup_ms.map_or(String::new(), |ms| format!(" setup={}", ms));
        let line = format!(
            "{} {} {} {}{}",
            visibility(exchange.label),
            outcome,
            exchange.status,
            self.group(exchange.label),
            setup
        );
        self.counts.exchanges.push(line);
    }

    fn count_opaque(&mut self) {
        self.counts.opaque += 1;
    }

    fn count_bytes(&mut self, side: Side, label: Label, bytes: u64) {
        let direction = match side {
            Side::Crawler => "up",
            Side::Vendor => "down",
        };
        let result = String::from_utf8_lossy(self.config.results.get(label.result.into()));
        let own = format!("{} {}", self.group(label), result);
        let key = format!("{} {} {}", direction, visibility(label), own.trim_end());
        *self.counts.bytes.entry(key).or_default() += bytes;
        match side {
            Side::Crawler => self.counts.by_crawler += bytes,
            Side::Vendor => self.counts.by_vendor += bytes,
        }
    }
}

/// A source that notes how much of it was looked at.
pub struct Noting<'a> {
    bytes: &'a [u8],
    pub read: usize,
    pub calls: usize,
}

impl Source for Noting<'_> {
    fn read(&mut self, offset: usize, size: usize) -> &[u8] {
        let end = (offset + size).min(self.bytes.len());
        self.read += end - offset;
        self.calls += 1;
        &self.bytes[offset..end]
    }
}

/// Plays a script; `cut` says how many of the bytes left come in one piece.
pub fn play(script: &Script, config: &Config, cut: &mut dyn FnMut(usize) -> usize) -> Counts {
    let is_connected = !matches!(script.ending, Ending::ConnectFailed | Ending::ConnectTimedOut);
    let mut host = Recorder { config, now_ms: 1_000, is_connected, counts: Counts::default() };
    let mut connection = Connection::new(config.vendor(script.vendor.as_bytes()));
    for step in &script.steps {
        let (side, mut left) = match step {
            Step::C(bytes) => (Side::Crawler, &bytes[..]),
            Step::V(bytes) => (Side::Vendor, &bytes[..]),
            Step::CrawlerFin => {
                connection.end(Side::Crawler, config, &mut host);
                continue;
            }
            Step::VendorFin => {
                connection.end(Side::Vendor, config, &mut host);
                continue;
            }
            Step::WaitMs(ms) => {
                host.now_ms += ms;
                continue;
            }
        };
        while !left.is_empty() {
            let size = cut(left.len()).clamp(1, left.len());
            let (piece, rest) = left.split_at(size);
            let mut source = Noting { bytes: piece, read: 0, calls: 0 };
            connection.receive(side, size, &mut source, config, &mut host);
            // Each byte is looked at once at most, and each look is for a byte.
            assert!(source.read <= size && source.calls <= size, "too much work");
            left = rest;
        }
    }
    connection.finish(script.ending, config, &mut host);
    host.counts
}
