//! Bookkeeping for waits on a ring that does not replay the log: how long each ring has waited, and the log position on
//! which all have given up.
//!
//! [`Stalls`] is one for all rings, an atomic; [`RunClock`] and [`LastStall`] belong to one ring and are touched only by its
//! tasks. A ring that waits counts only time in which it runs itself. If no core is to spare, or the machine was suspended,
//! the other ring has not run either, and refusing commands would be wrong.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The log position of the slowest ring when a ring gave up waiting for it; `u64::MAX` if no ring has given up. All rings share
/// this, and none waits again while the slowest ring is at that position.
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

/// First pause between two checks of a task that waits; later pauses are longer, up to [`PAUSE_MAX`].
pub(super) const PAUSE_MIN: Duration = Duration::from_millis(1);
pub(super) const PAUSE_MAX: Duration = Duration::from_millis(16);

/// Most time that a [`RunClock`] counts from one reading to the next: twice the longest pause of the tasks that read it while
/// they wait.
const GAP_MAX: Duration = PAUSE_MAX.saturating_mul(2);

/// A clock of one ring, which stands still while the ring does not run. The tasks that wait read it at every step.
#[derive(Debug)]
pub(super) struct RunClock {
    read_at: Cell<Instant>,
    time: Cell<Duration>,
}

impl Default for RunClock {
    fn default() -> Self {
        Self { read_at: Cell::new(Instant::now()), time: Cell::default() }
    }
}

impl RunClock {
    /// The time since an arbitrary moment, not counting times in which the ring did not run.
    pub(super) fn now(&self) -> Duration {
        self.at(Instant::now())
    }

    /// The time that this clock has counted since [`RunClock::now`] returned `start`.
    pub(super) fn since(&self, start: Duration) -> Duration {
        self.now().saturating_sub(start)
    }

    fn at(&self, now: Instant) -> Duration {
        let gap = now.saturating_duration_since(self.read_at.replace(now));
        self.time.update(|time| time + gap.min(GAP_MAX));
        self.time.get()
    }
}

/// A ring's last wait for the slowest ring: the log position of that ring, and when the wait began.
#[derive(Debug, Default)]
pub(super) struct LastStall(Cell<Option<(u64, Duration)>>);

impl LastStall {
    /// When this ring first saw the slowest ring at `position`, by the [`RunClock`], whose present time is `now`. Thus all
    /// commands that wait for one position share one deadline.
    pub(super) fn since(&self, position: u64, now: Duration) -> Duration {
        if let Some((at, since)) = self.0.get()
            && at == position
        {
            return since;
        }
        self.0.set(Some((position, now)));
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_commands_that_wait_for_a_position_share_one_deadline() {
        let last = LastStall::default();
        let [first, second] = [1, 2].map(Duration::from_secs);
        assert_eq!(last.since(7, first), first);
        assert_eq!(last.since(7, second), first);
        assert_eq!(last.since(8, second), second);
        let stalls = Stalls::default();
        assert!(!stalls.is_given_up(7));
        stalls.give_up(7);
        assert!(stalls.is_given_up(7) && !stalls.is_given_up(8));
    }
    /// Commands were refused for lack of memory on a machine where all rings had waited a second for cores.
    #[test]
    fn a_ring_that_does_not_run_does_not_lose_patience() {
        let clock = RunClock::default();
        let (start, mut now) = (clock.now(), clock.read_at.get());
        let mut after = |gap| {
            now += Duration::from_millis(gap);
            clock.at(now).saturating_sub(start).as_millis()
        };
        assert_eq!(after(16), 16);
        assert_eq!(after(10_000), 48);
        assert_eq!(after(1), 49);
    }
}
