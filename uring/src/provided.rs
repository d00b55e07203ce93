//! The ring of free provided buffers, in memory shared with the kernel. Only the io_uring's thread adds buffers to it, only the
//! kernel takes buffers from it.
//!
//! ```text
//!   free ones, in order         tail (ours)
//!   ┌───┬───┬───┬───┬───┬───┬───┬───┐
//!   │ . │ 4 │ 0 │ 7 │ 2 │ . │ . │ . │      a number is in the ring, or in one completion, or in one `Buffer`
//!   └───┴───┴───┴───┴───┴───┴───┴───┘
//!         head (the kernel's)
//! ```
#![expect(unsafe_code, reason = "the ring is memory shared with the kernel")]

use crate::mapping::Mapping;
use io_uring::IoUring;
use io_uring::types::BufRingEntry;
use std::cell::Cell;
use std::io;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU16, Ordering};

/// The buffer group under which the ring of free buffers is registered.
pub(crate) const GROUP: u16 = 0;

/// This process's side of the ring of free buffers.
pub(crate) struct FreeRing {
    /// The memory shared with the kernel.
    entries: Mapping,
    /// The number of entries, which is a power of two, minus one. It masks a position to an index.
    mask: u16,
    /// Position of the next entry: how many buffers the kernel has been given so far, modulo 2^16.
    tail: Cell<u16>,
}

impl FreeRing {
    /// Registers an empty ring of free buffers, with room for `count`, with the io_uring `ring`.
    ///
    /// # Errors
    /// The kernel does not support buffer rings (before 5.19), or refuses.
    pub(crate) fn register(ring: &IoUring, count: usize) -> io::Result<Self> {
        let entries = count.next_power_of_two();
        let len =
            NonZeroUsize::new(entries * size_of::<BufRingEntry>()).ok_or(io::ErrorKind::InvalidInput)?;
        let entries = Mapping::new(len)?;
        let address = entries.start().as_ptr() as u64;
        let number = u16::try_from(count.next_power_of_two()).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: the memory is `number` entries, page-aligned, and lives as long as the arena that will own it, which the
        // driver holds as long as the io_uring.
        unsafe { ring.submitter().register_buf_ring_with_flags(address, number, GROUP, 0) }?;
        Ok(Self { entries, mask: number - 1, tail: Cell::new(0) })
    }

    /// Address of the first entry. It is aligned, since the memory begins at a page boundary.
    fn first(&self) -> *mut BufRingEntry {
        self.entries.start().as_ptr().cast()
    }

    /// Gives buffer `slot`, which is `len` bytes at `start`, to the kernel.
    ///
    /// # Safety
    /// The `len` bytes at `start` stay valid as long as this ring, and nothing else uses them until a completion returns the
    /// buffer.
    pub(crate) unsafe fn give(&self, slot: u32, start: *mut u8, len: u32) {
        let tail = self.tail.get();
        let first = self.first();
        // SAFETY: the masked index is that of an entry; the kernel reads only the entries before the tail, and this entry is not
        // one of them.
        unsafe {
            let entry = &mut *first.add(usize::from(tail & self.mask));
            entry.set_addr(start as u64);
            entry.set_len(len);
            entry.set_bid(slot as u16);
        }
        let tail = tail.wrapping_add(1);
        self.tail.set(tail);
        // SAFETY: the tail lies in the first entry, apart from the fields set above, and is accessed as a whole.
        let shared = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(first).cast_mut()) };
        // Release: the kernel, which sees the tail, sees the entry.
        shared.store(tail, Ordering::Release);
    }
}
