//! Opens the store and everything else that all rings share, before there are rings and ports. Runs once, on the main
//! thread.

use super::backends;
use super::context::Message;
use super::error::StartError;
use super::flash::{Device, Files, Work};
use super::host::Host;
use super::{rings, signals};
use crate::clock::{self, Clock};
use crate::config::Config;
use crate::engine::{Shared, flash_options};
use crate::limits::SLAB_PAGE_BYTES;
use crate::store::{LostOnFlash, MemoryFile, Occasion, Options, RestoreOutcome, Restored, Store};
use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::sync::Arc;
use std::time::Instant;
use uring::{Mailbox, Support, Waker};

/// The file in which Linux gives the identity of the current boot. Source: `proc_sys_kernel(5)`.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The store and what belongs to it, ready for rings to be started.
#[derive(Debug)]
pub struct Storage {
    pub(super) support: Support,
    /// When the server's clock began; the heartbeats of all rings are at whole seconds after this.
    pub(super) epoch: Instant,
    pub(super) shared: Arc<Shared>,
    pub(super) store: Arc<Store>,
    pub(super) wakers: Arc<[Waker<Message>]>,
    pub(super) mailboxes: Vec<Mailbox<Message>>,
    /// The flash tier and the handle that wakes its thread; `None` without a tier.
    pub(super) flash: Option<(Arc<Device>, Work)>,
}

/// Examines `file`, the memory file (-e), which must be open and locked. Changes nothing in it.
///
/// # Errors
/// The file is not empty and not a memory file, cannot be read, or cannot hold as much memory as configured.
pub fn inspect(file: File, config: &Config) -> Result<MemoryFile, StartError> {
    let occasion = Occasion {
        memory_limit: config.maxbytes,
        item_size_max: config.item_size_max,
        boot_id: boot_id(),
        unix_now: clock::unix_now(),
        address_space: None,
    };
    let path = config.memory_file.as_deref().unwrap_or_default();
    MemoryFile::open(file, &occasion)
        .map_err(|error| StartError::new(format!("the memory file {path} {error}")))
}

/// The identity of the current boot of the machine. Where the kernel does not give one, it is random, so that only a memory file
/// that was closed cleanly is used.
fn boot_id() -> [u8; 16] {
    let text = std::fs::read_to_string(BOOT_ID).unwrap_or_default().replace('-', "");
    let id = u128::from_str_radix(text.trim(), 16).unwrap_or_else(|_| {
        let half = || u128::from(RandomState::new().hash_one(0));
        half() << 64 | half()
    });
    id.to_be_bytes()
}

impl Storage {
    /// Opens the store with the items of `memory_file`, and a flash tier on `flash_files`, which are the files of the
    /// configuration, open and locked.
    ///
    /// Blocks the signals that [`super::Server::next_request`] waits for, so it must be called before other threads are started.
    ///
    /// # Errors
    /// The kernel or the container refuses what the server needs, or there is not enough memory.
    pub fn open(
        config: &Config,
        memory_file: Option<MemoryFile>,
        flash_files: Vec<File>,
    ) -> Result<Self, StartError> {
        let support = backends::choose(config.io_engine)?;
        signals::block();
        let (wakers, mailboxes): (Vec<_>, Vec<_>) = (0..rings(config)).map(|_| uring::mailbox()).unzip();
        let wakers: Arc<[Waker<Message>]> = wakers.into();
        let epoch = Instant::now();
        let clock = match &memory_file {
            Some(file) => Clock::going_on(file.unix_start(), file.now()),
            None => Clock::start(),
        };
        let shared = Shared::new(config.clone(), clock, rings(config));
        let work = Work::default();
        let probes = flash_files.iter().map(File::try_clone).collect::<io::Result<_>>();
        let probes = probes.map_err(|error| StartError::new(error.to_string()))?;
        let host = Host::new(Arc::clone(&wakers), Arc::clone(&shared), work.clone(), probes);
        let store = open_store(config, memory_file, host)?;
        let files = config.flash.as_ref().map(|tier| Files::new(tier, flash_files));
        let flash =
            store.flash().zip(files).map(|(flash, files)| (Device::new(Arc::clone(flash), files), work));
        if let Some(restored) = store.restored() {
            tell(restored, config.memory_file.as_deref().unwrap_or_default());
        }
        Ok(Self { support, epoch, shared, store, wakers, mailboxes, flash })
    }
}

/// Logs what was restored from the memory file. If nothing was restored, the line ends like memcached's.
fn tell(restored: &Restored, path: &str) {
    match &restored.outcome {
        RestoreOutcome::New => tracing::warn!("[restart] {path} is new, starting with a clean cache"),
        RestoreOutcome::Rejected(why) => {
            tracing::warn!("[restart] {path} is not used: {why}, starting with a clean cache");
        }
        RestoreOutcome::Restored => {
            let (items, megabytes) = (restored.items, restored.bytes as f64 / f64::from(1 << 20));
            let secs = restored.elapsed.as_secs_f64();
            tracing::warn!("[restart] restored {items} items, {megabytes:.1} MB, from {path} in {secs:.2} s");
            if let Some(LostOnFlash { items, why }) = &restored.lost_on_flash {
                tracing::warn!("[restart] {items} items are lost, whose values were to be on flash: {why}");
            }
        }
    }
}

fn open_store(
    config: &Config,
    memory_file: Option<MemoryFile>,
    host: Host,
) -> Result<Arc<Store>, StartError> {
    let rings = rings(config);
    let options = Options {
        memory_limit: config.maxbytes,
        item_size_max: config.item_size_max,
        evict: config.evictions,
        rings,
        replicas: config.replicas.clamp(1, rings),
        classes: crate::engine::classes(config),
        seed: None,
        log_entries: None,
        address_space: None,
        memory_file,
        flash: flash_options(config),
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
