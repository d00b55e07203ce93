//! Starts the threads of all rings, with one I/O engine for all of them. Used once at start, on the main thread.

use super::admission::ConnLimits;
use super::backends;
use super::context::{Message, Parts, Settings};
use super::error::StartError;
use super::flash::Device;
use super::listen::{Bound, unwatched};
use super::pinning;
use super::placement::Placement;
use super::ring;
use super::watchdog::Heartbeats;
use crate::config::{Config, Protocol};
use crate::engine::connections::Address;
use crate::engine::{Engine, Shared};
use crate::limits::READ_BUFFER_BYTES;
use crate::store::Store;
use crate::tls::Certificates;
use std::io;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Instant;
use uring::{Mailbox, Support, Waker};

/// Most read buffers in a ring's pool. A ring that needs more takes heap memory as well.
const BUFFERS_MAX: usize = 128;

/// What the rings are started with. The main thread owns it; each ring's thread gets a clone.
pub(super) struct RingSpawner<'a> {
    pub(super) support: Support,
    pub(super) connections_max: u32,
    pub(super) wakers: &'a Arc<[Waker<Message>]>,
    /// When the server's clock began. The heartbeats of all rings are at whole seconds after this.
    pub(super) epoch: Instant,
    pub(super) certificates: Option<Arc<Certificates>>,
    pub(super) heartbeats: &'a Arc<Heartbeats>,
    pub(super) shared: &'a Arc<Shared>,
    pub(super) store: &'a Arc<Store>,
    pub(super) flash: Option<&'a Arc<Device>>,
    /// Addresses of the listeners, with their indices in the configuration.
    pub(super) addresses: Arc<[(usize, Address)]>,
}

impl RingSpawner<'_> {
    /// Starts one thread per mailbox, and returns the threads with their I/O engine, which is the same for all. The rings accept
    /// connections once every ring is built.
    ///
    /// # Errors
    /// A thread or a ring cannot be created, or a listener cannot be watched.
    pub(super) fn start(
        &self,
        mailboxes: Vec<Mailbox<Message>>,
        bound: Vec<Bound>,
    ) -> Result<(Vec<JoinHandle<()>>, uring::Backend), StartError> {
        let config = &self.shared.config;
        let rings = mailboxes.len();
        let options = uring::Options {
            rings,
            buffer_bytes: READ_BUFFER_BYTES,
            buffers_max: BUFFERS_MAX,
            read_bytes_max: config.read_buf_mem_limit as usize / rings,
        };
        let cores: Arc<[usize]> =
            if config.pin_rings { pinning::allowed_cores()? } else { Vec::new() }.into();
        // A pinned thread may use one core only, so all cores are counted here.
        let fixed = config.serving_rings.or((!cores.is_empty()).then_some(cores.len()));
        let settings = settings(config, Placement::new(rings, fixed));
        let limits = ConnLimits::new(rings, self.connections_max as usize);
        let (reports, readiness) = mpsc::channel();
        let (opened, openings) = mpsc::channel();
        let mut controls = Vec::new();
        let mut threads = Vec::new();
        for (index, (mailbox, bound)) in mailboxes.into_iter().zip(bound).enumerate() {
            let (control, orders) = mpsc::channel();
            controls.push(control);
            let (reports, support, epoch) = (reports.clone(), self.support, self.epoch);
            let opened = opened.clone();
            let (shared, shard) = (Arc::clone(self.shared), self.store.shard(index));
            let (wakers, heartbeats) = (Arc::clone(self.wakers), Arc::clone(self.heartbeats));
            let (limits, settings) = (Arc::clone(&limits), settings.clone());
            let (addresses, certificates) = (Arc::clone(&self.addresses), self.certificates.clone());
            let cores = Arc::clone(&cores);
            let flash = self.flash.cloned();
            let body = move || {
                pinning::pin(index, rings, &cores);
                let Some(io) = backends::build(support, &options, &reports, &orders) else { return };
                // An engine belongs to its thread.
                let engine = Engine::new(shared, shard, index);
                let parts = Parts {
                    index,
                    engine,
                    addresses,
                    limits,
                    wakers,
                    heartbeats,
                    settings,
                    certificates,
                    flash,
                };
                ring::run(io, parts, mailbox, bound, epoch, &opened);
            };
            let thread = std::thread::Builder::new().name(format!("ring-{index}")).spawn(body);
            threads.push(thread.map_err(|error| StartError::new(format!("can't create thread: {error}")))?);
        }
        drop((reports, opened));
        let engine = backends::settle(config.io_engine, self.support, &readiness, &controls)?;
        openings.iter().take(rings).collect::<io::Result<()>>().map_err(|error| unwatched(&error))?;
        Ok((threads, engine))
    }
}

/// The settings that each ring keeps for its connections.
fn settings(config: &Config, placement: Placement) -> Settings {
    Settings {
        idle_timeout_secs: config.idle_timeout,
        refuse_when_full: config.maxconns_fast,
        placement,
        connection_words: config.listen.iter().map(|spec| connection_words(spec.protocol)).collect(),
    }
}

/// What memcached's log calls a new connection.
fn connection_words(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Auto => "auto-negotiating client connection",
        Protocol::Ascii => "ascii client connection.",
        Protocol::Binary => "binary client connection.",
    }
}
