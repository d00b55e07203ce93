//! Asynchronous I/O with owned memory: rings, their buffers, listeners, streams, files, wakers. Knows nothing of memcached.
//!
//! ```text
//!   probe ──► Support ──► Ring::build ──► Ring::run(main future)        one per thread
//!                                           │ spawn, yield_now, sleep   tasks of that thread
//!                                           │ Buffers ─► Buffer         the pool, lent one by one
//!   Listener::bind_each ─► ActiveListener::accept ─► Socket ─► Stream
//!                                                      │         read, queue_send, send, send_gather, recv_into
//!                             mailbox: Waker::post ────┘ to another thread's Mailbox
//!   File ─► read_at, read_range ─► AlignedBuffer    shared by all rings; written by a BackgroundFile
//! ```
//!
//! Every operation takes ownership of its memory and returns it with the result. So two backends fit behind one interface:
//! io_uring, and epoll for machines that refuse io_uring (see [`Backend`]). Callers see no difference but the speed.
//!
//! A [`Background`] thread does work that need not be fast, on tokio-uring's runtime or tokio's own.
//!
//! `stream`, `listener`, `datagram`, `file`, `mail` and `ring` call one of the backends, `completion` or `readiness`,
//! which `backend` has chosen; `background` uses neither. Each module imports only modules named before it: `aligned`,
//! `mapping`, `memory`, `options`, `sync`, `doorbell`, `provided`, `steer`, `sys`, `buf`, `disk`, `start_error`, `bell`,
//! `completion`, `readiness`, `backend`, `datagram`, `file`, `listener`, `mail`, `ring`, `background`, `stream`.
//!
//! # Who owns what
//! A ring and everything on it belong to one thread: [`Buffers`], [`Stream`], [`ActiveListener`], [`Datagrams`], timers and tasks
//! are used on that thread alone, with `Rc` and `Cell` instead of locks. Threads share: [`Waker`]s and the flags of a ring's
//! doorbell (atomics), [`File`] (which does not change), [`AlignedBuffers`] (a mutex), the threads that read files on epoll. A
//! [`Listener`], [`Socket`] or [`DatagramSocket`] belongs to nobody until it is put on a ring.
//!
//! Rules:
//!
//! - Memory lent to the kernel is owned by the operation until it completes. A [`Ring`] is never torn down: it is
//!   leaked when [`Ring::run`] ends, and the process exits. The header of `ring.rs` says why.
//! - Futures of this crate must be awaited to completion unless documented otherwise. To end one, make it complete:
//!   [`Stream::shutdown`], [`Stream::interrupt`], [`ActiveListener::close`].
//! - To let other tasks run, await [`yield_now`] or any operation; a future that wakes itself starves the whole ring.
//! - The bytes of a read are those of that read alone ([`Buffer::bytes`]), whatever the memory held before.

mod aligned;
mod backend;
mod background;
mod bell;
mod buf;
mod completion;
mod datagram;
mod disk;
mod doorbell;
mod file;
mod listener;
mod mail;
mod mapping;
mod memory;
mod options;
mod provided;
mod readiness;
mod ring;
mod start_error;
mod steer;
mod stream;
mod sync;
mod sys;

pub use aligned::{AlignedBuffer, AlignedBuffers};
pub use backend::{Backend, Support};
pub use background::{Background, BackgroundFile, BackgroundListener, BackgroundStream};
pub use bell::Bell;
pub use buf::{Buffer, Buffers};
pub use datagram::{DatagramSender, DatagramSocket, Datagrams};
pub use disk::WideRange;
pub use file::File;
pub use listener::{ActiveListener, Listener, Socket, is_exhaustion};
pub use mail::{Mail, Mailbox, Waker, mailbox};
pub use memory::{GatherBuf, Receive};
pub use options::Options;
pub use ring::{Ring, Task, probe, sleep, spawn, yield_now};
pub use start_error::StartError;
pub use stream::Stream;
