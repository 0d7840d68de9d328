//! Reads what a crawler and its proxy vendor say to each other, and counts it.
//!
//! A [`Connection`] is given the bytes of both directions as they pass, in pieces of any size. It
//! alters and keeps none of them; what it cannot frame it stops reading. It tells a [`Host`] what to
//! count. Nothing here does input or output, and nothing knows Envoy: wasm/filter/ is that side.
//!
//! Begin with connection.rs. It hands what the crawler sends to asking.rs and what the vendor sends to
//! answering.rs; these use line.rs, head.rs, body.rs and socks.rs, and queue.rs in between. What they
//! look for is in config.rs, what they count goes through meter.rs and ending.rs.
//!
//! The state of a connection is bounded by `LINE_LIMIT` a direction and `PIPELINED_LIMIT` requests,
//! whatever is sent. No function panics: a panic would stop the module for all connections of an
//! Envoy worker. So slices are read by `get`, and numbers added by wrapping or saturating functions.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod address;
mod answering;
mod asking;
mod body;
pub mod config;
mod connection;
mod ending;
mod head;
mod line;
pub mod memory;
mod meter;
pub mod outcome;
mod product;
mod queue;
mod socks;
pub mod table;
mod target;
mod text;

pub use config::Config;
pub use connection::Connection;
pub use ending::Ending;

/// Kept of a line. What is behind it is framed and not looked at.
pub const LINE_LIMIT: usize = 1024;
/// Requests that may wait for their answers on one connection.
pub const PIPELINED_LIMIT: usize = 256;
/// Bytes of a head, or of the trailers of a body.
pub const HEAD_LIMIT: u32 = 1024 * 1024;

/// Who sent some bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    Crawler,
    Vendor,
}

/// What can be seen of a connection: the label `proxy_visibility`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Visibility {
    Http,
    Tunnel,
    Socks,
    Opaque,
}

/// To what bytes belong.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Label {
    pub visibility: Visibility,
    /// The group of the host: a number of `Config::groups`.
    pub group: u16,
    /// The product that the user of the request buys: a number of `Config::pools`. With `NO_POOL` the
    /// address names the pool.
    pub product: u16,
    /// What came of bytes: a number of `Config::results`. Exchanges have an outcome in its place.
    pub result: u8,
}

impl Label {
    pub const OPAQUE: Label = Label::of(Visibility::Opaque);

    pub const fn of(visibility: Visibility) -> Label {
        Label {
            visibility,
            group: target::OTHER,
            product: config::NO_POOL,
            result: config::NO_RESULT,
        }
    }
}

/// A request and what became of it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Exchange {
    pub label: Label,
    /// A number of `Config::outcomes`.
    pub outcome: u8,
    /// 0 without an answer.
    pub status: u16,
    /// From the request's first byte to the end of the answer's head, if the vendor answered.
    pub setup_ms: Option<u64>,
}

/// Where counts go, and what the bytes do not say.
pub trait Host {
    fn now_ms(&mut self) -> u64;
    /// Whether there is a connection to the vendor. Asked rarely.
    fn is_connected(&mut self) -> bool;
    fn count_exchange(&mut self, exchange: &Exchange);
    /// Counts a connection that was not read, or the rest of one.
    fn count_opaque(&mut self);
    fn count_bytes(&mut self, side: Side, label: Label, bytes: u64);
}

/// Bytes that are passing now.
pub trait Source {
    /// Returns up to `size` bytes from `offset`.
    fn read(&mut self, offset: usize, size: usize) -> &[u8];
}

impl Source for &[u8] {
    fn read(&mut self, offset: usize, size: usize) -> &[u8] {
        let end = offset.saturating_add(size).min(self.len());
        self.get(offset..end).unwrap_or(&[])
    }
}
