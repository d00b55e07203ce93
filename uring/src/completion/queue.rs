//! A ring's submission and completion queues: the only way to the kernel. A part of the driver, on its ring's thread alone.
//!
//! Entries for which the submission queue has no room wait in a backlog. The user data of an entry says what its completion
//! belongs to: a kind in the low bits, an index above.
//!
//! | kind | index | completes |
//! |---|---|---|
//! | `OPERATION` | of an operation in flight | once |
//! | `RECEIVE` | of a connection | once; multishot, until a completion without `F_MORE` |
//! | `SEND` | of a connection | at submission; without a completion if all was sent and the kernel supports that |
//! | `TIMER` | of a timeout | once |
//! | `DOORBELL`, `IGNORED` | none | once |
#![expect(unsafe_code, reason = "entries name memory by address")]

use io_uring::{EnterFlags, IoUring, cqueue, opcode, squeue};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;

pub(super) const OPERATION: u64 = 0;
pub(super) const RECEIVE: u64 = 1;
pub(super) const SEND: u64 = 2;
pub(super) const DOORBELL: u64 = 3;
pub(super) const TIMER: u64 = 4;
pub(super) const IGNORED: u64 = 5;
const KIND_BITS: u32 = 3;

/// The user data of an entry, from which [`kind_and_index`] gets both values back.
pub(super) fn user_data(kind: u64, index: usize) -> u64 {
    (index as u64) << KIND_BITS | kind
}

/// The kind and the index in the user data of a completion.
pub(super) fn kind_and_index(user_data: u64) -> (u64, usize) {
    (user_data & ((1 << KIND_BITS) - 1), (user_data >> KIND_BITS) as usize)
}

/// The queues of one ring, and the backlog.
pub(super) struct Queue {
    ring: RefCell<IoUring>,
    /// Entries for which the submission queue had no room.
    backlog: RefCell<VecDeque<squeue::Entry>>,
    /// For tests: how many of the next submissions fail.
    #[cfg(test)]
    pub(super) refusals: std::cell::Cell<u32>,
}

impl Queue {
    pub(super) fn new(ring: IoUring) -> Self {
        Self {
            ring: RefCell::new(ring),
            backlog: RefCell::default(),
            #[cfg(test)]
            refusals: std::cell::Cell::default(),
        }
    }

    /// True if the backlog is empty.
    pub(super) fn has_room(&self) -> bool {
        self.backlog.borrow().is_empty()
    }

    /// Queues `entry` for the next submission; submits now if the queue is full.
    ///
    /// # Safety
    /// What the entry points to stays valid until the last completion of the entry, or, if the entry may complete silently,
    /// until it is submitted.
    pub(super) unsafe fn push(&self, entry: squeue::Entry) {
        let mut backlog = self.backlog.borrow_mut();
        if backlog.is_empty() {
            if self.try_push(&entry) {
                return;
            }
            self.submit();
            if self.try_push(&entry) {
                return;
            }
        }
        backlog.push_back(entry);
    }

    fn try_push(&self, entry: &squeue::Entry) -> bool {
        // SAFETY: the caller of `push`, through which every entry has come, has promised that the entry is valid.
        unsafe { self.ring.borrow_mut().submission().push(entry) }.is_ok()
    }

    /// Submits the queued entries without waiting. Entries that the kernel refuses stay queued until the thread next waits.
    pub(super) fn submit(&self) {
        let _ = self.enter_kernel(0, EnterFlags::empty());
    }

    /// Submits the queued entries and waits until `want` completions are there; 0 means without waiting. The kernel's deferred
    /// task work runs in this call.
    pub(super) fn enter_kernel(&self, want: u32, flags: EnterFlags) -> io::Result<()> {
        #[cfg(test)]
        if let Some(left) = self.refusals.get().checked_sub(1) {
            self.refusals.set(left);
            return Err(io::Error::from_raw_os_error(libc::EAGAIN));
        }
        let mut ring = self.ring.borrow_mut();
        let count = ring.submission().len() as u32;
        // SAFETY: there is no argument, and the entries are those of `push`.
        unsafe { ring.submitter().enter::<libc::sigset_t>(count, want, flags.bits(), None) }.map(drop)
    }

    /// True if the kernel has taken every entry, and no completion is held back for lack of room in the queue.
    pub(super) fn is_settled(&self) -> bool {
        let mut ring = self.ring.borrow_mut();
        let submission = ring.submission();
        submission.is_empty() && !submission.cq_overflow() && self.backlog.borrow().is_empty()
    }

    /// Enters the kernel, so that it posts the completions that it has; true if the queue then holds any.
    #[cfg(debug_assertions)]
    pub(super) fn has_completions(&self) -> bool {
        let _ = self.enter_kernel(0, EnterFlags::GETEVENTS);
        !self.ring.borrow_mut().completion().is_empty()
    }

    /// Moves entries from the backlog into the queue while it has room.
    pub(super) fn push_backlog(&self) {
        let mut backlog = self.backlog.borrow_mut();
        while let Some(entry) = backlog.front() {
            if !self.try_push(entry) {
                break;
            }
            backlog.pop_front();
        }
    }

    /// Moves all completions from the queue to the end of `taken`: user data, result and flags of each.
    pub(super) fn take_completions(&self, taken: &mut Vec<(u64, i32, u32)>) {
        let take = |entry: cqueue::Entry| (entry.user_data(), entry.result(), entry.flags());
        taken.extend(self.ring.borrow_mut().completion().map(take));
    }

    /// Queues a request to cancel the operation with user data `target`. A cancelled operation still completes; an operation
    /// that has completed is not affected.
    pub(super) fn cancel(&self, target: u64) {
        let entry = opcode::AsyncCancel::new(target).build().user_data(user_data(IGNORED, 0));
        // SAFETY: the entry names no memory and no descriptor.
        unsafe { self.push(entry) };
    }

    /// Submits everything, backlog included, unless the kernel refuses.
    pub(super) fn flush(&self) {
        loop {
            let before = self.backlog.borrow().len();
            self.push_backlog();
            self.submit();
            // Ends when the backlog is empty, or does not shrink.
            if matches!(self.backlog.borrow().len(), left if left == 0 || left == before) {
                break;
            }
        }
    }
}
