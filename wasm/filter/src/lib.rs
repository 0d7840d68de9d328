//! The network filter `proxy_observability.passive`: counts what passes, and only that.
//!
//! Envoy calls the functions below; every one lets the bytes go on as they are. What they mean is
//! read by wasm/parser/.

mod contexts;
mod host;
mod kept;
mod metrics;

use passive_parser::address::address_with_port;
use passive_parser::config::{Config, Reader};
use passive_parser::memory::append;
use passive_parser::{Connection, Ending, Exchange, Host, Label, Side, Source};

use crate::contexts::Contexts;
use crate::host::Buffer;
use crate::metrics::{Metrics, Owner};

/// `FilterStatus::Continue`; nothing here ever returns another.
const CONTINUE: u32 = 0;
const ACCEPTED: u32 = 1;
/// A tunnel that sends little would show its bytes only at its end without it.
const TICK_MS: u32 = 5000;
const REFUSED: u32 = 0;

/// `CloseType::Remote`: the crawler closed.
const REMOTE: u32 = 2;
/// `CoreResponseFlag::UpstreamConnectionFailure` of Envoy's stream info, as a bit.
const CONNECTION_FAILURE: u64 = 1 << 5;

const VENDOR: &[u8] = b"filter_state\0proxy_observability.proxy_vendor";
const DESTINATION: &[u8] = b"destination\0address";
const FLAGS: &[u8] = b"response\0flags";
const FAILURE_REASON: &[u8] = b"upstream\0transport_failure_reason";
/// Set once there is a connection to the vendor.
const UPSTREAM_LOCAL_ADDRESS: &[u8] = b"upstream\0local_address";

/// One configuration. Envoy makes a new root context for each; connections keep theirs.
struct Root {
    config: Config,
    metrics: Metrics,
    /// Connections that use it, and Envoy.
    users: u32,
}

/// A connection of a crawler.
struct Crawler {
    root: u32,
    /// `None` while nobody's port was met, or after the end.
    open: Option<(Owner, Connection)>,
}

struct State {
    roots: Contexts<Root>,
    crawlers: Contexts<Crawler>,
}

static mut STATE: State = State { roots: Contexts::new(), crawlers: Contexts::new() };

fn state() -> &'static mut State {
    // Sound: a VM has one thread, and Envoy's functions call back only `proxy_on_memory_allocate`.
    unsafe { &mut *core::ptr::addr_of_mut!(STATE) }
}

#[no_mangle]
pub extern "C" fn proxy_abi_version_0_2_1() {}

#[no_mangle]
pub extern "C" fn proxy_on_vm_start(_root: u32, _size: u32) -> u32 {
    ACCEPTED
}

#[no_mangle]
pub extern "C" fn proxy_on_configure(root: u32, size: usize) -> u32 {
    let mut reader = Reader::new();
    let mut at = 0usize;
    while at < size {
        let piece = host::buffer(Buffer::Configuration, at, host::BUFFER);
        if piece.is_empty() {
            return REFUSED;
        }
        reader.push(piece);
        at = at.wrapping_add(piece.len());
    }
    match reader.finish() {
        Ok(config) => {
            kept::define_new();
            host::tick_every_ms(TICK_MS);
            let roots = &mut state().roots;
            let users = roots.remove(root).map_or(1, |old| old.users);
            roots.insert(root, Root { config, metrics: Metrics::new(), users });
            ACCEPTED
        }
        Err(line) => {
            host::warn(&wrong_line(line));
            REFUSED
        }
    }
}

/// Returns "configuration: line 7 cannot be read".
fn wrong_line(line: u32) -> Vec<u8> {
    let mut text = Vec::new();
    let _ = append(&mut text, b"configuration: line ");
    let mut place = 1_000_000_000;
    while place > 0 {
        let digit = b'0'.wrapping_add((line / place % 10) as u8);
        if line >= place {
            let _ = append(&mut text, &[digit]);
        }
        place /= 10;
    }
    let _ = append(&mut text, b" cannot be read");
    text
}

#[no_mangle]
pub extern "C" fn proxy_on_context_create(context: u32, parent: u32) {
    let state = state();
    if state.crawlers.get(context).is_some() {
        proxy_on_delete(context); // Envoy never gives a number twice; without it memory would go
    }
    if let Some(root) = state.roots.get(parent) {
        root.users = root.users.saturating_add(1);
        state.crawlers.insert(context, Crawler { root: parent, open: None });
    }
}

#[no_mangle]
pub extern "C" fn proxy_on_new_connection(context: u32) -> u32 {
    let state = state();
    if let Some(crawler) = state.crawlers.get(context) {
        if let Some(root) = state.roots.get(crawler.root) {
            crawler.open = open(root);
            // An old VM may have counted in new series until its last connection ended.
            kept::define_new();
        }
    }
    CONTINUE
}

/// Returns a connection's state, unless it goes to a port that no vendor owns.
fn open(root: &mut Root) -> Option<(Owner, Connection)> {
    let name = host::property(VENDOR);
    if name.is_empty() {
        return None;
    }
    let vendor = root.config.vendor(name);
    // Read before the address: that takes the place of the name.
    let mut owner = root.metrics.owner(name);
    if let Some(address) = address_with_port(host::property(DESTINATION)) {
        owner.pool = root.config.pool(vendor, address);
    }
    Some((owner, Connection::new(vendor)))
}

#[no_mangle]
pub extern "C" fn proxy_on_downstream_data(context: u32, size: usize, is_end: u32) -> u32 {
    receive(context, Side::Crawler, size, is_end != 0);
    CONTINUE
}

#[no_mangle]
pub extern "C" fn proxy_on_upstream_data(context: u32, size: usize, is_end: u32) -> u32 {
    receive(context, Side::Vendor, size, is_end != 0);
    CONTINUE
}

fn receive(context: u32, side: Side, size: usize, is_end: bool) {
    let state = state();
    let (root, owner, connection) = match state.opened(context) {
        Some(opened) => opened,
        None => return,
    };
    let config = &root.config;
    let mut counts = Counts { metrics: &mut root.metrics, owner, config, now_ms: None };
    connection.receive(side, size, &mut Passing(side), config, &mut counts);
    if side == Side::Crawler {
        host::forget_buffer();
    }
    if is_end {
        connection.end(side, config, &mut counts);
    }
}

/// Counts the bytes of connections that have less than a portion of them.
#[no_mangle]
pub extern "C" fn proxy_on_tick(root: u32) {
    let state = state();
    let Root { config, metrics, .. } = match state.roots.get(root) {
        Some(root) => root,
        None => return,
    };
    for crawler in state.crawlers.iter_mut().filter(|crawler| crawler.root == root) {
        if let Some((owner, connection)) = &mut crawler.open {
            connection.flush(&mut Counts { metrics, owner: *owner, config, now_ms: None });
        }
    }
}

#[no_mangle]
pub extern "C" fn proxy_on_downstream_connection_close(context: u32, kind: u32) {
    if let Some((_, _, connection)) = state().opened(context) {
        let ending = if kind == REMOTE || connection.knows_its_end() {
            Ending::CrawlerLeft
        } else {
            ending_by_envoy()
        };
        finish(context, ending);
    }
}

/// Returns why Envoy closed a connection (seen on Envoy 1.40).
fn ending_by_envoy() -> Ending {
    match host::property_number(FLAGS) {
        0 => Ending::CrawlerLeft, // it drains, or shuts down
        flags if flags & CONNECTION_FAILURE == 0 => Ending::VendorLeft,
        _ if host::property(FAILURE_REASON).is_empty() => Ending::ConnectTimedOut,
        _ => Ending::ConnectFailed,
    }
}

fn finish(context: u32, ending: Ending) {
    let state = state();
    let crawler = match state.crawlers.get(context) {
        Some(crawler) => crawler,
        None => return,
    };
    if let (Some((owner, connection)), Some(root)) =
        (crawler.open.take(), state.roots.get(crawler.root))
    {
        let config = &root.config;
        let mut counts = Counts { metrics: &mut root.metrics, owner, config, now_ms: None };
        connection.finish(ending, config, &mut counts);
    }
}

#[no_mangle]
pub extern "C" fn proxy_on_done(_context: u32) -> u32 {
    ACCEPTED
}

#[no_mangle]
pub extern "C" fn proxy_on_delete(context: u32) {
    finish(context, Ending::CrawlerLeft);
    let state = state();
    let root = state.crawlers.remove(context).map_or(context, |crawler| crawler.root);
    let users = match state.roots.get(root) {
        Some(used) => {
            used.users = used.users.saturating_sub(1);
            used.users
        }
        None => return,
    };
    if users == 0 {
        state.roots.remove(root);
    }
}

impl State {
    fn opened(&mut self, context: u32) -> Option<(&mut Root, Owner, &mut Connection)> {
        let crawler = self.crawlers.get(context)?;
        let root = self.roots.get(crawler.root)?;
        let (owner, connection) = crawler.open.as_mut()?;
        Some((root, *owner, connection))
    }
}

/// The bytes that Envoy is passing on.
struct Passing(Side);

impl Source for Passing {
    fn read(&mut self, offset: usize, size: usize) -> &[u8] {
        let which = match self.0 {
            Side::Crawler => Buffer::DownstreamData,
            Side::Vendor => Buffer::UpstreamData,
        };
        host::buffer(which, offset, size)
    }
}

/// Where a connection's counts go.
struct Counts<'a> {
    metrics: &'a mut Metrics,
    owner: Owner,
    config: &'a Config,
    /// Asked once a call: requests that came together began together.
    now_ms: Option<u64>,
}

impl Host for Counts<'_> {
    fn now_ms(&mut self) -> u64 {
        *self.now_ms.get_or_insert_with(host::now_ms)
    }

    fn is_connected(&mut self) -> bool {
        !host::property(UPSTREAM_LOCAL_ADDRESS).is_empty()
    }

    fn count_exchange(&mut self, exchange: &Exchange) {
        self.metrics.count_exchange(self.owner, exchange, self.config);
    }

    fn count_opaque(&mut self) {
        self.metrics.count_opaque(self.owner, self.config);
    }

    fn count_bytes(&mut self, side: Side, label: Label, bytes: u64) {
        self.metrics.count_bytes(self.owner, side, label, bytes, self.config);
    }
}
