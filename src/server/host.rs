//! What the store asks of the rings.

use super::ring::Message;
use crate::store;
use std::sync::Arc;
use uring::Waker;

/// Wakes rings for the store.
pub(super) struct Host {
    pub(super) wakers: Arc<[Waker<Message>]>,
}

impl store::Host for Host {
    fn wake(&self, ring: usize) {
        self.wakers[ring].wake();
    }
}
