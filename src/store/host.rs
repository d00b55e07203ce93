//! [`Host`]: what the store asks of whoever runs it (the server, a test, the simulation). Set at the start and shared by all
//! rings; the store calls it on whichever thread it runs, often under the writer lock.

use super::flash::Extent;
use super::item::Item;
use crate::clock::Timestamp;

/// What the store asks of whoever runs it.
pub trait Host: Send + Sync {
    /// Wakes ring `ring` so that it calls [`Shard::fresh`](super::Shard::fresh) soon. Must not block; the store may call this
    /// often and without need.
    fn wake(&self, ring: usize);
    /// True while somebody wants [`Host::evicted`] and [`Host::demoted`] to be called.
    fn watches_evictions(&self) -> bool {
        false
    }
    /// A live item is being evicted. Called with the writer lock held: copy what is needed, call nothing of the store.
    fn evicted(&self, _item: &Item<'_>, _now: Timestamp) {}
    /// There is work for the thread of the flash tier ([`Flash::next_job`](super::Flash::next_job)). May be called with the
    /// writer lock held: wake that thread, and call nothing of the store.
    fn flash_work(&self) {}
    /// True if a file of the flash tier holds `bytes` at `extent`, or if that cannot be found out. Called before any ring runs.
    fn is_on_flash(&self, _extent: Extent, _bytes: &[u8]) -> bool {
        true
    }
    /// A live value has been moved to flash. Called with the writer lock held, as [`Host::evicted`] is.
    fn demoted(&self, _item: &Item<'_>, _now: Timestamp) {}
    /// The file system of the memory file has no more room: the store goes on with a limit of `memory_limit` bytes. May be called
    /// with the writer lock held.
    fn lacks_room(&self, _memory_limit: u64) {}
    /// A memory file is being restored: `done` of `total` bytes. Called about once a second, before any ring runs.
    fn restoring(&self, _done: u64, _total: u64) {}
}
