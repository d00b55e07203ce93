//! Operations that complete once, and the memory they own until then. The operation's future holds that memory, or, if the
//! future is dropped, the driver.
#![expect(unsafe_code, reason = "entries name memory by address")]

use super::driver::Driver;
use super::in_flight::{State, to_result};
use super::queue::{OPERATION, user_data};
use io_uring::squeue;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// The future of an operation: completes with the result and the data.
pub(super) struct Operation<D: Unpin + 'static> {
    driver: Rc<Driver>,
    /// The memory that the kernel reads and writes; `None` once the future has returned it.
    data: Option<D>,
    /// The entry to submit; `None` from the first poll on.
    entry: Option<squeue::Entry>,
    /// The operation's index among those of the driver; valid from the first poll on.
    index: usize,
}

impl<D: Unpin + 'static> Future for Operation<D> {
    type Output = (io::Result<usize>, D);

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Some(entry) = this.entry.take() {
            let state = State::Submitted(cx.waker().clone());
            this.index = this.driver.operations.0.borrow_mut().insert(state);
            // SAFETY: promised to `submit`; the data is owned by this future, or by the driver if that is dropped.
            unsafe { this.driver.resources.queue.push(entry.user_data(user_data(OPERATION, this.index))) };
            return Poll::Pending;
        }
        let mut all = this.driver.operations.0.borrow_mut();
        let result = match all.get_mut(this.index) {
            Some(State::Completed(result)) => *result,
            Some(State::Submitted(waker)) => {
                waker.clone_from(cx.waker());
                return Poll::Pending;
            }
            _ => unreachable!("polled after it was ready"),
        };
        all.remove(this.index);
        match this.data.take() {
            Some(data) => Poll::Ready((to_result(result), data)),
            None => unreachable!("polled after it was ready"),
        }
    }
}

impl<D: Unpin + 'static> Drop for Operation<D> {
    fn drop(&mut self) {
        if self.entry.is_some() {
            return;
        }
        let Some(data) = self.data.take() else { return };
        let mut all = self.driver.operations.0.borrow_mut();
        if let Some(State::Submitted(_)) = all.get(self.index) {
            all[self.index] = State::Abandoned(Box::new(data));
        } else {
            all.try_remove(self.index);
        }
    }
}

impl<D: Unpin + 'static> Operation<D> {
    /// Asks the kernel to cancel the operation if it has been submitted; it still completes, once.
    pub(super) fn cancel(&self) {
        if self.entry.is_none() && self.data.is_some() {
            self.driver.resources.queue.cancel(user_data(OPERATION, self.index));
        }
    }
}

/// Returns a future that submits `entry` when it is first polled, and at its completion returns the result and `data`. Until
/// then the operation owns `data`, even if the future is dropped.
///
/// # Safety
/// - Every address in `entry` lies in memory that `data` keeps alive, at the same place even when `data` is moved.
/// - Memory the kernel writes is not read or written by anyone else, memory it reads is not written, while `data` is owned
///   by the operation.
/// - The descriptor in `entry` is kept open by `data`. (It is looked up when the entry is submitted, which is later
///   than this call: a descriptor closed in between could be another connection's.)
/// - The operation completes exactly once.
pub(super) unsafe fn submit<D: Unpin + 'static>(
    driver: Rc<Driver>,
    data: D,
    entry: squeue::Entry,
) -> Operation<D> {
    // Not an async function: its future would store the arguments twice.
    Operation { driver, data: Some(data), entry: Some(entry), index: 0 }
}
