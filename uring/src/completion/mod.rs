//! The io_uring engine: what is handed to the kernel, what it owns meanwhile, and what happens when it has completed.
//!
//! ```text
//!   runtime   tokio as the executor, the driver in its park hook
//!   driver    the two queues of the ring: submits, waits, hands out completions
//!   operation one completion for one future                      accept, datagram, receive, send, wait
//!   connection receives into buffers of the kernel's choice, sends that nobody waits for
//!   pool, timers, setup, probe
//! ```
//!
//! Memory that an operation names is owned by it until it has completed, even if its future is dropped.
#![expect(unsafe_code, reason = "the kernel reads and writes memory that operations name by address")]

mod accept;
mod connection;
mod datagram;
mod driver;
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
pub(crate) use pool::FreeRing;
pub(crate) use probe::Setup;
pub use probe::{StartError, probe};
pub(crate) use receive::receive;
pub(crate) use runtime::Runtime;
pub(crate) use send::{gather, send};
pub(crate) use setup::build;
pub(crate) use wait::{sleep, yield_now};
