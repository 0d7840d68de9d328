//! Cuts bytes into lines that end in LF, whole or in pieces.

use alloc::vec::Vec;

use crate::memory::{append, wipe};
use crate::LINE_LIMIT;

/// Enough for " HTTP/1.1", a few spaces and a carriage return.
pub const TAIL: usize = 16;

/// A line without its LF.
pub struct Line<'a> {
    /// The first `LINE_LIMIT` bytes.
    pub start: &'a [u8],
    /// The last bytes, if the line is longer; zeros in front of them.
    pub tail: [u8; TAIL],
    pub is_long: bool,
}

/// What some bytes are of a line.
pub enum Piece<'a> {
    Line(Line<'a>),
    /// All that has come of a line that has not ended, up to `LINE_LIMIT`.
    Start(&'a [u8]),
}

/// Keeps the start of a line whose end has not come. A line that comes whole is not copied.
#[derive(Default)]
pub struct Lines {
    /// May hold a password. It never grows, since that would leave a copy behind.
    kept: Vec<u8>,
    tail: [u8; TAIL],
    is_long: bool,
    /// The line in `kept` was given out.
    given: bool,
}

impl Lines {
    /// Returns the count of bytes used, and the line that ended there or its start.
    ///
    /// `None` means that memory has ended.
    pub fn next<'a>(&'a mut self, bytes: &'a [u8]) -> Option<(usize, Piece<'a>)> {
        if self.given {
            wipe(&mut self.kept);
            self.kept.clear();
            self.is_long = false;
            self.given = false;
        }
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let piece = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or(bytes);
        let used = piece.len().wrapping_add(usize::from(end.is_some()));
        if end.is_some() && self.kept.is_empty() {
            let is_long = piece.len() > LINE_LIMIT;
            let start = piece.get(..LINE_LIMIT).unwrap_or(piece);
            let mut tail = [0; TAIL];
            if is_long {
                shift_in(&mut tail, piece);
            }
            return Some((used, Piece::Line(Line { start, tail, is_long })));
        }
        if !self.keep(piece) {
            return None;
        }
        if end.is_none() {
            return Some((used, Piece::Start(&self.kept)));
        }
        self.given = true;
        let line = Line { start: &self.kept, tail: self.tail, is_long: self.is_long };
        Some((used, Piece::Line(line)))
    }

    fn keep(&mut self, piece: &[u8]) -> bool {
        if self.kept.capacity() == 0 && self.kept.try_reserve_exact(LINE_LIMIT).is_err() {
            return false;
        }
        let room = LINE_LIMIT.saturating_sub(self.kept.len());
        if self.is_long {
            shift_in(&mut self.tail, piece);
            return true;
        }
        if piece.len() > room {
            self.is_long = true;
            self.tail = [0; TAIL];
            let kept = core::mem::take(&mut self.kept);
            shift_in(&mut self.tail, &kept);
            self.kept = kept;
            shift_in(&mut self.tail, piece);
        }
        append(&mut self.kept, piece.get(..room).unwrap_or(piece))
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        wipe(&mut self.kept);
    }
}

/// Moves `tail` left so that the last of `piece` fits behind it.
fn shift_in(tail: &mut [u8; TAIL], piece: &[u8]) {
    let last = piece.get(piece.len().saturating_sub(TAIL)..).unwrap_or(piece);
    let shifted =
        last.iter().fold(u128::from_be_bytes(*tail), |bits, byte| (bits << 8) | u128::from(*byte));
    *tail = shifted.to_be_bytes();
}

impl Line<'_> {
    /// Whether this is the line that ends a head.
    pub fn is_empty(&self) -> bool {
        matches!(self.start, b"" | b"\r")
    }
}
