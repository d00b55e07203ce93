//! A connection's entry in the list that `stats conns` shows, and the log lines about its beginning and end. Owned by the
//! connection; the list is shared by all rings (`engine::connections`).

use crate::engine::connections::{Address, Connection, State};
use crate::engine::{Reason, Shared};
use crate::server::context::{CloseReason, Origin, RingContext};
use crate::session::{Next, Owed, Session};
use std::sync::Arc;

/// Keeps a connection on the list. Dropping this value removes the entry.
pub(super) struct Listing {
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    /// The connection's number on the list, which is that of its descriptor.
    id: u32,
}

impl Listing {
    pub(super) fn new(ring: &RingContext, origin: &Origin) -> Self {
        let shared = Arc::clone(&ring.shared);
        shared.log_connection(origin.id, origin.peer);
        let address = origin.peer.map_or(Address::UnixPeer, Address::Tcp);
        // A listener's name may stand for an address of each family.
        let has_family = |listener: &Address| match (listener, origin.peer) {
            (Address::Tcp(listener), Some(peer)) => listener.is_ipv4() == peer.is_ipv4(),
            _ => true,
        };
        let mut listeners = ring.addresses.iter();
        let listener =
            listeners.find(|(index, address)| Some(*index) == origin.listener && has_family(address));
        let listener = listener.map_or(Address::UnixPeer, |(_, address)| address.clone());
        let connection = Arc::new(Connection::new(address, Some(listener), ring.now()));
        shared.connections.insert(origin.id, Arc::clone(&connection));
        Self { shared, connection, id: origin.id }
    }

    /// Makes the list show that the connection is parsing, and that its last command runs now.
    pub(super) fn start_commands(&self, ring: &RingContext) {
        self.connection.set_state(State::Parsing);
        self.connection.set_last_command(ring.now());
    }

    /// Makes the list show what the connection does until its next commands: wait for a request, receive a value, send, watch or
    /// close.
    pub(super) fn finish_commands(&self, next: Next, session: &Session) {
        self.connection.set_state(match next {
            Next::Read => match session.owes() {
                Owed::Nothing => State::Waiting,
                Owed::Value => State::Receiving,
                Owed::RefusedValue => State::Swallowing,
            },
            Next::Resume | Next::Wait | Next::Stall | Next::Load => State::Writing,
            Next::Receive => State::Receiving,
            Next::Watch => State::Watching,
            Next::Close | Next::Reject => State::Closing,
        });
    }

    /// Logs the end of the connection for watchers, with its reason. If the client has asked the server to stop (`ends_server`),
    /// the reason is a shutdown.
    pub(super) fn log_close(&self, why: CloseReason, ends_server: bool) {
        let peer = match self.connection.address {
            Address::Tcp(peer) => Some(peer),
            _ => None,
        };
        let reason = match why {
            CloseReason::Idle => Reason::IdleTimeout,
            CloseReason::Stopped => Reason::Shutdown,
            CloseReason::Normal if ends_server => Reason::Shutdown,
            CloseReason::Normal => Reason::Normal,
            CloseReason::Rejected | CloseReason::Broken => Reason::Error,
        };
        self.shared.log_disconnection(self.id, peer, reason);
    }
}

impl Drop for Listing {
    fn drop(&mut self) {
        // The ring's entry holds the descriptor open, so that no later connection has its number yet.
        self.shared.connections.remove(self.id);
    }
}
