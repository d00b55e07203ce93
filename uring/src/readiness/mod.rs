//! The epoll engine: tokio says when a socket may be read or written, and the thread does it then, without waiting.
//!
//! Behind the same face as the completion engine, with the same promises, most of which come by themselves here: memory is
//! used only while a call runs, so nothing is lent, and a future that is dropped has done nothing. What takes care:
//!
//! - Events are edges: one that has been told is remembered as ready until a call finds nothing left. So a call that moves
//!   less than it could clears the memory at once, which saves the call that would find nothing ([`socket`]).
//! - Calls that need not wait never let another task run, which operations of the other engine always do ([`pace`]).

mod acceptor;
mod datagram;
mod pace;
mod runtime;
mod socket;
mod watched;

pub(crate) use acceptor::Acceptor;
pub(crate) use datagram::Datagrams;
pub(crate) use runtime::{Runtime, build};
pub(crate) use socket::Socket;
