//! Binds the listeners that the configuration asks for, enters them in the list of `stats conns`, and reports failures in
//! memcached's words. Runs once at start, on the main thread; each ring then owns its [`Bound`].

use super::error::StartError;
use crate::config::{Config, Endpoint, Protocol};
use crate::engine::Shared;
use crate::engine::connections::{Address, Connection, State};
use crate::logging;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use uring::{DatagramSocket, Listener};

/// The bound listeners and UDP sockets of one ring.
#[derive(Debug, Default)]
pub(super) struct Bound {
    /// Each listener with its position in the configuration.
    pub(super) listeners: Vec<(usize, Listener)>,
    pub(super) sockets: Vec<DatagramSocket>,
}

/// All bound listeners, by ring, and their addresses.
#[derive(Debug)]
pub(super) struct Listeners {
    pub(super) by_ring: Vec<Bound>,
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) udp_addresses: Vec<SocketAddr>,
}

/// Binds what `config` asks for: a TCP port once for each ring, a UDP port once for each ring that serves UDP, a unix socket
/// once.
pub(super) fn listen(config: &Config, rings: usize) -> Result<Listeners, StartError> {
    let by_ring = (0..rings).map(|_| Bound::default()).collect();
    let mut listeners = Listeners { by_ring, addresses: Vec::new(), udp_addresses: Vec::new() };
    for (place, spec) in config.listen.iter().enumerate() {
        match &spec.endpoint {
            Endpoint::Tcp { host, port } => {
                let refused = |error| refused("TCP", host.as_deref(), *port, &error);
                let addresses = spec.endpoint.addresses().map_err(refused)?;
                listeners.bind_tcp(place, &addresses, config.backlog).map_err(refused)?;
            }
            Endpoint::Unix { path, mode } => {
                let bound = Listener::bind_path(Path::new(path), *mode, config.backlog).map_err(|error| {
                    StartError::new(format!(
                        "failed to listen on UNIX socket: {path}: {}",
                        logging::reason(&error)
                    ))
                })?;
                listeners.by_ring[0].listeners.push((place, bound));
            }
            Endpoint::Udp { host, port } => {
                let refused = |error| refused("UDP", host.as_deref(), *port, &error);
                let addresses = spec.endpoint.addresses().map_err(refused)?;
                listeners.bind_udp(&addresses, config.num_threads_per_udp).map_err(refused)?;
            }
        }
    }
    Ok(listeners)
}

impl Listeners {
    /// Puts the listeners on the list of connections, where the listeners of all rings that share a port are one entry. Returns
    /// their addresses, each with its position in the configuration.
    pub(super) fn register(&self, shared: &Shared) -> Arc<[(usize, Address)]> {
        let register = |(place, listener): &(usize, Listener)| {
            let address = match listener.local() {
                Some(address) => Address::Tcp(address),
                None => Address::Unix(shared.config.socketpath.clone().unwrap_or_default()),
            };
            let protocol = match shared.config.listen[*place].protocol {
                Protocol::Auto => "auto-negotiate",
                Protocol::Ascii => "ascii",
                Protocol::Binary => "binary",
            };
            tracing::debug!("<{} server listening ({protocol})", listener.id());
            let entry = Connection::new(address.clone(), None, shared.clock.now());
            shared.connections.insert(listener.id() as u32, Arc::new(entry));
            (*place, address)
        };
        for socket in self.by_ring.iter().flat_map(|bound| &bound.sockets) {
            let entry = Connection::new(Address::Udp(socket.local()), None, shared.clock.now());
            entry.set_state(State::Receptive);
            shared.connections.insert(socket.id() as u32, Arc::new(entry));
        }
        self.by_ring[0].listeners.iter().map(register).collect()
    }

    /// Binds a TCP listener for each ring to each of `addresses` that is free; `place` is the listeners' position in the
    /// configuration.
    fn bind_tcp(&mut self, place: usize, addresses: &[SocketAddr], backlog: i32) -> std::io::Result<()> {
        let rings = self.by_ring.len();
        for bound in each_free(addresses, |address| Listener::bind_each(address, rings, backlog))? {
            self.addresses.extend(bound.first().and_then(Listener::local));
            for (ring, listener) in self.by_ring.iter_mut().zip(bound) {
                ring.listeners.push((place, listener));
            }
        }
        Ok(())
    }

    /// Binds a UDP socket for each of the first `count` rings to each of `addresses` that is free.
    fn bind_udp(&mut self, addresses: &[SocketAddr], count: usize) -> std::io::Result<()> {
        let count = count.min(self.by_ring.len());
        for bound in each_free(addresses, |address| DatagramSocket::bind_each(address, count))? {
            self.udp_addresses.extend(bound.first().map(DatagramSocket::local));
            for (ring, socket) in self.by_ring.iter_mut().zip(bound) {
                ring.sockets.push(socket);
            }
        }
        Ok(())
    }
}

/// Binds each of `addresses`, which are those of one element of `-l`. An address that is taken, or whose family this machine
/// does not have, is skipped if another can be bound. Source: memcached.c, `server_socket`.
fn each_free<B>(
    addresses: &[SocketAddr],
    bind: impl Fn(SocketAddr) -> std::io::Result<B>,
) -> std::io::Result<Vec<B>> {
    let mut missing = std::io::Error::from_raw_os_error(libc::EADDRNOTAVAIL);
    let (mut all, mut taken) = (Vec::new(), Vec::new());
    for &address in addresses {
        match bind(address) {
            Ok(bound) => all.push(bound),
            Err(error) => match error.raw_os_error() {
                Some(libc::EADDRINUSE) => {
                    taken.push(address);
                    missing = error;
                }
                Some(libc::EAFNOSUPPORT) if missing.kind() != ErrorKind::AddrInUse => missing = error,
                Some(libc::EAFNOSUPPORT) => {}
                _ => return Err(error),
            },
        }
    }
    if all.is_empty() {
        return Err(missing);
    }
    for address in taken {
        tracing::warn!("{address} is taken: listening to the other addresses");
    }
    Ok(all)
}

/// The error for a port that is bound, but that the kernel cannot watch for connections.
pub(super) fn unwatched(error: &std::io::Error) -> StartError {
    let reason = logging::reason(error);
    StartError::new(format!(
        "cannot wait for connections: {reason}: epoll_create1 and epoll_ctl must be allowed, and descriptors left (ulimit -n)"
    ))
}

/// The error for a port that cannot be bound, in memcached's words, with advice.
fn refused(transport: &str, host: Option<&str>, port: u16, error: &std::io::Error) -> StartError {
    let reason = logging::reason(error);
    let what = match host {
        None => format!("{transport} port {port}: {reason}"),
        Some(host) => format!("one of interface(s) {host}: {reason}"),
    };
    let option = if transport == "UDP" { "-U" } else { "-p" };
    let advice = match error.raw_os_error() {
        Some(libc::EADDRINUSE) => {
            format!(
                ": {transport} port {port} is taken: end who has it (ss -lpn), or choose another by {option}"
            )
        }
        Some(libc::EACCES) => {
            format!(
                ": {transport} port {port} is root's: start as root with -u, or choose another by {option}"
            )
        }
        Some(libc::EADDRNOTAVAIL) => ": no interface here has this address: see `ip address`".to_owned(),
        _ => String::new(),
    };
    StartError::new(format!("failed to listen on {what}{advice}"))
}
