//! The future that waits for a time; its waker and deadline are in the ring's `timers`.

use super::driver::Driver;
use super::timers::Sleeper;
use std::cmp::Reverse;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// A future that completes at its deadline.
pub(super) struct Sleep {
    driver: Rc<Driver>,
    at: Instant,
    /// Index among the sleepers of the driver's timers; `None` before the first poll and after the deadline.
    index: Option<usize>,
}

impl Sleep {
    pub(super) fn new(driver: Rc<Driver>, time: Duration) -> Self {
        Self { driver, at: Instant::now() + time, index: None }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let timers = &self.driver.timers;
        let mut sleepers = timers.sleepers.borrow_mut();
        if let Some(index) = self.index {
            match &mut sleepers[index] {
                Sleeper::Waiting(waker) => waker.clone_from(cx.waker()),
                Sleeper::Over | Sleeper::Gone => {
                    sleepers.remove(index);
                    drop(sleepers);
                    self.index = None;
                    return Poll::Ready(());
                }
            }
            return Poll::Pending;
        }
        let index = sleepers.insert(Sleeper::Waiting(cx.waker().clone()));
        timers.due.borrow_mut().push(Reverse((self.at, index)));
        drop(sleepers);
        timers.arm(&self.driver.resources.queue, Instant::now());
        self.index = Some(index);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let Some(index) = self.index else { return };
        let mut sleepers = self.driver.timers.sleepers.borrow_mut();
        if matches!(sleepers[index], Sleeper::Over) {
            sleepers.remove(index);
        } else {
            // The deadline stays in the heap. When it has passed, the sleeper is removed.
            sleepers[index] = Sleeper::Gone;
        }
    }
}
