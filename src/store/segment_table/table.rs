//! [`SegmentTable`]: the struct that the writer lock guards, and the questions asked of it most.
//!
//! This file has the struct and its sums. Each kind of change has a file of its own beside this one, and keeps the sums right;
//! `check` recounts them all. Everything here is read and changed under the writer lock.

use super::lazy_fifo::LazyFifo;
use super::need::Promise;
use super::reclaim::ReclaimList;
use super::schedule::Schedule;
use super::sum::Sum;
use super::sweeper::Sweep;
use super::unit::{EvictionUnit, FIFOS, Large, QUEUES, Segment};
use super::victim::{Transfer, Victim};
use crate::classes::{Classes, item_bytes};
use crate::clock::Timestamp;
use crate::store::arena::{Arena, Placement};
use crate::store::flash::ChunkTable;
use crate::store::ghost::Ghost;
use crate::store::item::{Item, Layout};
use crate::store::item_ref::ItemRef;
use crate::store::large::Extents;
use crate::store::memory_file::Ledger;
use crate::store::pace::Credit;
use crate::store::totals::{ClassTotals, Totals};
use crate::store::written::WrittenKeys;
use slab::Slab;
use std::collections::VecDeque;

/// All state that the writer lock guards.
#[derive(Debug)]
pub(in crate::store) struct SegmentTable {
    /// The limit of the budget, bytes: `-m` or what `cache_memlimit` has set, less if the memory file's file system has no room
    /// for it.
    pub(in crate::store) limit: u64,
    /// True if items are evicted to make room; false with -M, where a write without room is refused.
    pub(super) evicts: bool,
    /// Bytes in use above a lowered limit that are tolerated until they have been freed. Shrinks towards 0.
    pub(super) over_limit_bytes: u64,
    /// Bytes that eviction keeps free beyond what writers need next, because writers have had to wait for other rings.
    pub(super) slack: u64,
    /// Bytes of all indexes, as of the beginning of the transaction that holds the lock.
    pub(in crate::store) index_bytes: u64,
    /// All segments used so far, by number. Number 0 is never used. Segments with numbers above the last one here are free and
    /// have no memory.
    pub(in crate::store) segments: Vec<Segment>,
    /// Number of segments that are not free.
    pub(super) segments_in_use: Sum,
    /// Number of segments that are retired, a part of those in use.
    pub(super) retired_segments: Sum,
    /// Bytes of the live items in segments, each padded to whole units.
    pub(super) live_bytes: Sum,
    /// Unused bytes at the ends of sealed segments, after their last items.
    pub(super) tail_bytes: Sum,
    /// Bytes of the items in segments whose values are still being received.
    pub(super) reserved_bytes: Sum,
    /// The numbers of the free segments that still have memory.
    pub(super) free_warm: Vec<u32>,
    /// The numbers of the free segments that have no memory.
    pub(super) free_cold: Vec<u32>,
    /// The number of each queue's open segment, by [`Queue`](super::unit::Queue); `None` if no segment of the queue is open.
    pub(in crate::store) open: [Option<u32>; QUEUES],
    /// All large items by number, including those that are being received and those that are retired.
    pub(in crate::store) large_items: Slab<Large>,
    /// Bytes of the extents of all `large_items`.
    pub(super) large_bytes: Sum,
    /// The epoch of the newest large item. The next large item gets this plus 1, wrapping.
    pub(super) epochs: u32,
    /// The second in which the transaction that holds the lock began.
    pub(in crate::store) now: Timestamp,
    /// The free extents.
    pub(super) extents: Extents,
    /// The eviction FIFOs, indexed by [`Fifo`](super::unit::Fifo).
    pub(super) fifos: [LazyFifo; FIFOS],
    /// Bytes of the units in each queue: whole segments, and the extents of large items.
    pub(super) queue_bytes: [Sum; QUEUES],
    /// Number of large items in the small queue.
    pub(super) small_larges: Sum,
    /// Bytes of the extents of the large items in the small queue.
    pub(super) small_large_bytes: Sum,
    pub(super) reclaim_list: ReclaimList,
    /// For each FIFO: how many entries the present search for a victim has passed over because evicting their units would gain
    /// nothing.
    pub(super) passed: [usize; FIFOS],
    /// Retired units that a ring may still reach, each with the log's tail at its retirement. The unit that was retired first
    /// comes first.
    pub(super) retired: VecDeque<(EvictionUnit, u64)>,
    /// The log position up to which there is room for deltas, judging by what all replicas had applied when their positions were
    /// last read. They are read again only when more room is needed.
    pub(in crate::store) log_end: u64,
    /// The log position up to which no ring can reach retired units any more, judging by the positions of rings when they were
    /// last read.
    pub(super) let_go: u64,
    /// Retired units that no ring can reach any more, but whose memory a send or receive still uses.
    pub(super) held: VecDeque<EvictionUnit>,
    /// Bytes of the units in `retired` and in `held`.
    pub(super) pending_bytes: Sum,
    /// Bytes of the units in `held`.
    pub(super) held_bytes: Sum,
    pub(in crate::store) ghost: Ghost,
    /// The segment that the evictor is emptying, if there is one.
    pub(in crate::store) victim: Option<Victim>,
    /// How many segments in a row the evictor has begun to empty, or put back into their queue, without gaining a byte, because
    /// items too short for flash stay in memory: see `evict/short`.
    pub(in crate::store) fruitless: usize,
    /// The value that is being copied to flash, if there is one.
    pub(in crate::store) transfer: Option<Transfer>,
    pub(in crate::store) schedule: Schedule,
    pub(in crate::store) sweep: Sweep,
    pub(in crate::store) credit: Credit,
    pub(super) promise: Option<Promise>,
    /// The keys that clients have written since a copy (`--copy-from`) began; `None` if no copy runs.
    pub(in crate::store) written: Option<WrittenKeys>,
    /// The chunks of the flash tier, if there is one.
    pub(in crate::store) flash: Option<ChunkTable>,
    /// The last CAS unique that was handed out.
    pub(super) cas: u64,
    pub(super) classes: Classes,
    pub(in crate::store) class_totals: Vec<ClassTotals>,
    pub(in crate::store) totals: Totals,
    pub(super) unit_shift: u32,
    pub(super) segment_bytes: u64,
    /// One more than the highest number of a segment for which there is address space.
    pub(super) segment_ids: u64,
    /// Records changes in the memory file; does nothing if there is none.
    pub(in crate::store) ledger: Ledger,
    /// Up to and including this second no new memory is asked for, because the memory file's file system had no room. NEVER if
    /// it has never lacked room.
    pub(super) starved_until: Timestamp,
}

impl SegmentTable {
    /// The table of a store without items.
    pub(in crate::store) fn new(arena: &Arena, limit: u64, evicts: bool, classes: Classes) -> Self {
        let count = classes.chunk_bytes().len() + 1;
        Self {
            limit,
            evicts,
            over_limit_bytes: 0,
            slack: 0,
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
            fifos: Default::default(),
            queue_bytes: Default::default(),
            small_larges: Sum::default(),
            small_large_bytes: Sum::default(),
            reclaim_list: ReclaimList::new(evicts),
            passed: [0; FIFOS],
            retired: VecDeque::new(),
            log_end: 0,
            let_go: 0,
            held: VecDeque::new(),
            pending_bytes: Sum::default(),
            held_bytes: Sum::default(),
            ghost: Ghost::new(limit),
            victim: None,
            fruitless: 0,
            transfer: None,
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

    /// Hands out the next CAS unique. The first is 2, as in memcached.
    pub(in crate::store) fn next_cas(&mut self) -> u64 {
        self.cas += 1;
        self.cas
    }

    /// The last CAS unique that was handed out; 1 if none was.
    pub(in crate::store) fn last_cas(&self) -> u64 {
        self.cas
    }

    /// Bytes that an item of `layout` takes in a segment: its length, padded to whole units.
    pub(in crate::store) fn padded_bytes(&self, layout: Layout) -> u64 {
        layout.bytes().next_multiple_of(1 << self.unit_shift) as u64
    }

    /// True if an item of `bytes` is to be large: it is longer than an eighth of a segment and, without -M, cheaper in an
    /// extent. With -M the length alone decides: compaction must gain room whatever the mix of sizes, and the tails that it
    /// leaves are up to as long as the longest item.
    #[inline]
    pub(in crate::store) fn is_large(&self, arena: &Arena, bytes: u64) -> bool {
        bytes > arena.never_large_bytes() && !(self.evicts && arena.packs_well(bytes))
    }

    /// Bytes that an item of `layout` takes: its padded length in a segment, or the length of its extent if it is large.
    pub(in crate::store) fn cost(&self, arena: &Arena, layout: Layout) -> u64 {
        let bytes = self.padded_bytes(layout);
        if self.is_large(arena, bytes) { arena.extent_bytes(bytes) } else { bytes }
    }

    /// Bytes that removing an item makes free for others: its padded length in a segment, or the whole extent of a large item.
    pub(in crate::store) fn freed_bytes(&self, arena: &Arena, item_ref: ItemRef, item: &Item<'_>) -> u64 {
        match self.placement(arena, item_ref) {
            Placement::Segment(_) => self.padded_bytes(item.layout()),
            Placement::Large(id) => self.large_items[id as usize].bytes,
        }
    }

    /// Counts the bytes of a reserved item in a segment: adds them when its reservation begins (`is_begun`), and subtracts them
    /// when it ends. Large items are not counted.
    pub(in crate::store) fn reserve(
        &mut self,
        arena: &Arena,
        item_ref: ItemRef,
        layout: Layout,
        is_begun: bool,
    ) {
        if let Placement::Segment(_) = self.placement(arena, item_ref) {
            let bytes = self.padded_bytes(layout);
            if is_begun {
                self.reserved_bytes += bytes;
            } else {
                self.reserved_bytes -= bytes;
            }
        }
    }

    /// The item ref of large item `id`.
    pub(in crate::store) fn large_ref(&self, arena: &Arena, id: u32) -> ItemRef {
        ItemRef::new(self.large_items[id as usize].offset + arena.extent_head_bytes(), self.unit_shift)
    }

    /// The segment or extent that the item at `item_ref` lies in.
    #[inline]
    pub(in crate::store) fn placement(&self, arena: &Arena, item_ref: ItemRef) -> Placement {
        let placement = arena.placement(item_ref);
        if let Placement::Large(id) = placement {
            assert_eq!(self.large_ref(arena, id), item_ref, "an extent's head names the item behind it");
        }
        placement
    }

    /// True if an item of `bytes` is used enough for its size to be kept: hits > 0 and hits² × 1.5 × mean size ≥ its size.
    pub(in crate::store) fn is_worth_its_size(&self, bytes: u64, hits: u8) -> bool {
        let weight = u64::from(hits) * u64::from(hits) * 3;
        hits > 0
            && u128::from(weight) * u128::from(self.totals.bytes)
                >= u128::from(bytes) * 2 * u128::from(self.totals.curr_items)
    }

    /// The number of an item's size class, and the item's bytes as memcached counts them.
    pub(in crate::store) fn class_of(&self, item: &Item<'_>) -> (usize, u64) {
        let layout = item.layout();
        let bytes = item_bytes(layout.key_bytes, item.flags(), layout.value_bytes);
        (usize::from(self.classes.of(bytes)), bytes)
    }

    /// Counts a write that was refused for lack of memory; `bytes` is the item's size as memcached counts it.
    pub(in crate::store) fn count_no_room(&mut self, bytes: u64) {
        self.totals.no_room += 1;
        let class = usize::from(self.classes.of(bytes));
        self.class_totals[class].outofmemory += 1;
    }
}
