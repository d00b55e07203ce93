//! Replicas: each ring, or each group of neighbouring rings, has an index. Replaying the log keeps all of them equal.
//!
//! ```text
//!   --replicas=3, six rings       ring 0   ring 1     ring 2   ring 3     ring 4   ring 5
//!                                   └─ index 0 ─┘       └─ index 1 ─┘       └─ index 2 ─┘
//! ```
//!
//! A replica costs about 10 bytes per item, and one replay of every write. By default up to four rings, on as many cores, have
//! a replica each: no lock, and the log's tail is the only shared word to read. With more rings, neighbours share one. The
//! first of them that finds it stale replays for all of them, and a look-up takes the lock of its table (`index`).
//!
//! A ring uses a shared index only in a *section*, from [`Replica::enter`] to [`Replica::leave`]: one batch of commands, 100 µs
//! or so at most. In a section the ring may hold references to items; outside it holds none, whatever it does or waits for
//! (`log`, "Positions").
//!
//! Deltas are applied by one ring of a replica at a time. A transaction has the right to apply them from its beginning to its
//! end, so that it never waits for another ring's replay with the writer lock held. If a neighbour is replaying and does not
//! finish soon, the transaction's ring releases the writer lock and waits without it.

use super::base::Base;
use super::index::Index;
use super::item::Item;
use super::item_ref::ItemRef;
use super::log::{Delta, Log};
use parking_lot::{Mutex, MutexGuard};
use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// When a replay applies a delta, it prefetches the table of the delta that comes this many positions later.
const REPLAY_AHEAD: u64 = 8;
/// How many times a ring checks whether another ring's replay has ended, before it sleeps or releases the writer lock. All
/// these checks take a microsecond or less, in which a few deltas are replayed.
const LOOKS: usize = 256;

/// A replica: an index and the range of rings that use it. These rings share it with everybody who asks for its size.
#[derive(Debug)]
pub(super) struct Group {
    /// The number of this replica among all.
    number: usize,
    rings: Range<usize>,
    index: Index,
    /// Locked while deltas are applied, if several rings use the replica.
    replaying: Mutex<()>,
    /// How many of the rings have taken their handle ([`Group::replica`]).
    taken: AtomicU32,
    /// How many times a ring has replayed for all rings of the replica; not counted if there is only one.
    replays: AtomicU64,
    /// How many times a ring has waited for another ring's replay.
    waits: AtomicU64,
}

/// What `stats memory` shows about one replica.
#[derive(Clone, Debug)]
pub struct ReplicaMemory {
    /// The numbers of the rings that use the replica.
    pub rings: Range<usize>,
    /// Bytes of memory of the replica's index.
    pub index_bytes: u64,
    /// How many times one of several rings has replayed for all of them; 0 if only one ring uses the replica.
    pub replays: u64,
    /// How many times a ring has waited for another ring's replay; 0 if only one ring uses the replica.
    pub waits: u64,
}

/// True if `fault` has been planted in the store, to test that the simulation detects it. The environment variable
/// `MEMCRSD_CANARY` names the planted fault.
fn is_canary(fault: &str) -> bool {
    cfg!(feature = "canary") && std::env::var("MEMCRSD_CANARY").is_ok_and(|named| named == fault)
}

/// The rings that share replica `number`: neighbours. The numbers of rings that replicas have differ by one at most.
fn rings_of(number: usize, replicas: usize, rings: usize) -> Range<usize> {
    let first = |number: usize| (number * rings).div_ceil(replicas);
    first(number)..first(number + 1)
}

impl Group {
    /// Makes all replicas, empty, for a store of `memory_limit` bytes. Each belongs to a range of neighbouring rings.
    pub(super) fn all(replicas: usize, rings: usize, memory_limit: u64) -> Box<[Arc<Self>]> {
        assert!((1..=rings).contains(&replicas), "every replica has a ring");
        (0..replicas)
            .map(|number| Arc::new(Self::new(number, rings_of(number, replicas, rings), memory_limit)))
            .collect()
    }

    #[expect(unsafe_code, reason = "an index without locks is used by one thread")]
    fn new(number: usize, rings: Range<usize>, memory_limit: u64) -> Self {
        // SAFETY: an index of one ring is used through that ring's `Replica` alone: `Group::replica` makes no second one, a
        // `Replica` cannot be cloned, and it is not Sync. (`Group::memory`, which others call, calls only `Index::bytes`.)
        let index = unsafe { Index::new(memory_limit, rings.len() > 1) };
        Self {
            number,
            rings,
            index,
            replaying: Mutex::new(()),
            taken: AtomicU32::new(0),
            replays: AtomicU64::new(0),
            waits: AtomicU64::new(0),
        }
    }

    /// Makes the handle through which `ring` uses this replica.
    ///
    /// # Panics
    /// If all rings of the replica have taken their handles, or `ring` is not one of these rings.
    pub(super) fn replica(self: &Arc<Self>, ring: usize) -> Replica {
        let taken = self.taken.fetch_add(1, Ordering::Relaxed);
        assert!(
            self.rings.contains(&ring) && (taken as usize) < self.rings.len(),
            "a ring's shard is taken once"
        );
        Replica { ring, cursor: 0, is_shared: self.is_shared(), group: Arc::clone(self), stays: PhantomData }
    }

    /// The index of `group`, to be filled at the start. Panics if a ring has taken its handle on this replica.
    pub(super) fn index_mut(group: &mut Arc<Self>) -> &mut Index {
        &mut Arc::get_mut(group).expect("no ring has taken it").index
    }

    pub(super) fn rings(&self) -> Range<usize> {
        self.rings.clone()
    }

    pub(super) fn is_shared(&self) -> bool {
        self.rings.len() > 1
    }

    /// Bytes of memory of the replica's index.
    pub(super) fn bytes(&self) -> u64 {
        self.index.bytes()
    }

    /// The part of [`Group::bytes`] that the index takes even without entries.
    pub(super) fn bytes_when_empty(&self) -> u64 {
        self.index.bytes_when_empty()
    }

    pub(super) fn memory(&self) -> ReplicaMemory {
        ReplicaMemory {
            rings: self.rings(),
            index_bytes: self.bytes(),
            replays: self.replays.load(Ordering::Relaxed),
            waits: self.waits.load(Ordering::Relaxed),
        }
    }

    /// Applies the deltas at `positions` of the log to the index.
    fn apply(&self, base: &Arc<Base>, log: &Log, positions: Range<u64>) {
        let tail = positions.end;
        for position in positions {
            if is_canary("delta") && self.number == 1 && position == 1_000 {
                continue;
            }
            if position + REPLAY_AHEAD < tail
                && let Delta::Entry { hash, .. } = log.read(position + REPLAY_AHEAD)
            {
                self.index.prefetch_table(hash);
            }
            self.index.apply(base, log.read(position));
        }
    }

    /// Brings a shared index up to `tail` at least, for all its rings. If another ring is doing so, waits for it: at most for
    /// the deltas that are in the log, and for one transaction.
    fn bring(&self, base: &Arc<Base>, log: &Log, tail: u64) {
        if log.applied(self.number) >= tail {
            return;
        }
        let replaying = self.replaying.try_lock().or_else(|| {
            self.waits.fetch_add(1, Ordering::Relaxed);
            // A transaction keeps the lock after it has applied its own delta.
            let is_done = look(|| (log.applied(self.number) >= tail).then_some(())).is_some();
            (!is_done).then(|| self.replaying.lock())
        });
        if let Some(replaying) = replaying {
            self.bring_locked(&Replaying { _locked: Some(replaying) }, base, log, tail);
        }
    }

    /// Brings a shared index up to `tail`. `_replaying` shows that the caller has the right to apply deltas.
    fn bring_locked(&self, _replaying: &Replaying<'_>, base: &Arc<Base>, log: &Log, tail: u64) {
        let from = log.applied(self.number);
        if from < tail {
            self.apply(base, log, from..tail);
            log.set_applied(self.number, tail);
            self.replays.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes, for a transaction, the right to apply deltas to this replica, which only one ring has at a time. `None` if
    /// another ring has the right and does not give it up within a microsecond or so.
    pub(super) fn try_replaying(&self) -> Option<Replaying<'_>> {
        if !self.is_shared() {
            return Some(Replaying { _locked: None });
        }
        look(|| self.replaying.try_lock()).map(|locked| Replaying { _locked: Some(locked) })
    }

    /// Waits until no ring of this replica applies deltas. The caller does not hold the writer lock.
    #[cold]
    pub(super) fn wait_for_replay(&self) {
        self.waits.fetch_add(1, Ordering::Relaxed);
        drop(self.replaying.lock());
    }
}

/// The right to apply deltas to a replica, until this value is dropped. If several rings share the replica, its mutex is
/// locked. A ring with a replica of its own always has the right.
pub(super) struct Replaying<'g> {
    _locked: Option<MutexGuard<'g, ()>>,
}

/// Calls `answer` up to [`LOOKS`] times, until it returns something; `None` if it never does.
fn look<T>(answer: impl FnMut() -> Option<T>) -> Option<T> {
    std::iter::repeat_with(answer).take(LOOKS).flatten().next()
}

/// One ring's handle on its replica. It stays on the ring's thread.
#[derive(Debug)]
pub(super) struct Replica {
    ring: usize,
    /// A position up to which the replica has applied the log, as far as this ring knows. Outside of a transaction the ring
    /// holds no references from before this position.
    cursor: u64,
    is_shared: bool,
    group: Arc<Group>,
    /// Makes the type not Sync.
    stays: PhantomData<Cell<()>>,
}

impl Replica {
    /// A position up to which the replica has applied the log, as far as this ring knows.
    pub(super) fn cursor(&self) -> u64 {
        self.cursor
    }

    pub(super) fn index(&self) -> &Index {
        &self.group.index
    }

    /// The number of the replica among all.
    pub(super) fn number(&self) -> usize {
        self.group.number
    }

    /// Begins a section, which [`Replica::leave`] ends. Does nothing for a ring with a replica of its own, whose cursor says
    /// which references it may hold.
    #[inline]
    pub(super) fn enter(&mut self, base: &Base) {
        if self.is_shared {
            self.enter_shared(base);
        }
    }

    #[inline(never)]
    fn enter_shared(&mut self, base: &Base) {
        if !(self.ring == 1 && is_canary("section")) {
            self.cursor = base.log().enter(self.ring, self.group.number);
        }
    }

    /// Ends a section: from here on the ring holds no reference from it.
    #[inline]
    pub(super) fn leave(&self, base: &Base) {
        if self.is_shared {
            base.log().leave(self.ring);
        }
    }

    /// Applies the log up to its tail, and publishes that the ring holds no older references. Called in a section.
    #[inline]
    pub(super) fn catch_up(&mut self, base: &Arc<Base>) {
        let log = base.log();
        let tail = log.tail();
        if tail != self.cursor {
            self.replay(base, log, tail, None);
        }
    }

    /// The same as [`Replica::catch_up`], at the beginning of a transaction. Does not wait, since the caller has the right to
    /// apply deltas.
    pub(super) fn catch_up_in_txn(&mut self, replaying: &Replaying<'_>, base: &Arc<Base>) {
        let log = base.log();
        let tail = log.tail();
        if tail != self.cursor {
            self.replay(base, log, tail, Some(replaying));
        }
    }

    // A function of its own, so that `Shard::fresh` inlines to a few instructions.
    #[inline(never)]
    fn replay(&mut self, base: &Arc<Base>, log: &Log, tail: u64, replaying: Option<&Replaying<'_>>) {
        if self.is_shared {
            match replaying {
                Some(replaying) => self.group.bring_locked(replaying, base, log, tail),
                None => self.group.bring(base, log, tail),
            }
        } else {
            self.group.apply(base, log, self.cursor..tail);
        }
        self.cursor = tail;
        self.settle(log);
    }

    /// Applies the delta that this ring has just appended. References that the ring holds stay valid until [`Replica::settle`].
    pub(super) fn apply_own(&mut self, _replaying: &Replaying<'_>, base: &Arc<Base>, delta: Delta) {
        self.cursor += 1;
        self.group.index.apply(base, delta);
        if self.is_shared {
            // Now rather than in `settle`, so that other rings of this replica stop waiting.
            base.log().set_applied(self.group.number, self.cursor);
        }
    }

    /// Publishes in the log that the ring holds no references from before its cursor. If the ring has a replica of its own,
    /// this also says that the replica has applied everything before the cursor.
    #[inline]
    pub(super) fn settle(&self, log: &Log) {
        if self.is_shared {
            if !(self.ring == 1 && is_canary("section")) {
                log.hold(self.ring, self.cursor);
            }
        } else {
            log.set_applied(self.group.number, self.cursor);
        }
    }

    /// The item that an entry of this replica's index names.
    #[inline]
    #[expect(clippy::unused_self, reason = "the borrow of the replica is what keeps the item")]
    #[expect(unsafe_code, reason = "borrows items whose memory the cursor protects")]
    pub(super) fn item<'a>(&'a self, base: &'a Arc<Base>, item: ItemRef) -> Item<'a> {
        // SAFETY: an entry of the current generation names a published item; its memory is reused only after this
        // ring's cursor has passed the delta that removes the entry, or the ring has left the section that it looked the
        // entry up in. The cursor moves only through `&mut self`, and a section ends when its `Fresh` does.
        unsafe { Item::new(base.address(item), base) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_are_shared_out_evenly_among_neighbours() {
        for rings in 1..40 {
            for replicas in 1..=rings {
                let all: Vec<_> = (0..replicas).map(|number| rings_of(number, replicas, rings)).collect();
                assert!(all.iter().cloned().flatten().eq(0..rings), "{replicas} of {rings}: {all:?}");
                let sizes = || all.iter().map(Range::len);
                assert!(
                    sizes().max().unwrap() - sizes().min().unwrap() <= 1,
                    "{replicas} of {rings}: {all:?}"
                );
            }
        }
        assert_eq!(rings_of(1, 4, 16), 4..8);
    }
}
