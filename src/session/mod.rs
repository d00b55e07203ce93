//! One connection's protocol state without I/O: received bytes in, reply bytes out.
//!
//! A session belongs to one connection (`server::conn`), to one datagram ([`udp`]), or to the copy of another server (`copy`).
//! Only the thread of the ring that serves this owner touches the session, so it has no locks. All its fields are in `state`; the
//! other modules add methods to [`Session`]. For each call of `feed` the ring lends its [`Engine`](crate::engine::Engine),
//! through which the session reaches what rings share: the store, and [`Shared`](crate::engine::Shared).
//!
//! [`Session::feed`] runs every complete command at the front of its input and stages the replies. An incomplete command stays in
//! the input, to be fed again when more has arrived, except for two kinds of value:
//!
//! ```text
//!                  ┌──────────── refused value: skipped, then answered ──────► DiscardBody ──┐
//!   Command ───────┤                                                                         ├──► Command
//!      ▲           └── large value not all here: received into item memory ──► Receive ──────┘
//!      └─ a get whose output is full stops between two keys: Keys
//! ```
//!
//! Dumps and lists are sent slice by slice (Dump, List). A watcher stays a watcher (Watch). With -Y, no command is served before
//! the login (Login, Token).
//!
//! A feed runs no more commands than its budget (-R) and stages no more than an output may hold. Then it asks to be resumed, so
//! that the ring's other connections have their turn.
//!
//! A value that may not be pinned and is too long to be staged whole is sent part by part, in whatever state the session is: its
//! next part is staged before anything else. If its version has been replaced or removed meanwhile, the connection is closed.
//!
//! Each module imports only modules named before it:
//!
//! - `progress`, `watching`, `dump`, `list`: the contents of states, which know no session
//! - `state`: the session, and one call of its feed, on which all modules below work
//! - `staging`, `line`: replies, and lines of the input
//! - `lookahead`, `timing`, `body`, `slices`: what commands have in common
//! - `auth`, `stats`: commands of both protocols
//! - `binary`, `admin`, `meta`, `text`: the protocols; the last one passes lines of administrative and meta commands on
//! - `feed`: a session at work
//! - `copy`, `udp`: the modules that make sessions themselves, for a copy and for a datagram.

mod admin;
mod auth;
mod binary;
mod body;
mod copy;
mod dump;
mod feed;
mod line;
mod list;
mod lookahead;
mod meta;
mod progress;
mod slices;
mod staging;
mod state;
mod stats;
mod text;
mod timing;
pub mod udp;
mod watching;

pub use copy::Copied;
pub use progress::{Next, Owed, Progress};
pub use state::Session;

#[cfg(test)]
mod tests;
