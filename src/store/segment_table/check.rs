//! Recounts the segment table and compares: its part of `store/check`, which walks the index for it. For tests, the simulation
//! and the fuzzers; changes nothing.

use super::sum::Sum;
use super::table::SegmentTable;
use super::unit::{EvictionUnit, Fifo, Large, Listing, QUEUES, Queue, State};
use crate::clock::Timestamp;
use crate::store::arena::Arena;
use crate::store::faults::Faults;
use crate::store::flash::Place;
use std::collections::HashMap;

/// Memory in use may exceed the limit by the limit divided by this, plus [`UNFREED_SEGMENTS`] segments, until the excess has
/// been evicted. It comes from indexes that grow and survivors that are copied.
const UNFREED_PART: u64 = 16;
const UNFREED_SEGMENTS: u64 = 4;

/// Sums and lists of the items that a walk over the index found. The table's own sums and lists must agree with them.
#[derive(Debug)]
pub(in crate::store) struct Recount {
    /// For each segment, by number: the bytes of its live items.
    pub(in crate::store) live: Vec<u64>,
    /// Number of index entries that name each large item, by its number.
    pub(in crate::store) large_items: HashMap<u32, u32>,
    /// Number of items, and their bytes, by class.
    pub(in crate::store) classes: Vec<(u64, u64)>,
    /// Items that expire: the unit that each lies in, its offset there, and its expiry.
    pub(in crate::store) expiries: Vec<(EvictionUnit, u32, Timestamp)>,
    /// The places of values on flash, each with the length of its key in bytes.
    pub(in crate::store) places: Vec<(Place, usize)>,
}

impl SegmentTable {
    /// Compares every sum and list with `recount`, and adds what differs to `faults`.
    pub(in crate::store) fn check(&self, arena: &Arena, recount: &Recount, faults: &mut Faults) {
        self.check_segments(recount, faults);
        self.check_sums(arena, recount, faults);
        self.check_large_items(recount, faults);
        self.check_flash(recount, faults);
        self.check_queues(faults);
        self.check_retired(faults);
        self.check_free(arena, faults);
        self.check_totals(recount, faults);
        self.check_held(arena, faults);
        self.check_budget(faults);
        self.check_schedule(recount, faults);
        faults.compare("bytes of ghosts", self.ghost.bytes(), self.ghost.counted_bytes());
    }

    fn check_segments(&self, recount: &Recount, faults: &mut Faults) {
        let mut in_use = 0_u64;
        for (id, segment) in self.segments.iter().enumerate().skip(1) {
            in_use += u64::from(segment.state != State::Free);
            let is_live = matches!(segment.state, State::Open | State::Sealed | State::Victim);
            let kept = if is_live { u64::from(segment.live) } else { 0 };
            faults.compare(format_args!("live bytes of segment {id}"), kept, recount.live[id]);
            faults.unless(!is_live || u64::from(segment.used) <= self.segment_bytes, || {
                format!("segment {id} is used beyond its end: {segment:?}")
            });
            faults.compare(
                format_args!("segment {id} stands rightly in the reclaim list"),
                self.reclaim_list.is_right(id as u32, segment, segment.state == State::Sealed),
                true,
            );
            let open = self.open[segment.queue as usize] == Some(id as u32);
            faults.compare(format_args!("segment {id} is open"), segment.state == State::Open, open);
        }
        faults.compare("segments in use", self.segments_in_use.get(), in_use);
        let listed = self.segments.iter().filter(|segment| segment.listing != Listing::default()).count();
        faults.compare("segments in the reclaim list", self.reclaim_list.len(), listed);
        for queue in [Queue::Small, Queue::Main, Queue::Stubs] {
            if let Some(id) = self.open[queue as usize] {
                faults.compare(format_args!("queue of open {id}"), self.segments[id as usize].queue, queue);
            }
        }
        let victims: Vec<u32> = (1..)
            .zip(&self.segments[1..])
            .filter(|(_, s)| s.state == State::Victim)
            .map(|(id, _)| id)
            .collect();
        let victim: Vec<u32> = self.victim.iter().map(|victim| victim.id).collect();
        faults.compare("the victim", victim, victims);
    }

    fn check_sums(&self, arena: &Arena, recount: &Recount, faults: &mut Faults) {
        let of = |state| self.segments.iter().filter(move |segment| segment.state == state);
        faults.compare("retired segments", self.retired_segments.get() as usize, of(State::Retired).count());
        faults.compare("live bytes", self.live_bytes.get(), recount.live.iter().sum());
        let tails = of(State::Sealed).map(|segment| self.segment_bytes - u64::from(segment.used)).sum();
        faults.compare("bytes of tails", self.tail_bytes.get(), tails);
        faults.unless(self.reserved_bytes.get() == 0 || arena.held_counts().1 > 0, || {
            format!("{} bytes are reserved, and no value is being received", self.reserved_bytes.get())
        });
    }

    /// Checks that each chunk on flash counts the values that stubs name, and no others.
    fn check_flash(&self, recount: &Recount, faults: &mut Faults) {
        let Some(chunks) = &self.flash else {
            return faults.compare("values on flash", 0, recount.places.len());
        };
        let live: HashMap<u64, (u64, u64)> =
            chunks.live().map(|(chunk, objects, bytes)| (chunk, (objects, bytes))).collect();
        let mut counted: HashMap<u64, (u64, u64)> = live.keys().map(|&chunk| (chunk, (0, 0))).collect();
        for &(place, key_bytes) in &recount.places {
            // A stub whose chunk could not be read back stays until a read finds the value missing.
            if let Some(chunk) = counted.get_mut(&place.chunk()) {
                *chunk = (chunk.0 + 1, chunk.1 + place.record_bytes(key_bytes) as u64);
            }
        }
        faults.compare("values and bytes of chunks on flash", live, counted);
    }

    fn check_large_items(&self, recount: &Recount, faults: &mut Faults) {
        faults.compare(
            "bytes of large items",
            self.large_bytes.get(),
            self.large_items.iter().map(|(_, l)| l.bytes).sum(),
        );
        for (id, large) in &self.large_items {
            let entries = recount.large_items.get(&(id as u32)).copied().unwrap_or(0);
            faults.compare(
                format_args!("entries of large {id} at {}", large.offset),
                u32::from(large.is_published()),
                entries,
            );
        }
    }

    /// Checks that every unit has one current entry in its queue, and none in others.
    fn check_queues(&self, faults: &mut Faults) {
        let mut found: HashMap<EvictionUnit, Vec<Queue>> = HashMap::new();
        for fifo in [Fifo::Small, Fifo::Main, Fifo::Stubs] {
            for &entry in self.fifos[fifo as usize].iter() {
                if self.is_current(fifo.queue(), entry) {
                    found.entry(entry.0).or_default().push(fifo.queue());
                }
            }
        }
        let mut bytes = [0; QUEUES];
        let mut member = |unit, queue: Queue, unit_bytes: u64| {
            bytes[queue as usize] += unit_bytes;
            let entries = found.remove(&unit).unwrap_or_default();
            faults.compare(format_args!("queues of {unit:?}"), vec![queue], entries);
        };
        for (id, segment) in self.segments.iter().enumerate().skip(1) {
            if matches!(segment.state, State::Open | State::Sealed) {
                member(EvictionUnit::Segment(id as u32), segment.queue, self.segment_bytes);
            }
        }
        for (id, large) in &self.large_items {
            if let Some(queue) = large.queue {
                member(EvictionUnit::Large(id as u32), queue, large.bytes);
            }
        }
        faults.compare(
            "units that queues name and that are no members",
            Vec::new(),
            found.into_keys().collect(),
        );
        faults.compare("bytes of queues", self.queue_bytes.map(Sum::get), bytes);
        self.check_small_large_items(faults);
    }

    /// Checks that each large item of the small queue stands once in the FIFO for these.
    fn check_small_large_items(&self, faults: &mut Faults) {
        let fifo = &self.fifos[Fifo::SmallLarges as usize];
        let mut listed: Vec<EvictionUnit> = fifo
            .iter()
            .filter(|&&entry| self.is_current(Queue::Small, entry))
            .map(|&(unit, _)| unit)
            .collect();
        listed.sort_unstable_by_key(|unit| if let EvictionUnit::Large(id) = unit { *id } else { u32::MAX });
        let is_small = |(_, large): &(usize, &Large)| large.queue == Some(Queue::Small);
        let counted: Vec<EvictionUnit> =
            self.large_items.iter().filter(is_small).map(|(id, _)| EvictionUnit::Large(id as u32)).collect();
        let bytes = self.large_items.iter().filter(is_small).map(|(_, large)| large.bytes).sum();
        faults.compare("large items of small", self.small_larges.get(), counted.len() as u64);
        faults.compare("bytes of large items of small", self.small_large_bytes.get(), bytes);
        faults.compare("the FIFO of the large items of small", listed, counted);
    }

    /// Checks that every retired unit is on one list once, and that its bytes count as pending.
    fn check_retired(&self, faults: &mut Faults) {
        let mut listed: HashMap<EvictionUnit, u32> = HashMap::new();
        let retired = self.retired.iter().map(|&(unit, _)| unit);
        for unit in retired.chain(self.held.iter().copied()) {
            *listed.entry(unit).or_default() += 1;
        }
        let pending = listed.keys().map(|&unit| self.unit_bytes(unit)).sum();
        faults.compare("bytes pending", self.pending_bytes.get(), pending);
        let held = self.held.iter().map(|&unit| self.unit_bytes(unit)).sum();
        faults.compare("bytes held", self.held_bytes.get(), held);
        for (id, segment) in self.segments.iter().enumerate().skip(1) {
            let entries = listed.remove(&EvictionUnit::Segment(id as u32)).unwrap_or(0);
            let expected = u32::from(segment.state == State::Retired);
            faults.compare(format_args!("entries of segment {id} among the retired"), expected, entries);
        }
        listed.retain(|unit, entries| {
            let gone = matches!(unit, EvictionUnit::Large(id) if self.large_items.get(*id as usize).is_none_or(Large::is_published));
            gone || *entries != 1
        });
        faults.unless(listed.is_empty(), || format!("retired large items are listed amiss: {listed:?}"));
    }

    /// Checks that every free segment is listed once, and that free extents fill the space between large items.
    fn check_free(&self, arena: &Arena, faults: &mut Faults) {
        let mut listed: Vec<u32> = self.free_warm.iter().chain(&self.free_cold).copied().collect();
        listed.sort_unstable();
        let free: Vec<u32> = (1..)
            .zip(&self.segments[1..])
            .filter(|(_, s)| s.state == State::Free)
            .map(|(id, _)| id)
            .collect();
        faults.compare("free segments", listed, free);
        let used = self.large_items.iter().map(|(_, large)| (large.offset, large.bytes));
        self.extents.check(used, arena.large_base()..arena.large_base() + arena.large_bytes(), faults);
    }

    fn check_totals(&self, recount: &Recount, faults: &mut Faults) {
        let mut totals = (0, 0);
        for (class, &(items, bytes)) in recount.classes.iter().enumerate() {
            let kept = &self.class_totals[class];
            faults.compare(
                format_args!("items, bytes of class {class}"),
                (kept.items, kept.bytes),
                (items, bytes),
            );
            totals = (totals.0 + items, totals.1 + bytes);
        }
        faults.compare("items, bytes", (self.totals.curr_items, self.totals.bytes), totals);
    }

    /// Checks that the pins and reservations of all units add up to those of the store. No other thread may change them
    /// meanwhile.
    fn check_held(&self, arena: &Arena, faults: &mut Faults) {
        let segments = (1..self.segments.len() as u32).map(|id| {
            let counts = arena.counts(id).read();
            (counts, self.segments[id as usize].state == State::Free, EvictionUnit::Segment(id))
        });
        let large_items = self.large_items.iter().map(|(id, large)| {
            (arena.extent_counts(large.offset).read(), false, EvictionUnit::Large(id as u32))
        });
        let mut sum = (0, 0);
        for ((pins, reservations), is_free, unit) in segments.chain(large_items) {
            sum = (sum.0 + pins, sum.1 + reservations);
            faults.unless(!is_free || pins + reservations == 0, || format!("{unit:?} is free and held"));
        }
        faults.compare("values being sent and received", arena.held_counts(), sum);
        let pinned = self.held.iter().filter(|&&unit| self.counts_of(unit, arena).is_pinned());
        let pinned_bytes: u64 = pinned.map(|&unit| self.unit_bytes(unit)).sum();
        faults.unless(pinned_bytes <= arena.pinned_bytes(), || {
            format!("{pinned_bytes} bytes are retired and held, and pins hold {}", arena.pinned_bytes())
        });
        for (id, large) in &self.large_items {
            let is_waited_for = self.retired.iter().any(|&(unit, _)| unit == EvictionUnit::Large(id as u32))
                || self.held.contains(&EvictionUnit::Large(id as u32));
            let is_reserved = arena.extent_counts(large.offset).is_reserved();
            faults.unless(large.is_published() || is_waited_for || is_reserved, || {
                format!("large {id} is lost: {large:?}")
            });
        }
    }
}

impl SegmentTable {
    /// Checks that memory in use fits the limit, except for what a slice of eviction has yet to free. Memory that only sends
    /// hold is not counted.
    fn check_budget(&self, faults: &mut Faults) {
        let large_max = self.large_items.iter().map(|(_, large)| large.bytes).max().unwrap_or(0);
        let replaced = if self.evicts { 0 } else { self.replaced_bytes(large_max) };
        let most = self.limit + self.over_limit_bytes + self.limit / UNFREED_PART + replaced;
        faults.unless(self.used() <= most + UNFREED_SEGMENTS * self.segment_bytes, || {
            format!("{} bytes of {} are in use, {} held beside", self.used(), self.limit, self.beside_bytes())
        });
    }

    /// Checks that the sweep will reach every item that expires and will skip none that is alive.
    fn check_schedule(&self, recount: &Recount, faults: &mut Faults) {
        for &(unit, offset, at) in &recount.expiries {
            let time = self.schedule.time_of(unit);
            let mut is_found = time.is_some_and(|time| time <= at);
            if let EvictionUnit::Segment(id) = unit {
                let segment = &self.segments[id as usize];
                let is_ahead = self.sweep.is_ahead(id, segment.epoch, offset);
                // The evictor drops the expired items of its victim.
                is_found |= is_ahead || segment.state == State::Victim;
                faults.unless(is_ahead || segment.state == State::Victim || at > segment.removed_by, || {
                    format!("{offset} of segment {id} expired at {at:?} and is there: {segment:?}")
                });
            }
            faults.unless(is_found, || {
                format!("{unit:?} is scheduled for {time:?}; at {offset} in it something expires at {at:?}")
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::item_ref::{Hash, ItemRef};
    use crate::store::log::Delta;
    use crate::store::tests::{Checked, NOW, alone, options, set, set_at};

    /// A function that corrupts a sum or a list.
    type Plant = fn(&mut SegmentTable);

    fn filled() -> Checked {
        let mut shard = alone(options(8 << 20, 1));
        set(&mut shard, "large", &vec![b'l'; 100_000]).unwrap();
        for n in 0..30_000 {
            set(&mut shard, &format!("key-{n}"), b"value").unwrap();
        }
        set_at(&mut shard, NOW, "expires", b"value", Timestamp(9)).unwrap();
        assert_eq!(shard.check(NOW), Ok(()));
        shard
    }

    fn assert_found(mut shard: Checked, name: &str) {
        let faults = shard.check(NOW).expect_err(name);
        assert!(faults.contains(name), "{name}: {faults}");
        shard.is_spoiled = true;
    }

    /// Plants one error in each sum and list: the recount must name it.
    #[test]
    #[cfg_attr(miri, ignore = "takes hours")]
    fn every_planted_error_is_found() {
        let planted: [(&str, Plant); 24] = [
            ("live bytes of segment 1", |segments| segments.segments[1].live += 4),
            ("bytes used of segment 1", |segments| segments.segments[1].used -= 4),
            ("segments in the reclaim list", |segments| segments.segments[1].listing = Listing::misplaced()),
            ("segment 1 stands rightly in the reclaim list", |segments| segments.segments[1].live = 0),
            ("segment 2 is open", |segments| segments.segments[2].state = State::Open),
            ("segments in use", |segments| segments.segments_in_use += 1),
            ("live bytes:", |segments| segments.live_bytes -= 1),
            ("bytes of tails", |segments| segments.tail_bytes += 1),
            ("retired segments", |segments| segments.retired_segments += 1),
            ("bytes are reserved", |segments| segments.reserved_bytes += 1),
            ("the victim", |segments| segments.segments[2].state = State::Victim),
            ("bytes of large items", |segments| segments.large_bytes += 1),
            ("large 0 is lost", |segments| segments.large_items[0].queue = None),
            ("queues of Segment(2)", |segments| segments.fifos[0].push_back((EvictionUnit::Segment(2), 0))),
            ("bytes of queues", |segments| segments.queue_bytes[1] += 1),
            ("bytes pending", |segments| segments.pending_bytes += 1),
            ("bytes held", |segments| segments.held_bytes += 1),
            ("are in use", |segments| segments.limit = 1 << 20),
            ("free segments", |segments| segments.free_cold.push(3)),
            ("an extent of", |segments| segments.large_items[0].offset += 4096),
            ("items, bytes of class 1", |segments| segments.class_totals[1].items += 1),
            ("items, bytes:", |segments| segments.totals.bytes += 1),
            ("is scheduled for None", |segments| segments.schedule.pop()),
            ("expired at Timestamp(9) and is there", |segments| {
                segments.segments.iter_mut().for_each(|segment| segment.removed_by = Timestamp(9));
            }),
        ];
        for (name, plant) in planted {
            let shard = filled();
            plant(&mut shard.store().segments.lock());
            assert_found(shard, name);
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes hours")]
    fn an_entry_that_names_no_item_or_the_wrong_one_is_found() {
        let shard = filled();
        let (nowhere, somewhere) = (ItemRef::from_bits(5), ItemRef::from_bits(shard.index()[0]));
        for (new, name) in [(nowhere, "where no item begins"), (somewhere, "does not belong to table")] {
            let shard = filled();
            shard.store().log().append(Delta::Entry { hash: Hash(7), old: ItemRef::NONE, new });
            assert_found(shard, name);
        }
    }
}
