//! `stats latency`: the times of requests inside the session, by kind.
//!
//! The time of a request is the session's work on it: parsing, looking up or storing, and staging the reply. It does not include
//! the kernel, waiting for the ring, and encryption. Requests are sampled (`engine::sample`): in a sampled input the clock is
//! read before and after each request. Gets that are served together share their time equally. The time of a request that arrives
//! in pieces begins with its last piece.
//!
//! Reads from flash are timed separately, and all of them are: from the request to the device until the value is in memory.
//!
//! Histograms are log-linear: buckets are 1 ns wide below 32 ns, and above that 1/16 of the power of two they are in. So a value
//! is shown at most 6.25 % too high. Each ring has its own [`Latency`], which only its thread writes. `stats` adds up those of
//! all rings in [`Times`], on the thread that runs it.
//!
//! ```text
//! value, ns   0 … 15 │ 16 … 31 │ 32 … 63 │ … │ 2^33 and more
//! width        1     │    1    │    2    │   │
//! bucket      0 … 15 │ 16 … 31 │ 32 … 47 │ … │ BUCKETS - 1
//! ```

use crate::engine::counter::Counter;
use std::time::Duration;

/// The kinds of requests. The latencies of each kind are recorded separately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// get and gets, and the gets of the binary protocol that do not touch.
    Get,
    /// set, add, replace, append, prepend and cas.
    Set,
    /// delete, of the text and the binary protocol.
    Delete,
    /// incr and decr.
    Arith,
    /// touch, gat and gats.
    Touch,
    /// mg, the meta command that reads.
    MetaGet,
    /// ms, the meta command that stores.
    MetaSet,
    /// md, the meta command that deletes.
    MetaDelete,
    /// ma, the meta command that increments and decrements.
    MetaArith,
    /// All other requests.
    Other,
    /// The read of a value on flash, which is not a request.
    FlashRead,
}

impl Kind {
    /// The kinds of requests, each with its name in `stats latency`, in order.
    pub const REQUESTS: [(Self, &'static str); 10] = [
        (Self::Get, "get"),
        (Self::Set, "set"),
        (Self::Delete, "delete"),
        (Self::Arith, "arith"),
        (Self::Touch, "touch"),
        (Self::MetaGet, "meta_get"),
        (Self::MetaSet, "meta_set"),
        (Self::MetaDelete, "meta_delete"),
        (Self::MetaArith, "meta_arith"),
        (Self::Other, "other"),
    ];
}

/// Number of bits after the highest set bit in which the values of one bucket agree.
const FINE_BITS: u32 = 4;
const FINE: usize = 1 << FINE_BITS;
/// The power of two, in ns, from which all values share the last bucket (8.6 s).
const POWER_MAX: u32 = 33;
const BUCKETS: usize = (POWER_MAX - FINE_BITS + 1) as usize * FINE + 1;

/// Number of histograms, one for each kind.
const KINDS: usize = Kind::FlashRead as usize + 1;
const _: () = assert!(Kind::REQUESTS.len() + 1 == KINDS);

/// Returns the number of the bucket for a time of `ns` nanoseconds.
fn bucket(ns: u64) -> usize {
    let power = ns.max(1).ilog2();
    if power < FINE_BITS {
        ns as usize
    } else if power >= POWER_MAX {
        BUCKETS - 1
    } else {
        let shift = power - FINE_BITS;
        shift as usize * FINE + (ns >> shift) as usize
    }
}

/// Returns the largest value that belongs to a bucket, ns. For the last bucket, which has no upper end, returns its smallest
/// value.
fn highest(bucket: usize) -> u64 {
    if bucket < FINE {
        return bucket as u64;
    }
    if bucket >= BUCKETS - 1 {
        return 1 << POWER_MAX;
    }
    let shift = bucket / FINE - 1;
    ((FINE + bucket % FINE + 1) as u64 * (1 << shift)) - 1
}

/// The latencies of one ring: for each kind a histogram and a sum. Only the ring writes them; any thread may read them.
#[derive(Debug)]
pub struct Latency {
    buckets: Box<[[Counter; BUCKETS]]>,
    /// The sum of all times of each kind, ns.
    sums: [Counter; KINDS],
}

impl Default for Latency {
    fn default() -> Self {
        Self {
            buckets: (0..KINDS).map(|_| std::array::from_fn(|_| Counter::default())).collect(),
            sums: std::array::from_fn(|_| Counter::default()),
        }
    }
}

impl Latency {
    /// Records that `requests` requests took `time` together. Each of them counts with an equal part of that time.
    pub fn record(&self, kind: Kind, time: Duration, requests: u32) {
        let all_ns = time.as_nanos() as u64;
        self.sums[kind as usize].add(all_ns);
        let ns = all_ns / u64::from(requests.max(1));
        self.buckets[kind as usize][bucket(ns)].add(u64::from(requests));
    }
}

/// The sums of all rings' latencies. They are a copy, which does not change while the rings continue to record.
#[derive(Clone, Debug)]
pub struct Times {
    buckets: Box<[[u64; BUCKETS]]>,
    sums: [u64; KINDS],
}

impl Default for Times {
    fn default() -> Self {
        Self { buckets: vec![[0; BUCKETS]; KINDS].into(), sums: [0; KINDS] }
    }
}

impl Times {
    /// Adds the present latencies of one ring.
    pub fn add(&mut self, ring: &Latency) {
        for (sum, count) in self.buckets.iter_mut().flatten().zip(ring.buckets.iter().flatten()) {
            *sum = sum.wrapping_add(count.get());
        }
        for (sum, ns) in self.sums.iter_mut().zip(&ring.sums) {
            *sum = sum.wrapping_add(ns.get());
        }
    }

    /// Subtracts `base`, the sums at the last `stats reset`.
    pub fn subtract(&mut self, base: &Self) {
        for (sum, base) in self.buckets.iter_mut().flatten().zip(base.buckets.iter().flatten()) {
            *sum = sum.wrapping_sub(*base);
        }
        for (sum, base) in self.sums.iter_mut().zip(&base.sums) {
            *sum = sum.wrapping_sub(*base);
        }
    }

    /// Returns the number of the requests of `kind`, and percentiles of their times.
    pub fn of(&self, kind: Kind) -> Summary {
        let buckets = &self.buckets[kind as usize];
        let count: u64 = buckets.iter().sum();
        let at = |per_mille: u64| {
            // The smallest value that is not exceeded by this share of all values.
            let rank = (count * per_mille).div_ceil(1000).max(1);
            let mut seen = 0;
            let found = buckets.iter().position(|&in_bucket| {
                seen += in_bucket;
                seen >= rank
            });
            Duration::from_nanos(found.map_or(0, highest))
        };
        Summary { count, p50: at(500), p99: at(990), p999: at(999), max: at(1000) }
    }

    /// Returns the time that all timed requests of `kind` took together.
    pub fn sum(&self, kind: Kind) -> Duration {
        Duration::from_nanos(self.sums[kind as usize])
    }

    /// Returns the number of timed requests of `kind` that took at most `time`. It is exact if `time` is one less than a power of
    /// two ns; otherwise the requests in the bucket of `time` are not counted.
    pub fn within(&self, kind: Kind, time: Duration) -> u64 {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let buckets = &self.buckets[kind as usize];
        buckets.iter().enumerate().filter(|(bucket, _)| highest(*bucket) <= ns).map(|(_, count)| count).sum()
    }
}

/// The distribution of one kind's times. Each time is the upper end of its bucket, so it may be up to 6.25 % too high.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Number of timed requests. They are a sample, except that all reads from flash are timed.
    pub count: u64,
    /// The time within which half of the requests were done.
    pub p50: Duration,
    /// The time within which 99 % of the requests were done.
    pub p99: Duration,
    /// The time within which 99.9 % of the requests were done.
    pub p999: Duration,
    /// The longest time of any request. A time in the last bucket is shown as the lower end of that bucket.
    pub max: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_contiguous_and_narrow() {
        let mut last = 0;
        for ns in (0..100_000).chain((17..36).flat_map(|power| (1u64 << power) - 2..(1 << power) + 2)) {
            let bucket = bucket(ns);
            assert!(bucket == last || bucket == last + 1 || ns > 100_000, "{ns}");
            assert!(bucket < BUCKETS);
            last = bucket;
            if ns < 1 << POWER_MAX {
                assert!(highest(bucket) >= ns, "{ns}: {}", highest(bucket));
                assert!(highest(bucket) as f64 <= ns as f64 * 1.0625, "{ns}: {}", highest(bucket));
            }
        }
        assert_eq!(highest(bucket(u64::MAX)), 1 << POWER_MAX);
    }

    #[test]
    fn percentiles_match_the_recorded_values() {
        let (one, other) = (Latency::default(), Latency::default());
        for ns in 1..=1000 {
            let ring = if ns % 2 == 0 { &one } else { &other };
            ring.record(Kind::Get, Duration::from_nanos(ns), 1);
        }
        one.record(Kind::Set, Duration::from_micros(16), 4);
        let mut times = Times::default();
        times.add(&one);
        times.add(&other);
        let get = times.of(Kind::Get);
        assert_eq!((get.count, times.sum(Kind::Get)), (1000, Duration::from_nanos(500_500)));
        for (found, ns) in [(get.p50, 500), (get.p99, 990), (get.p999, 999), (get.max, 1000)] {
            let found = found.as_nanos();
            assert!(found >= ns && found <= ns + ns / 16, "{found} for {ns}");
        }
        let set = times.of(Kind::Set);
        assert_eq!((set.count, set.p50, set.max), (4, set.max, Duration::from_nanos(4095)));
        assert_eq!((times.of(Kind::Delete).count, times.of(Kind::Delete).max), (0, Duration::ZERO));
        assert_eq!(times.within(Kind::Get, Duration::from_nanos(511)), 511);
        assert_eq!(times.within(Kind::Set, Duration::from_nanos(4095)), 4);
        assert_eq!(times.within(Kind::Set, Duration::from_nanos(2047)), 0);
    }

    #[test]
    fn a_reset_starts_over() {
        let ring = Latency::default();
        ring.record(Kind::Other, Duration::from_secs(100), 1);
        let mut base = Times::default();
        base.add(&ring);
        assert_eq!(base.of(Kind::Other).max, Duration::from_nanos(1 << POWER_MAX));
        ring.record(Kind::Other, Duration::from_nanos(5), 1);
        let mut times = Times::default();
        times.add(&ring);
        times.subtract(&base);
        assert_eq!(times.sum(Kind::Other), Duration::from_nanos(5));
        let other = times.of(Kind::Other);
        assert_eq!((other.count, other.max), (1, Duration::from_nanos(5)));
    }
}
