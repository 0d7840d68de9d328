//! The names of all series, which outlive a VM.
//!
//! A changed module is a new VM, and Envoy drops a metric with the last VM that has defined it. A
//! series that the new VM had not counted yet would start at 0 again. So every VM writes down what
//! it defines, in the data that all VMs of one `vm_id` share, and defines what the others wrote.
//! What an old VM counts for the very first time as its last connection ends is still lost.

use passive_parser::memory::append;

use crate::host::{self, Metric};

/// How many names there are, as 4 bytes. A name's key is its number.
const COUNT: &[u8] = b"count";
const MOST: u32 = 8192;
/// Other workers may take a number at the same moment.
const TRIES: u32 = 16;

/// How many names this VM has defined.
static mut DEFINED: u32 = 0;

/// Defines what other VMs have counted since the last call.
pub fn define_new() {
    let count = match host::shared(COUNT) {
        Some((value, _)) => value.try_into().map_or(0, u32::from_le_bytes).min(MOST),
        None => {
            // Envoy configures a VM on the main thread before there is one on a worker.
            host::share(COUNT, &0u32.to_le_bytes(), 0);
            0
        }
    };
    // Sound: a VM has one thread.
    let defined = unsafe { &mut *core::ptr::addr_of_mut!(DEFINED) };
    while *defined < count {
        let (kind, name) = match host::shared(&defined.to_le_bytes()) {
            Some(([kind, name @ ..], _)) => (*kind, name),
            _ => return, // another worker has taken the number and is about to write
        };
        let is_counter = kind == Metric::Counter as u8;
        let _ = host::metric(if is_counter { Metric::Counter } else { Metric::Histogram }, name);
        *defined = defined.wrapping_add(1);
    }
}

/// Writes down a name that this VM has defined.
pub fn keep(kind: Metric, name: &[u8]) {
    let mut entry = Vec::new();
    if !append(&mut entry, &[kind as u8]) || !append(&mut entry, name) {
        return;
    }
    if host::shared(&entry).is_some() {
        return;
    }
    for _ in 0..TRIES {
        let (number, version) = match host::shared(COUNT) {
            Some((value, version)) => (value.try_into().map_or(MOST, u32::from_le_bytes), version),
            None => return,
        };
        if number >= MOST {
            return;
        }
        if host::share(COUNT, &number.wrapping_add(1).to_le_bytes(), version) {
            host::share(&number.to_le_bytes(), &entry, 0);
            host::share(&entry, &[1], 0);
            return;
        }
    }
}
