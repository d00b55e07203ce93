//! The choice of the next object: uniform, Zipf, or sequential.

use std::str::FromStr;

use rand::Rng;
use rand::rngs::SmallRng;
use rand_distr::{Distribution, Zipf};

/// How objects are chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Choice {
    /// All objects are equally likely.
    Uniform,
    /// The object of rank r has a share proportional to 1 / r^theta.
    Zipf(f64),
    /// Each object once, in order, then from the start.
    Sequential,
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "uniform" => Ok(Self::Uniform),
            None if text == "sequential" => Ok(Self::Sequential),
            None if text == "zipf" => Ok(Self::Zipf(0.99)),
            Some(("zipf", theta)) => match theta.parse() {
                Ok(theta) if (0.0..10.0).contains(&theta) => Ok(Self::Zipf(theta)),
                _ => Err(format!("theta of zipf must be from 0 to 10, not {theta}")),
            },
            _ => Err(format!("keys must be uniform, zipf:THETA or sequential, not {text}")),
        }
    }
}

/// Draws objects from `first..first + count`.
#[derive(Debug)]
pub(crate) struct Chooser {
    first: u64,
    count: u64,
    /// Spreads popular objects out: rank r is object r * stride mod count.
    stride: u64,
    next: u64,
    choice: Choice,
    zipf: Zipf<f64>,
}

impl Chooser {
    /// # Panics
    /// When `count` is 0; the flags are checked first.
    pub(crate) fn new(choice: Choice, first: u64, count: u64) -> Self {
        let theta = if let Choice::Zipf(theta) = choice { theta } else { 1.0 };
        let zipf =
            Zipf::new(count as f64, theta).expect("a count of at least 1 and a theta from 0 are allowed");
        Self { first, count, stride: stride(count), next: 0, choice, zipf }
    }

    pub(crate) fn next(&mut self, rng: &mut SmallRng) -> u64 {
        let offset = match self.choice {
            Choice::Uniform => rng.random_range(0..self.count),
            Choice::Zipf(_) => {
                let rank = self.zipf.sample(rng) as u64 - 1;
                (u128::from(rank) * u128::from(self.stride) % u128::from(self.count)) as u64
            }
            Choice::Sequential => {
                let offset = self.next;
                self.next = (self.next + 1) % self.count;
                offset
            }
        };
        self.first + offset
    }
}

/// A number without a common divisor with `count`, about 0.618 of it, so that multiplying by it is a permutation.
fn stride(count: u64) -> u64 {
    let mut stride = (count as f64 * 0.618_034) as u64 | 1;
    while gcd(stride, count) != 1 {
        stride += 2;
    }
    stride
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    fn counts(choice: Choice, count: u64, draws: usize) -> Vec<u64> {
        let mut chooser = Chooser::new(choice, 100, count);
        let mut rng = SmallRng::seed_from_u64(1);
        let mut counts = vec![0; count as usize];
        for _ in 0..draws {
            counts[(chooser.next(&mut rng) - 100) as usize] += 1;
        }
        counts
    }

    #[test]
    fn zipf_has_its_shares() {
        for theta in [0.8, 0.99, 1.2] {
            let mut seen = counts(Choice::Zipf(theta), 1000, 1_000_000);
            seen.sort_unstable_by(|a, b| b.cmp(a));
            let total: f64 = (1..=1000).map(|rank| f64::from(rank).powf(-theta)).sum();
            for rank in [1usize, 2, 5, 10] {
                let expected = 1e6 * (rank as f64).powf(-theta) / total;
                let off = (seen[rank - 1] as f64 - expected).abs() / expected;
                assert!(off < 0.03, "theta {theta} rank {rank}: {} not {expected}", seen[rank - 1]);
            }
        }
    }

    #[test]
    fn the_stride_is_a_permutation() {
        for count in [1, 2, 3, 10, 1000, 65_536, 99_999] {
            let mut seen: Vec<u64> = (0..count).map(|rank| rank * stride(count) % count).collect();
            seen.sort_unstable();
            assert!(seen.into_iter().eq(0..count), "{count}");
        }
    }

    #[test]
    fn uniform_and_sequential_reach_every_object() {
        assert!(counts(Choice::Uniform, 100, 100_000).iter().all(|&n| (800..1200).contains(&n)));
        assert!(counts(Choice::Sequential, 100, 1000).iter().all(|&n| n == 10));
    }
}
