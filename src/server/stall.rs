//! Waiting for rings that lag, while the others are served.
//!
//! A command that needs room in the log, or memory that a ring may still be reading, is tried again when the ring that
//! lags most has moved. That ring has been woken, and mostly moves within microseconds. If it does not within
//! [`STALL_MAX`] the command is refused, and from then on every such command at once, on all rings, until it moves.

use super::core::Core;
use super::ring::Local;
use crate::limits::STALL_MAX;
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Looks at the rings that come without a rest in between.
const EAGER_LOOKS: u32 = 16;
/// Rest between two looks: the first, doubled with each, and the longest.
const REST_MIN: Duration = Duration::from_millis(1);
const REST_MAX: Duration = Duration::from_millis(16);

/// What all rings know of rings that do not move.
#[derive(Debug)]
pub(crate) struct Stalls {
    /// How far the slowest ring had come when waiting for it was given up.
    given_up_at: AtomicU64,
}

impl Default for Stalls {
    fn default() -> Self {
        Self { given_up_at: AtomicU64::new(u64::MAX) }
    }
}

impl Stalls {
    // Relaxed: the number stands for itself, and one that is seen late costs a wait.

    fn give_up(&self, place: u64) {
        self.given_up_at.store(place, Ordering::Relaxed);
    }

    fn is_given_up(&self, place: u64) -> bool {
        self.given_up_at.load(Ordering::Relaxed) == place
    }
}

/// The last wait on a ring: for which place of the slowest ring, and since when.
#[derive(Debug, Default)]
pub(super) struct LastStall(Cell<Option<(u64, Instant)>>);

impl LastStall {
    /// Since when the slowest ring has been seen at `place`: all that wait for it have one deadline.
    fn since(&self, place: u64) -> Instant {
        if let Some((at, since)) = self.0.get()
            && at == place
        {
            return since;
        }
        let since = Instant::now();
        self.0.set(Some((place, since)));
        since
    }
}

impl<C: Core> Local<C> {
    /// Waits until a command that has been stalled since `since` is worth another try; false if it is to be refused.
    pub(super) async fn wait_for_rings(&self, since: Instant) -> bool {
        let Some(place) = self.core.slowest() else {
            uring::turn().await;
            return since.elapsed() < STALL_MAX;
        };
        let unmoved_since = self.last_stall.since(place);
        let mut rest = REST_MIN;
        for look in 0.. {
            if self.is_stopping() || self.pulses.stalls.is_given_up(place) || since.elapsed() >= STALL_MAX {
                break;
            }
            if unmoved_since.elapsed() >= STALL_MAX {
                self.pulses.stalls.give_up(place);
                break;
            }
            if look < EAGER_LOOKS {
                uring::turn().await;
            } else {
                uring::sleep(rest).await;
                rest = (2 * rest).min(REST_MAX);
            }
            if self.core.slowest() != Some(place) {
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_wait_for_a_place_have_one_deadline() {
        let last = LastStall::default();
        let first = last.since(7);
        assert_eq!(last.since(7), first);
        let next = last.since(8);
        assert!(next >= first && last.since(8) == next);
        let stalls = Stalls::default();
        assert!(!stalls.is_given_up(7));
        stalls.give_up(7);
        assert!(stalls.is_given_up(7) && !stalls.is_given_up(8));
    }
}
