//! Simulates the rings of a store on one thread: a ring that is woken replays the log immediately. For each thread, this module
//! owns the shards, their clock, and the choice of the stuck ring, which does not react when it is woken.

use crate::clock::Timestamp;
use crate::store::{Host, Options, Shard, Store};
use std::cell::{Cell, RefCell};
use std::sync::Arc;

thread_local! {
    /// The shard of each ring; `None` while a shard is in use.
    static SHARDS: RefCell<Vec<Option<Shard>>> = const { RefCell::new(Vec::new()) };
    static NOW: Cell<Timestamp> = const { Cell::new(Timestamp(2)) };
    /// The ring that does not catch up when it is woken, if there is one.
    static STUCK: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Opens a store whose shards this thread holds until [`close`], and sets this thread's time to 2 seconds.
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

/// Drops this thread's shards, each of which holds the store. All pins must have been dropped before.
pub fn close() {
    SHARDS.take();
}

/// This thread's time, at which rings catch up when they are woken.
pub fn now() -> Timestamp {
    NOW.get()
}

/// Sets this thread's time.
pub fn set_now(now: Timestamp) {
    NOW.set(now);
}

/// The ring that does not catch up when it is woken, if there is one.
pub fn stuck() -> Option<usize> {
    STUCK.get()
}

/// Chooses the ring that does not catch up when it is woken; `None` for no ring.
pub fn set_stuck(ring: Option<usize>) {
    STUCK.set(ring);
}

/// Wakes a ring, as a [`Host`] does. The ring replays the log immediately, unless it is stuck or its shard is in use.
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

/// Runs `body` on the shard of `ring`. Waking that ring has no effect meanwhile.
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
