//! The io_uring backend.
//!
//! ```text
//!   runtime    tokio as the executor, the driver in its park hook
//!   driver     the ring's two queues: submits, waits, dispatches completions
//!   operation  one completion for one future                      accept, datagram, file, receive, send, wait
//!   connection receives into provided buffers, sends that no task waits for
//!   pool, timers, setup, probe
//! ```
//!
//! An operation owns its memory until it completes, even if its future is dropped.
#![expect(unsafe_code, reason = "the kernel reads and writes memory that operations name by address")]

mod accept;
mod connection;
mod datagram;
mod driver;
mod file;
mod operation;
mod pool;
mod probe;
mod receive;
mod runtime;
mod send;
mod setup;
mod timers;
mod trial;
mod wait;

pub(crate) use accept::Acceptor;
pub(crate) use connection::Handle;
pub(crate) use datagram::Datagrams;
pub(crate) use driver::Driver;
pub(crate) use file::read_at;
pub(crate) use pool::FreeRing;
pub(crate) use probe::Setup;
pub use probe::{StartError, probe};
pub(crate) use receive::receive;
pub(crate) use runtime::Runtime;
pub(crate) use send::{gather, send};
pub(crate) use setup::build;
pub(crate) use wait::{sleep, yield_now};
