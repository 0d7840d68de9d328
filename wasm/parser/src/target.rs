//! Which host a request is for, and the group that the stack file puts it in.

use alloc::vec::Vec;

use crate::memory::push;
use crate::table::{hash_on, Index, Names, HASH_START};
use crate::text::{split_at_first, split_at_last};

/// The longest DNS name, and a port. A longer text is in no group.
const LONGEST: usize = 260;

/// The group of a host that no line names.
pub const OTHER: u16 = 0;

/// Hosts by group, as in lua/attribution.lua: a host itself, or with "*." all names below it.
pub struct Targets {
    /// Patterns without their star, in lower case: "shop.example" or ".shop.example".
    patterns: Names,
    entries: Vec<Entry>,
    index: Index,
}

struct Entry {
    pattern: u32,
    group: u16,
}

impl Targets {
    pub const fn new() -> Self {
        Targets { patterns: Names::new(), entries: Vec::new(), index: Index::new() }
    }

    /// Adds "shop.example" or "*.shop.example"; returns `None` without memory.
    pub fn add(&mut self, host: &[u8], group: u16) -> Option<()> {
        let pattern = host.strip_prefix(b"*").unwrap_or(host);
        if pattern.is_empty() || pattern.len() > LONGEST {
            return None;
        }
        let number = self.patterns.number(pattern, u32::MAX as usize)?;
        let entry = self.entries.len() as u32;
        let hash =
            pattern.iter().rev().fold(HASH_START, |so_far, byte| hash_on(so_far, lower(*byte)));
        let added = push(&mut self.entries, Entry { pattern: number, group })
            && self.index.insert(hash, entry);
        if added {
            Some(())
        } else {
            None
        }
    }

    /// Finds the group of "shop.example:443"; the longest match wins.
    pub fn group(&self, authority: &[u8]) -> u16 {
        if self.entries.is_empty() || authority.len() > LONGEST {
            return OTHER;
        }
        let host = host_of(authority);
        let mut found = OTHER;
        let mut hash = HASH_START;
        // One walk from the last byte: the hash of each suffix takes one step more.
        let mut start = host.len();
        for byte in host.iter().rev() {
            start = start.wrapping_sub(1);
            hash = hash_on(hash, lower(*byte));
            if start == 0 || *byte == b'.' {
                let suffix = host.get(start..).unwrap_or(&[]);
                if start > 0 || *byte != b'.' {
                    found = self.entry(hash, suffix).unwrap_or(found);
                }
            }
        }
        found
    }

    fn entry(&self, hash: u32, suffix: &[u8]) -> Option<u16> {
        let is_it = |entry: u32| {
            self.entries.get(entry as usize).map_or(false, |entry| {
                self.patterns.get(entry.pattern).eq_ignore_ascii_case(suffix)
            })
        };
        let entry = self.index.find(hash, is_it)?;
        Some(self.entries.get(entry as usize)?.group)
    }
}

fn lower(byte: u8) -> u8 {
    byte.to_ascii_lowercase()
}

/// Removes a port and the dot of a fully qualified name.
fn host_of(authority: &[u8]) -> &[u8] {
    let host = match split_at_last(authority, b':') {
        Some((host, port)) if !port.is_empty() && port.iter().all(u8::is_ascii_digit) => host,
        _ => authority,
    };
    host.strip_suffix(b".").unwrap_or(host)
}

/// Returns the authority of a request target in absolute form: "http://user@shop.test/a".
///
/// `None` for "/a" and "*": the Host header has it.
pub fn authority_of_url(target: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = split_at_first(target, b':')?;
    let rest = rest.strip_prefix(b"//")?;
    if scheme.is_empty() || !scheme.iter().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#'));
    let authority = rest.get(..end.unwrap_or(rest.len()))?;
    Some(split_at_last(authority, b'@').map_or(authority, |parts| parts.1))
}
