//! The output of a connection: staged bytes, and values that are sent from item memory.
//!
//! Pieces are in wire order. Small replies are copied into one growing buffer; a large value is a piece of its own, which
//! pins the item until the kernel has sent it.

use crate::limits::{OUTPUT_BYTES_MAX, OUTPUT_PIECES_MAX};
use crate::store::Pin;

/// The bytes a connection has staged since its last send.
#[derive(Debug, Default)]
pub struct Output {
    /// Copied replies. Encoders append here.
    pub staged: Vec<u8>,
    /// Pinned values in order, each with its position in `staged`.
    pinned: Vec<(usize, Pin)>,
    pinned_bytes: usize,
}

/// A position in an [`Output`], to return to.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    staged: usize,
    pinned: usize,
}

/// A read position in an [`Output`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Cursor {
    staged: usize,
    /// Values already read.
    pinned: usize,
    /// Bytes already read of the next value.
    in_pin: usize,
}

impl Output {
    /// Appends a value that is sent from item memory.
    pub fn pin(&mut self, pin: Pin) {
        self.pinned_bytes += pin.bytes().len();
        self.pinned.push((self.staged.len(), pin));
    }

    /// The current position, for [`Output::rewind`].
    pub fn mark(&self) -> Mark {
        Mark { staged: self.staged.len(), pinned: self.pinned.len() }
    }

    /// Drops what was staged since `mark`.
    pub fn rewind(&mut self, mark: Mark) {
        self.staged.truncate(mark.staged);
        for (_, pin) in self.pinned.drain(mark.pinned..) {
            self.pinned_bytes -= pin.bytes().len();
        }
    }

    /// True if nothing is staged.
    pub fn is_empty(&self) -> bool {
        self.staged.is_empty() && self.pinned.is_empty()
    }

    /// True if no value is pinned: `staged` is the whole output.
    pub fn is_flat(&self) -> bool {
        self.pinned.is_empty()
    }

    /// Bytes to send.
    pub fn len(&self) -> usize {
        self.staged.len() + self.pinned_bytes
    }

    /// True if the output must be sent before more commands run.
    pub fn is_full(&self) -> bool {
        self.staged.len() >= OUTPUT_BYTES_MAX || self.pinned.len() >= OUTPUT_PIECES_MAX
    }

    /// The bytes to send, in wire order; pieces may be empty.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let mut from = 0;
        let up_to_last_value = self.pinned.iter().flat_map(move |(at, pin)| {
            let copied = &self.staged[from..*at];
            from = *at;
            [copied, pin.bytes()]
        });
        let last = self.pinned.last().map_or(0, |(at, _)| *at);
        up_to_last_value.chain([&self.staged[last..]])
    }

    /// Appends all of `other` and leaves it empty.
    pub fn append(&mut self, mut other: Self) {
        let from = self.staged.len();
        self.staged.append(&mut other.staged);
        self.pinned_bytes += other.pinned_bytes;
        self.pinned.extend(other.take_pinned().into_iter().map(|(at, pin)| (from + at, pin)));
    }

    /// Position in `staged` and length of each pinned value.
    pub fn pinned(&self) -> impl Iterator<Item = (usize, usize)> {
        self.pinned.iter().map(|(at, pin)| (*at, pin.bytes().len()))
    }

    /// Passes the next `bytes` after `cursor`, fewer at the end, in pieces, and advances the cursor.
    pub fn read(&self, cursor: &mut Cursor, mut bytes: usize, mut show: impl FnMut(&[u8])) {
        while bytes > 0 {
            let next_pin = self.pinned.get(cursor.pinned);
            let end = next_pin.map_or(self.staged.len(), |(at, _)| *at);
            let rest = match next_pin {
                Some((_, pin)) if cursor.staged == end => &pin.bytes()[cursor.in_pin..],
                _ => &self.staged[cursor.staged..end],
            };
            let piece = &rest[..rest.len().min(bytes)];
            show(piece);
            bytes -= piece.len();
            if cursor.staged < end {
                cursor.staged += piece.len();
            } else if next_pin.is_none() {
                return;
            } else if piece.len() < rest.len() {
                cursor.in_pin += piece.len();
            } else {
                (cursor.pinned, cursor.in_pin) = (cursor.pinned + 1, 0);
            }
        }
    }

    /// Takes the pinned values with their positions; the sender takes `staged` itself.
    pub fn take_pinned(&mut self) -> Vec<(usize, Pin)> {
        self.pinned_bytes = 0;
        std::mem::take(&mut self.pinned)
    }

    /// Clears what has been sent, and unpins the values.
    pub fn clear(&mut self) {
        self.staged.clear();
        self.take_pinned();
    }
}
