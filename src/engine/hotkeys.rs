//! `stats hotkeys`: the most requested keys, found by sampling.
//!
//! Every key in a sampled input (`engine::sample`) is recorded in its ring's sketch, whatever the command is and whether it hits
//! or misses. The sketch is a Space-Saving sketch: it holds `KEYS_MAX` keys with counts. A key that is not in the sketch replaces
//! the key with the smallest count, inherits that count, and remembers it as its error. So a key that makes up more than one part
//! in `KEYS_MAX` of the records is always in the sketch, and at least `count - error` records were really of that key. This
//! difference is the figure that is reported, so a share is too high only by sampling error.
//!
//! All counts are halved every `HALVED_AFTER` records, so under load the figures cover the last minutes and not the whole run.
//!
//! Each ring has one [`HotKeys`]: a sketch behind a lock. The ring never waits for that lock. While another thread reads the
//! sketch, the ring does not record keys.
//!
//! Source: Metwally, Agrawal, El Abbadi, "Efficient Computation of Frequent and Top-k Elements in Data Streams", 2005.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};

/// Most keys that a ring's sketch holds at a time.
const KEYS_MAX: usize = 128;
/// Number of records after which all counts of a ring's sketch are halved.
const HALVED_AFTER: u64 = 1 << 16;

#[derive(Debug, Default)]
struct Held {
    key: Vec<u8>,
    /// The count that this key inherited from the key it replaced. The key's own count is too high by at most this number.
    error: u64,
}

/// The Space-Saving sketch of one ring. In all three arrays, element `n` belongs to the same key.
#[derive(Debug, Default)]
struct Sketch {
    hasher: RandomState,
    /// The hashes of the keys in the sketch. Hashes and counts have arrays of their own because each record searches them all.
    hashes: Vec<u64>,
    counts: Vec<u64>,
    held: Vec<Held>,
    /// Number of records. It is halved together with the counts.
    notes: u64,
    /// Number of records since the counts were last halved.
    fresh_notes: u64,
}

impl Sketch {
    /// Records one request for `key`, which may replace the key with the smallest count.
    fn note(&mut self, key: &[u8]) {
        self.fresh_notes += 1;
        if self.fresh_notes == HALVED_AFTER {
            self.halve();
        }
        self.notes += 1;
        let hash = self.hasher.hash_one(key);
        let mut places = self.hashes.iter().zip(&self.held);
        if let Some(at) = places.position(|(&known, held)| known == hash && held.key == key) {
            self.counts[at] += 1;
            return;
        }
        if self.held.len() < KEYS_MAX {
            self.hashes.push(hash);
            self.counts.push(1);
            self.held.push(Held { key: key.to_vec(), error: 0 });
            return;
        }
        let least = self.counts.iter().copied().min().unwrap_or_default();
        let Some(at) = self.counts.iter().position(|&count| count == least) else { return };
        self.hashes[at] = hash;
        self.counts[at] = least + 1;
        let held = &mut self.held[at];
        held.key.clear();
        held.key.extend_from_slice(key);
        held.error = least;
    }

    fn halve(&mut self) {
        self.fresh_notes = 0;
        self.notes /= 2;
        self.counts.iter_mut().for_each(|count| *count /= 2);
        self.held.iter_mut().for_each(|held| held.error /= 2);
    }
}

/// The sketch of one ring. The ring records keys in it, and any thread may read it.
#[derive(Debug, Default)]
pub struct HotKeys(Mutex<Sketch>);

impl HotKeys {
    /// Records a request for `key`. The record is dropped if another thread is reading the sketch at this moment.
    pub(super) fn note(&self, key: &[u8]) {
        if let Some(mut sketch) = self.0.try_lock() {
            sketch.note(key);
        }
    }

    /// Empties the sketch (`stats reset`).
    pub(super) fn reset(&self) {
        *self.0.lock() = Sketch::default();
    }
}

/// The most requested keys of all rings together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hottest {
    /// Number of records on all rings. Old records count less, because the numbers are halved from time to time.
    pub notes: u64,
    /// The keys and their counts, highest count first.
    pub keys: Vec<(Vec<u8>, u64)>,
}

impl Hottest {
    /// Merges the sketches of `rings`, and returns the `most` keys with the highest counts. A key recorded only once is left out.
    pub(super) fn of<'r>(rings: impl Iterator<Item = &'r HotKeys>, most: usize) -> Self {
        let mut notes = 0;
        let mut all: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
        for ring in rings {
            let sketch = ring.0.lock();
            notes += sketch.notes;
            for (held, count) in sketch.held.iter().zip(&sketch.counts) {
                *all.entry(held.key.clone()).or_default() += count - held.error;
            }
        }
        let mut keys: Vec<_> = all.into_iter().filter(|(_, count)| *count > 1).collect();
        keys.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        keys.truncate(most);
        Self { notes, keys }
    }

    /// Returns the share of all records that `count` is, from 0 to 1.
    pub fn share(&self, count: u64) -> f64 {
        count as f64 / self.notes.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records a synthetic stream. Of 100 keys, 10 are `hot`, 3 are `warm`, and the others are unique.
    fn stream(ring: &HotKeys, notes: u32) {
        for note in 0..notes {
            match note % 100 {
                0 | 9 | 17 | 23 | 31 | 44 | 58 | 63 | 79 | 91 => ring.note(b"hot"),
                5 | 50 | 95 => ring.note(b"warm"),
                _ => ring.note(format!("cold{note}").as_bytes()),
            }
        }
    }

    #[test]
    fn hot_keys_rise_above_the_crowd_and_shares_are_not_too_high() {
        let rings = [HotKeys::default(), HotKeys::default()];
        for ring in &rings {
            stream(ring, 50_000);
        }
        let hottest = Hottest::of(rings.iter(), 5);
        assert_eq!(hottest.notes, 100_000);
        let [(first, hot), (second, warm), ..] = &hottest.keys[..] else { panic!("{hottest:?}") };
        assert_eq!((&first[..], &second[..]), (&b"hot"[..], &b"warm"[..]));
        let (hot, warm) = (hottest.share(*hot), hottest.share(*warm));
        assert!(hot > 0.095 && hot <= 0.1, "{hot}");
        assert!(warm > 0.02 && warm <= 0.03, "{warm}");
        for (key, count) in &hottest.keys[2..] {
            assert!(hottest.share(*count) < 0.001, "{}: {count}", key.escape_ascii());
        }
    }

    #[test]
    fn even_traffic_has_no_hot_keys() {
        let ring = HotKeys::default();
        for note in 0..60_000u32 {
            ring.note(&(note % 10_000).to_be_bytes());
        }
        for (_, count) in Hottest::of([&ring].into_iter(), 5).keys {
            assert!(count < 10, "{count}");
        }
    }

    #[test]
    fn old_counts_fade() {
        let ring = HotKeys::default();
        for _ in 0..HALVED_AFTER {
            ring.note(b"old");
        }
        for _ in 0..3 * HALVED_AFTER {
            ring.note(b"new");
        }
        let hottest = Hottest::of([&ring].into_iter(), 5);
        assert_eq!(hottest.keys[0].0, b"new");
        let old = hottest
            .keys
            .iter()
            .find(|(key, _)| key == b"old")
            .map_or(0.0, |(_, count)| hottest.share(*count));
        assert!(old < 0.1, "{old}");
        assert!(hottest.notes < 3 * HALVED_AFTER);
    }

    #[test]
    fn a_reader_delays_no_ring() {
        let ring = HotKeys::default();
        ring.note(b"k");
        let reading = ring.0.lock();
        ring.note(b"k");
        drop(reading);
        ring.note(b"k");
        assert_eq!(Hottest::of([&ring].into_iter(), 5).keys, [(b"k".to_vec(), 2)]);
        ring.reset();
        assert_eq!(Hottest::of([&ring].into_iter(), 5), Hottest::default());
    }
}
