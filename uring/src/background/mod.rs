//! The runtime of a background thread, which runs no ring and does work that need not be fast, with TCP and files.
//!
//! On io_uring the runtime is tokio-uring's: a small ring whose completions wake tokio's event loop. That costs six system calls
//! per request, which does not matter here, and tokio's timers and tasks work on it. Where io_uring is refused the runtime is
//! tokio's own. Either way the runtime is never dropped, because tokio-uring would free the memory of operations in flight. A
//! stream is shut down before it is dropped, because operations in flight would keep its socket open.
//!
//! Everything here belongs to the one thread that runs the runtime.

mod file;

use crate::File;
use crate::backend::Backend;
use std::future::Future;
use std::io;
use std::mem::ManuallyDrop;
use std::net::Shutdown;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::LocalSet;

pub use file::BackgroundFile;

/// Number of entries in the submission queue of tokio-uring's ring.
const ENTRIES: u32 = 32;
/// Most bytes of one read.
const READ_BYTES_MAX: usize = 4096;

/// The runtime of a thread that runs no ring.
pub struct Background(Runtime);

enum Runtime {
    Uring(tokio_uring::Runtime),
    Tokio(tokio::runtime::Runtime, LocalSet),
}

impl std::fmt::Debug for Background {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            Runtime::Uring(_) => "Background(Uring)",
            Runtime::Tokio(..) => "Background(Tokio)",
        })
    }
}

impl Background {
    /// Builds this thread's runtime: on io_uring if `engine` is io_uring and the kernel allows one more ring, else on epoll.
    ///
    /// # Errors
    /// Out of descriptors or memory.
    pub fn build(engine: Backend) -> io::Result<Self> {
        if engine == Backend::Uring {
            match tokio_uring::Runtime::new(tokio_uring::builder().entries(ENTRIES)) {
                Ok(runtime) => return Ok(Self(Runtime::Uring(runtime))),
                Err(error) => tracing::debug!(%error, "the background thread has no ring"),
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self(Runtime::Tokio(runtime, LocalSet::new())))
    }

    /// Calls `main` with a handle on each of `files`, in the same order, and runs the future that `main` returns to completion.
    /// Tasks still running after that are leaked.
    ///
    /// # Errors
    /// The process is out of descriptors.
    pub fn run_tasks<F: Future>(
        self,
        files: &[File],
        main: impl FnOnce(Vec<BackgroundFile>) -> F,
    ) -> io::Result<F::Output> {
        let runtime = ManuallyDrop::new(self.0);
        let has_ring = matches!(&*runtime, Runtime::Uring(_));
        let files =
            files.iter().map(|file| BackgroundFile::new(file, has_ring)).collect::<io::Result<_>>()?;
        Ok(match &*runtime {
            Runtime::Uring(runtime) => runtime.block_on(main(files)),
            Runtime::Tokio(runtime, tasks) => tasks.block_on(runtime, main(files)),
        })
    }

    /// Calls `main` with a listener on `socket`, and runs the future that `main` returns to completion. Tasks still running after
    /// that are leaked.
    ///
    /// # Errors
    /// The runtime cannot watch `socket` (on epoll only).
    pub fn run<F: Future>(
        self,
        socket: std::net::TcpListener,
        main: impl FnOnce(BackgroundListener) -> F,
    ) -> io::Result<F::Output> {
        match &*ManuallyDrop::new(self.0) {
            Runtime::Uring(runtime) => Ok(runtime.block_on(async {
                main(BackgroundListener(Listening::Uring(tokio_uring::net::TcpListener::from_std(socket))))
                    .await
            })),
            Runtime::Tokio(runtime, tasks) => tasks.block_on(runtime, async {
                socket.set_nonblocking(true)?;
                let listener = tokio::net::TcpListener::from_std(socket)?;
                Ok(main(BackgroundListener(Listening::Tokio(listener))).await)
            }),
        }
    }
}

/// A listening TCP socket on the background thread.
pub struct BackgroundListener(Listening);

enum Listening {
    Uring(tokio_uring::net::TcpListener),
    Tokio(tokio::net::TcpListener),
}

impl std::fmt::Debug for BackgroundListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BackgroundListener").finish_non_exhaustive()
    }
}

impl BackgroundListener {
    /// Waits for the next connection. The future must be awaited to completion: if it is dropped early, the connection that it
    /// would have returned is leaked.
    ///
    /// # Errors
    /// Any error of accept(2).
    pub async fn accept(&self) -> io::Result<BackgroundStream> {
        Ok(match &self.0 {
            Listening::Uring(listener) => {
                let (stream, _) = listener.accept().await?;
                BackgroundStream(Stream::Uring(Operations::new(stream)))
            }
            Listening::Tokio(listener) => BackgroundStream(Stream::Tokio(listener.accept().await?.0)),
        })
    }
}

/// A connection of the background thread, which implements tokio's `AsyncRead` and `AsyncWrite`. It may be dropped at any time.
pub struct BackgroundStream(Stream);

enum Stream {
    Uring(Operations),
    Tokio(tokio::net::TcpStream),
}

impl std::fmt::Debug for BackgroundStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BackgroundStream").finish_non_exhaustive()
    }
}

type Operation = Pin<Box<dyn Future<Output = (io::Result<usize>, Vec<u8>)>>>;

/// A stream on tokio-uring. Its operations must own their memory, but tokio's traits only lend memory, so bytes are copied from
/// one to the other.
struct Operations {
    stream: Rc<tokio_uring::net::TcpStream>,
    /// The read in flight; `None` if there is none.
    reading: Option<Operation>,
    /// Bytes that a finished read has received and that the caller has not taken yet.
    read: Vec<u8>,
    /// The write in flight; `None` if there is none.
    writing: Option<Operation>,
}

impl Operations {
    fn new(stream: tokio_uring::net::TcpStream) -> Self {
        Self { stream: Rc::new(stream), reading: None, read: Vec::new(), writing: None }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.read.is_empty() {
            let stream = &self.stream;
            let reading = self.reading.get_or_insert_with(|| {
                let stream = Rc::clone(stream);
                Box::pin(async move { stream.read(Vec::with_capacity(READ_BYTES_MAX)).await })
            });
            let (result, bytes) = ready!(reading.as_mut().poll(cx));
            self.reading = None;
            self.read = bytes;
            self.read.truncate(result?);
        }
        let count = self.read.len().min(room.remaining());
        room.put_slice(&self.read[..count]);
        self.read.drain(..count);
        Poll::Ready(Ok(()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let stream = &self.stream;
        // While a write is in flight, callers pass the same bytes again.
        let writing = self.writing.get_or_insert_with(|| {
            let (stream, bytes) = (Rc::clone(stream), bytes.to_vec());
            Box::pin(async move { stream.write(bytes).submit().await })
        });
        let (result, _) = ready!(writing.as_mut().poll(cx));
        self.writing = None;
        Poll::Ready(result)
    }
}

impl Drop for Operations {
    fn drop(&mut self) {
        // Makes operations in flight complete, so that the socket closes.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

impl AsyncRead for BackgroundStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Stream::Uring(operations) => operations.poll_read(cx, room),
            Stream::Tokio(stream) => Pin::new(stream).poll_read(cx, room),
        }
    }
}

impl AsyncWrite for BackgroundStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Stream::Uring(operations) => operations.poll_write(cx, bytes),
            Stream::Tokio(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Stream::Uring(_) => Poll::Ready(Ok(())),
            Stream::Tokio(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Stream::Uring(operations) => Poll::Ready(operations.stream.shutdown(Shutdown::Write)),
            Stream::Tokio(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
