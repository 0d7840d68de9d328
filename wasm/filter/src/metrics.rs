//! The module's metrics: names, labels, and ids that are asked for once.
//!
//! A name is the metric's, then `label=.=value;.;` for each label. Envoy makes labels of these by
//! the tag rules that Istio writes for `extraStatTags`.

use passive_parser::config::{Config, NO_POOL};
use passive_parser::memory::{append, push};
use passive_parser::table::{hash, Index, Names};
use passive_parser::{Exchange, Label, Side, Visibility};

use crate::host::{self, Metric};
use crate::kept;

/// Series with all their labels; beyond that the free ones are `other`.
const MOST_SERIES: usize = 8192;
/// Vendors with a label value of their own.
const MOST_VENDORS: usize = 1024;
const OTHER: &[u8] = b"other";

/// A connection's own labels.
#[derive(Clone, Copy, PartialEq)]
pub struct Owner {
    /// A number of `Metrics::vendors`.
    vendor: u16,
    /// A number of `Config::pools`.
    pub pool: u16,
}

#[derive(Clone, Copy, PartialEq)]
enum Name {
    Requests,
    Setup,
    Opened,
    RequestBytes,
    ResponseBytes,
}

/// Labels of a series, without those that are equal for all.
#[derive(Clone, Copy, PartialEq)]
struct Series {
    name: Name,
    owner: Owner,
    label: Label,
    outcome: u8,
    code: Code,
    is_shortened: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Code {
    Own(u16),
    Class(u8),
    Other,
}

/// All series of one configuration.
pub struct Metrics {
    vendors: Names,
    series: Vec<(Series, u32)>,
    index: Index,
    /// `source_workload` and its namespace, as they stand in a metric's name.
    workload: Vec<u8>,
}

impl Metrics {
    pub fn new() -> Self {
        let mut metrics = Metrics {
            vendors: Names::new(),
            series: Vec::new(),
            index: Index::new(),
            workload: Vec::new(),
        };
        let _ = metrics.vendors.number(OTHER, MOST_VENDORS);
        for (label, path) in [
            (&b"source_workload"[..], &b"xds\0node\0metadata\0WORKLOAD_NAME"[..]),
            (b"source_workload_namespace", b"xds\0node\0metadata\0NAMESPACE"),
        ] {
            let value = host::property(path);
            // Istio's word for a value that is not there.
            let value = if value.is_empty() { b"unknown" } else { value };
            write_label(&mut metrics.workload, label, value);
        }
        metrics
    }

    pub fn owner(&mut self, vendor: &[u8]) -> Owner {
        let vendor = self.vendors.number(vendor, MOST_VENDORS).unwrap_or(0) as u16;
        Owner { vendor, pool: NO_POOL }
    }

    pub fn count_exchange(&mut self, owner: Owner, exchange: &Exchange, config: &Config) {
        let series = Series {
            name: Name::Requests,
            owner,
            label: exchange.label,
            outcome: exchange.outcome,
            code: Code::of(exchange.status, config),
            is_shortened: false,
        }
        .with_product();
        if let Some(id) = self.id(series, config) {
            host::increment(id, 1);
        }
        if let Some(setup_ms) = exchange.setup_ms {
            let label = Label::of(exchange.label.visibility);
            let owner = Owner { pool: 0, ..owner };
            if let Some(id) = self.id(Series::plain(Name::Setup, owner, label), config) {
                host::record(id, setup_ms);
            }
        }
    }

    pub fn count_opaque(&mut self, owner: Owner, config: &Config) {
        let owner = Owner { pool: 0, ..owner };
        self.add(Series::plain(Name::Opened, owner, Label::OPAQUE), 1, config);
    }

    pub fn count_bytes(
        &mut self,
        owner: Owner,
        side: Side,
        label: Label,
        bytes: u64,
        config: &Config,
    ) {
        let name = match side {
            Side::Crawler => Name::RequestBytes,
            Side::Vendor => Name::ResponseBytes,
        };
        self.add(Series::plain(name, owner, label).with_product(), bytes, config);
    }

    fn add(&mut self, series: Series, count: u64, config: &Config) {
        if let Some(id) = self.id(series, config) {
            host::increment(id, count);
        }
    }

    fn id(&mut self, series: Series, config: &Config) -> Option<u32> {
        if let Some(id) = self.known(&series) {
            return Some(id);
        }
        let series = if self.series.len() < MOST_SERIES { series } else { series.shortened() };
        if let Some(id) = self.known(&series) {
            return Some(id);
        }
        let id = self.define(&series, config)?;
        let number = self.series.len() as u32;
        let kept = push(&mut self.series, (series, id)) && self.index.insert(series.hash(), number);
        if kept {
            Some(id)
        } else {
            None
        }
    }

    fn known(&self, series: &Series) -> Option<u32> {
        let is_it = |number: u32| {
            self.series.get(number as usize).map_or(false, |known| known.0 == *series)
        };
        let number = self.index.find(series.hash(), is_it)?;
        Some(self.series.get(number as usize)?.1)
    }

    fn define(&self, series: &Series, config: &Config) -> Option<u32> {
        let mut name = Vec::new();
        let _ = append(&mut name, series.name.text());
        write_label(&mut name, b"proxy_vendor", self.vendors.get(series.owner.vendor.into()));
        write_label(&mut name, b"proxy_visibility", visibility(series.label.visibility));
        if series.name == Name::Requests {
            let outcome = config.outcomes.get(series.outcome.into());
            write_label(&mut name, b"proxy_outcome", outcome);
            write_label(&mut name, b"response_code", &series.code.text());
        }
        let are_bytes = matches!(series.name, Name::RequestBytes | Name::ResponseBytes);
        if are_bytes {
            let result = config.results.get(series.label.result.into());
            write_label(&mut name, b"proxy_result", result);
        }
        if are_bytes || series.name == Name::Requests {
            let pool = config.pools.get(series.owner.pool.into());
            let pool = if series.is_shortened { OTHER } else { pool };
            write_label(&mut name, b"proxy_pool", pool);
            if config.with_targets {
                let group = config.groups.get(series.label.group.into());
                write_label(&mut name, b"proxy_target", group);
            }
        }
        if series.name != Name::Setup {
            let _ = append(&mut name, &self.workload);
        }
        let kind = if series.name == Name::Setup { Metric::Histogram } else { Metric::Counter };
        kept::keep(kind, &name);
        host::metric(kind, &name)
    }
}

impl Series {
    fn plain(name: Name, owner: Owner, label: Label) -> Self {
        Series { name, owner, label, outcome: 0, code: Code::Own(0), is_shortened: false }
    }

    /// The same with the product in the pool's place, if there is one.
    fn with_product(self) -> Self {
        let pool = match self.label.product {
            NO_POOL => self.owner.pool,
            product => product,
        };
        let label = Label { product: NO_POOL, ..self.label };
        Series { owner: Owner { pool, ..self.owner }, label, ..self }
    }

    /// The same with `other` for every label that could have many values.
    fn shortened(self) -> Self {
        Series {
            owner: Owner { pool: 0, ..self.owner },
            label: Label { group: 0, ..self.label },
            code: Code::Other,
            is_shortened: true,
            ..self
        }
    }

    fn hash(&self) -> u32 {
        let (vendor, pool) = (self.owner.vendor.to_le_bytes(), self.owner.pool.to_le_bytes());
        let group = self.label.group.to_le_bytes();
        let code = self.code.number().to_le_bytes();
        hash(&[
            self.name as u8,
            self.label.visibility as u8,
            self.outcome,
            self.label.result,
            vendor[0],
            vendor[1],
            pool[0],
            pool[1],
            group[0],
            group[1],
            code[0],
            code[1],
        ])
    }
}

impl Name {
    fn text(self) -> &'static [u8] {
        match self {
            Name::Requests => b"istio_requests_total",
            Name::Setup => b"istio_proxy_setup_milliseconds",
            Name::Opened => b"istio_tcp_connections_opened_total",
            Name::RequestBytes => b"istio_proxy_request_bytes_total",
            Name::ResponseBytes => b"istio_proxy_response_bytes_total",
        }
    }
}

impl Code {
    /// A status of its own, its class, or `other`; 0 is no answer at all.
    fn of(status: u16, config: &Config) -> Self {
        match status {
            0 => Code::Own(0),
            _ if config.has_own_code(status) => Code::Own(status),
            100..=599 => Code::Class((status / 100) as u8),
            _ => Code::Other,
        }
    }

    fn number(self) -> u16 {
        match self {
            Code::Own(status) => status,
            Code::Class(class) => 1000u16.wrapping_add(class.into()),
            Code::Other => 2000,
        }
    }

    fn text(self) -> Vec<u8> {
        let mut text = Vec::new();
        let digit = |number: u16| b'0'.wrapping_add((number % 10) as u8);
        let _ = match self {
            Code::Own(0) => append(&mut text, b"0"),
            Code::Own(own) => append(&mut text, &[digit(own / 100), digit(own / 10), digit(own)]),
            Code::Class(class) => append(&mut text, &[digit(class.into()), b'x', b'x']),
            Code::Other => append(&mut text, OTHER),
        };
        text
    }
}

fn visibility(visibility: Visibility) -> &'static [u8] {
    match visibility {
        Visibility::Http => b"http",
        Visibility::Tunnel => b"tunnel",
        Visibility::Socks => b"socks",
        Visibility::Opaque => b"opaque",
    }
}

fn write_label(name: &mut Vec<u8>, label: &[u8], value: &[u8]) {
    for part in [label, b"=.=", value, b";.;"] {
        let _ = append(name, part);
    }
}
