//! The cores that the process may use, and `--pin-rings`, which keeps each ring's thread on one of them. Holds no state.

use super::error::StartError;
use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The cores that the calling thread may use, by number.
///
/// # Errors
/// The kernel does not say, because the machine has more cores than nix knows of.
pub(super) fn allowed_cores() -> Result<Vec<usize>, StartError> {
    let refused = |errno: Errno| StartError::new(format!("failed to pin rings: {}", errno.desc()));
    Ok(cores_in(&allowed().map_err(refused)?).collect())
}

/// The number of cores that the calling thread may use; `None` if the kernel does not say.
pub(super) fn count_allowed() -> Option<usize> {
    allowed().ok().map(|allowed| cores_in(&allowed).count())
}

fn allowed() -> nix::Result<CpuSet> {
    sched_getaffinity(Pid::from_raw(0))
}

fn cores_in(set: &CpuSet) -> impl Iterator<Item = usize> {
    (0..CpuSet::count()).filter(|&core| set.is_set(core) == Ok(true))
}

/// Keeps the calling thread, which is that of `ring`, on [its core](core_of). If `cores` is empty, the kernel decides.
pub(super) fn pin(ring: usize, rings: usize, cores: &[usize]) {
    let Some(&core) = cores.get(core_of(ring, rings, cores.len())) else { return };
    let mut only = CpuSet::new();
    if let Err(errno) = only.set(core).and_then(|()| sched_setaffinity(Pid::from_raw(0), &only)) {
        tracing::warn!("ring {ring} is not pinned to core {core}: {}", errno.desc());
    }
}

/// The core of `ring`, as an index in the list of cores: the first ring is on the first core, and so on. If there are more rings
/// than cores, neighbours share a core.
pub(super) fn core_of(ring: usize, rings: usize, cores: usize) -> usize {
    if rings > cores { ring * cores / rings } else { ring }
}
