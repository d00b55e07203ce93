//! Limits the reads from flash that a ring has in flight, by number and by memory. One per ring, used by its tasks.
//!
//! ```text
//!   take ──► ReadPermit ──► goes with its read to the kernel ──► dropped with the buffer
//!              └─ the read's time is up: nobody waits for it any more, the permit stays taken (overdue)
//! ```
//!
//! So a device that does not answer holds no more memory than one that does.

use super::beat::unless;
use crate::limits::{FLASH_READ_BYTES_MAX, FLASH_READS_MAX};
use std::cell::RefCell;
use std::sync::{Arc, Weak};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uring::Bell;

/// Size of the unit in which the memory of read buffers is counted, bytes. A read longer than the whole limit takes all units,
/// so it waits until no other read is in flight.
const UNIT_BYTES: usize = 4096;
const UNITS_MAX: usize = FLASH_READ_BYTES_MAX / UNIT_BYTES;

/// The limits on the reads from flash that a ring has in flight.
#[derive(Debug)]
pub(super) struct ReadLimiter {
    reads: Arc<Semaphore>,
    units: Arc<Semaphore>,
    /// The permits of reads that took too long. Each is dropped when the kernel has finished its read.
    overdue: RefCell<Vec<Weak<ReadPermit>>>,
}

/// The right to make one read, and to hold the memory that it reads into.
#[derive(Debug)]
pub(super) struct ReadPermit {
    units: OwnedSemaphorePermit,
    _read: OwnedSemaphorePermit,
}

impl ReadLimiter {
    pub(super) fn new() -> Self {
        Self {
            reads: Arc::new(Semaphore::new(FLASH_READS_MAX)),
            units: Arc::new(Semaphore::new(UNITS_MAX)),
            overdue: RefCell::default(),
        }
    }

    /// Waits for a permit for a read of `bytes` bytes. `None` if there can be no permit before the kernel finishes overdue
    /// reads, which is checked again each time `bell` rings. Reads that are not overdue end in time, so waiting for them is safe.
    pub(super) async fn take(&self, bytes: usize, bell: &Bell) -> Option<Arc<ReadPermit>> {
        let units = bytes.div_ceil(UNIT_BYTES).min(UNITS_MAX);
        if self.are_held_up(units) {
            return None;
        }
        unless(self.acquire(units), bell, || self.are_held_up(units)).await.flatten()
    }

    async fn acquire(&self, units: usize) -> Option<Arc<ReadPermit>> {
        // Neither semaphore is ever closed. Units are taken before a read permit, so the holder of a permit waits for nothing.
        let units = Arc::clone(&self.units).acquire_many_owned(units as u32).await.ok()?;
        let read = Arc::clone(&self.reads).acquire_owned().await.ok()?;
        Some(Arc::new(ReadPermit { units, _read: read }))
    }

    /// Notes that the read of `permit` took too long. Nobody waits for that read any more, but it keeps its permit until the
    /// kernel has finished it.
    pub(super) fn note_overdue(&self, permit: Weak<ReadPermit>) {
        self.overdue.borrow_mut().push(permit);
    }

    /// True if there are overdue reads that the kernel has not finished.
    pub(super) fn has_overdue(&self) -> bool {
        let mut overdue = self.overdue.borrow_mut();
        overdue.retain(|permit| permit.strong_count() > 0);
        !overdue.is_empty()
    }

    /// True if a read that takes `units` of [`UNIT_BYTES`] cannot begin before one of the overdue reads is finished.
    fn are_held_up(&self, units: usize) -> bool {
        if !self.has_overdue() {
            return false;
        }
        let overdue = self.overdue.borrow();
        let held: usize =
            overdue.iter().filter_map(Weak::upgrade).map(|permit| permit.units.num_permits()).sum();
        overdue.len() >= FLASH_READS_MAX || held + units > UNITS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use std::task::Poll;

    fn take(limiter: &ReadLimiter, bytes: usize) -> Poll<Option<Arc<ReadPermit>>> {
        limiter.take(bytes, &Bell::default()).now_or_never().map_or(Poll::Pending, Poll::Ready)
    }

    fn taken(limiter: &ReadLimiter, bytes: usize) -> Arc<ReadPermit> {
        match take(limiter, bytes) {
            Poll::Ready(Some(permit)) => permit,
            other => panic!("{other:?}"),
        }
    }

    /// When reads that the device did not answer had taken all permits, later reads queued for ever.
    #[test]
    fn who_could_not_begin_is_told_at_once() {
        let limiter = ReadLimiter::new();
        let all: Vec<_> = (0..FLASH_READS_MAX).map(|_| taken(&limiter, 1)).collect();
        assert!(take(&limiter, 1).is_pending(), "they may end yet");
        assert!(!limiter.has_overdue());
        for permit in &all {
            assert!(take(&limiter, 1).is_pending());
            limiter.note_overdue(Arc::downgrade(permit));
        }
        assert!(matches!(take(&limiter, 1), Poll::Ready(None)));
        assert!(limiter.has_overdue());
        drop(all);
        assert!(!limiter.has_overdue());
        drop(taken(&limiter, 1));
    }

    #[test]
    fn what_is_overdue_keeps_its_memory() {
        let limiter = ReadLimiter::new();
        let half = FLASH_READ_BYTES_MAX / 2;
        let permit = taken(&limiter, half);
        limiter.note_overdue(Arc::downgrade(&permit));
        assert!(matches!(take(&limiter, 2 * half), Poll::Ready(None)));
        let other = taken(&limiter, half);
        assert!(take(&limiter, 1).is_pending(), "the other may end");
        drop((other, permit));
        drop(taken(&limiter, 5 * half));
    }
}
