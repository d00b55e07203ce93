//! Provided buffers: the ring of free ones, shared with the kernel. Only the ring's thread adds to it, only the kernel takes from
//! it.
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

/// Our side of the ring of free buffers.
pub(crate) struct FreeRing {
    /// The memory shared with the kernel.
    entries: Mapping,
    /// One less than the number of entries, which is a power of two: masks a position to an index.
    mask: u16,
    /// How many buffers have been given so far, modulo 2^16: the position of the next entry.
    tail: Cell<u16>,
}

impl FreeRing {
    /// Registers a ring for `count` buffers with `ring`.
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
        // SAFETY: the memory is that many entries, page-aligned, and lives as long as the arena that will own it, which the
        // driver holds as long as the ring.
        unsafe { ring.submitter().register_buf_ring_with_flags(address, number, GROUP, 0) }?;
        Ok(Self { entries, mask: number - 1, tail: Cell::new(0) })
    }

    /// The first entry; the memory begins with a page, so it is aligned.
    fn first(&self) -> *mut BufRingEntry {
        self.entries.start().as_ptr().cast()
    }

    /// Gives buffer `slot`, which is `len` bytes at `start`, back to the kernel.
    ///
    /// # Safety
    /// The memory stays valid as long as this ring, and nothing else uses it.
    pub(crate) unsafe fn give(&self, slot: u32, start: *mut u8, len: u32) {
        let tail = self.tail.get();
        let first = self.first();
        // SAFETY: masked, the index is that of an entry; the kernel reads only the entries before the tail, and this is none of
        // them.
        unsafe {
            let entry = &mut *first.add(usize::from(tail & self.mask));
            entry.set_addr(start as u64);
            entry.set_len(len);
            entry.set_bid(slot as u16);
        }
        let tail = tail.wrapping_add(1);
        self.tail.set(tail);
        // SAFETY: the tail lies in the first entry, where the fields above are not, and is accessed as a whole.
        let shared = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(first).cast_mut()) };
        // Release: the kernel, which sees the tail, sees the entry.
        shared.store(tail, Ordering::Release);
    }
}
