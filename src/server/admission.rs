//! Admission: limits the number of connections, chooses the ring for a new one, and limits how often failures to accept are
//! logged.
//!
//! All rings share one [`ConnLimits`], made of atomics. A [`ConnPermit`] belongs to one connection and moves with it from ring
//! to ring.

use super::placement::ServingRings;
use crate::clock::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// Least time between two log lines about failures to accept, for all rings together, seconds.
const WARNING_SECS: u32 = 10;

/// A ring hands a new connection over if it has at least this many more connections than the least loaded ring. With a
/// difference of one, two rings could pass connections to and fro.
const HAND_OVER_DIFFERENCE: usize = 2;

/// The number of connections of each ring, and the limit for all of them.
#[derive(Debug)]
pub(super) struct ConnLimits {
    rings: Box<[AtomicUsize]>,
    total: AtomicUsize,
    connections_max: usize,
    /// Time by the server's clock, in seconds, from which the next failure to accept may be logged.
    warning_at: AtomicU32,
}

impl ConnLimits {
    pub(super) fn new(rings: usize, connections_max: usize) -> Arc<Self> {
        let rings = (0..rings).map(|_| AtomicUsize::new(0)).collect();
        Arc::new(Self { rings, total: AtomicUsize::new(0), connections_max, warning_at: AtomicU32::new(0) })
    }

    /// Takes a permit for one more connection on `ring`; `None` if all rings together have as many connections as are allowed.
    pub(super) fn acquire(self: &Arc<Self>, ring: usize) -> Option<ConnPermit> {
        // Relaxed, here and below: the numbers order nothing but themselves.
        if self.total.fetch_add(1, Ordering::Relaxed) >= self.connections_max {
            self.total.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        self.rings[ring].fetch_add(1, Ordering::Relaxed);
        Some(ConnPermit { limits: Arc::clone(self), ring })
    }

    /// True for the first caller in each window of [`WARNING_SECS`], which may then log its failure to accept.
    pub(super) fn may_warn(&self, now: Timestamp) -> bool {
        let at = self.warning_at.load(Ordering::Relaxed);
        let next = now.0 + WARNING_SECS;
        now.0 >= at
            && self.warning_at.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// The ring that is to take a connection which ring `own` has accepted: the one with the fewest connections among the
    /// [targets](ServingRings::targets) of new connections; or `own` if it is one of these, with at most one connection more.
    pub(super) fn best(&self, own: usize, serving: ServingRings, alive: impl Fn(usize) -> bool) -> usize {
        let load = |ring: usize| self.rings[ring].load(Ordering::Relaxed);
        // It has just accepted, so it is alive.
        let targets = serving.targets(|ring| ring == own || alive(ring));
        let targets = || targets.iter().map(|&ring| ring as usize);
        let least = targets().min_by_key(|&ring| load(ring)).unwrap_or(own);
        let is_even = load(own) < load(least) + HAND_OVER_DIFFERENCE;
        if is_even && targets().any(|ring| ring == own) { own } else { least }
    }
}

/// The right to have one connection open; dropping it makes room for another.
#[derive(Debug)]
pub(super) struct ConnPermit {
    limits: Arc<ConnLimits>,
    ring: usize,
}

impl ConnPermit {
    /// Counts the permit for `ring` from here on, because its connection is handed over to that ring.
    pub(super) fn move_to(&mut self, ring: usize) {
        self.limits.rings[self.ring].fetch_sub(1, Ordering::Relaxed);
        self.limits.rings[ring].fetch_add(1, Ordering::Relaxed);
        self.ring = ring;
    }
}

impl Drop for ConnPermit {
    fn drop(&mut self) {
        self.limits.rings[self.ring].fetch_sub(1, Ordering::Relaxed);
        self.limits.total.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::super::placement::Placement;
    use super::*;

    #[test]
    fn connections_are_counted_exactly() {
        let limits = ConnLimits::new(2, 3);
        let mut permits: Vec<_> = (0..3).map(|_| limits.acquire(0).expect("a permit")).collect();
        assert!(limits.acquire(1).is_none());
        permits[0].move_to(1);
        drop(permits);
        assert_eq!(limits.total.load(Ordering::Relaxed), 0);
        assert!(limits.rings.iter().all(|ring| ring.load(Ordering::Relaxed) == 0));
        assert!(limits.acquire(1).is_some());
    }

    #[test]
    fn failures_are_logged_once_per_window() {
        let limits = ConnLimits::new(1, 1);
        let logged: Vec<u32> = (2..40)
            .filter(|&now| limits.may_warn(Timestamp(now)) | limits.may_warn(Timestamp(now)))
            .collect();
        assert_eq!(logged, [2, 12, 22, 32]);
    }

    #[test]
    fn a_ring_hands_over_only_what_evens_out() {
        let limits = ConnLimits::new(3, 100);
        let _own = limits.acquire(0);
        let all = Placement::new(3, Some(3)).serving();
        let best = |own| limits.best(own, all, |_| true);
        assert_eq!(best(0), 0, "a difference of one is even");
        let _second = limits.acquire(0);
        assert_eq!(best(0), 1);
        let _other = limits.acquire(1);
        assert_eq!(best(0), 2);
        assert_eq!(best(2), 2);
        assert_eq!(limits.best(0, all, |ring| ring != 2), 0, "a stuck ring is given nothing");
    }

    #[test]
    fn a_spare_ring_gets_connections_only_if_no_serving_ring_is_alive() {
        let limits = ConnLimits::new(4, 100);
        let serving = Placement::new(4, Some(2)).serving();
        let _two = [limits.acquire(0), limits.acquire(2)];
        let best = |own, alive: &[usize]| limits.best(own, serving, |ring| alive.contains(&ring));
        assert_eq!(best(1, &[0, 1, 2, 3]), 0);
        assert_eq!(best(3, &[1, 2, 3]), 2);
        assert_eq!(best(2, &[0, 1, 2, 3]), 2);
        assert_eq!(best(1, &[1, 3]), 1);
        assert_eq!(best(3, &[]), 3);
    }
}
