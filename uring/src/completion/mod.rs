//! The io_uring backend.
//!
//! ```text
//!   runtime    tokio as the executor, the driver in its park hook
//!   driver     submits, waits, dispatches completions; owns the queues and what is in flight
//!   operation  one completion for one future                      accept, datagram, file, receive, send, wait
//!   connection receives into provided buffers, sends that no task waits for; handle: as its stream uses it
//!   resources  queue, pool and settings, which connections share
//!   in_flight, timers: operations and sleeps that the driver completes. probe, trial, setup: before there is a driver
//! ```
//!
//! Each module imports only modules named before it: `queue`, `pool`, `trial`, `probe`, `in_flight`, `waiter`,
//! `resources`, `timers`, `connection`, `driver`, `operation`, `runtime`, `sleep`, `wait`, `setup`, `send`, `accept`,
//! `datagram`, `file`, `handle`, `receive`.
//!
//! An operation owns its memory until it completes, even if its future is dropped.
//!
//! Everything here belongs to one ring, and is used on its thread alone: no locks.
#![expect(unsafe_code, reason = "the kernel reads and writes memory that operations name by address")]

mod accept;
mod connection;
mod datagram;
mod driver;
mod file;
mod handle;
mod in_flight;
mod operation;
mod pool;
mod probe;
mod queue;
mod receive;
mod resources;
mod runtime;
mod send;
mod setup;
mod sleep;
mod timers;
mod trial;
mod wait;
mod waiter;

pub(crate) use accept::Acceptor;
pub(crate) use datagram::Datagrams;
pub(crate) use driver::Driver;
pub(crate) use file::read_at;
pub(crate) use handle::Handle;
pub(crate) use probe::{Setup, probe};
pub(crate) use receive::receive;
pub(crate) use runtime::Runtime;
pub(crate) use send::{gather, send};
pub(crate) use setup::build;
pub(crate) use wait::{sleep, yield_now};
