//! What the edge needs from the inside: one core per ring, one conversation per connection.
//!
//! The server's own are in `live`; tests put doubles here, so that the edge can be tested without a store.

use crate::clock::Secs;
use crate::output::Output;
use crate::session::udp::Exchange;
use crate::session::{Owed, Progress};
use std::net::SocketAddr;
use std::rc::Rc;

/// What one ring's connections share.
pub(crate) trait Core: 'static {
    type Talk: Conversation;

    /// A conversation with a client that has just connected.
    fn talk(self: &Rc<Self>, origin: &Origin) -> Self::Talk;
    /// Looks at the clock: called every second and at the start.
    fn tick(&self) -> Secs;
    /// Catches up with the other rings: called when the ring has been woken.
    fn catch_up(&self);
    /// True if values have lately had to wait for memory that is held for others which do not come.
    fn is_short_of_drafts(&self) -> bool;
    /// How far the slowest ring has come; `None` if no ring lags. See `store::Store::slowest`.
    fn slowest(&self) -> Option<u64>;
    /// A slice of background work, 100 µs at most; true if there is more.
    fn maintain(&self) -> bool;
    /// Begins to serve a datagram, if it is a request; `id` is the number of its socket.
    fn datagram(&self, id: u32, datagram: &[u8]) -> Option<Exchange>;
    /// Goes on serving it, 100 µs at most; true if there is more.
    fn step(&self, exchange: &mut Exchange, datagram: &[u8]) -> bool;
    /// Something has happened that `stats` shows.
    fn count(&self, event: Event);
}

/// One connection's side of the protocol, without I/O. See `session::Session`, whose methods these are.
pub(crate) trait Conversation: 'static {
    type Draft: Draft;

    fn feed(&mut self, input: &[u8], out: &mut Output) -> Progress;
    fn owes(&self) -> Owed;
    /// The next feed refuses what would have to wait for other rings.
    fn refuse_stalls(&mut self);
    fn lend_draft(&mut self) -> Option<Self::Draft>;
    fn return_draft(&mut self, draft: Self::Draft);
    fn wake_with(&self, wake: Box<dyn Fn() + Send>);
    fn pump(&mut self, out: &mut Output);
    /// The connection is over.
    fn ended(&mut self, end: End);
}

/// A value on its way into its place.
pub(crate) trait Draft: uring::Receive {
    /// `count` more bytes have been received into the front of the spare memory.
    fn advance(&mut self, count: usize);
}

/// Where a connection comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    /// The number of its descriptor.
    pub(crate) id: u32,
    /// The client; `None` on a unix socket.
    pub(crate) peer: Option<SocketAddr>,
    /// Place of the listener that took it, in the order of the configuration.
    pub(crate) listener: usize,
}

/// What `stats` counts of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// So many bytes have been received.
    Read(usize),
    /// So many bytes have been sent.
    Written(usize),
    /// Accepted and given a place.
    Opened,
    /// Over.
    Closed(End),
    /// Refused, because `-c` are there already or descriptors have run out.
    Rejected,
    /// The ring has looked through its connections.
    Held {
        /// Memory of their own buffers, bytes.
        connections: usize,
        /// Memory of the ring's read buffers, bytes.
        read_buffers: usize,
    },
    /// A TLS handshake is done; of a new session, or of one that was resumed.
    TlsEstablished {
        /// The session is new.
        is_new: bool,
    },
    /// A TLS handshake has failed.
    TlsRefused,
    /// TLS broke after its handshake.
    TlsBroken,
    /// Refused for want of memory to receive into.
    NoReadMemory,
    /// Nothing is accepted from now on, until a place is free.
    Full,
    /// Accepting again.
    FullNoMore {
        /// How long nothing was accepted.
        rested_us: u64,
    },
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The client closed, or asked to be closed.
    Normal,
    /// The client has sent what cannot be made sense of.
    Rejected,
    /// The connection broke.
    Broken,
    /// Silent for longer than the idle timeout.
    Idle,
    /// The server stops.
    Stopped,
}
