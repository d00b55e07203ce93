//! The async edge: rings, accepting, connections, signals, the end. Everything below it runs to completion.
//!
//! ```text
//!   main thread ── signals ──────────────────────────┐ Stop
//!        │ start                                     ▼
//!        ├─► ring 0: mailbox ── accept ── connection, connection, …  ── heartbeat ── maintenance
//!        ├─► ring 1:   ▲  …         │
//!        └─► …         └── Adopt ───┘ (and wakes, from the store of any ring)
//! ```
//!
//! The order of a start: ports, what the kernel allows, store, threads; connections are accepted when all rings stand. The order of an end: listeners, idle connections, replies on their way, then the process:
//! rings are never taken down (see `uring::Ring`).

mod accept;
mod conn;
mod core;
mod engines;
mod health;
mod host;
mod live;
mod metrics;
mod ring;
mod signals;
mod stall;
#[cfg(test)]
mod tests;
mod udp;
mod watchdog;

use crate::auth::Users;
use crate::clock::Clock;
use crate::config::{Config, Endpoint, Protocol};
use crate::engine::Shared;
use crate::engine::connections::{Address, Connection, State};
use crate::limits::{READ_BUFFER_BYTES, SLAB_PAGE_BYTES};
use crate::log;
use crate::store::Store;
use crate::tls::Certificates;
use accept::Load;
use host::Host;
use live::Live;
use ring::{Message, Parts, Settings};
use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use uring::{DatagramSocket, Engine, Listener, Mailbox, Support, Waker};
use watchdog::Pulses;

pub use health::health;
pub use signals::Request;

/// Registered read buffers per ring, if locked memory allows; busier rings read into heap memory besides.
const BUFFERS_MAX: usize = 128;
/// How long the end waits for rings; each gives itself less.
const END: Duration = Duration::from_millis(900);

/// Why the server cannot start: one line for the operator, exit status 71.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartError {
    message: String,
}

impl StartError {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for StartError {}

impl From<uring::StartError> for StartError {
    fn from(error: uring::StartError) -> Self {
        Self::new(error.to_string())
    }
}

/// Ports that are bound, before anybody is served: the time to leave root behind.
#[derive(Debug)]
pub struct Ports {
    listeners: Listeners,
    metrics: Option<(TcpListener, SocketAddr)>,
}

impl Ports {
    /// Binds what `config` asks for.
    ///
    /// # Errors
    /// memcached's words for the port or path that cannot be had.
    pub fn bind(config: &Config) -> Result<Self, StartError> {
        let listeners = listen(config, rings(config))?;
        let metrics = config.metrics_port.map(|port| {
            metrics::bind(&config.metrics_address, port).map_err(|error| {
                let (host, reason) = (&config.metrics_address, log::reason(&error));
                StartError::new(format!("failed to listen for metrics on {host} port {port}: {reason}"))
            })
        });
        Ok(Self { listeners, metrics: metrics.transpose()? })
    }

    /// The TCP addresses that are bound, with the ports the kernel chose.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.listeners.addresses
    }

    /// The UDP addresses that are bound, likewise.
    pub fn udp_addresses(&self) -> &[SocketAddr] {
        &self.listeners.udp_addresses
    }

    /// The address that serves metrics, if one does.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().map(|(_, address)| *address)
    }

    /// Starts the server: its listeners accept when this returns, up to `connections_max` connections at a time;
    /// with -Y or -S only `users` may log in, and `certificates` encrypt what -Z wants encrypted.
    ///
    /// Signals are held from here on, and are taken by [`Server::next_request`]; so this is called before there is any
    /// other thread.
    ///
    /// # Errors
    /// The kernel, the container or the memory stands in the way.
    pub fn start(
        self,
        config: &Config,
        connections_max: u32,
        users: Users,
        certificates: Option<Arc<Certificates>>,
    ) -> Result<Server, StartError> {
        let support = engines::choose(config.io_engine)?;
        signals::hold();
        let rings = rings(config);
        let (wakers, mailboxes): (Vec<_>, Vec<_>) = (0..rings).map(|_| uring::mailbox()).unzip();
        let wakers: Arc<[Waker<Message>]> = wakers.into();
        let epoch = Instant::now();
        let shared = Shared::new(config.clone(), Clock::start(), rings);
        let store =
            open_store(config, rings, Host { wakers: Arc::clone(&wakers), shared: Arc::clone(&shared) })?;
        shared.set_users(users);
        if let Some(certificates) = &certificates {
            shared.set_certificates(Arc::clone(certificates));
        }
        let pulses = Pulses::new(rings);
        let crew =
            Crew { support, config, connections_max, wakers: &wakers, epoch, certificates, pulses: &pulses };
        let addresses = self.listeners.enter(&shared);
        let make = |ring: usize| {
            let (shared, shard, addresses) = (Arc::clone(&shared), store.shard(ring), Arc::clone(&addresses));
            move || Live::new(shared, shard, ring, addresses)
        };
        let (threads, engine) = crew.start(mailboxes, self.listeners.by_ring, make)?;
        shared.change(|live| live.io_engine = engine.name());
        watchdog::start(pulses, Arc::clone(&shared), Arc::clone(&store))
            .map_err(|error| StartError::new(format!("can't create thread: {error}")))?;
        if let Some((listener, _)) = self.metrics {
            metrics::serve(listener, engine, store, Arc::clone(&shared))
                .map_err(|error| StartError::new(format!("can't serve metrics: {}", log::reason(&error))))?;
        }
        Ok(Server { wakers, threads, shared })
    }
}

fn rings(config: &Config) -> usize {
    config.num_threads.max(1)
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    wakers: Arc<[Waker<Message>]>,
    threads: Vec<std::thread::JoinHandle<()>>,
    shared: Arc<Shared>,
}

impl Server {
    /// What the rings share: configuration, counters, clock.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Waits for the operator's next signal.
    pub fn next_request(&self) -> Request {
        signals::next()
    }

    /// Ends all connections (replies on their way arrive if the client reads them) and the rings, in less than a
    /// second. The process must exit afterwards: rings leave behind what they could not end.
    pub fn stop(self) {
        stop(&self.wakers, &self.threads);
    }
}

fn stop(wakers: &[Waker<Message>], threads: &[std::thread::JoinHandle<()>]) {
    for waker in wakers {
        // A ring that is gone needs no telling.
        let _ = waker.post(Message::Stop);
    }
    let deadline = Instant::now() + END;
    while threads.iter().any(|thread| !thread.is_finished()) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What all ring threads are started with.
struct Crew<'a> {
    support: Support,
    config: &'a Config,
    connections_max: u32,
    wakers: &'a Arc<[Waker<Message>]>,
    epoch: Instant,
    certificates: Option<Arc<Certificates>>,
    pulses: &'a Arc<Pulses>,
}

impl Crew<'_> {
    /// Starts a thread per mailbox; they accept once all of them have their ring, all with the engine that is returned.
    /// `make` gives what makes a ring's core on the ring's thread.
    fn start<C, M>(
        &self,
        mailboxes: Vec<Mailbox<Message>>,
        bound: Vec<Bound>,
        make: impl Fn(usize) -> M,
    ) -> Result<(Vec<std::thread::JoinHandle<()>>, Engine), StartError>
    where
        C: core::Core,
        M: FnOnce() -> C + Send + 'static,
    {
        let rings = mailboxes.len();
        let options = uring::Options {
            rings,
            buffer_bytes: READ_BUFFER_BYTES,
            buffers_max: BUFFERS_MAX,
            read_bytes_max: self.config.read_buf_mem_limit as usize / rings,
        };
        let settings = Settings {
            idle_timeout_secs: self.config.idle_timeout,
            refuse_when_full: self.config.maxconns_fast,
            connection_words: self.config.listen.iter().map(|spec| connection_words(spec.protocol)).collect(),
        };
        let load = Load::new(rings, self.connections_max as usize);
        let (ready, readiness) = mpsc::channel();
        let mut foremen = Vec::new();
        let mut threads = Vec::new();
        for (index, (mailbox, bound)) in mailboxes.into_iter().zip(bound).enumerate() {
            let (foreman, orders) = mpsc::channel();
            foremen.push(foreman);
            let (ready, support, epoch, make) = (ready.clone(), self.support, self.epoch, make(index));
            let (wakers, load, settings) = (Arc::clone(self.wakers), Arc::clone(&load), settings.clone());
            let (certificates, pulses) = (self.certificates.clone(), Arc::clone(self.pulses));
            let body = move || {
                let Some(ring) = engines::build(support, &options, &ready, &orders) else { return };
                let core = Rc::new(make());
                ring::run(
                    ring,
                    Parts {
                        core,
                        index,
                        load,
                        wakers,
                        mailbox,
                        bound,
                        settings,
                        epoch,
                        certificates,
                        pulses,
                    },
                );
            };
            let thread = std::thread::Builder::new().name(format!("ring-{index}")).spawn(body);
            threads.push(thread.map_err(|error| StartError::new(format!("can't create thread: {error}")))?);
        }
        drop(ready);
        let engine = engines::settle(self.config.io_engine, self.support, &readiness, &foremen)?;
        Ok((threads, engine))
    }
}

/// How memcached's log calls a new connection.
fn connection_words(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Auto => "auto-negotiating client connection",
        Protocol::Ascii => "ascii client connection.",
        Protocol::Binary => "binary client connection.",
    }
}

fn open_store(config: &Config, rings: usize, host: Host) -> Result<Arc<Store>, StartError> {
    let options = crate::store::Options {
        memory_limit: config.maxbytes,
        item_size_max: config.item_size_max,
        evict: config.evictions,
        rings,
        classes: crate::engine::classes(config),
        seed: None,
        log_entries: None,
        address_space: None,
    };
    for (index, bytes) in options.classes.chunk_bytes().iter().enumerate() {
        let per_page = SLAB_PAGE_BYTES / bytes;
        tracing::debug!("slab class {:3}: chunk size {bytes:9} perslab {per_page:7}", index + 1);
    }
    let store = Store::new(options, Box::new(host)).map_err(|error| StartError::new(error.to_string()))?;
    if config.large_pages {
        store.use_large_pages().map_err(|errno| {
            StartError::new(format!("Cannot enable large pages on this system: madvise: {}", errno.desc()))
        })?;
    }
    Ok(store)
}

/// What one ring listens to.
#[derive(Debug, Default)]
struct Bound {
    /// Each with its place in the configuration.
    listeners: Vec<(usize, Listener)>,
    sockets: Vec<DatagramSocket>,
}

/// All that is bound.
#[derive(Debug)]
struct Listeners {
    by_ring: Vec<Bound>,
    addresses: Vec<SocketAddr>,
    udp_addresses: Vec<SocketAddr>,
}

/// Binds what `config` asks for: TCP once per ring, UDP as often as there are threads for it, a path once.
fn listen(config: &Config, rings: usize) -> Result<Listeners, StartError> {
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
                        log::reason(&error)
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
    /// Enters the listeners in the list of connections, a group that shares a port once; returns their addresses, each
    /// with its place in the configuration.
    fn enter(&self, shared: &Shared) -> Arc<[(usize, Address)]> {
        let enter = |(place, listener): &(usize, Listener)| {
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
        self.by_ring[0].listeners.iter().map(enter).collect()
    }

    /// Binds all of `addresses`. A family this machine does not have is passed over if there is another.
    fn bind_tcp(&mut self, place: usize, addresses: &[SocketAddr], backlog: i32) -> std::io::Result<()> {
        let rings = self.by_ring.len();
        for bound in each_family(addresses, |address| Listener::bind_each(address, rings, backlog))? {
            self.addresses.extend(bound.first().and_then(Listener::local));
            for (ring, listener) in self.by_ring.iter_mut().zip(bound) {
                ring.listeners.push((place, listener));
            }
        }
        Ok(())
    }

    /// As [`Listeners::bind_tcp`], for the first `count` rings.
    fn bind_udp(&mut self, addresses: &[SocketAddr], count: usize) -> std::io::Result<()> {
        let count = count.min(self.by_ring.len());
        for bound in each_family(addresses, |address| DatagramSocket::bind_each(address, count))? {
            self.udp_addresses.extend(bound.first().map(DatagramSocket::local));
            for (ring, socket) in self.by_ring.iter_mut().zip(bound) {
                ring.sockets.push(socket);
            }
        }
        Ok(())
    }
}

/// Binds each of `addresses`, but for those of a family this machine does not have, as long as there is another.
fn each_family<B>(
    addresses: &[SocketAddr],
    bind: impl Fn(SocketAddr) -> std::io::Result<B>,
) -> std::io::Result<Vec<B>> {
    let mut missing = std::io::Error::from_raw_os_error(libc::EADDRNOTAVAIL);
    let mut all = Vec::new();
    for &address in addresses {
        match bind(address) {
            Ok(bound) => all.push(bound),
            Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => missing = error,
            Err(error) => return Err(error),
        }
    }
    if all.is_empty() { Err(missing) } else { Ok(all) }
}

/// memcached's words for a port that cannot be had, and what helps.
fn refused(transport: &str, host: Option<&str>, port: u16, error: &std::io::Error) -> StartError {
    let reason = log::reason(error);
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
