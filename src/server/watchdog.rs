//! The watchdog: detects a ring that makes no progress, logs it, and after the time limit aborts the process.
//!
//! A ring beats once a second, with an operation that goes through its kernel queue and back. A beat therefore shows that the
//! thread runs, that tasks are scheduled, and that completions arrive. A thread of its own checks the beats, since any ring
//! may be the one that is stuck.
//!
//! What a stuck ring costs: its own connections wait, and its cursor in the log stays. The other rings serve until the log is
//! full, or until a full store has no memory left that the stuck ring cannot be reading; from then on writes are refused
//! (`backoff`). For its clients such a cache is worse than one that is down, because they take it for alive and do not fail
//! over. So the process is aborted after
//! [`ring_timeout_secs`](crate::config::Config::ring_timeout_secs), and a supervisor starts a fresh one.
//!
//! Staleness counts watchdog ticks, so suspending the process or the machine does not trip it.
//!
//! [`Heartbeats`] is one for all threads, made of atomics: each ring counts its own beats, and only the watchdog's thread
//! writes how long a ring has been silent. It also carries [`Stalls`], the position of the log on which all rings have given
//! up; only `backoff` uses it. Of the store the watchdog only reads how far a stuck ring is behind in the log, to log it.

use super::stall::Stalls;
use crate::engine::Shared;
use crate::store::Store;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

/// Interval of the checks.
const TICK: Duration = Duration::from_secs(1);
/// A ring that has not beaten for this many seconds is logged, or after half the time limit if that is shorter.
const NOTICE_SECS: u32 = 10;

/// A ring that has not beaten for this many ticks is given no connections.
const SILENT_TICKS: u32 = 3;

/// The count of one ring's heartbeats, and how long the watchdog has seen none.
#[derive(Debug, Default)]
struct Heartbeat {
    beats: AtomicU32,
    /// Number of the watchdog's checks, up to the last, that have seen no new beat.
    silent_ticks: AtomicU32,
}

/// The heartbeats of all rings.
#[derive(Debug)]
pub(super) struct Heartbeats {
    rings: Box<[Heartbeat]>,
    pub(super) stalls: Stalls,
    /// True once the server stops. A ring without a heartbeat does not count as stuck then.
    has_stopped: AtomicBool,
}

impl Heartbeats {
    pub(super) fn new(rings: usize) -> Arc<Self> {
        Arc::new(Self {
            rings: (0..rings).map(|_| Heartbeat::default()).collect(),
            stalls: Stalls::default(),
            has_stopped: AtomicBool::new(false),
        })
    }

    // Relaxed, in all of them: the numbers stand for themselves.

    /// Makes the watchdog's thread end within a tick, because the server stops.
    pub(super) fn stop(&self) {
        self.has_stopped.store(true, Ordering::Relaxed);
    }

    /// True if the server stops.
    pub(super) fn has_stopped(&self) -> bool {
        self.has_stopped.load(Ordering::Relaxed)
    }

    /// Counts a beat of `ring`; called by that ring.
    pub(super) fn beat(&self, ring: usize) {
        self.rings[ring].beats.fetch_add(1, Ordering::Relaxed);
    }

    /// True if `ring` has beaten within the last [`SILENT_TICKS`] ticks, so that it may be given connections.
    pub(super) fn is_alive(&self, ring: usize) -> bool {
        self.rings[ring].silent_ticks.load(Ordering::Relaxed) < SILENT_TICKS
    }

    fn count(&self, ring: usize) -> u32 {
        self.rings[ring].beats.load(Ordering::Relaxed)
    }

    fn set_silent_ticks(&self, ring: usize, ticks: u32) {
        self.rings[ring].silent_ticks.store(ticks, Ordering::Relaxed);
    }
}

/// A change in the state of a ring, which the watchdog has to report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Diagnosis {
    /// The ring has made no progress for this many seconds. Reported once for each silence.
    Stuck(u32),
    /// The ring makes progress again, after this many seconds without.
    Recovered(u32),
    /// The ring has made no progress for this many seconds, which is the limit, so the process is aborted.
    Lost(u32),
}

/// What the watchdog remembers about one ring between two checks.
#[derive(Clone, Copy, Debug, Default)]
struct RingHealth {
    beats: u32,
    /// Number of checks in a row that have seen no new beat.
    silent_ticks: u32,
}

impl RingHealth {
    /// Judges a ring one tick after its last check. `beats` is the ring's count of heartbeats; a `limit_secs` of 0 means no
    /// limit. `None` if there is nothing to report.
    fn check(&mut self, beats: u32, limit_secs: u32) -> Option<Diagnosis> {
        let notice_secs = if limit_secs == 0 { NOTICE_SECS } else { NOTICE_SECS.min(limit_secs.div_ceil(2)) };
        if beats != self.beats {
            let was_silent = std::mem::take(&mut self.silent_ticks);
            self.beats = beats;
            return (was_silent >= notice_secs).then_some(Diagnosis::Recovered(was_silent));
        }
        self.silent_ticks = self.silent_ticks.saturating_add(1);
        if limit_secs > 0 && self.silent_ticks >= limit_secs {
            return Some(Diagnosis::Lost(self.silent_ticks));
        }
        (self.silent_ticks == notice_secs).then_some(Diagnosis::Stuck(self.silent_ticks))
    }
}

/// Starts the watchdog's thread, which ends with the server.
///
/// # Errors
/// The thread cannot be created.
pub(super) fn start(
    heartbeats: Arc<Heartbeats>,
    shared: Arc<Shared>,
    store: Arc<Store>,
) -> std::io::Result<()> {
    let watch = move || {
        let mut rings = vec![RingHealth::default(); heartbeats.rings.len()];
        loop {
            std::thread::sleep(TICK);
            if heartbeats.has_stopped() {
                return;
            }
            for (ring, health) in rings.iter_mut().enumerate() {
                let diagnosis = health.check(heartbeats.count(ring), shared.config.ring_timeout_secs);
                heartbeats.set_silent_ticks(ring, health.silent_ticks);
                if let Some(diagnosis) = diagnosis {
                    report(ring, diagnosis, &shared, &store);
                }
            }
        }
    };
    std::thread::Builder::new().name("watchdog".to_owned()).spawn(watch).map(drop)
}

/// Logs and counts what was found about `ring`, and aborts the process if the ring is lost.
fn report(ring: usize, diagnosis: Diagnosis, shared: &Shared, store: &Store) {
    match diagnosis {
        Diagnosis::Stuck(secs) => {
            let (lag, capacity) = store.lag(ring);
            shared.gauges.ring_is_stuck();
            tracing::error!(
                "ring {ring} has made no progress for {secs} s: its connections wait, and all writes are refused once it is \
                 {capacity} writes behind (now {lag}), or earlier when memory is full"
            );
        }
        Diagnosis::Recovered(secs) => {
            shared.gauges.ring_recovers();
            tracing::warn!("ring {ring} makes progress again after {secs} s");
        }
        Diagnosis::Lost(secs) => {
            tracing::error!(
                "ring {ring} has made no progress for {secs} s: aborting, so that a new process can take over \
                 (--ring-timeout=0 would wait on)"
            );
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checks(limit_secs: u32, beats: &[u32]) -> Vec<Option<Diagnosis>> {
        let mut health = RingHealth::default();
        beats.iter().map(|&beats| health.check(beats, limit_secs)).collect()
    }

    #[test]
    fn a_ring_that_beats_is_not_reported() {
        assert!(checks(2, &[1, 2, 3, 4, 5, 6]).iter().all(Option::is_none));
        // A beat that comes late is still a beat.
        assert!(checks(0, &[1, 1, 1, 1, 2, 2, 2, 2, 3]).iter().all(Option::is_none));
    }

    #[test]
    fn silence_is_reported_once_and_so_is_its_end() {
        let mut beats = vec![7; 30];
        beats.extend([8, 9]);
        let found: Vec<_> = checks(0, &beats).into_iter().flatten().collect();
        assert_eq!(found, [Diagnosis::Stuck(10), Diagnosis::Recovered(29)]);
    }

    #[test]
    fn at_the_limit_the_ring_is_lost() {
        let found: Vec<_> = checks(60, &[7; 61]).into_iter().flatten().collect();
        assert_eq!(found, [Diagnosis::Stuck(10), Diagnosis::Lost(60)]);
        let found: Vec<_> = checks(4, &[7; 5]).into_iter().flatten().collect();
        assert_eq!(found, [Diagnosis::Stuck(2), Diagnosis::Lost(4)]);
        assert_eq!(checks(1, &[7, 7])[1], Some(Diagnosis::Lost(1)), "no notice before so short a limit");
    }
}
