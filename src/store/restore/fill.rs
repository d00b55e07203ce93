//! Builds an index from the items of all segments of a memory file, by several threads. In each round, a thread first walks
//! segments of its own and collects their items. Then it inserts all collected items that belong to its own range of tables. So
//! threads never write to the same place.

use super::survey::Survey;
use super::walk::{Tally, Walker};
use crate::clock::Stopwatch;
use crate::store::Host;
use crate::store::flash::Live;
use crate::store::geometry::PAGE_BYTES;
use crate::store::index::{Entrant, Index, Tables};
use crate::store::item::Head;
use crate::store::item_ref::ItemRef;
use crate::store::memory_file::{Headers, SegmentHeader, Slot};
use crate::store::segment_table::{RestoredLarge, RestoredSegment, RestoredUnits};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// About how many items all threads together collect in one round. Each takes 16 bytes until it is inserted.
const ROUND_ITEMS: usize = 1 << 20;
/// The least time between two calls of [`Host::restoring`].
const PROGRESS: Duration = Duration::from_secs(1);

/// The units that are in use in the memory file, and sums over their live items.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The segments in use, in the order of their numbers.
    segments: Vec<(u32, SegmentHeader, Tally)>,
    /// The live large items.
    larges: Vec<(u32, Slot, ItemRef, Tally)>,
    /// For each size class ([`classes`](crate::classes)): the number of items, and their bytes.
    classes: Vec<(u64, u64)>,
    /// The numbers of the slots of the extent table whose items are dead.
    dead_slots: Vec<u32>,
    /// Sums over the live values on flash.
    live: Live,
}

/// The items that one thread has collected, and sums over them.
struct Worker {
    /// Items to insert, by the range of tables that they belong to.
    out: Vec<Vec<Entrant>>,
    /// For each segment that the thread has walked in this round: its index in the survey, and the sums over its live items.
    tallies: Vec<(usize, Tally)>,
    /// For each size class ([`classes`](crate::classes)): the number of items, and their bytes.
    classes: Vec<(u64, u64)>,
    /// Number of items collected in this round.
    items: usize,
    live: Live,
    fault: Option<String>,
}

impl Worker {
    fn new(parts: usize, classes: usize) -> Self {
        let out = (0..parts).map(|_| Vec::new()).collect();
        Self {
            out,
            tallies: Vec::new(),
            classes: vec![(0, 0); classes],
            items: 0,
            live: Live::default(),
            fault: None,
        }
    }

    /// Collects a live item, for the range of tables that its hash belongs to, and counts it.
    fn enter(&mut self, walker: &Walker<'_>, entrant: Entrant, head: &Head<'_>, tables: usize) {
        let (class, bytes) = walker.class_of(head);
        self.classes[class].0 += 1;
        self.classes[class].1 += bytes;
        if let Some(place) = head.place {
            self.live.add(place, head.key.len());
        }
        let part = Index::part_of(entrant.hash, self.out.len(), tables);
        self.out[part].push(entrant);
        self.items += 1;
    }

    /// Walks segments until at least `items_max` items are collected for this round, or there are no more segments. `next` is
    /// the index of the first segment that no thread has taken yet.
    fn walk(
        &mut self,
        walker: &Walker<'_>,
        segments: &[(u32, SegmentHeader)],
        next: &AtomicUsize,
        tables: usize,
        items_max: usize,
    ) {
        while self.items < items_max {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some((id, header)) = segments.get(at) else { return };
            let tally =
                walker.segment(*id, header.used, |entrant, head| self.enter(walker, entrant, head, tables));
            match tally {
                Ok(tally) => self.tallies.push((at, tally)),
                Err(fault) => {
                    self.fault = Some(fault);
                    return;
                }
            }
        }
    }
}

/// Fills `index` with all live items of the units in `survey`, and returns those units with their sums. An error says what in
/// the file is damaged.
pub(super) fn fill(
    walker: &Walker<'_>,
    survey: Survey,
    index: &mut Index,
    threads: usize,
    host: &dyn Host,
) -> Result<Found, String> {
    let tables = index.tables();
    let classes = walker.classes.chunk_bytes().len() + 1;
    let mut workers: Vec<Worker> = (0..threads).map(|_| Worker::new(threads, classes)).collect();
    let mut found = Found { classes: vec![(0, 0); classes], ..Found::default() };
    found.take_larges(walker, survey.slots, &mut workers[0], tables)?;
    let segments = survey.segments;
    let total: u64 = segments.iter().map(|(_, header)| u64::from(header.used)).sum();
    let mut tallies = vec![Tally::default(); segments.len()];
    let next = AtomicUsize::new(0);
    let (mut done, mut entered) = (0, 0);
    let mut losers = Vec::new();
    let mut since = Stopwatch::start();
    loop {
        thread::scope(|scope| {
            for worker in &mut workers {
                scope.spawn(|| worker.walk(walker, &segments, &next, tables, ROUND_ITEMS / threads));
            }
        });
        for worker in &mut workers {
            if let Some(fault) = worker.fault.take() {
                return Err(fault);
            }
            for (at, tally) in worker.tallies.drain(..) {
                tallies[at] = tally;
                done += u64::from(segments[at].1.used);
            }
        }
        let is_first = entered == 0;
        let items: usize = workers.iter_mut().map(|worker| std::mem::take(&mut worker.items)).sum();
        entered += items;
        let expected =
            if done == 0 { items } else { (items as u128 * u128::from(total) / u128::from(done)) as usize };
        enter(walker, index, &mut workers, is_first.then_some(expected), &mut losers);
        if next.load(Ordering::Relaxed) >= segments.len() {
            break;
        }
        if since.elapsed() >= PROGRESS {
            host.restoring(done, total);
            since = Stopwatch::start();
        }
    }
    for worker in &workers {
        for (sum, part) in found.classes.iter_mut().zip(&worker.classes) {
            *sum = (sum.0 + part.0, sum.1 + part.1);
        }
        found.live.append(&worker.live);
    }
    found.segments =
        segments.into_iter().zip(tallies).map(|((id, header), tally)| (id, header, tally)).collect();
    for loser in losers {
        found.lose(walker, loser);
    }
    shrink(walker, index, threads);
    index.recount();
    Ok(found)
}

/// Inserts the items that the workers have collected in this round. In the first round, first makes room for the `expected`
/// items of all rounds; in later rounds that is `None`. Of two items with the same key, the older one is added to `losers`.
fn enter(
    walker: &Walker<'_>,
    index: &mut Index,
    workers: &mut [Worker],
    expected: Option<usize>,
    losers: &mut Vec<ItemRef>,
) {
    let parts = workers.len();
    let mut sources: Vec<Vec<&mut Vec<Entrant>>> = (0..parts).map(|_| Vec::new()).collect();
    for worker in workers {
        for (source, out) in sources.iter_mut().zip(&mut worker.out) {
            source.push(out);
        }
    }
    let lost = thread::scope(|scope| {
        let threads: Vec<_> = index
            .parts(parts)
            .into_iter()
            .zip(sources)
            .map(|(tables, source)| scope.spawn(move || enter_part(walker, tables, source, expected)))
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("entering does not panic")).collect::<Vec<_>>()
    });
    losers.extend(lost.into_iter().flatten());
}

fn enter_part(
    walker: &Walker<'_>,
    mut tables: Tables<'_>,
    source: Vec<&mut Vec<Entrant>>,
    expected: Option<usize>,
) -> Vec<ItemRef> {
    if let Some(expected) = expected {
        tables.reserve(expected, walker);
    }
    let mut losers = Vec::new();
    for entrants in source {
        // Table by table, so that a table stays in the cache while it is filled.
        entrants.sort_unstable_by_key(|entrant| entrant.hash.table_bits());
        losers.extend(entrants.drain(..).filter_map(|entrant| tables.insert(entrant, walker)));
    }
    losers
}

/// Shrinks tables for which too much room was made.
fn shrink(walker: &Walker<'_>, index: &mut Index, threads: usize) {
    thread::scope(|scope| {
        for mut tables in index.parts(threads) {
            scope.spawn(move || tables.shrink(walker));
        }
    });
}

/// Copies all entries of `from` to `to`, which is empty.
pub(super) fn copy(from: &mut Index, to: &mut Index, threads: usize) {
    thread::scope(|scope| {
        for (mut from, mut to) in from.parts(threads).into_iter().zip(to.parts(threads)) {
            scope.spawn(move || to.copy(&mut from));
        }
    });
    to.recount();
}

impl Found {
    /// Collects the live large items. An error says what in the file is damaged.
    fn take_larges(
        &mut self,
        walker: &Walker<'_>,
        slots: Vec<(u32, Slot)>,
        worker: &mut Worker,
        tables: usize,
    ) -> Result<(), String> {
        for (id, slot) in slots {
            match walker.large(id, &slot)? {
                Some((entrant, head)) => {
                    let tally = Tally { live: 0, earliest: head.exptime };
                    self.larges.push((id, slot, entrant.item, tally));
                    worker.enter(walker, entrant, &head, tables);
                }
                None => self.dead_slots.push(id),
            }
        }
        Ok(())
    }

    /// Marks `item` dead and counts it out, because a newer item with the same key is kept: the process was killed after it had
    /// marked the new version alive, and before it marked the old one dead.
    fn lose(&mut self, walker: &Walker<'_>, item: ItemRef) {
        let head = walker.found(item);
        let (class, bytes) = walker.class_of(&head);
        self.classes[class].0 -= 1;
        self.classes[class].1 -= bytes;
        if let Some(place) = head.place {
            self.live.remove(place, head.key.len());
        }
        if item.offset(walker.arena.unit_shift()) < walker.arena.large_base() {
            let id = walker.arena.segment_of(item);
            let at = self.segments.partition_point(|segment| segment.0 < id);
            self.segments[at].2.live -= walker.padded_bytes(&head);
        } else {
            self.larges.retain(|large| {
                if large.2 == item {
                    self.dead_slots.push(large.0);
                }
                large.2 != item
            });
        }
        walker.bury(item);
    }

    /// Records in the memory file that units without live items are free, and removes such segments from `segments`.
    pub(super) fn free_dead(&mut self, headers: &Headers) {
        self.segments.retain(|(id, _, tally)| {
            if tally.live == 0 {
                headers.free_segment(*id);
            }
            tally.live > 0
        });
        self.dead_slots.drain(..).for_each(|id| headers.free_slot(id));
    }

    /// Takes out the sums over the live values in each chunk on flash.
    pub(super) fn take_live(&mut self) -> Live {
        std::mem::take(&mut self.live)
    }

    /// The units and sums that the segment table is filled with.
    pub(super) fn into_units(self) -> RestoredUnits {
        let segment = |(id, header, tally): (u32, SegmentHeader, Tally)| RestoredSegment {
            id,
            queue: header.queue,
            sequence: header.sequence,
            used: header.used,
            live: tally.live as u32,
            opened: header.opened,
            earliest: tally.earliest,
        };
        let large = |(id, slot, _, tally): (u32, Slot, ItemRef, Tally)| RestoredLarge {
            id,
            queue: slot.queue,
            sequence: slot.sequence,
            offset: slot.offset,
            bytes: u64::from(slot.pages) * PAGE_BYTES,
            exptime: tally.earliest,
        };
        RestoredUnits {
            segments: self.segments.into_iter().map(segment).collect(),
            larges: self.larges.into_iter().map(large).collect(),
            classes: self.classes,
        }
    }
}
