//! What the connections of a ring share: its queues, its buffers, and what its kernel supports. A part of the driver, on its
//! ring's thread alone.

use super::pool::Pool;
use super::probe::Setup;
use super::queue::Queue;
use crate::buf::{Buffer, Buffers};
use io_uring::IoUring;
use std::cell::Cell;
use std::io;

/// What the connections of a ring share.
pub(super) struct Resources {
    pub(super) queue: Queue,
    /// What the kernel supports.
    pub(super) setup: Cell<Setup>,
    /// Provided buffers for receives; `None` if they cannot be registered.
    pub(super) pool: Option<Pool>,
    /// Where heap memory comes from when no buffer is free.
    pub(super) buffers: Buffers,
    /// True if a task waits for a queued send. The ring must not sleep then: the send may succeed without a completion.
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

    /// Called when the kernel refused a multishot receive: from here on none is used.
    pub(super) fn no_more_multishot(&self) {
        self.setup.set(Setup { multishot: false, ..self.setup.get() });
    }

    /// A heap buffer.
    ///
    /// # Errors
    /// The limit on read memory is reached.
    pub(super) fn heap_buffer(&self) -> io::Result<Buffer> {
        self.buffers.heap().ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }

    /// Notes that a task waits for a queued send.
    pub(super) fn must_settle(&self) {
        self.is_settling.set(true);
    }
}
