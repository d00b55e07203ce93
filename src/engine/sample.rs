//! Chooses which inputs of a ring are sampled: about one in 64, at random distances.
//!
//! On average half of the chosen inputs are timed ([`super::latency`]), and of one in 16 the keys are recorded
//! ([`super::hotkeys`]). No input gets both, so that neither disturbs the other. An input is chosen regardless of its content, so
//! each request has the same chance, and random distances avoid resonance with periodic clients.
//!
//! The cost for every input is one decrement and one branch. Each ring's [`Engine`](super::Engine) owns its [`Sampler`].

/// On average, one input in this many is chosen.
const FEEDS: u64 = 64;
/// On average, one request in this many is timed.
pub(super) const TIMED_ONE_IN: u64 = 2 * FEEDS;
/// On average, one key in this many is recorded.
pub(super) const NOTED_ONE_IN: u64 = 16 * FEEDS;

/// What a ring does with an input in addition to running it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sample {
    /// The ring does nothing more.
    None,
    /// The requests of the input are timed, for `stats latency`.
    Times,
    /// The keys of the input are recorded, for `stats hotkeys`.
    Keys,
}

/// Chooses the inputs of one ring that are sampled.
#[derive(Debug)]
pub(super) struct Sampler {
    /// Number of inputs up to and including the next one that is chosen.
    left: u32,
    /// State of the random number generator; never 0.
    state: u64,
}

impl Sampler {
    /// Makes the sampler of ring number `ring`. Each number gives another sequence of samples.
    pub(super) fn new(ring: usize) -> Self {
        // Any odd multiplier spreads the numbers over the state, which must not be 0.
        let mut sampler = Self { left: 0, state: (ring as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) };
        sampler.draw();
        sampler
    }

    /// Returns what to do with the next input of the ring.
    #[inline(always)]
    pub(super) fn next(&mut self) -> Sample {
        self.left -= 1;
        if self.left > 0 { Sample::None } else { self.draw() }
    }

    /// Draws the distance to the next chosen input, 1 to 127 inputs, and what to do with the present one.
    ///
    /// Source of the generator: Marsaglia, "Xorshift RNGs", 2003 (xorshift64).
    #[cold]
    fn draw(&mut self) -> Sample {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        let number = self.state >> 32;
        self.left = 1 + (number % (2 * FEEDS - 1)) as u32;
        match self.state & 15 {
            0 => Sample::Keys,
            1..=8 => Sample::Times,
            _ => Sample::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_feed_in_128_is_timed_and_one_in_1024_gives_its_keys() {
        const ROUNDS: usize = 1_000_000;
        for ring in 0..4 {
            let mut sampler = Sampler::new(ring);
            let (mut times, mut keys) = (0u64, 0u64);
            for _ in 0..ROUNDS {
                match sampler.next() {
                    Sample::None => {}
                    Sample::Times => times += 1,
                    Sample::Keys => keys += 1,
                }
            }
            for (found, one_in) in [(times, TIMED_ONE_IN), (keys, NOTED_ONE_IN)] {
                let expected = ROUNDS as u64 / one_in;
                assert!(found.abs_diff(expected) < expected / 7, "ring {ring}: {times} and {keys}");
            }
        }
    }

    #[test]
    fn periodic_clients_are_sampled_evenly() {
        // For a client that alternates between two requests, both are sampled equally often.
        let mut sampler = Sampler::new(0);
        let mut met = [0u64; 2];
        for feed in 0..1_000_000 {
            met[feed % 2] += u64::from(sampler.next() != Sample::None);
        }
        assert!(met[0].abs_diff(met[1]) < met[0] / 10, "{met:?}");
    }
}
