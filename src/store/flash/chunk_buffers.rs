//! Chunks of flash that are still in memory. They are filled under the writer lock, written by the thread of the tier, and read
//! by any ring. The mutex `Flash::chunk_buffers` guards everything here.
//!
//! ```text
//!   Open ──seal──► Sealed ──take──► Writing ──written──► gone: rings read the file
//!                                      └─────failed────► Failed: its stubs are taken back, then gone
//! ```
//!
//! A value that is in a buffer is read from there, so nothing waits for a write. A long value is copied to the open chunk a part
//! at a time, after all finished records. Until all of it has been copied it is no record, and its item stays in memory, so
//! nothing is lost if the chunk is sealed before.
//!
//! The thread of the tier frees the memory of whole chunks, outside of all locks.

use super::place::{Place, RECORD_ALIGN, RECORD_HEAD_BYTES, record_bytes};
use super::record::{self, KEY_LENGTH};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::sync::Arc;

/// The most chunks that may be in memory: one is filled while others are written.
pub(super) const BUFFERS_MAX: usize = 3;

/// The state of a chunk in memory, as drawn in this module's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Open,
    Sealed,
    Writing,
    Failed,
}

/// A chunk in memory.
#[derive(Debug)]
pub(super) struct ChunkBuffer {
    pub(super) chunk: u64,
    pub(super) state: State,
    /// Bytes of the finished records, with their padding. The next record begins at this offset.
    pub(super) used: usize,
    /// The finished records in order, each as its offset in the chunk and its bytes. All are parts of one allocation.
    pub(super) records: Arc<Vec<(u32, Bytes)>>,
    /// The rest of the allocation that `records` are parts of: the record that has been begun, if there is one, and free space.
    room: BytesMut,
}

impl ChunkBuffer {
    pub(super) fn new(chunk: u64, room: BytesMut) -> Self {
        Self { chunk, state: State::Open, used: 0, records: Arc::default(), room }
    }

    /// Begins a record, and discards one that was begun and not finished. `None` if the chunk has no room for the new record.
    pub(super) fn begin(&mut self, key: &[u8], value_bytes: usize) -> Option<Place> {
        self.room.clear();
        if self.room.capacity() < record_bytes(key.len(), value_bytes).next_multiple_of(RECORD_ALIGN) {
            return None;
        }
        let place = Place { chunk: self.chunk, offset: self.used as u32, value_bytes: value_bytes as u32 };
        self.room.extend_from_slice(&record::head(place, key.len()));
        self.room.extend_from_slice(key);
        Some(place)
    }

    /// Appends `part` of the value to the record that was begun.
    pub(super) fn extend(&mut self, part: &[u8]) {
        assert!(self.room.len() + part.len() <= self.room.capacity(), "there was room for the whole value");
        self.room.extend_from_slice(part);
    }

    /// Finishes the record that was begun at `place`, except for its checksum, which [`Flash::fill`](super::Flash::fill) adds.
    pub(super) fn finish(&mut self, place: Place, key_bytes: usize) {
        let bytes = place.record_bytes(key_bytes);
        assert_eq!(self.room.len(), bytes, "all of its value has been copied");
        self.room.resize(bytes.next_multiple_of(RECORD_ALIGN), 0);
        let mut written = self.room.split().freeze();
        self.used += written.len();
        written.truncate(bytes);
        // Not cloned: others hold the vector only once the chunk is sealed.
        Arc::make_mut(&mut self.records).push((place.offset, written));
    }

    /// The finished records, taken apart into key and value. Called if the chunk could not be written, so that they have to
    /// leave it.
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

    /// The value of the record of `key` at `place`; `None` if there is no such record there.
    pub(super) fn value(&self, place: Place, key: &[u8]) -> Option<Bytes> {
        let at = self.records.binary_search_by_key(&place.offset, |&(offset, _)| offset).ok()?;
        let (_, record) = &self.records[at];
        let value_at = RECORD_HEAD_BYTES + key.len();
        let is_it =
            record.len() == place.record_bytes(key.len()) && record[RECORD_HEAD_BYTES..value_at] == *key;
        is_it.then(|| record.slice(value_at..))
    }
}

/// The chunks that are in memory, memory for further chunks, and the chunks that have to be emptied or freed.
#[derive(Debug, Default)]
pub(super) struct ChunkBuffers {
    /// Chunks that are not on the device yet, oldest first.
    pub(super) in_use: VecDeque<ChunkBuffer>,
    /// Memory for further chunks, which has been touched already, so that filling it under the writer lock causes no page faults.
    pub(super) spare: Vec<BytesMut>,
    /// Whether the oldest chunk has to be emptied, and how far that has come.
    pub(super) drain: Drain,
    /// Chunks that could not be written, each with the records that are yet to leave it.
    pub(super) lost: VecDeque<Drained>,
    /// Memory that the thread of the tier is to free, outside of the lock.
    pub(super) trash: Trash,
}

/// Memory of whole chunks that the thread of the tier is to free.
#[derive(Debug, Default)]
pub(super) struct Trash {
    buffers: Vec<ChunkBuffer>,
    drained: Vec<Bytes>,
}

/// How far the oldest chunk is on its way from flash to being free.
#[derive(Debug, Default)]
pub(super) enum Drain {
    /// The oldest chunk need not be emptied.
    #[default]
    Nothing,
    /// The thread of the tier is to read the chunk of this number.
    Wanted(u64),
    Reading,
    /// The chunk has been read. Holds the records that the rings are yet to process.
    Read(Drained),
}

/// The records of a chunk that has to be emptied, because its space is needed for a new chunk or it could not be written.
#[derive(Debug)]
pub(super) struct Drained {
    pub(super) chunk: u64,
    pub(super) records: VecDeque<DrainedRecord>,
    /// The bytes that the records are slices of. They are kept here so that in the end the thread of the tier frees them,
    /// instead of a ring. Empty for a chunk that could not be written, whose buffer has the bytes.
    pub(super) whole: Bytes,
}

/// A record of a chunk that has to be emptied.
#[derive(Clone, Debug)]
pub(in crate::store) struct DrainedRecord {
    pub(in crate::store) place: Place,
    pub(in crate::store) key: Bytes,
    pub(in crate::store) value: Bytes,
}

impl ChunkBuffers {
    pub(super) fn buffer(&self, chunk: u64) -> Option<&ChunkBuffer> {
        self.in_use.iter().find(|buffer| buffer.chunk == chunk)
    }

    /// Removes the buffer of `chunk` and returns it. The caller must drop it outside of the lock, since that frees the memory of
    /// a whole chunk.
    pub(super) fn take_buffer(&mut self, chunk: u64) -> Option<ChunkBuffer> {
        let at = self.in_use.iter().position(|buffer| buffer.chunk == chunk)?;
        self.in_use.remove(at)
    }

    /// Moves the first of the chunks that could not be written to the trash. Called when all of its records have left it.
    pub(super) fn drop_lost(&mut self) {
        let buffer = self.lost.pop_front().and_then(|lost| self.take_buffer(lost.chunk));
        self.trash.buffers.extend(buffer);
    }

    /// Moves the chunk that was read to the trash. Called when all of its records have left it. From then on another chunk may
    /// be wanted.
    pub(super) fn drop_drained(&mut self) {
        if let Drain::Read(drained) = std::mem::take(&mut self.drain) {
            self.trash.drained.push(drained.whole);
        }
    }

    pub(super) fn buffer_mut(&mut self, chunk: u64) -> Option<&mut ChunkBuffer> {
        self.in_use.iter_mut().find(|buffer| buffer.chunk == chunk)
    }
}
