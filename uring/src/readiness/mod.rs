//! The epoll backend: tokio reports when a socket is readable or writable, and the thread then calls without blocking.
//!
//! Same interface and guarantees as the completion backend, most of which are free here: memory is used only while a call
//! runs, so nothing is lent, and a dropped future has done nothing. Two things need care:
//!
//! - Events are edge-triggered: a socket counts as ready until a call would block. A short call therefore clears readiness
//!   itself, which saves the call that would find nothing ([`socket`]).
//! - A call that does not block never lets another task run, unlike an operation of the other backend ([`pace`]).
//!
//! To epoll a file is always ready, yet reading it blocks. So threads read files, and own the memory meanwhile ([`mod@file`]).
//!
//! Everything else here belongs to one ring, and is used on its thread alone: no locks.

mod acceptor;
mod datagram;
mod file;
mod pace;
mod runtime;
mod socket;
mod watched;

pub(crate) use acceptor::Acceptor;
pub(crate) use datagram::Datagrams;
pub(crate) use file::{read_at, start_readers};
pub(crate) use runtime::{Runtime, build};
pub(crate) use socket::Socket;
