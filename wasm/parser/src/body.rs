//! Where a message's body ends.

use crate::text::hex_digit;
use crate::HEAD_LIMIT;

/// What is left of a body.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Body {
    Length(u64),
    Chunked(Chunks),
    /// The answer ends when the vendor closes.
    UntilClose,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chunks {
    at: At,
    /// Bytes left of the chunk; while its size is being read, the size so far.
    left: u64,
    /// Bytes since the last chunk's data, to bound extensions and trailers.
    overhead: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    /// Before the first digit of a size.
    SizeStart,
    Size,
    /// Between a size and the end of its line.
    Extension,
    Data,
    /// Behind the data, before the line end that must follow.
    DataEnd,
    DataEndLf,
    TrailerStart,
    Trailer,
    /// Behind a carriage return that may be the start of the last line end.
    TrailerCr,
}

impl Body {
    pub fn chunked() -> Self {
        Body::Chunked(Chunks { at: At::SizeStart, left: 0, overhead: 0 })
    }

    /// Bytes that belong to the body whatever they are.
    pub fn passing(&self) -> u64 {
        match self {
            Body::Length(left) => *left,
            Body::UntilClose => u64::MAX,
            Body::Chunked(chunks) if chunks.at == At::Data => chunks.left,
            Body::Chunked(_) => 0,
        }
    }

    /// Passes over `count` bytes, at most `passing`; returns whether the body has ended.
    pub fn pass(&mut self, count: u64) -> bool {
        match self {
            Body::Length(left) => {
                *left = left.saturating_sub(count);
                *left == 0
            }
            Body::Chunked(chunks) => {
                chunks.pass(count);
                false
            }
            Body::UntilClose => false,
        }
    }

    /// Reads bytes that do not pass by size; returns how many were used and whether the body ended.
    ///
    /// Where the bytes are no chunks, none are used.
    pub fn feed(&mut self, bytes: &[u8]) -> (usize, bool) {
        match self {
            Body::Chunked(chunks) => chunks.feed(bytes),
            Body::Length(_) | Body::UntilClose => (0, false),
        }
    }
}

impl Chunks {
    fn pass(&mut self, count: u64) {
        self.left = self.left.saturating_sub(count);
        if self.left == 0 {
            self.at = At::DataEnd;
            self.overhead = 0;
        }
    }

    fn feed(&mut self, bytes: &[u8]) -> (usize, bool) {
        let mut used = 0usize;
        while let Some(byte) = bytes.get(used) {
            if self.at == At::Data {
                let here = bytes.len().wrapping_sub(used) as u64;
                let count = self.left.min(here);
                self.pass(count);
                used = used.wrapping_add(count as usize);
                continue;
            }
            self.at = match self.next(*byte) {
                Some(at) if self.overhead < HEAD_LIMIT => at,
                None if matches!(self.at, At::TrailerStart | At::TrailerCr) => {
                    return (used.wrapping_add(1), true);
                }
                _ => break,
            };
            self.overhead = self.overhead.wrapping_add(1);
            used = used.wrapping_add(1);
        }
        (used, false)
    }

    /// Returns where the next byte leads; `None` is the end in a trailer, else a mistake.
    fn next(&mut self, byte: u8) -> Option<At> {
        match (self.at, byte) {
            (At::SizeStart | At::Size, _) => match hex_digit(byte) {
                Some(_) if self.left >> 60 != 0 => None,
                Some(digit) => {
                    self.left = (self.left << 4) | u64::from(digit);
                    Some(At::Size)
                }
                None if self.at == At::SizeStart => None,
                None => match byte {
                    b'\n' => Some(self.after_size()),
                    b'\r' | b';' | b' ' | b'\t' => Some(At::Extension),
                    _ => None,
                },
            },
            (At::Extension, b'\n') => Some(self.after_size()),
            (At::Extension, _) => Some(At::Extension),
            (At::DataEnd, b'\r') => Some(At::DataEndLf),
            (At::DataEnd | At::DataEndLf, b'\n') => Some(At::SizeStart),
            (At::DataEnd | At::DataEndLf, _) => None,
            (At::TrailerStart | At::TrailerCr, b'\n') => None,
            (At::TrailerStart, b'\r') => Some(At::TrailerCr),
            (At::Trailer, b'\n') => Some(At::TrailerStart),
            (At::Trailer | At::TrailerStart | At::TrailerCr, _) => Some(At::Trailer),
            (At::Data, _) => None,
        }
    }

    fn after_size(&self) -> At {
        if self.left == 0 {
            At::TrailerStart
        } else {
            At::Data
        }
    }
}
