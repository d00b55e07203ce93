//! Claims memory for items: space in the open segment of a queue, a new segment, or an extent for a large item.
//!
//! Methods of [`SegmentTable`], under the writer lock. They take what is free and what the budget allows (`budget`), and evict
//! nothing: what an allocation lacks is returned as a [`Need`].

use super::need::{Need, Purpose};
use super::table::SegmentTable;
use super::unit::{EvictionUnit, Large, Queue, Segment, State};
use crate::store::arena::Arena;
use crate::store::item::Layout;
use crate::store::item_ref::ItemRef;

impl SegmentTable {
    /// Claims memory for an item of `layout`: in the open segment of `queue`, or an extent if the item is large or `purpose`
    /// asks for one. No reader can find the item until it is published. If there is no memory, the error says what is lacking.
    pub(in crate::store) fn allocate(
        &mut self,
        arena: &Arena,
        queue: Queue,
        layout: Layout,
        purpose: Purpose,
    ) -> Result<ItemRef, Need> {
        let bytes = self.padded_bytes(layout);
        if self.is_large(arena, bytes) || matches!(purpose, Purpose::WriteApart { .. }) {
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

    /// Makes sure that the open segment of `queue` has room for an item of `layout`: opens another segment if necessary. False
    /// if it may not open one even for [`Purpose::Spare`].
    pub(in crate::store) fn ensure_open_segment(
        &mut self,
        arena: &Arena,
        queue: Queue,
        layout: Layout,
    ) -> bool {
        let bytes = self.padded_bytes(layout);
        let has_room = |id: u32| u64::from(self.segments[id as usize].used) + bytes <= self.segment_bytes;
        self.open[queue as usize].is_some_and(has_room)
            || self.open_segment(arena, queue, Purpose::Spare).is_ok()
    }

    /// Opens a free segment for `queue`, seals the segment that was open, and returns the number of the new one.
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
        self.fifos[queue as usize].push_back((EvictionUnit::Segment(id), epoch));
        self.queue_bytes[queue as usize] += self.segment_bytes;
        self.ledger.open_segment(id, queue as u8, opened);
        Ok(id)
    }

    /// Adds a segment that has never been used, and has no memory, to the table and returns its number. `None` if there is no
    /// address space for another.
    pub(super) fn new_segment(&mut self) -> Option<u32> {
        let id = self.segments.len() as u32;
        (u64::from(id) < self.segment_ids).then(|| {
            self.segments.push(Segment::free());
            id
        })
    }

    /// Seals the open segment of `queue`, if there is one. Retires it if nothing in it is alive or being received.
    pub(in crate::store) fn seal(&mut self, queue: Queue, arena: &Arena) {
        let Some(id) = self.open[queue as usize] else { return };
        self.close(id);
        self.reclassify(id, arena);
    }

    /// Turns open segment `id` into a sealed one. Unlike [`SegmentTable::seal`], neither retires it nor lists it for reclaim.
    pub(super) fn close(&mut self, id: u32) {
        let segment = &mut self.segments[id as usize];
        segment.state = State::Sealed;
        self.open[segment.queue as usize] = None;
        self.tail_bytes += self.segment_bytes - u64::from(segment.used);
    }

    /// Claims an extent for a large item of `bytes`.
    fn allocate_large(&mut self, arena: &Arena, bytes: u64, purpose: Purpose) -> Result<ItemRef, Need> {
        let bytes = arena.extent_bytes(bytes);
        let frees = match purpose {
            Purpose::Write { frees } | Purpose::WriteApart { frees } => frees,
            Purpose::Copy | Purpose::Spare => 0,
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
}
