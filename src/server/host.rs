//! The callbacks of the store.

use super::context::Message;
use crate::clock::Timestamp;
use crate::engine::Shared;
use crate::engine::watch::Stream;
use crate::store::{self, Item};
use std::sync::Arc;
use uring::Waker;

/// Wakes rings for the store, reports evictions to watchers, and how far a start has come to the log.
pub(super) struct Host {
    pub(super) wakers: Arc<[Waker<Message>]>,
    pub(super) shared: Arc<Shared>,
}

impl store::Host for Host {
    fn wake(&self, ring: usize) {
        self.wakers[ring].wake();
    }

    fn watches_evictions(&self) -> bool {
        self.shared.watch.wants(Stream::Evictions)
    }

    fn evicted(&self, item: &Item<'_>, _now: Timestamp) {
        self.shared.log_eviction(item);
    }

    fn restoring(&self, done: u64, total: u64) {
        tracing::info!("[restart] looked through {} MB of {} MB", done >> 20, total >> 20);
    }
}
