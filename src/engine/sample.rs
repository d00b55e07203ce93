//! Which pieces of input are looked at closely: about one in 64 feeds of a ring, at random distances.
//!
//! Of those, half on average are timed ([`super::latency`]), and one in 16 gives its keys ([`super::hotkeys`]); never both,
//! so that the work of one does not show in the other. A feed is chosen whatever it holds, so each request has the same
//! chance; random distances keep the choice from falling into step with what clients repeat.
//!
//! What every feed pays is one decrement and one branch.

/// A feed in so many is drawn, on average.
const FEEDS: u64 = 64;
/// A request in so many is timed, on average.
pub(super) const TIMED_ONE_IN: u64 = 2 * FEEDS;
/// A key in so many is noted, on average.
pub(super) const NOTED_ONE_IN: u64 = 16 * FEEDS;

/// What is done with a feed besides running it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sample {
    /// Nothing.
    None,
    /// Its requests are timed.
    Times,
    /// Its keys are noted.
    Keys,
}

/// A ring's choice of feeds.
#[derive(Debug)]
pub(super) struct Sampler {
    /// Feeds to the next that is chosen, that one included.
    left: u32,
    state: u64,
}

impl Sampler {
    /// Rings with different numbers choose differently.
    pub(super) fn new(ring: usize) -> Self {
        // Any odd multiplier spreads the numbers over the state, which must not be 0.
        let mut sampler = Self { left: 0, state: (ring as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) };
        sampler.draw();
        sampler
    }

    /// What to do with the next feed.
    #[inline(always)]
    pub(super) fn next(&mut self) -> Sample {
        self.left -= 1;
        if self.left > 0 { Sample::None } else { self.draw() }
    }

    /// Draws the next distance, 1 to 127 feeds, and what this feed is chosen for.
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
    fn what_clients_repeat_is_sampled_evenly() {
        // A client that alternates between two requests: both are met equally often.
        let mut sampler = Sampler::new(0);
        let mut met = [0u64; 2];
        for feed in 0..1_000_000 {
            met[feed % 2] += u64::from(sampler.next() != Sample::None);
        }
        assert!(met[0].abs_diff(met[1]) < met[0] / 10, "{met:?}");
    }
}
