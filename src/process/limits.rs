//! Raises resource limits of the process: descriptors for -c, core files for -r, lockable memory for the rings. Called once,
//! at start.

use crate::config::{Config, StartupError};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};

/// Number of descriptors that the process needs apart from its rings: standard streams, timers, files, and some to spare.
const DESCRIPTORS_BASE: u64 = 32;
/// Number of descriptors that one ring needs apart from its listeners: the ring, its wakers, and a spare one for refusing
/// connections.
const DESCRIPTORS_PER_RING: u64 = 8;

/// Number of descriptors that the server needs apart from its connections; it depends on the rings and listeners.
fn own_descriptors(config: &Config) -> u64 {
    // A name may resolve to both address families.
    let per_ring = DESCRIPTORS_PER_RING + 2 * config.listen.len() as u64;
    DESCRIPTORS_BASE + per_ring * config.num_threads as u64
}

/// Raises the limit on open files to fit -c connections and the server's own descriptors; returns the number of connections that
/// fit.
///
/// memcached sets the limit to exactly -c, so its own descriptors are taken from the connections; here they are added. If the
/// hard limit lies between -c and this sum, fewer connections fit, as in memcached.
pub(super) fn raise_descriptors(config: &Config) -> Result<u32, StartupError> {
    let refusal = || {
        StartupError::denied(
            "failed to set rlimit for open files. Try starting as root or requesting smaller maxconns value.",
        )
    };
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(|_| refusal())?;
    let wanted = u64::from(config.maxconns) + own_descriptors(config);
    if wanted <= soft || setrlimit(Resource::RLIMIT_NOFILE, wanted, hard.max(wanted)).is_ok() {
        return Ok(config.maxconns);
    }
    let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    let (reached, _) = getrlimit(Resource::RLIMIT_NOFILE).map_err(|_| refusal())?;
    connections_within(reached, config).ok_or_else(refusal)
}

/// The number of connections that fit under a limit of `descriptors`; `None` if not one fits, or if `descriptors` is less than
/// -c, which memcached refuses too.
fn connections_within(descriptors: u64, config: &Config) -> Option<u32> {
    let maxconns = u64::from(config.maxconns);
    if descriptors < maxconns {
        return None;
    }
    match descriptors.saturating_sub(own_descriptors(config)).min(maxconns) {
        0 => None,
        connections => Some(connections as u32),
    }
}

/// Raises the limit on the size of core files as far as possible; fails if it stays 0.
pub(super) fn raise_core() -> Result<(), StartupError> {
    let refusal = || StartupError::denied("failed to ensure corefile creation");
    let (_, hard) = getrlimit(Resource::RLIMIT_CORE).map_err(|_| refusal())?;
    if setrlimit(Resource::RLIMIT_CORE, RLIM_INFINITY, RLIM_INFINITY).is_err() {
        setrlimit(Resource::RLIMIT_CORE, hard, hard).map_err(|_| refusal())?;
    }
    match getrlimit(Resource::RLIMIT_CORE) {
        Ok((soft, _)) if soft > 0 => Ok(()),
        _ => Err(refusal()),
    }
}

/// Raises the limit on locked memory as far as possible and returns it, bytes. The queues of rings count against this
/// limit, read buffers do not. A low limit means smaller queues, so it is no error.
pub(super) fn raise_lockable() -> u64 {
    if setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY).is_err()
        && let Ok((_, hard)) = getrlimit(Resource::RLIMIT_MEMLOCK)
    {
        let _ = setrlimit(Resource::RLIMIT_MEMLOCK, hard, hard);
    }
    getrlimit(Resource::RLIMIT_MEMLOCK).map_or(0, |(soft, _)| soft)
}

/// Bit of `CAP_IPC_LOCK` in a capability set. Source: capabilities(7).
const CAP_IPC_LOCK: u64 = 1 << 14;

/// True if the process has `CAP_IPC_LOCK`, with which it may lock memory beyond any limit while it keeps its user.
pub(super) fn locks_beyond_limits() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).is_some_and(|set| set & CAP_IPC_LOCK != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_descriptors_are_added_to_connections_if_they_fit() {
        let config = Config::default();
        let own = own_descriptors(&config);
        assert_eq!(own, 32 + 10 * 4);
        assert_eq!(connections_within(1024 + own, &config), Some(1024));
        assert_eq!(connections_within(1024, &config), Some(1024 - own as u32), "memcached starts here too");
        assert_eq!(connections_within(1023, &config), None, "memcached refuses here too");
        let tiny = Config { maxconns: 10, ..Config::default() };
        assert_eq!(connections_within(own, &tiny), None);
        assert_eq!(connections_within(own + 1, &tiny), Some(1));
    }
}
