//! [`ChunkTable`]: knows which chunks of the flash tier exist, and how many values in each are alive. It fills the open chunk
//! and gives old chunks back.
//!
//! A field of the segment table: changed and read only under the writer lock. Inside that lock it takes the lock of the
//! [`ChunkBuffers`](super::chunk_buffers::ChunkBuffers).

use super::chunk_buffers::{ChunkBuffer, Drain, Drained, DrainedRecord, State};
use super::counters::add;
use super::place::record_bytes;
use super::{BUFFERS_MAX, Flash, FlashPage, FlashTotals, Place};
use crate::store::memory_file::{Headers, Word};
use bytes::BytesMut;
use std::collections::{HashMap, VecDeque};
use std::ops::{AddAssign, SubAssign};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Number of chunks that are kept free: that of all chunks divided by this, but at least [`FREE_MIN`] and at most [`FREE_MAX`].
const FREE_PART: u64 = 64;
const FREE_MIN: u64 = 2;
const FREE_MAX: u64 = 8;
/// The most empty chunks given back in one call of [`ChunkTable::advance`].
const EMPTY_MAX: usize = 64;
/// When a chunk is emptied, at least its length divided by this is gained. Records of up to the remaining length may be copied
/// to the open chunk.
const RESCUED_PART: u64 = 2;
/// Flash counts as sparsely filled if live records take less than its size divided by this. Then records that nobody has read
/// are copied to the open chunk as well: over a lap of the files that adds less than a quarter to what is written.
const SPARSE_PART: u64 = 5;
/// Takes the place of [`RESCUED_PART`] while flash is sparsely filled. If nothing were gained, nothing new could be written
/// while chunks full of live records come to be emptied.
const GAINED_PART: u64 = 4;

/// The number of live values in a chunk, and the bytes of their records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Chunk {
    objects: u64,
    bytes: u64,
}

impl Chunk {
    /// The sums for a single live value, which is at `place` and has a key of `key_bytes`.
    fn of(place: Place, key_bytes: usize) -> Self {
        Self { objects: 1, bytes: place.record_bytes(key_bytes) as u64 }
    }
}

impl AddAssign for Chunk {
    fn add_assign(&mut self, other: Self) {
        self.objects += other.objects;
        self.bytes += other.bytes;
    }
}

impl SubAssign for Chunk {
    fn sub_assign(&mut self, other: Self) {
        self.objects -= other.objects;
        self.bytes -= other.bytes;
    }
}

/// The sums of live values for each chunk, counted from the stubs of a store that is being restored. Each thread that restores
/// has one of its own.
#[derive(Clone, Debug, Default)]
pub(in crate::store) struct Live(HashMap<u64, Chunk>);

impl Live {
    pub(in crate::store) fn add(&mut self, place: Place, key_bytes: usize) {
        *self.0.entry(place.chunk).or_default() += Chunk::of(place, key_bytes);
    }

    pub(in crate::store) fn remove(&mut self, place: Place, key_bytes: usize) {
        if let Some(chunk) = self.0.get_mut(&place.chunk) {
            *chunk -= Chunk::of(place, key_bytes);
        }
    }

    pub(in crate::store) fn append(&mut self, other: &Self) {
        for (&number, &more) in &other.0 {
            *self.0.entry(number).or_default() += more;
        }
    }
}

/// The chunks of the flash tier that exist, and the sums of the live values in them.
#[derive(Debug)]
pub(in crate::store) struct ChunkTable {
    flash: Arc<Flash>,
    /// The live values of each chunk in use, from the oldest chunk to the open one.
    chunks: VecDeque<Chunk>,
    /// The number of the oldest chunk.
    oldest: u64,
    /// While the oldest chunk is being emptied: how many bytes of its records may still be copied to the open chunk.
    rescue_bytes: u64,
    /// True if records of the oldest chunk may be copied to the open chunk although nobody has read them.
    rescues_unread: bool,
    /// True if a chunk of the oldest page had to be emptied while it held live values. Then the page will count as evicted.
    had_live: bool,
    /// The sums over all `chunks`.
    used: Chunk,
}

/// A record that has to leave its chunk.
#[derive(Debug)]
pub(in crate::store) struct Leaving {
    pub(in crate::store) record: DrainedRecord,
    /// True if the record's chunk could not be written: the value is lost, and only its stub is yet to be removed.
    pub(in crate::store) is_lost: bool,
}

impl ChunkTable {
    /// The table of a tier without values.
    pub(in crate::store) fn new(flash: Flash) -> Self {
        Self {
            flash: Arc::new(flash),
            chunks: VecDeque::new(),
            oldest: 0,
            rescue_bytes: 0,
            rescues_unread: false,
            had_live: false,
            used: Chunk::default(),
        }
    }

    /// The table of a tier that continues with the `live` values of an earlier process.
    pub(in crate::store) fn resume(flash: Flash, live: &Live) -> Self {
        let chunks = flash.chunks();
        let mut table = Self::new(flash);
        table.oldest = chunks.start;
        table.chunks = chunks.map(|chunk| live.0.get(&chunk).copied().unwrap_or_default()).collect();
        for chunk in &table.chunks {
            table.used += *chunk;
        }
        table
    }

    /// Records in the memory file which chunks exist, now and whenever that changes ([`Flash::keep`]). To be called before the
    /// tier is shared.
    ///
    /// # Panics
    /// The tier is shared already.
    pub(in crate::store) fn keep(&mut self, headers: &Arc<Headers>) {
        Arc::get_mut(&mut self.flash).expect("it has just been made").keep(headers);
    }

    pub(in crate::store) fn flash(&self) -> &Arc<Flash> {
        &self.flash
    }

    /// Begins the record of a value of `value_bytes` in the open chunk, and discards one that was begun and not finished. Opens
    /// a new chunk if the open one is full. The first result is `None` if there is no room, or the device is out of use. The
    /// second is true if there is work for the thread of the tier.
    pub(in crate::store) fn begin(&mut self, key: &[u8], value_bytes: usize) -> (Option<Place>, bool) {
        let is_too_long = record_bytes(key.len(), value_bytes) as u64 > self.flash.geometry.chunk_bytes;
        if is_too_long || self.flash.is_out_of_use() {
            return (None, false);
        }
        let flash = Arc::clone(&self.flash);
        let mut chunk_buffers = flash.chunk_buffers.lock();
        if let Some(open) = chunk_buffers.in_use.back_mut().filter(|buffer| buffer.state == State::Open) {
            if let Some(place) = open.begin(key, value_bytes) {
                return (Some(place), false);
            }
            open.state = State::Sealed;
        }
        if chunk_buffers.in_use.len() >= BUFFERS_MAX || self.free_chunks() == 0 {
            return (None, true);
        }
        let chunk_bytes = flash.geometry.chunk_bytes as usize;
        let room = chunk_buffers.spare.pop().unwrap_or_else(|| BytesMut::with_capacity(chunk_bytes));
        let chunk = self.next_chunk();
        if chunk.is_multiple_of(flash.geometry.chunks_per_page()) {
            add(&flash.counters.pages_allocated, 1);
        }
        let mut open = ChunkBuffer::new(chunk, room);
        let place = open.begin(key, value_bytes);
        chunk_buffers.in_use.push_back(open);
        self.chunks.push_back(Chunk::default());
        (place, true)
    }

    /// Appends the next part of the value to the record that was begun at `place`. False if the record cannot be finished: its
    /// chunk has been sealed, or the device is out of use.
    pub(in crate::store) fn extend(&self, place: Place, part: &[u8]) -> bool {
        self.with_begun(place, |open| open.extend(part))
    }

    /// Finishes the record that was begun at `place`, whose value is complete. False if that cannot be done, as in
    /// [`ChunkTable::extend`].
    pub(in crate::store) fn finish(&self, place: Place, key_bytes: usize) -> bool {
        let is_finished = self.with_begun(place, |open| open.finish(place, key_bytes));
        add(&self.flash.counters.objects_written, u64::from(is_finished));
        is_finished
    }

    /// Calls `change` with the open chunk, to which the record at `place` is being copied. False, without a call, if the record
    /// cannot be finished: its chunk has been sealed, or the device is out of use.
    fn with_begun(&self, place: Place, change: impl FnOnce(&mut ChunkBuffer)) -> bool {
        let mut chunk_buffers = self.flash.chunk_buffers.lock();
        let open = chunk_buffers.buffer_mut(place.chunk).filter(|buffer| buffer.state == State::Open);
        match open {
            Some(open) if !self.flash.is_out_of_use() => {
                assert_eq!(open.used, place.offset as usize, "one value at a time is copied");
                change(open);
                true
            }
            _ => false,
        }
    }

    /// The number that the next chunk to be opened gets.
    fn next_chunk(&self) -> u64 {
        self.oldest + self.chunks.len() as u64
    }

    fn free_chunks(&self) -> u64 {
        self.flash.geometry.chunks().saturating_sub(self.chunks.len() as u64)
    }

    fn chunk_mut(&mut self, chunk: u64) -> Option<&mut Chunk> {
        self.chunks.get_mut(chunk.checked_sub(self.oldest)? as usize)
    }

    /// Counts the value at `place` as alive: its stub has been published.
    pub(in crate::store) fn link(&mut self, place: Place, key_bytes: usize) {
        let value = Chunk::of(place, key_bytes);
        if let Some(chunk) = self.chunk_mut(place.chunk) {
            *chunk += value;
            self.used += value;
        }
    }

    /// Counts the value at `place` as dead: its stub has left the index.
    pub(in crate::store) fn unlink(&mut self, place: Place, key_bytes: usize) {
        let value = Chunk::of(place, key_bytes);
        if let Some(chunk) = self.chunk_mut(place.chunk) {
            *chunk -= value;
            self.used -= value;
        }
    }

    /// Counts all values as dead: a flush has removed all stubs.
    pub(in crate::store) fn flush(&mut self) {
        self.chunks.iter_mut().for_each(|chunk| *chunk = Chunk::default());
        self.used = Chunk::default();
    }

    /// Gives back the oldest chunks as long as nothing in them is alive. If too few chunks are free then, asks the thread of the
    /// tier to read the oldest chunk, so that its records can leave it; never does so if the store may not evict (`evicts` is
    /// false). True if that thread has work.
    pub(in crate::store) fn advance(&mut self, evicts: bool) -> bool {
        let wanted = (self.flash.geometry.chunks() / FREE_PART).clamp(FREE_MIN, FREE_MAX);
        let flash = Arc::clone(&self.flash);
        for _ in 0..EMPTY_MAX {
            let is_empty = self.chunks.front().is_some_and(|chunk| chunk.objects == 0);
            let is_enough = self.free_chunks() >= wanted && !is_empty;
            if is_enough || self.oldest >= flash.written.load(Ordering::Relaxed) {
                return false;
            }
            let mut chunk_buffers = flash.chunk_buffers.lock();
            if !matches!(chunk_buffers.drain, Drain::Nothing) {
                return false;
            }
            match self.chunks.front() {
                Some(chunk) if chunk.objects > 0 && !evicts => return false,
                Some(chunk) if chunk.objects > 0 => {
                    chunk_buffers.drain = Drain::Wanted(self.oldest);
                    self.had_live = true;
                    self.start_rescue();
                    return true;
                }
                Some(_) => {
                    drop(chunk_buffers);
                    self.drop_oldest();
                }
                None => return false,
            }
        }
        false
    }

    /// Decides which records of the oldest chunk may be copied to the open chunk, and how many bytes of them.
    fn start_rescue(&mut self) {
        let (chunks, chunk_bytes) = (self.flash.geometry.chunks(), self.flash.geometry.chunk_bytes);
        self.rescues_unread = self.used.bytes < chunks * chunk_bytes / SPARSE_PART;
        let lost_bytes = chunk_bytes / if self.rescues_unread { GAINED_PART } else { RESCUED_PART };
        self.rescue_bytes = chunk_bytes - lost_bytes;
    }

    /// Gives back the oldest chunk. Gets of stubs that still name it miss from here on.
    fn drop_oldest(&mut self) {
        let Some(chunk) = self.chunks.pop_front() else { return };
        self.used -= chunk;
        self.oldest += 1;
        self.flash.oldest.store(self.oldest, Ordering::Release);
        self.flash.record(Word::FlashOldest, self.oldest);
        if self.oldest.is_multiple_of(self.flash.geometry.chunks_per_page()) {
            add(&self.flash.counters.pages_reclaimed, 1);
            let is_evicted = std::mem::take(&mut self.had_live);
            add(&self.flash.counters.pages_evicted, u64::from(is_evicted));
        }
    }

    /// Takes the next record that has to leave its chunk; `None` if there is none at the moment. Gives a chunk back once all of
    /// its records have been taken.
    pub(in crate::store) fn next_leaving(&mut self) -> Option<Leaving> {
        let flash = Arc::clone(&self.flash);
        let mut chunk_buffers = flash.chunk_buffers.lock();
        loop {
            if let Some(lost) = chunk_buffers.lost.front_mut() {
                if let Some(record) = lost.records.pop_front() {
                    return Some(Leaving { record, is_lost: true });
                }
                chunk_buffers.drop_lost();
                flash.note_written(&chunk_buffers, self.next_chunk());
                continue;
            }
            let Drain::Read(Drained { chunk, records, .. }) = &mut chunk_buffers.drain else {
                flash.has_leaving.store(false, Ordering::Relaxed);
                return None;
            };
            if let Some(record) = records.pop_front() {
                return Some(Leaving { record, is_lost: false });
            }
            assert_eq!(*chunk, self.oldest, "no chunk is dropped while the oldest is being emptied");
            chunk_buffers.drop_drained();
            if self.chunks.front().is_some_and(|chunk| chunk.objects > 0) {
                add(&flash.counters.read_errors, 1);
            }
            drop(chunk_buffers);
            self.drop_oldest();
            return None;
        }
    }

    /// True if the record at `place`, in the oldest chunk, may be copied to the open chunk; then subtracts its bytes from those
    /// that may still be copied. `is_read` is true if somebody has read the record since it was written.
    pub(in crate::store) fn may_rescue(&mut self, place: Place, key_bytes: usize, is_read: bool) -> bool {
        let bytes = place.record_bytes(key_bytes) as u64;
        let is_allowed = (is_read || self.rescues_unread) && bytes <= self.rescue_bytes;
        if is_allowed {
            self.rescue_bytes -= bytes;
        }
        is_allowed
    }

    /// The statistics of the tier, except `short_bytes`.
    pub(in crate::store) fn totals(&self) -> FlashTotals {
        let geometry = &self.flash.geometry;
        let pages_used =
            (self.chunks.len() as u64).div_ceil(geometry.chunks_per_page()).min(geometry.pages());
        let limit = geometry.pages() * geometry.page_bytes;
        FlashTotals {
            pages_used,
            pages_free: geometry.pages() - pages_used,
            objects_used: self.used.objects,
            bytes_used: self.used.bytes,
            bytes_fragmented: (pages_used * geometry.page_bytes).saturating_sub(self.used.bytes),
            limit_maxbytes: limit,
            ..self.flash.totals()
        }
    }

    /// Pages for `stats extstore`: those with the numbers from `from` on, at most `most` of them.
    pub(in crate::store) fn pages(&self, from: u64, most: usize) -> Vec<FlashPage> {
        let geometry = &self.flash.geometry;
        let (chunks, per_page) = (geometry.chunks(), geometry.chunks_per_page());
        let page = |page: u64| {
            let mut shown = FlashPage::default();
            for place in page * per_page..(page + 1) * per_page {
                // How far the chunk at this place in the files is from the oldest one, in chunks.
                let behind = (place + chunks - self.oldest % chunks) % chunks;
                if let Some(chunk) = self.chunks.get(behind as usize) {
                    shown.version = shown.version.max((self.oldest + behind) / per_page + 1);
                    shown.bytes += chunk.bytes;
                }
            }
            shown
        };
        (from..geometry.pages()).take(most).map(page).collect()
    }

    /// For each chunk in use: its number, how many of its values are alive, and the bytes of their records. For `check` only.
    pub(in crate::store) fn live(&self) -> impl Iterator<Item = (u64, u64, u64)> + '_ {
        (self.oldest..).zip(&self.chunks).map(|(number, chunk)| (number, chunk.objects, chunk.bytes))
    }
}
