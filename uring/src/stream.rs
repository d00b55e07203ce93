//! A connection: bytes in, bytes out, memory by ownership.

use crate::engine::Engine;
use crate::memory::Vectors;
use crate::{Buffer, Pieces, Receive, Socket, completion, readiness, sys};
use std::cell::Cell;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::rc::Rc;

/// Most bytes one operation moves. Copying these takes the kernel about 80 µs, which is how long one connection may
/// hold up the others of its ring.
const OPERATION_BYTES_MAX: usize = 512 * 1024;

/// A full socket or a broken connection is a result.
const SEND_AT_ONCE: i32 = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

/// One connection of this thread's ring.
///
/// At most one operation in each direction runs at a time (beside [`Stream::interrupt`]). The futures own the descriptor
/// and the memory they were given; a future that is dropped unfinished keeps both until the peer does something. So the end
/// of a connection is [`Stream::shutdown`], then the end of its task.
pub struct Stream {
    socket: Connected,
    vectors: Cell<Option<Box<Vectors>>>,
}

#[derive(Debug)]
enum Connected {
    /// Operations share the socket.
    Completion(Rc<socket2::Socket>),
    Readiness(readiness::Socket),
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl Stream {
    /// Brings a socket to this thread's ring.
    ///
    /// # Panics
    /// Outside of [`crate::Ring::run`].
    pub fn new(socket: Socket) -> Self {
        let socket = match Engine::current() {
            Engine::Uring => Connected::Completion(Rc::new(socket.into_inner())),
            Engine::Epoll => Connected::Readiness(readiness::Socket::new(socket.into_inner())),
        };
        Self { socket, vectors: Cell::new(None) }
    }

    /// The number of the descriptor.
    pub fn id(&self) -> RawFd {
        match &self.socket {
            Connected::Completion(socket) => socket.as_raw_fd(),
            Connected::Readiness(socket) => socket.id(),
        }
    }

    /// Waits for bytes and reads them into `buffer`; 0 is the end of the peer's bytes.
    ///
    /// # Errors
    /// [`is_interrupted`](Self::is_interrupted): somebody called [`Stream::interrupt`], or the kernel was interrupted; no
    /// bytes were lost. Others: the connection is broken.
    pub async fn read(&self, buffer: Buffer) -> (io::Result<usize>, Buffer) {
        match &self.socket {
            Connected::Completion(socket) => completion::read(Rc::clone(socket), buffer).await,
            Connected::Readiness(socket) => socket.read(buffer).await,
        }
    }

    /// Waits, without a buffer, until a read would not wait.
    ///
    /// # Errors
    /// As [`Stream::read`].
    pub async fn parked(&self) -> io::Result<()> {
        match &self.socket {
            Connected::Completion(socket) => completion::readable(Rc::clone(socket)).await,
            Connected::Readiness(socket) => socket.parked().await,
        }
    }

    /// Receives up to what `target` has spare; 0 is the end of the peer's bytes. The caller accounts for the bytes.
    ///
    /// # Errors
    /// The connection is broken.
    pub async fn recv_into<T: Receive>(&self, mut target: T) -> (io::Result<usize>, T) {
        loop {
            let result;
            (result, target) = match &self.socket {
                Connected::Completion(socket) => {
                    completion::receive(Rc::clone(socket), target, OPERATION_BYTES_MAX).await
                }
                Connected::Readiness(socket) => {
                    (socket.receive(&mut target, OPERATION_BYTES_MAX).await, target)
                }
            };
            // An interrupt is for idle connections; it can arrive late, when this one no longer is.
            if !result.as_ref().is_err_and(Self::is_interrupted) {
                return (result, target);
            }
        }
    }

    /// Sends all of `bytes`, waiting as long as the peer makes it wait.
    ///
    /// # Errors
    /// The connection is broken; some of the bytes may have been sent.
    pub async fn send(&self, bytes: Vec<u8>) -> (io::Result<()>, Vec<u8>) {
        self.send_behind(0, bytes).await
    }

    /// As [`Stream::send`], but what the socket takes at once is sent by a system call of its own, so that the future is
    /// ready when all of it was.
    ///
    /// For a ring with nothing else to do: an operation costs it a turn, submission, wake-up and dispatch, which is
    /// cheap only if many share it (get with 1 connection: 21.0 µs CPU a request instead of 23.3; with 50: 7.6 instead of
    /// 7.0).
    ///
    /// # Errors
    /// As [`Stream::send`].
    pub async fn send_at_once(&self, bytes: Vec<u8>) -> (io::Result<()>, Vec<u8>) {
        let sent = match &self.socket {
            // An error is found again by the operation that sends the rest.
            Connected::Completion(socket) => socket.send_with_flags(&bytes, SEND_AT_ONCE).unwrap_or(0),
            // Its operations begin with such a call anyway.
            Connected::Readiness(_) => 0,
        };
        self.send_behind(sent, bytes).await
    }

    /// Sends all of `bytes` behind the first `sent`.
    async fn send_behind(&self, mut sent: usize, mut bytes: Vec<u8>) -> (io::Result<()>, Vec<u8>) {
        while sent < bytes.len() {
            let to = bytes.len().min(sent + OPERATION_BYTES_MAX);
            let result;
            (result, bytes) = match &self.socket {
                Connected::Completion(socket) => completion::send(Rc::clone(socket), bytes, sent, to).await,
                Connected::Readiness(socket) => (socket.send(&bytes[sent..to]).await, bytes),
            };
            match result {
                Ok(count) => sent += count,
                Err(error) if Self::is_interrupted(&error) => {}
                Err(error) => return (Err(error), bytes),
            }
        }
        (Ok(()), bytes)
    }

    /// Sends all pieces in order, without copying them together.
    ///
    /// # Errors
    /// As [`Stream::send`].
    pub async fn send_gather<P: Pieces>(&self, mut pieces: P) -> (io::Result<()>, P) {
        let mut vectors = self.vectors.take().unwrap_or_default();
        let mut sent = 0;
        let result = loop {
            let result;
            (result, pieces, vectors) = match &self.socket {
                Connected::Completion(socket) => {
                    completion::gather(Rc::clone(socket), pieces, vectors, sent, OPERATION_BYTES_MAX).await
                }
                Connected::Readiness(socket) => {
                    let result = socket.gather(&pieces, &mut vectors, sent, OPERATION_BYTES_MAX).await;
                    (result, pieces, vectors)
                }
            };
            match result {
                Ok(0) => break Ok(()),
                Ok(count) => sent += count,
                Err(error) if Self::is_interrupted(&error) => {}
                Err(error) => break Err(error),
            }
        };
        self.vectors.set(Some(vectors));
        (result, pieces)
    }

    /// Makes a waiting [`Stream::read`] or [`Stream::parked`] return with an error that
    /// [`is_interrupted`](Self::is_interrupted). It may come late and meet the next one; sends and receives into
    /// memory go on by themselves. Costs the kernel a walk over all that wait: some tens of microseconds among 10,000.
    pub async fn interrupt(&self) {
        match &self.socket {
            Connected::Completion(socket) => completion::cancel(Rc::clone(socket)).await,
            Connected::Readiness(socket) => socket.interrupt(),
        }
    }

    /// True for the error of an interrupted wait.
    pub fn is_interrupted(error: &io::Error) -> bool {
        matches!(error.raw_os_error(), Some(libc::ECANCELED | libc::EINTR))
    }

    /// Ends the connection both ways: what waits on it completes, and the peer sees the end behind what was sent.
    /// Without it, a dropped future would keep the socket open.
    pub fn shutdown(&self) {
        self.end(Shutdown::Both);
    }

    /// Says that nothing more will be sent; bytes of the peer can still be read.
    pub fn finish(&self) {
        self.end(Shutdown::Write);
    }

    fn end(&self, which: Shutdown) {
        // The only failure is that there is nothing left to shut down.
        let _ = match &self.socket {
            Connected::Completion(socket) => socket.shutdown(which),
            Connected::Readiness(socket) => socket.shutdown(which),
        };
    }

    /// Whether all that was sent has reached the peer's machine.
    pub fn has_arrived(&self) -> bool {
        let socket = match &self.socket {
            Connected::Completion(socket) => socket.as_fd(),
            Connected::Readiness(socket) => socket.as_fd(),
        };
        sys::unacknowledged_bytes(socket) == 0
    }

    /// Drops what of the stream's memory is kept for reuse; for a connection that has gone idle.
    pub fn trim(&self) {
        self.vectors.set(None);
    }
}
