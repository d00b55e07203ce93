//! Completion I/O: rings, registered buffers, listeners, streams, wakers. Knows nothing of memcached.
//!
//! ```text
//!   probe ──► Support ──► Ring::build ──► Ring::run(main future)        one per thread
//!                                           │ spawn, turn, sleep        tasks of that thread
//!                                           │ Buffers ─► Buffer         registered memory, lent one by one
//!   Listener::bind_each ─► Accepts::accept ─► Socket ─► Stream          read, parked, send, send_gather, recv_into
//!                                                │
//!                       mailbox: Waker::post ────┘ to another thread's Mailbox
//! ```
//!
//! The face names no kernel interface, so that an engine of another kind can stand behind it: everything is "give me
//! the memory, get it back with the result".
//!
//! Rules this crate keeps, because the runtime below it does not:
//!
//! - Memory lent to the kernel is owned by the operation until it completes. A [`Ring`] is never torn down: it is
//!   leaked when [`Ring::run`] ends, and the process exits. See [`ring`](Ring), "The end".
//! - No future of this crate may be dropped before it is ready. To end one, make it complete: [`Stream::shutdown`],
//!   [`Stream::interrupt`], [`Accepts::close`].
//! - To let others run, await [`turn`] or any operation; a future that wakes itself starves the whole ring.
//! - The bytes of a read are those of that read alone ([`Buffer::bytes`]), whatever the memory held before.

mod bell;
mod buf;
mod datagram;
mod listener;
mod mail;
mod op;
mod probe;
mod ring;
mod stream;
mod sys;

pub use bell::Bell;
pub use buf::{Buffer, Buffers};
pub use datagram::{DatagramSocket, Datagrams};
pub use listener::{Accepts, Listener, Socket, is_exhaustion};
pub use mail::{Mail, Mailbox, Waker, mailbox};
pub use op::{Pieces, Receive};
pub use probe::{StartError, Support, probe};
pub use ring::{Options, Ring, Task, sleep, spawn, turn};
pub use stream::Stream;
