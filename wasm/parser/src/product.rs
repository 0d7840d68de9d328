//! The proxy user name of a request, and the product that the stack file gives it.
//!
//! settings/products.py and lua/attribution.lua say the same. Nothing is kept of a user name once its
//! product is known, and the password behind the colon stays as it is.

use alloc::vec::Vec;

use crate::config::NO_POOL;
use crate::memory::{append, push, wipe};
use crate::text::trim_start;

/// A longer user name has no product.
const LONGEST_USER: usize = 256;

/// A vendor's products; the first whose pattern fits decides.
#[derive(Default)]
pub struct Products {
    list: Vec<Product>,
}

struct Product {
    /// The whole user name; a star is any text.
    pattern: Vec<u8>,
    /// A number of `Config::pools`.
    pool: u16,
}

impl Products {
    /// Adds a product; returns whether there was memory for it.
    #[must_use]
    pub fn add(&mut self, pattern: &[u8], pool: u16) -> bool {
        let mut product = Product { pattern: Vec::new(), pool };
        append(&mut product.pattern, pattern) && push(&mut self.list, product)
    }

    pub fn of_user(&self, user: &[u8]) -> u16 {
        let fits = |product: &&Product| fits(&product.pattern, user);
        self.list.iter().find(fits).map_or(NO_POOL, |product| product.pool)
    }

    /// Finds the product by the value of Proxy-Authorization.
    pub fn of_authorization(&self, value: &[u8]) -> u16 {
        if self.list.is_empty() {
            return NO_POOL;
        }
        let mut user = [0; LONGEST_USER];
        let length = decode_user(value, &mut user);
        let pool =
            length.and_then(|length| user.get(..length)).map_or(NO_POOL, |user| self.of_user(user));
        wipe(&mut user);
        pool
    }
}

/// Decodes "Basic dXNlcjpwYXNz" up to the colon; returns the length of the user name.
///
/// `None` is for another scheme, for what is no base64, and for a longer name.
fn decode_user(value: &[u8], user: &mut [u8]) -> Option<usize> {
    let scheme = value.get(..5)?;
    let digits = value.get(5..)?;
    if !scheme.eq_ignore_ascii_case(b"basic") || !matches!(digits.first(), Some(b' ' | b'\t')) {
        return None;
    }
    let mut length = 0usize;
    let mut bits = 0u32;
    let mut count = 0u32;
    for digit in trim_start(digits) {
        bits = (bits << 6) | base64_digit(*digit)?;
        count = count.wrapping_add(6);
        if count < 8 {
            continue;
        }
        count = count.wrapping_sub(8);
        let byte = (bits.wrapping_shr(count) & 0xff) as u8;
        if byte == b':' {
            return Some(length);
        }
        *user.get_mut(length)? = byte;
        length = length.wrapping_add(1);
    }
    None
}

fn base64_digit(byte: u8) -> Option<u32> {
    let (first, value) = match byte {
        b'A'..=b'Z' => (b'A', 0),
        b'a'..=b'z' => (b'a', 26),
        b'0'..=b'9' => (b'0', 52),
        b'+' => (b'+', 62),
        b'/' => (b'/', 63),
        _ => return None,
    };
    Some(u32::from(byte.wrapping_sub(first)).wrapping_add(value))
}

fn fits(pattern: &[u8], user: &[u8]) -> bool {
    let (mut at, mut read) = (0usize, 0usize);
    // Behind the last star, and what it has taken so far: it takes one byte more where the rest does
    // not fit.
    let mut star: Option<(usize, usize)> = None;
    while let Some(byte) = user.get(read) {
        match (pattern.get(at), star) {
            (Some(b'*'), _) => {
                at = at.wrapping_add(1);
                star = Some((at, read));
            }
            (Some(own), _) if own == byte => {
                at = at.wrapping_add(1);
                read = read.wrapping_add(1);
            }
            (_, Some((behind, taken))) => {
                at = behind;
                read = taken.wrapping_add(1);
                star = Some((behind, read));
            }
            (_, None) => return false,
        }
    }
    pattern.get(at..).unwrap_or(&[]).iter().all(|byte| *byte == b'*')
}
