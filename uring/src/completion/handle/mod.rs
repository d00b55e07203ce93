//! A connection as its stream uses it: reads, queued sends, closing. Called by the connection's task; the state is in
//! `connection`.
#![expect(unsafe_code, reason = "operations name memory by address")]

#[cfg(test)]
mod tests;

use super::connection::{Arrival, Connection, QueuedSend, Receiving, Rest, buffer_of, is_short_of_room};
use super::driver::Driver;
use super::queue::{RECEIVE, SEND, user_data};
use super::send::send;
use super::waiter::Waiting;
use crate::Buffer;
use crate::provided::GROUP;
use io_uring::{cqueue, opcode, squeue, types};
use std::cell::Cell;
use std::io;
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::task::{Context, Poll};

/// The flag of a receive that first waits until the socket is readable. Source: `linux/io_uring.h`, `IORING_RECVSEND_POLL_FIRST`.
const POLL_FIRST: u16 = 1;
/// After this many receives in a row that did not fill their buffer, a multishot receive is used, which stays in flight after
/// each completion.
const SHORT_RECEIVES: u8 = 4;

/// A stream's handle on its connection: the connection and its index in the driver's list. Dropping the handle ends the
/// connection.
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

/// What a read found.
enum Found {
    Bytes(Buffer),
    /// The end of the stream.
    End,
    /// The socket is readable, but no provided buffer was free, so the bytes are still in the socket.
    Readable,
    /// The rest of a queued send of which the socket took only a part. The rest must be sent before the read goes on.
    Unsent(Rest),
}

impl Handle {
    pub(crate) fn new(socket: socket2::Socket) -> Self {
        let driver = Driver::current();
        let connection = Rc::new(Connection::new(socket, driver.pass()));
        let index = driver.connections.borrow_mut().insert(Rc::clone(&connection));
        Self { driver, connection, index }
    }

    pub(crate) fn socket(&self) -> &Rc<socket2::Socket> {
        &self.connection.socket
    }

    pub(crate) fn driver(&self) -> &Rc<Driver> {
        &self.driver
    }

    /// Waits for bytes and returns them; an empty buffer is the end of the stream.
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
                // Boxed: it is rare, and would make every connection's future larger.
                Found::Unsent(rest) => Box::pin(self.send_rest(rest)).await?,
            }
        }
    }

    /// Waits until no queued send is in flight, and sends the rest if the socket took only a part.
    pub(crate) async fn settled(&self) -> io::Result<()> {
        loop {
            let _waiting = Waiting(&self.connection.settler);
            let rest = std::future::poll_fn(|cx| {
                let rest = self.poll_queued_send();
                if rest.is_pending() {
                    self.driver.resources.must_settle();
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

    /// Sends the rest of a queued send, and makes its state Idle, or Broken if that fails.
    async fn send_rest(&self, (bytes, sent): Rest) -> io::Result<()> {
        let connection = &*self.connection;
        let (result, bytes) = send(&self.driver, &connection.socket, bytes, sent).await;
        self.driver.resources.buffers.reuse(bytes);
        let broken = result.as_ref().err().and_then(io::Error::raw_os_error).map(QueuedSend::Broken);
        connection.queued_send.replace(broken.unwrap_or(QueuedSend::Idle));
        // Another task may wait for the same send.
        connection.reader.wake();
        connection.settler.wake();
        result
    }

    /// Ready once no queued send is in flight. `Some` holds the rest of a send of which the socket took only a part; the caller
    /// must send it.
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

    /// Checks once whether there is something to read. If there is not, starts a receive and waits.
    fn poll_read(&self, cx: &Context<'_>) -> Poll<io::Result<Found>> {
        let connection = &*self.connection;
        match self.poll_queued_send() {
            Poll::Ready(Ok(None)) => {}
            Poll::Ready(Ok(Some(rest))) => return Poll::Ready(Ok(Found::Unsent(rest))),
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => {
                if connection.can_read() {
                    self.driver.resources.must_settle();
                }
                self.arm();
                connection.reader.wait(cx);
                return Poll::Pending;
            }
        }
        // A second read in this pass that finds bytes yields to the other connections first.
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

    /// What `arrival` means for a read; `None` if the read must go on waiting.
    fn found(&self, arrival: Arrival) -> Option<io::Result<Found>> {
        let connection = &*self.connection;
        match arrival.result {
            0 => {
                drop(buffer_of(&self.driver.resources, arrival));
                Some(Ok(Found::End))
            }
            1.. => match buffer_of(&self.driver.resources, arrival) {
                Some(buffer) => {
                    let is_short = !buffer.is_full();
                    let receives =
                        if is_short { connection.short_receives.get().saturating_add(1) } else { 0 };
                    connection.short_receives.set(receives);
                    connection.has_more.set(cqueue::sock_nonempty(arrival.flags));
                    Some(Ok(Found::Bytes(buffer)))
                }
                // A completion of a poll: the result is an event mask.
                None => Some(Ok(Found::Readable)),
            },
            _ => match -arrival.result {
                libc::ENOBUFS => {
                    // The caller arms a receive again, or waits without a buffer.
                    if !self.driver.grow_pool() {
                        self.poll_readable();
                    }
                    None
                }
                // Interrupted, or cancelled to receive a large value. The caller arms a receive again.
                libc::EINTR | libc::EAGAIN | libc::ECANCELED => None,
                errno => Some(Err(io::Error::from_raw_os_error(errno))),
            },
        }
    }

    /// Starts a receive unless one is in flight or there is something to read.
    fn arm(&self) {
        let connection = &*self.connection;
        if connection.receiving.get() != Receiving::Idle || !connection.arrivals.borrow().is_empty() {
            return;
        }
        if self.driver.resources.pool.is_none() {
            return self.poll_readable();
        }
        let fd = types::Fd(connection.socket.as_raw_fd());
        let setup = self.driver.resources.setup.get();
        let (receiving, entry) = if setup.multishot && connection.short_receives.get() >= SHORT_RECEIVES {
            (Receiving::Multishot, opcode::RecvMulti::new(fd, GROUP).build())
        } else {
            // Nearly always nothing has arrived yet, except from a client that pipelines: so wait before the first try.
            let first = if connection.has_more.get() { 0 } else { POLL_FIRST };
            let entry = opcode::Recv::new(fd, std::ptr::null_mut(), 0).buf_group(GROUP).ioprio(first).build();
            (Receiving::Selecting, entry.flags(squeue::Flags::BUFFER_SELECT))
        };
        self.receive(receiving, entry);
    }

    /// Starts a poll until the socket is readable, which needs no buffer; has no effect if a receive is in flight.
    fn poll_readable(&self) {
        if self.connection.receiving.get() != Receiving::Idle {
            return;
        }
        let events = (libc::POLLIN | libc::POLLRDHUP) as u32;
        let fd = types::Fd(self.connection.socket.as_raw_fd());
        self.receive(Receiving::Polling, opcode::PollAdd::new(fd, events).build());
    }

    /// Queues the receive or poll `entry`.
    fn receive(&self, receiving: Receiving, entry: squeue::Entry) {
        self.connection.receiving.set(receiving);
        // SAFETY: the entry names no memory but that of the pool, which lives as long as the driver; the connection keeps
        // its descriptor open, and stays in the driver's list until the receive has completed for the last time.
        unsafe { self.driver.resources.queue.push(entry.user_data(user_data(RECEIVE, self.index))) };
    }

    /// Receives what the socket holds into a heap buffer, without waiting.
    fn receive_now(&self) -> io::Result<Buffer> {
        let mut buffer = self.driver.resources.heap_buffer()?;
        let (start, len) = buffer.lend();
        let fd = self.connection.socket.as_raw_fd();
        // SAFETY: the buffer's own memory, which nobody else uses until the call is over.
        let count = unsafe { libc::recv(fd, start.cast(), len as usize, libc::MSG_DONTWAIT) };
        buffer.returned(usize::try_from(count).map_err(|_| io::Error::last_os_error())?);
        Ok(buffer)
    }

    /// Queues a send of all `bytes` and does not wait for it. The next read waits for the send, and returns its error.
    ///
    /// # Panics
    /// If the last queued send has not ended.
    pub(crate) fn queue_send(&self, bytes: Vec<u8>) {
        let connection = &*self.connection;
        // A send that would block fails, so that it is over once submitted.
        let flags = libc::MSG_NOSIGNAL | libc::MSG_WAITALL | libc::MSG_DONTWAIT;
        let fd = types::Fd(connection.socket.as_raw_fd());
        let mut entry = opcode::Send::new(fd, bytes.as_ptr(), bytes.len() as u32).flags(flags).build();
        if self.driver.resources.setup.get().silent_sends {
            entry = entry.flags(squeue::Flags::SKIP_SUCCESS);
        }
        let before = connection.queued_send.replace(QueuedSend::Queued(bytes));
        assert!(matches!(before, QueuedSend::Idle), "{before:?}");
        self.driver.send_is_queued(self.index);
        // SAFETY: the bytes are on the heap of the vector, which the connection owns until the send is known to be over;
        // the connection keeps its descriptor open until then.
        unsafe { self.driver.resources.queue.push(entry.user_data(user_data(SEND, self.index))) };
    }

    /// True if a queued send may still be in flight, has been sent only in part, or has failed.
    pub(crate) fn is_sending(&self) -> bool {
        !matches!(*self.connection.queued_send.borrow(), QueuedSend::Idle)
    }

    /// Size of the memory that the queued send takes, bytes; 0 if there is none.
    pub(crate) fn queued_bytes(&self) -> usize {
        match &*self.connection.queued_send.borrow() {
            QueuedSend::Queued(bytes) | QueuedSend::Unsent(bytes, _) => bytes.capacity(),
            QueuedSend::Resumed(bytes) => *bytes,
            QueuedSend::Idle | QueuedSend::Broken(_) => 0,
        }
    }

    /// Waits for the end of the receive that is in flight, and cancels a multishot one, so that a receive into the caller's
    /// memory can begin. True if something has been received that must be read first.
    pub(crate) async fn stop_receiving(&self) -> bool {
        while self.connection.receiving.get() != Receiving::Idle {
            if self.connection.receiving.get() == Receiving::Multishot {
                self.connection.end_multishot(&self.driver.resources, self.index);
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

    /// Calls `poll`, which polls a receive into the caller's memory, until it is ready. The second argument is true if the
    /// connection was interrupted since the previous call.
    pub(crate) async fn receive_directly<T>(
        &self,
        mut poll: impl FnMut(&mut Context<'_>, bool) -> Poll<T>,
    ) -> T {
        let connection = &*self.connection;
        assert_eq!(connection.receiving.replace(Receiving::Direct), Receiving::Idle);
        let _receiving = Direct(&connection.receiving);
        let _waiting = Waiting(&connection.reader);
        std::future::poll_fn(|cx| {
            let polled = poll(cx, connection.is_interrupted.replace(false));
            if polled.is_pending() {
                connection.reader.wait(cx);
            }
            polled
        })
        .await
    }

    /// Makes a waiting read or direct receive fail. If none waits, the next one that would wait fails instead.
    pub(crate) fn interrupt(&self) {
        self.connection.is_interrupted.set(true);
        if self.is_sending() {
            self.driver.resources.must_settle();
        } else {
            self.connection.reader.wake();
        }
    }

    /// Submits a queued send, so that its bytes go out before the shutdown that follows. Called before each shutdown of the
    /// socket.
    pub(crate) fn will_shut(&self, which: Shutdown) {
        if which != Shutdown::Write {
            self.connection.is_shut.set(true);
        }
        self.flush();
    }

    /// Submits the queued send now, if there is one.
    fn flush(&self) {
        if matches!(*self.connection.queued_send.borrow(), QueuedSend::Queued(_)) {
            self.driver.resources.queue.flush();
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let connection = &*self.connection;
        connection.is_over.set(true);
        connection.reader.forget();
        connection.settler.forget();
        connection.forget_arrivals(&self.driver.resources);
        if connection.receiving.get() != Receiving::Idle && !connection.is_shut.get() {
            // Else the receive would keep the socket open until the peer does something.
            self.driver.resources.queue.cancel(user_data(RECEIVE, self.index));
        }
        self.driver.remove_if_unused(self.index);
    }
}

/// Makes the connection's state `Idle` when it is dropped, which ends a direct receive.
struct Direct<'a>(&'a Cell<Receiving>);

impl Drop for Direct<'_> {
    fn drop(&mut self) {
        self.0.set(Receiving::Idle);
    }
}
