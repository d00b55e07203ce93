//! What the connections of one worker share: the plan, the generator, the counters.

use std::time::Instant;

use hdrhistogram::Histogram;
use rand::Rng;
use rand::rngs::SmallRng;

use super::plan::Plan;
use crate::value::{Keys, Pattern};
use crate::zipf::Chooser;

/// Counters; only `wrong` and `refused` include the warm-up.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) requests: u64,
    pub(super) operations: u64,
    pub(super) sets: u64,
    pub(super) hits: u64,
    pub(super) misses: u64,
    pub(super) wrong: u64,
    pub(super) refused: u64,
    /// The first error, for the user.
    pub(super) complaint: Option<String>,
}

/// What a worker's connections share.
#[derive(Debug)]
pub(super) struct WorkerContext<'a> {
    pub(super) plan: &'a Plan,
    pub(super) pattern: &'a Pattern,
    pub(super) keys: Keys,
    pub(super) tally: Tally,
    pub(super) latency: Histogram<u64>,
    pub(super) buf: Vec<u8>,
    pub(super) chooser: Chooser,
    pub(super) rng: SmallRng,
    pub(super) clock: Instant,
}

impl WorkerContext<'_> {
    pub(super) fn now_ns(&self) -> u64 {
        self.clock.elapsed().as_nanos() as u64
    }

    pub(super) fn next_object(&mut self) -> u64 {
        self.chooser.next(&mut self.rng)
    }

    pub(super) fn chance(&mut self, share: f64) -> bool {
        self.rng.random::<f64>() < share
    }

    pub(super) fn ttl_secs(&mut self) -> u32 {
        let (low, high) = self.plan.ttl_secs;
        if low == high { low } else { self.rng.random_range(low..=high) }
    }

    pub(super) fn record(&mut self, latency_ns: u64) {
        self.latency.saturating_record(latency_ns);
    }

    pub(super) fn complain(&mut self, words: impl FnOnce() -> String) {
        if self.tally.complaint.is_none() {
            self.tally.complaint = Some(words());
        }
    }

    /// Resets the counters, except those of errors.
    pub(super) fn start_measuring(&mut self) {
        self.latency.reset();
        self.tally = Tally {
            wrong: self.tally.wrong,
            refused: self.tally.refused,
            complaint: self.tally.complaint.take(),
            ..Tally::default()
        };
    }
}
