//! Simulates the rings of a store on one thread: waking a ring makes it replay the log at once. It owns, per thread,
//! the shards, their clock, and which ring is stuck (hears no wakes).

use crate::clock::Timestamp;
use crate::store::{Host, Options, Shard, Store};
use std::cell::{Cell, RefCell};
use std::sync::Arc;

thread_local! {
    /// The shards by ring; one is taken out while it is used.
    static SHARDS: RefCell<Vec<Option<Shard>>> = const { RefCell::new(Vec::new()) };
    static NOW: Cell<Timestamp> = const { Cell::new(Timestamp(2)) };
    /// A ring that hears no wakes.
    static STUCK: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Opens a store whose shards this thread holds until [`close`]; the time is 2 seconds.
///
/// # Panics
/// There is no address space.
pub fn open(options: Options, host: impl Host + 'static) -> Arc<Store> {
    NOW.set(Timestamp(2));
    STUCK.set(None);
    let rings = options.rings;
    let store = Store::new(options, Box::new(host)).expect("address space");
    SHARDS.set((0..rings).map(|ring| Some(store.shard(ring))).collect());
    store
}

/// Drops the shards, which hold the store. Pins must have been dropped before.
pub fn close() {
    SHARDS.take();
}

/// This thread's time, at which a woken ring catches up.
pub fn now() -> Timestamp {
    NOW.get()
}

/// Moves the clock.
pub fn set_now(now: Timestamp) {
    NOW.set(now);
}

/// The ring that hears no wakes, if there is one.
pub fn stuck() -> Option<usize> {
    STUCK.get()
}

/// Chooses the ring that hears no wakes.
pub fn set_stuck(ring: Option<usize>) {
    STUCK.set(ring);
}

/// Wakes a ring, as a [`Host`] does: the ring catches up at once, unless it is in use or stuck.
pub fn wake(ring: usize) {
    if stuck() == Some(ring) {
        return;
    }
    let shard = SHARDS.with_borrow_mut(|shards| shards[ring].take());
    if let Some(mut shard) = shard {
        shard.fresh(now());
        SHARDS.with_borrow_mut(|shards| shards[ring] = Some(shard));
    }
}

/// Runs `body` on the shard of `ring`.
///
/// # Panics
/// The shard is in use already.
pub fn with_shard<R>(ring: usize, body: impl FnOnce(&mut Shard) -> R) -> R {
    let mut shard =
        SHARDS.with_borrow_mut(|shards| shards[ring].take()).expect("a shard is used once at a time");
    let result = body(&mut shard);
    SHARDS.with_borrow_mut(|shards| shards[ring] = Some(shard));
    result
}
