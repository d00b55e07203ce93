//! Detects a device that has left all reads unanswered for too long. One per device, shared by all rings: an atomic for the
//! frequent case, and a lock.

use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a device may leave all reads unanswered before the tier is taken out of use.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// The time since which a device has answered no read; none while it answers.
#[derive(Debug, Default)]
pub(super) struct Silence {
    /// True while `since` is set, so that the many answers of a working device take no lock.
    is_one: AtomicBool,
    since: Mutex<Option<Instant>>,
}

impl Silence {
    /// Ends the silence, if there is one; called when the device has answered a read.
    pub(super) fn end(&self) {
        if self.is_one.load(Ordering::Relaxed) {
            let mut since = self.since.lock();
            *since = None;
            // Cleared under the lock, so that a silence which begins at this moment is not forgotten.
            self.is_one.store(false, Ordering::Relaxed);
        }
    }

    /// Notes that a read begun at `since` timed out, or could not begin because earlier reads had timed out. True if no read has
    /// been answered for [`SILENCE_MAX`].
    pub(super) fn go_on(&self, since: Instant) -> bool {
        self.go_on_at(since, Instant::now())
    }

    fn go_on_at(&self, since: Instant, now: Instant) -> bool {
        let mut first = self.since.lock();
        self.is_one.store(true, Ordering::Relaxed);
        let first = *first.get_or_insert(since);
        now.saturating_duration_since(first) >= SILENCE_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_is_too_long_unless_an_answer_ends_it() {
        let (silence, start) = (Silence::default(), Instant::now());
        let go_on = |from, to| {
            let at = |secs| start + Duration::from_secs(secs);
            silence.go_on_at(at(from), at(to))
        };
        assert!((0..100).all(|_| !go_on(0, 3)));
        assert!(!go_on(3, 6) && !go_on(6, 9));
        assert!(go_on(9, 12) && go_on(12, 12));
        silence.end();
        assert!(!go_on(12, 15) && !go_on(18, 21));
        assert!(go_on(21, 24));
    }
}
