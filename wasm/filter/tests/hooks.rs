//! The hooks as Envoy calls them, and in orders in which it should not.
//!
//!     hooks CALLS
//!
//! This program is Envoy's side of the ABI. Whatever the order, nothing panics, and connections that
//! were deleted leave no memory behind.

#[path = "../../parser/tests/play/allocator.rs"]
mod allocator;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use allocator::LIVE;
use passive::{
    proxy_on_configure, proxy_on_context_create, proxy_on_delete, proxy_on_done,
    proxy_on_downstream_connection_close, proxy_on_downstream_data, proxy_on_new_connection,
    proxy_on_tick, proxy_on_upstream_data,
};

extern "C" {
    fn proxy_on_memory_allocate(size: usize) -> *mut u8;
}

const CONFIGURATION: &[u8] = b"timeout_after 10000
with_targets
codes 200
answer 100 999 any - success
result success delivered
pool vendor-a 10.1.0.0/16 wide
target *.shop.test shops
";

/// What is on its way in some call.
const PIECES: [&[u8]; 12] = [
    b"GET http://a.shop.test/ HTTP/1.1\r\n\r\n",
    b"CONNECT a.shop.test:443 HTTP/1.1\r\n\r\n",
    b"GET http://a.sh",
    b"op.test/ HTTP/1.1\r\nA: b\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
    b"HTTP/1.1 20",
    b"0 OK\r\n\r\n",
    b"\x05\x01\x00",
    b"\x05\x00",
    b"\x16\x03\x01",
    b"",
];

static CALL: AtomicU64 = AtomicU64::new(0);
static COUNTED: AtomicU64 = AtomicU64::new(0);

/// The next number; xorshift64*.
fn chance(below: u64) -> u64 {
    let mut state = CALL.load(Relaxed) | 1;
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    CALL.store(state, Relaxed);
    (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) % below
}

fn piece() -> &'static [u8] {
    PIECES[(CALL.load(Relaxed) >> 7) as usize % PIECES.len()]
}

unsafe fn hand_over(bytes: &[u8], to: *mut *const u8, size: *mut usize) -> u32 {
    let memory = proxy_on_memory_allocate(bytes.len());
    if memory.is_null() {
        return 1;
    }
    std::ptr::copy_nonoverlapping(bytes.as_ptr(), memory, bytes.len());
    *to = memory;
    *size = bytes.len();
    0
}

#[no_mangle]
unsafe extern "C" fn proxy_get_property(
    path: *const u8,
    path_size: usize,
    value: *mut *const u8,
    value_size: *mut usize,
) -> u32 {
    let path = std::slice::from_raw_parts(path, path_size);
    let text: &[u8] = match path {
        b"filter_state\0proxy_observability.proxy_vendor" => {
            [&b"vendor-a"[..], b"vendor-b", b""][chance(3) as usize]
        }
        b"destination\0address" => b"10.1.2.3:3128",
        b"response\0flags" => [&[0; 8], b"\x20\0\0\0\0\0\0\0"][chance(2) as usize],
        _ if chance(2) == 0 => return 1,
        _ => b"something",
    };
    hand_over(text, value, value_size)
}

#[no_mangle]
unsafe extern "C" fn proxy_get_buffer_bytes(
    buffer: u32,
    start: usize,
    length: usize,
    bytes: *mut *const u8,
    size: *mut usize,
) -> u32 {
    let whole = if buffer == 7 { CONFIGURATION } else { piece() };
    if start >= whole.len() {
        return 1;
    }
    hand_over(&whole[start..(start + length).min(whole.len())], bytes, size)
}

#[no_mangle]
extern "C" fn proxy_log(_: u32, _: *const u8, _: usize) -> u32 {
    0
}

#[no_mangle]
extern "C" fn proxy_get_shared_data(
    _: *const u8,
    _: usize,
    _: *mut *const u8,
    _: *mut usize,
    _: *mut u32,
) -> u32 {
    1
}

#[no_mangle]
extern "C" fn proxy_set_shared_data(_: *const u8, _: usize, _: *const u8, _: usize, _: u32) -> u32 {
    0
}

#[no_mangle]
unsafe extern "C" fn proxy_define_metric(_: u32, _: *const u8, size: usize, id: *mut u32) -> u32 {
    *id = size as u32;
    0
}

#[no_mangle]
extern "C" fn proxy_increment_metric(_: u32, _: i64) -> u32 {
    COUNTED.fetch_add(1, Relaxed);
    0
}

#[no_mangle]
extern "C" fn proxy_record_metric(_: u32, _: u64) -> u32 {
    0
}

#[no_mangle]
extern "C" fn proxy_set_tick_period_milliseconds(_: u32) -> u32 {
    0
}

#[no_mangle]
unsafe extern "C" fn clock_time_get(_: u32, _: u64, nanoseconds: *mut u64) -> u32 {
    *nanoseconds = CALL.load(Relaxed) >> 20;
    0
}

fn main() {
    let calls: u64 = std::env::args().nth(1).and_then(|text| text.parse().ok()).expect("CALLS");
    CALL.store(0x9e37_79b9_7f4a_7c15, Relaxed);
    // Places of connections are kept for the next ones: have as many as there will ever be.
    begin_roots();
    (1..=CONNECTIONS).for_each(|number| proxy_on_context_create(ROOTS + number, 1));
    delete_all();
    let before = LIVE.load(Relaxed);
    for round in 0..20 {
        begin_roots();
        (0..calls / 20).for_each(|_| call());
        delete_all();
        assert!(LIVE.load(Relaxed) <= before, "round {}: memory is lost", round);
    }
    println!("{} calls, {} counts", calls, COUNTED.load(Relaxed));
}

const ROOTS: u32 = 3;
const CONNECTIONS: u32 = 3000;

fn begin_roots() {
    for root in 1..=ROOTS {
        proxy_on_context_create(root, 0);
        assert_eq!(proxy_on_configure(root, CONFIGURATION.len()), 1);
    }
}

/// Envoy deletes a root when its configuration was replaced, whether it has connections or not.
fn delete_all() {
    (1..=ROOTS + CONNECTIONS).for_each(|context| {
        assert_eq!(proxy_on_done(context), 1);
        proxy_on_delete(context);
    });
}

fn call() {
    // Few at a time, so that most have a history; some calls are for a context that is not there.
    let context = 1 + ROOTS + chance(40) as u32 * chance(75) as u32;
    let is_end = u32::from(chance(30) == 0);
    match chance(40) {
        0..=5 => {
            proxy_on_context_create(context, 1 + chance(u64::from(ROOTS)) as u32);
            assert_eq!(proxy_on_new_connection(context), 0);
        }
        6..=20 => assert_eq!(proxy_on_downstream_data(context, piece().len(), is_end), 0),
        21..=35 => assert_eq!(proxy_on_upstream_data(context, piece().len(), is_end), 0),
        36 => proxy_on_downstream_connection_close(context, chance(3) as u32),
        37 if chance(2) == 0 => proxy_on_tick(1 + chance(u64::from(ROOTS)) as u32),
        37 => assert_eq!(proxy_on_new_connection(context), 0),
        _ => proxy_on_delete(context),
    }
}
