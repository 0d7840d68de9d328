//! SOCKS5's handshake in clear text (RFC 1928, RFC 1929).

use alloc::vec::Vec;

use crate::config::{Config, SocksStep, NO_POOL};
use crate::head::Unreadable;
use crate::memory::{append, wipe};
use crate::outcome::{AUTH_FAILED, BAD_ANSWER};
use crate::target::OTHER;

pub const VERSION: u8 = 5;
const AUTH_VERSION: u8 = 1;
const NO_AUTH: u8 = 0;
const BY_PASSWORD: u8 = 2;
const REFUSED: u8 = 255;
const GRANTED: u8 = 0;

/// Longer than any message: an authentication has at most 513 bytes.
const LONGEST: usize = 520;

/// The crawler's side: greeting, perhaps a password, the request.
#[derive(Default)]
pub struct Asked {
    /// Holds a password while one comes. It never grows, since that would leave a copy behind.
    message: Vec<u8>,
    has_greeted: bool,
    has_authenticated: bool,
    /// Known once the request has come.
    pub group: Option<u16>,
    /// See `Label::product`.
    pub product: u16,
}

impl Drop for Asked {
    fn drop(&mut self) {
        wipe(&mut self.message);
    }
}

/// The vendor's side: method, perhaps the result of the authentication, the reply.
#[derive(Default)]
pub struct Answered {
    message: Vec<u8>,
    next: Next,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Next {
    #[default]
    Method,
    Auth,
    Reply,
}

impl Asked {
    /// Whether the greeting is complete: before that it may be another protocol.
    pub fn has_greeted(&self) -> bool {
        self.has_greeted
    }

    /// Reads bytes; returns how many were used. All that follows the request passes by size.
    pub fn feed(
        &mut self,
        bytes: &[u8],
        config: &Config,
        vendor: Option<u16>,
    ) -> Result<usize, Unreadable> {
        if self.message.capacity() == 0 && self.message.try_reserve_exact(LONGEST).is_err() {
            return Err(Unreadable);
        }
        for (at, byte) in bytes.iter().enumerate() {
            if self.group.is_some() {
                return Ok(at);
            }
            take(&mut self.message, *byte)?;
            if self.is_complete()? {
                self.read(config, vendor);
                wipe(&mut self.message);
                self.message.clear();
            }
        }
        Ok(bytes.len())
    }

    fn is_complete(&self) -> Result<bool, Unreadable> {
        let message = &self.message;
        let (version, is_greeting) = (byte(message, 0), !self.has_greeted);
        let is_auth = !is_greeting && !self.has_authenticated && version == Some(AUTH_VERSION);
        if !is_auth && version != Some(VERSION) {
            return Err(Unreadable);
        }
        let length = if is_greeting {
            byte(message, 1).map(|methods| 2usize.wrapping_add(usize::from(methods)))
        } else if is_auth {
            byte(message, 1).and_then(|user| {
                let at = 2usize.wrapping_add(usize::from(user));
                Some(at.wrapping_add(1).wrapping_add(usize::from(byte(message, at)?)))
            })
        } else {
            length_with_address(message)?
        };
        Ok(length.map_or(false, |length| message.len() >= length))
    }

    fn read(&mut self, config: &Config, vendor: Option<u16>) {
        if !self.has_greeted {
            self.has_greeted = true;
        } else if byte(&self.message, 0) == Some(AUTH_VERSION) {
            self.has_authenticated = true;
            let length = byte(&self.message, 1).map_or(0, usize::from);
            let user = self.message.get(2..length.wrapping_add(2)).unwrap_or(&[]);
            self.product = config.products_of(vendor).map_or(NO_POOL, |own| own.of_user(user));
        } else {
            let end = self.message.len().wrapping_sub(2);
            let address = self.message.get(4..end).unwrap_or(&[]);
            self.group = Some(match (byte(&self.message, 3), address) {
                (Some(3), [_, name @ ..]) => config.group(name),
                (Some(1), [a, b, c, d]) => group_of_ipv4([*a, *b, *c, *d], config),
                _ => OTHER,
            });
        }
    }
}

impl Answered {
    /// Reads bytes; returns how many were used, and the outcome once it is known.
    pub fn feed(
        &mut self,
        bytes: &[u8],
        config: &Config,
    ) -> Result<(usize, Option<u8>), Unreadable> {
        for (at, byte) in bytes.iter().enumerate() {
            take(&mut self.message, *byte)?;
            if let Some(outcome) = self.read(config)? {
                self.message = Vec::new();
                return Ok((at.wrapping_add(1), Some(outcome)));
            }
        }
        Ok((bytes.len(), None))
    }

    /// Reads a message if it is complete; returns the outcome if it is known.
    fn read(&mut self, config: &Config) -> Result<Option<u8>, Unreadable> {
        let message = &self.message;
        if self.next != Next::Auth && byte(message, 0) != Some(VERSION) {
            return Ok(Some(BAD_ANSWER));
        }
        let code = match byte(message, 1) {
            Some(code) => code,
            None => return Ok(None),
        };
        let step = match self.next {
            Next::Method => SocksStep::Method,
            Next::Auth => SocksStep::Auth,
            Next::Reply => SocksStep::Reply,
        };
        let (next, is_refusal) = match (self.next, code) {
            (Next::Method, NO_AUTH) => (Next::Reply, false),
            (Next::Method, BY_PASSWORD) => (Next::Auth, false),
            (Next::Method, REFUSED) => (Next::Method, true),
            // What other methods say behind this is not clear text.
            (Next::Method, _) => return Err(Unreadable),
            (Next::Auth, status) => (Next::Reply, status != GRANTED),
            // Many vendors end a refusal here, or name no kind of address behind it.
            (Next::Reply, code) if code != GRANTED => (Next::Reply, true),
            (Next::Reply, _) => match length_with_address(message) {
                Ok(Some(length)) if message.len() >= length => (Next::Reply, true),
                Ok(_) => return Ok(None),
                Err(Unreadable) => return Ok(Some(BAD_ANSWER)),
            },
        };
        if is_refusal {
            return Ok(Some(config.socks_outcome(step, code).unwrap_or(match (step, code) {
                (SocksStep::Reply, GRANTED) => crate::outcome::SUCCESS,
                (SocksStep::Reply, _) => crate::outcome::TARGET_ERROR,
                _ => AUTH_FAILED,
            })));
        }
        self.next = next;
        self.message.clear();
        Ok(None)
    }
}

/// Returns the length of a request or a reply, once its address's kind has come.
fn length_with_address(message: &[u8]) -> Result<Option<usize>, Unreadable> {
    let address = match (byte(message, 3), byte(message, 4)) {
        (None, _) => return Ok(None),
        (Some(1), _) => 4,
        (Some(4), _) => 16,
        (Some(3), Some(length)) => 1usize.wrapping_add(usize::from(length)),
        (Some(3), None) => return Ok(None),
        _ => return Err(Unreadable),
    };
    Ok(Some(6usize.wrapping_add(address)))
}

fn group_of_ipv4(octets: [u8; 4], config: &Config) -> u16 {
    let mut text = Vec::new();
    for (at, octet) in octets.iter().enumerate() {
        let mut digits = [b'0'; 4];
        let mut left = *octet;
        let mut first = 3;
        for (place, digit) in digits.iter_mut().enumerate().skip(1).rev() {
            *digit = b'0'.wrapping_add(left % 10);
            if left > 0 || place == 3 {
                first = place;
            }
            left /= 10;
        }
        let dot: &[u8] = if at > 0 { b"." } else { b"" };
        let written =
            append(&mut text, dot) && append(&mut text, digits.get(first..).unwrap_or(&[]));
        if !written {
            return OTHER;
        }
    }
    config.group(&text)
}

fn take(message: &mut Vec<u8>, byte: u8) -> Result<(), Unreadable> {
    match message.len() < LONGEST && append(message, &[byte]) {
        true => Ok(()),
        false => Err(Unreadable),
    }
}

fn byte(message: &[u8], at: usize) -> Option<u8> {
    message.get(at).copied()
}
