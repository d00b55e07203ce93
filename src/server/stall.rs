//! What is known about rings that do not move: how long each ring has waited, and whether all have given up.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Shared by all rings: the position of a slowest ring that is no longer waited for.
#[derive(Debug)]
pub(super) struct Stalls {
    given_up_at: AtomicU64,
}

impl Default for Stalls {
    fn default() -> Self {
        Self { given_up_at: AtomicU64::new(u64::MAX) }
    }
}

impl Stalls {
    // Relaxed: the number stands for itself, and seeing it late costs one wait.

    pub(super) fn give_up(&self, position: u64) {
        self.given_up_at.store(position, Ordering::Relaxed);
    }

    pub(super) fn is_given_up(&self, position: u64) -> bool {
        self.given_up_at.load(Ordering::Relaxed) == position
    }
}

/// A ring's last wait: for which position of the slowest ring, and since when.
#[derive(Debug, Default)]
pub(super) struct LastStall(Cell<Option<(u64, Instant)>>);

impl LastStall {
    /// Since when the slowest ring has been seen at `position`: all commands that wait for it share one deadline.
    pub(super) fn since(&self, position: u64) -> Instant {
        if let Some((at, since)) = self.0.get()
            && at == position
        {
            return since;
        }
        let since = Instant::now();
        self.0.set(Some((position, since)));
        since
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_commands_that_wait_for_a_position_share_one_deadline() {
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
