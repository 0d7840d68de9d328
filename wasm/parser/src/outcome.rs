//! The outcome that the configured table gives to an answer.

use alloc::vec::Vec;

/// Outcomes that need no line in the configuration; their numbers in `Config::outcomes`.
pub const SUCCESS: u8 = 0;
pub const TARGET_ERROR: u8 = 1;
pub const AUTH_FAILED: u8 = 2;
pub const CONNECT_FAILED: u8 = 3;
pub const TIMEOUT: u8 = 4;
pub const RESET: u8 = 5;
pub const CLIENT_CANCELLED: u8 = 6;
pub const BAD_ANSWER: u8 = 7;

pub const BUILT_IN: [&[u8]; 8] = [
    b"success",
    b"target_error",
    b"auth_failed",
    b"connect_failed",
    b"timeout",
    b"reset",
    b"client_cancelled",
    b"bad_answer",
];

/// Conditions of one list. They are bits of a `u128` while an answer's head is read.
pub const CONDITIONS: usize = 128;

/// A header, and a text that its value must contain; an empty text is in every value.
pub struct Condition {
    pub name: Vec<u8>,
    pub text: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    Any,
    Plain,
    Tunnel,
}

#[derive(Clone, Copy, PartialEq)]
pub enum When {
    Always,
    Credentials,
    NoCredentials,
    /// The number of a condition of the same list.
    Header(u8),
}

pub struct Rule {
    pub first: u16,
    pub last: u16,
    pub kind: Kind,
    pub when: When,
    pub outcome: u8,
}

/// Rules of which the first that fits decides, and the headers that they look at.
#[derive(Default)]
pub struct Rules {
    pub rules: Vec<Rule>,
    pub conditions: Vec<Condition>,
    /// Bit n: a condition's name has n bytes. Most headers of an answer end here.
    pub lengths: u64,
}

/// What the rules ask about an answer.
#[derive(Clone, Copy)]
pub struct Answer {
    pub status: u16,
    pub is_tunnel: bool,
    pub had_credentials: bool,
}

impl Rules {
    /// Returns the conditions, as bits, that a header line meets.
    pub fn met_by(&self, name: &[u8], value: &[u8]) -> u128 {
        if name.len() > 63 || self.lengths & (1 << (name.len() & 63)) == 0 {
            return 0;
        }
        let mut bits = 0;
        for (number, condition) in self.conditions.iter().enumerate() {
            if condition.name.eq_ignore_ascii_case(name)
                && crate::text::contains(value, &condition.text)
            {
                bits |= bit(number as u8);
            }
        }
        bits
    }

    pub fn outcome(&self, answer: Answer, met: u128) -> Option<u8> {
        let fits = |rule: &&Rule| {
            rule.first <= answer.status
                && answer.status <= rule.last
                && match rule.kind {
                    Kind::Any => true,
                    Kind::Plain => !answer.is_tunnel,
                    Kind::Tunnel => answer.is_tunnel,
                }
                && match rule.when {
                    When::Always => true,
                    When::Credentials => answer.had_credentials,
                    When::NoCredentials => !answer.had_credentials,
                    When::Header(number) => met & bit(number) != 0,
                }
        };
        self.rules.iter().find(fits).map(|rule| rule.outcome)
    }
}

fn bit(number: u8) -> u128 {
    1u128.wrapping_shl(u32::from(number))
}
