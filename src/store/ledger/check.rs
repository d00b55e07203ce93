//! The ledger's own part of the recount: see `store/check.rs`.

use super::reclaim::Listing;
use super::sum::Sum;
use super::{Large, Ledger, Line, Queue, State, Unit};
use crate::store::check::{Faults, Recount};
use crate::store::evict::Victim;
use crate::store::space::Space;
use std::collections::HashMap;

impl Ledger {
    /// Compares every sum and list with what it is of.
    pub(in crate::store) fn check(&self, space: &Space, recount: &Recount, faults: &mut Faults) {
        self.check_segments(recount, faults);
        self.check_sums(space, recount, faults);
        self.check_larges(recount, faults);
        self.check_queues(faults);
        self.check_retired(faults);
        self.check_free(space, faults);
        self.check_totals(recount, faults);
        self.check_held(space, faults);
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
        for queue in [Queue::Small, Queue::Main] {
            if let Some(id) = self.open[queue as usize] {
                faults.compare(format_args!("queue of open {id}"), self.segments[id as usize].queue, queue);
            }
        }
        let victims: Vec<u32> = (1..)
            .zip(&self.segments[1..])
            .filter(|(_, s)| s.state == State::Victim)
            .map(|(id, _)| id)
            .collect();
        let victim: Vec<u32> = self.victim.iter().map(Victim::id).collect();
        faults.compare("the victim", victim, victims);
    }

    fn check_sums(&self, space: &Space, recount: &Recount, faults: &mut Faults) {
        let of = |state| self.segments.iter().filter(move |segment| segment.state == state);
        faults.compare("retired segments", self.retired_segments.get() as usize, of(State::Retired).count());
        faults.compare("live bytes", self.live_bytes.get(), recount.live.iter().sum());
        let tails = of(State::Sealed).map(|segment| self.segment_bytes - u64::from(segment.used)).sum();
        faults.compare("bytes of tails", self.tail_bytes.get(), tails);
        faults.unless(self.reserved_bytes.get() == 0 || space.held_counts().1 > 0, || {
            format!("{} bytes are reserved, and no value is being received", self.reserved_bytes.get())
        });
    }

    fn check_larges(&self, recount: &Recount, faults: &mut Faults) {
        faults.compare(
            "bytes of large items",
            self.large_bytes.get(),
            self.larges.iter().map(|(_, l)| l.bytes).sum(),
        );
        for (id, large) in &self.larges {
            let entries = recount.larges.get(&(id as u32)).copied().unwrap_or(0);
            faults.compare(
                format_args!("entries of large {id} at {}", large.offset),
                u32::from(large.is_published()),
                entries,
            );
        }
    }

    /// Every member stands in its queue once, and nowhere else.
    fn check_queues(&self, faults: &mut Faults) {
        let mut found: HashMap<Unit, Vec<Queue>> = HashMap::new();
        for line in [Line::Small, Line::Main] {
            for &mention in self.queues[line as usize].iter() {
                if self.is_current(line.queue(), mention) {
                    found.entry(mention.0).or_default().push(line.queue());
                }
            }
        }
        let mut bytes = [0; 2];
        let mut member = |unit, queue: Queue, unit_bytes: u64| {
            bytes[queue as usize] += unit_bytes;
            let mentions = found.remove(&unit).unwrap_or_default();
            faults.compare(format_args!("queues of {unit:?}"), vec![queue], mentions);
        };
        for (id, segment) in self.segments.iter().enumerate().skip(1) {
            if matches!(segment.state, State::Open | State::Sealed) {
                member(Unit::Segment(id as u32), segment.queue, self.segment_bytes);
            }
        }
        for (id, large) in &self.larges {
            if let Some(queue) = large.queue {
                member(Unit::Large(id as u32), queue, large.bytes);
            }
        }
        faults.compare(
            "units that queues mention and that are no members",
            Vec::new(),
            found.into_keys().collect(),
        );
        faults.compare("bytes of queues", self.queue_bytes.map(Sum::get), bytes);
        self.check_small_larges(faults);
    }

    /// The large items of small stand once in the line of their own.
    fn check_small_larges(&self, faults: &mut Faults) {
        let line = &self.queues[Line::SmallLarges as usize];
        let mut listed: Vec<Unit> = line
            .iter()
            .filter(|&&mention| self.is_current(Queue::Small, mention))
            .map(|&(unit, _)| unit)
            .collect();
        listed.sort_unstable_by_key(|unit| if let Unit::Large(id) = unit { *id } else { u32::MAX });
        let is_small = |(_, large): &(usize, &Large)| large.queue == Some(Queue::Small);
        let counted: Vec<Unit> =
            self.larges.iter().filter(is_small).map(|(id, _)| Unit::Large(id as u32)).collect();
        let bytes = self.larges.iter().filter(is_small).map(|(_, large)| large.bytes).sum();
        faults.compare("large items of small", self.small_larges.get(), counted.len() as u64);
        faults.compare("bytes of large items of small", self.small_large_bytes.get(), bytes);
        faults.compare("the line of the large items of small", listed, counted);
    }

    /// Every retired unit is on one list once, and its bytes are pending.
    fn check_retired(&self, faults: &mut Faults) {
        let mut listed: HashMap<Unit, u32> = HashMap::new();
        let retired = self.retired.iter().map(|&(unit, _)| unit);
        for unit in retired.chain(self.held.iter().copied()) {
            *listed.entry(unit).or_default() += 1;
        }
        let pending = listed.keys().map(|&unit| self.unit_bytes(unit)).sum();
        faults.compare("bytes pending", self.pending_bytes.get(), pending);
        let held = self.held.iter().map(|&unit| self.unit_bytes(unit)).sum();
        faults.compare("bytes held", self.held_bytes.get(), held);
        for (id, segment) in self.segments.iter().enumerate().skip(1) {
            let mentions = listed.remove(&Unit::Segment(id as u32)).unwrap_or(0);
            let expected = u32::from(segment.state == State::Retired);
            faults.compare(format_args!("mentions of segment {id} among the retired"), expected, mentions);
        }
        listed.retain(|unit, mentions| {
            let gone = matches!(unit, Unit::Large(id) if self.larges.get(*id as usize).is_none_or(Large::is_published));
            gone || *mentions != 1
        });
        faults.unless(listed.is_empty(), || format!("retired large items are listed amiss: {listed:?}"));
    }

    /// Free segments are listed once, and free extents fill what large items leave.
    fn check_free(&self, space: &Space, faults: &mut Faults) {
        let mut listed: Vec<u32> = self.free_warm.iter().chain(&self.free_cold).copied().collect();
        listed.sort_unstable();
        let free: Vec<u32> = (1..)
            .zip(&self.segments[1..])
            .filter(|(_, s)| s.state == State::Free)
            .map(|(id, _)| id)
            .collect();
        faults.compare("free segments", listed, free);
        let used = self.larges.iter().map(|(_, large)| (large.offset, large.bytes));
        self.extents.check(used, space.large_base()..space.large_base() + space.large_bytes(), faults);
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

    /// Sends and receives by unit add up to those of the store; only while no other thread changes them.
    fn check_held(&self, space: &Space, faults: &mut Faults) {
        let segments = (1..self.segments.len() as u32).map(|id| {
            let counts = space.counts(id).read();
            (counts, self.segments[id as usize].state == State::Free, Unit::Segment(id))
        });
        let larges = self
            .larges
            .iter()
            .map(|(id, large)| (space.extent_counts(large.offset).read(), false, Unit::Large(id as u32)));
        let mut sum = (0, 0);
        for ((pins, drafts), is_free, unit) in segments.chain(larges) {
            sum = (sum.0 + pins, sum.1 + drafts);
            faults.unless(!is_free || pins + drafts == 0, || format!("{unit:?} is free and held"));
        }
        faults.compare("values being sent and received", space.held_counts(), sum);
        for (id, large) in &self.larges {
            let is_waited_for = self.retired.iter().any(|&(unit, _)| unit == Unit::Large(id as u32))
                || self.held.contains(&Unit::Large(id as u32));
            let is_drafted = space.extent_counts(large.offset).is_drafted();
            faults.unless(large.is_published() || is_waited_for || is_drafted, || {
                format!("large {id} is lost: {large:?}")
            });
        }
    }
}

impl Ledger {
    /// The sweep comes to every item that expires, and takes none for dead that is alive.
    fn check_schedule(&self, recount: &Recount, faults: &mut Faults) {
        for &(unit, offset, at) in &recount.expiries {
            let time = self.schedule.time_of(unit);
            let mut is_found = time.is_some_and(|time| time <= at);
            if let Unit::Segment(id) = unit {
                let segment = &self.segments[id as usize];
                let is_ahead = self.sweep.is_ahead(id, segment.epoch, offset);
                // The evictor drops what has expired in its victim.
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
    use crate::clock::Secs;
    use crate::store::item_ref::{Hash, ItemRef};
    use crate::store::log::Delta;
    use crate::store::tests::{Checked, NOW, alone, options, set, set_at};

    /// Spoils the books.
    type Plant = fn(&mut Ledger);

    fn filled() -> Checked {
        let mut shard = alone(options(8 << 20, 1));
        set(&mut shard, "large", &vec![b'l'; 100_000]).unwrap();
        for n in 0..30_000 {
            set(&mut shard, &format!("key-{n}"), b"value").unwrap();
        }
        set_at(&mut shard, NOW, "expires", b"value", Secs(9)).unwrap();
        assert_eq!(shard.check(NOW), Ok(()));
        shard
    }

    fn assert_found(mut shard: Checked, name: &str) {
        let faults = shard.check(NOW).expect_err(name);
        assert!(faults.contains(name), "{name}: {faults}");
        shard.is_spoiled = true;
    }

    /// One error planted in each of the books: the recount must name it.
    #[test]
    #[cfg_attr(miri, ignore = "takes hours")]
    fn every_planted_error_is_found() {
        let planted: [(&str, Plant); 23] = [
            ("live bytes of segment 1", |ledger| ledger.segments[1].live += 4),
            ("bytes used of segment 1", |ledger| ledger.segments[1].used -= 4),
            ("segments in the reclaim list", |ledger| ledger.segments[1].listing = Listing::misplaced()),
            ("segment 1 stands rightly in the reclaim list", |ledger| ledger.segments[1].live = 0),
            ("segment 2 is open", |ledger| ledger.segments[2].state = State::Open),
            ("segments in use", |ledger| ledger.segments_in_use += 1),
            ("live bytes:", |ledger| ledger.live_bytes -= 1),
            ("bytes of tails", |ledger| ledger.tail_bytes += 1),
            ("retired segments", |ledger| ledger.retired_segments += 1),
            ("bytes are reserved", |ledger| ledger.reserved_bytes += 1),
            ("the victim", |ledger| ledger.segments[2].state = State::Victim),
            ("bytes of large items", |ledger| ledger.large_bytes += 1),
            ("large 0 is lost", |ledger| ledger.larges[0].queue = None),
            ("queues of Segment(2)", |ledger| ledger.queues[0].push_back((Unit::Segment(2), 0))),
            ("bytes of queues", |ledger| ledger.queue_bytes[1] += 1),
            ("bytes pending", |ledger| ledger.pending_bytes += 1),
            ("bytes held", |ledger| ledger.held_bytes += 1),
            ("free segments", |ledger| ledger.free_cold.push(3)),
            ("an extent of", |ledger| ledger.larges[0].offset += 4096),
            ("items, bytes of class 1", |ledger| ledger.class_totals[1].items += 1),
            ("items, bytes:", |ledger| ledger.totals.bytes += 1),
            ("is scheduled for None", |ledger| ledger.schedule.pop()),
            ("expired at Secs(9) and is there", |ledger| {
                ledger.segments.iter_mut().for_each(|segment| segment.removed_by = Secs(9));
            }),
        ];
        for (name, plant) in planted {
            let shard = filled();
            plant(&mut shard.store().ledger.lock());
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
