//! Keys that clients have written or deleted since a copy (`--copy-from`) began. The copy's items for these keys are older, and
//! are not stored. A field of the segment table while a copy runs: used only under the writer lock.
//!
//! A Bloom filter of fixed size, so that it does not grow with the number of keys. It has no false negatives, so the copy never
//! replaces or resurrects anything. A false positive makes the copy skip an item, whose key then misses: one key in 100 if as
//! many keys have been written as `-m` holds items of 100 bytes.
//!
//! Source: Bloom, "Space/time trade-offs in hash coding with allowable errors", CACM 13 (1970).

use super::item_ref::Hash;

/// The memory of the filter: `-m` divided by this, within the bounds below.
const MEMORY_PART: u64 = 64;
const BYTES_MIN: u64 = 64 << 10;
const BYTES_MAX: u64 = 64 << 20;

/// The filter: a set of keys that may also contain keys which were not inserted.
#[derive(Debug)]
pub(super) struct WrittenKeys {
    words: Box<[u64]>,
    /// True after a flush: from then on all keys count as written.
    has_all: bool,
}

impl WrittenKeys {
    /// An empty filter for a store of `memory_limit` bytes.
    pub(super) fn new(memory_limit: u64) -> Self {
        let bytes = (memory_limit / MEMORY_PART).clamp(BYTES_MIN, BYTES_MAX).next_power_of_two();
        Self { words: vec![0; bytes as usize / size_of::<u64>()].into(), has_all: false }
    }

    pub(super) fn bytes(&self) -> u64 {
        size_of_val(&*self.words) as u64
    }

    /// For each of the two bits of a key: the number of its word, and the bit in that word. They come from the lower and the
    /// upper half of the hash, which are independent.
    fn probes(&self, hash: Hash) -> [(usize, u64); 2] {
        let bits = self.words.len() * u64::BITS as usize;
        [hash.0 as u32, (hash.0 >> 32) as u32].map(|half| {
            let bit = half as usize & (bits - 1);
            (bit / u64::BITS as usize, 1 << (bit % u64::BITS as usize))
        })
    }

    /// Counts the key of `hash` as written.
    pub(super) fn insert(&mut self, hash: Hash) {
        for (word, bit) in self.probes(hash) {
            self.words[word] |= bit;
        }
    }

    /// Counts all keys as written from here on.
    pub(super) fn insert_all(&mut self) {
        self.has_all = true;
    }

    /// True if the key has been written; in rare cases also if it has not.
    pub(super) fn contains(&self, hash: Hash) -> bool {
        self.has_all || self.probes(hash).into_iter().all(|(word, bit)| self.words[word] & bit != 0)
    }

    /// True after [`WrittenKeys::insert_all`].
    pub(super) fn has_all(&self) -> bool {
        self.has_all
    }
}

#[cfg(test)]
mod tests {
    use super::super::key_hash::KeyHasher;
    use super::*;

    #[test]
    fn nothing_is_forgotten_and_little_is_taken_for_something_else() {
        let (limit, items) = (64 << 20, 64 * 1024 * 10);
        let mut keys = WrittenKeys::new(limit);
        let hasher = KeyHasher::from_seed(1);
        let hash = |number: u64| hasher.hash(&number.to_le_bytes());
        (0..items).for_each(|number| keys.insert(hash(number)));
        assert!((0..items).all(|number| keys.contains(hash(number))));
        let mistaken = (items..2 * items).filter(|&number| keys.contains(hash(number))).count() as u64;
        assert!(mistaken < items / 40, "{mistaken} of {items}");
        assert_eq!(keys.bytes(), limit / MEMORY_PART);
    }

    #[test]
    fn sizes_are_bounded() {
        assert_eq!(WrittenKeys::new(1 << 20).bytes(), BYTES_MIN);
        assert_eq!(WrittenKeys::new(1 << 50).bytes(), BYTES_MAX);
    }

    #[test]
    fn a_flush_is_every_key() {
        let mut keys = WrittenKeys::new(1 << 20);
        assert!(!keys.contains(Hash(7)) && !keys.has_all());
        keys.insert_all();
        assert!(keys.contains(Hash(7)) && keys.has_all());
    }
}
