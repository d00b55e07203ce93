//! The open loop: requests become due by the clock, whatever the server does.
//!
//! A request that cannot be sent when it is due, because every connection has its full depth in flight, waits here, and
//! its latency counts from when it was due. So a server that stalls for a second at 1,000 requests a second gets 1,000
//! bad latencies, as its users would, and not one. This avoids coordinated omission.
//!
//! Source: G. Tene, "How NOT to Measure Latency"; github.com/giltene/wrk2.

use std::collections::VecDeque;

use rand::rngs::SmallRng;
use rand_distr::{Distribution, Exp1};

/// Distribution of due times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrivals {
    /// Equal gaps.
    Even,
    /// A Poisson process: exponential gaps.
    Poisson,
}

#[derive(Debug)]
pub(super) struct Pace {
    arrivals: Arrivals,
    gap_ns: f64,
    next_ns: f64,
    waiting: VecDeque<u64>,
}

impl Pace {
    /// `rate` in requests a second; the first is due at 0.
    pub(super) fn new(rate: f64, arrivals: Arrivals) -> Self {
        Self { arrivals, gap_ns: 1e9 / rate, next_ns: 0.0, waiting: VecDeque::new() }
    }

    /// Makes the next request due at `now_ns`.
    pub(super) fn start(&mut self, now_ns: u64) {
        self.next_ns = now_ns as f64;
    }

    /// Queues the requests that are due by `now_ns`.
    pub(super) fn advance(&mut self, now_ns: u64, rng: &mut SmallRng) {
        while self.next_ns <= now_ns as f64 {
            self.waiting.push_back(self.next_ns as u64);
            let gaps: f64 = match self.arrivals {
                Arrivals::Even => 1.0,
                Arrivals::Poisson => Exp1.sample(rng),
            };
            self.next_ns += self.gap_ns * gaps;
        }
    }

    /// The due time of the oldest request that waits to be sent.
    pub(super) fn take(&mut self) -> Option<u64> {
        self.waiting.pop_front()
    }

    pub(super) fn next_ns(&self) -> u64 {
        self.next_ns as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hdrhistogram::Histogram;
    use rand::SeedableRng;

    /// One connection, a service time of 10 us, and one stall of a second in ten.
    fn latencies(pace: &mut Pace) -> Histogram<u64> {
        let mut rng = SmallRng::seed_from_u64(1);
        let mut latencies = Histogram::new(3).unwrap();
        let mut now_ns = 0;
        let mut stalled = false;
        while now_ns < 10_000_000_000 {
            pace.advance(now_ns, &mut rng);
            let Some(due_ns) = pace.take() else {
                now_ns = pace.next_ns();
                continue;
            };
            let stalls = now_ns >= 5_000_000_000 && !stalled;
            stalled |= stalls;
            now_ns += if stalls { 1_000_000_000 } else { 10_000 };
            latencies.record(now_ns - due_ns).unwrap();
        }
        latencies
    }

    #[test]
    fn a_stall_is_felt_by_every_request_that_was_due_in_it() {
        // With gaps of 50 us there is no queue: without the stall every latency is 10 us.
        let latencies = latencies(&mut Pace::new(20_000.0, Arrivals::Even));
        let late = latencies.count_between(1_000_000, u64::MAX);
        assert!((20_000..30_000).contains(&late), "{late}");
        assert!(latencies.value_at_quantile(0.99) > 800_000_000);
        assert!(latencies.value_at_quantile(0.5) < 11_000);
    }

    #[test]
    fn poisson_keeps_the_rate() {
        let mut pace = Pace::new(1e6, Arrivals::Poisson);
        pace.advance(1_000_000_000, &mut SmallRng::seed_from_u64(2));
        let count = std::iter::from_fn(|| pace.take()).count();
        assert!((990_000..1_010_000).contains(&count), "{count}");
    }
}
