//! IP addresses and ranges as numbers.

use crate::text::{contains, decimal, hex_digit, split_at_first, split_at_last};

/// An address; IPv4 in its IPv6 form (`::ffff:10.1.0.10`) is IPv4.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Address {
    pub is_ipv6: bool,
    /// The leading bits are the address's, so that a range is a mask from the top.
    pub bits: u128,
}

impl Address {
    pub fn masked(self, length: u8) -> Address {
        let mask = match length {
            0 => 0,
            _ => u128::MAX.checked_shl(128u32.wrapping_sub(u32::from(length))).unwrap_or(0),
        };
        Address { bits: self.bits & mask, ..self }
    }

    pub fn width(self) -> u8 {
        if self.is_ipv6 {
            128
        } else {
            32
        }
    }
}

/// Reads "10.1.0.10" or "2001:db8::1".
pub fn address(text: &[u8]) -> Option<Address> {
    match ipv4(text) {
        Some(number) => Some(Address { is_ipv6: false, bits: u128::from(number) << 96 }),
        None => {
            let bits = ipv6(text)?;
            if bits >> 32 == 0xffff {
                return Some(Address { is_ipv6: false, bits: bits << 96 });
            }
            Some(Address { is_ipv6: true, bits })
        }
    }
}

/// Reads "10.1.0.10:3128" or "[2001:db8::1]:3128", as Envoy prints an address.
pub fn address_with_port(text: &[u8]) -> Option<Address> {
    let (host, _port) = split_at_last(text, b':')?;
    match host.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")) {
        Some(inner) => address(inner),
        None => address(host),
    }
}

/// Reads "10.1.0.0/16". Bits beyond the length must be zero.
pub fn range(text: &[u8]) -> Option<(Address, u8)> {
    let (start, length) = split_at_first(text, b'/')?;
    let start = address(start)?;
    let length = decimal(length).filter(|length| *length <= u64::from(start.width()))? as u8;
    if start.masked(length) == start {
        Some((start, length))
    } else {
        None
    }
}

fn ipv4(text: &[u8]) -> Option<u32> {
    let mut number = 0u32;
    let mut parts = 0u32;
    for part in text.split(|byte| *byte == b'.') {
        if part.len() > 3 {
            return None;
        }
        let octet = decimal(part).filter(|octet| *octet < 256)?;
        number = (number << 8) | octet as u32;
        parts = parts.wrapping_add(1);
    }
    if parts == 4 {
        Some(number)
    } else {
        None
    }
}

fn ipv6(text: &[u8]) -> Option<u128> {
    if !contains(text, b"::") {
        return groups(text).filter(|read| read.1 == 8).map(|read| read.0);
    }
    let at = text.windows(2).position(|pair| pair == b"::")?;
    let (head, head_count) = groups(text.get(..at)?)?;
    let (tail, tail_count) = groups(text.get(at.wrapping_add(2)..)?)?;
    let room = 8u32.checked_sub(head_count.wrapping_add(tail_count)).filter(|room| *room > 0)?;
    let shift = tail_count.wrapping_add(room).wrapping_mul(16);
    Some(head.checked_shl(shift).unwrap_or(0) | tail)
}

/// Returns colon-separated 16-bit groups as a number, and their count. The last may be an IPv4.
fn groups(text: &[u8]) -> Option<(u128, u32)> {
    let mut bits = 0u128;
    let mut count = 0u32;
    if text.is_empty() {
        return Some((0, 0));
    }
    for part in text.split(|byte| *byte == b':') {
        let (value, width) = match ipv4(part) {
            Some(number) => (number, 2u32),
            None => (group(part)?, 1),
        };
        bits = bits.checked_shl(width.wrapping_mul(16)).unwrap_or(0) | u128::from(value);
        count = count.wrapping_add(width);
        if count > 8 {
            return None;
        }
    }
    Some((bits, count))
}

fn group(text: &[u8]) -> Option<u32> {
    if text.is_empty() || text.len() > 4 {
        return None;
    }
    text.iter().try_fold(0u32, |so_far, byte| Some((so_far << 4) | u32::from(hex_digit(*byte)?)))
}
