//! The reclaim list: sealed segments, ordered by how much of them is dead. Emptying the first gains the most for what must be
//! copied. A field of the segment table, under the writer lock.
//!
//! ```text
//! level       0 │ 1 …                15 │ 16 …         64     dead bytes, in 64ths of the bytes used
//!    not listed │ listed with -M        │ listed always
//! ```
//!
//! Only dead bytes count: copying certainly frees them. The unused tail of a segment does not count, because the segment that
//! the copies go to may end with a tail just as long. A segment is listed at most once, so the list is never longer than the
//! number of segments. When an item dies, its segment moves by swapping with at most one entry in each of two levels.

use super::unit::{Listing, Segment};

/// The number of levels, not counting 0.
const LEVELS: u64 = 64;
/// Level of a segment of which a quarter is dead. Such a segment is cleaned before anything live is evicted: three bytes are
/// copied for each that is gained. Random overwrites keep producing such segments until live items take 87 % of memory.
const QUARTER_DEAD: u8 = 16;
/// The lowest level at which, with -M, copying a segment's live items is worth the effort.
const WORTH_COPYING: u8 = 1;

/// The segments worth emptying, by how much of each is dead.
#[derive(Debug)]
pub(super) struct ReclaimList {
    /// The lowest level that is listed.
    lowest: u8,
    /// For each level: the numbers of the segments listed there, in no order.
    levels: Vec<Vec<u32>>,
}

impl ReclaimList {
    /// An empty list. A store that `evicts` lists segments that are at least a quarter dead; one that only compacts lists all that
    /// are at least a 64th dead.
    pub(super) fn new(evicts: bool) -> Self {
        let lowest = if evicts { QUARTER_DEAD } else { WORTH_COPYING };
        Self { lowest, levels: vec![Vec::new(); LEVELS as usize + 1] }
    }

    /// The level of a sealed segment, or 0 if it is not to be listed.
    #[inline]
    fn level_of(&self, segment: &Segment) -> u8 {
        let (used, dead) = (u64::from(segment.used), u64::from(segment.used.saturating_sub(segment.live)));
        if dead == 0 || dead * LEVELS < used * u64::from(self.lowest) {
            return 0;
        }
        (dead * LEVELS / used) as u8
    }

    /// Lists sealed segment `id` at its present level, or takes it off the list if that is 0.
    #[inline]
    pub(super) fn update(&mut self, id: u32, segments: &mut [Segment]) {
        let segment = &segments[id as usize];
        let level = self.level_of(segment);
        if level != segment.listing.level {
            self.list(id, level, segments);
        }
    }

    #[cold]
    fn list(&mut self, id: u32, level: u8, segments: &mut [Segment]) {
        self.remove(id, segments);
        if level != 0 {
            let list = &mut self.levels[usize::from(level)];
            segments[id as usize].listing = Listing { level, position: list.len() as u32 };
            list.push(id);
        }
    }

    /// Removes segment `id`, if it is listed.
    pub(super) fn remove(&mut self, id: u32, segments: &mut [Segment]) {
        let Listing { level, position } = std::mem::take(&mut segments[id as usize].listing);
        if level == 0 {
            return;
        }
        let list = &mut self.levels[usize::from(level)];
        let removed = list.swap_remove(position as usize);
        assert_eq!(removed, id, "a segment stands where it says");
        if let Some(&moved) = list.get(position as usize) {
            segments[moved as usize].listing.position = position;
        }
    }

    /// The numbers of the listed segments, from the highest level to the lowest.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.levels.iter().rev().flat_map(|list| list.iter().rev().copied())
    }

    /// True if segment `id` is listed where its [`Listing`] says, and at the right level. For `check` only.
    pub(super) fn is_right(&self, id: u32, segment: &Segment, is_sealed: bool) -> bool {
        let Listing { level, position } = segment.listing;
        let expected = if is_sealed { self.level_of(segment) } else { 0 };
        level == expected
            && (level == 0 || self.levels[usize::from(level)].get(position as usize) == Some(&id))
    }

    /// Number of segments listed.
    pub(super) fn len(&self) -> usize {
        self.levels.iter().map(Vec::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{alone, options, set};

    fn segment(used: u32, live: u32) -> Segment {
        Segment { used, live, ..Segment::free() }
    }

    #[test]
    fn gives_the_deadest_first_and_lists_each_once() {
        for (evicts, expected) in [(true, &[2, 4][..]), (false, &[2, 4, 3, 1][..])] {
            let mut segments = vec![segment(0, 0); 6];
            let mut list = ReclaimList::new(evicts);
            for (id, live) in [(1, 5900), (2, 64), (3, 5000), (4, 3200), (5, 6399)] {
                segments[id as usize] = segment(6400, 6400);
                // Its items die one by one.
                for live in (live..6400).rev() {
                    segments[id as usize].live = live;
                    list.update(id, &mut segments);
                }
            }
            assert_eq!(list.iter().collect::<Vec<_>>(), expected);
            assert!((1..6).all(|id| list.is_right(id, &segments[id as usize], true)));
            list.remove(2, &mut segments);
            list.remove(2, &mut segments);
            assert_eq!(list.iter().collect::<Vec<_>>(), expected[1..]);
            assert_eq!(list.len(), expected.len() - 1);
            assert!(!list.is_right(2, &segments[2], true) && list.is_right(2, &segments[2], false));
        }
    }

    /// If a segment got another entry each time it was filled, a store whose memory is never low would grow by 8 bytes for each
    /// segment written, outside of every budget.
    #[test]
    #[cfg_attr(miri, ignore = "takes hours")]
    fn is_no_longer_than_there_are_segments() {
        let mut shard = alone(options(64 << 20, 1));
        let value = vec![b'v'; 8_000];
        for n in 0..100_000 {
            set(&mut shard, &format!("key-{}", n * 7_919 % 1_000), &value).unwrap();
            if n % 1_000 == 0 {
                let segments = shard.store().segments.lock();
                assert!(segments.reclaim_list.len() < segments.segments.len(), "after {n} writes");
            }
        }
        assert_eq!(shard.store().totals().evictions, 0);
    }
}
