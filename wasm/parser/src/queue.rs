//! Requests that wait for their answers, in order.

use alloc::vec::Vec;

use crate::memory::filled;
use crate::{Label, PIPELINED_LIMIT};

#[derive(Clone, Copy)]
pub struct Pending {
    /// When the first byte came.
    pub start_ms: u64,
    pub label: Label,
    pub is_head: bool,
    pub had_credentials: bool,
    /// Bytes by the crawler, which are counted once it is known what came of them.
    pub sent: u64,
}

impl Pending {
    pub fn new(start_ms: u64, label: Label) -> Self {
        Pending { start_ms, label, is_head: false, had_credentials: false, sent: 0 }
    }
}

/// A ring that grows to `PIPELINED_LIMIT`. Without pipelining it takes no memory of its own.
#[derive(Default)]
pub struct Queue {
    front: Option<Pending>,
    ring: Vec<Pending>,
    start: usize,
    behind: usize,
}

impl Queue {
    pub fn front(&self) -> Option<&Pending> {
        self.front.as_ref()
    }

    pub fn front_mut(&mut self) -> Option<&mut Pending> {
        self.front.as_mut()
    }

    pub fn last_mut(&mut self) -> Option<&mut Pending> {
        if self.behind == 0 {
            return self.front.as_mut();
        }
        let mask = self.ring.len().wrapping_sub(1);
        let last = self.start.wrapping_add(self.behind).wrapping_sub(1);
        self.ring.get_mut(last & mask)
    }

    pub fn is_empty(&self) -> bool {
        self.front.is_none()
    }

    /// Whether none waits behind the first.
    pub fn has_no_more(&self) -> bool {
        self.behind == 0
    }

    /// Adds a request; returns false beyond the limit.
    #[must_use]
    pub fn push(&mut self, pending: Pending) -> bool {
        if self.front.is_none() {
            self.front = Some(pending);
            return true;
        }
        if self.behind >= PIPELINED_LIMIT.wrapping_sub(1) || !self.make_room() {
            return false;
        }
        let mask = self.ring.len().wrapping_sub(1);
        match self.ring.get_mut(self.start.wrapping_add(self.behind) & mask) {
            Some(slot) => *slot = pending,
            None => return false,
        }
        self.behind = self.behind.wrapping_add(1);
        true
    }

    pub fn pop(&mut self) -> Option<Pending> {
        let popped = self.front.take();
        if self.behind > 0 {
            let mask = self.ring.len().wrapping_sub(1);
            self.front = self.ring.get(self.start & mask).copied();
            self.start = self.start.wrapping_add(1);
            self.behind = self.behind.wrapping_sub(1);
        }
        popped
    }

    /// Forgets all requests; returns the bytes of theirs that are not counted.
    pub fn clear(&mut self) -> u64 {
        let mut sent = 0u64;
        while let Some(pending) = self.pop() {
            sent = sent.saturating_add(pending.sent);
        }
        *self = Queue::default();
        sent
    }

    fn make_room(&mut self) -> bool {
        if self.behind < self.ring.len() {
            return true;
        }
        let size = self.ring.len().wrapping_mul(2).max(4);
        let mut larger = match filled(Pending::new(0, Label::OPAQUE), size) {
            Some(ring) => ring,
            None => return false,
        };
        let mask = self.ring.len().wrapping_sub(1);
        for (at, slot) in larger.iter_mut().take(self.behind).enumerate() {
            if let Some(pending) = self.ring.get(self.start.wrapping_add(at) & mask) {
                *slot = *pending;
            }
        }
        self.ring = larger;
        self.start = 0;
        true
    }
}
