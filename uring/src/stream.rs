//! A connection. Every operation takes ownership of its memory and returns it with the result. A [`Stream`] belongs to one ring
//! and is used on its thread alone.

use crate::backend::Backend;
use crate::memory::{IoVecs, OPERATION_BYTES_MAX};
use crate::{Buffer, Buffers, GatherBuf, Receive, Socket, completion, readiness, sys};
use std::cell::Cell;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::rc::Rc;

/// One connection of this thread's ring.
///
/// The caller must not begin a second operation in the same direction before the first is ready: nothing keeps the bytes of two
/// sends apart, and of two waiting reads only one is woken. Only a [queued send](Stream::queue_send) may still be under way when
/// the next send begins, which waits for it.
///
/// Operations own the descriptor and the memory they were given. On io_uring an operation whose future is dropped early keeps
/// both until it completes, which may take until the peer does something. So to close a connection, call [`Stream::shutdown`]
/// and let its task finish.
pub struct Stream {
    socket: Connected,
    /// Memory for the next gathering send; `None` while one runs, and before the first.
    vectors: Cell<Option<Box<IoVecs>>>,
}

/// The connected socket in the form that the thread's backend needs.
#[derive(Debug)]
enum Connected {
    Completion(completion::Handle),
    Readiness(readiness::Socket),
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl Stream {
    /// Puts a socket on this thread's ring.
    ///
    /// # Panics
    /// Outside of [`crate::Ring::run`].
    pub fn new(socket: Socket) -> Self {
        let socket = match Backend::current() {
            Backend::Uring => Connected::Completion(completion::Handle::new(socket.into_inner())),
            Backend::Epoll => Connected::Readiness(readiness::Socket::new(socket.into_inner())),
        };
        Self { socket, vectors: Cell::new(None) }
    }

    /// The number of the file descriptor, which no other open socket has.
    pub fn id(&self) -> RawFd {
        match &self.socket {
            Connected::Completion(connection) => connection.socket().as_raw_fd(),
            Connected::Readiness(socket) => socket.id(),
        }
    }

    /// Waits for bytes and returns them in a buffer; an empty buffer means the end of the stream. The buffer is taken when the
    /// bytes arrive, so that a waiting connection holds none: on epoll from `buffers`, on io_uring from the ring's own buffers.
    ///
    /// # Errors
    /// [`is_interrupted`](Self::is_interrupted): [`Stream::interrupt`] was called, or the kernel was interrupted; no bytes
    /// were lost. [`is_out_of_read_memory`](Self::is_out_of_read_memory): bytes have arrived, but there is no buffer for them.
    /// Any other error: the connection is broken, or an earlier [queued send](Stream::queue_send) failed.
    pub async fn read(&self, buffers: &Buffers) -> io::Result<Buffer> {
        match &self.socket {
            Connected::Completion(connection) => connection.read().await,
            Connected::Readiness(socket) => socket.read(buffers).await,
        }
    }

    /// Stops receiving into buffers. Must be awaited between a read and the first [`Stream::recv_into`] after it. True if bytes
    /// have already been received; they must be read before.
    pub async fn stop_receiving(&self) -> bool {
        match &self.socket {
            Connected::Completion(connection) => connection.stop_receiving().await,
            Connected::Readiness(_) => false,
        }
    }

    /// Receives once into the spare memory of `target`, and returns how many bytes came; 0 is the end of the stream. The caller
    /// must mark the bytes as filled.
    ///
    /// # Errors
    /// [`is_interrupted`](Self::is_interrupted), as for [`Stream::read`]. Any other error: the connection is broken.
    pub async fn recv_into<T: Receive>(&self, mut target: T) -> (io::Result<usize>, T) {
        match &self.socket {
            Connected::Completion(connection) => {
                completion::receive(connection, target, OPERATION_BYTES_MAX).await
            }
            Connected::Readiness(socket) => (socket.receive(&mut target, OPERATION_BYTES_MAX).await, target),
        }
    }

    /// Sends all of `bytes`, however long the peer takes, and returns `bytes` for reuse.
    ///
    /// # Errors
    /// The connection is broken; some of the bytes may have been sent.
    pub async fn send(&self, bytes: Vec<u8>) -> (io::Result<()>, Vec<u8>) {
        match &self.socket {
            Connected::Completion(connection) => match connection.settled().await {
                Ok(()) => completion::send(connection.driver(), connection.socket(), bytes, 0).await,
                Err(error) => (Err(error), bytes),
            },
            Connected::Readiness(socket) => Self::send_ready(socket, bytes).await,
        }
    }

    /// Sends all of `bytes`, but may return before they are sent. The next read or send waits for this send and reports its
    /// error. Thus the send and the next receive reach the kernel in one submission. The memory of `bytes` is kept for reuse in
    /// `buffers`.
    ///
    /// # Errors
    /// As [`Stream::send`].
    pub async fn queue_send(&self, bytes: Vec<u8>, buffers: &Buffers) -> io::Result<()> {
        match &self.socket {
            Connected::Completion(connection) => {
                if connection.is_sending() {
                    connection.settled().await?;
                }
                connection.queue_send(bytes);
                Ok(())
            }
            Connected::Readiness(socket) => {
                let (result, bytes) = Self::send_ready(socket, bytes).await;
                buffers.reuse(bytes);
                result
            }
        }
    }

    /// Waits until the bytes of the [queued send](Stream::queue_send) are sent; returns immediately if no send is queued.
    ///
    /// # Errors
    /// As [`Stream::send`].
    pub async fn settled(&self) -> io::Result<()> {
        match &self.socket {
            Connected::Completion(connection) => connection.settled().await,
            Connected::Readiness(_) => Ok(()),
        }
    }

    /// Size of the memory that the queued send takes, bytes; 0 if no send is queued, and always 0 on epoll.
    pub fn queued_bytes(&self) -> usize {
        match &self.socket {
            Connected::Completion(connection) => connection.queued_bytes(),
            Connected::Readiness(_) => 0,
        }
    }

    /// Sends all of `bytes` over `socket`, waiting for room as often as needed; returns `bytes`, for reuse.
    async fn send_ready(socket: &readiness::Socket, bytes: Vec<u8>) -> (io::Result<()>, Vec<u8>) {
        let mut sent = 0;
        while sent < bytes.len() {
            let to = bytes.len().min(sent + OPERATION_BYTES_MAX);
            match socket.send(&bytes[sent..to]).await {
                Ok(count) => sent += count,
                Err(error) if Self::is_interrupted(&error) => {}
                Err(error) => return (Err(error), bytes),
            }
        }
        (Ok(()), bytes)
    }

    /// Sends all pieces in order, without copying them into one buffer, and returns `pieces`.
    ///
    /// # Errors
    /// As [`Stream::send`].
    pub async fn send_gather<P: GatherBuf>(&self, mut pieces: P) -> (io::Result<()>, P) {
        if let Err(error) = self.settled().await {
            return (Err(error), pieces);
        }
        let mut vectors = self.vectors.take().unwrap_or_default();
        let mut sent = 0;
        let result = loop {
            let result;
            (result, pieces, vectors) = match &self.socket {
                Connected::Completion(connection) => {
                    completion::gather(
                        connection.driver(),
                        Rc::clone(connection.socket()),
                        pieces,
                        vectors,
                        sent,
                        OPERATION_BYTES_MAX,
                    )
                    .await
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

    /// Makes a waiting [`Stream::read`] or [`Stream::recv_into`] fail with an error that
    /// [`is_interrupted`](Self::is_interrupted). If none waits, the next one may fail instead. Sends are not affected.
    pub fn interrupt(&self) {
        match &self.socket {
            Connected::Completion(connection) => connection.interrupt(),
            Connected::Readiness(socket) => socket.interrupt(),
        }
    }

    /// True for the error of a read that would exceed [`Options::read_bytes_max`](crate::Options::read_bytes_max).
    pub fn is_out_of_read_memory(error: &io::Error) -> bool {
        error.raw_os_error().is_none() && error.kind() == io::ErrorKind::OutOfMemory
    }

    /// True for the error of a wait that [`Stream::interrupt`] or a signal has ended.
    pub fn is_interrupted(error: &io::Error) -> bool {
        sys::is_interrupted(error)
    }

    /// Shuts the connection down both ways: its operations complete, and the peer sees the end of the stream after the bytes
    /// that were sent. Without the shutdown, an operation whose future was dropped would keep the socket open.
    pub fn shutdown(&self) {
        self.end(Shutdown::Both);
    }

    /// Shuts down the sending side; the peer's bytes can still be read.
    pub fn finish(&self) {
        self.end(Shutdown::Write);
    }

    fn end(&self, which: Shutdown) {
        // Fails only if the connection is shut down already.
        let _ = match &self.socket {
            Connected::Completion(connection) => {
                connection.will_shut(which);
                connection.socket().shutdown(which)
            }
            Connected::Readiness(socket) => socket.shutdown(which),
        };
    }

    /// True if nothing is being sent, and the peer's machine has acknowledged everything that was sent.
    pub fn has_arrived(&self) -> bool {
        let is_sending = match &self.socket {
            Connected::Completion(connection) => connection.is_sending(),
            Connected::Readiness(_) => false,
        };
        !is_sending && sys::unacknowledged_bytes(self.descriptor()) == 0
    }

    /// Bytes that the peer's machine has acknowledged since the connection began; 0 if the socket is not TCP.
    pub fn acknowledged_bytes(&self) -> u64 {
        sys::acknowledged_bytes(self.descriptor())
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Connected::Completion(connection) => connection.socket().as_fd(),
            Connected::Readiness(socket) => socket.as_fd(),
        }
    }

    /// Frees the memory that this connection keeps for reuse; for a connection that has become idle.
    pub fn trim(&self) {
        self.vectors.set(None);
    }
}
