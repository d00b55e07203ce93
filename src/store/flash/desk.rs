//! Chunks between memory and the device: filled under the writer lock, written by the thread of the tier, read by anyone.
//!
//! ```text
//!   Open ──seal──► Sealed ──take──► Writing ──written──► gone: rings read the file
//!                                      └─────failed────► Failed: its stubs are taken back, then gone
//! ```
//!
//! A value that is in a buffer is read from there, so nothing waits for a write.

use super::place::{Place, RECORD_ALIGN, RECORD_HEAD_BYTES, record_bytes};
use super::record::{self, KEY_LENGTH};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::sync::Arc;

/// Chunks that may be in memory: one is filled while others are written.
pub(super) const BUFFERS_MAX: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Open,
    Sealed,
    Writing,
    Failed,
}

/// A chunk in memory.
#[derive(Debug)]
pub(super) struct Buffer {
    pub(super) chunk: u64,
    pub(super) state: State,
    /// Bytes of records, with their padding.
    pub(super) used: usize,
    /// By place, and their bytes; all are parts of one allocation.
    pub(super) records: Arc<Vec<(u32, Bytes)>>,
    room: BytesMut,
}

impl Buffer {
    pub(super) fn new(chunk: u64, room: BytesMut) -> Self {
        Self { chunk, state: State::Open, used: 0, records: Arc::default(), room }
    }

    /// Appends a record, but for its checksum; `None` if it does not fit.
    pub(super) fn push(&mut self, key: &[u8], value: &[u8]) -> Option<Place> {
        let bytes = record_bytes(key.len(), value.len());
        let padded = bytes.next_multiple_of(RECORD_ALIGN);
        if self.room.capacity() < padded {
            return None;
        }
        let place = Place { chunk: self.chunk, offset: self.used as u32, value_bytes: value.len() as u32 };
        self.room.extend_from_slice(&record::head(place, key.len()));
        self.room.extend_from_slice(key);
        self.room.extend_from_slice(value);
        self.room.resize(padded, 0);
        let mut written = self.room.split().freeze();
        written.truncate(bytes);
        // Shared only once it is sealed.
        Arc::make_mut(&mut self.records).push((place.offset, written));
        self.used += padded;
        Some(place)
    }

    /// All of its records.
    pub(super) fn drained(&self) -> VecDeque<DrainedRecord> {
        let record = |(offset, bytes): &(u32, Bytes)| {
            let key_bytes = usize::from(bytes[KEY_LENGTH]);
            let value_at = RECORD_HEAD_BYTES + key_bytes;
            let value_bytes = (bytes.len() - value_at) as u32;
            DrainedRecord {
                place: Place { chunk: self.chunk, offset: *offset, value_bytes },
                key: bytes.slice(RECORD_HEAD_BYTES..value_at),
                value: bytes.slice(value_at..),
            }
        };
        self.records.iter().map(record).collect()
    }

    /// The value of the record of `key` at `place`.
    pub(super) fn value(&self, place: Place, key: &[u8]) -> Option<Bytes> {
        let at = self.records.binary_search_by_key(&place.offset, |&(offset, _)| offset).ok()?;
        let (_, record) = &self.records[at];
        let value_at = RECORD_HEAD_BYTES + key.len();
        let is_it =
            record.len() == place.record_bytes(key.len()) && record[RECORD_HEAD_BYTES..value_at] == *key;
        is_it.then(|| record.slice(value_at..))
    }
}

/// The chunks in memory, oldest first, and room for more.
#[derive(Debug, Default)]
pub(super) struct Desk {
    pub(super) buffers: VecDeque<Buffer>,
    /// Room that has memory behind it already.
    pub(super) spare: Vec<BytesMut>,
    /// A chunk of the oldest page that is to be read, is being read, or has been.
    pub(super) drain: Drain,
    /// Chunks that could not be written.
    pub(super) lost: VecDeque<Drained>,
}

/// Where the oldest chunk is on its way to be free.
#[derive(Debug, Default)]
pub(super) enum Drain {
    #[default]
    Nothing,
    /// The thread of the tier is to read it.
    Wanted(u64),
    Reading,
    /// Its records, for the rings to look through.
    Read(Drained),
}

/// The records of a chunk that has to go: it is needed for others, or it could not be written.
#[derive(Debug)]
pub(super) struct Drained {
    pub(super) chunk: u64,
    pub(super) records: VecDeque<DrainedRecord>,
}

/// One of them.
#[derive(Clone, Debug)]
pub(in crate::store) struct DrainedRecord {
    pub(in crate::store) place: Place,
    pub(in crate::store) key: Bytes,
    pub(in crate::store) value: Bytes,
}

impl Desk {
    pub(super) fn buffer(&self, chunk: u64) -> Option<&Buffer> {
        self.buffers.iter().find(|buffer| buffer.chunk == chunk)
    }

    pub(super) fn drop_buffer(&mut self, chunk: u64) {
        self.buffers.retain(|buffer| buffer.chunk != chunk);
    }

    pub(super) fn buffer_mut(&mut self, chunk: u64) -> Option<&mut Buffer> {
        self.buffers.iter_mut().find(|buffer| buffer.chunk == chunk)
    }
}
