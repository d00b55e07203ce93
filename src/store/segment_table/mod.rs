//! What the writer lock guards: which memory is used for what, and the budget that all of it comes out of.
//!
//! ```text
//!             open ──────► Open ──seal──► Sealed ──victim──► Victim ──retire──► Retired ──collect──► Free
//!              ▲                            └──────────── retire (last live item died) ──▲             │
//!              └───────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Segments stand in one of three FIFO queues (small, main, stubs; see `evict`); a large item is a unit of its own in the same
//! queues. There is one open segment per queue, whatever the number of rings: space in it is claimed under the lock.
//!
//! # When memory is reused
//! A unit is retired at log place p once no replica that has applied everything before p has an entry for any of its
//! items. It is collected when every replica has applied that, no ring holds a reference from before (see `log`,
//! "Positions"), and its pin and reservation counts are 0 (no send reads it, no receive writes it). A transaction moves its ring's position
//! at its end, so memory retired in a transaction is never reused in that transaction.
//!
//! # The budget
//! `limit` ≥ segments in use + extents in use + every ring's index + ghosts. Memory behind free segments and extents is
//! kept for the next use only while it fits as well. What a lowered limit leaves over (`over_limit_bytes`) is given up little by
//! little, so that no write has to evict it all.

mod budget;
mod check;
mod extents;
mod growth;
mod lazy_fifo;
mod promise;
mod queues;
mod reclaim;
mod record;
mod restore;
mod retire;
mod schedule;
mod sum;
mod sweeper;
mod victim;

pub(super) use check::Recount;
use queues::LINES;
pub(super) use queues::{Line, Popped};
pub(super) use restore::{Books, RestoredLarge, RestoredSegment};
pub(super) use sweeper::Walk;
pub(super) use victim::{Victim, VictimMode};

use super::arena::{Arena, Placement};
use super::flash::Books as FlashBooks;
use super::ghost::Ghost;
use super::item::{Item, Layout};
use super::item_ref::ItemRef;
use super::large::Extents;
use super::memory_file::Ledger;
use super::pace::Credit;
use super::written::WrittenKeys;
use super::{ClassTotals, Totals};
use crate::classes::{Classes, item_bytes};
use crate::clock::Timestamp;
use lazy_fifo::LazyFifo;
use reclaim::{Listing, ReclaimList};
use schedule::Schedule;
use slab::Slab;
use std::collections::VecDeque;
use sum::Sum;
use sweeper::Sweep;

/// Bytes of free memory discarded under the lock at a time.
const SHED_BYTES: u64 = 1 << 20;

/// The two queues of S3-FIFO, and one for what is on flash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queue {
    /// Items on probation.
    Small,
    /// Items that were used, or came back.
    Main,
    /// Stubs of values on flash, which are never large.
    Stubs,
}

/// Number of them.
pub(super) const QUEUES: usize = 3;

/// Where a segment is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Free,
    Open,
    Sealed,
    Victim,
    Retired,
}

/// One segment's books.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) state: State,
    pub(super) queue: Queue,
    /// Bytes handed out.
    pub(super) used: u32,
    /// Bytes of items that the index names.
    pub(super) live: u32,
    /// When it was opened.
    opened: Timestamp,
    /// What in it expired by then has been removed, or will be by the walk that is under way: see `sweep`.
    pub(super) removed_by: Timestamp,
    /// Number of retirements, so that an old entry in a queue is recognised.
    pub(super) epoch: u32,
    /// Where it stands in `reclaim_list`.
    listing: Listing,
}

/// One large item's books.
#[derive(Clone, Debug)]
pub(super) struct Large {
    pub(super) offset: u64,
    pub(super) bytes: u64,
    queue: Option<Queue>,
    epoch: u32,
}

/// A member of a queue, or of the list of the retired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum EvictionUnit {
    Segment(u32),
    Large(u32),
}

/// What an allocation lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// A free segment.
    Segment,
    /// An extent of `bytes`, for a value whose old version gives `frees` back (counted with -M only).
    Extent { bytes: u64, frees: u64 },
    /// With -M: that less is in the store; see `growth`.
    Deletions,
}

/// Who asks for memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A client's item: leaves half a segment's worth for the evictor. Its old version gives `frees` bytes back.
    Write { frees: u64 },
    /// The same for an item that shares memory with no other, whatever its size.
    WriteApart { frees: u64 },
    /// The evictor's copy of a survivor.
    Copy,
}

/// The books.
#[derive(Debug)]
pub(super) struct SegmentTable {
    pub(super) limit: u64,
    /// Without -M.
    evicts: bool,
    /// Bytes above the limit that are tolerated, ever less, since it was lowered.
    over_limit_bytes: u64,
    /// Bytes of the rings' indexes, as last seen.
    pub(super) index_bytes: u64,
    pub(super) segments: Vec<Segment>,
    segments_in_use: Sum,
    /// Those of them that are retired.
    retired_segments: Sum,
    /// Bytes of live items in segments.
    live_bytes: Sum,
    /// Bytes behind the last items of sealed segments.
    tail_bytes: Sum,
    /// Bytes of segments that values are being received into.
    reserved_bytes: Sum,
    free_warm: Vec<u32>,
    free_cold: Vec<u32>,
    open: [Option<u32>; QUEUES],
    pub(super) large_items: Slab<Large>,
    large_bytes: Sum,
    epochs: u32,
    /// Time of the transaction.
    pub(super) now: Timestamp,
    extents: Extents,
    /// By [`Line`].
    queues: [LazyFifo; LINES],
    queue_bytes: [Sum; QUEUES],
    /// The large items in small: how many, and their bytes.
    small_larges: Sum,
    small_large_bytes: Sum,
    reclaim_list: ReclaimList,
    /// Entries of each queue that the present search for a victim has passed over.
    passed: [usize; LINES],
    retired: VecDeque<(EvictionUnit, u64)>,
    /// Known of the positions, which are asked again only when this is not enough: the log has room up to the one place, and
    /// nobody holds what was retired up to the other.
    pub(super) log_end: u64,
    let_go: u64,
    held: VecDeque<EvictionUnit>,
    /// Bytes of `retired` and of `held`.
    pending_bytes: Sum,
    held_bytes: Sum,
    pub(super) ghost: Ghost,
    pub(super) victim: Option<Victim>,
    pub(super) schedule: Schedule,
    pub(super) sweep: Sweep,
    pub(super) credit: Credit,
    promise: Option<promise::Promise>,
    /// While a copy runs.
    pub(super) written: Option<WrittenKeys>,
    /// Of the flash tier, if there is one.
    pub(super) flash: Option<FlashBooks>,
    cas: u64,
    classes: Classes,
    pub(super) class_totals: Vec<ClassTotals>,
    pub(super) totals: Totals,
    unit_shift: u32,
    segment_bytes: u64,
    /// One more than the last segment there is address space for.
    segment_ids: u64,
    /// What the memory file is told.
    pub(super) ledger: Ledger,
    /// The file system has no room, and the limit is as low as it goes: until then nothing is claimed.
    starved_until: Timestamp,
}

impl SegmentTable {
    pub(super) fn new(arena: &Arena, limit: u64, evicts: bool, classes: Classes) -> Self {
        let count = classes.chunk_bytes().len() + 1;
        Self {
            limit,
            evicts,
            over_limit_bytes: 0,
            index_bytes: 0,
            segments: vec![Segment::free()],
            segments_in_use: Sum::default(),
            retired_segments: Sum::default(),
            live_bytes: Sum::default(),
            tail_bytes: Sum::default(),
            reserved_bytes: Sum::default(),
            free_warm: Vec::new(),
            free_cold: Vec::new(),
            open: [None; QUEUES],
            large_items: Slab::new(),
            large_bytes: Sum::default(),
            epochs: 0,
            now: Timestamp(0),
            extents: Extents::new(arena.large_base(), arena.large_bytes()),
            queues: Default::default(),
            queue_bytes: Default::default(),
            small_larges: Sum::default(),
            small_large_bytes: Sum::default(),
            reclaim_list: ReclaimList::new(evicts),
            passed: [0; LINES],
            retired: VecDeque::new(),
            log_end: 0,
            let_go: 0,
            held: VecDeque::new(),
            pending_bytes: Sum::default(),
            held_bytes: Sum::default(),
            ghost: Ghost::new(limit),
            victim: None,
            schedule: Schedule::default(),
            sweep: Sweep::default(),
            credit: Credit::new(limit),
            promise: None,
            written: None,
            flash: None,
            cas: 1,
            class_totals: vec![ClassTotals::default(); count],
            classes,
            totals: Totals::default(),
            unit_shift: arena.unit_shift(),
            segment_bytes: arena.segment_bytes(),
            segment_ids: arena.segment_ids(),
            ledger: Ledger::default(),
            starved_until: Timestamp::NEVER,
        }
    }

    /// The next CAS unique; the first is 2, as memcached's.
    pub(super) fn next_cas(&mut self) -> u64 {
        self.cas += 1;
        self.cas
    }

    /// The last CAS unique that has been given out.
    pub(super) fn last_cas(&self) -> u64 {
        self.cas
    }

    /// Bytes that an item takes in a segment.
    pub(super) fn padded_bytes(&self, layout: Layout) -> u64 {
        layout.bytes().next_multiple_of(1 << self.unit_shift) as u64
    }

    /// Bytes that an item of `layout` takes, in a segment or as a large item.
    pub(super) fn cost(&self, arena: &Arena, layout: Layout) -> u64 {
        let bytes = self.padded_bytes(layout);
        if bytes > arena.large_item_bytes() { arena.extent_bytes(bytes) } else { bytes }
    }

    /// Bytes that are free for other items once this one has been removed.
    pub(super) fn freed_bytes(&self, arena: &Arena, item_ref: ItemRef, item: &Item<'_>) -> u64 {
        match self.placement(arena, item_ref) {
            Placement::Segment(_) => self.padded_bytes(item.layout()),
            Placement::Large(id) => self.large_items[id as usize].bytes,
        }
    }

    /// A value of `layout` is being received into `item_ref`, or no longer is.
    pub(super) fn reserve(&mut self, arena: &Arena, item_ref: ItemRef, layout: Layout, is_begun: bool) {
        if let Placement::Segment(_) = self.placement(arena, item_ref) {
            let bytes = self.padded_bytes(layout);
            if is_begun {
                self.reserved_bytes += bytes;
            } else {
                self.reserved_bytes -= bytes;
            }
        }
    }

    /// Claims memory for an item of `layout` in `queue`.
    pub(super) fn allocate(
        &mut self,
        arena: &Arena,
        queue: Queue,
        layout: Layout,
        purpose: Purpose,
    ) -> Result<ItemRef, Need> {
        let bytes = self.padded_bytes(layout);
        if bytes > arena.large_item_bytes() || matches!(purpose, Purpose::WriteApart { .. }) {
            return self.allocate_large(arena, bytes, purpose);
        }
        if let Purpose::Write { frees } = purpose
            && !self.accepts(bytes, frees)
        {
            return Err(Need::Deletions);
        }
        let open = match self.open[queue as usize] {
            Some(id) if u64::from(self.segments[id as usize].used) + bytes <= self.segment_bytes => id,
            _ => self.open_segment(arena, queue, purpose)?,
        };
        let segment = &mut self.segments[open as usize];
        let offset = arena.segment_offset(open) + u64::from(segment.used);
        segment.used += bytes as u32;
        Ok(ItemRef::new(offset, self.unit_shift))
    }

    /// True if the next item of `queue`, a copy of this layout, finds room in a segment.
    pub(super) fn make_room(&mut self, arena: &Arena, queue: Queue, layout: Layout) -> bool {
        let bytes = self.padded_bytes(layout);
        let has_room = |id: u32| u64::from(self.segments[id as usize].used) + bytes <= self.segment_bytes;
        self.open[queue as usize].is_some_and(has_room)
            || self.open_segment(arena, queue, Purpose::Copy).is_ok()
    }

    fn open_segment(&mut self, arena: &Arena, queue: Queue, purpose: Purpose) -> Result<u32, Need> {
        self.collect(arena);
        if !self.has(Need::Segment, purpose) {
            return Err(Need::Segment);
        }
        let Some(id) = self.free_warm.pop().or_else(|| self.commit_segment(arena)) else {
            return Err(Need::Segment);
        };
        self.seal(queue, arena);
        let segment = &mut self.segments[id as usize];
        let (epoch, opened) = (segment.epoch, self.now);
        *segment = Segment { state: State::Open, queue, epoch, opened, ..Segment::free() };
        self.segments_in_use += 1;
        self.open[queue as usize] = Some(id);
        self.queues[queue as usize].push_back((EvictionUnit::Segment(id), epoch));
        self.queue_bytes[queue as usize] += self.segment_bytes;
        self.ledger.open_segment(id, queue as u8, opened);
        Ok(id)
    }

    /// A free segment without memory.
    fn new_segment(&mut self) -> Option<u32> {
        let id = self.segments.len() as u32;
        (u64::from(id) < self.segment_ids).then(|| {
            self.segments.push(Segment::free());
            id
        })
    }

    /// Closes the open segment of `queue`, if there is one.
    pub(super) fn seal(&mut self, queue: Queue, arena: &Arena) {
        let Some(id) = self.open[queue as usize] else { return };
        self.close(id);
        self.reclassify(id, arena);
    }

    /// Makes an open segment a sealed one.
    fn close(&mut self, id: u32) {
        let segment = &mut self.segments[id as usize];
        segment.state = State::Sealed;
        self.open[segment.queue as usize] = None;
        self.tail_bytes += self.segment_bytes - u64::from(segment.used);
    }

    fn allocate_large(&mut self, arena: &Arena, bytes: u64, purpose: Purpose) -> Result<ItemRef, Need> {
        let bytes = arena.extent_bytes(bytes);
        let frees = match purpose {
            Purpose::Write { frees } | Purpose::WriteApart { frees } => frees,
            Purpose::Copy => 0,
        };
        if !self.accepts(bytes, frees) {
            return Err(Need::Deletions);
        }
        self.collect(arena);
        let need = Need::Extent { bytes, frees };
        if !self.has(need, purpose) {
            return Err(need);
        }
        let Some(offset) = self.commit_extent(arena, bytes) else { return Err(need) };
        self.epochs = self.epochs.wrapping_add(1);
        let id = self.large_items.insert(Large { offset, bytes, queue: None, epoch: self.epochs }) as u32;
        self.large_bytes += bytes;
        arena.write_extent_head(offset, bytes, id);
        Ok(self.large_ref(arena, id))
    }

    /// The item of large `id`.
    pub(super) fn large_ref(&self, arena: &Arena, id: u32) -> ItemRef {
        ItemRef::new(self.large_items[id as usize].offset + arena.extent_head_bytes(), self.unit_shift)
    }

    /// What the item at `item_ref` lies in.
    #[inline]
    pub(super) fn placement(&self, arena: &Arena, item_ref: ItemRef) -> Placement {
        let placement = arena.placement(item_ref);
        if let Placement::Large(id) = placement {
            assert_eq!(self.large_ref(arena, id), item_ref, "an extent's head names the item behind it");
        }
        placement
    }

    /// An item has been published: counts it, and puts a large one into its queue.
    pub(super) fn link(&mut self, arena: &Arena, item_ref: ItemRef, item: &Item<'_>, queue: Queue) {
        let (class, bytes) = self.class_of(item);
        let placement = self.placement(arena, item_ref);
        self.note_expiry(placement, item.exptime());
        match placement {
            Placement::Segment(id) => {
                let bytes = self.padded_bytes(item.layout());
                self.live_bytes += bytes;
                let segment = &mut self.segments[id as usize];
                segment.live += bytes as u32;
                if segment.state == State::Sealed {
                    // Its value was still being received when the segment was sealed.
                    self.reclaim_list.update(id, &mut self.segments);
                }
            }
            Placement::Large(id) => self.enter_queue(id, queue),
        }
        let class = &mut self.class_totals[class];
        class.items += 1;
        class.bytes += bytes;
        self.totals.curr_items += 1;
        self.totals.bytes += bytes;
        if let Some(flash) = &mut self.flash
            && let Some(place) = item.place()
        {
            flash.link(place, item.key().len());
        }
    }

    /// Puts a large item at the end of `queue`, where it is not yet.
    pub(super) fn enqueue_large(&mut self, id: u32, queue: Queue) {
        self.ledger.requeue_slot(id, queue as u8);
        self.enter_queue(id, queue);
    }

    fn enter_queue(&mut self, id: u32, queue: Queue) {
        let large = &mut self.large_items[id as usize];
        large.queue = Some(queue);
        let entry = (EvictionUnit::Large(id), large.epoch);
        self.queues[queue as usize].push_back(entry);
        self.queue_bytes[queue as usize] += large.bytes;
        if queue == Queue::Small {
            self.small_larges += 1;
            self.small_large_bytes += large.bytes;
            self.queues[Line::SmallLarges as usize].push_back(entry);
        }
    }

    /// An item's expiry changed.
    pub(super) fn expires(&mut self, arena: &Arena, item_ref: ItemRef, exptime: Timestamp) {
        self.note_expiry(self.placement(arena, item_ref), exptime);
    }

    /// Something in `placement` expires at `at`.
    #[inline]
    fn note_expiry(&mut self, placement: Placement, at: Timestamp) {
        if at == Timestamp::NEVER {
            return;
        }
        let unit = match placement {
            Placement::Segment(id) => {
                let segment = &mut self.segments[id as usize];
                if at <= segment.removed_by {
                    segment.removed_by = Timestamp(0);
                }
                EvictionUnit::Segment(id)
            }
            Placement::Large(id) => EvictionUnit::Large(id),
        };
        self.schedule.note(unit, at);
    }

    /// The last delta of the log took an item out of the index: its bytes are dead.
    pub(super) fn unlink(&mut self, arena: &Arena, item_ref: ItemRef, item: &Item<'_>) {
        let (class, bytes) = self.class_of(item);
        let class = &mut self.class_totals[class];
        class.items -= 1;
        class.bytes -= bytes;
        self.totals.curr_items -= 1;
        self.totals.bytes -= bytes;
        if let Some(flash) = &mut self.flash
            && let Some(place) = item.place()
        {
            flash.unlink(place, item.key().len());
        }
        match self.placement(arena, item_ref) {
            Placement::Segment(id) => {
                let bytes = self.padded_bytes(item.layout());
                self.live_bytes -= bytes;
                let live = &mut self.segments[id as usize].live;
                *live = sum::less(*live, bytes as u32);
                self.reclassify(id, arena);
            }
            Placement::Large(id) => self.retire(EvictionUnit::Large(id), arena),
        }
    }

    /// hits > 0 and hits² × 1.5 × mean size ≥ size.
    pub(super) fn is_worth_its_size(&self, bytes: u64, hits: u8) -> bool {
        let weight = u64::from(hits) * u64::from(hits) * 3;
        hits > 0
            && u128::from(weight) * u128::from(self.totals.bytes)
                >= u128::from(bytes) * 2 * u128::from(self.totals.curr_items)
    }

    /// Size class and memcached's size of an item.
    pub(super) fn class_of(&self, item: &Item<'_>) -> (usize, u64) {
        let layout = item.layout();
        let bytes = item_bytes(layout.key_bytes, item.flags(), layout.value_bytes);
        (usize::from(self.classes.of(bytes)), bytes)
    }

    /// When the oldest segment was opened.
    pub(super) fn oldest(&self) -> Timestamp {
        let opened = |(unit, _): &(EvictionUnit, u32)| match unit {
            EvictionUnit::Segment(id) => Some(self.segments[*id as usize].opened),
            EvictionUnit::Large(_) => None,
        };
        self.queues.iter().filter_map(|queue| queue.iter().find_map(opened)).min().unwrap_or(self.now)
    }

    /// An item of `bytes`, as memcached counts, was refused for lack of memory.
    pub(super) fn count_no_room(&mut self, bytes: u64) {
        self.totals.no_room += 1;
        let class = usize::from(self.classes.of(bytes));
        self.class_totals[class].outofmemory += 1;
    }
}

impl Large {
    /// True if it stands in a queue: its value is complete, and it has not been retired.
    pub(super) fn is_published(&self) -> bool {
        self.queue.is_some()
    }
}

impl Segment {
    fn free() -> Self {
        Self {
            state: State::Free,
            queue: Queue::Small,
            used: 0,
            live: 0,
            opened: Timestamp(0),
            removed_by: Timestamp(0),
            epoch: 0,
            listing: Listing::default(),
        }
    }
}
