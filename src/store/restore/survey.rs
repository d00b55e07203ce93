//! Finds the segments and extents of a memory file that are in use. The first step of a restart, in one thread.

use crate::store::arena::Arena;
use crate::store::geometry::PAGE_BYTES;
use crate::store::memory_file::{Headers, SegmentHeader, Slot, Word};
use crate::store::segment_table::QUEUES;

/// The units in use, each with its number and its header. All headers are consistent.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) segments: Vec<(u32, SegmentHeader)>,
    pub(super) slots: Vec<(u32, Slot)>,
    /// The largest sequence number of all these units.
    pub(super) sequence: u64,
}

/// Reads and checks all headers. Frees segments and extents that were opened before the last flush, and segments without items.
/// An error says what is damaged.
pub(super) fn survey(headers: &Headers, arena: &Arena) -> Result<Survey, String> {
    let flushes = headers.get(Word::Flushes);
    let mut survey = Survey::default();
    for id in 1..arena.segment_ids() as u32 {
        let Some(header) = headers.segment(id) else { continue };
        let unit = 1 << arena.unit_shift();
        let fits = u64::from(header.used) <= arena.segment_bytes() && header.used.is_multiple_of(unit);
        if !header.is_intact || !fits || usize::from(header.queue) >= QUEUES {
            return Err(format!("the header of segment {id} is damaged"));
        }
        if header.flushes != flushes || header.used == 0 {
            headers.free_segment(id);
            continue;
        }
        survey.sequence = survey.sequence.max(header.sequence);
        survey.segments.push((id, header));
    }
    for id in headers.slot_ids() {
        let Some(slot) = headers.slot(id) else { continue };
        if slot.flushes != flushes {
            headers.free_slot(id);
            continue;
        }
        let bytes = u64::from(slot.pages) * PAGE_BYTES;
        let range = arena.large_base()..arena.large_base() + arena.large_bytes();
        let fits = range.contains(&slot.offset) && bytes <= range.end - slot.offset;
        if !fits || bytes == 0 || !slot.offset.is_multiple_of(PAGE_BYTES) || slot.queue > 1 {
            return Err(format!("slot {id} of the extent table is damaged"));
        }
        survey.sequence = survey.sequence.max(slot.sequence);
        survey.slots.push((id, slot));
    }
    let mut extents: Vec<(u64, u64)> =
        survey.slots.iter().map(|(_, slot)| (slot.offset, u64::from(slot.pages) * PAGE_BYTES)).collect();
    extents.sort_unstable();
    if extents.windows(2).any(|pair| pair[0].0 + pair[0].1 > pair[1].0) {
        return Err("large items lie over each other".to_owned());
    }
    if survey.sequence >= u64::MAX / 2 {
        return Err("the order of the queues is damaged".to_owned());
    }
    Ok(survey)
}
