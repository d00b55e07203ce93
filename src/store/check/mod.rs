//! Checks the store's accounts, for tests, the simulation and the fuzzers: recomputes every sum from its parts, and
//! follows every reference to its target. Runs in one write transaction, so under the writer lock; changes nothing.
//!
//! 1. The segments are walked: their items end where the segment does.
//! 2. The replica is walked: each entry names an item found in 1, or a large item in a queue, whose key hashes to the
//!    entry's place, and every key has one entry.
//! 3. Live bytes, items and bytes by class follow from 2; the segment table compares them with its own, and recounts its queues,
//!    lists, extents and schedule ([`SegmentTable::check`](super::segment_table::SegmentTable)).
//! 4. The memory file, if there is one, says the same.

mod file;

use super::faults::Faults;
use super::item_ref::ItemRef;
use super::segment_table::{EvictionUnit, Recount, State};
use super::write_txn::WriteTxn;
use crate::clock::Timestamp;
use std::collections::{HashMap, HashSet};

impl WriteTxn<'_> {
    /// Recounts every sum that the store keeps, and follows every reference. The error names each difference found.
    pub(super) fn check(&self) -> Result<(), String> {
        let mut faults = Faults::default();
        let starts = self.walk_segments(&mut faults);
        let recount = self.walk_index(&starts, &mut faults);
        self.segments.check(self.arena(), &recount, &mut faults);
        self.check_index_bytes(&mut faults);
        let named = self.replica().index().entries().map(|(_, item)| item.bits()).collect();
        self.check_file(&named, &mut faults);
        faults.into_result()
    }

    /// Step 1: walks the segments in use and returns where their items begin, dead ones included, as the bits of their refs.
    fn walk_segments(&self, faults: &mut Faults) -> HashSet<u64> {
        let mut starts = HashSet::new();
        for id in 1..self.segments.segments.len() as u32 {
            let segment = &self.segments.segments[id as usize];
            if !matches!(segment.state, State::Open | State::Sealed | State::Victim) {
                continue;
            }
            let mut offset = 0;
            while offset < segment.used {
                let (item_ref, _, bytes) = self.item_in_segment(id, offset);
                starts.insert(item_ref.bits());
                offset += bytes;
            }
            faults.compare(format_args!("bytes used of segment {id}"), segment.used, offset);
            if let Some(offset) = self.victim_offset(id) {
                let item = self.arena().segment_offset(id) + u64::from(offset);
                let item = ItemRef::new(item, self.arena().unit_shift());
                faults.unless(offset == segment.used || starts.contains(&item.bits()), || {
                    format!("the victim {id} is at {offset}, where no item begins")
                });
            }
        }
        starts
    }

    fn victim_offset(&self, id: u32) -> Option<u32> {
        self.segments.victim.filter(|victim| victim.id == id).map(|victim| victim.offset)
    }

    /// Step 2: follows every entry of the index and sums up the items found; `starts` is the result of step 1.
    fn walk_index(&self, starts: &HashSet<u64>, faults: &mut Faults) -> Recount {
        let large_items: HashMap<u64, u32> =
            self.segments.large_items_in_queues().map(|id| (self.item_of_large(id).0.bits(), id)).collect();
        let mut recount = Recount {
            live: vec![0; self.segments.segments.len()],
            large_items: HashMap::new(),
            classes: vec![(0, 0); self.segments.class_totals.len()],
            expiries: Vec::new(),
            places: Vec::new(),
        };
        for (table, item_ref) in self.replica().index().entries() {
            let large = large_items.get(&item_ref.bits());
            if large.is_none() && !starts.contains(&item_ref.bits()) {
                faults.push(format_args!("table {table} names {item_ref:?}, where no item begins"));
                continue;
            }
            let item = self.item(item_ref);
            let hash = self.hash(item.key());
            let key = item.key().escape_ascii();
            faults.unless(self.replica().index().is_in(table, hash, item_ref), || {
                format!("{key} at {item_ref:?} does not belong to table {table} or to its place there")
            });
            let found = self.find(hash, item.key()).map(|(found, _)| found);
            faults.compare(format_args!("entry of {key}"), found, Some(item_ref));
            let (unit, offset) = if let Some(&id) = large {
                *recount.large_items.entry(id).or_default() += 1;
                (EvictionUnit::Large(id), 0)
            } else {
                let id = self.arena().segment_of(item_ref);
                recount.live[id as usize] += self.segments.padded_bytes(item.layout());
                let offset = item_ref.offset(self.arena().unit_shift()) - self.arena().segment_offset(id);
                (EvictionUnit::Segment(id), offset as u32)
            };
            if item.exptime() != Timestamp::NEVER {
                recount.expiries.push((unit, offset, item.exptime()));
            }
            if let Some(place) = item.place() {
                recount.places.push((place, item.key().len()));
            }
            let (class, bytes) = self.segments.class_of(&item);
            recount.classes[class].0 += 1;
            recount.classes[class].1 += bytes;
        }
        recount
    }

    fn check_index_bytes(&self, faults: &mut Faults) {
        let index = self.replica().index();
        faults.compare("bytes of the own index", index.bytes(), index.counted_bytes());
        let (kept, counted) = self.index_bytes();
        faults.compare("bytes of all indexes", kept, counted);
    }
}
