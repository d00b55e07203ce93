//! Ghosts: fingerprints of keys that were recently evicted from the small queue. A key that returns goes straight to the main
//! queue.
//!
//! ```text
//! bucket = 8 fingerprints of 32 bits, newest first; an insertion pushes out the oldest of its bucket
//! ```
//!
//! Each bucket is a FIFO, instead of one FIFO over all ghosts: 4 bytes per ghost instead of about 16, and no order to maintain.
//! The table holds about as many ghosts as there are live items.
//!
//! The table consists of small parts, each for a share of the hashes, that double independently. Doubling a single table would
//! take megabytes from the budget in one step, and the write that caused it would have to evict as much. The parts double at
//! different loads, from a third to two thirds full, so growth costs 6 to 24 bytes per eviction, less than any item frees.
//!
//! A fingerprint alone determines its bucket, so that it can be moved when its part grows. A part has a few hundred buckets,
//! which leaves more than 20 of the 32 bits to tell keys apart.
//!
//! The segment table owns the ghosts: they are read and changed only under the writer lock. The evictor inserts, writes look
//! up.

use super::item_ref::Hash;
use super::prefetch::prefetch;

const WAYS: usize = 8;
type Bucket = [u32; WAYS];

/// Bytes of `-m` for which the table has one part: about 8,000 items of 64 bytes, and 32 KiB of ghosts.
const BYTES_PER_PART: u64 = 512 << 10;
const PARTS_MAX: u64 = 1 << 20;

/// The ghost table.
#[derive(Debug)]
pub(super) struct Ghost {
    parts: Box<[Part]>,
    /// Bytes of memory that the table takes.
    bytes: u64,
}

/// The ghosts of a share of all hashes.
#[derive(Clone, Debug, Default)]
struct Part {
    /// The fingerprints, 8 in a bucket. No buckets before the first insertion.
    buckets: Box<[Bucket]>,
    /// Insertions since the part last changed its size. When they reach a share of the part's places, between a third and two
    /// thirds, the size is adapted to the number of items.
    inserted: usize,
}

/// The part of a hash that is remembered. Never 0, which marks an empty place of a bucket.
fn fingerprint(hash: Hash) -> u32 {
    hash.0 as u32 | 1
}

impl Part {
    fn bytes(&self) -> u64 {
        size_of_val(&*self.buckets) as u64
    }

    /// The number of the bucket that `fingerprint` belongs to.
    fn bucket_of(&self, fingerprint: u32) -> usize {
        ((u64::from(fingerprint) * self.buckets.len() as u64) >> 32) as usize
    }

    fn push(&mut self, fingerprint: u32) {
        let bucket = &mut self.buckets[self.bucket_of(fingerprint)];
        bucket.copy_within(..WAYS - 1, 1);
        bucket[0] = fingerprint;
        self.inserted += 1;
    }

    fn resize(&mut self, buckets: usize) {
        let held = std::mem::replace(&mut self.buckets, vec![[0; WAYS]; buckets].into());
        for &fingerprint in held.iter().flat_map(|bucket| bucket.iter().rev()).filter(|&&each| each != 0) {
            self.push(fingerprint);
        }
        self.inserted = 0;
    }
}

impl Ghost {
    /// An empty table for a store of `memory_limit` bytes.
    pub(super) fn new(memory_limit: u64) -> Self {
        let count = (memory_limit / BYTES_PER_PART).clamp(1, PARTS_MAX) as usize;
        let parts = vec![Part::default(); count];
        Self { bytes: size_of_val(&*parts) as u64, parts: parts.into() }
    }

    /// Bytes of memory that the table takes, a part of the budget.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The same as [`Ghost::bytes`], recounted.
    pub(super) fn counted_bytes(&self) -> u64 {
        size_of_val(&*self.parts) as u64 + self.parts.iter().map(Part::bytes).sum::<u64>()
    }

    /// Remembers a key that was evicted. `live` is the number of items in the store, to which the table's size is adapted.
    pub(super) fn insert(&mut self, hash: Hash, live: usize) {
        let (number, count) = (self.part_of(hash), self.parts.len());
        // The first part doubles when it is a third full, the last when it is two thirds full.
        if self.parts[number].inserted
            >= self.parts[number].buckets.len() * WAYS * (count + number) / (3 * count)
        {
            self.follow(number, live);
        }
        self.parts[number].push(fingerprint(hash));
    }

    /// The number of the part that `hash` belongs to.
    fn part_of(&self, hash: Hash) -> usize {
        ((u128::from(hash.0) * self.parts.len() as u128) >> 64) as usize
    }

    /// Grows or shrinks part `number` towards room for its share of `live` ghosts.
    fn follow(&mut self, number: usize, live: usize) {
        let count = self.parts.len();
        let part = &mut self.parts[number];
        let before = part.bytes();
        let buckets = part.buckets.len();
        let wanted = live.div_ceil(count * WAYS).max(1);
        if wanted > buckets + buckets / 2 {
            part.resize(wanted.min(2 * buckets).max(1));
        } else if wanted < buckets / 2 {
            part.resize(wanted);
        }
        self.bytes += part.bytes();
        self.bytes -= before;
    }

    /// Starts loading into the cache what [`Ghost::insert`] of `hash` will touch.
    #[inline]
    pub(super) fn prefetch(&self, hash: Hash) {
        let part = &self.parts[self.part_of(hash)];
        if let Some(bucket) = part.buckets.get(part.bucket_of(fingerprint(hash))) {
            prefetch(std::ptr::from_ref(bucket).cast());
        }
    }

    /// True if the key was evicted recently. Changes nothing, so a write that is retried gets the same answer.
    pub(super) fn contains(&self, hash: Hash) -> bool {
        let part = &self.parts[self.part_of(hash)];
        let fingerprint = fingerprint(hash);
        part.buckets.get(part.bucket_of(fingerprint)).is_some_and(|bucket| bucket.contains(&fingerprint))
    }

    /// Forgets the key, because it is in the store again.
    pub(super) fn remove(&mut self, hash: Hash) {
        let number = self.part_of(hash);
        let fingerprint = fingerprint(hash);
        let part = &mut self.parts[number];
        let bucket = part.bucket_of(fingerprint);
        if let Some(bucket) = part.buckets.get_mut(bucket)
            && let Some(way) = bucket.iter().position(|&each| each == fingerprint)
        {
            bucket[way] = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::key_hash::KeyHasher;
    use super::*;

    const MIB: u64 = 1 << 20;

    fn hashes(range: std::ops::Range<u32>) -> impl Iterator<Item = Hash> {
        let hasher = KeyHasher::from_seed(7);
        range.map(move |n| hasher.hash(&n.to_le_bytes()))
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes hours")]
    fn remembers_about_as_many_as_live_and_forgets_the_oldest() {
        let mut ghost = Ghost::new(MIB);
        for hash in hashes(0..100_000) {
            ghost.insert(hash, 10_000);
        }
        let found = |ghost: &Ghost, range| hashes(range).filter(|&hash| ghost.contains(hash)).count();
        assert!(found(&ghost, 95_000..100_000) > 4_700);
        assert!(found(&ghost, 0..50_000) < 100);
        hashes(95_000..100_000).for_each(|hash| ghost.remove(hash));
        assert_eq!(found(&ghost, 95_000..100_000), 0, "a removed ghost is gone");
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes hours")]
    fn forgets_little_while_it_grows() {
        let mut ghost = Ghost::new(4 * MIB);
        for hash in hashes(0..60_000) {
            ghost.insert(hash, 100_000);
        }
        let found = hashes(0..60_000).filter(|&hash| ghost.contains(hash)).count();
        assert!(found > 50_000, "{found}");
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes hours")]
    fn follows_the_number_of_live_items() {
        let mut ghost = Ghost::new(MIB);
        for hash in hashes(0..20_000) {
            ghost.insert(hash, 1_000);
        }
        assert!((3_000..=6_500).contains(&ghost.bytes()), "{}", ghost.bytes());
        for hash in hashes(20_000..100_000) {
            ghost.insert(hash, 10_000);
        }
        assert!((26_000..=41_000).contains(&ghost.bytes()), "{}", ghost.bytes());
        for hash in hashes(100_000..140_000) {
            ghost.insert(hash, 1_000);
        }
        assert!((3_000..=6_500).contains(&ghost.bytes()), "{}", ghost.bytes());
    }

    /// The table grows in small steps. Doubling one table of megabytes in one step would hold up a write.
    #[test]
    #[cfg_attr(miri, ignore = "takes hours")]
    fn grows_by_less_than_evictions_free() {
        let mut ghost = Ghost::new(64 * MIB);
        let mut before = ghost.bytes();
        let mut evicted = hashes(0..2_000_000);
        while let Some(hash) = evicted.next() {
            ghost.insert(hash, 1_000_000);
            for hash in evicted.by_ref().take(7_999) {
                ghost.insert(hash, 1_000_000);
            }
            let grown = ghost.bytes().saturating_sub(before);
            assert!(grown < 8_000 * 24, "{grown} bytes in 8,000 evictions");
            before = ghost.bytes();
        }
    }
}
