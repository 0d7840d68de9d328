//! Payload bytes of one direction, by what they belong to.

use crate::{Host, Label, Side};

/// Bytes are handed on in portions of this size: a call out of the module costs more than a sum.
const PORTION: u64 = 64 * 1024;

pub struct Meter {
    side: Side,
    label: Label,
    bytes: u64,
    /// Bytes whose label is not known yet: a head that has not ended.
    held: u64,
}

impl Meter {
    pub fn new(side: Side) -> Self {
        Meter { side, label: Label::OPAQUE, bytes: 0, held: 0 }
    }

    pub fn hold(&mut self, count: u64) {
        self.held = self.held.saturating_add(count);
    }

    pub fn take_held(&mut self) -> u64 {
        core::mem::take(&mut self.held)
    }

    pub fn add(&mut self, count: u64) {
        self.bytes = self.bytes.saturating_add(count);
    }

    /// Gives all bytes that come next this label.
    ///
    /// While `may_flush` is false, bytes of the label before take the new one: they may never
    /// reach the vendor and are not counted yet.
    pub fn label(&mut self, label: Label, may_flush: bool, host: &mut dyn Host) {
        if self.label != label {
            if may_flush {
                self.flush(host);
            }
            self.label = label;
        }
    }

    pub fn has_held(&self) -> bool {
        self.held > 0
    }

    pub fn has_bytes(&self) -> bool {
        self.bytes > 0
    }

    pub fn has_portion(&self) -> bool {
        self.bytes >= PORTION
    }

    pub fn flush(&mut self, host: &mut dyn Host) {
        if self.bytes > 0 {
            host.count_bytes(self.side, self.label, self.bytes);
            self.bytes = 0;
        }
    }
}
