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
//! turn, so all that are in the ring become resident: it gets a few at first, and more when it runs out ([`Arena::give_more`]).
//! On epoll they are in a stack: the slot used last is the warmest. Either way a waiting connection holds none.
//!
//! Nothing ever waits for a slot, since an idle holder could make that a deadlock: when all are lent, reads use the heap.
//!
//! Buffers belong to one ring and are used on its thread alone, without locks.
#![expect(unsafe_code, reason = "slots of one mapping are handed to the kernel and to the caller")]

use crate::mapping::Mapping;
use crate::provided::FreeRing;
use std::cell::{Cell, RefCell};
use std::io;
use std::num::NonZeroUsize;
use std::rc::Rc;

/// Longest heap buffer, bytes: short, since thousands of busy connections may each hold one.
const HEAP_BYTES_MAX: usize = 4096;

/// Slots that the kernel is given at the start, and again each time that it has none left.
const GIVEN_TOGETHER: usize = 32;

/// Most reply buffers kept for reuse.
const SPARES_MAX: usize = 64;
/// The largest reply buffer that is kept, bytes.
const SPARE_BYTES_MAX: usize = 32 * 1024;

/// The free slots: a stack of ours (epoll), or a ring from which the kernel takes them (io_uring).
enum Free {
    /// On epoll: the numbers of the free slots.
    Stack(RefCell<Vec<u32>>),
    /// On io_uring: in the ring shared with the kernel.
    Ring(FreeRing),
}

/// The slots of one ring.
pub(crate) struct Arena {
    mapping: Mapping,
    /// Length of a slot.
    buffer_bytes: usize,
    /// Number of slots.
    count: usize,
    /// On io_uring: number of slots that the kernel has been given so far; those behind them have not been used yet.
    given: Cell<usize>,
    /// Number of slots that are in a [`Buffer`].
    lent: Cell<usize>,
    free: Free,
}

/// A ring's buffers; clones share them.
#[derive(Clone)]
pub struct Buffers {
    arena: Option<Rc<Arena>>,
    /// Length of a buffer of the pool.
    buffer_bytes: usize,
    /// A heap buffer is refused if more bytes than this would then be lent, the pool's included; 0 is no limit.
    bytes_max: usize,
    /// Bytes of heap buffers that are lent.
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
    /// Buffers without a pool: all are on the heap, `buffer_bytes` long or 4096 if that is less.
    pub(crate) fn on_heap(buffer_bytes: usize, bytes_max: usize) -> Self {
        Self { arena: None, buffer_bytes, bytes_max, heap_bytes: Rc::default(), spares: Rc::default() }
    }

    /// Maps `count` buffers of `buffer_bytes` that are not registered with the kernel.
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

    /// The buffers of `arena`, and of the heap when all its slots are lent.
    pub(crate) fn of(arena: Rc<Arena>, bytes_max: usize) -> Self {
        let buffer_bytes = arena.buffer_bytes;
        Self { arena: Some(arena), buffer_bytes, bytes_max, heap_bytes: Rc::default(), spares: Rc::default() }
    }

    /// A buffer to read into, for epoll: from the pool if one is free, else from the heap; `None` if more than `bytes_max` would
    /// be lent.
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

    /// A buffer on the heap; `None` if more than `bytes_max` would be lent.
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

    /// An empty vector for a reply, reusing an earlier one's memory if possible. So a waiting connection keeps no reply
    /// memory, and the one being served gets memory that is still in cache.
    pub fn spare(&self) -> Vec<u8> {
        self.spares.borrow_mut().pop().unwrap_or_default()
    }

    /// Keeps the memory of a sent reply for [`Buffers::spare`]; frees it if it is too long, or enough is kept.
    pub fn reuse(&self, mut bytes: Vec<u8>) {
        let mut spares = self.spares.borrow_mut();
        if bytes.capacity() > 0 && bytes.capacity() <= SPARE_BYTES_MAX && spares.len() < SPARES_MAX {
            bytes.clear();
            spares.push(bytes);
        }
    }

    /// Bytes of all buffers that are lent, from the pool and the heap: their full length, however little was read into them.
    pub fn lent_bytes(&self) -> usize {
        (self.pooled() - self.free()) * self.buffer_bytes + self.heap_bytes.get()
    }

    /// Number of buffers in the pool; 0 if everything is on the heap.
    pub fn pooled(&self) -> usize {
        self.arena.as_ref().map_or(0, |arena| arena.count)
    }

    /// Bytes that the pool takes, whether its buffers are free or not; 0 without a pool.
    pub fn pool_bytes(&self) -> usize {
        self.pooled() * self.buffer_bytes
    }

    /// Number of pool buffers that no [`Buffer`] uses. On io_uring some of these may hold bytes that no task has read yet.
    pub fn free(&self) -> usize {
        self.arena.as_ref().map_or(0, |arena| arena.count - arena.lent.get())
    }
}

/// The memory of a buffer.
enum Memory {
    Slot { arena: Rc<Arena>, slot: u32 },
    Heap { bytes: Vec<u8>, lent: Rc<Cell<usize>> },
}

/// One read buffer; dropping it returns its memory.
///
/// Dropping is bookkeeping alone, because it can happen inside the runtime's dispatch of completions.
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
    /// The buffer in `slot`, which nobody else has, with `filled` bytes in it.
    pub(crate) fn in_slot(arena: &Rc<Arena>, slot: u32, filled: usize) -> Self {
        arena.lent.set(arena.lent.get() + 1);
        Self { memory: Memory::Slot { arena: Rc::clone(arena), slot }, filled }
    }

    /// A buffer without bytes or memory: what a read at the end of the stream returns.
    pub(crate) fn empty() -> Self {
        Self { memory: Memory::Heap { bytes: Vec::new(), lent: Rc::default() }, filled: 0 }
    }

    /// True if the read filled the buffer: more bytes may be in the socket.
    pub(crate) fn is_full(&self) -> bool {
        self.filled
            == match &self.memory {
                Memory::Slot { arena, .. } => arena.buffer_bytes,
                Memory::Heap { bytes, .. } => bytes.len(),
            }
    }

    /// The bytes of the last read only: what earlier reads left in the memory is out of reach.
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

    /// As [`Buffer::bytes`], to be changed in place.
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

    /// True if it belongs to the ring's pool, false if it was allocated because none was free.
    pub fn is_pooled(&self) -> bool {
        matches!(self.memory, Memory::Slot { .. })
    }

    /// Bytes of memory that the buffer takes on the heap; 0 if it is of the pool.
    pub fn heap_bytes(&self) -> usize {
        match &self.memory {
            Memory::Slot { .. } => 0,
            Memory::Heap { bytes, .. } => bytes.capacity(),
        }
    }

    /// Empties the buffer and returns address and length of all its memory, for the kernel to write to.
    pub(crate) fn lend(&mut self) -> (*mut u8, u32) {
        self.filled = 0;
        match &mut self.memory {
            Memory::Slot { arena, slot } => (arena.start_of(*slot), arena.buffer_bytes as u32),
            Memory::Heap { bytes, .. } => (bytes.as_mut_ptr(), bytes.len() as u32),
        }
    }

    /// Counts `count` bytes as read: the kernel has written them to the front of what [`Buffer::lend`] returned.
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

    /// An arena of `count` slots whose free ones are shared with the kernel through `free`. The kernel is given the first few at
    /// once.
    ///
    /// # Errors
    /// `ENOMEM`: out of memory.
    pub(crate) fn with_free_ring(count: usize, buffer_bytes: usize, free: FreeRing) -> io::Result<Self> {
        let arena = Self::new(count, buffer_bytes, Free::Ring(free))?;
        arena.give_more();
        Ok(arena)
    }

    /// Gives the kernel some of the slots that it has not had yet; false if it has had all.
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

    /// Makes `slot` free, which nobody uses any more; on io_uring that gives it to the kernel.
    fn take_back(&self, slot: u32) {
        match &self.free {
            Free::Stack(free) => free.borrow_mut().push(slot),
            // SAFETY: the slot is mapped as long as the arena is, which has the ring, and whoever had the slot has let go.
            Free::Ring(free) => unsafe { free.give(slot, self.start_of(slot), self.buffer_bytes as u32) },
        }
    }

    fn start_of(&self, slot: u32) -> *mut u8 {
        assert!((slot as usize) < self.count);
        // SAFETY: `count` slots of `buffer_bytes` are the mapping's length, so the offset is inside it (asserted).
        unsafe { self.mapping.start().as_ptr().add(slot as usize * self.buffer_bytes) }
    }
}
