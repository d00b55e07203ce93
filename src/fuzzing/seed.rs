//! The seed of a randomized test: the same in every run, so that only a change of the code can make the test fail, unless
//! the environment variable `MEMCRSD_TEST_SEED` overrides it.

use std::hash::{BuildHasher, RandomState};

const VARIABLE: &str = "MEMCRSD_TEST_SEED";

/// The seed for a test's random numbers: `fixed`, unless the variable `MEMCRSD_TEST_SEED` holds a number or, for a new seed
/// each time, `random`. Prints the seed, so that a failure can be repeated.
///
/// # Panics
/// The variable is neither a number nor `random`.
pub fn seed(fixed: u64) -> u64 {
    let wanted = std::env::var(VARIABLE).ok();
    let seed = choose(wanted.as_deref(), fixed).expect("MEMCRSD_TEST_SEED is a number or `random`");
    #[expect(clippy::print_stdout, reason = "only tests call this")]
    {
        println!("{VARIABLE}={seed}");
    }
    seed
}

fn choose(wanted: Option<&str>, fixed: u64) -> Option<u64> {
    match wanted {
        None => Some(fixed),
        Some("random") => Some(RandomState::new().hash_one(0)),
        Some(number) => number.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_fixed_given_or_drawn() {
        assert_eq!(choose(None, 7), Some(7));
        assert_eq!(choose(Some("8"), 7), Some(8));
        assert_ne!(choose(Some("random"), 7), choose(Some("random"), 7));
        assert_eq!(choose(Some("eight"), 7), None);
    }
}
