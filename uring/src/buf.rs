//! Read buffers: one arena per ring, cut into slots; heap memory when all slots are lent.
//!
//! ```text
//!   arena (one mapping)                         a slot is free, or in exactly one `Buffer`, or (on io_uring)
//!   +--------+--------+--------+--------+       in one completion that has not been read
//!   | slot 0 | slot 1 | slot 2 |  ...   |
//!   +--------+--------+--------+--------+
//! ```
//!
//! On io_uring the free slots are in a ring shared with the kernel, which takes one when bytes arrive. The kernel takes them in
//! turn, so the memory of all slots in the ring becomes resident. The kernel therefore gets a few slots at first, and more when
//! it runs out ([`Arena::give_more`]). On epoll the free slots are in a stack: the slot used last is the warmest in the cache.
//! Either way a waiting connection holds no slot.
//!
//! No read waits for a slot, since that would be a deadlock if idle tasks held all slots. When all are lent, reads use the heap.
//!
//! Buffers belong to one ring and are used on its thread alone, without locks.
#![expect(unsafe_code, reason = "slots of one mapping are handed to the kernel and to the caller")]

use crate::mapping::Mapping;
use crate::provided::FreeRing;
use std::cell::{Cell, RefCell};
use std::io;
use std::num::NonZeroUsize;
use std::rc::Rc;

/// Length of the longest heap buffer, bytes. It is small, since thousands of busy connections may each hold one.
const HEAP_BYTES_MAX: usize = 4096;

/// Number of slots that the kernel is given at the start, and again each time that it has used up those given before.
const GIVEN_TOGETHER: usize = 32;

/// Most reply buffers that a ring keeps for reuse.
const SPARES_MAX: usize = 64;
/// Capacity of the largest reply buffer that is kept for reuse, bytes.
const SPARE_BYTES_MAX: usize = 32 * 1024;

/// The free slots: a stack that only this process uses (epoll), or a ring from which the kernel takes slots (io_uring).
enum Free {
    /// On epoll: the numbers of the free slots.
    Stack(RefCell<Vec<u32>>),
    /// On io_uring: the free slots that the kernel has been given.
    Ring(FreeRing),
}

/// The memory of one ring's pool of read buffers, cut into slots of equal length.
pub(crate) struct Arena {
    mapping: Mapping,
    /// Length of a slot, bytes.
    buffer_bytes: usize,
    /// Number of slots.
    count: usize,
    /// On io_uring: number of slots, from the first on, that the kernel has been given so far. The slots after them are unused.
    given: Cell<usize>,
    /// Number of slots that are in use by a [`Buffer`].
    lent: Cell<usize>,
    free: Free,
}

/// A ring's read buffers, and the emptied reply buffers that it keeps for reuse. Clones share all of them.
#[derive(Clone)]
pub struct Buffers {
    arena: Option<Rc<Arena>>,
    /// Length of a pool buffer, bytes. A heap buffer is no longer than that, either.
    buffer_bytes: usize,
    /// Most bytes that may be lent, pool and heap together. A heap buffer that would exceed this limit is refused. 0 means no
    /// limit.
    bytes_max: usize,
    /// Bytes of all heap buffers that are lent at present.
    heap_bytes: Rc<Cell<usize>>,
    /// Emptied reply buffers, which [`Buffers::spare`] hands out again.
    spares: Rc<RefCell<Vec<Vec<u8>>>>,
}

impl std::fmt::Debug for Buffers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Buffers").field("pooled", &self.pooled()).field("free", &self.free()).finish()
    }
}

impl Buffers {
    /// Buffers without a pool. All are on the heap, `buffer_bytes` long but at most 4096 bytes.
    pub(crate) fn on_heap(buffer_bytes: usize, bytes_max: usize) -> Self {
        Self { arena: None, buffer_bytes, bytes_max, heap_bytes: Rc::default(), spares: Rc::default() }
    }

    /// Maps a pool of `count` buffers of `buffer_bytes` each, which are not registered with the kernel; no pool if `count` is 0.
    ///
    /// # Errors
    /// `ENOMEM`: out of memory.
    pub(crate) fn in_stack(count: usize, buffer_bytes: usize, bytes_max: usize) -> io::Result<Self> {
        if count == 0 {
            return Ok(Self::on_heap(buffer_bytes, bytes_max));
        }
        let free = Free::Stack(RefCell::new((0..count as u32).rev().collect()));
        Ok(Self::of(Rc::new(Arena::new(count, buffer_bytes, free)?), bytes_max))
    }

    /// Buffers in the slots of `arena`, or on the heap while all these slots are lent.
    pub(crate) fn of(arena: Rc<Arena>, bytes_max: usize) -> Self {
        let buffer_bytes = arena.buffer_bytes;
        Self { arena: Some(arena), buffer_bytes, bytes_max, heap_bytes: Rc::default(), spares: Rc::default() }
    }

    /// Takes a buffer to read into, for epoll: from the pool if one is free, else from the heap. `None` if a heap buffer would
    /// make the lent bytes exceed `bytes_max`.
    pub(crate) fn take(&self) -> Option<Buffer> {
        if let Some(arena) = &self.arena
            && let Free::Stack(free) = &arena.free
        {
            let slot = free.borrow_mut().pop();
            if let Some(slot) = slot {
                return Some(Buffer::in_slot(arena, slot, 0));
            }
        }
        self.heap()
    }

    /// Allocates a buffer on the heap; `None` if the lent bytes would then exceed `bytes_max`.
    pub(crate) fn heap(&self) -> Option<Buffer> {
        let len = self.buffer_bytes.min(HEAP_BYTES_MAX);
        if self.bytes_max != 0 && self.lent_bytes() + len > self.bytes_max {
            return None;
        }
        self.heap_bytes.set(self.heap_bytes.get() + len);
        Some(Buffer {
            memory: Memory::Heap { bytes: vec![0; len], lent: Rc::clone(&self.heap_bytes) },
            filled: 0,
        })
    }

    /// Returns an empty vector for a reply, with memory from [`Buffers::reuse`] if there is any. Thus a waiting connection need
    /// not keep reply memory, and the connection being served gets memory that is still in the cache.
    pub fn spare(&self) -> Vec<u8> {
        self.spares.borrow_mut().pop().unwrap_or_default()
    }

    /// Keeps the memory of `bytes`, a reply that has been sent, for [`Buffers::spare`]. Frees the memory if it is larger than 32
    /// KiB, or if 64 vectors are already kept.
    pub fn reuse(&self, mut bytes: Vec<u8>) {
        let mut spares = self.spares.borrow_mut();
        if bytes.capacity() > 0 && bytes.capacity() <= SPARE_BYTES_MAX && spares.len() < SPARES_MAX {
            bytes.clear();
            spares.push(bytes);
        }
    }

    /// Bytes of all buffers that are lent, from the pool and the heap. A buffer counts with its full length, however little was
    /// read into it.
    pub fn lent_bytes(&self) -> usize {
        (self.pooled() - self.free()) * self.buffer_bytes + self.heap_bytes.get()
    }

    /// Number of buffers in the pool, free or lent; 0 if there is no pool.
    pub fn pooled(&self) -> usize {
        self.arena.as_ref().map_or(0, |arena| arena.count)
    }

    /// Bytes that the pool takes, whether its buffers are free or not; 0 without a pool.
    pub fn pool_bytes(&self) -> usize {
        self.pooled() * self.buffer_bytes
    }

    /// Number of pool buffers that no [`Buffer`] uses. On io_uring some of them may hold bytes that no task has read yet.
    pub fn free(&self) -> usize {
        self.arena.as_ref().map_or(0, |arena| arena.count - arena.lent.get())
    }
}

/// The memory of a buffer: a slot of the pool, or on the heap.
enum Memory {
    Slot { arena: Rc<Arena>, slot: u32 },
    Heap { bytes: Vec<u8>, lent: Rc<Cell<usize>> },
}

/// One read buffer. Dropping it returns its memory to the pool, or to the heap.
///
/// Dropping does bookkeeping only, because it can happen inside the runtime's dispatch of completions.
pub struct Buffer {
    memory: Memory,
    filled: usize,
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Buffer")
            .field("pooled", &self.is_pooled())
            .field("filled", &self.filled)
            .finish_non_exhaustive()
    }
}

impl Buffer {
    /// Makes the buffer in `slot`, which holds `filled` bytes. No other [`Buffer`] may have the slot.
    pub(crate) fn in_slot(arena: &Rc<Arena>, slot: u32, filled: usize) -> Self {
        arena.lent.set(arena.lent.get() + 1);
        Self { memory: Memory::Slot { arena: Rc::clone(arena), slot }, filled }
    }

    /// A buffer without bytes or memory, which a read at the end of the stream returns.
    pub(crate) fn empty() -> Self {
        Self { memory: Memory::Heap { bytes: Vec::new(), lent: Rc::default() }, filled: 0 }
    }

    /// True if the read filled the whole buffer, so that more bytes may be in the socket.
    pub(crate) fn is_full(&self) -> bool {
        self.filled
            == match &self.memory {
                Memory::Slot { arena, .. } => arena.buffer_bytes,
                Memory::Heap { bytes, .. } => bytes.len(),
            }
    }

    /// The bytes of the last read only. What earlier reads left in the memory cannot be reached.
    pub fn bytes(&self) -> &[u8] {
        match &self.memory {
            Memory::Slot { arena, slot } => {
                let start = arena.start_of(*slot);
                assert!(self.filled <= arena.buffer_bytes);
                // SAFETY: `filled` bytes from the slot's start are inside the slot (asserted), which is mapped as long as
                // `arena` and zeroed at first; this `Buffer` alone has the slot, and whoever holds it borrowed cannot
                // lend it to the kernel.
                unsafe { std::slice::from_raw_parts(start, self.filled) }
            }
            Memory::Heap { bytes, .. } => &bytes[..self.filled],
        }
    }

    /// The same bytes as [`Buffer::bytes`], to be changed in place.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        match &mut self.memory {
            Memory::Slot { arena, slot } => {
                let start = arena.start_of(*slot);
                assert!(self.filled <= arena.buffer_bytes);
                // SAFETY: as in `bytes`; and whoever holds this `Buffer` mutably is alone with it.
                unsafe { std::slice::from_raw_parts_mut(start, self.filled) }
            }
            Memory::Heap { bytes, .. } => &mut bytes[..self.filled],
        }
    }

    /// True if the buffer belongs to the ring's pool; false if it is on the heap, because no pool buffer was free.
    pub fn is_pooled(&self) -> bool {
        matches!(self.memory, Memory::Slot { .. })
    }

    /// Bytes of memory that the buffer takes on the heap; 0 for a pool buffer.
    pub fn heap_bytes(&self) -> usize {
        match &self.memory {
            Memory::Slot { .. } => 0,
            Memory::Heap { bytes, .. } => bytes.capacity(),
        }
    }

    /// Empties the buffer and returns the address and length of all its memory, for the kernel to write to.
    pub(crate) fn lend(&mut self) -> (*mut u8, u32) {
        self.filled = 0;
        match &mut self.memory {
            Memory::Slot { arena, slot } => (arena.start_of(*slot), arena.buffer_bytes as u32),
            Memory::Heap { bytes, .. } => (bytes.as_mut_ptr(), bytes.len() as u32),
        }
    }

    /// Marks `count` bytes as read. The kernel must have written them to the front of what [`Buffer::lend`] returned.
    pub(crate) fn returned(&mut self, count: usize) {
        self.filled = count;
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        match &self.memory {
            Memory::Slot { arena, slot } => {
                arena.lent.set(arena.lent.get() - 1);
                arena.take_back(*slot);
            }
            Memory::Heap { bytes, lent } => lent.set(lent.get() - bytes.len()),
        }
    }
}

impl Arena {
    fn new(count: usize, buffer_bytes: usize, free: Free) -> io::Result<Self> {
        let len = NonZeroUsize::new(count * buffer_bytes).ok_or(io::ErrorKind::InvalidInput)?;
        let mapping = Mapping::new(len)?;
        Ok(Self { mapping, buffer_bytes, count, given: Cell::new(0), lent: Cell::new(0), free })
    }

    /// Maps an arena of `count` slots whose free slots are shared with the kernel through `free`, and gives the kernel the first
    /// [`GIVEN_TOGETHER`] of them.
    ///
    /// # Errors
    /// `ENOMEM`: out of memory.
    pub(crate) fn with_free_ring(count: usize, buffer_bytes: usize, free: FreeRing) -> io::Result<Self> {
        let arena = Self::new(count, buffer_bytes, Free::Ring(free))?;
        arena.give_more();
        Ok(arena)
    }

    /// Gives the kernel up to [`GIVEN_TOGETHER`] slots that it has never had; false if it has had all of them.
    pub(crate) fn give_more(&self) -> bool {
        let from = self.given.get();
        let to = self.count.min(from + GIVEN_TOGETHER);
        (from..to).for_each(|slot| self.take_back(slot as u32));
        self.given.set(to);
        to > from
    }

    #[cfg(test)]
    pub(crate) fn given(&self) -> usize {
        self.given.get()
    }

    /// Makes `slot` free, which on io_uring gives it to the kernel. Nothing may use the slot any more.
    fn take_back(&self, slot: u32) {
        match &self.free {
            Free::Stack(free) => free.borrow_mut().push(slot),
            // SAFETY: the slot is mapped as long as the arena, which owns the ring, lives; and whoever had the slot has let go.
            Free::Ring(free) => unsafe { free.give(slot, self.start_of(slot), self.buffer_bytes as u32) },
        }
    }

    fn start_of(&self, slot: u32) -> *mut u8 {
        assert!((slot as usize) < self.count);
        // SAFETY: `count` slots of `buffer_bytes` are the mapping's length, so the offset is inside it (asserted).
        unsafe { self.mapping.start().as_ptr().add(slot as usize * self.buffer_bytes) }
    }
}
