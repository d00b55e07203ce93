//! What the store asks of whoever runs it.

use super::flash::Extent;
use super::item::Item;
use crate::clock::Timestamp;

/// What the store asks of the outside.
pub trait Host: Send + Sync {
    /// Wakes ring `ring` so that it calls [`Shard::fresh`](super::Shard::fresh) soon. The store may call it often and
    /// without need; it must not block.
    fn wake(&self, ring: usize);
    /// True while somebody wants [`Host::evicted`].
    fn watches_evictions(&self) -> bool {
        false
    }
    /// A live item is being evicted. Called with the writer lock held: copy what is needed, call nothing of the store.
    fn evicted(&self, _item: &Item<'_>, _now: Timestamp) {}
    /// There is work for the thread of the flash tier ([`Flash::next_job`](super::Flash::next_job)). May be called with the
    /// writer lock held: wake it, and call nothing of the store.
    fn flash_work(&self) {}
    /// True if a file of the flash tier holds `bytes` at `extent`, or nobody can tell. Called before any ring runs.
    fn is_on_flash(&self, _extent: Extent, _bytes: &[u8]) -> bool {
        true
    }
    /// A live value is being moved to flash. As [`Host::evicted`].
    fn stowed(&self, _item: &Item<'_>, _now: Timestamp) {}
    /// The file system of the memory file has no more room: the store goes on with `memory_limit` bytes.
    fn lacks_room(&self, _memory_limit: u64) {}
    /// A memory file is being restored: `done` of `total` bytes. Called about once a second, before any ring runs.
    fn restoring(&self, _done: u64, _total: u64) {}
}
