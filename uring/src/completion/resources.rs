//! What the connections of a ring share: its queues, its buffers, and what its kernel supports. A part of the driver, on its
//! ring's thread alone.

use super::pool::Pool;
use super::probe::Setup;
use super::queue::Queue;
use crate::buf::{Buffer, Buffers};
use io_uring::IoUring;
use std::cell::Cell;
use std::io;

/// The parts of the driver that its connections use.
pub(super) struct Resources {
    pub(super) queue: Queue,
    /// The features that the kernel supports. `multishot` becomes false if the kernel later refuses a multishot receive.
    pub(super) setup: Cell<Setup>,
    /// Provided buffers for receives; `None` if none are wanted, or the kernel refused to register them.
    pub(super) pool: Option<Pool>,
    /// The ring's buffers: the buffers of the pool, and heap buffers for when no pool buffer is free.
    pub(super) buffers: Buffers,
    /// True if a task waits for a queued send. The ring then must not sleep, because the send may succeed without a completion.
    pub(super) is_settling: Cell<bool>,
}

impl Resources {
    pub(super) fn new(ring: IoUring, setup: Setup, pool: Option<Pool>, buffers: Buffers) -> Self {
        Self {
            queue: Queue::new(ring),
            setup: Cell::new(setup),
            pool,
            buffers,
            is_settling: Cell::new(false),
        }
    }

    /// Makes all later receives single ones. Called when the kernel refused a multishot receive.
    pub(super) fn no_more_multishot(&self) {
        self.setup.set(Setup { multishot: false, ..self.setup.get() });
    }

    /// Allocates a heap buffer to read into.
    ///
    /// # Errors
    /// The limit on read memory is reached.
    pub(super) fn heap_buffer(&self) -> io::Result<Buffer> {
        self.buffers.heap().ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }

    /// Keeps the ring from sleeping in its next pass, because a task waits for a queued send.
    pub(super) fn must_settle(&self) {
        self.is_settling.set(true);
    }
}
