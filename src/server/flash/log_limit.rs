//! Limits one kind of log line to one a minute, and counts the lines left out. Shared by all threads that log this kind; under a
//! lock.

use parking_lot::Mutex;
use std::time::{Duration, Instant};

/// Least time between two lines of one kind.
const PAUSE: Duration = Duration::from_mins(1);

/// One kind of log line, which is logged at most once a minute.
#[derive(Debug, Default)]
pub(super) struct LogLimit(Mutex<Last>);

#[derive(Debug, Default)]
struct Last {
    at: Option<Instant>,
    /// How many events since the last line were not logged.
    others: u64,
}

impl LogLimit {
    /// Calls `log` if a minute has passed since the last line, and gives it the number of events since then that were not
    /// logged. Otherwise only counts the event.
    pub(super) fn log(&self, log: impl FnOnce(u64)) {
        self.log_at(Instant::now(), log);
    }

    fn log_at(&self, now: Instant, log: impl FnOnce(u64)) {
        let mut last = self.0.lock();
        if last.at.is_some_and(|at| now.saturating_duration_since(at) < PAUSE) {
            last.others += 1;
            return;
        }
        let others = last.others;
        *last = Last { at: Some(now), others: 0 };
        drop(last);
        log(others);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_comes_once_a_minute_and_counts_the_others() {
        let (limit, start) = (LogLimit::default(), Instant::now());
        let mut lines = Vec::new();
        for secs in [0, 1, 59, 60, 61, 200] {
            limit.log_at(start + Duration::from_secs(secs), |others| lines.push((secs, others)));
        }
        assert_eq!(lines, [(0, 0), (60, 2), (200, 1)]);
    }
}
