//! Coarse time, passed to its users as a value. The only code that reads the operating system's clock.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A time on the server's own clock, seconds. It starts at 2, so that as an expiry time 0 can mean "never".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u32);

impl Timestamp {
    /// "No expiry".
    pub const NEVER: Self = Self(0);
    /// An expiry that has always passed (the clock starts at 2).
    pub const PAST: Self = Self(1);
}

/// The process's clock: monotonic seconds since startup, and the Unix time of startup.
#[derive(Debug)]
pub struct Clock {
    started: Instant,
    /// Unix time at which this clock read 0.
    unix_start: u64,
    /// Seconds added by `debugtime`.
    moved: AtomicI64,
    /// The time at which `debugtime p` stopped it; 0 while it runs.
    paused: AtomicI64,
}

impl Clock {
    /// A clock that reads 2 now.
    pub fn start() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
        Self {
            started: Instant::now(),
            unix_start: unix.saturating_sub(2),
            moved: AtomicI64::new(0),
            paused: AtomicI64::new(0),
        }
    }

    /// Seconds since startup, plus 2.
    pub fn now(&self) -> Timestamp {
        let secs = match self.paused.load(Ordering::Relaxed) {
            0 => self.started.elapsed().as_secs() as i64 + 2 + self.moved.load(Ordering::Relaxed),
            secs => secs,
        };
        Timestamp(secs.clamp(2, i64::from(u32::MAX)) as u32)
    }

    /// Unix time at which this clock read 0.
    pub fn unix_start(&self) -> u64 {
        self.unix_start
    }

    /// The Unix time of `at`.
    pub fn unix(&self, at: Timestamp) -> u64 {
        self.unix_start + u64::from(at.0)
    }

    /// The Unix time in microseconds, for log lines.
    pub fn precise_unix(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO)
    }

    /// Moves the clock by `secs`, even while it is paused; for tests.
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

    /// Lets it continue from the time it would show by now.
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
    fn a_paused_clock_moves_only_on_request() {
        let clock = Clock::start();
        clock.pause();
        let before = clock.now();
        clock.shift(100);
        assert_eq!(clock.now(), Timestamp(before.0 + 100));
        clock.resume();
        assert!(clock.now() >= Timestamp(before.0 + 100));
    }
}
