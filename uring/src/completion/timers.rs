//! Timers of a ring: a heap of deadlines, and one timeout operation for the earliest. A part of the driver, on its ring's thread
//! alone.
#![expect(unsafe_code, reason = "an operation names its time by address")]

use super::queue::{Queue, TIMER, user_data};
use io_uring::{opcode, types};
use slab::Slab;
use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::task::Waker;
use std::time::Instant;

/// The timers of one ring.
#[derive(Default)]
pub(super) struct Timers {
    /// Deadlines, the earliest first, each with the index of its sleeper. A deadline stays here until it has passed, even if its
    /// sleeper is dropped.
    pub(super) due: RefCell<BinaryHeap<Reverse<(Instant, usize)>>>,
    pub(super) sleepers: RefCell<Slab<Sleeper>>,
    /// The timeout operations in flight, seldom more than two at a time.
    armed: RefCell<Slab<Armed>>,
    /// True if a timeout operation has completed since [`Timers::fire`] was last called.
    has_rung: Cell<bool>,
}

/// A timeout operation in flight.
struct Armed {
    at: Instant,
    /// The time until the timeout, which the kernel reads when the operation is submitted.
    _time: Box<types::Timespec>,
}

/// The state of a sleep.
pub(super) enum Sleeper {
    /// The sleeper's task waits, and is woken at the deadline.
    Waiting(Waker),
    /// The deadline has passed; the sleeper's task has not seen that yet.
    Over,
    /// The sleeper's future was dropped before the deadline.
    Gone,
}

impl Timers {
    /// Takes note that timeout operation `index` has completed; called by the driver. Sleepers are not woken until
    /// [`Timers::fire`].
    pub(super) fn rang(&self, index: usize) {
        self.armed.borrow_mut().remove(index);
        self.has_rung.set(true);
    }

    /// Wakes the sleepers whose deadline has passed, and starts the next timeout operation, if a timeout operation has completed
    /// since the last call. True if a task was woken.
    pub(super) fn fire(&self, queue: &Queue) -> bool {
        if !self.has_rung.replace(false) {
            return false;
        }
        let mut has_woken = false;
        let now = Instant::now();
        while let Some(index) = self.pop_due(now) {
            let mut sleepers = self.sleepers.borrow_mut();
            match std::mem::replace(&mut sleepers[index], Sleeper::Over) {
                Sleeper::Waiting(waker) => {
                    drop(sleepers);
                    waker.wake();
                    has_woken = true;
                }
                Sleeper::Over | Sleeper::Gone => drop(sleepers.remove(index)),
            }
        }
        self.arm(queue, now);
        has_woken
    }

    #[cfg(debug_assertions)]
    pub(super) fn has_rung(&self) -> bool {
        self.has_rung.get()
    }

    /// True if a timeout operation in flight ends no later than the earliest deadline, or there is no deadline.
    #[cfg(debug_assertions)]
    pub(super) fn is_armed(&self) -> bool {
        let due = self.due.borrow();
        due.peek().is_none_or(|Reverse((at, _))| self.armed.borrow().iter().any(|(_, armed)| armed.at <= *at))
    }

    /// Removes the earliest deadline and returns the index of its sleeper; `None` if that deadline has not passed.
    fn pop_due(&self, now: Instant) -> Option<usize> {
        let mut due = self.due.borrow_mut();
        due.peek().filter(|Reverse((at, _))| *at <= now)?;
        due.pop().map(|Reverse((_, index))| index)
    }

    /// Starts a timeout operation for the earliest deadline, unless one that ends no later is in flight.
    pub(super) fn arm(&self, queue: &Queue, now: Instant) {
        let Some(at) = self.due.borrow().peek().map(|Reverse((at, _))| *at) else { return };
        let mut armed = self.armed.borrow_mut();
        if armed.iter().any(|(_, armed)| armed.at <= at) {
            return;
        }
        let left = at.saturating_duration_since(now);
        let time = Box::new(types::Timespec::new().sec(left.as_secs()).nsec(left.subsec_nanos()));
        let address = &raw const *time;
        let index = armed.insert(Armed { at, _time: time });
        drop(armed);
        let entry = opcode::Timeout::new(address).build().user_data(user_data(TIMER, index));
        // SAFETY: the time is on the heap, and kept until the operation has completed.
        unsafe { queue.push(entry) };
    }
}
