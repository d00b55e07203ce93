//! Placement: which rings serve connections if there are more rings than cores.
//!
//! Rings that take turns on a core cost more than they serve: every request pays for a switch between threads, less is sent and
//! received at once, and a ring that loses its core in the middle of a batch keeps memory that it may be reading from being
//! reused. So as many rings **serve** as there are cores, or as `--serving-rings` says; the others are **spares**, which get a
//! connection only if no serving ring is alive. The serving rings are spread evenly over all, so that each replica, and with
//! `--pin-rings` each core, has its share of them.
//!
//! The cores are counted again for each new connection and with every heartbeat, because cpusets and the machine itself can
//! change.

use super::pinning;

/// Decides which rings serve. Each ring has a copy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placement {
    rings: usize,
    /// Number of serving rings if it is set; `None` if it follows the cores.
    fixed: Option<usize>,
}

/// The rings that serve at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct ServingRings {
    rings: usize,
    serving: usize,
}

impl Placement {
    /// The placement on `rings` rings, of which `fixed` serve, or all if it is larger; with `None` as many as there are cores.
    pub(super) fn new(rings: usize, fixed: Option<usize>) -> Self {
        Self { rings, fixed }
    }

    /// The rings that serve now. Without a fixed number, as many as the cores that the calling thread may use, or all rings if
    /// the kernel does not say how many those are.
    pub(super) fn serving(&self) -> ServingRings {
        let serving = self.fixed.or_else(pinning::count_allowed).unwrap_or(self.rings);
        ServingRings { rings: self.rings, serving: serving.clamp(1, self.rings) }
    }
}

impl ServingRings {
    /// True if `ring` serves.
    fn contains(&self, ring: usize) -> bool {
        ring * self.serving % self.rings < self.serving
    }

    /// The rings that are to get new connections, in ascending order: those that serve and are `alive`; or all that are alive if
    /// none of these serves; or, if none is alive, those that serve.
    pub(super) fn targets(&self, alive: impl Fn(usize) -> bool) -> Vec<u32> {
        let rings = || (0_u32..).take(self.rings);
        let (serving, alive) =
            (|&ring: &u32| self.contains(ring as usize), |&ring: &u32| alive(ring as usize));
        let mut targets: Vec<u32> = rings().filter(serving).filter(alive).collect();
        if targets.is_empty() {
            targets = rings().filter(alive).collect();
        }
        if targets.is_empty() {
            targets = rings().filter(serving).collect();
        }
        targets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_rings_serve_as_there_are_cores_evenly_spread() {
        let serving = |rings, cores| Placement::new(rings, Some(cores)).serving().targets(|_| true);
        assert_eq!(serving(4, 4), [0, 1, 2, 3]);
        assert_eq!(serving(4, 64), [0, 1, 2, 3]);
        assert_eq!(serving(4, 1), [0]);
        assert_eq!(serving(16, 2), [0, 8]);
        assert_eq!(serving(3, 2), [0, 2]);
        for rings in 1..=128 {
            for cores in 1..=rings {
                assert_eq!(serving(rings, cores).len(), cores, "{rings} rings on {cores} cores");
            }
        }
    }

    #[test]
    fn new_connections_go_to_rings_that_are_alive() {
        let serving = Placement::new(4, Some(2)).serving();
        let targets = |alive: &[usize]| serving.targets(|ring| alive.contains(&ring));
        assert_eq!(targets(&[0, 1, 2, 3]), [0, 2]);
        assert_eq!(targets(&[1, 2, 3]), [2]);
        assert_eq!(targets(&[1, 3]), [1, 3], "the spares");
        assert_eq!(targets(&[]), [0, 2]);
    }

    /// With --pin-rings no two serving rings share a core.
    #[test]
    fn serving_rings_are_pinned_to_different_cores() {
        for rings in 1..=64 {
            for cores in 1..=64 {
                let serving = Placement::new(rings, Some(cores)).serving();
                let mut used: Vec<usize> = serving
                    .targets(|_| true)
                    .into_iter()
                    .map(|ring| pinning::core_of(ring as usize, rings, cores))
                    .collect();
                used.dedup();
                assert_eq!(used.len(), rings.min(cores), "{rings} rings on {cores} cores");
            }
        }
    }

    #[test]
    fn without_a_fixed_number_the_cores_count() {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let count = Placement::new(4096, None).serving().targets(|_| true).len();
        // A quota of CPU time, which the standard library counts as well, can only be lower.
        assert!((cores..4096).contains(&count), "{count} of {cores}");
    }
}
