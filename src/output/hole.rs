//! Holes: values of replies that are still on flash. The replies are staged without them, and the values are put in before
//! the output is sent.
//!
//! ```text
//!   staged:  … VALUE key 0 9000\r\n \r\n END\r\n …      filled:  the value at `at`
//!              └ reply.start        └ at └ reply.end    missed:  `on_miss` instead of `reply`
//! ```
//!
//! So replies keep their order, and all values of an output are read at the same time. A [`Hole`] belongs to one output. The
//! connection takes the holes, reads the values, and gives the holes back.
//!
//! Short values are copied into the staged bytes. Once the staged bytes with these values would exceed their limit, further short
//! values stay in the memory they were read to and are sent from there, as long values are.

use super::{Held, MissingBytes, Output};
use crate::limits::{COPY_BYTES_MAX, OUTPUT_BYTES_MAX, OUTPUT_HOLES_BYTES_MAX, OUTPUT_HOLES_MAX};
use crate::store::Stub;
use bytes::Bytes;
use std::ops::Range;

/// The place in a staged reply at which a value that is still on flash belongs, and all that is needed to fill it.
#[derive(Debug)]
pub struct Hole {
    /// The key of the item whose value is missing.
    pub key: Box<[u8]>,
    /// Where the value is on flash, and which version of the item it belongs to.
    pub stub: Stub,
    /// The value; `None` until it has been read. [`Output::fill`] turns a reply whose value is still `None` into a miss.
    pub value: Option<Bytes>,
    /// True if the value will be copied into `staged`; false if it will be sent from the memory it was read to.
    is_copied: bool,
    /// Position in `staged` at which the value belongs.
    at: usize,
    /// The range of `staged` that holds the reply without its value.
    reply: Range<usize>,
    /// The bytes that replace `reply` if the value could not be read: a miss.
    on_miss: Vec<u8>,
}

impl Hole {
    /// True if the value will be copied into the staged bytes, so that the memory it was read to can be freed.
    pub fn is_copied(&self) -> bool {
        self.is_copied
    }
}

impl Output {
    /// Sets whether short values may be sent from the memory they were read to, so that more values are read together. If they
    /// may not, the output counts as full once the staged bytes and the short values that belong in them reach
    /// `OUTPUT_BYTES_MAX`.
    #[inline]
    pub fn set_holds_short(&mut self, holds_short: bool) {
        self.holds_short = holds_short;
    }

    /// Records that the reply at the end of `staged`, which begins at `from`, lacks the value of `key` at position `at`. If the
    /// value cannot be read, `on_miss` is sent instead of that reply.
    #[cold]
    pub fn push_hole(&mut self, key: &[u8], stub: Stub, from: usize, at: usize, on_miss: Vec<u8>) {
        assert!(from <= at && at <= self.staged.len(), "the value is a part of its reply");
        let bytes = stub.place.value_bytes();
        let fits = self.staged.len() + self.missing.copied + bytes <= OUTPUT_BYTES_MAX;
        let is_copied = bytes <= COPY_BYTES_MAX && (fits || !self.holds_short);
        *self.missing.of(is_copied) += bytes;
        self.holes.push(Hole {
            key: key.into(),
            stub,
            value: None,
            is_copied,
            at,
            reply: from..self.staged.len(),
            on_miss,
        });
        self.values_bytes += bytes;
        self.holds_enough |= self.has_enough_holes();
    }

    /// True if values have to be read before the output can be sent.
    #[inline]
    pub fn has_holes(&self) -> bool {
        !self.holes.is_empty()
    }

    /// Returns the number of values that have to be read before the output can be sent.
    pub fn holes(&self) -> usize {
        self.holes.len()
    }

    /// Takes the holes, in order. The caller reads their values and gives the holes back with [`Output::fill`], before it does
    /// anything else with the output.
    pub fn take_holes(&mut self) -> Vec<Hole> {
        self.missing = MissingBytes::default();
        std::mem::take(&mut self.holes)
    }

    /// True if the holes are as many, or their values as large, as one send may take.
    fn has_enough_holes(&self) -> bool {
        self.holes.len() >= OUTPUT_HOLES_MAX
            || self.missing.held >= OUTPUT_HOLES_BYTES_MAX
            || !self.holds_short && self.staged.len() + self.missing.copied >= OUTPUT_BYTES_MAX
    }

    /// Drops the holes of replies that begin at `from` or later.
    #[cold]
    pub(super) fn drop_holes(&mut self, from: usize) {
        while let Some(hole) = self.holes.pop_if(|hole| hole.reply.start >= from) {
            let bytes = hole.stub.place.value_bytes();
            self.values_bytes -= bytes;
            *self.missing.of(hole.is_copied) -= bytes;
        }
    }

    /// Adds the holes of another output. The staged bytes of that output have been appended to `staged` at position `from`.
    pub(super) fn append_holes(&mut self, holes: Vec<Hole>, from: usize) {
        let moved = |hole: Hole| Hole {
            at: from + hole.at,
            reply: from + hole.reply.start..from + hole.reply.end,
            ..hole
        };
        self.holes.extend(holes.into_iter().map(moved));
    }

    /// Puts the values of all `holes` in their places. A reply whose value was not read is replaced by its miss.
    pub fn fill(&mut self, holes: Vec<Hole>) {
        let staged = std::mem::take(&mut self.staged);
        let mut others = std::mem::take(&mut self.values).into_iter().peekable();
        self.staged.reserve(staged.len());
        let mut from = 0;
        for hole in holes {
            // A value in `others` may stand at the end of a binary reply, which is where the next reply begins.
            while let Some((at, held)) = others.next_if(|(at, _)| *at <= hole.reply.start) {
                self.staged.extend_from_slice(&staged[from..at]);
                self.values.push((self.staged.len(), held));
                from = at;
            }
            let value_bytes = hole.stub.place.value_bytes();
            if let Some(value) = hole.value {
                debug_assert_eq!(value.len(), value_bytes, "as announced");
                self.staged.extend_from_slice(&staged[from..hole.at]);
                from = hole.at;
                if !hole.is_copied {
                    self.values.push((self.staged.len(), Held::Loaded(value)));
                    continue;
                }
                self.staged.extend_from_slice(&value);
            } else {
                self.staged.extend_from_slice(&staged[from..hole.reply.start]);
                self.staged.extend_from_slice(&hole.on_miss);
                from = hole.reply.end;
            }
            self.values_bytes -= value_bytes;
        }
        for (at, held) in others {
            self.staged.extend_from_slice(&staged[from..at]);
            self.values.push((self.staged.len(), held));
            from = at;
        }
        self.staged.extend_from_slice(&staged[from..]);
        self.holds_enough &= !self.values.is_empty();
    }
}
