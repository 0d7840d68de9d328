//! Contexts by the id that Envoy gives them.

use passive_parser::memory::{filled, push};

const BUCKETS: usize = 1024;
const NONE: u32 = u32::MAX;

struct Slot<T> {
    id: u32,
    /// The next slot of the bucket, or of the free ones.
    next: u32,
    item: Option<T>,
}

/// Items by id. Ids rise, so the last digits spread them evenly.
pub struct Contexts<T> {
    buckets: Vec<u32>,
    slots: Vec<Slot<T>>,
    free: u32,
}

impl<T> Contexts<T> {
    pub const fn new() -> Self {
        Contexts { buckets: Vec::new(), slots: Vec::new(), free: NONE }
    }

    pub fn insert(&mut self, id: u32, item: T) {
        if self.buckets.is_empty() {
            self.buckets = filled(NONE, BUCKETS).unwrap_or_default();
        }
        let at = self.place(id, item);
        let bucket = match (at, self.buckets.get_mut(id as usize % BUCKETS)) {
            (Some(_), Some(bucket)) => bucket,
            _ => return,
        };
        let next = core::mem::replace(bucket, at.unwrap_or(NONE));
        if let Some(slot) = self.slots.get_mut(at.unwrap_or(NONE) as usize) {
            slot.next = next;
        }
    }

    pub fn get(&mut self, id: u32) -> Option<&mut T> {
        let at = self.find(id)?.1;
        self.slots.get_mut(at as usize)?.item.as_mut()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slots.iter_mut().filter_map(|slot| slot.item.as_mut())
    }

    pub fn remove(&mut self, id: u32) -> Option<T> {
        let (before, at) = self.find(id)?;
        let slot = self.slots.get_mut(at as usize)?;
        let item = slot.item.take();
        let next = core::mem::replace(&mut slot.next, self.free);
        self.free = at;
        match before {
            NONE => *self.buckets.get_mut(id as usize % BUCKETS)? = next,
            _ => self.slots.get_mut(before as usize)?.next = next,
        }
        item
    }

    /// Returns the slot before in its bucket, and the slot.
    fn find(&self, id: u32) -> Option<(u32, u32)> {
        let mut before = NONE;
        let mut at = *self.buckets.get(id as usize % BUCKETS)?;
        // A list cannot be longer than all slots.
        for _ in 0..self.slots.len() {
            let slot = self.slots.get(at as usize)?;
            if slot.id == id {
                return Some((before, at));
            }
            before = at;
            at = slot.next;
        }
        None
    }

    fn place(&mut self, id: u32, item: T) -> Option<u32> {
        if let Some(slot) = self.slots.get_mut(self.free as usize) {
            let at = core::mem::replace(&mut self.free, slot.next);
            *slot = Slot { id, next: NONE, item: Some(item) };
            return Some(at);
        }
        let at = self.slots.len() as u32;
        if push(&mut self.slots, Slot { id, next: NONE, item: Some(item) }) {
            Some(at)
        } else {
            None
        }
    }
}
