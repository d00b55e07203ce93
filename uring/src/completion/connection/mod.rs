//! A connection's receive and its queued send: operations that wake the task only when it has something to do.
//!
//! ```text
//!            receive                                     queued send
//!   Idle ──► Selecting ──► a completion                  Idle ──► Queued ──► submitted, in silence ──► Idle
//!        ──► Multishot ──► one after the other                          ──► less than all ──► Unsent ──► an operation
//!        ──► Polling   ──► readable, without a buffer                   ──► an error ──► Broken ──► the next read
//! ```
//!
//! Completions of a receive are kept as they came, in order, until the task reads them. A read returns nothing while a
//! queued send is under way, so that a client that does not read its replies is not read from.

#[cfg(debug_assertions)]
mod audit;

use super::in_flight::to_result;
use super::queue::{RECEIVE, user_data};
use super::resources::Resources;
use super::waiter::Waiter;
use crate::Buffer;
use io_uring::cqueue;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;

/// Completions of a multishot receive that may wait for their task; one that gets further ahead is cancelled.
const AHEAD_MAX: usize = 2;

/// The state of the receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receiving {
    Idle,
    /// One receive into a provided buffer.
    Selecting,
    /// A multishot receive.
    Multishot,
    /// A multishot receive that is being cancelled.
    Ending,
    /// A poll without a buffer, since none was free.
    Polling,
    /// An operation of its own, into the caller's memory.
    Direct,
}

/// A completion of a receive.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub(super) result: i32,
    pub(super) flags: u32,
}

/// The state of a send that its task does not wait for.
#[derive(Debug)]
pub(super) enum QueuedSend {
    Idle,
    /// In flight; emptied by a completion that reports success.
    Queued(Vec<u8>),
    /// Short: the bytes, and how many of them were sent.
    Unsent(Vec<u8>, usize),
    /// The task that found it short is sending the rest; bytes of memory it holds.
    Resumed(usize),
    Broken(i32),
}

/// The bytes of a queued send, and how many of them have been sent.
pub(super) type Rest = (Vec<u8>, usize);

/// One connection, the driver's side.
pub(super) struct Connection {
    pub(super) socket: Rc<socket2::Socket>,
    pub(super) receiving: Cell<Receiving>,
    pub(super) arrivals: RefCell<VecDeque<Arrival>>,
    pub(super) queued_send: RefCell<QueuedSend>,
    pub(super) reader: Waiter,
    /// Waits for the queued send to finish.
    pub(super) settler: Waiter,
    pub(super) is_interrupted: Cell<bool>,
    /// The driver's pass in which bytes were last returned.
    pub(super) read_in_pass: Cell<u32>,
    pub(super) short_receives: Cell<u8>,
    /// It has been shut down: its receive ends by itself.
    pub(super) is_shut: Cell<bool>,
    /// The last receive left bytes in the socket.
    pub(super) has_more: Cell<bool>,
    /// Its stream was dropped.
    pub(super) is_over: Cell<bool>,
}

impl Connection {
    /// With nothing under way; `pass` is the driver's present one.
    pub(super) fn new(socket: socket2::Socket, pass: u32) -> Self {
        Self {
            socket: Rc::new(socket),
            receiving: Cell::new(Receiving::Idle),
            arrivals: RefCell::default(),
            queued_send: RefCell::new(QueuedSend::Idle),
            reader: Waiter::default(),
            settler: Waiter::default(),
            is_interrupted: Cell::new(false),
            read_in_pass: Cell::new(pass.wrapping_sub(1)),
            short_receives: Cell::new(0),
            is_shut: Cell::new(false),
            has_more: Cell::new(false),
            is_over: Cell::new(false),
        }
    }

    /// A completion of its receive; true if its task was woken.
    pub(super) fn received(&self, resources: &Resources, index: usize, result: i32, flags: u32) -> bool {
        let receiving = self.receiving.get();
        if !cqueue::more(flags) {
            self.receiving.set(Receiving::Idle);
        }
        if receiving == Receiving::Multishot && result == -libc::EINVAL {
            // A kernel before 6.0 that the probe missed. The task tries again.
            resources.no_more_multishot();
            return self.reader.wake();
        }
        if receiving == Receiving::Ending && result == -libc::ECANCELED {
            return self.reader.wake();
        }
        let mut arrivals = self.arrivals.borrow_mut();
        arrivals.push_back(Arrival { result, flags });
        let is_far_ahead = arrivals.len() > AHEAD_MAX;
        drop(arrivals);
        if self.is_over.get() {
            self.forget_arrivals(resources);
            return false;
        }
        if is_far_ahead && self.receiving.get() == Receiving::Multishot {
            self.end_multishot(resources, index);
        }
        if matches!(*self.queued_send.borrow(), QueuedSend::Queued(_)) {
            resources.must_settle();
            return false;
        }
        self.reader.wake()
    }

    pub(super) fn end_multishot(&self, resources: &Resources, index: usize) {
        self.receiving.set(Receiving::Ending);
        self.short_receives.set(0);
        resources.queue.cancel(user_data(RECEIVE, index));
    }

    /// The queued send has completed: short, with an error, or, where the kernel reports that too, in full; true if its task
    /// was woken.
    pub(super) fn queued_send_completed(&self, resources: &Resources, index: usize, result: i32) -> bool {
        let mut state = self.queued_send.borrow_mut();
        let QueuedSend::Queued(bytes) = &mut *state else { return false };
        match to_result(result) {
            // Known to be done by `settle_queued_send`.
            Ok(count) if count == bytes.len() => {
                bytes.clear();
                return false;
            }
            Ok(count) => *state = QueuedSend::Unsent(std::mem::take(bytes), count),
            Err(error) if is_short_of_room(&error) => *state = QueuedSend::Unsent(std::mem::take(bytes), 0),
            Err(_) => *state = QueuedSend::Broken(-result),
        }
        drop(state);
        // Stop reading from a client that does not read: it would only fill buffers that others need.
        if self.receiving.get() == Receiving::Multishot {
            self.end_multishot(resources, index);
        }
        self.reader.wake() | self.settler.wake()
    }

    /// Wakes the task that reads; returns whether it was waiting.
    pub(super) fn wake_reader(&self) -> bool {
        self.reader.wake()
    }

    /// Called when everything is submitted and all completions are dispatched; `None` if the send is still in flight, else
    /// whether the task was woken.
    pub(super) fn settle_queued_send(&self, resources: &Resources) -> Option<bool> {
        let mut state = self.queued_send.borrow_mut();
        if let QueuedSend::Queued(bytes) = &mut *state {
            if !resources.setup.get().silent_sends && !bytes.is_empty() {
                return None;
            }
            resources.buffers.reuse(std::mem::take(bytes));
            *state = QueuedSend::Idle;
            drop(state);
            return Some(self.settler.wake() | (self.can_read() && self.reader.wake()));
        }
        Some(false)
    }

    /// Whether a read would return if there were no queued send.
    pub(super) fn can_read(&self) -> bool {
        self.is_interrupted.get() || !self.arrivals.borrow().is_empty()
    }

    pub(super) fn forget_arrivals(&self, resources: &Resources) {
        for arrival in self.arrivals.take() {
            // A buffer goes back.
            drop(buffer_of(resources, arrival));
        }
    }

    /// True if its stream was dropped.
    pub(super) fn is_over(&self) -> bool {
        self.is_over.get()
    }

    /// True if its stream was dropped and nothing is in flight.
    pub(super) fn is_unused(&self) -> bool {
        self.is_over.get()
            && self.receiving.get() == Receiving::Idle
            && !matches!(*self.queued_send.borrow(), QueuedSend::Queued(_))
    }
}

pub(super) fn is_short_of_room(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR))
}

pub(super) fn buffer_of(resources: &Resources, arrival: Arrival) -> Option<Buffer> {
    let count = usize::try_from(arrival.result).unwrap_or(0);
    resources.pool.as_ref()?.filled(arrival.flags, count)
}
