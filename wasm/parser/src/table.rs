//! Look-up tables that only grow: numbers by hash, and names by number.

use alloc::vec::Vec;

use crate::memory::{append, filled, push};

const FIRST_SLOTS: usize = 16;

/// Leads from a hash to the number of an entry that the caller keeps.
#[derive(Default)]
pub struct Index {
    /// Hash and entry + 1; an entry of 0 is a free slot. The length is a power of two.
    slots: Vec<(u32, u32)>,
    used: usize,
}

impl Index {
    pub const fn new() -> Self {
        Index { slots: Vec::new(), used: 0 }
    }

    /// Returns the entry with this hash for which `is_it` holds.
    pub fn find(&self, hash: u32, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let mask = self.slots.len().wrapping_sub(1);
        let mut at = hash as usize;
        for _ in 0..self.slots.len() {
            let (own, entry) = *self.slots.get(at & mask)?;
            let entry = entry.checked_sub(1)?;
            if own == hash && is_it(entry) {
                return Some(entry);
            }
            at = at.wrapping_add(1);
        }
        None
    }

    /// Adds an entry that `find` does not have; returns whether there was memory for it.
    #[must_use]
    pub fn insert(&mut self, hash: u32, entry: u32) -> bool {
        // At most half full, so that a search ends soon.
        if self.used.wrapping_mul(2) >= self.slots.len() && !self.grow() {
            return false;
        }
        self.used = self.used.wrapping_add(1);
        place(&mut self.slots, hash, entry.wrapping_add(1))
    }

    fn grow(&mut self) -> bool {
        let count = self.slots.len().wrapping_mul(2).max(FIRST_SLOTS);
        let mut larger = match filled((0, 0), count) {
            Some(slots) => slots,
            None => return false,
        };
        for (hash, entry) in self.slots.iter().filter(|slot| slot.1 != 0) {
            place(&mut larger, *hash, *entry);
        }
        self.slots = larger;
        true
    }
}

fn place(slots: &mut [(u32, u32)], hash: u32, entry: u32) -> bool {
    let mask = slots.len().wrapping_sub(1);
    let mut at = hash as usize;
    for _ in 0..slots.len() {
        match slots.get_mut(at & mask) {
            Some(slot) if slot.1 == 0 => {
                *slot = (hash, entry);
                return true;
            }
            _ => at = at.wrapping_add(1),
        }
    }
    false
}

/// Texts with a number each, from 0.
#[derive(Default)]
pub struct Names {
    text: Vec<u8>,
    ends: Vec<u32>,
    index: Index,
}

impl Names {
    pub const fn new() -> Self {
        Names { text: Vec::new(), ends: Vec::new(), index: Index::new() }
    }

    pub fn get(&self, number: u32) -> &[u8] {
        let number = number as usize;
        let start = match number.checked_sub(1) {
            Some(before) => self.ends.get(before).copied().unwrap_or(0),
            None => 0,
        };
        let end = self.ends.get(number).copied().unwrap_or(0);
        self.text.get(start as usize..end as usize).unwrap_or(&[])
    }

    pub fn find(&self, name: &[u8]) -> Option<u32> {
        self.index.find(hash(name), |number| self.get(number) == name)
    }

    /// Returns the number of a name, which is new if there are fewer than `bound`.
    pub fn number(&mut self, name: &[u8], bound: usize) -> Option<u32> {
        if let Some(known) = self.find(name) {
            return Some(known);
        }
        let number = self.ends.len();
        if number >= bound || !append(&mut self.text, name) {
            return None;
        }
        let kept = push(&mut self.ends, self.text.len() as u32)
            && self.index.insert(hash(name), number as u32);
        if kept {
            Some(number as u32)
        } else {
            None
        }
    }
}

/// FNV-1a, 32 bits.
pub const HASH_START: u32 = 0x811c_9dc5;

pub fn hash_on(hash: u32, byte: u8) -> u32 {
    (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
}

pub fn hash(bytes: &[u8]) -> u32 {
    bytes.iter().fold(HASH_START, |so_far, byte| hash_on(so_far, *byte))
}
