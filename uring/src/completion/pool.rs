//! The receive buffers of a ring: an arena whose free slots are provided to the kernel. A part of the driver, on its ring's
//! thread alone.

use crate::buf::{Arena, Buffer, Buffers};
use crate::provided::FreeRing;
use io_uring::{IoUring, cqueue};
use std::cell::Cell;
use std::io;
use std::rc::Rc;

/// The receive buffers of a ring.
pub(super) struct Pool {
    arena: Rc<Arena>,
    /// Number of the driver's pass in which the kernel was last given more slots. Further calls of [`Pool::grow`] in that pass
    /// give none.
    grown_in: Cell<u32>,
}

impl Pool {
    /// Maps and registers `count` buffers of `buffer_bytes`.
    ///
    /// # Errors
    /// The kernel does not support buffer rings, or refuses this one; or memory cannot be mapped.
    pub(super) fn register(ring: &IoUring, count: usize, buffer_bytes: usize) -> io::Result<Self> {
        let free = FreeRing::register(ring, count)?;
        let arena = Rc::new(Arena::with_free_ring(count, buffer_bytes, free)?);
        Ok(Self { arena, grown_in: Cell::new(0) })
    }

    /// A handle on these buffers for the rest of the crate. It adds heap buffers while at most `bytes_max` bytes are lent, pool
    /// and heap together; 0 means no limit.
    pub(super) fn buffers(&self, bytes_max: usize) -> Buffers {
        Buffers::of(Rc::clone(&self.arena), bytes_max)
    }

    /// Number of buffers that the kernel has been given so far.
    #[cfg(test)]
    pub(super) fn given(&self) -> usize {
        self.arena.given()
    }

    /// Gives the kernel more slots, once for all receives that failed in the same pass. Called when a receive failed for lack of
    /// a buffer, in the driver's pass `pass`. False if the kernel has been given all slots.
    pub(super) fn grow(&self, pass: u32) -> bool {
        self.grown_in.get() == pass
            || self.arena.give_more() && {
                self.grown_in.set(pass);
                true
            }
    }

    /// The buffer that a completion with these `flags` has filled with `count` bytes; `None` if `flags` name no buffer.
    pub(super) fn filled(&self, flags: u32, count: usize) -> Option<Buffer> {
        cqueue::buffer_select(flags).map(|slot| Buffer::in_slot(&self.arena, u32::from(slot), count))
    }
}
