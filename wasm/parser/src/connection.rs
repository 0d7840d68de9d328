//! One connection of a crawler to a vendor.

use crate::answering::Answering;
use crate::asking::Asking;
use crate::body::Body;
use crate::config::Config;
use crate::ending::{Ending, Ends};
use crate::line::Lines;
use crate::meter::Meter;
use crate::outcome::{BAD_ANSWER, RESET};
use crate::queue::{Pending, Queue};
use crate::{Exchange, Host, Label, Side, Source, Visibility};

/// Bytes that are looked at in one go. A head rarely has more.
const WINDOW: usize = 4096;
/// Between two chunks only a size is looked for.
const CHUNK_WINDOW: usize = 256;

pub struct Connection {
    /// The vendor, if the configuration has lines of it.
    pub(crate) vendor: Option<u16>,
    pub(crate) asking: Asking,
    pub(crate) answering: Answering,
    pub(crate) request: Reading,
    pub(crate) answer: Reading,
    pub(crate) queue: Queue,
    /// What the head of the answer said that is passing now.
    pub(crate) answered: Option<Exchange>,
    /// The last status, 100 or 103, that announced the answer.
    pub(crate) interim: u16,
    /// Nothing of the body has come that the last head announced.
    pub(crate) is_body_awaited: bool,
    pub(crate) up: Meter,
    pub(crate) down: Meter,
    ends: Ends,
    pub(crate) has_counted: bool,
    /// At the end one opaque connection is counted.
    is_opaque: bool,
}

/// The head that is being read.
#[derive(Default)]
pub struct Reading {
    pub lines: Lines,
    pub size: u32,
    pub has_begun: bool,
    pub start_ms: u64,
}

impl Reading {
    pub fn clear(&mut self) {
        *self = Reading::default();
    }

    pub fn grow(&mut self, count: usize) {
        self.size = self.size.saturating_add(count as u32);
    }
}

/// What a step needs beside the connection.
pub struct Around<'a> {
    pub config: &'a Config,
    pub host: &'a mut dyn Host,
}

impl Connection {
    /// A new connection.
    ///
    /// `vendor` is `Config::vendor` of its vendor.
    pub fn new(vendor: Option<u16>) -> Self {
        Connection {
            vendor,
            asking: Asking::Head(None),
            answering: Answering::Head(None),
            request: Reading::default(),
            answer: Reading::default(),
            queue: Queue::default(),
            answered: None,
            interim: 0,
            is_body_awaited: false,
            up: Meter::new(Side::Crawler),
            down: Meter::new(Side::Vendor),
            ends: Ends::default(),
            has_counted: false,
            is_opaque: false,
        }
    }

    /// Takes note of `size` bytes that `side` sent; reads as few of them as it can.
    pub fn receive(
        &mut self,
        side: Side,
        size: usize,
        source: &mut dyn Source,
        config: &Config,
        host: &mut dyn Host,
    ) {
        let around = &mut Around { config, host };
        if side == Side::Vendor && size > 0 {
            self.ends.connect();
        }
        let mut offset = 0usize;
        // Each turn uses a byte, or stops reading this side, so that the rest passes by size.
        while offset < size {
            let left = size.wrapping_sub(offset);
            let mut used = self.pass(side, left, around);
            if used == 0 {
                let window = source.read(offset, left.min(self.window(side)));
                used = self.read_window(side, window, around);
            }
            if used == 0 {
                self.stop_reading(side, around);
            }
            offset = offset.wrapping_add(used);
        }
        self.flush_portion(side, around);
    }

    /// Takes note of a FIN.
    pub fn end(&mut self, side: Side, config: &Config, host: &mut dyn Host) {
        let around = &mut Around { config, host };
        match side {
            Side::Crawler => self.ends.note(Ending::CrawlerLeft, around.host),
            Side::Vendor => {
                self.ends.note(Ending::VendorLeft, around.host);
                if let Answering::Body(Body::UntilClose) = self.answering {
                    self.end_answer(around);
                }
                self.fail_all(around);
            }
        }
    }

    /// Counts what is left: the connection is no more.
    pub fn finish(mut self, ending: Ending, config: &Config, host: &mut dyn Host) {
        let around = &mut Around { config, host };
        self.ends.note(ending, around.host);
        self.fail_all(around);
        if !self.has_counted || self.request.has_begun {
            self.stop_reading(Side::Crawler, around);
        }
        for side in [Side::Crawler, Side::Vendor] {
            if self.meter(side).has_held() {
                self.label(side, Label::OPAQUE, around);
            }
        }
        self.down.flush(around.host);
        if self.up.has_bytes() && self.ends.has_connected(around.host) {
            self.up.flush(around.host);
        }
        if self.is_opaque {
            around.host.count_opaque();
        }
    }

    /// Whether `finish` will not look at how the connection ended: a FIN has told.
    pub fn knows_its_end(&self) -> bool {
        self.ends.are_known()
    }

    /// Counts the bytes so far. It asks the host for nothing about the connection.
    pub fn flush(&mut self, host: &mut dyn Host) {
        self.down.flush(host);
        if self.ends.is_connected() {
            self.up.flush(host);
        }
    }

    fn flush_portion(&mut self, side: Side, around: &mut Around) {
        match side {
            Side::Vendor if self.down.has_portion() => self.down.flush(around.host),
            Side::Crawler if self.up.has_portion() && self.ends.has_connected(around.host) => {
                self.up.flush(around.host)
            }
            _ => {}
        }
    }

    fn window(&self, side: Side) -> usize {
        match (side, &self.asking, &self.answering) {
            (Side::Crawler, Asking::Body(_), _) => CHUNK_WINDOW,
            (Side::Vendor, _, Answering::Body(_)) => CHUNK_WINDOW,
            _ => WINDOW,
        }
    }

    /// Reads a window; returns how many of its bytes were used.
    fn read_window(&mut self, side: Side, window: &[u8], around: &mut Around) -> usize {
        let mut rest = window;
        while !rest.is_empty() {
            let mut used = self.pass(side, rest.len(), around);
            if used == 0 {
                used = match side {
                    Side::Crawler => self.read_request(rest, around),
                    Side::Vendor => self.read_answer(rest, around),
                };
            }
            if used == 0 {
                self.stop_reading(side, around);
            }
            rest = rest.get(used..).unwrap_or(&[]);
        }
        window.len()
    }

    /// Passes over bytes that need not be looked at; returns how many.
    fn pass(&mut self, side: Side, most: usize, around: &mut Around) -> usize {
        match side {
            Side::Crawler => self.pass_request(most),
            Side::Vendor => self.pass_answer(most, around),
        }
    }

    /// Lets the rest of a direction pass by size, after bytes that cannot be read.
    pub(crate) fn stop_reading(&mut self, side: Side, around: &mut Around) {
        match side {
            Side::Crawler => self.stop_reading_requests(around),
            Side::Vendor => self.stop_reading_answers(around),
        }
    }

    fn stop_reading_requests(&mut self, around: &mut Around) {
        self.is_opaque = true;
        self.asking = Asking::Unread;
        self.request.clear();
        if let Answering::Socks(_) = self.answering {
            let sent = self.queue.clear();
            self.up.hold(sent);
            self.answering = Answering::Unread;
        }
        if let Answering::Unread = self.answering {
            self.label(Side::Vendor, Label::OPAQUE, around);
        }
        self.label_unread(around);
    }

    fn stop_reading_answers(&mut self, around: &mut Around) {
        // What answers a request is the request's, HTTP or not.
        let mut rest = Label::OPAQUE;
        if let Some(pending) = self.queue.pop() {
            let status = self.answered.take().map_or(0, |exchange| exchange.status);
            self.count(&pending, BAD_ANSWER, status, around);
            rest = label_of_bytes(pending.label, BAD_ANSWER, false, around.config);
            self.settle(pending.sent, rest, around);
        }
        // A request's body that is under way is still framed.
        let is_all_unread = !self.queue.is_empty() || self.request.has_begun || !self.has_counted;
        let sent = self.queue.clear();
        self.up.hold(sent);
        self.answer.clear();
        self.answering = Answering::Unread;
        if is_all_unread {
            self.stop_reading_requests(around);
        } else {
            self.label(Side::Vendor, rest, around);
        }
        self.label_unread(around);
    }

    /// Counts the crawler's unread bytes as opaque, unless a CONNECT's answer may make them a
    /// tunnel's.
    pub(crate) fn label_unread(&mut self, around: &mut Around) {
        if matches!(self.asking, Asking::Unread) && self.queue.is_empty() {
            self.label(Side::Crawler, Label::OPAQUE, around);
        }
    }

    /// Lets all that follows pass by size, as part of the exchange with this label.
    pub(crate) fn pass_all(&mut self, label: Label, around: &mut Around) {
        let sent = self.queue.clear();
        self.up.hold(sent);
        self.request.clear();
        self.answer.clear();
        self.asking = Asking::Passing;
        self.answering = Answering::Passing;
        // What looked unreadable behind a CONNECT was the tunnel's content.
        self.is_opaque = false;
        self.label(Side::Crawler, label, around);
        self.label(Side::Vendor, label, around);
    }

    fn meter(&self, side: Side) -> &Meter {
        match side {
            Side::Crawler => &self.up,
            Side::Vendor => &self.down,
        }
    }

    /// Gives the bytes that are held, and all that come next, this label.
    pub(crate) fn label(&mut self, side: Side, label: Label, around: &mut Around) {
        match side {
            Side::Vendor => {
                self.down.label(label, true, around.host);
                let held = self.down.take_held();
                self.down.add(held);
            }
            Side::Crawler => {
                let held = self.up.take_held();
                self.settle(held, label, around);
            }
        }
    }

    /// Gives these bytes by the crawler, and all that belong to no request that waits, this label.
    pub(crate) fn settle(&mut self, sent: u64, label: Label, around: &mut Around) {
        let may_flush = self.up.has_bytes() && self.ends.has_connected(around.host);
        self.up.label(label, may_flush, around.host);
        self.up.add(sent);
    }

    /// Notes bytes by the crawler, which belong to its last request.
    pub(crate) fn add_sent(&mut self, count: u64) {
        match self.queue.last_mut() {
            Some(pending) => pending.sent = pending.sent.saturating_add(count),
            None => self.up.add(count),
        }
    }

    /// Gives the last request the bytes that are held.
    pub(crate) fn add_held(&mut self) {
        let held = self.up.take_held();
        self.add_sent(held);
    }

    /// Takes the request off the queue whose answer has the label of all bytes.
    pub(crate) fn pop_answered(&mut self) {
        if let Some(pending) = self.queue.pop() {
            self.up.add(pending.sent);
        }
    }

    pub(crate) fn count(
        &mut self,
        pending: &Pending,
        outcome: u8,
        status: u16,
        around: &mut Around,
    ) {
        let exchange = Exchange { label: pending.label, outcome, status, setup_ms: None };
        self.count_exchange(&exchange, around);
    }

    pub(crate) fn count_exchange(&mut self, exchange: &Exchange, around: &mut Around) {
        self.has_counted = true;
        around.host.count_exchange(exchange);
    }

    /// Counts the requests that will have no answer, and the one whose answer is not whole.
    fn fail_all(&mut self, around: &mut Around) {
        if let Some(exchange) = self.answered.take() {
            self.pop_answered();
            if self.ends.crawler_was_first() {
                self.count_exchange(&exchange, around);
            } else {
                let cut = Exchange { outcome: RESET, setup_ms: None, ..exchange };
                self.count_exchange(&cut, around);
            }
        }
        while let Some(pending) = self.queue.pop() {
            let outcome = self.ends.outcome_without_answer(pending.start_ms, around.config);
            let label = label_of_bytes(pending.label, outcome, false, around.config);
            if self.down.has_held() {
                self.label(Side::Vendor, label, around);
            }
            self.settle(pending.sent, label, around);
            if pending.label.visibility == Visibility::Socks {
                self.label(Side::Crawler, label, around);
            }
            let status = core::mem::take(&mut self.interim);
            self.count(&pending, outcome, status, around);
        }
        self.label_unread(around);
    }
}

/// Returns the label of an exchange's bytes, once its outcome is known.
///
/// A tunnel that is refused is an exchange in plain HTTP. Told apart it would double its series.
pub fn label_of_bytes(label: Label, outcome: u8, is_granted: bool, config: &Config) -> Label {
    let visibility = match label.visibility {
        Visibility::Tunnel if !is_granted => Visibility::Http,
        own => own,
    };
    Label { visibility, result: config.result_of(outcome), ..label }
}
