//! A connection's receive and its queued send: operations that wake its task only when there is something to do for it.
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
#![expect(unsafe_code, reason = "operations name memory by address")]

#[cfg(debug_assertions)]
mod audit;
#[cfg(test)]
mod tests;

use super::driver::{Driver, RECEIVE, SEND, user_data};
use super::operation::to_result;
use super::pool::GROUP;
use super::send;
use crate::Buffer;
use io_uring::{cqueue, opcode, squeue, types};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Completions of a multishot receive that may wait for their task; one that gets further ahead is cancelled.
const AHEAD_MAX: usize = 2;
/// The flag of a receive that waits before it tries. Source: `linux/io_uring.h`, `IORING_RECVSEND_POLL_FIRST`.
const POLL_FIRST: u16 = 1;
/// Short receives in a row after which one is expected to be worth leaving armed.
const SHORT_RECEIVES: u8 = 4;

/// How bytes are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Receiving {
    Idle,
    /// One receive into a buffer of the kernel's choice.
    Selecting,
    /// Receives, one after the other, until it says otherwise.
    Multishot,
    /// Multishot, and it has been told to end.
    Ending,
    /// A wait without a buffer, since none was free.
    Polling,
}

/// A completion of a receive.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    result: i32,
    flags: u32,
}

/// A send that its task does not wait for.
#[derive(Debug)]
enum QueuedSend {
    Idle,
    /// Under way; emptied by a completion that says that all was sent.
    Queued(Vec<u8>),
    /// Bytes from the front that have been sent.
    Unsent(Vec<u8>, usize),
    /// Whoever found it so sends the rest, out of so much memory.
    Resumed(usize),
    Broken(i32),
}

/// The bytes of a queued send, and how many of them have been sent.
type Rest = (Vec<u8>, usize);

/// A task that waits for a connection.
#[derive(Default)]
struct Waiter {
    /// Kept between waits, which are mostly of the same task.
    waker: RefCell<Option<Waker>>,
    is_waiting: Cell<bool>,
}

impl Waiter {
    fn wait(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        match &mut *waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        self.is_waiting.set(true);
    }

    /// True if a task was woken.
    fn wake(&self) -> bool {
        if !self.is_waiting.replace(false) {
            return false;
        }
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
        true
    }
}

/// One connection as its ring's driver knows it.
pub(crate) struct Connection {
    socket: Rc<socket2::Socket>,
    receiving: Cell<Receiving>,
    arrivals: RefCell<VecDeque<Arrival>>,
    queued_send: RefCell<QueuedSend>,
    reader: Waiter,
    /// Waits for the queued send.
    settler: Waiter,
    is_interrupted: Cell<bool>,
    /// The driver's pass in which bytes were last returned.
    read_in_pass: Cell<u32>,
    short_receives: Cell<u8>,
    /// It has been shut down, so that its receive ends by itself.
    is_shut: Cell<bool>,
    /// The last receive left bytes behind.
    has_more: Cell<bool>,
    /// Its stream has gone.
    is_over: Cell<bool>,
}

/// A connection and its place, for its stream.
pub(crate) struct Handle {
    driver: Rc<Driver>,
    connection: Rc<Connection>,
    index: usize,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let receiving = self.connection.receiving.get();
        f.debug_struct("Handle")
            .field("socket", &self.connection.socket)
            .field("receiving", &receiving)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// A completion of its receive; true if its task was woken.
    pub(super) fn received(&self, driver: &Driver, index: usize, result: i32, flags: u32) -> bool {
        let receiving = self.receiving.get();
        if !cqueue::more(flags) {
            self.receiving.set(Receiving::Idle);
        }
        if receiving == Receiving::Multishot && result == -libc::EINVAL {
            // A kernel of before 6.0 that a probe did not find out. The task tries again.
            driver.no_more_multishot();
            return self.reader.wake();
        }
        if receiving == Receiving::Ending && result == -libc::ECANCELED {
            self.remove_if_over(driver, index);
            return self.reader.wake();
        }
        let mut arrivals = self.arrivals.borrow_mut();
        arrivals.push_back(Arrival { result, flags });
        let is_far_ahead = arrivals.len() > AHEAD_MAX;
        drop(arrivals);
        if self.is_over.get() {
            self.forget_arrivals(driver);
            self.remove_if_over(driver, index);
            return false;
        }
        if is_far_ahead && self.receiving.get() == Receiving::Multishot {
            self.end_multishot(driver, index);
        }
        if matches!(*self.queued_send.borrow(), QueuedSend::Queued(_)) {
            driver.must_settle();
            return false;
        }
        self.reader.wake()
    }

    fn end_multishot(&self, driver: &Driver, index: usize) {
        self.receiving.set(Receiving::Ending);
        self.short_receives.set(0);
        driver.cancel(user_data(RECEIVE, index));
    }

    /// The queued send has completed: with less than all, with an error, or, where the kernel says so, with all; true if
    /// its task was woken.
    pub(super) fn queued_send_completed(&self, driver: &Driver, index: usize, result: i32) -> bool {
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
        // A client that does not read is not read from: it would only fill buffers that others need.
        if self.receiving.get() == Receiving::Multishot {
            self.end_multishot(driver, index);
        }
        self.reader.wake() | self.settler.wake()
    }

    /// True if its reader was waiting.
    pub(super) fn wake_reader(&self) -> bool {
        self.reader.wake()
    }

    /// Everything has been submitted, and what has completed has been handled; `None` if the send is still under way, else
    /// whether the task was woken.
    pub(super) fn settle_queued_send(&self, driver: &Driver) -> Option<bool> {
        let mut state = self.queued_send.borrow_mut();
        if let QueuedSend::Queued(bytes) = &mut *state {
            if !driver.setup.get().silent_sends && !bytes.is_empty() {
                return None;
            }
            driver.buffers.reuse(std::mem::take(bytes));
            *state = QueuedSend::Idle;
            drop(state);
            return Some(self.settler.wake() | (self.can_read() && self.reader.wake()));
        }
        Some(false)
    }

    /// Whether a read would return, were it not for a queued send.
    fn can_read(&self) -> bool {
        self.is_interrupted.get() || !self.arrivals.borrow().is_empty()
    }

    fn forget_arrivals(&self, driver: &Driver) {
        for arrival in self.arrivals.take() {
            // A buffer goes back.
            drop(buffer_of(driver, arrival));
        }
    }

    /// Leaves the driver's list once its stream has gone and nothing is under way.
    pub(super) fn remove_if_over(&self, driver: &Driver, index: usize) {
        if self.is_over.get()
            && self.receiving.get() == Receiving::Idle
            && !matches!(*self.queued_send.borrow(), QueuedSend::Queued(_))
        {
            let removed = driver.connections.borrow_mut().remove(index);
            drop(removed);
        }
    }
}

fn is_short_of_room(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR))
}

fn buffer_of(driver: &Driver, arrival: Arrival) -> Option<Buffer> {
    let count = usize::try_from(arrival.result).unwrap_or(0);
    driver.pool.as_ref()?.filled(arrival.flags, count)
}

/// What a read found.
enum Found {
    Bytes(Buffer),
    End,
    /// There are bytes, or the end, and no buffer.
    Readable,
    /// What is left of a queued send.
    Unsent(Rest),
}

impl Handle {
    pub(crate) fn new(socket: socket2::Socket) -> Self {
        let driver = Driver::current();
        let connection = Rc::new(Connection {
            socket: Rc::new(socket),
            receiving: Cell::new(Receiving::Idle),
            arrivals: RefCell::default(),
            queued_send: RefCell::new(QueuedSend::Idle),
            reader: Waiter::default(),
            settler: Waiter::default(),
            is_interrupted: Cell::new(false),
            read_in_pass: Cell::new(driver.pass().wrapping_sub(1)),
            short_receives: Cell::new(0),
            is_shut: Cell::new(false),
            has_more: Cell::new(false),
            is_over: Cell::new(false),
        });
        let index = driver.connections.borrow_mut().insert(Rc::clone(&connection));
        Self { driver, connection, index }
    }

    pub(crate) fn socket(&self) -> &Rc<socket2::Socket> {
        &self.connection.socket
    }

    pub(crate) fn driver(&self) -> &Rc<Driver> {
        &self.driver
    }

    /// Waits for bytes.
    pub(crate) async fn read(&self) -> io::Result<Buffer> {
        loop {
            let _waiting = Waiting(&self.connection.reader);
            match std::future::poll_fn(|cx| self.poll_read(cx)).await? {
                Found::Bytes(buffer) => return Ok(buffer),
                Found::End => return Ok(Buffer::empty()),
                Found::Readable => match self.receive_now() {
                    Err(error) if is_short_of_room(&error) => {}
                    result => return result,
                },
                // Boxed, since it is rare and would make every connection larger.
                Found::Unsent(rest) => Box::pin(self.send_rest(rest)).await?,
            }
        }
    }

    /// Waits until a queued send is done.
    pub(crate) async fn settled(&self) -> io::Result<()> {
        loop {
            let _waiting = Waiting(&self.connection.settler);
            let rest = std::future::poll_fn(|cx| {
                let rest = self.poll_queued_send();
                if rest.is_pending() {
                    self.driver.must_settle();
                    self.connection.settler.wait(cx);
                }
                rest
            });
            match rest.await? {
                None => return Ok(()),
                Some(rest) => Box::pin(self.send_rest(rest)).await?,
            }
        }
    }

    async fn send_rest(&self, (bytes, sent): Rest) -> io::Result<()> {
        let connection = &*self.connection;
        let (result, bytes) = send::all(&self.driver, &connection.socket, bytes, sent).await;
        self.driver.buffers.reuse(bytes);
        let broken = result.as_ref().err().and_then(io::Error::raw_os_error).map(QueuedSend::Broken);
        connection.queued_send.replace(broken.unwrap_or(QueuedSend::Idle));
        // Another task may wait for the same.
        connection.reader.wake();
        connection.settler.wake();
        result
    }

    /// Ready once no queued send is under way; with what is left of it, if the socket did not take all.
    fn poll_queued_send(&self) -> Poll<io::Result<Option<Rest>>> {
        let mut state = self.connection.queued_send.borrow_mut();
        match &mut *state {
            QueuedSend::Idle => Poll::Ready(Ok(None)),
            QueuedSend::Queued(_) | QueuedSend::Resumed(_) => Poll::Pending,
            QueuedSend::Unsent(bytes, sent) => {
                let rest = (std::mem::take(bytes), *sent);
                *state = QueuedSend::Resumed(rest.0.capacity());
                Poll::Ready(Ok(Some(rest)))
            }
            QueuedSend::Broken(errno) => Poll::Ready(Err(io::Error::from_raw_os_error(*errno))),
        }
    }

    fn poll_read(&self, cx: &Context<'_>) -> Poll<io::Result<Found>> {
        let connection = &*self.connection;
        match self.poll_queued_send() {
            Poll::Ready(Ok(None)) => {}
            Poll::Ready(Ok(Some(rest))) => return Poll::Ready(Ok(Found::Unsent(rest))),
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => {
                if connection.can_read() {
                    self.driver.must_settle();
                }
                self.arm();
                connection.reader.wait(cx);
                return Poll::Pending;
            }
        }
        // A read that finds bytes at once lets the others run first, if it is not the first in this pass.
        if connection.read_in_pass.get() == self.driver.pass() && !connection.arrivals.borrow().is_empty() {
            self.driver.wake_in_next_pass(self.index);
            connection.reader.wait(cx);
            return Poll::Pending;
        }
        while let Some(arrival) = self.next_arrival() {
            if let Some(found) = self.found(arrival) {
                connection.read_in_pass.set(self.driver.pass());
                return Poll::Ready(found);
            }
        }
        if connection.is_interrupted.replace(false) {
            return Poll::Ready(Err(io::Error::from_raw_os_error(libc::ECANCELED)));
        }
        self.arm();
        connection.reader.wait(cx);
        Poll::Pending
    }

    fn next_arrival(&self) -> Option<Arrival> {
        self.connection.arrivals.borrow_mut().pop_front()
    }

    /// What `arrival` is for a read; `None` if it is nothing.
    fn found(&self, arrival: Arrival) -> Option<io::Result<Found>> {
        let connection = &*self.connection;
        match arrival.result {
            0 => {
                drop(buffer_of(&self.driver, arrival));
                Some(Ok(Found::End))
            }
            1.. => match buffer_of(&self.driver, arrival) {
                Some(buffer) => {
                    let is_short = !buffer.is_full();
                    let receives =
                        if is_short { connection.short_receives.get().saturating_add(1) } else { 0 };
                    connection.short_receives.set(receives);
                    connection.has_more.set(cqueue::sock_nonempty(arrival.flags));
                    Some(Ok(Found::Bytes(buffer)))
                }
                // A wait without a buffer, whose result is events.
                None => Some(Ok(Found::Readable)),
            },
            _ => match -arrival.result {
                libc::ENOBUFS => {
                    self.poll_readable();
                    None
                }
                // Interrupted, or cancelled for the sake of a large value. It is armed again.
                libc::EINTR | libc::EAGAIN | libc::ECANCELED => None,
                errno => Some(Err(io::Error::from_raw_os_error(errno))),
            },
        }
    }

    /// Sees to it that a receive is under way.
    fn arm(&self) {
        let connection = &*self.connection;
        if connection.receiving.get() != Receiving::Idle || !connection.arrivals.borrow().is_empty() {
            return;
        }
        if self.driver.pool.is_none() {
            return self.poll_readable();
        }
        let fd = types::Fd(connection.socket.as_raw_fd());
        let setup = self.driver.setup.get();
        let (receiving, entry) = if setup.multishot && connection.short_receives.get() >= SHORT_RECEIVES {
            (Receiving::Multishot, opcode::RecvMulti::new(fd, GROUP).build())
        } else {
            // Nearly always it would find nothing yet, but for a client that is ahead of its replies.
            let first = if connection.has_more.get() { 0 } else { POLL_FIRST };
            let entry = opcode::Recv::new(fd, std::ptr::null_mut(), 0).buf_group(GROUP).ioprio(first).build();
            (Receiving::Selecting, entry.flags(squeue::Flags::BUFFER_SELECT))
        };
        self.receive(receiving, entry);
    }

    /// Waits for bytes without a buffer.
    fn poll_readable(&self) {
        if self.connection.receiving.get() != Receiving::Idle {
            return;
        }
        let events = (libc::POLLIN | libc::POLLRDHUP) as u32;
        let fd = types::Fd(self.connection.socket.as_raw_fd());
        self.receive(Receiving::Polling, opcode::PollAdd::new(fd, events).build());
    }

    fn receive(&self, receiving: Receiving, entry: squeue::Entry) {
        self.connection.receiving.set(receiving);
        // SAFETY: the entry names no memory but that of the pool, which lives as long as the driver; the connection keeps
        // its descriptor open, and stays in the driver's list until the receive has completed for the last time.
        unsafe { self.driver.push(entry.user_data(user_data(RECEIVE, self.index))) };
    }

    /// Receives into memory of the heap what is there.
    fn receive_now(&self) -> io::Result<Buffer> {
        let mut buffer = self.driver.heap_buffer()?;
        let (start, len) = buffer.lend();
        let fd = self.connection.socket.as_raw_fd();
        // SAFETY: the buffer's own memory, which nobody else uses until the call is over.
        let count = unsafe { libc::recv(fd, start.cast(), len as usize, libc::MSG_DONTWAIT) };
        buffer.returned(usize::try_from(count).map_err(|_| io::Error::last_os_error())?);
        Ok(buffer)
    }

    /// Sends all of `bytes`, without waiting for it: what goes wrong is found by the next read. No queued send must be
    /// under way.
    pub(crate) fn queue_send(&self, bytes: Vec<u8>) {
        let connection = &*self.connection;
        // An operation that would have to wait fails, so that it is over when it has been submitted.
        let flags = libc::MSG_NOSIGNAL | libc::MSG_WAITALL | libc::MSG_DONTWAIT;
        let fd = types::Fd(connection.socket.as_raw_fd());
        let mut entry = opcode::Send::new(fd, bytes.as_ptr(), bytes.len() as u32).flags(flags).build();
        if self.driver.setup.get().silent_sends {
            entry = entry.flags(squeue::Flags::SKIP_SUCCESS);
        }
        let before = connection.queued_send.replace(QueuedSend::Queued(bytes));
        assert!(matches!(before, QueuedSend::Idle), "{before:?}");
        self.driver.send_is_queued(self.index);
        // SAFETY: the bytes are on the heap of the vector, which the connection owns until the send is known to be over;
        // the connection keeps its descriptor open until then.
        unsafe { self.driver.push(entry.user_data(user_data(SEND, self.index))) };
    }

    /// Whether a queued send may not have left yet.
    pub(crate) fn is_sending(&self) -> bool {
        !matches!(*self.connection.queued_send.borrow(), QueuedSend::Idle)
    }

    /// Memory of a queued send, bytes.
    pub(crate) fn queued_bytes(&self) -> usize {
        match &*self.connection.queued_send.borrow() {
            QueuedSend::Queued(bytes) | QueuedSend::Unsent(bytes, _) => bytes.capacity(),
            QueuedSend::Resumed(bytes) => *bytes,
            QueuedSend::Idle | QueuedSend::Broken(_) => 0,
        }
    }

    /// Before something is received into memory of the caller's: waits for a receive that is armed to end; true if it has
    /// received something that is to be read first.
    pub(crate) async fn stop_receiving(&self) -> bool {
        while self.connection.receiving.get() != Receiving::Idle {
            if self.connection.receiving.get() == Receiving::Multishot {
                self.connection.end_multishot(&self.driver, self.index);
            }
            let reader = &self.connection.reader;
            let _waiting = Waiting(reader);
            let mut has_waited = false;
            std::future::poll_fn(|cx| {
                if std::mem::replace(&mut has_waited, true) {
                    return Poll::Ready(());
                }
                reader.wait(cx);
                Poll::Pending
            })
            .await;
        }
        !self.connection.arrivals.borrow().is_empty()
    }

    /// Makes a waiting read return, or the next one that would wait.
    pub(crate) fn interrupt(&self) {
        self.connection.is_interrupted.set(true);
        if self.is_sending() {
            self.driver.must_settle();
        } else {
            self.connection.reader.wake();
        }
    }

    /// It is being shut down: what is queued is handed to the kernel before.
    pub(crate) fn will_shut(&self, which: Shutdown) {
        if which != Shutdown::Write {
            self.connection.is_shut.set(true);
        }
        self.flush();
    }

    /// Hands a queued send to the kernel now.
    fn flush(&self) {
        if matches!(*self.connection.queued_send.borrow(), QueuedSend::Queued(_)) {
            self.driver.flush();
        }
    }
}

/// While a task waits: one whose future has gone is not woken.
struct Waiting<'a>(&'a Waiter);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.is_waiting.set(false);
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let connection = &*self.connection;
        connection.is_over.set(true);
        // They hold the task that holds this.
        connection.reader.waker.take();
        connection.settler.waker.take();
        connection.forget_arrivals(&self.driver);
        if connection.receiving.get() != Receiving::Idle && !connection.is_shut.get() {
            // Else it would keep the socket open until the peer does something.
            self.driver.cancel(user_data(RECEIVE, self.index));
        }
        connection.remove_if_over(&self.driver, self.index);
    }
}
