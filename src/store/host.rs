//! [`Host`]: what the store asks of the program that runs it (the server, a test, the simulation). Set at the start and shared
//! by all rings. The store calls it on whichever thread is running, often under the writer lock.

use super::flash::Extent;
use super::item::Item;
use crate::clock::Timestamp;

/// What the store asks of the program that runs it.
pub trait Host: Send + Sync {
    /// Wakes ring `ring` so that it calls [`Shard::fresh`](super::Shard::fresh) soon. Must not block. The store may call this
    /// often and without need.
    fn wake(&self, ring: usize);
    /// True while somebody wants [`Host::evicted`] and [`Host::demoted`] to be called.
    fn watches_evictions(&self) -> bool {
        false
    }
    /// Called when a live item is being evicted. The writer lock is held: copy what is needed, and call nothing of the store.
    fn evicted(&self, _item: &Item<'_>, _now: Timestamp) {}
    /// Called when there is work for the thread of the flash tier ([`Flash::next_job`](super::Flash::next_job)). The writer
    /// lock may be held: wake that thread, and call nothing of the store.
    fn flash_work(&self) {}
    /// True if a file of the flash tier holds `bytes` at `extent`, or if that cannot be found out. Called before any ring runs.
    fn is_on_flash(&self, _extent: Extent, _bytes: &[u8]) -> bool {
        true
    }
    /// Called when a live value has been moved to flash. The writer lock is held, as in [`Host::evicted`].
    fn demoted(&self, _item: &Item<'_>, _now: Timestamp) {}
    /// Called when the file system of the memory file has no more room: the store goes on with a limit of `memory_limit` bytes.
    /// The writer lock may be held.
    fn lacks_room(&self, _memory_limit: u64) {}
    /// Called about once a second while a memory file is restored, before any ring runs: `done` of `total` bytes have been
    /// read.
    fn restoring(&self, _done: u64, _total: u64) {}
}
