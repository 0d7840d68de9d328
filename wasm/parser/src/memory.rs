//! Growing memory without a path to a panic.
//!
//! `Vec::push` and `extend_from_slice` abort when memory ends. A trap in one connection stops the
//! module for every connection of the worker, so these return `false` in place of that, and the
//! caller stops reading one connection.

use alloc::vec::Vec;

/// Appends an item; returns whether there was memory for it.
#[must_use]
pub fn push<T>(list: &mut Vec<T>, item: T) -> bool {
    if list.try_reserve(1).is_err() {
        return false;
    }
    push_reserved(list, item)
}

/// Appends bytes; returns whether there was memory for them.
#[must_use]
pub fn append(list: &mut Vec<u8>, bytes: &[u8]) -> bool {
    if list.try_reserve(bytes.len()).is_err() {
        return false;
    }
    bytes.iter().all(|byte| push_reserved(list, *byte))
}

/// Returns a list of `count` equal items, or `None` when there is no memory for it.
pub fn filled<T: Copy>(item: T, count: usize) -> Option<Vec<T>> {
    let mut list = Vec::new();
    list.try_reserve_exact(count).ok()?;
    for _ in 0..count {
        if !push_reserved(&mut list, item) {
            return None;
        }
    }
    Some(list)
}

/// Overwrites bytes with zeros, for what must not stay in memory that is free.
pub fn wipe(bytes: &mut [u8]) {
    for byte in bytes {
        // Sound: a reference is a pointer that may be written. Written to no purpose as far as the
        // compiler sees, so without `volatile` it would leave this out.
        unsafe { core::ptr::write_volatile(byte, 0) };
    }
}

fn push_reserved<T>(list: &mut Vec<T>, item: T) -> bool {
    let length = list.len();
    match list.spare_capacity_mut().first_mut() {
        Some(slot) => {
            slot.write(item);
            // Sound: the slot behind the last item was written in the line above.
            unsafe { list.set_len(length.wrapping_add(1)) };
            true
        }
        None => false,
    }
}
