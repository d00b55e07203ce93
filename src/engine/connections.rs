//! The open connections and listeners, as `stats conns` shows them. There is one list, [`Connections`], in `engine::Shared`,
//! behind a lock. The server adds and removes connections, and any ring may read the list. The state in an entry is atomic, and
//! only the ring that serves the connection writes it.

use crate::clock::Timestamp;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt::{Display, Formatter};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

/// Number of bytes of a UNIX listener's path that `stats conns` shows, as in memcached.
const PATH_BYTES_SHOWN: usize = 26;

/// The address of a connection's client or of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// The address of a TCP client or listener, which is shown with `tcp` or `tcp6`.
    Tcp(SocketAddr),
    /// The address of a UDP listener.
    Udp(SocketAddr),
    /// The path of a UNIX listener.
    Unix(String),
    /// A client of a UNIX socket, which has no address of its own.
    UnixPeer,
}

impl Display for Address {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let (name, address) = match self {
            Self::Tcp(address) => ("tcp", address),
            Self::Udp(address) => ("udp", address),
            Self::Unix(path) => return write!(f, "unix:{path}"),
            Self::UnixPeer => return f.write_str("?:<AF 0>"),
        };
        // SocketAddr writes IPv6 addresses in brackets.
        write!(f, "{name}{}:{address}", if address.is_ipv6() { "6" } else { "" })
    }
}

/// The state of a connection or listener, which `stats conns` shows under memcached's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// A listener accepts connections.
    Listening,
    /// The connection waits for the start of a command.
    Waiting,
    /// The connection runs commands.
    Parsing,
    /// The connection receives a value that will be stored.
    Receiving,
    /// The connection receives a refused value, and skips it.
    Swallowing,
    /// The connection sends replies.
    Writing,
    /// The client is a watcher.
    Watching,
    /// The connection is being closed.
    Closing,
    /// A UDP listener waits for datagrams.
    Receptive,
}

/// An entry of the list: an open connection, or a listener.
#[derive(Debug)]
pub struct Connection {
    /// The address of the client or, for a listener, its own address.
    pub address: Address,
    /// The address of the listener that accepted the connection; `None` for a listener.
    pub listener: Option<Address>,
    state: AtomicU8,
    last_command: AtomicU32,
}

impl Connection {
    /// Makes the entry of a connection that waits for its first command or, without `listener`, of a listener. `now` counts as
    /// the time of its last command.
    pub fn new(address: Address, listener: Option<Address>, now: Timestamp) -> Self {
        let state = if listener.is_some() { State::Waiting } else { State::Listening };
        Self { address, listener, state: AtomicU8::new(state as u8), last_command: AtomicU32::new(now.0) }
    }

    /// Returns the address as memcached shows it: only the first bytes of a UNIX listener's path.
    pub fn shown_address(&self) -> Address {
        match &self.address {
            Address::Unix(path) if self.listener.is_none() => {
                let end = path.floor_char_boundary(PATH_BYTES_SHOWN);
                Address::Unix(path[..end].to_owned())
            }
            address => address.clone(),
        }
    }

    /// Stores the state of the connection, for `stats conns`.
    #[inline]
    pub fn set_state(&self, state: State) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    /// Stores `now` as the time at which commands were last run, for `stats conns`.
    #[inline]
    pub fn set_last_command(&self, now: Timestamp) {
        self.last_command.store(now.0, Ordering::Relaxed);
    }

    /// Returns memcached's name for the state of the connection.
    pub fn state_name(&self) -> &'static str {
        const NAMES: [&str; 9] = [
            "conn_listening",
            "conn_read",
            "conn_parse_cmd",
            "conn_nread",
            "conn_swallow",
            "conn_mwrite",
            "conn_watch",
            "conn_closing",
            "conn_read",
        ];
        NAMES[usize::from(self.state.load(Ordering::Relaxed)).min(NAMES.len() - 1)]
    }

    /// Returns the seconds at `now` since commands were last run on the connection.
    pub fn idle_secs(&self, now: Timestamp) -> u32 {
        now.0.saturating_sub(self.last_command.load(Ordering::Relaxed))
    }
}

/// All open connections and listeners by number, for `stats conns`. All rings share the list, which is behind a lock.
#[derive(Debug, Default)]
pub struct Connections {
    open: Mutex<BTreeMap<u32, Arc<Connection>>>,
}

impl Connections {
    /// Adds a connection or listener. `id` is its number in logs and statistics.
    pub fn insert(&self, id: u32, connection: Arc<Connection>) {
        self.open.lock().insert(id, connection);
    }

    /// Removes the connection or listener with the number `id`.
    pub fn remove(&self, id: u32) {
        self.open.lock().remove(&id);
    }

    /// Returns the first `most` connections whose number is `from` or higher, in order.
    pub fn slice(&self, from: u32, most: usize) -> Vec<(u32, Arc<Connection>)> {
        let open = self.open.lock();
        open.range(from..).take(most).map(|(&id, connection)| (id, Arc::clone(connection))).collect()
    }
}
