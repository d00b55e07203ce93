//! `--pin-rings`: keeps each ring's thread on a core of its own. Called once per ring, on its thread; holds no state.

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
    let allowed = sched_getaffinity(Pid::from_raw(0)).map_err(refused)?;
    Ok((0..CpuSet::count()).filter(|&core| allowed.is_set(core) == Ok(true)).collect())
}

/// Keeps the calling thread on the core of `ring`: the first ring on the first of `cores`, and so on. If there are more rings
/// than cores, it starts over with the first core. If `cores` is empty, the kernel decides.
pub(super) fn pin(ring: usize, cores: &[usize]) {
    let Some(&core) = cores.get(ring % cores.len().max(1)) else { return };
    let mut only = CpuSet::new();
    if let Err(errno) = only.set(core).and_then(|()| sched_setaffinity(Pid::from_raw(0), &only)) {
        tracing::warn!("ring {ring} is not pinned to core {core}: {}", errno.desc());
    }
}
