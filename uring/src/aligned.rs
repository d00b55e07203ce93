//! Memory that files are read into and written from: whole pages at page boundaries, as direct I/O requires. A buffer belongs to
//! one read or write at a time. The memory of dropped buffers is kept for reuse under a mutex; any thread may take it.
#![expect(unsafe_code, reason = "the kernel fills memory that was not initialised before")]

use std::mem::MaybeUninit;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Size of a page, bytes. Every page begins at an address that is a multiple of this size.
pub(crate) const PAGE_BYTES: usize = 4096;

/// Number of pages of the largest buffer whose memory is kept for reuse. For a longer buffer an allocation costs little compared
/// with the read.
const KEPT_PAGES_MAX: usize = 16;
/// Number of sizes in which memory is kept: 1, 2, 4, 8 and 16 pages.
const SIZES: usize = KEPT_PAGES_MAX.ilog2() as usize + 1;

#[repr(C, align(4096))]
struct Page([u8; PAGE_BYTES]);

const _: () = assert!(align_of::<Page>() == PAGE_BYTES && size_of::<Page>() == PAGE_BYTES);

type Pages = Box<[MaybeUninit<Page>]>;

/// A stock of memory for buffers. [`AlignedBuffers::take`] makes a buffer from it, and dropping that buffer returns the memory.
/// Clones share one stock, on any thread.
#[derive(Clone)]
pub struct AlignedBuffers(Arc<Shelf>);

/// The memory of dropped buffers until [`AlignedBuffers::take`] hands it out again, and the limit on it.
struct Shelf {
    /// Most bytes in `kept`. The memory of a dropped buffer that would exceed this limit is freed instead.
    bytes_max: usize,
    /// Under a lock, since any thread may drop a buffer; the lock is rarely contended.
    kept: Mutex<Kept>,
}

/// The memory of dropped buffers, by size.
#[derive(Default)]
struct Kept {
    /// Entry `n` holds the buffers of 2^n pages.
    by_size: [Vec<Pages>; SIZES],
    /// Bytes of all buffers in `by_size`.
    bytes: usize,
}

impl std::fmt::Debug for AlignedBuffers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AlignedBuffers").field("kept_bytes", &self.kept_bytes()).finish_non_exhaustive()
    }
}

impl AlignedBuffers {
    /// An empty stock, which keeps at most `bytes_max` bytes of dropped buffers.
    pub fn new(bytes_max: usize) -> Self {
        Self(Arc::new(Shelf { bytes_max, kept: Mutex::default() }))
    }

    /// Returns an empty buffer with room for `room` bytes. Its memory comes from the stock if a piece of that size is there,
    /// else it is newly allocated. Dropping the buffer returns its memory to the stock.
    pub fn take(&self, room: usize) -> AlignedBuffer {
        let pages = room.div_ceil(PAGE_BYTES).max(1);
        let pages = if pages > KEPT_PAGES_MAX { pages } else { pages.next_power_of_two() };
        let kept = (pages <= KEPT_PAGES_MAX).then(|| self.0.take(pages)).flatten();
        let pages = kept.unwrap_or_else(|| Box::new_uninit_slice(pages));
        AlignedBuffer { pages, room, filled: 0, home: Some(Arc::clone(&self.0)) }
    }

    /// Bytes of memory in the stock, which no buffer uses.
    pub fn kept_bytes(&self) -> usize {
        self.0.kept().bytes
    }
}

impl Shelf {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, pages: usize) -> Option<Pages> {
        let mut kept = self.kept();
        let pages = kept.by_size[pages.ilog2() as usize].pop()?;
        kept.bytes -= size_of_val(&*pages);
        Some(pages)
    }

    fn take_back(&self, pages: Pages) {
        let bytes = size_of_val(&*pages);
        if pages.is_empty() || pages.len() > KEPT_PAGES_MAX {
            return;
        }
        let mut kept = self.kept();
        if kept.bytes + bytes <= self.bytes_max {
            kept.bytes += bytes;
            kept.by_size[pages.len().ilog2() as usize].push(pages);
        }
    }
}

/// Memory for one read or write at a time, beginning at a page boundary.
pub struct AlignedBuffer {
    pages: Pages,
    /// Most bytes that the buffer may hold, over all reads that fill it; its memory may be longer.
    room: usize,
    /// Number of bytes, from the front, that have been filled. They are initialised, and are what [`AlignedBuffer::bytes`]
    /// returns.
    filled: usize,
    /// Where the memory goes when the buffer is dropped; `None` if the memory is freed instead.
    home: Option<Arc<Shelf>>,
}

impl std::fmt::Debug for AlignedBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AlignedBuffer")
            .field("room", &self.room)
            .field("filled", &self.filled)
            .finish_non_exhaustive()
    }
}

impl AlignedBuffer {
    /// An empty buffer with room for `room` bytes. Dropping it frees its memory.
    pub fn with_room(room: usize) -> Self {
        Self { pages: Box::new_uninit_slice(room.div_ceil(PAGE_BYTES)), room, filled: 0, home: None }
    }

    /// A buffer filled with `len` zeros. Dropping it frees its memory.
    pub fn zeroed(len: usize) -> Self {
        let pages = Box::new_zeroed_slice(len.div_ceil(PAGE_BYTES));
        Self { pages, room: len, filled: len, home: None }
    }

    /// The bytes that the last read has filled, or the zeros of [`AlignedBuffer::zeroed`]. What the memory held before cannot be
    /// reached.
    pub fn bytes(&self) -> &[u8] {
        assert!(self.filled <= self.memory_bytes());
        // SAFETY: the bytes are inside the pages (asserted) and initialised: as zeros, or by the kernel, whose count
        // `advance` was told; whoever holds the buffer borrowed cannot lend it to the kernel.
        unsafe { std::slice::from_raw_parts(self.pages.as_ptr().cast(), self.filled) }
    }

    /// The same bytes as [`AlignedBuffer::bytes`], to be changed in place.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        assert!(self.filled <= self.memory_bytes());
        // SAFETY: as in `bytes`; and whoever holds the buffer mutably is alone with it.
        unsafe { std::slice::from_raw_parts_mut(self.pages.as_mut_ptr().cast(), self.filled) }
    }

    /// Bytes of memory that the buffer takes: whole pages, so at least its room.
    pub fn memory_bytes(&self) -> usize {
        size_of_val(&*self.pages)
    }

    /// Makes the buffer empty, for the next read; its memory stays.
    pub(crate) fn clear(&mut self) {
        self.filled = 0;
    }

    /// Address and length of the room after the filled bytes, for the kernel to write to.
    pub(crate) fn spare(&mut self) -> (*mut u8, usize) {
        assert!(self.filled <= self.room && self.room <= self.memory_bytes());
        // The address is inside the pages (asserted), or just past the last of them if no room is left.
        (self.pages.as_mut_ptr().cast::<u8>().wrapping_add(self.filled), self.room - self.filled)
    }

    /// Marks `count` more bytes as filled. The kernel must have written them to the front of what [`AlignedBuffer::spare`]
    /// returned.
    pub(crate) fn advance(&mut self, count: usize) {
        assert!(count <= self.room - self.filled);
        self.filled += count;
    }

    pub(crate) fn is_full(&self) -> bool {
        self.filled == self.room
    }

    /// Most bytes that the buffer may hold, over all reads that fill it.
    pub(crate) fn room(&self) -> usize {
        self.room
    }
}

impl AsRef<[u8]> for AlignedBuffer {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

impl Drop for AlignedBuffer {
    fn drop(&mut self) {
        // Bookkeeping alone, because it can happen inside the runtime's dispatch of completions.
        if let Some(home) = self.home.take() {
            home.take_back(std::mem::take(&mut self.pages));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_begin_at_page_boundaries_and_show_what_was_filled() {
        let buffers = AlignedBuffers::new(1 << 20);
        for room in [0, 1, PAGE_BYTES, PAGE_BYTES + 1, 100 * PAGE_BYTES] {
            let mut buffer = buffers.take(room);
            let (start, len) = buffer.spare();
            assert_eq!((start as usize % PAGE_BYTES, len), (0, room));
            assert_eq!(buffer.bytes(), b"");
        }
        let mut buffer = AlignedBuffer::zeroed(3);
        buffer.bytes_mut()[2] = 7;
        assert_eq!(buffer.bytes(), [0, 0, 7]);
        assert_eq!(buffer.spare().1, 0);
    }

    #[test]
    fn as_many_bytes_are_kept_as_may_be() {
        let buffers = AlignedBuffers::new(5 * PAGE_BYTES);
        let of = |pages: usize| buffers.take(pages * PAGE_BYTES);
        let taken = [of(1), of(2), of(3), of(100)];
        assert_eq!(buffers.kept_bytes(), 0);
        drop(taken);
        assert_eq!(buffers.kept_bytes(), 3 * PAGE_BYTES, "4 pages more were too many");
        let (one, another) = (of(1), of(1));
        assert_eq!(buffers.kept_bytes(), 2 * PAGE_BYTES);
        drop(buffers);
        drop((one, another));
    }
}
