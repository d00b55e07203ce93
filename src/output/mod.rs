//! The output of one connection: staged bytes, and values that are sent from the memory they are in.
//!
//! Pieces are in wire order. Small replies are copied into one growing buffer. A large value is a piece of its own, whose item is
//! pinned until the kernel has sent it. While pins hold all the memory they may, large values are copied as well, and those too
//! long for one send are copied part by part: see [`Part`]. A value on flash leaves a [`Hole`], which is filled before the output
//! is sent.
//!
//! The module knows no protocol: sessions stage bytes and items in an output, and connections send its contents.
//!
//! Each connection and each datagram owns its [`Output`], and only its ring touches it. Its pins and holes refer to memory and
//! files of the store, which all rings share; the store counts a pin until it is dropped.

mod hole;

pub use hole::Hole;

use crate::limits::{COPY_BYTES_MAX, OUTPUT_BYTES_MAX, OUTPUT_PIECES_MAX};
use crate::store::{Item, Pin, Share, Version};
use bytes::Bytes;

/// The replies that one connection has staged since its last send.
#[derive(Debug, Default)]
pub struct Output {
    /// The bytes of all replies except the values in `values` and `holes`. Encoders append here.
    pub staged: Vec<u8>,
    /// Values that are sent from the memory they are in, in order, each with its position in `staged`.
    values: Vec<(usize, Held)>,
    /// Values that have to be read from flash before the output can be sent, in order.
    holes: Vec<Hole>,
    /// Bytes of the values that belong in `holes`, by whether they will be copied.
    missing: MissingBytes,
    /// Bytes of the values in `values` and `holes`.
    values_bytes: usize,
    /// Bytes of memory that the pins in `values` keep from being reused.
    pinned_bytes: u64,
    /// True if the values are as many, or hold as much memory, as one send may take. The output then counts as full.
    holds_enough: bool,
    /// True if short values from flash may be sent from the memory they were read to; see [`Output::set_holds_short`].
    holds_short: bool,
    part: Option<Part>,
    receiver: Receiver,
}

/// Bytes of the values that belong in the holes of an output, by how they will be sent.
#[derive(Debug, Default)]
struct MissingBytes {
    /// Bytes of the values that will be copied into `staged`.
    copied: usize,
    /// Bytes of the values that will be sent from the memory they were read to.
    held: usize,
}

impl MissingBytes {
    fn of(&mut self, is_copied: bool) -> &mut usize {
        if is_copied { &mut self.copied } else { &mut self.held }
    }
}

/// The receiver of the replies. It decides how much memory pinned values may hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Receiver {
    /// A connection, whose client may read slowly or not at all.
    #[default]
    Connection,
    /// Datagrams, whose sends never wait for a client.
    Datagrams,
}

/// A value that is too long to copy at one time and may not be pinned. Its front is staged, and later sends take the rest.
#[derive(Debug)]
pub struct Part {
    /// The key of the item whose value is sent in parts.
    pub key: Box<[u8]>,
    /// The version that the copied bytes belong to. If the key has another version by then, the rest of the value is lost.
    pub version: Version,
    /// Bytes of the value that have been copied so far. The rest begins at this offset.
    pub copied: usize,
    /// Staged bytes that follow the value; they are sent after its last part.
    pub behind: Vec<u8>,
    /// Position in `staged` at which the copied bytes end.
    at: usize,
}

/// A value that is sent from the memory it is in.
#[derive(Debug)]
pub enum Held {
    /// A value in item memory, which a pin keeps in place.
    Pinned(Pin),
    /// A value in the buffer that it was read into from flash.
    Loaded(Bytes),
}

impl Held {
    /// Returns the bytes of the value, or of the part of it that is to be sent.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Pinned(pin) => pin.bytes(),
            Self::Loaded(bytes) => bytes,
        }
    }

    fn pinned_bytes(&self) -> u64 {
        match self {
            Self::Pinned(pin) => pin.held_bytes(),
            Self::Loaded(_) => 0,
        }
    }
}

/// A position in an [`Output`]: [`Output::rewind`] drops what was staged after it.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    staged: usize,
    values: usize,
}

impl Mark {
    /// Returns the length of `staged` when the mark was taken. Replies staged since then begin at this position.
    pub fn staged(self) -> usize {
        self.staged
    }
}

/// How much of an [`Output`] has been read by [`Output::read`]. The default is nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cursor {
    staged: usize,
    /// Number of values that have been read whole.
    values: usize,
    /// Bytes of the next value that have been read.
    in_value: usize,
}

impl Output {
    /// Returns an empty output for `receiver`.
    pub fn for_receiver(receiver: Receiver) -> Self {
        Self { receiver, ..Self::default() }
    }

    /// Stages the value of an item in memory. A short value is copied and a long one is pinned. If a long one may not be pinned
    /// and is too long to copy, only its front is staged, as a [`Part`].
    #[inline]
    pub fn push_value(&mut self, item: &Item<'_>, value: &[u8]) {
        if value.len() <= COPY_BYTES_MAX {
            self.staged.extend_from_slice(value);
        } else if !self.push_rest(item, 0) {
            self.push_part(item, value);
        }
    }

    /// Stages an item's value from offset `from` on, if it may be pinned or can be copied whole; otherwise stages nothing and
    /// returns false. The value of an item that the evictor may move is copied whole whatever its length: a version is recognized
    /// by its place in memory, so after a move the rest could not be found.
    pub fn push_rest(&mut self, item: &Item<'_>, from: usize) -> bool {
        let share = if self.receiver == Receiver::Connection { Share::OfReaders } else { Share::OfAll };
        if let Some(pin) = item.pin(from, share) {
            self.values_bytes += pin.bytes().len();
            self.pinned_bytes += pin.held_bytes();
            self.holds_enough |=
                self.pinned_bytes > pin.held_bytes_max() || self.values.len() + 1 >= OUTPUT_PIECES_MAX;
            self.values.push((self.staged.len(), Held::Pinned(pin)));
            return true;
        }
        let rest = &item.value()[from..];
        let is_whole = rest.len() <= OUTPUT_BYTES_MAX || item.may_move();
        if is_whole {
            self.staged.extend_from_slice(rest);
        }
        is_whole
    }

    /// Stages the front of a value as a [`Part`]. The output is full afterwards.
    #[cold]
    fn push_part(&mut self, item: &Item<'_>, value: &[u8]) {
        self.staged.extend_from_slice(&value[..OUTPUT_BYTES_MAX]);
        self.part = Some(Part {
            key: item.key().into(),
            version: item.version(),
            copied: OUTPUT_BYTES_MAX,
            behind: Vec::new(),
            at: self.staged.len(),
        });
    }

    /// Takes the value of which only the front is staged, with the bytes staged after that front; `None` if there is no such
    /// value. The caller stages the rest of the value after the next send.
    #[inline]
    pub fn take_part(&mut self) -> Option<Part> {
        let mut part = self.part.take()?;
        part.behind = self.staged.split_off(part.at);
        Some(part)
    }

    /// Returns the present end of the output, to which [`Output::rewind`] can return.
    pub fn mark(&self) -> Mark {
        Mark { staged: self.staged.len(), values: self.values.len() }
    }

    /// Drops everything that was staged since `mark`, values and holes included.
    pub fn rewind(&mut self, mark: Mark) {
        self.staged.truncate(mark.staged);
        for (_, held) in self.values.drain(mark.values..) {
            self.values_bytes -= held.bytes().len();
            self.pinned_bytes -= held.pinned_bytes();
        }
        if self.has_holes() {
            self.drop_holes(mark.staged);
        }
        self.holds_enough = false;
        self.part = self.part.take().filter(|part| part.at <= mark.staged);
    }

    /// True if there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.staged.is_empty() && self.values.is_empty()
    }

    /// True if `staged` is the whole output: there are no values in memory and no holes.
    pub fn is_flat(&self) -> bool {
        self.values.is_empty() && self.holes.is_empty()
    }

    /// Returns the number of bytes to send. Values that are not copied are included, and so are those that are still to be read.
    pub fn len(&self) -> usize {
        self.staged.len() + self.values_bytes
    }

    /// True if the output must be sent before more commands run.
    pub fn is_full(&self) -> bool {
        self.staged.len() >= OUTPUT_BYTES_MAX || self.holds_enough
    }

    /// Returns the bytes to send, in wire order; a piece may be empty. All holes must have been filled before.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        debug_assert!(self.holes.is_empty(), "they are filled first");
        let mut from = 0;
        let up_to_last_value = self.values.iter().flat_map(move |(at, held)| {
            let copied = &self.staged[from..*at];
            from = *at;
            [copied, held.bytes()]
        });
        let last = self.values.last().map_or(0, |(at, _)| *at);
        up_to_last_value.chain([&self.staged[last..]])
    }

    /// Moves everything that `other` has staged to the end of this output.
    pub fn append(&mut self, mut other: Self) {
        let from = self.staged.len();
        self.staged.append(&mut other.staged);
        self.values_bytes += other.values_bytes;
        self.pinned_bytes += other.pinned_bytes;
        self.append_holes(other.take_holes(), from);
        self.values.extend(other.take_values().into_iter().map(|(at, held)| (from + at, held)));
    }

    /// Returns the position in `staged` and the length in bytes of each value that is sent from the memory it is in.
    pub fn values(&self) -> impl Iterator<Item = (usize, usize)> {
        self.values.iter().map(|(at, held)| (*at, held.bytes().len()))
    }

    /// Returns the length of the longest value that is pinned or has a hole, bytes; 0 if there is none.
    pub fn longest_value(&self) -> usize {
        let held = self.values.iter().map(|(_, held)| held.bytes().len());
        held.chain(self.holes.iter().map(|hole| hole.stub.place.value_bytes())).max().unwrap_or(0)
    }

    /// Calls `show` with the pieces of the next `bytes` bytes after `cursor`, and moves the cursor past them. At the end of the
    /// output there are fewer bytes.
    pub fn read(&self, cursor: &mut Cursor, mut bytes: usize, mut show: impl FnMut(&[u8])) {
        while bytes > 0 {
            let next = self.values.get(cursor.values);
            let end = next.map_or(self.staged.len(), |(at, _)| *at);
            let rest = match next {
                Some((_, held)) if cursor.staged == end => &held.bytes()[cursor.in_value..],
                _ => &self.staged[cursor.staged..end],
            };
            let piece = &rest[..rest.len().min(bytes)];
            show(piece);
            bytes -= piece.len();
            if cursor.staged < end {
                cursor.staged += piece.len();
            } else if next.is_none() {
                return;
            } else if piece.len() < rest.len() {
                cursor.in_value += piece.len();
            } else {
                (cursor.values, cursor.in_value) = (cursor.values + 1, 0);
            }
        }
    }

    /// Takes the values that are sent from the memory they are in, with their positions. The sender takes `staged` itself.
    pub fn take_values(&mut self) -> Vec<(usize, Held)> {
        (self.values_bytes, self.pinned_bytes, self.holds_enough) = (0, 0, false);
        std::mem::take(&mut self.values)
    }

    /// Empties the output after a send. Values and their pins are dropped.
    pub fn clear(&mut self) {
        self.staged.clear();
        self.take_holes();
        self.take_values();
    }
}
