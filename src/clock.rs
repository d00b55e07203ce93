//! Coarse time as a value that is passed in; the only caller of the operating system's clock.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Seconds on the server's own clock. It starts at 2, so that 0 can mean "never" as an expiry time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Secs(pub u32);

impl Secs {
    /// "No expiry".
    pub const NEVER: Self = Self(0);
    /// An expiry that has always passed (the clock starts at 2).
    pub const PAST: Self = Self(1);
}

/// The process's clock: monotonic seconds since start, and what Unix time that start was.
#[derive(Debug)]
pub struct Clock {
    started: Instant,
    /// Unix time at which this clock read 0.
    unix_start: u64,
    /// Seconds added by `debugtime`.
    moved: AtomicI64,
    /// What it shows while `debugtime p` holds it; 0 when it runs.
    paused: AtomicI64,
}

impl Clock {
    /// A clock that starts at 2 this instant.
    pub fn start() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
        Self {
            started: Instant::now(),
            unix_start: unix.saturating_sub(2),
            moved: AtomicI64::new(0),
            paused: AtomicI64::new(0),
        }
    }

    /// Seconds since start, plus 2.
    pub fn now(&self) -> Secs {
        let secs = match self.paused.load(Ordering::Relaxed) {
            0 => self.started.elapsed().as_secs() as i64 + 2 + self.moved.load(Ordering::Relaxed),
            secs => secs,
        };
        Secs(secs.clamp(2, i64::from(u32::MAX)) as u32)
    }

    /// Unix time at which this clock read 0.
    pub fn unix_start(&self) -> u64 {
        self.unix_start
    }

    /// The Unix time of `at`.
    pub fn unix(&self, at: Secs) -> u64 {
        self.unix_start + u64::from(at.0)
    }

    /// The Unix time, to the microsecond; for log lines.
    pub fn precise_unix(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO)
    }

    /// Moves the clock by `secs`, also while it is paused; for tests.
    pub fn shift(&self, secs: i64) {
        self.moved.fetch_add(secs, Ordering::Relaxed);
        if self.paused.load(Ordering::Relaxed) != 0 {
            self.paused.fetch_add(secs, Ordering::Relaxed);
        }
    }

    /// Stops the clock; for tests.
    pub fn pause(&self) {
        self.paused.store(i64::from(self.now().0), Ordering::Relaxed);
    }

    /// Lets it go on, from where it would be by now.
    pub fn resume(&self) {
        self.paused.store(0, Ordering::Relaxed);
    }
}

/// Measures a short time.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts this instant.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The time since the start.
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paused_clock_moves_by_hand_alone() {
        let clock = Clock::start();
        clock.pause();
        let before = clock.now();
        clock.shift(100);
        assert_eq!(clock.now(), Secs(before.0 + 100));
        clock.resume();
        assert!(clock.now() >= Secs(before.0 + 100));
    }
}
