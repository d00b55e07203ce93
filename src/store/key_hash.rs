//! The hash of a key. It uses secrets that are random in every process, so that no set of keys collides in all processes. The
//! secrets are drawn once at the start and then only read; each ring has a copy.
//!
//! ```text
//!  key    pairs of 8-byte words; the last pair is the key's last 16 bytes and may overlap the one before
//!  N      length + Σ (word₀ + s₀)·(word₁ + s₁)  mod 2^128, with a pair of secrets for each pair of words     (NH)
//!  T      a·N.low + b·N.high + c  mod 2^128                                                          (multilinear)
//!  hash   the upper 64 bits of T.high·T.low, xor the lower 64
//! ```
//!
//! For a key of up to one pair, N is the key itself, and the key's length selects c.
//!
//! If a hash multiplies a word of the key by a constant that clients can know, there are keys for which the product is zero
//! whatever the seed. Here every factor has its own secret, so clients cannot find such keys. Most of this is proved, not only
//! tested:
//!
//! - Two keys have the same N for at most one in 2^63 of the secrets. If they have equally many pairs, that is NH's proof (and
//!   if all pairs agree, the lengths differ). If not, the longer key has a product that the shorter one lacks, and few pairs of
//!   factors have a given product.
//! - For two different N, the two T.high are independent and uniform, whatever the two T.low are. (T.low is zero for one in
//!   2^64 of the secrets.) So any bits of the two hashes agree as often as those of random numbers.
//! - T alone would be evenly spaced for numbered keys, and such series can resonate with the tables. The product is not evenly
//!   spaced; the tests below check that.
//!
//! So a client that does not know the secrets cannot find keys that share a table, a tag or a bucket more often than random
//! keys do, and keys that collide in one process do not collide in the next.
//!
//! Sources: Black, Halevi, Krawczyk, Krovetz, Rogaway, "UMAC: Fast and Secure Message Authentication", CRYPTO 1999 (NH);
//! Lemire, Kaser, "Strongly Universal String Hashing is Fast", The Computer Journal 57 (2014) (multilinear).

use super::item_ref::Hash;
use crate::limits::KEY_BYTES_MAX;
use std::hash::{BuildHasher, RandomState};

/// Bytes of a pair of words.
const PAIR_BYTES: usize = 16;
/// Number of pairs in the longest key, except its last pair, which has secrets of its own.
const PAIRS_MAX: usize = (KEY_BYTES_MAX - 1) / PAIR_BYTES;

/// The hash function of keys, with its secrets.
#[derive(Clone)]
pub(super) struct KeyHasher {
    /// The secrets of a key's last pair of words.
    last: [u64; 2],
    /// The secrets of the pairs before the last one.
    pairs: [[u64; 2]; PAIRS_MAX],
    /// The factors a and b of T.
    factors: [u128; 2],
    /// The summand c of T for each length of a key of up to one pair. Index 0 is that of all longer keys.
    summands: [u128; PAIR_BYTES + 1],
}

impl std::fmt::Debug for KeyHasher {
    /// Writes the name of the type, without the secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyHasher").finish_non_exhaustive()
    }
}

impl KeyHasher {
    /// A hash function with random secrets.
    pub(super) fn random() -> Self {
        // The standard library's random state is a key from the kernel, and its hash of a number is pseudo-random.
        let state = RandomState::new();
        let mut numbers = 0_u64..;
        Self::new(|| state.hash_one(numbers.next()))
    }

    /// A hash function that is the same in every run, for tests.
    pub(super) fn from_seed(mut seed: u64) -> Self {
        Self::new(|| {
            // splitmix64.
            seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let word = (seed ^ seed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            word ^ word >> 31
        })
    }

    /// A hash function whose secrets `random` draws.
    fn new(mut random: impl FnMut() -> u64) -> Self {
        let last = [random(), random()];
        let pairs = std::array::from_fn(|_| [random(), random()]);
        let mut wide = || u128::from(random()) << 64 | u128::from(random());
        Self {
            last,
            pairs,
            factors: std::array::from_fn(|_| wide()),
            summands: std::array::from_fn(|_| wide()),
        }
    }

    /// The hash of `key`.
    #[inline]
    pub(super) fn hash(&self, key: &[u8]) -> Hash {
        let (words, summand) = match key.split_last_chunk() {
            Some((front, last)) if !front.is_empty() => {
                let front = match key.first_chunk() {
                    Some(first) if front.len() <= PAIR_BYTES => product(*first, self.pairs[0]),
                    _ => self.front_sum(key),
                };
                let sum = front.wrapping_add(product(*last, self.last)).wrapping_add(key.len() as u128);
                ([sum as u64, (sum >> 64) as u64], self.summands[0])
            }
            _ => (short_words(key), self.summands[key.len().min(PAIR_BYTES)]),
        };
        let [a, b] = self.factors;
        let low = a.wrapping_mul(u128::from(words[0]));
        let high = b.wrapping_mul(u128::from(words[1]));
        Hash(folded(low.wrapping_add(high).wrapping_add(summand)))
    }

    /// The sum, modulo 2^128, of the products of all pairs of `key` but the last. Of a key over [`KEY_BYTES_MAX`], which no
    /// index contains, only the first [`PAIRS_MAX`] pairs and the last one count.
    fn front_sum(&self, key: &[u8]) -> u128 {
        let (pairs, _) = key[..key.len() - 1].as_chunks();
        let products = pairs.iter().zip(&self.pairs).map(|(pair, secrets)| product(*pair, *secrets));
        products.fold(0, u128::wrapping_add)
    }
}

/// Multiplies the upper half of `number` by its lower half, and returns the upper half of the product xor the lower half.
#[inline]
fn folded(number: u128) -> u64 {
    let product = u128::from((number >> 64) as u64) * u128::from(number as u64);
    (product >> 64) as u64 ^ product as u64
}

/// The product of a pair's two words, after each has had its secret added, modulo 2^64.
#[inline]
fn product(pair: [u8; PAIR_BYTES], secrets: [u64; 2]) -> u128 {
    let pair = u128::from_le_bytes(pair);
    let factor = |word: u64, secret: u64| u128::from(word.wrapping_add(secret));
    // Cannot overflow: both are below 2^64.
    factor(pair as u64, secrets[0]) * factor((pair >> 64) as u64, secrets[1])
}

/// All bytes of a key that is no longer than a pair, in two words. Some bytes may be in both.
#[inline]
fn short_words(key: &[u8]) -> [u64; 2] {
    if let (Some(first), Some(last)) = (key.first_chunk(), key.last_chunk()) {
        return [u64::from_le_bytes(*first), u64::from_le_bytes(*last)];
    }
    if let (Some(first), Some(last)) = (key.first_chunk(), key.last_chunk()) {
        return [u32::from_le_bytes(*first), u32::from_le_bytes(*last)].map(u64::from);
    }
    let byte = |at: usize| key.get(at).map_or(0, |&byte| u64::from(byte));
    [byte(0) | byte(1) << 8, byte(2)]
}

#[cfg(test)]
mod tests {
    use super::super::index::table_of;
    use super::*;
    use std::iter::repeat_n;

    const KEYS: usize = if cfg!(miri) { 100 } else { 20_000 };
    const TABLES: usize = 1024;

    /// Words that a client knows: zero, all ones, and numbers that foldhash, wyhash and rapidhash multiply by.
    const KNOWN_WORDS: [u64; 10] = [
        0,
        u64::MAX,
        0xc0ac_29b7_c97c_50dd,
        0x3f84_d5b5_b547_0917,
        0x9216_d5d9_8979_fb1b,
        0xa076_1d64_78bd_642f,
        0xe703_7ed1_a0b4_28db,
        0x2d35_8dcc_aa6c_78a5,
        0x8bb8_4b93_962e_acc9,
        0x243f_6a88_85a3_08d3,
    ];

    fn number(n: usize) -> Vec<u8> {
        n.to_le_bytes().to_vec()
    }

    /// Sets of [`KEYS`] keys, each with a name. Weak hash functions map many keys of such a set to the same place.
    fn patterns() -> Vec<(String, Vec<Vec<u8>>)> {
        let mut patterns = Vec::new();
        let mut add = |name: String, key: &dyn Fn(usize) -> Vec<u8>| {
            patterns.push((name, (0..KEYS).map(key).collect()));
        };
        for word in KNOWN_WORDS {
            let word = word.to_le_bytes();
            for equal in [1, 2, 4, 6] {
                add(format!("a number, then {equal} times {word:02x?}"), &|n| {
                    [number(n), word.repeat(equal)].concat()
                });
                add(format!("{equal} times {word:02x?}, then a number"), &|n| {
                    [word.repeat(equal), number(n)].concat()
                });
            }
            add(format!("a number between two {word:02x?}"), &|n| [&word[..], &number(n), &word].concat());
        }
        add("a number twice".to_owned(), &|n| number(n).repeat(2));
        add("a number and its complement".to_owned(), &|n| [number(n), number(!n)].concat());
        add("two numbers with the same sum".to_owned(), &|n| [number(n), number(KEYS - n)].concat());
        add("decimal digits".to_owned(), &|n| n.to_string().into_bytes());
        add("decimal digits in 30 bytes".to_owned(), &|n| format!("{n:030}").into_bytes());
        for shift in [8, 16, 24, 32, 40, 44] {
            add(format!("numbers shifted by {shift}"), &|n| number(n << shift));
        }
        for length in 2..=KEY_BYTES_MAX {
            // One or two bits in keys that are otherwise all zeros, at places spread over the key.
            add(format!("two bits in {length} zeros"), &|n| {
                let mut key = vec![0; length];
                let bits = length * 8;
                key[n % bits / 8] ^= 1 << (n % 8);
                let second = n / bits * 7 + n % bits + 1;
                key[second % bits / 8] ^= 1 << (second % 8);
                key
            });
        }
        // The same byte repeated, once more in each key: all lengths of all bytes.
        add("lengths of runs".to_owned(), &|n| {
            repeat_n((n / KEY_BYTES_MAX) as u8, n % KEY_BYTES_MAX + 1).collect()
        });
        patterns
    }

    /// No pattern of keys fills a table, a tag or a bucket more than random numbers would. If thousands of keys had the same
    /// hash, one set of them would make all rings wait.
    #[test]
    #[cfg_attr(miri, ignore = "takes hours")]
    fn no_known_pattern_crowds_a_table_a_tag_or_a_bucket() {
        /// Returns the number of the table, tag or bucket that a hash belongs to.
        type Place = fn(u64) -> usize;
        let places: [(&str, usize, Place); 4] = [
            // The largest table's share is 1.45 times the mean.
            ("table", TABLES * 2 / 3, |hash| table_of(Hash(hash), TABLES)),
            ("tag", 1 << 7, |hash| (hash >> 50) as usize & 0x7f),
            ("control byte", 1 << 7, |hash| (hash >> 57) as usize),
            ("bucket", 1 << 10, |hash| hash as usize & 0x3ff),
        ];
        for (seed, (name, mut keys)) in patterns().into_iter().enumerate() {
            keys.sort_unstable();
            keys.dedup();
            let hasher = KeyHasher::from_seed(seed as u64);
            for (what, count, place) in places {
                let mut loads = vec![0_usize; TABLES];
                for key in &keys {
                    loads[place(hasher.hash(key).0)] += 1;
                }
                let share = keys.len() as f64 / count as f64;
                let most = loads.into_iter().max().unwrap_or_default();
                assert!(
                    most as f64 <= share + 7.0 * share.sqrt() + 7.0,
                    "{most} of {share} in a {what}: {name}"
                );
            }
        }
    }

    #[test]
    fn every_byte_and_the_length_count() {
        let hasher = KeyHasher::from_seed(1);
        let key: Vec<u8> = (0..KEY_BYTES_MAX as u8).collect();
        let mut hashes = Vec::new();
        for length in 0..=KEY_BYTES_MAX {
            let key = &key[..length];
            hashes.push(hasher.hash(key).0);
            for place in 0..length {
                let mut other = key.to_vec();
                other[place] ^= 0x10;
                hashes.push(hasher.hash(&other).0);
            }
        }
        let all = hashes.len();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), all);
    }

    #[test]
    fn no_two_stores_hash_alike() {
        let hash = |hasher: KeyHasher, length| hasher.hash(&vec![b'k'; length]);
        for length in [1, 7, 16, 17, 32, 33, KEY_BYTES_MAX] {
            assert_ne!(hash(KeyHasher::random(), length), hash(KeyHasher::random(), length));
            assert_ne!(hash(KeyHasher::from_seed(1), length), hash(KeyHasher::from_seed(2), length));
            assert_eq!(hash(KeyHasher::from_seed(1), length), hash(KeyHasher::from_seed(1), length));
        }
    }
}
