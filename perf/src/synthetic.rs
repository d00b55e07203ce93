//! `perf gen`: synthetic traces, each of which tests one property of an eviction policy.

use std::collections::VecDeque;
use std::path::PathBuf;

use argh::FromArgs;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use crate::trace::{Op, Trace};
use crate::value::mix;

/// Write a synthetic trace. NAME is one of zipf08 zipf10 scan loop onehit ttl overwrite large bulk shift calcify.
#[derive(FromArgs, Clone, Debug)]
#[argh(subcommand, name = "gen")]
pub(crate) struct Flags {
    /// which trace
    #[argh(positional)]
    name: String,
    /// output file
    #[argh(positional)]
    out: PathBuf,
    /// requests (3,000,000; large 600,000; bulk 300,000)
    #[argh(option)]
    requests: Option<usize>,
    /// keys (400,000; large 100,000; bulk 50,000)
    #[argh(option)]
    keys: Option<usize>,
    /// seed (1)
    #[argh(option, default = "1")]
    seed: u64,
}

/// # Errors
/// A message: no such trace, or the file cannot be written.
pub(crate) fn command(flags: &Flags) -> Result<(), String> {
    let mut spec = Spec::named(&flags.name).ok_or_else(|| format!("no trace is called {}", flags.name))?;
    spec.requests = flags.requests.unwrap_or(spec.requests);
    spec.keys = flags.keys.unwrap_or(spec.keys);
    if spec.requests == 0 || spec.keys < 10 || spec.keys + spec.requests > 1 << 27 {
        return Err("a trace has requests, at least 10 keys, and at most 128 million of both together".into());
    }
    spec.generate(flags.seed).save(&flags.out)
}

/// The definition of a trace.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    requests: usize,
    keys: usize,
    /// Exponent of the Zipf distribution.
    alpha: f64,
    /// Share of requests for a key that is never requested again.
    one_hit: f64,
    /// At every tenth of the run, one pass over this share of `keys`, which nothing else requests.
    scan: f64,
    /// True if every pass uses the same keys.
    scan_repeats: bool,
    /// Cumulative share of objects, and their time to live.
    ttls: &'static [(f64, u32)],
    /// Share of requests that overwrite, each with another size (0.5 to 2 times).
    sets: f64,
    /// How often the popularity moves on by a tenth of the keys.
    shifts: usize,
    /// One request in this many is for a new object of 0.5 to 1 MB; 0 for none.
    bulk_every: usize,
    /// Share of requests for a new object that is requested once more, [`SECOND_AFTER`] requests later.
    twice: f64,
    /// 100-byte values in the first half, 700-byte values of other keys in the second.
    calcify: bool,
    /// Inverse of the size distribution, piecewise linear: cumulative share, bytes.
    curve: &'static [(f64, f64)],
}

/// The order of magnitude of published key-value cache workloads.
const KV: &[(f64, f64)] = &[
    (0.0, 20.0),
    (0.10, 60.0),
    (0.25, 110.0),
    (0.50, 160.0),
    (0.75, 260.0),
    (0.90, 500.0),
    (0.97, 1200.0),
    (0.995, 4000.0),
    (1.0, 16000.0),
];
/// Two in a hundred objects hold most of the bytes.
const LARGE: &[(f64, f64)] =
    &[(0.0, 50.0), (0.50, 300.0), (0.90, 2000.0), (0.98, 8000.0), (0.995, 65_536.0), (1.0, 262_144.0)];
/// Requests between the two for an object that is requested twice.
const SECOND_AFTER: usize = 2_000;
const TTLS: &[(f64, u32)] = &[(0.4, 5), (0.7, 30), (0.9, 300), (1.0, 0)];

impl Spec {
    pub(crate) fn named(name: &str) -> Option<Self> {
        let base = Self {
            requests: 3_000_000,
            keys: 400_000,
            alpha: 1.0,
            one_hit: 0.0,
            scan: 0.0,
            scan_repeats: false,
            ttls: &[],
            sets: 0.0,
            shifts: 0,
            bulk_every: 0,
            twice: 0.0,
            calcify: false,
            curve: KV,
        };
        Some(match name {
            "zipf08" => Self { alpha: 0.8, ..base },
            "zipf10" => base,
            "scan" => Self { scan: 0.2, ..base },
            "loop" => Self { scan: 0.2, scan_repeats: true, ..base },
            "onehit" => Self { one_hit: 0.3, ..base },
            "ttl" => Self { ttls: TTLS, ..base },
            "overwrite" => Self { sets: 0.3, ..base },
            "large" => Self { requests: 600_000, keys: 100_000, alpha: 0.8, curve: LARGE, ..base },
            "bulk" => Self { requests: 300_000, keys: 50_000, bulk_every: 50, twice: 0.2, ..base },
            "shift" => Self { shifts: 10, ..base },
            "calcify" => Self { alpha: 0.9, calcify: true, ..base },
            _ => return None,
        })
    }

    pub(crate) fn generate(&self, seed: u64) -> Trace {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut shares: Vec<f64> = (1..=self.keys).map(|rank| (rank as f64).powf(-self.alpha)).collect();
        let mut sum = 0.0;
        for share in &mut shares {
            sum += *share;
            *share = sum;
        }
        let mut by_rank: Vec<u32> = (0..self.keys as u32).collect();
        by_rank.shuffle(&mut rng);
        let mut trace = Trace::default();
        // Even, because calcify uses keys in pairs.
        let mut fresh = self.keys.next_multiple_of(2) as u32;
        let mut scan_start = None;
        let scan_len = (self.keys as f64 * self.scan) as u32;
        let scan_every = (self.requests / 10).max(1);
        let mut bulk = Vec::new();
        let mut again: VecDeque<(usize, u32)> = VecDeque::new();
        for n in 0..self.requests {
            if scan_len > 0 && n > 0 && n % scan_every == 0 {
                let start = scan_start.filter(|_| self.scan_repeats).unwrap_or(fresh);
                fresh = fresh.max(start + scan_len);
                scan_start = Some(start);
                trace.requests.extend((start..start + scan_len).map(|object| Op::Get.packed(object)));
            }
            let seconds = again.iter().take_while(|(at, _)| *at <= n).count();
            trace.requests.extend(again.drain(..seconds).map(|(_, object)| Op::Get.packed(object)));
            let object = if self.bulk_every > 0 && n % self.bulk_every == 0 {
                bulk.push(fresh);
                fresh += 1;
                fresh - 1
            } else if self.twice > 0.0 && rng.random::<f64>() < self.twice {
                again.push_back((n + SECOND_AFTER, fresh));
                fresh += 1;
                fresh - 1
            } else if self.one_hit > 0.0 && rng.random::<f64>() < self.one_hit {
                fresh += 1;
                fresh - 1
            } else {
                let drawn = rng.random::<f64>() * sum;
                let rank = shares.partition_point(|&share| share < drawn).min(self.keys - 1);
                self.object(&by_rank, rank, n)
            };
            self.push(&mut trace, object, &mut rng);
        }
        trace.sizes = (0..fresh).map(|object| self.size(object)).collect();
        for object in bulk {
            trace.sizes[object as usize] = 500_000 + (mix(u64::from(object)) % 500_000) as u32;
        }
        if !self.ttls.is_empty() {
            trace.ttls = (0..fresh).map(|object| self.ttl(object)).collect();
        }
        trace
    }

    fn object(&self, by_rank: &[u32], rank: usize, n: usize) -> u32 {
        let shift = n * self.shifts / self.requests * (self.keys / 10);
        let object = by_rank[(rank + shift) % self.keys];
        if self.calcify { object / 2 * 2 + u32::from(n >= self.requests / 2) } else { object }
    }

    fn push(&self, trace: &mut Trace, object: u32, rng: &mut SmallRng) {
        let mut op = Op::Get;
        if self.sets > 0.0 {
            let mut factor = 1.0;
            if rng.random::<f64>() < self.sets {
                op = Op::Set;
                factor = 0.5 + 1.5 * rng.random::<f64>();
            }
            trace.request_sizes.push(((f64::from(self.size(object)) * factor) as u32).max(1));
        }
        trace.requests.push(op.packed(object));
    }

    fn size(&self, object: u32) -> u32 {
        let hash = mix(u64::from(object));
        if self.calcify {
            return if object.is_multiple_of(2) {
                60 + (hash % 80) as u32
            } else {
                550 + (hash % 300) as u32
            };
        }
        let share = unit(hash);
        let step = self.curve.windows(2).find(|step| share <= step[1].0);
        step.map_or(self.curve[self.curve.len() - 1].1, |step| {
            let ((a, x), (b, y)) = (step[0], step[1]);
            x + (y - x) * (share - a) / (b - a)
        }) as u32
    }

    fn ttl(&self, object: u32) -> u32 {
        let share = unit(mix(u64::from(object) ^ 0x7474));
        self.ttls.iter().find(|step| share <= step.0).map_or(0, |step| step.1)
    }
}

/// The hash as a number from 0 to 1.
fn unit(hash: u64) -> f64 {
    (hash >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small(name: &str) -> Trace {
        let spec = Spec::named(name).unwrap();
        Spec { requests: 20_000, keys: 1000, ..spec }.generate(1)
    }

    #[test]
    fn traces_have_what_they_promise() {
        assert_eq!(small("zipf10"), small("zipf10"));
        assert_eq!(small("scan").requests.len(), 20_000 + 9 * 200);
        assert_eq!(small("scan").sizes.len(), 1000 + 9 * 200);
        assert_eq!(small("loop").sizes.len(), 1000 + 200);
        let one_hits = small("onehit").sizes.len() - 1000;
        assert!((5_500..6_500).contains(&one_hits), "{one_hits}");
        let overwrite = small("overwrite");
        let sets = (0..20_000).filter(|&i| overwrite.request(i).op == Op::Set).count();
        assert!((5_500..6_500).contains(&sets), "{sets}");
        assert!(small("ttl").ttls.contains(&5));
        let bulk = small("bulk");
        let requests =
            |object: u32| (0..bulk.requests.len()).filter(|&i| bulk.request(i).object == object).count();
        assert_eq!(bulk.sizes.iter().filter(|&&size| size >= 500_000).count(), 400);
        assert_eq!((bulk.sizes[1_000] >= 500_000, requests(1_000), requests(1_001)), (true, 1, 2));
        let calcify = small("calcify");
        assert!((0..10_000).all(|i| calcify.request(i).value_len < 140));
        assert!((10_000..20_000).all(|i| calcify.request(i).value_len >= 550));
    }
}
