//! The watchdog: notices a ring that no longer turns, says so, and in the end gives the process up.
//!
//! A ring beats once a second, by an operation that goes through its kernel queue and back; so a beat says that the
//! thread runs, that tasks get their turn, and that completions arrive. A thread of its own looks at the beats, since any
//! ring may be the one that is stuck.
//!
//! What a stuck ring costs: its own connections wait, and its place in the log stays. Other rings serve on until they have
//! written as much as the log holds, or a full store has no memory left that the stuck ring cannot be reading; from then on
//! writes are refused (`stall`). A cache in that state is worse for its clients than one that is down: they take it for
//! alive and do not fail over. So the process is given up
//! ([`ring_timeout_secs`](crate::config::Config::ring_timeout_secs)), which a supervisor answers with a fresh one.
//!
//! Age is counted in looks, not in time: a process that was stopped or a machine that was suspended finds its rings as old
//! as before.

use super::stall::Stalls;
use crate::engine::Shared;
use crate::store::Store;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Time between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// A ring that has not beaten for so long is spoken of, seconds; or for half the time limit, if that is less.
const NOTICE_SECS: u32 = 10;

/// A ring that has not beaten for this many looks is given no connections.
const SILENT_LOOKS: u32 = 3;

/// One ring's beats.
#[derive(Debug, Default)]
struct Pulse {
    beats: AtomicU32,
    /// Looks since the last of them.
    silent: AtomicU32,
}

/// Whether the rings turn.
#[derive(Debug)]
pub(super) struct Pulses {
    rings: Box<[Pulse]>,
    pub(super) stalls: Stalls,
}

impl Pulses {
    pub(super) fn new(rings: usize) -> Arc<Self> {
        Arc::new(Self { rings: (0..rings).map(|_| Pulse::default()).collect(), stalls: Stalls::default() })
    }

    // Relaxed, in all of them: the numbers stand for themselves.

    /// `ring` turns.
    pub(super) fn beat(&self, ring: usize) {
        self.rings[ring].beats.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether `ring` has beaten lately.
    pub(super) fn beats(&self, ring: usize) -> bool {
        self.rings[ring].silent.load(Ordering::Relaxed) < SILENT_LOOKS
    }

    fn count(&self, ring: usize) -> u32 {
        self.rings[ring].beats.load(Ordering::Relaxed)
    }

    fn set_silent(&self, ring: usize, looks: u32) {
        self.rings[ring].silent.store(looks, Ordering::Relaxed);
    }
}

/// What a look at a ring may find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finding {
    /// It has not turned for this many seconds, for the first time.
    Stuck(u32),
    /// It turns again, after so many seconds.
    Well(u32),
    /// It has not turned for so many seconds, which is the limit.
    Lost(u32),
}

/// One ring as the watchdog knows it.
#[derive(Clone, Copy, Debug, Default)]
struct Ward {
    beats: u32,
    /// Looks since the last beat.
    silent_secs: u32,
}

impl Ward {
    /// A look, one second after the last; `limit_secs` 0 is no limit.
    fn look(&mut self, beats: u32, limit_secs: u32) -> Option<Finding> {
        let notice_secs = if limit_secs == 0 { NOTICE_SECS } else { NOTICE_SECS.min(limit_secs.div_ceil(2)) };
        if beats != self.beats {
            let was_silent = std::mem::take(&mut self.silent_secs);
            self.beats = beats;
            return (was_silent >= notice_secs).then_some(Finding::Well(was_silent));
        }
        self.silent_secs = self.silent_secs.saturating_add(1);
        if limit_secs > 0 && self.silent_secs >= limit_secs {
            return Some(Finding::Lost(self.silent_secs));
        }
        (self.silent_secs == notice_secs).then_some(Finding::Stuck(self.silent_secs))
    }
}

/// Starts watching; the thread ends with the process.
///
/// # Errors
/// There can be no more threads.
pub(super) fn start(pulses: Arc<Pulses>, shared: Arc<Shared>, store: Arc<Store>) -> std::io::Result<()> {
    let watch = move || {
        let mut wards = vec![Ward::default(); pulses.rings.len()];
        loop {
            std::thread::sleep(LOOK);
            for (ring, ward) in wards.iter_mut().enumerate() {
                let finding = ward.look(pulses.count(ring), shared.config.ring_timeout_secs);
                pulses.set_silent(ring, ward.silent_secs);
                if let Some(finding) = finding {
                    tell(ring, finding, &shared, &store);
                }
            }
        }
    };
    std::thread::Builder::new().name("watchdog".to_owned()).spawn(watch).map(drop)
}

/// Says what was found, counts it, and ends the process if there is no more to hope for.
fn tell(ring: usize, finding: Finding, shared: &Shared, store: &Store) {
    match finding {
        Finding::Stuck(secs) => {
            let (lag, capacity) = store.lag(ring);
            shared.gauges.ring_is_stuck();
            tracing::error!(
                "ring {ring} has not turned for {secs} s: its connections wait, and all writes are refused once it is \
                 {capacity} writes behind (now {lag}), or earlier when memory is full"
            );
        }
        Finding::Well(secs) => {
            shared.gauges.ring_turns_again();
            tracing::warn!("ring {ring} turns again after {secs} s");
        }
        Finding::Lost(secs) => {
            tracing::error!(
                "ring {ring} has not turned for {secs} s: giving up, so that a new process can take over \
                 (--ring-timeout=0 would wait on)"
            );
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(limit_secs: u32, beats: &[u32]) -> Vec<Option<Finding>> {
        let mut ward = Ward::default();
        beats.iter().map(|&beats| ward.look(beats, limit_secs)).collect()
    }

    #[test]
    fn a_ring_that_beats_is_not_spoken_of() {
        assert!(looks(2, &[1, 2, 3, 4, 5, 6]).iter().all(Option::is_none));
        // A beat that comes late is still a beat.
        assert!(looks(0, &[1, 1, 1, 1, 2, 2, 2, 2, 3]).iter().all(Option::is_none));
    }

    #[test]
    fn silence_is_told_once_and_so_is_its_end() {
        let mut beats = vec![7; 30];
        beats.extend([8, 9]);
        let found: Vec<_> = looks(0, &beats).into_iter().flatten().collect();
        assert_eq!(found, [Finding::Stuck(10), Finding::Well(29)]);
    }

    #[test]
    fn at_the_limit_the_ring_is_lost() {
        let found: Vec<_> = looks(60, &[7; 61]).into_iter().flatten().collect();
        assert_eq!(found, [Finding::Stuck(10), Finding::Lost(60)]);
        let found: Vec<_> = looks(4, &[7; 5]).into_iter().flatten().collect();
        assert_eq!(found, [Finding::Stuck(2), Finding::Lost(4)]);
        assert_eq!(looks(1, &[7, 7])[1], Some(Finding::Lost(1)), "no notice before so short a limit");
    }
}
