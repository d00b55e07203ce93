//! A connection on epoll: each call moves the bytes that it can move now, or waits until the socket is ready. A [`Socket`]
//! belongs to its ring's thread.
#![expect(unsafe_code, reason = "receives into and gathers from memory that is named by address")]

use super::pace::CoopBudget;
use super::watched::{AsyncSocket, used_up};
use crate::memory::IoVecs;
use crate::{Buffer, Buffers, GatherBuf, Receive};
use std::cell::Cell;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::task::{Poll, Waker};
use tokio::io::Interest;
use tokio::io::unix::AsyncFdReadyGuard;

/// Flags of every send: no SIGPIPE, and no blocking, whatever the descriptor's mode.
const SEND_FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

/// A connection on epoll.
#[derive(Debug)]
pub(crate) struct Socket {
    watched: AsyncSocket,
    pace: CoopBudget,
    waiter: Waiter,
}

/// The task that waits for bytes, and whether [`Socket::interrupt`] has ended its wait.
#[derive(Default)]
struct Waiter {
    task: Cell<Option<Waker>>,
    is_interrupted: Cell<bool>,
}

impl std::fmt::Debug for Waiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiter").field("is_interrupted", &self.is_interrupted).finish_non_exhaustive()
    }
}

impl Socket {
    pub(crate) fn new(socket: socket2::Socket) -> Self {
        let watched = AsyncSocket::new(socket, Interest::READABLE | Interest::WRITABLE);
        Self { watched, pace: CoopBudget::default(), waiter: Waiter::default() }
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.watched.socket().as_fd()
    }

    pub(crate) fn id(&self) -> RawFd {
        self.watched.socket().as_raw_fd()
    }

    /// Waits for bytes, then takes a buffer from `buffers` and reads into it once. Fails with `OutOfMemory` if there is no
    /// buffer.
    pub(crate) async fn read(&self, buffers: &Buffers) -> io::Result<Buffer> {
        self.pace.step().await;
        loop {
            let mut readiness = self.readable().await?;
            let mut buffer = buffers.take().ok_or(io::ErrorKind::OutOfMemory)?;
            let (start, len) = buffer.lend();
            // SAFETY: the buffer's own memory, which this one `Buffer` reaches; the call does not outlast this line.
            let count = unsafe { libc::recv(self.id(), start.cast(), len as usize, libc::MSG_DONTWAIT) };
            if let Some(count) = judge(count, len as usize, &mut readiness)? {
                buffer.returned(count);
                return Ok(buffer);
            }
        }
    }

    /// Waits for bytes, and receives at most `len_max` of them into the front of `target`'s spare memory.
    pub(crate) async fn receive<T: Receive>(&self, target: &mut T, len_max: usize) -> io::Result<usize> {
        let (start, len) = target.spare();
        // SAFETY: `Receive` promises that the spare memory is writable and used by nobody else while `target` is, as here,
        // neither dropped nor mutated.
        unsafe { self.fill(start, len.min(len_max)) }.await
    }

    /// Waits for bytes, and receives once into the `len` bytes at `start`.
    ///
    /// # Safety
    /// The `len` bytes are writable and used by nothing else until the future completes or is dropped.
    async unsafe fn fill(&self, start: *mut u8, len: usize) -> io::Result<usize> {
        self.pace.step().await;
        loop {
            let mut readiness = self.readable().await?;
            // SAFETY: the caller's promise; the call does not outlast this line.
            let count = unsafe { libc::recv(self.id(), start.cast(), len, libc::MSG_DONTWAIT) };
            if let Some(count) = judge(count, len, &mut readiness)? {
                return Ok(count);
            }
        }
    }

    /// Waits until the socket may be readable; fails with `ECANCELED` if [`Socket::interrupt`] ends the wait.
    async fn readable(&self) -> io::Result<AsyncFdReadyGuard<'_, socket2::Socket>> {
        let events = self.watched.events()?;
        std::future::poll_fn(|cx| {
            if let Poll::Ready(readiness) = events.poll_read_ready(cx) {
                self.waiter.task.set(None);
                self.waiter.is_interrupted.set(false);
                return Poll::Ready(readiness);
            }
            if self.waiter.is_interrupted.replace(false) {
                return Poll::Ready(Err(io::Error::from_raw_os_error(libc::ECANCELED)));
            }
            self.waiter.task.set(Some(cx.waker().clone()));
            self.pace.has_waited();
            Poll::Pending
        })
        .await
    }

    /// Sends as much of the front of `bytes` as the socket takes in one call; returns how many bytes were sent.
    pub(crate) async fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        self.drain(|| self.watched.socket().send_with_flags(bytes, SEND_FLAGS)).await
    }

    /// Sends at most `len_max` bytes of `pieces`, beginning after the first `skip` bytes. Returns how many bytes were sent,
    /// which may be fewer than asked; 0 if nothing is left to send.
    pub(crate) async fn gather<P: GatherBuf>(
        &self,
        pieces: &P,
        vectors: &mut Box<IoVecs>,
        skip: usize,
        len_max: usize,
    ) -> io::Result<usize> {
        if vectors.describe(pieces, skip, len_max) == 0 {
            return Ok(0);
        }
        self.drain(|| {
            // SAFETY: the header and its list are those of `vectors`, made above and borrowed since; they name memory of
            // `pieces`, which promises to keep it in place and unchanged while it is, as here, neither dropped nor mutated.
            count_or_error(unsafe { libc::sendmsg(self.id(), vectors.header(), SEND_FLAGS) })
        })
        .await
    }

    /// Calls `call` until it succeeds, or fails with another error than `WouldBlock`. Before each further call, waits until the
    /// socket is writable.
    async fn drain(&self, mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
        self.pace.step().await;
        // There is nearly always room: try before waiting for an event.
        let mut result = call();
        while result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            let mut readiness = self.watched.events()?.writable().await?;
            self.pace.has_waited();
            result = call();
            if result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
                used_up(&mut readiness)?;
            }
        }
        result
    }

    /// Makes a waiting [`Socket::read`] or [`Socket::receive`] fail with `ECANCELED`; has no effect if none waits.
    pub(crate) fn interrupt(&self) {
        if let Some(waiter) = self.waiter.task.take() {
            self.waiter.is_interrupted.set(true);
            waiter.wake();
        }
    }

    pub(crate) fn shutdown(&self, which: Shutdown) -> io::Result<()> {
        self.watched.socket().shutdown(which)
    }
}

/// Turns the `count` that a receive into `len` bytes returned into a result; `None` if the receive would block.
fn judge(
    count: libc::ssize_t,
    len: usize,
    readiness: &mut AsyncFdReadyGuard<'_, socket2::Socket>,
) -> io::Result<Option<usize>> {
    match count_or_error(count) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => used_up(readiness).map(|()| None),
        // A short receive took all bytes that were there, and further bytes raise another event. The end of the stream stays
        // ready.
        Ok(count) if count < len => {
            readiness.clear_ready();
            Ok(Some(count))
        }
        result => result.map(Some),
    }
}

/// The count that a C function returned, or, if that is negative, the error in `errno`.
fn count_or_error(count: libc::ssize_t) -> io::Result<usize> {
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}
