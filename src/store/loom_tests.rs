//! Model checks with loom: the log, its positions and the pins, in every interleaving that the memory model allows.
//!
//! Cells that loom watches represent items: the test fails if nothing orders a read and a write, or if a value is wrong. The
//! writer does the same steps as the store, in the same order. The writer lock itself is not checked: it is parking_lot's.

use super::item_ref::{Hash, ItemRef};
use super::log::{Delta, Log};
use super::pin_counts::PinCounts;
use super::time::Time;
use crate::clock::Timestamp;
use loom::cell::UnsafeCell;
use loom::sync::{Arc, Mutex};
use loom::thread;

/// The delta number `n` of a model; `n` is also what is written into the item's memory.
fn delta(n: u64) -> Delta {
    Delta::Entry { hash: Hash(n), old: ItemRef::from_bits(n), new: ItemRef::from_bits(n + 1) }
}

/// Memory of one item.
struct Memory(UnsafeCell<u64>);

impl Memory {
    fn new(value: u64) -> Self {
        Self(UnsafeCell::new(value))
    }

    #[expect(unsafe_code, reason = "loom checks the access")]
    fn read(&self) -> u64 {
        // SAFETY: loom fails the test if a write is not ordered before or after.
        self.0.with(|at| unsafe { *at })
    }

    #[expect(unsafe_code, reason = "loom checks the access")]
    fn write(&self, value: u64) {
        // SAFETY: loom fails the test if any other access is not ordered before or after.
        self.0.with_mut(|at| unsafe { *at = value });
    }
}

/// The condition that `WriteTxn::has_log_room` checks before a delta is appended.
fn has_room(log: &Log) -> bool {
    log.tail() - log.applied_min() < log.capacity()
}

/// A ring that sees a delta also sees its item's bytes; every ring sees the deltas in order.
#[test]
fn a_delta_that_is_seen_names_an_item_that_is_whole() {
    loom::model(|| {
        let log = Arc::new(Log::new(2, 3, 3));
        let items = Arc::new([Memory::new(0), Memory::new(0)]);
        let reader = |ring| {
            let (log, items) = (Arc::clone(&log), Arc::clone(&items));
            move || {
                let tail = log.tail();
                for place in 0..tail {
                    assert_eq!(log.read(place), delta(place));
                    assert_eq!(items[place as usize].read(), place + 100);
                }
                log.set_applied(ring, tail);
            }
        };
        let readers = [thread::spawn(reader(1)), thread::spawn(reader(2))];
        for place in 0..2 {
            items[place as usize].write(place + 100);
            log.append(delta(place));
            log.set_applied(0, place + 1);
        }
        for reader in readers {
            reader.join().unwrap();
        }
    });
}

/// A slot is overwritten only when the slowest ring has read it.
#[test]
fn a_place_in_use_is_not_written_again() {
    loom::model(|| {
        let log = Arc::new(Log::new(1, 2, 2));
        let reader = {
            let log = Arc::clone(&log);
            thread::spawn(move || {
                let mut cursor = 0;
                for _ in 0..2 {
                    let tail = log.tail();
                    assert!(tail - cursor <= log.capacity());
                    for place in cursor..tail {
                        assert_eq!(log.read(place), delta(place), "the place is still the reader's");
                    }
                    cursor = tail;
                    log.set_applied(1, cursor);
                }
            })
        };
        let mut appended = 0;
        for _ in 0..3 {
            if has_room(&log) {
                log.append(delta(appended));
                appended += 1;
                log.set_applied(0, appended);
            }
        }
        reader.join().unwrap();
        assert!(appended >= 1 && log.tail() == appended);
    });
}

/// Memory that is retired at the tail is reused once every cursor has passed it and nothing holds it; a ring that found
/// the item before, and a send that was begun then, read what they found.
#[test]
fn memory_is_not_reused_under_a_reader_or_a_send() {
    loom::model(|| {
        let log = Arc::new(Log::new(4, 2, 2));
        let placement = Arc::new((PinCounts::default(), Memory::new(7)));
        let ring = {
            let (log, placement) = (Arc::clone(&log), Arc::clone(&placement));
            thread::spawn(move || {
                // The index named the item before the removal, and does so until the removal is replayed.
                if log.tail() == 0 {
                    assert_eq!(placement.1.read(), 7);
                    placement.0.pin();
                    // The next completion: the ring gives up every borrow, the pin stays.
                    log.set_applied(1, log.tail());
                    assert_eq!(placement.1.read(), 7);
                    placement.0.unpin();
                }
                log.set_applied(1, log.tail());
            })
        };
        log.append(Delta::Entry { hash: Hash(1), old: ItemRef::from_bits(1), new: ItemRef::NONE });
        log.set_applied(0, 1);
        let retired_at = log.tail();
        // The steps of `SegmentTable::collect`, which is called now and then.
        for _ in 0..2 {
            if log.quiescent_position() >= retired_at && !placement.0.is_held() {
                placement.1.write(8);
                break;
            }
        }
        ring.join().unwrap();
    });
}

/// Reservations are counted under the writer lock and dropped outside of it.
#[test]
fn memory_is_not_reused_under_a_receive() {
    loom::model(|| {
        let segments = Arc::new(Mutex::new(()));
        let placement = Arc::new((PinCounts::default(), Memory::new(0)));
        let receiver = {
            let (segments, placement) = (Arc::clone(&segments), Arc::clone(&placement));
            thread::spawn(move || {
                let txn = segments.lock().unwrap();
                if placement.1.read() != 0 {
                    return;
                }
                placement.0.reservation();
                drop(txn);
                placement.1.write(5);
                placement.0.unreserve();
            })
        };
        let txn = segments.lock().unwrap();
        if !placement.0.is_held() {
            placement.1.write(9);
        }
        drop(txn);
        receiver.join().unwrap();
    });
}

/// Whoever learns of an acknowledgement, in whatever way, finds the write in the log.
#[test]
fn an_acknowledged_write_is_seen_by_whoever_asks_next() {
    loom::model(|| {
        let log = Arc::new(Log::new(2, 2, 2));
        let wire = Arc::new(Mutex::new(false));
        let reader = {
            let (log, wire) = (Arc::clone(&log), Arc::clone(&wire));
            thread::spawn(move || {
                let was_told = *wire.lock().unwrap();
                let tail = log.tail();
                assert!(!was_told || tail == 1, "an acknowledged write is not there");
            })
        };
        log.append(delta(0));
        *wire.lock().unwrap() = true;
        reader.join().unwrap();
    });
}

/// A replica that all rings share. Its index has one entry, which is 1 as long as it names the item in `placement`.
struct Shared {
    log: Log,
    replaying: Mutex<()>,
    table: Mutex<()>,
    entry: Memory,
    placement: (PinCounts, Memory),
}

/// A step that a ring leaves out. The model must fail without the step.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Omits {
    Nothing,
    /// It looks up without having begun a section.
    Entering,
    /// It claims to be up to date without a replay.
    Replaying,
    /// It looks up without the lock of the table.
    Locking,
}

impl Shared {
    fn new(rings: usize) -> Arc<Self> {
        Arc::new(Self {
            log: Log::new(4, 1, rings),
            replaying: Mutex::new(()),
            table: Mutex::new(()),
            entry: Memory::new(1),
            placement: (PinCounts::default(), Memory::new(7)),
        })
    }

    /// The steps of `Group::bring`, for the one delta of the model.
    fn bring(&self, tail: u64) {
        if self.log.applied(0) >= tail {
            return;
        }
        let replaying = self.replaying.lock().unwrap();
        if self.log.applied(0) < tail {
            self.apply(tail);
        }
        drop(replaying);
    }

    fn apply(&self, tail: u64) {
        let table = self.table.lock().unwrap();
        self.entry.write(0);
        drop(table);
        self.log.set_applied(0, tail);
    }

    /// One section of `ring`: the steps of `Shard::fresh`, a look-up, a read of the item that it finds, and the drop of the
    /// `Fresh`.
    fn section(&self, ring: usize, omits: Omits) {
        if omits != Omits::Entering {
            self.log.enter(ring, 0);
        }
        let tail = self.log.tail();
        if omits != Omits::Replaying {
            self.bring(tail);
        }
        if omits != Omits::Entering {
            self.log.hold(ring, tail);
        }
        let table = (omits != Omits::Locking).then(|| self.table.lock().unwrap());
        let is_found = self.entry.read() == 1;
        drop(table);
        if is_found {
            assert!(omits == Omits::Replaying || tail == 0, "what was removed before is not found");
            assert_eq!(self.placement.1.read(), 7);
        }
        self.log.leave(ring);
    }

    /// Ring 0 removes the item in a transaction, and afterwards reuses the memory if it may.
    fn remove_and_reuse(&self) {
        self.log.enter(0, 0);
        // `WriteTxn::lock`, which tries this and waits without the writer lock.
        let replaying = self.replaying.lock().unwrap();
        self.log.append(Delta::Entry { hash: Hash(1), old: ItemRef::from_bits(1), new: ItemRef::NONE });
        self.apply(1);
        assert_eq!(
            self.log.quiescent_position(),
            0,
            "nothing is used again in the transaction that retires it"
        );
        self.log.hold(0, 1);
        drop(replaying);
        if self.log.quiescent_position() >= 1 && !self.placement.0.is_held() {
            self.placement.1.write(8);
        }
        self.log.leave(0);
    }
}

/// How many preemptions per execution the model explores: with more, there are too many executions.
const PREEMPTIONS_MAX: usize = 3;

fn rings_share_a_replica(all: &'static [Omits]) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS_MAX);
    builder.check(move || {
        let shared = Shared::new(1 + all.len());
        let section = |(place, &omits): (usize, &Omits)| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.section(1 + place, omits))
        };
        let threads: Vec<_> = all.iter().enumerate().map(section).collect();
        shared.remove_and_reuse();
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

/// Memory is not reused while a ring still uses an item that it has found. Nobody waits for rings that wait for clients.
#[test]
fn memory_is_not_reused_under_a_ring_that_shares_its_replica() {
    rings_share_a_replica(&[Omits::Nothing]);
}

/// The first ring that is not up to date replays for both.
#[test]
fn one_ring_replays_for_all_that_share_its_replica() {
    rings_share_a_replica(&[Omits::Nothing, Omits::Nothing]);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_ring_that_does_not_enter_is_found_out() {
    rings_share_a_replica(&[Omits::Entering]);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_ring_that_does_not_replay_is_found_out() {
    rings_share_a_replica(&[Omits::Replaying]);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_ring_that_reads_an_open_table_is_found_out() {
    rings_share_a_replica(&[Omits::Locking]);
}

/// A ring that sees a write sees the second in which the write was decided: the time is read after the replay.
#[test]
fn a_delta_that_is_seen_brings_its_second_along() {
    loom::model(|| {
        let shared = Arc::new((Log::new(2, 1, 2), Time::default()));
        let reader = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let tail = shared.0.tail();
                let now = shared.1.now();
                assert!(tail == 0 || now == Timestamp(3), "a write of second 3 is seen at {now:?}");
                assert!(shared.1.now() >= now, "the time does not go back");
            })
        };
        shared.1.advance(Timestamp(3));
        shared.1.advance(Timestamp(2));
        shared.0.append(delta(0));
        reader.join().unwrap();
    });
}
