//! What a connection has to send: staged bytes, and values that are sent from item memory.
//!
//! Pieces are kept in wire order. Small replies are copied into one growing buffer; a large value becomes a piece of its
//! own that pins the item until the kernel has sent it.

use crate::limits::{OUTPUT_BYTES_MAX, OUTPUT_PIECES_MAX};
use crate::store::Pin;

/// The bytes a connection has staged since its last send.
#[derive(Debug, Default)]
pub struct Output {
    /// Replies that were copied. Encoders append here.
    pub staged: Vec<u8>,
    /// Where in `staged` the pinned values stand: (position in `staged`, value), in order.
    pinned: Vec<(usize, Pin)>,
    pinned_bytes: usize,
}

/// A place in an [`Output`].
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    staged: usize,
    pinned: usize,
}

impl Output {
    /// Places a value that is sent from item memory behind everything staged so far.
    pub fn pin(&mut self, pin: Pin) {
        self.pinned_bytes += pin.bytes().len();
        self.pinned.push((self.staged.len(), pin));
    }

    /// Where the output stands, for [`Output::rewind`].
    pub fn mark(&self) -> Mark {
        Mark { staged: self.staged.len(), pinned: self.pinned.len() }
    }

    /// Takes back what was staged since `mark`.
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

    /// True once so much is staged that it should be sent before more commands run.
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

    /// Takes the pinned values with their places; `staged` stays to be taken by the sender.
    pub fn take_pinned(&mut self) -> Vec<(usize, Pin)> {
        self.pinned_bytes = 0;
        std::mem::take(&mut self.pinned)
    }

    /// Forgets what has been sent, and lets go of the values.
    pub fn clear(&mut self) {
        self.staged.clear();
        self.take_pinned();
    }
}
