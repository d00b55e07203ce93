//! The async edge: threads, rings, accepting, connections, signals, shutdown. The code below it (session, engine, store)
//! runs to completion: it waits for no I/O and for no other ring.
//!
//! Who owns what: the main thread owns the [`Server`] and waits for signals. Each ring is a thread with a `RingContext`
//! (`context`) that its tasks share through `Rc` and `Cell`; no other thread touches it, and the others reach it only
//! through its mailbox. Each connection is a task of one ring and owns its session and its output. Shared by all threads,
//! through `Arc`: the store, `engine::Shared`, `ConnLimits` (`admission`), `Heartbeats` (`watchdog`), the `Device` of the
//! flash tier, and the wakers of the mailboxes.
//!
//! ```text
//!   main thread ── signals ──────────────────────────┐ Stop
//!        │ start                                     ▼
//!        ├─► ring 0: mailbox ── accept ── connection, connection, …  ── heartbeat ── maintenance
//!        ├─► ring 1:   ▲  …         │
//!        ├─► …         └── Adopt ───┘ (and wakes, from the store of any ring)
//!        └─► the thread of the flash tier
//! ```
//!
//! Start: find out what the kernel allows, open the store, bind the ports, start the threads; connections are accepted once all
//! rings are built. Stop: close the listeners and the idle connections, wait for replies in flight, close the memory file, then
//! exit, since rings are never taken down (see `uring::Ring`).
//!
//! Each module imports only modules named before it: `client`, `error`, `flash`, `metrics`, `load_budget`, `signals`, `stall`,
//! `backends`, `health`, `listen`, `pinning`, `placement`, `admission`, `watchdog`, `trim`, `context`, `backoff`, `load`,
//! `host`, `copy`, `sweeps`, `conn`, `udp`, `accept`, `ring`, `spawner`, `storage`. This file starts all of them.

mod accept;
mod admission;
mod backends;
mod backoff;
mod client;
mod conn;
mod context;
mod copy;
mod error;
mod flash;
mod health;
mod host;
mod listen;
mod load;
mod load_budget;
mod metrics;
mod pinning;
mod placement;
mod ring;
mod signals;
mod spawner;
mod stall;
mod storage;
mod sweeps;
#[cfg(test)]
mod tests;
mod trim;
mod udp;
mod watchdog;

use crate::auth::Users;
use crate::config::Config;
use crate::engine::Shared;
use crate::logging;
use crate::store::Store;
use crate::tls::Certificates;
use context::Message;
use flash::Tier;
use listen::{Listeners, listen};
use spawner::RingSpawner;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};
use uring::Waker;
use watchdog::Heartbeats;

pub use client::Client;
pub use error::StartError;
pub use flash::open_flash;
pub use health::health;
pub use signals::Request;
pub use storage::{Storage, inspect};

/// How long a stop waits for the rings to end. A ring that is not stuck ends in less time.
const STOP_TIMEOUT: Duration = Duration::from_millis(900);

/// The ports of the server, bound but not yet served. Between binding and starting, the process drops its privileges.
#[derive(Debug)]
pub struct Ports {
    listeners: Listeners,
    metrics: Option<(TcpListener, SocketAddr)>,
}

impl Ports {
    /// Binds the listeners, UDP sockets and metrics port that `config` asks for.
    ///
    /// # Errors
    /// A port or path cannot be bound. The message is in memcached's words.
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

    /// The bound UDP addresses, with the ports that the kernel chose.
    pub fn udp_addresses(&self) -> &[SocketAddr] {
        &self.listeners.udp_addresses
    }

    /// The address of the metrics port; `None` without one.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().map(|(_, address)| *address)
    }

    /// Starts the server on `storage`. When the call returns, the listeners accept up to `connections_max` connections at a
    /// time. With -Y or -S only `users` may log in, and `certificates` are for the listeners of -Z.
    ///
    /// # Errors
    /// The kernel or the container refuses what the server needs, or there is not enough memory.
    pub fn start(
        self,
        storage: Storage,
        connections_max: u32,
        users: Users,
        certificates: Option<Arc<Certificates>>,
    ) -> Result<Server, StartError> {
        let Storage { support, epoch, shared, store, wakers, mailboxes, flash } = storage;
        let config = &shared.config;
        shared.set_users(users);
        if let Some(certificates) = &certificates {
            shared.set_certificates(Arc::clone(certificates));
        }
        if config.copy_from.is_some() {
            // Called before the first client can write.
            store.begin_copy();
        }
        let heartbeats = Heartbeats::new(mailboxes.len());
        let spawner = RingSpawner {
            support,
            connections_max,
            wakers: &wakers,
            epoch,
            certificates,
            heartbeats: &heartbeats,
            shared: &shared,
            store: &store,
            flash: flash.as_ref().map(|(device, _)| device),
            addresses: self.listeners.register(&shared),
        };
        let (threads, engine) = spawner.start(mailboxes, self.listeners.by_ring)?;
        shared.change(|live| live.io_engine = engine.name());
        if flash.is_some() {
            // Now, because `-o drop_privileges` forbids new threads later.
            uring::File::start_readers(engine);
        }
        watchdog::start(Arc::clone(&heartbeats), Arc::clone(&shared), Arc::clone(&store))
            .and_then(|()| trim::start(Arc::clone(&heartbeats), Arc::clone(&shared), Arc::clone(&store)))
            .map_err(|error| StartError::new(format!("can't create thread: {error}")))?;
        if let Some(from) = config.copy_from.clone() {
            let plan = copy::Plan { from, rate: config.copy_rate };
            copy::start(plan, Arc::clone(&store), Arc::clone(&shared), &wakers[0])
                .map_err(|error| StartError::new(format!("can't copy: {}", logging::reason(&error))))?;
        }
        let tier = flash.map(|(device, work)| Tier::start(&device, engine, work)).transpose();
        let tier = tier.map_err(|error| StartError::new(format!("can't create thread: {error}")))?;
        if let Some((listener, _)) = self.metrics {
            metrics::serve(listener, engine, Arc::clone(&store), Arc::clone(&shared)).map_err(|error| {
                StartError::new(format!("can't serve metrics: {}", logging::reason(&error)))
            })?;
        }
        Ok(Server { wakers, threads, shared, store, heartbeats, tier })
    }
}

/// Number of rings, at least 1.
fn rings(config: &Config) -> usize {
    config.num_threads.max(1)
}

/// A running server, owned by the main thread.
#[derive(Debug)]
pub struct Server {
    wakers: Arc<[Waker<Message>]>,
    threads: Vec<std::thread::JoinHandle<()>>,
    shared: Arc<Shared>,
    store: Arc<Store>,
    heartbeats: Arc<Heartbeats>,
    tier: Option<Tier>,
}

impl Server {
    /// What the rings share: configuration, counters, clock.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Waits for the next signal and returns what it asks for.
    pub fn next_request(&self) -> Request {
        signals::next()
    }

    /// Closes all connections and ends the rings within a second; clients that go on reading still get the replies in flight. If
    /// there is a memory file, then finishes the flash tier and closes the file, which takes as long as writing the file to its
    /// device. If a ring does not end in time, the file is in the state that it would have after a kill. The process must exit
    /// afterwards, because rings are never torn down.
    pub fn stop(self) {
        self.heartbeats.stop();
        // A ring that is stuck may still write later, so the file must be left as after a kill.
        if !stop(&self.wakers, &self.threads) {
            return;
        }
        // Values on flash come back with the memory file alone.
        if let Some(tier) = self.tier.filter(|_| self.shared.config.memory_file.is_some()) {
            tier.finish();
        }
        if let Err(errno) = self.store.close_cleanly() {
            tracing::warn!("failed to write the memory file to its device: {}", errno.desc());
        }
    }
}

/// Tells all rings to stop; false if one has not ended in time.
fn stop(wakers: &[Waker<Message>], threads: &[std::thread::JoinHandle<()>]) -> bool {
    for waker in wakers {
        // A ring that has ended needs no message.
        let _ = waker.post(Message::Stop);
    }
    let deadline = Instant::now() + STOP_TIMEOUT;
    let have_ended = || threads.iter().all(std::thread::JoinHandle::is_finished);
    while !have_ended() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    have_ended()
}
