//! What was dropped lately: fingerprints of keys evicted from the small queue, so that a key that comes back goes
//! straight to the main queue.
//!
//! ```text
//! bucket = 8 fingerprints of 32 bits, youngest first; an insertion pushes the oldest of its bucket out
//! ```
//!
//! A FIFO by bucket rather than one exact FIFO: 4 bytes a ghost instead of about 16, and no order to maintain. It holds
//! about as many ghosts as there are live items. When that number has changed much, a new table is begun and the old
//! one only answers until the new one has taken as many ghosts as it holds.

use super::item_ref::Hash;

const WAYS: usize = 8;
type Bucket = [u32; WAYS];

/// Ghosts below this many are not worth adapting the table for.
const CAPACITY_MIN: usize = 512;

/// The ghost table.
#[derive(Debug, Default)]
pub(super) struct Ghost {
    young: Vec<Bucket>,
    old: Vec<Bucket>,
    inserted: usize,
}

fn place(buckets: &[Bucket], hash: Hash) -> (usize, u32) {
    let bucket = ((u128::from(hash.0) * buckets.len() as u128) >> 64) as usize;
    // Never 0, which marks an empty way.
    (bucket, hash.0 as u32 | 1)
}

fn take(buckets: &mut [Bucket], hash: Hash) -> bool {
    if buckets.is_empty() {
        return false;
    }
    let (bucket, fingerprint) = place(buckets, hash);
    let bucket = &mut buckets[bucket];
    let Some(way) = bucket.iter().position(|&each| each == fingerprint) else { return false };
    bucket[way] = 0;
    true
}

impl Ghost {
    /// Bytes of memory.
    pub(super) fn bytes(&self) -> u64 {
        ((self.young.capacity() + self.old.capacity()) * size_of::<Bucket>()) as u64
    }

    /// Remembers a key that was evicted; `live` is the number of items in the store.
    pub(super) fn insert(&mut self, hash: Hash, live: usize) {
        let wanted = live.max(CAPACITY_MIN);
        let capacity = self.young.len() * WAYS;
        if capacity == 0 || (self.inserted > capacity && (wanted > capacity * 3 / 2 || wanted < capacity / 2))
        {
            self.old = std::mem::replace(&mut self.young, vec![[0; WAYS]; wanted.div_ceil(WAYS)]);
            self.inserted = 0;
        } else if self.inserted > capacity && !self.old.is_empty() {
            self.old = Vec::new();
        }
        self.inserted += 1;
        let (bucket, fingerprint) = place(&self.young, hash);
        let bucket = &mut self.young[bucket];
        bucket.copy_within(..WAYS - 1, 1);
        bucket[0] = fingerprint;
    }

    /// Forgets the key and says whether it was there.
    pub(super) fn take(&mut self, hash: Hash) -> bool {
        take(&mut self.young, hash) || take(&mut self.old, hash)
    }
}

#[cfg(test)]
mod tests {
    use super::super::item_ref::KeyHasher;
    use super::*;

    fn hashes(range: std::ops::Range<u32>) -> impl Iterator<Item = Hash> {
        let hasher = KeyHasher::new(7);
        range.map(move |n| hasher.hash(&n.to_le_bytes()))
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes hours")]
    fn remembers_about_as_many_as_live_and_forgets_the_oldest() {
        let mut ghost = Ghost::default();
        for hash in hashes(0..100_000) {
            ghost.insert(hash, 10_000);
        }
        let found = |ghost: &mut Ghost, range| hashes(range).filter(|&hash| ghost.take(hash)).count();
        assert!(found(&mut ghost, 95_000..100_000) > 4_700);
        assert!(found(&mut ghost, 0..50_000) < 100);
        assert_eq!(found(&mut ghost, 99_000..100_000), 0, "a ghost is seen once");
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes hours")]
    fn follows_the_number_of_live_items() {
        let mut ghost = Ghost::default();
        for hash in hashes(0..20_000) {
            ghost.insert(hash, 1_000);
        }
        assert!(ghost.bytes() < 8_200);
        for hash in hashes(20_000..60_000) {
            ghost.insert(hash, 10_000);
        }
        assert!((40_000..41_000).contains(&ghost.bytes()));
    }
}
