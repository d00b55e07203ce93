//! Coarse time, in whole seconds. Store, engine and sessions take the time from this module alone, as a value that callers pass
//! on.
//!
//! The process has one [`Clock`], in `engine::Shared`. Any thread may read it; only the `debugtime` command of builds with the
//! feature `debug` changes it, through atomics.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A time on the server's own clock, seconds. The clock starts at 2, so that two values are free for special expiries: 0 for
/// "never" and 1 for "already passed".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u32);

impl Timestamp {
    /// The expiry of an item that never expires.
    pub const NEVER: Self = Self(0);
    /// An expiry that has passed whatever the clock shows.
    pub const PAST: Self = Self(1);
}

/// The first second that a clock shows. Seconds 0 and 1 have special meanings as expiries.
const FIRST_SECOND: u64 = 2;

/// Returns the current Unix time, seconds; 0 if the system's clock is set before 1970.
pub fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

/// The process's clock: it counts monotonic seconds, and knows the Unix time at which it read 0.
///
/// Its seconds count from the start of the process or, with a memory file (-e), from the start of the first process that wrote
/// the file, including times when no process ran. It never shows less than the earlier process saw, even if the system's clock
/// was set back, so an item that had expired stays expired.
#[derive(Debug)]
pub struct Clock {
    started: Instant,
    /// The time that this clock showed when the process started it.
    first: Timestamp,
    /// The Unix time at which this clock read 0, or would have read 0 if it had existed.
    unix_start: u64,
    /// The seconds by which `debugtime` has moved the clock.
    moved: AtomicI64,
    /// The second at which `debugtime p` has stopped the clock; 0 while the clock runs.
    paused: AtomicI64,
}

impl Clock {
    /// Starts a clock that reads 2 at this moment.
    pub fn start() -> Self {
        Self::going_on(unix_now().saturating_sub(FIRST_SECOND), Timestamp(FIRST_SECOND as u32))
    }

    /// Starts a clock that reads `now` at this moment, or 2 if `now` is less. `unix_start` is the Unix time of its second 0.
    pub fn going_on(unix_start: u64, now: Timestamp) -> Self {
        Self {
            started: Instant::now(),
            first: now.max(Timestamp(FIRST_SECOND as u32)),
            unix_start,
            moved: AtomicI64::new(0),
            paused: AtomicI64::new(0),
        }
    }

    /// Returns the time that the clock shows, which is at least 2.
    pub fn now(&self) -> Timestamp {
        let secs = match self.paused.load(Ordering::Relaxed) {
            0 => {
                let elapsed = self.started.elapsed().as_secs() as i64;
                elapsed + i64::from(self.first.0) + self.moved.load(Ordering::Relaxed)
            }
            secs => secs,
        };
        Timestamp(secs.clamp(FIRST_SECOND as i64, i64::from(u32::MAX)) as u32)
    }

    /// Returns the seconds that the process has run at the time `now`, plus 2, as memcached counts them.
    pub fn uptime(&self, now: Timestamp) -> u64 {
        u64::from(now.0.saturating_sub(self.first.0)) + FIRST_SECOND
    }

    /// Returns the Unix time at which this clock read 0, or would have read 0 if it had existed. A Unix time minus this one is a
    /// time on the clock.
    pub fn unix_start(&self) -> u64 {
        self.unix_start
    }

    /// Returns the Unix time at which the clock shows `at`, seconds.
    pub fn unix(&self, at: Timestamp) -> u64 {
        self.unix_start + u64::from(at.0)
    }

    /// Returns the Unix time of the system's clock with fractions of a second. Log lines show it.
    pub fn precise_unix(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO)
    }

    /// Moves the clock forward by `secs` seconds, or back if `secs` is negative, even while it is stopped. For tests only.
    pub fn shift(&self, secs: i64) {
        self.moved.fetch_add(secs, Ordering::Relaxed);
        if self.paused.load(Ordering::Relaxed) != 0 {
            self.paused.fetch_add(secs, Ordering::Relaxed);
        }
    }

    /// Stops the clock at the time that it shows. For tests only.
    pub fn pause(&self) {
        self.paused.store(i64::from(self.now().0), Ordering::Relaxed);
    }

    /// Lets a stopped clock run again. It then shows the time it would show if it had never been stopped.
    pub fn resume(&self) {
        self.paused.store(0, Ordering::Relaxed);
    }
}

/// Measures a short time with the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts measuring at this moment.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Returns the time since [`Stopwatch::start`].
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

    #[test]
    fn a_clock_that_goes_on_counts_the_uptime_anew() {
        let clock = Clock::going_on(1_000, Timestamp(500));
        clock.pause();
        let now = clock.now();
        assert!(now >= Timestamp(500));
        assert_eq!((clock.unix_start(), clock.unix(now)), (1_000, 1_000 + u64::from(now.0)));
        assert_eq!(clock.uptime(Timestamp(500)), 2);
        assert_eq!(clock.uptime(Timestamp(560)), 62);
        clock.shift(-100);
        assert_eq!(clock.uptime(clock.now()), 2, "debugtime may go back before the start");
    }
}
