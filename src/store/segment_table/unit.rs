//! The rows of the segment table: segments and large items, and the queues they stand in. Plain values; those in the table change
//! under the writer lock.

use crate::clock::Timestamp;

/// The two queues of S3-FIFO, and one for stubs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Queue {
    /// New items, until eviction finds out whether they were used.
    Small,
    /// Items that were used while in the small queue, or were stored again after they had been evicted.
    Main,
    /// Stubs of values on flash. A stub is never a large item.
    Stubs,
}

/// Number of queues.
pub(in crate::store) const QUEUES: usize = 3;

/// A FIFO of units in the order in which they may be evicted: a whole queue, or a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Fifo {
    /// All units of the small queue.
    Small,
    /// All units of the main queue.
    Main,
    /// All units of the queue of stubs.
    Stubs,
    /// The large items of the small queue, which stand in [`Fifo::Small`] as well.
    SmallLarges,
}

/// Number of FIFOs.
pub(super) const FIFOS: usize = 4;

impl Fifo {
    /// The queue that this FIFO's units stand in.
    pub(in crate::store) fn queue(self) -> Queue {
        match self {
            Self::Small | Self::SmallLarges => Queue::Small,
            Self::Main => Queue::Main,
            Self::Stubs => Queue::Stubs,
        }
    }
}

/// Where a segment is in its life: see the drawing in `segment_table`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum State {
    Free,
    Open,
    Sealed,
    Victim,
    Retired,
}

/// What the table knows of one segment.
#[derive(Clone, Debug)]
pub(in crate::store) struct Segment {
    pub(in crate::store) state: State,
    pub(in crate::store) queue: Queue,
    /// Bytes claimed for items, from the front of the segment on. The next item begins here.
    pub(in crate::store) used: u32,
    /// Bytes of the segment's live items: those that the index names.
    pub(in crate::store) live: u32,
    /// When the segment became the open one of its queue. None of the segment's items was written earlier.
    pub(super) opened: Timestamp,
    /// All of the segment's items that had expired by this second have been removed, or will be by the walk that is under way:
    /// see `sweep`.
    pub(in crate::store) removed_by: Timestamp,
    /// How often the segment has been retired. A queue entry with another epoch is stale.
    pub(in crate::store) epoch: u32,
    /// The segment's place in `reclaim_list`.
    pub(super) listing: Listing,
}

/// What the table knows of one large item.
#[derive(Clone, Debug)]
pub(in crate::store) struct Large {
    /// Offset in the mapping at which the item's extent begins, bytes.
    pub(in crate::store) offset: u64,
    /// Length of the item's extent, bytes.
    pub(in crate::store) bytes: u64,
    /// The queue that the item stands in; `None` before it is published and after it is retired.
    pub(super) queue: Option<Queue>,
    /// Distinguishes the item from earlier large items of the same number. A queue entry with another epoch is stale.
    pub(super) epoch: u32,
}

/// What is evicted and freed as a whole: a segment or a large item, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::store) enum EvictionUnit {
    Segment(u32),
    Large(u32),
}

/// A segment's entry in the reclaim list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Listing {
    /// Dead bytes, in 64ths of the bytes used; 0 if the segment is not listed.
    pub(super) level: u8,
    pub(super) position: u32,
}

#[cfg(test)]
impl Listing {
    /// A position that belongs to another segment.
    pub(super) fn misplaced() -> Self {
        Self { level: 40, position: 1000 }
    }
}

impl Large {
    /// True if the item stands in a queue: its value is complete, and it has not been retired.
    pub(in crate::store) fn is_published(&self) -> bool {
        self.queue.is_some()
    }
}

impl Segment {
    /// A segment in its first state: free, without items.
    pub(super) fn free() -> Self {
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
