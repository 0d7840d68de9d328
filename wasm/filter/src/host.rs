//! Envoy's side of the proxy-wasm ABI 0.2.1: the functions that it offers, and their memory.
//!
//! https://github.com/proxy-wasm/spec/tree/main/abi-versions/v0.2.1

const OK: u32 = 0;
/// The clock that no administrator sets back (WASI's CLOCK_MONOTONIC).
const MONOTONIC: u32 = 1;
const NANOSECONDS_A_MS: u64 = 1_000_000;
/// The largest value that is read in one go.
pub const BUFFER: usize = 4096;

#[link(wasm_import_module = "env")]
extern "C" {
    fn proxy_log(level: u32, text: *const u8, size: usize) -> u32;
    fn proxy_get_property(
        path: *const u8,
        path_size: usize,
        value: *mut *const u8,
        value_size: *mut usize,
    ) -> u32;
    fn proxy_get_buffer_bytes(
        buffer: u32,
        start: usize,
        length: usize,
        bytes: *mut *const u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_get_shared_data(
        key: *const u8,
        key_size: usize,
        value: *mut *const u8,
        value_size: *mut usize,
        version: *mut u32,
    ) -> u32;
    fn proxy_set_shared_data(
        key: *const u8,
        key_size: usize,
        value: *const u8,
        value_size: usize,
        version: u32,
    ) -> u32;
    fn proxy_define_metric(kind: u32, name: *const u8, name_size: usize, id: *mut u32) -> u32;
    fn proxy_increment_metric(id: u32, by: i64) -> u32;
    fn proxy_record_metric(id: u32, value: u64) -> u32;
    fn proxy_set_tick_period_milliseconds(period: u32) -> u32;
}

#[link(wasm_import_module = "wasi_snapshot_preview1")]
extern "C" {
    fn clock_time_get(clock: u32, precision: u64, nanoseconds: *mut u64) -> u32;
}

/// What Envoy can copy into the module.
#[derive(Clone, Copy)]
#[repr(u32)]
pub enum Buffer {
    DownstreamData = 2,
    UpstreamData = 3,
    Configuration = 7,
}

#[derive(Clone, Copy)]
#[repr(u32)]
pub enum Metric {
    Counter = 0,
    Histogram = 2,
}

/// Envoy copies what it hands over into memory that the module gives it. There are two such places
/// and no allocation: a property is read while the parser still looks at passing bytes.
static mut DATA: [u8; BUFFER] = [0; BUFFER];
static mut PROPERTY: [u8; BUFFER] = [0; BUFFER];
static mut IS_PROPERTY: bool = false;
/// How much of `DATA` was filled since it was forgotten.
static mut READ: usize = 0;

/// Envoy calls this inside `proxy_get_property` and `proxy_get_buffer_bytes`.
#[no_mangle]
pub extern "C" fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
    if size > BUFFER {
        return core::ptr::null_mut(); // Envoy's call fails, as for a value that does not exist
    }
    // Sound: one thread, and each place is only read until the next call that fills it.
    unsafe {
        if IS_PROPERTY {
            core::ptr::addr_of_mut!(PROPERTY).cast()
        } else {
            core::ptr::addr_of_mut!(DATA).cast()
        }
    }
}

/// Returns up to `BUFFER` bytes from `start`; they hold until the next call.
pub fn buffer(which: Buffer, start: usize, length: usize) -> &'static [u8] {
    let mut bytes = core::ptr::null();
    let mut size = 0;
    let length = length.min(BUFFER);
    unsafe {
        IS_PROPERTY = false;
        let status = proxy_get_buffer_bytes(which as u32, start, length, &mut bytes, &mut size);
        READ = READ.max(size).min(BUFFER);
        given(status, bytes, size)
    }
}

/// Overwrites what `buffer` has returned with zeros: a head may hold a password.
pub fn forget_buffer() {
    // Sound: one thread, and nobody reads the bytes any more.
    unsafe {
        let data = &mut *core::ptr::addr_of_mut!(DATA);
        data.get_mut(..READ).unwrap_or(&mut []).fill(0);
        READ = 0;
    }
}

/// Returns a property, or nothing; it holds until the next call. Zeros separate a path's parts.
pub fn property(path: &[u8]) -> &'static [u8] {
    let mut bytes = core::ptr::null();
    let mut size = 0;
    unsafe {
        IS_PROPERTY = true;
        let status = proxy_get_property(path.as_ptr(), path.len(), &mut bytes, &mut size);
        given(status, bytes, size)
    }
}

unsafe fn given(status: u32, bytes: *const u8, size: usize) -> &'static [u8] {
    if status != OK || bytes.is_null() || size > BUFFER {
        return &[];
    }
    core::slice::from_raw_parts(bytes, size)
}

pub fn property_number(path: &[u8]) -> u64 {
    property(path).try_into().map_or(0, u64::from_le_bytes)
}

/// Returns a value that all VMs share, and its version; it holds until the next call.
pub fn shared(key: &[u8]) -> Option<(&'static [u8], u32)> {
    let mut bytes = core::ptr::null();
    let mut size = 0;
    let mut version = 0;
    let value = unsafe {
        IS_PROPERTY = true;
        let status =
            proxy_get_shared_data(key.as_ptr(), key.len(), &mut bytes, &mut size, &mut version);
        given(status, bytes, size)
    };
    if value.is_empty() {
        None
    } else {
        Some((value, version))
    }
}

/// Sets a value that all VMs share, unless it is of another version; 0 sets it in any case.
pub fn share(key: &[u8], value: &[u8], version: u32) -> bool {
    let status = unsafe {
        proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), version)
    };
    status == OK
}

/// Has Envoy call `proxy_on_tick` from now on.
pub fn tick_every_ms(period: u32) {
    unsafe { proxy_set_tick_period_milliseconds(period) };
}

pub fn now_ms() -> u64 {
    let mut nanoseconds = 0;
    unsafe { clock_time_get(MONOTONIC, 0, &mut nanoseconds) };
    nanoseconds / NANOSECONDS_A_MS
}

/// Returns the id of a metric, which Envoy makes if it has none of this name.
pub fn metric(kind: Metric, name: &[u8]) -> Option<u32> {
    let mut id = 0;
    match unsafe { proxy_define_metric(kind as u32, name.as_ptr(), name.len(), &mut id) } {
        OK => Some(id),
        _ => None,
    }
}

pub fn increment(id: u32, by: u64) {
    unsafe { proxy_increment_metric(id, by.min(i64::MAX as u64) as i64) };
}

pub fn record(id: u32, value: u64) {
    unsafe { proxy_record_metric(id, value) };
}

pub fn warn(text: &[u8]) {
    const WARN: u32 = 3;
    unsafe { proxy_log(WARN, text.as_ptr(), text.len()) };
}
