//! The callbacks of the store: [`Host`] implements `store::Host`. The store owns the one [`Host`] of the process. While a memory
//! file is restored, the thread that makes the store calls the host, which may block then. Once rings run, any of them may call
//! the host, often under the writer lock, so it neither blocks nor calls the store.

use super::context::Message;
use super::flash::Work;
use crate::clock::Timestamp;
use crate::engine::Shared;
use crate::engine::watch::Stream;
use crate::store::{self, Extent, Item};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use uring::Waker;

/// Wakes rings and the thread of the flash tier, reports evictions to watchers, and logs what becomes of the memory file.
pub(super) struct Host {
    wakers: Arc<[Waker<Message>]>,
    shared: Arc<Shared>,
    flash_work: Work,
    /// True once a full file system has been logged; it is logged only once.
    has_warned: AtomicBool,
    /// The files of the flash tier. They are read only at the start, to check what the memory file says about them.
    flash_files: Vec<File>,
}

impl Host {
    pub(super) fn new(
        wakers: Arc<[Waker<Message>]>,
        shared: Arc<Shared>,
        flash_work: Work,
        flash_files: Vec<File>,
    ) -> Self {
        Self { wakers, shared, flash_work, has_warned: AtomicBool::new(false), flash_files }
    }
}

impl store::Host for Host {
    fn wake(&self, ring: usize) {
        self.wakers[ring].wake();
    }

    fn flash_work(&self) {
        self.flash_work.announce();
    }

    fn is_on_flash(&self, extent: Extent, bytes: &[u8]) -> bool {
        let mut found = vec![0; bytes.len()];
        let file = &self.flash_files[extent.file];
        file.read_exact_at(&mut found, extent.offset).is_ok() && found == bytes
    }

    fn watches_evictions(&self) -> bool {
        self.shared.watch.wants(Stream::Evictions)
    }

    fn evicted(&self, item: &Item<'_>, _now: Timestamp) {
        self.shared.log_eviction(item);
    }

    fn demoted(&self, item: &Item<'_>, _now: Timestamp) {
        self.shared.log_flash_write(item);
    }

    // Logged once: the limit goes down a segment at a time, and this is called under the writer lock.
    fn lacks_room(&self, memory_limit: u64) {
        if !self.has_warned.swap(true, Ordering::Relaxed) {
            let kib = memory_limit >> 10;
            tracing::error!(
                "the file system of the memory file is full: the memory limit goes down, to {kib} KB so far; make room \
                 there, then set it again (cache_memlimit)"
            );
        }
    }

    fn restoring(&self, done: u64, total: u64) {
        tracing::info!("[restart] looked through {} MB of {} MB", done >> 20, total >> 20);
    }
}
