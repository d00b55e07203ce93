//! memcrsd: a memcached server on io_uring.
//!
//! ```text
//! main ─► config, process ─► server (the async edge: rings, accept, connections, signals)
//!                              ├─► uring (crate beside: completion I/O, knows nothing of memcached)
//!                              └─► session (one connection without I/O: bytes in, bytes out)
//!                                    ├─► proto   bytes ↔ commands and replies; sees no store
//!                                    └─► engine  what commands mean; sees no bytes
//!                                          └─► store  segments, log, replica, eviction; sees no protocol
//! ```
//!
//! The life of a get: a read completes into the ring's buffer ([`server`]); [`session::Session::feed`] takes one
//! [`engine::Engine`] turn, which replays the log once ([`store::Shard::fresh`]); [`proto::text`] yields the key where it lies in the
//! buffer; the replica finds the item; its value is copied behind a header into the connection's [`output::Output`], or
//! pinned there if it is large; one send takes everything the buffer asked for.
//!
//! The life of a set: the value is written from the buffer into a shared segment, under the writer lock the session's decision
//! (set, add, cas, …) is made on the newest state, one delta is appended to the log, the reply follows
//! ([`store::Fresh::edit`]). A large value is received straight into item memory ([`store::Draft`]).

pub mod auth;
pub mod classes;
pub mod clock;
pub mod command;
pub mod config;
pub mod engine;
#[doc(hidden)]
pub mod fuzzing;
pub mod limits;
pub mod log;
pub mod manual;
pub mod number;
pub mod output;
pub mod process;
pub mod proto;
pub mod server;
pub mod session;
pub mod store;
pub mod tls;
