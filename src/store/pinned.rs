//! How much memory pins hold. Each ring counts on cache lines of its own, because every reply that is sent from item memory
//! changes the count twice. Atomics without a lock: a ring writes its own counts (a pin may be dropped on another thread), all
//! read them.
//!
//! A segment or extent counts once. Its length is added to the count of the ring that pinned it first, and is subtracted from
//! the count of the ring that unpins it last, which may so become negative. Only the sum of all counts means something, and
//! reading it costs a cache line per ring. So a ring remembers what the others held when it last read their counts, and decides
//! by that. It reads them again before it refuses a pin, and before it holds `slack` bytes more than the least that it has held
//! since.
//!
//! Then no more is held than the bound and one `slack` for each ring. Take the last time that a ring read all counts and was
//! allowed to pin: what was held then and what it pinned were within the bound. Since then the count of every other ring has
//! grown by at most `slack`: either the ring has not read the counts, or it has been refused and has not grown at all. The
//! count of the ring that read has grown by at most `slack` as well. With one ring the bound is exact.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// The counts of one ring.
#[derive(Debug, Default)]
#[repr(align(128))]
struct OfRing {
    /// Number of values being sent that this ring has pinned.
    values: AtomicU64,
    /// Bytes of the segments and extents that this ring pinned first, minus those that it unpinned last. May be negative.
    bytes: AtomicI64,
    /// The sum of the other rings' `bytes` when this ring last read them.
    others: AtomicI64,
    /// Before `bytes` exceeds this, the ring must read the other rings' counts again.
    bytes_max: AtomicI64,
}

/// The counts of all rings.
#[derive(Debug)]
pub(super) struct Pinned {
    rings: Box<[OfRing]>,
}

impl Pinned {
    pub(super) fn new(rings: usize) -> Self {
        Self { rings: (0..rings).map(|_| OfRing::default()).collect() }
    }

    /// Number of rings.
    pub(super) fn rings(&self) -> u64 {
        self.rings.len() as u64
    }

    /// Bytes of all segments and extents that have pins.
    pub(super) fn bytes(&self) -> u64 {
        // If rings change their counts meanwhile, the sum may miss a pin and contain its end.
        self.sum().max(0) as u64
    }

    fn sum(&self) -> i64 {
        self.rings.iter().map(|ring| ring.bytes.load(Ordering::Relaxed)).sum()
    }

    /// Number of values being sent.
    pub(super) fn values(&self) -> u64 {
        self.rings.iter().map(|ring| ring.values.load(Ordering::Relaxed)).sum()
    }

    /// True if `ring` may pin a segment or extent of `bytes` that has no pins yet. All rings together then hold at most
    /// `bytes_max` bytes, plus `slack` bytes for each ring.
    pub(super) fn fits(&self, ring: usize, bytes: u64, bytes_max: u64, slack: u64) -> bool {
        let own = &self.rings[ring];
        let (held, bytes, bytes_max) = (own.bytes.load(Ordering::Relaxed), bytes as i64, bytes_max as i64);
        let others = own.others.load(Ordering::Relaxed);
        if held + bytes <= own.bytes_max.load(Ordering::Relaxed) && others + held + bytes <= bytes_max {
            return true;
        }
        let all = self.sum();
        let fits = all + bytes <= bytes_max;
        own.others.store(all - held, Ordering::Relaxed);
        own.bytes_max.store(held + if fits { slack as i64 } else { 0 }, Ordering::Relaxed);
        fits
    }

    /// Counts a value that `ring` pins. `bytes` is the length of its segment or extent if that had no pins before, else 0.
    pub(super) fn add(&self, ring: usize, bytes: u64) {
        let own = &self.rings[ring];
        own.values.fetch_add(1, Ordering::Relaxed);
        if bytes > 0 {
            own.bytes.fetch_add(bytes as i64, Ordering::Relaxed);
        }
    }

    /// Uncounts a value that `ring` has pinned and whose pin has ended. `bytes` is the length of its segment or extent if that
    /// has no other pins, else 0. `slack` is that of [`Pinned::fits`].
    pub(super) fn remove(&self, ring: usize, bytes: u64, slack: u64) {
        let own = &self.rings[ring];
        own.values.fetch_sub(1, Ordering::Relaxed);
        if bytes > 0 {
            let held = own.bytes.fetch_sub(bytes as i64, Ordering::Relaxed) - bytes as i64;
            if held + (slack as i64) < own.bytes_max.load(Ordering::Relaxed) {
                own.bytes_max.store(held + slack as i64, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: u64 = 100;
    const BYTES_MAX: u64 = 10_000;
    const SLACK: u64 = 250;

    /// Lets rings pin and unpin in any order, and returns how many bytes they held at most.
    fn most_held(rings: usize, slack: u64, seed: u64) -> u64 {
        let (pinned, mut random) = (Pinned::new(rings), fastrand::Rng::with_seed(seed));
        let mut held = vec![0_u64; rings];
        let mut most = 0;
        for step in 0..60_000 {
            // One ring after the other takes all that it may, and gives a part of it back.
            let ring = if random.bool() { step / 500 % rings } else { random.usize(..rings) };
            let all: u64 = held.iter().sum();
            if random.u32(..10) < if step / 3_000 % 2 == 0 { 7 } else { 3 } {
                let fits = pinned.fits(ring, SEGMENT, BYTES_MAX, slack);
                assert!(fits || all + SEGMENT > BYTES_MAX, "refused with {all} bytes held");
                if fits {
                    pinned.add(ring, SEGMENT);
                    held[ring] += SEGMENT;
                }
            } else if held[ring] > 0 {
                pinned.remove(ring, SEGMENT, slack);
                held[ring] -= SEGMENT;
            }
            let all = held.iter().sum();
            assert_eq!((pinned.bytes(), pinned.values()), (all, all / SEGMENT));
            most = most.max(all);
        }
        most
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes hours")]
    fn rings_hold_no_more_than_the_bound_and_their_slack() {
        for rings in [1, 2, 5, 16] {
            let most: Vec<u64> = (0..20).map(|seed| most_held(rings, SLACK, seed)).collect();
            let (least, most) = (*most.iter().min().unwrap(), *most.iter().max().unwrap());
            assert!(least >= BYTES_MAX, "{rings} rings hold {least}: the bound is not reached");
            let bound = BYTES_MAX + if rings == 1 { 0 } else { rings as u64 * SLACK };
            assert!(most <= bound, "{rings} rings hold {most}");
        }
    }

    /// A ring that pins and unpins the same amount all the time reads no other ring's count.
    #[test]
    fn a_ring_looks_only_when_it_holds_more_than_before() {
        let pinned = Pinned::new(2);
        for _ in 0..10 {
            assert!(pinned.fits(0, SEGMENT, BYTES_MAX, SLACK));
            pinned.add(0, SEGMENT);
            pinned.remove(0, SEGMENT, SLACK);
        }
        // Ring 0 does not notice that ring 1 holds everything, until ring 0 itself holds more.
        pinned.add(1, BYTES_MAX);
        for _ in 0..SLACK / SEGMENT {
            assert!(pinned.fits(0, SEGMENT, BYTES_MAX, SLACK));
            pinned.add(0, SEGMENT);
        }
        assert!(!pinned.fits(0, SEGMENT, BYTES_MAX, SLACK));
        pinned.remove(0, SEGMENT, SLACK);
        assert!(!pinned.fits(0, SEGMENT, BYTES_MAX, SLACK), "it has been refused and remembers it");
        // What one ring pinned and the other unpinned is not counted any more.
        pinned.remove(0, BYTES_MAX, SLACK);
        assert!(pinned.fits(1, SEGMENT, BYTES_MAX, SLACK));
        assert_eq!(pinned.bytes(), SEGMENT);
    }
}
