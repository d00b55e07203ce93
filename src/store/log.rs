//! The replication log: a bounded circular array of deltas that every replica applies in the same order.
//!
//! ```text
//!   replica 1 has applied    replica 0 has applied     tail
//!        │                      │                        │
//!  …─────▼──────────────────────▼────────────────────────▼─ … places count from 0 for ever (u64);
//!   read │ still to be read for replica 1               │    the slot of place p is p mod capacity
//! ```
//!
//! Only the holder of the writer lock appends ([`Log::append`]); it fills the slot, then moves the tail (Release).
//! A ring reads the tail (Acquire), applies the slots before it to its replica and says so ([`Log::set_applied`], Release).
//! A slot is written again only when every replica is past it: the writer reads that with Acquire, so the reads of that
//! slot happened before.
//!
//! # Positions
//! Memory is reused by two of them ([`Log::quiescent_position`]): nothing in any index names what was taken out of all indexes before
//! the place that every replica has *applied*; and a ring *holds* nothing that it found before its own place.
//!
//! A ring that has its replica to itself needs one: it says what it has applied when it holds nothing older. A ring that
//! shares its replica holds nothing at all between its sections ([`Log::enter`] to [`Log::leave`]): while it waits for
//! clients, sleeps in the kernel or is off its core, nobody waits for it and nobody has to wake it. If all rings of a
//! replica sleep, one of them is woken for the replay.
//!
//! Slots are plain atomics, so a wrong index would give a wrong delta, never undefined behaviour.
//!
//! What a write costs in all, the set and its replay on every other ring, over 100,000 items of 100 bytes on one core of
//! a Xeon at 2.5 GHz (`just micro replay`): 0.49 µs with 1 ring, 0.64 with 2, 0.96 with 4, 1.68 with 8. So each further
//! ring spends 0.15 to 0.17 µs on every write of the others, most of it waiting for its own index's memory.
//!
//! Source: Calciu et al., "Black-box Concurrent Data Structures for NUMA Architectures", ASPLOS 2017.

use super::item_ref::{Hash, ItemRef};
use super::sync::{AtomicU64, Ordering, fence};
use crate::limits::{LOG_ENTRIES, LOG_ENTRIES_PER_RING};

/// "Where the index says `old`, say `new`": `old` none inserts, `new` none removes, equal ones only order the change
/// of a field in the item's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delta {
    /// One key's entry changes.
    Entry {
        /// Hash of the key.
        hash: Hash,
        /// What the index says before.
        old: ItemRef,
        /// What it says after.
        new: ItemRef,
    },
    /// Every entry goes (`flush_all`).
    Flush,
}

/// `old` of a slot that holds [`Delta::Flush`]; no item has this address.
const FLUSH: u64 = u64::MAX;

#[derive(Debug)]
struct Slot {
    hash: AtomicU64,
    old: AtomicU64,
    new: AtomicU64,
}

/// A position on a cache line pair of its own: each is written by its ring and read by writers.
#[derive(Debug)]
#[repr(align(128))]
struct Padded(AtomicU64);

/// Places of the log of `rings` rings.
pub(super) fn entries_for(rings: usize) -> usize {
    (rings * LOG_ENTRIES_PER_RING).next_power_of_two().max(LOG_ENTRIES)
}

/// What a ring holds that holds nothing.
const NOTHING: u64 = u64::MAX;

/// The log and the positions of all replicas and rings.
#[derive(Debug)]
pub(super) struct Log {
    slots: Box<[Slot]>,
    tail: Padded,
    /// By replica: how far it has applied the log.
    applied: Box<[Padded]>,
    /// By ring, if some share a replica: references that it holds are from this place on.
    held: Box<[Padded]>,
}

impl Log {
    /// An empty log of `capacity` places (a power of two), read by `replicas` replicas of `rings` rings in all.
    pub(super) fn new(capacity: usize, replicas: usize, rings: usize) -> Self {
        assert!(capacity.is_power_of_two() && replicas > 0);
        let slot = || Slot { hash: AtomicU64::new(0), old: AtomicU64::new(0), new: AtomicU64::new(0) };
        Self {
            slots: (0..capacity).map(|_| slot()).collect(),
            tail: Padded(AtomicU64::new(0)),
            applied: (0..replicas).map(|_| Padded(AtomicU64::new(0))).collect(),
            held: (0..if replicas < rings { rings } else { 0 })
                .map(|_| Padded(AtomicU64::new(NOTHING)))
                .collect(),
        }
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> u64 {
        (size_of_val(&*self.slots) + size_of_val(&*self.applied) + size_of_val(&*self.held)) as u64
    }

    /// Number of places.
    pub(super) fn capacity(&self) -> u64 {
        self.slots.len() as u64
    }

    /// The place behind the last delta. Acquire; pairs with the Release in [`Log::append`].
    #[inline]
    pub(super) fn tail(&self) -> u64 {
        self.tail.0.load(Ordering::Acquire)
    }

    /// How far `replica` has applied the log. Acquire; pairs with the Release in [`Log::set_applied`].
    #[inline]
    pub(super) fn applied(&self, replica: usize) -> u64 {
        self.applied[replica].0.load(Ordering::Acquire)
    }

    /// How far every replica has: places before it are free.
    pub(super) fn applied_min(&self) -> u64 {
        (0..self.applied.len()).map(|replica| self.applied(replica)).min().unwrap_or(0)
    }

    /// Says that `replica` has applied everything before `place`; and, if it is one ring's, that this holds no references
    /// obtained before. Release; pairs with the Acquire in [`Log::applied`].
    #[inline]
    pub(super) fn set_applied(&self, replica: usize, place: u64) {
        self.applied[replica].0.store(place, Ordering::Release);
    }

    /// `ring`, which shares `replica`, is about to look up: from here on it may hold references. Returns how far the replica
    /// has applied the log at least; the ring sees all of that.
    #[inline]
    pub(super) fn enter(&self, ring: usize, replica: usize) -> u64 {
        // Release, as in `Log::hold`: what the ring did in earlier sections is over.
        self.held[ring].0.store(self.applied(replica), Ordering::Release);
        // Pairs with the fence in `Log::quiescent_position`. Either that finds this ring's store, or the next line finds all that had
        // been applied when that looked, and what it let go is in no index that this ring reads.
        fence(Ordering::SeqCst);
        self.applied(replica)
    }

    /// `ring` holds no references obtained before `place`. Release; pairs with the Acquire in [`Log::held`].
    #[inline]
    pub(super) fn hold(&self, ring: usize, place: u64) {
        self.held[ring].0.store(place, Ordering::Release);
    }

    /// `ring` holds nothing, until it enters again. Release; pairs with the Acquire in [`Log::held`].
    #[inline]
    pub(super) fn leave(&self, ring: usize) {
        self.held[ring].0.store(NOTHING, Ordering::Release);
    }

    /// From which place on `ring` holds references; past all places if it holds none.
    pub(super) fn held(&self, ring: usize) -> u64 {
        self.held[ring].0.load(Ordering::Acquire)
    }

    /// True if a ring other than `except` holds references from before `place`.
    pub(super) fn is_held_before(&self, place: u64, except: usize) -> bool {
        (0..self.held.len()).any(|ring| ring != except && self.held(ring) < place)
    }

    /// Nobody holds references obtained before this place, or will: every replica has applied the log up to there, and no
    /// ring is in a section that began before.
    pub(super) fn quiescent_position(&self) -> u64 {
        let applied = self.applied_min();
        // Pairs with the fence in `Log::enter`.
        fence(Ordering::SeqCst);
        (0..self.held.len()).map(|ring| self.held(ring)).min().map_or(applied, |held| held.min(applied))
    }

    /// The delta at `place`, which lies between what the caller's replica has applied and the tail.
    #[inline]
    pub(super) fn read(&self, place: u64) -> Delta {
        let slot = &self.slots[place as usize & (self.slots.len() - 1)];
        // Relaxed: the tail's Acquire made the slot visible, and it stays until the caller's replica has passed it.
        let old = slot.old.load(Ordering::Relaxed);
        if old == FLUSH {
            return Delta::Flush;
        }
        Delta::Entry {
            hash: Hash(slot.hash.load(Ordering::Relaxed)),
            old: ItemRef::from_bits(old),
            new: ItemRef::from_bits(slot.new.load(Ordering::Relaxed)),
        }
    }

    /// Appends a delta and publishes it. Only the holder of the writer lock calls this, after
    /// [`Log::applied_min`] has shown that the slot is free.
    #[inline]
    pub(super) fn append(&self, delta: Delta) {
        // Relaxed: only lock holders store the tail, and the lock orders them.
        let place = self.tail.0.load(Ordering::Relaxed);
        let slot = &self.slots[place as usize & (self.slots.len() - 1)];
        let (hash, old, new) = match delta {
            Delta::Entry { hash, old, new } => (hash.0, old.bits(), new.bits()),
            Delta::Flush => (0, FLUSH, 0),
        };
        slot.hash.store(hash, Ordering::Relaxed);
        slot.old.store(old, Ordering::Relaxed);
        slot.new.store(new, Ordering::Relaxed);
        self.tail.0.store(place + 1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delta(n: u64) -> Delta {
        Delta::Entry { hash: Hash(n), old: ItemRef::from_bits(n), new: ItemRef::from_bits(n + 1) }
    }

    #[test]
    fn reads_what_was_appended_across_the_wrap() {
        let log = Log::new(4, 2, 2);
        for place in 0..10 {
            assert_eq!(log.tail(), place);
            log.append(if place == 7 { Delta::Flush } else { delta(place) });
            assert_eq!(log.read(place), if place == 7 { Delta::Flush } else { delta(place) });
            log.set_applied(0, place + 1);
            log.set_applied(1, place);
            assert_eq!((log.applied_min(), log.quiescent_position()), (place, place));
        }
    }
}
