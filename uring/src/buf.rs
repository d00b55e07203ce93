//! Read buffers: one arena per ring, cut into slots that are lent one by one; heap memory beyond that.
//!
//! ```text
//!   arena (one mapping; on io_uring buffer 0)     free: [2, 0, ..]      a stack: the slot used last is the warmest
//!   ┌────────┬────────┬────────┬────────┐
//!   │ slot 0 │ slot 1 │ slot 2 │  ...   │         a slot is in `free` or in exactly one `Buffer`
//!   └────────┴────────┴────────┴────────┘
//! ```
//!
//! On io_uring the arena is registered with the kernel. A read names that registration and an address inside it, so slots
//! need no registration of their own and their number is bounded by memory alone.
//!
//! Nobody ever waits for a slot (an idle holder could make that a deadlock): when all are lent, [`Buffers::take`]
//! gives heap memory, which is read into the ordinary way.
#![expect(unsafe_code, reason = "slots of one mapping are handed to the kernel and to the caller")]

use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap_anonymous, munmap};
use std::cell::{Cell, RefCell};
use std::io;
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::rc::Rc;
use tokio_uring::buf::fixed::FixedBufRegistry;
use tokio_uring::buf::{IoBuf, IoBufMut};

/// Size of a buffer from the heap: small, since thousands of busy connections may each hold one.
const HEAP_BYTES_MAX: usize = 4096;

/// The index under which the arena is registered with its ring.
const ARENA_INDEX: u16 = 0;

/// Zeroed memory of its own pages; unmapped when the last owner goes.
struct Mapping {
    start: NonNull<u8>,
    len: NonZeroUsize,
}

impl Mapping {
    fn new(len: NonZeroUsize) -> io::Result<Self> {
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: an anonymous mapping at an address of the kernel's choice touches nothing that exists.
        let start = unsafe { mmap_anonymous(None, len, protection, MapFlags::MAP_PRIVATE) }?;
        // A huge page would be charged to the lock limit as a whole. Kernels without them refuse, which is as good.
        // SAFETY: the range is the mapping just made; the advice changes no contents.
        let _ = unsafe { madvise(start, len.get(), MmapAdvise::MADV_NOHUGEPAGE) };
        Ok(Self { start: start.cast(), len })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: start and length are those of the mapping, and its last owner is going. Should the kernel still have it
        // registered, it holds the pages themselves, not these addresses.
        let _ = unsafe { munmap(self.start.cast(), self.len.get()) };
    }
}

/// The arena as the runtime wants it for registration; the runtime keeps it as long as the ring.
struct Registered(Rc<Mapping>);

// SAFETY: the memory is mapped, zeroed, and stays in place as long as the `Mapping` it shares.
unsafe impl IoBuf for Registered {
    fn stable_ptr(&self) -> *const u8 {
        self.0.start.as_ptr()
    }
    fn bytes_init(&self) -> usize {
        self.0.len.get()
    }
    fn bytes_total(&self) -> usize {
        self.0.len.get()
    }
}

// SAFETY: as above; the runtime itself never writes through this pointer, it only registers it.
unsafe impl IoBufMut for Registered {
    fn stable_mut_ptr(&mut self) -> *mut u8 {
        self.0.start.as_ptr()
    }
    unsafe fn set_init(&mut self, _pos: usize) {}
}

struct Arena {
    is_registered: bool,
    mapping: Rc<Mapping>,
    buffer_bytes: usize,
    count: usize,
    free: RefCell<Vec<u32>>,
}

/// A ring's buffers; clones share them.
#[derive(Clone)]
pub struct Buffers {
    arena: Option<Rc<Arena>>,
    buffer_bytes: usize,
    /// Bytes of the heap that are lent.
    heap_bytes: Rc<Cell<usize>>,
}

impl std::fmt::Debug for Buffers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Buffers").field("pooled", &self.pooled()).field("free", &self.free()).finish()
    }
}

impl Buffers {
    /// Buffers of `buffer_bytes` on the heap alone.
    pub(crate) fn heap(buffer_bytes: usize) -> Self {
        Self { arena: None, buffer_bytes, heap_bytes: Rc::default() }
    }

    /// Maps and registers `count` buffers of `buffer_bytes` with the ring whose runtime this is called in.
    ///
    /// # Errors
    /// `ENOMEM`: over the limit on locked memory.
    pub(crate) fn register(count: usize, buffer_bytes: usize) -> io::Result<Self> {
        Self::map(count, buffer_bytes, |mapping| {
            FixedBufRegistry::new([Registered(Rc::clone(mapping))]).register().map(|()| true)
        })
    }

    /// Maps `count` buffers of `buffer_bytes` without telling the kernel of them.
    ///
    /// # Errors
    /// `ENOMEM`: out of memory.
    pub(crate) fn unregistered(count: usize, buffer_bytes: usize) -> io::Result<Self> {
        Self::map(count, buffer_bytes, |_| Ok(false))
    }

    fn map(
        count: usize,
        buffer_bytes: usize,
        register: impl FnOnce(&Rc<Mapping>) -> io::Result<bool>,
    ) -> io::Result<Self> {
        let Some(len) = NonZeroUsize::new(count * buffer_bytes) else { return Ok(Self::heap(buffer_bytes)) };
        let mapping = Rc::new(Mapping::new(len)?);
        let is_registered = register(&mapping)?;
        let free = RefCell::new((0..count as u32).rev().collect());
        let arena = Rc::new(Arena { is_registered, mapping, buffer_bytes, count, free });
        Ok(Self { arena: Some(arena), buffer_bytes, heap_bytes: Rc::default() })
    }

    /// A buffer: from the pool if one is free, else from the heap.
    pub fn take(&self) -> Buffer {
        if let Some(arena) = &self.arena {
            let slot = arena.free.borrow_mut().pop();
            if let Some(slot) = slot {
                return Buffer { memory: Memory::Slot { arena: Rc::clone(arena), slot }, filled: 0 };
            }
        }
        let bytes = vec![0; self.buffer_bytes.min(HEAP_BYTES_MAX)];
        self.heap_bytes.set(self.heap_bytes.get() + bytes.len());
        Buffer { memory: Memory::Heap { bytes, lent: Rc::clone(&self.heap_bytes) }, filled: 0 }
    }

    /// Bytes of all buffers that are lent.
    pub fn lent_bytes(&self) -> usize {
        (self.pooled() - self.free()) * self.buffer_bytes + self.heap_bytes.get()
    }

    /// True if less than a quarter of the pool is free: who waits should not hold one.
    pub fn scarce(&self) -> bool {
        self.free() < self.pooled().div_ceil(4)
    }

    /// Number of buffers in the pool; 0 if everything is on the heap.
    pub fn pooled(&self) -> usize {
        self.arena.as_ref().map_or(0, |arena| arena.count)
    }

    /// Memory of the pool, bytes.
    pub fn pool_bytes(&self) -> usize {
        self.pooled() * self.buffer_bytes
    }

    /// Number of buffers in the pool that nobody holds.
    pub fn free(&self) -> usize {
        self.arena.as_ref().map_or(0, |arena| arena.free.borrow().len())
    }
}

enum Memory {
    Slot { arena: Rc<Arena>, slot: u32 },
    Heap { bytes: Vec<u8>, lent: Rc<Cell<usize>> },
}

/// One read buffer; dropping it gives it back.
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
    /// The bytes of the last read, and no other: what earlier reads left behind them is out of reach.
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

    /// Memory of the buffer that is not the pool's, bytes.
    pub fn heap_bytes(&self) -> usize {
        match &self.memory {
            Memory::Slot { .. } => 0,
            Memory::Heap { bytes, .. } => bytes.capacity(),
        }
    }

    /// The registration of the memory, if the kernel knows it beforehand.
    pub(crate) fn registered_index(&self) -> Option<u16> {
        matches!(&self.memory, Memory::Slot { arena, .. } if arena.is_registered).then_some(ARENA_INDEX)
    }

    /// The whole memory, to be written by the kernel; forgets what it held.
    pub(crate) fn lend(&mut self) -> (*mut u8, u32) {
        self.filled = 0;
        match &mut self.memory {
            Memory::Slot { arena, slot } => (arena.start_of(*slot), arena.buffer_bytes as u32),
            Memory::Heap { bytes, .. } => (bytes.as_mut_ptr(), bytes.len() as u32),
        }
    }

    /// The kernel wrote `count` bytes to the front of what [`Buffer::lend`] gave it.
    pub(crate) fn returned(&mut self, count: usize) {
        self.filled = count;
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        match &self.memory {
            Memory::Slot { arena, slot } => arena.free.borrow_mut().push(*slot),
            Memory::Heap { bytes, lent } => lent.set(lent.get() - bytes.len()),
        }
    }
}

impl Arena {
    fn start_of(&self, slot: u32) -> *mut u8 {
        assert!((slot as usize) < self.count);
        // SAFETY: `count` slots of `buffer_bytes` are the mapping's length, so the offset is inside it (asserted).
        unsafe { self.mapping.start.as_ptr().add(slot as usize * self.buffer_bytes) }
    }
}
