//! Gets of the classic protocols: looks up a key, counts the hit or miss, and marks the item as used.
//!
//! The module extends [`Executor`], owns no state, and may import the modules named before it in `engine`. Of other commands it
//! imports only the result of a get (`load::Hit`).

use crate::engine::counters::{self, RingCounters};
use crate::engine::executor::Executor;
use crate::engine::load::Hit;
use crate::engine::observe::Found;
use crate::store::{Hash, Item, Lookup, Version};

impl Executor<'_> {
    /// Looks up `key` for a get, counts the hit or miss, and marks the item as used. `None` for a miss.
    #[inline]
    pub fn get(&mut self, key: &[u8]) -> Option<Hit<'_>> {
        self.get_hashed(self.fresh.hash(key), key)
    }

    /// Returns the item of `key` if it still is the version `version`, otherwise `None`. Counts nothing and marks nothing.
    pub fn find_version(&mut self, key: &[u8], version: Version) -> Option<Item<'_>> {
        match self.fresh.find(key) {
            Lookup::Hit(item) if item.version() == version => Some(item),
            _ => None,
        }
    }

    /// Does what [`Executor::get`] does, for a key whose hash is known from [`Executor::prefetch`] or [`Executor::hash`].
    // Always inline: the caller takes the result apart immediately. Without inlining the result would go through memory.
    #[inline(always)]
    pub fn get_hashed(&mut self, hash: Hash, key: &[u8]) -> Option<Hit<'_>> {
        let (counters, shared, observer) = (self.counters, self.shared, self.observer());
        let now = self.now();
        match self.fresh.find_hashed(hash, key) {
            Lookup::Hit(item) => {
                let class = shared.class_of(&item);
                counters.classes[usize::from(class) % counters::CLASSES].get_hits.add(1);
                let stub = item.stub(now);
                item.record_access(now);
                if let Some(observer) = observer {
                    observer.fetched(key, Found::Yes(class, item.value_bytes()));
                }
                Some(Hit { item, stub })
            }
            missed => {
                let found = count_missed(&missed, counters);
                if let Some(observer) = observer {
                    observer.fetched(key, found);
                }
                None
            }
        }
    }
}

/// Counts a get that has not found its key, and returns the result of the lookup for watchers.
#[inline(never)]
fn count_missed(missed: &Lookup<'_>, counters: &RingCounters) -> Found {
    counters.ring.get_misses.add(1);
    match missed {
        Lookup::Expired => {
            counters.ring.get_expired.add(1);
            Found::Expired
        }
        Lookup::Flushed => {
            counters.ring.get_flushed.add(1);
            Found::Flushed
        }
        Lookup::Hit(_) | Lookup::Miss => Found::No,
    }
}
