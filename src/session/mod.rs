//! One connection's protocol state without I/O: received bytes in, reply bytes out.
//!
//! A session belongs to one connection (`server::conn`), to one datagram ([`udp`]), or to the copy of another server
//! (`copy`). Only the thread of that owner's ring touches it, so it has no locks. All its fields are in `state`; the other
//! modules add methods to [`Session`]. For each call of `feed` the ring lends its [`Engine`](crate::engine::Engine); what
//! rings share is reached through it: the store, and [`Shared`](crate::engine::Shared).
//!
//! [`Session::feed`] runs every complete command at the front of its input and stages the replies. An incomplete
//! command is left in the input, to be fed again when more has arrived, except for two kinds of value:
//!
//! ```text
//!                  ┌──────────── refused value: skipped, then answered ──────► DiscardBody ──┐
//!   Command ───────┤                                                                         ├──► Command
//!      ▲           └── large value not all here: received into item memory ──► Receive ──────┘
//!      └─ a get whose output is full stops between two keys: Keys
//! ```
//!
//! Dumps and lists go out slice by slice (Dump, List); a watcher stays a watcher (Watch). With -Y, nothing is served
//! before the login (Login, Token).
//!
//! A feed runs no more commands than its budget (-R), stages no more than an output holds, and then asks to be resumed, so that
//! the ring's other connections have their turn.
//!
//! A value that may not be pinned and is too long to be staged whole goes out part by part, whatever the state: the parts
//! that follow are staged before anything else. If its version has gone meanwhile the connection is closed.
//!
//! Each module imports only modules named before it:
//!
//! - `progress`, `watching`, `dump`, `list`: what a state holds, which knows no session
//! - `state`: the session, and one call of its feed, which all modules below work on
//! - `staging`, `line`: replies, and lines of the input
//! - `lookahead`, `timing`, `body`, `slices`: what commands have done for them
//! - `auth`, `stats`: commands of both protocols
//! - `binary`, `admin`, `meta`, `text`: the protocols; a line that is an administrative or a meta command is passed on to those
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
