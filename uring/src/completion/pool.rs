//! The receive buffers of a ring: an arena whose free slots are provided to the kernel.

use crate::buf::{Arena, Buffer, Buffers};
use crate::provided::FreeRing;
use io_uring::{IoUring, cqueue};
use std::io;
use std::rc::Rc;

/// The receive buffers of a ring.
pub(super) struct Pool(Rc<Arena>);

impl Pool {
    /// Maps and registers `count` buffers of `buffer_bytes`.
    ///
    /// # Errors
    /// The kernel does not support buffer rings, or refuses; or out of memory.
    pub(super) fn register(ring: &IoUring, count: usize, buffer_bytes: usize) -> io::Result<Self> {
        let free = FreeRing::register(ring, count)?;
        Arena::with_free_ring(count, buffer_bytes, free).map(|arena| Self(Rc::new(arena)))
    }

    /// The same buffers, for the rest of the crate.
    pub(super) fn buffers(&self, bytes_max: usize) -> Buffers {
        Buffers::of(Rc::clone(&self.0), bytes_max)
    }

    /// The buffer that a completion with these flags has filled with `count` bytes.
    pub(super) fn filled(&self, flags: u32, count: usize) -> Option<Buffer> {
        cqueue::buffer_select(flags).map(|slot| Buffer::in_slot(&self.0, u32::from(slot), count))
    }
}
