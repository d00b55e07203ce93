//! A connection's receive and its queued send: operations that wake the task only when it has something to do.
//!
//! A [`Connection`] belongs to its ring's thread and needs no lock. Two sides change it there: the driver, when completions come;
//! and the task that uses the stream, through `handle`.
//!
//! ```text
//!            receive                                     queued send
//!   Idle ──► Selecting ──► a completion                  Idle ──► Queued ──► submitted, in silence ──► Idle
//!        ──► Multishot ──► one after the other                          ──► less than all ──► Unsent ──► an operation
//!        ──► Polling   ──► readable, without a buffer                   ──► an error ──► Broken ──► the next read
//! ```
//!
//! Completions of a receive are kept in their order until the task reads them. A read returns nothing while a queued send is
//! under way, so that the server reads nothing from a client that does not read its replies.

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

/// Most completions of a multishot receive that may wait for their task. If more come, the receive is cancelled.
const AHEAD_MAX: usize = 2;

/// Which receive of a connection is in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receiving {
    /// No receive is in flight.
    Idle,
    /// One receive into a provided buffer.
    Selecting,
    /// A multishot receive.
    Multishot,
    /// A multishot receive that is being cancelled.
    Ending,
    /// A poll until the socket is readable, because no provided buffer is free or there is no pool.
    Polling,
    /// A receive into the caller's memory. It completes as an operation: see `receive`.
    Direct,
}

/// A completion of a receive, which the connection's task has not processed yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub(super) result: i32,
    pub(super) flags: u32,
}

/// The state of a connection's queued send, which is a send that its task does not wait for.
#[derive(Debug)]
pub(super) enum QueuedSend {
    /// No send is queued or under way, so that a send may be queued.
    Idle,
    /// The send of these bytes was handed to the kernel. A completion that reports success empties the vector. After that, or
    /// without a completion where complete sends are silent, [`Connection::settle_queued_send`] makes the state Idle.
    Queued(Vec<u8>),
    /// The socket took only a part of the bytes, or none. Holds all the bytes, and how many of them were sent. The next read, or
    /// the next wait for the send, sends the rest.
    Unsent(Vec<u8>, usize),
    /// A task is sending the rest of an `Unsent`. Holds the size of the memory that the send takes, bytes.
    Resumed(usize),
    /// The send failed with this error number. All later reads and sends fail with the same error.
    Broken(i32),
}

/// The bytes of a queued send, and how many of them have been sent.
pub(super) type Rest = (Vec<u8>, usize);

/// One connection. It stays in the driver's list until its stream has been dropped and nothing of the connection is in flight.
pub(super) struct Connection {
    pub(super) socket: Rc<socket2::Socket>,
    pub(super) receiving: Cell<Receiving>,
    /// Completions of receives that the task has not processed yet, in order.
    pub(super) arrivals: RefCell<VecDeque<Arrival>>,
    pub(super) queued_send: RefCell<QueuedSend>,
    /// The task that waits for bytes.
    pub(super) reader: Waiter,
    /// The task that waits for the queued send to finish.
    pub(super) settler: Waiter,
    /// True if the next read is to fail, because of [`Stream::interrupt`](crate::Stream::interrupt).
    pub(super) is_interrupted: Cell<bool>,
    /// Number of the driver's pass in which a read last returned bytes. A second read in the same pass lets other connections go
    /// first.
    pub(super) read_in_pass: Cell<u32>,
    /// Number of receives in a row that did not fill their buffer. After `SHORT_RECEIVES` of them the next receive is a
    /// multishot one.
    pub(super) short_receives: Cell<u8>,
    /// True if reading was shut down. A receive in flight then ends by itself, and need not be cancelled.
    pub(super) is_shut: Cell<bool>,
    /// True if the last receive left bytes in the socket. The next receive then tries immediately, instead of first waiting
    /// until the socket is readable.
    pub(super) has_more: Cell<bool>,
    /// True if the connection's stream was dropped. Completions that come after that are discarded.
    pub(super) is_over: Cell<bool>,
}

impl Connection {
    /// A connection with nothing in flight; `pass` is the number of the driver's current pass.
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

    /// Keeps a completion of this connection's receive in `arrivals`, and wakes the reader unless a queued send must end first.
    /// Called by the driver for each such completion. True if a task was woken.
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

    /// Asks the kernel to cancel the multishot receive. Until its last completion comes the state is [`Receiving::Ending`], and
    /// further bytes may arrive.
    pub(super) fn end_multishot(&self, resources: &Resources, index: usize) {
        self.receiving.set(Receiving::Ending);
        self.short_receives.set(0);
        resources.queue.cancel(user_data(RECEIVE, index));
    }

    /// Takes note of a completion of the queued send; called by the driver. A short or failed send always has a completion; a
    /// complete send has none if the kernel supports silent sends. True if a task was woken.
    pub(super) fn queued_send_completed(&self, resources: &Resources, index: usize, result: i32) -> bool {
        let mut state = self.queued_send.borrow_mut();
        let QueuedSend::Queued(bytes) = &mut *state else { return false };
        match to_result(result) {
            // `settle_queued_send` ends the send.
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

    /// Wakes the task that reads; false if none was waiting.
    pub(super) fn wake_reader(&self) -> bool {
        self.reader.wake()
    }

    /// Makes the state of a finished queued send Idle. Called when everything is submitted and all completions are dispatched:
    /// where complete sends are silent, a send that has no completion by then has succeeded. `None` if the send is still in
    /// flight, else whether a task was woken.
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

    /// True if a read would return immediately, provided that no queued send is under way.
    pub(super) fn can_read(&self) -> bool {
        self.is_interrupted.get() || !self.arrivals.borrow().is_empty()
    }

    /// Discards the completions that the task has not processed, and gives their buffers back.
    pub(super) fn forget_arrivals(&self, resources: &Resources) {
        for arrival in self.arrivals.take() {
            drop(buffer_of(resources, arrival));
        }
    }

    /// True if the connection's stream was dropped.
    pub(super) fn is_over(&self) -> bool {
        self.is_over.get()
    }

    /// True if the connection's stream was dropped and nothing of the connection is in flight.
    pub(super) fn is_unused(&self) -> bool {
        self.is_over.get()
            && self.receiving.get() == Receiving::Idle
            && !matches!(*self.queued_send.borrow(), QueuedSend::Queued(_))
    }
}

/// True for the error of a call that would block, or was interrupted.
pub(super) fn is_short_of_room(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR))
}

/// The buffer that the kernel has filled for `arrival`; `None` if that completion names no buffer.
pub(super) fn buffer_of(resources: &Resources, arrival: Arrival) -> Option<Buffer> {
    let count = usize::try_from(arrival.result).unwrap_or(0);
    resources.pool.as_ref()?.filled(arrival.flags, count)
}
