//! A connection's calls: each moves what it can now, or waits for the event that says it can.
#![expect(unsafe_code, reason = "receives into and gathers from memory that is named by address")]

use super::pace::Pace;
use super::watched::{Watched, used_up};
use crate::memory::Vectors;
use crate::{Buffer, Pieces, Receive};
use std::cell::Cell;
use std::io;
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::task::{Poll, Waker};
use tokio::io::Interest;
use tokio::io::unix::AsyncFdReadyGuard;

/// A broken connection is a result, not a signal. Whether the descriptor is blocking does not matter.
const SEND_FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

/// One connection.
#[derive(Debug)]
pub(crate) struct Socket {
    watched: Watched,
    pace: Pace,
    waiter: Waiter,
}

/// Who waits for bytes and may be interrupted.
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

/// Whether [`Socket::interrupt`] ends a wait.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Patience {
    Interruptible,
    ToTheEnd,
}

impl Socket {
    pub(crate) fn new(socket: socket2::Socket) -> Self {
        let watched = Watched::new(socket, Interest::READABLE | Interest::WRITABLE);
        Self { watched, pace: Pace::default(), waiter: Waiter::default() }
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.watched.socket().as_fd()
    }

    pub(crate) fn id(&self) -> RawFd {
        self.watched.socket().as_raw_fd()
    }

    /// One read into `buffer`, which afterwards holds exactly the bytes of this read.
    pub(crate) async fn read(&self, mut buffer: Buffer) -> (io::Result<usize>, Buffer) {
        let (start, len) = buffer.lend();
        // SAFETY: the buffer's own memory, which this one `Buffer` reaches; it is this future's, and dropped with it.
        let result = unsafe { self.fill(start, len as usize, Patience::Interruptible) }.await;
        if let Ok(count) = result {
            buffer.returned(count);
        }
        (result, buffer)
    }

    /// One receive of at most `len_max` bytes into the front of `target`'s spare memory.
    pub(crate) async fn receive<T: Receive>(&self, target: &mut T, len_max: usize) -> io::Result<usize> {
        let (start, len) = target.spare();
        // SAFETY: `Receive` promises that the spare memory is writable and used by nobody else while `target` is, as here,
        // neither dropped nor mutated.
        unsafe { self.fill(start, len.min(len_max), Patience::ToTheEnd) }.await
    }

    /// One receive into `len` bytes at `start`.
    ///
    /// # Safety
    /// They are writable, and used by nobody else, until the future is ready or dropped.
    async unsafe fn fill(&self, start: *mut u8, len: usize, patience: Patience) -> io::Result<usize> {
        self.pace.step().await;
        loop {
            let (mut readiness, _) = self.readable(patience).await?;
            // SAFETY: the caller's promise; the call does not outlast this line.
            let count = unsafe { libc::recv(self.id(), start.cast(), len, libc::MSG_DONTWAIT) };
            match count_or_error(count) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => used_up(&mut readiness)?,
                // All there was: what comes after it is another event. The end has been told, and is not cleared.
                Ok(count) if count < len => {
                    readiness.clear_ready();
                    return Ok(count);
                }
                result => return result,
            }
        }
    }

    /// Ready once there are bytes to read, the peer has closed, or the connection is broken.
    pub(crate) async fn parked(&self) -> io::Result<()> {
        loop {
            let (mut readiness, is_news) = self.readable(Patience::Interruptible).await?;
            // What is remembered from an earlier event may have been read since.
            if is_news || self.has_bytes() {
                return Ok(());
            }
            used_up(&mut readiness)?;
        }
    }

    /// True if a read would not wait.
    fn has_bytes(&self) -> bool {
        let peeked = self
            .watched
            .socket()
            .recv_with_flags(&mut [MaybeUninit::uninit()], libc::MSG_DONTWAIT | libc::MSG_PEEK);
        !peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Waits until a read may find something; true with it if that had to be waited for.
    async fn readable(
        &self,
        patience: Patience,
    ) -> io::Result<(AsyncFdReadyGuard<'_, socket2::Socket>, bool)> {
        let events = self.watched.events()?;
        let mut has_waited = false;
        std::future::poll_fn(|cx| {
            if let Poll::Ready(readiness) = events.poll_read_ready(cx) {
                self.waiter.task.set(None);
                self.waiter.is_interrupted.set(false);
                return Poll::Ready(readiness.map(|readiness| (readiness, has_waited)));
            }
            if patience == Patience::Interruptible {
                if self.waiter.is_interrupted.replace(false) {
                    return Poll::Ready(Err(io::Error::from_raw_os_error(libc::ECANCELED)));
                }
                self.waiter.task.set(Some(cx.waker().clone()));
            }
            has_waited = true;
            self.pace.has_waited();
            Poll::Pending
        })
        .await
    }

    /// Sends the front of `bytes`.
    pub(crate) async fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        self.drain(|| self.watched.socket().send_with_flags(bytes, SEND_FLAGS)).await
    }

    /// Sends at most `len_max` bytes of `pieces` behind the first `skip`; the result may be short, and is 0 if there is
    /// nothing left.
    pub(crate) async fn gather<P: Pieces>(
        &self,
        pieces: &P,
        vectors: &mut Box<Vectors>,
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

    /// One sending call, now or when the peer has made room.
    async fn drain(&self, mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
        self.pace.step().await;
        // There is nearly always room: no event is asked for.
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

    /// Makes a waiting [`Socket::read`] or [`Socket::parked`] fail with `ECANCELED`.
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

/// The C convention for results, as Rust's.
fn count_or_error(count: libc::ssize_t) -> io::Result<usize> {
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}
