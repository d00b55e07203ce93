//! The async edge: rings, accepting, connections, signals, shutdown. Everything below it runs to completion.
//!
//! ```text
//!   main thread ── signals ──────────────────────────┐ Stop
//!        │ start                                     ▼
//!        ├─► ring 0: mailbox ── accept ── connection, connection, …  ── heartbeat ── maintenance
//!        ├─► ring 1:   ▲  …         │
//!        └─► …         └── Adopt ───┘ (and wakes, from the store of any ring)
//! ```
//!
//! Start: ports, what the kernel allows, store, threads; connections are accepted once all rings are built. Stop: listeners,
//! idle connections, replies in flight, then the process, since rings are never taken down (see `uring::Ring`).

mod accept;
mod admission;
mod backends;
mod backoff;
mod client;
mod conn;
mod context;
mod copy;
mod error;
mod health;
mod host;
mod listen;
mod metrics;
mod pinning;
mod ring;
mod signals;
mod spawner;
mod stall;
mod sweeps;
#[cfg(test)]
mod tests;
mod udp;
mod watchdog;

use crate::auth::Users;
use crate::clock::Clock;
use crate::config::Config;
use crate::engine::Shared;
use crate::limits::SLAB_PAGE_BYTES;
use crate::logging;
use crate::store::Store;
use crate::tls::Certificates;
use context::Message;
use host::Host;
use listen::{Listeners, listen};
use spawner::RingSpawner;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};
use uring::Waker;
use watchdog::Heartbeats;

pub use client::{Client, unexpected};
pub use error::StartError;
pub use health::health;
pub use signals::Request;

/// How long a stop waits for the rings; each gives itself less.
const STOP_TIMEOUT: Duration = Duration::from_millis(900);

/// Bound ports. No connection is served yet: this is when privileges are dropped.
#[derive(Debug)]
pub struct Ports {
    listeners: Listeners,
    metrics: Option<(TcpListener, SocketAddr)>,
}

impl Ports {
    /// Binds what `config` asks for.
    ///
    /// # Errors
    /// A port or path cannot be bound; in memcached's words.
    pub fn bind(config: &Config) -> Result<Self, StartError> {
        let listeners = listen(config, rings(config))?;
        let metrics = config.metrics_port.map(|port| {
            metrics::bind(&config.metrics_address, port).map_err(|error| {
                let (host, reason) = (&config.metrics_address, logging::reason(&error));
                StartError::new(format!("failed to listen for metrics on {host} port {port}: {reason}"))
            })
        });
        Ok(Self { listeners, metrics: metrics.transpose()? })
    }

    /// The bound TCP addresses, with the ports that the kernel chose.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.listeners.addresses
    }

    /// The bound UDP addresses, likewise.
    pub fn udp_addresses(&self) -> &[SocketAddr] {
        &self.listeners.udp_addresses
    }

    /// The address of the metrics port, if there is one.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().map(|(_, address)| *address)
    }

    /// Starts the server. When this returns its listeners accept, up to `connections_max` connections at a time; with -Y or -S
    /// only `users` may log in, and `certificates` are for the listeners of -Z.
    ///
    /// Blocks the signals that [`Server::next_request`] waits for; so it is called before other threads are started.
    ///
    /// # Errors
    /// The kernel or the container refuses what the server needs, or there is not enough memory.
    pub fn start(
        self,
        config: &Config,
        connections_max: u32,
        users: Users,
        certificates: Option<Arc<Certificates>>,
    ) -> Result<Server, StartError> {
        let support = backends::choose(config.io_engine)?;
        signals::block();
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
        if config.copy_from.is_some() {
            // Before the first client can write.
            store.begin_copy();
        }
        let heartbeats = Heartbeats::new(rings);
        let spawner = RingSpawner {
            support,
            connections_max,
            wakers: &wakers,
            epoch,
            certificates,
            heartbeats: &heartbeats,
            shared: &shared,
            store: &store,
            addresses: self.listeners.register(&shared),
        };
        let (threads, engine) = spawner.start(mailboxes, self.listeners.by_ring)?;
        shared.change(|live| live.io_engine = engine.name());
        watchdog::start(Arc::clone(&heartbeats), Arc::clone(&shared), Arc::clone(&store))
            .map_err(|error| StartError::new(format!("can't create thread: {error}")))?;
        if let Some(from) = config.copy_from.clone() {
            let plan = copy::Plan { from, rate: config.copy_rate };
            copy::start(plan, Arc::clone(&store), &wakers[0])
                .map_err(|error| StartError::new(format!("can't copy: {}", logging::reason(&error))))?;
        }
        if let Some((listener, _)) = self.metrics {
            metrics::serve(listener, engine, store, Arc::clone(&shared)).map_err(|error| {
                StartError::new(format!("can't serve metrics: {}", logging::reason(&error)))
            })?;
        }
        Ok(Server { wakers, threads, shared, heartbeats })
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
    heartbeats: Arc<Heartbeats>,
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

    /// Closes all connections (replies in flight arrive if the client reads them) and ends the rings, within a second. The
    /// process must exit afterwards: a ring leaves behind what it could not end.
    pub fn stop(self) {
        self.heartbeats.stop();
        stop(&self.wakers, &self.threads);
    }
}

fn stop(wakers: &[Waker<Message>], threads: &[std::thread::JoinHandle<()>]) {
    for waker in wakers {
        // A ring that has ended needs no message.
        let _ = waker.post(Message::Stop);
    }
    let deadline = Instant::now() + STOP_TIMEOUT;
    while threads.iter().any(|thread| !thread.is_finished()) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn open_store(config: &Config, rings: usize, host: Host) -> Result<Arc<Store>, StartError> {
    let options = crate::store::Options {
        memory_limit: config.maxbytes,
        item_size_max: config.item_size_max,
        evict: config.evictions,
        rings,
        replicas: config.replicas.clamp(1, rings),
        classes: crate::engine::classes(config),
        seed: None,
        log_entries: None,
        address_space: None,
        memory_file: None,
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
