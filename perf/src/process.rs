//! CPU time and memory of a server's process, by the kernel's account, and the cores a thread may run on.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

/// CPU time and memory of a process: all its threads, including kernel threads that work for it (io-wq).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    /// utime + stime from the process's CPU clock, ns.
    pub(crate) cpu_ns: u64,
    /// Share of `cpu_ns` in user mode so far; clock ticks, so coarse.
    pub(crate) user_ticks: u64,
    pub(crate) kernel_ticks: u64,
    /// Resident bytes.
    pub(crate) rss_bytes: u64,
}

/// utime + stime of a process, all its threads, ns.
///
/// # Errors
/// A message, when there is no such process.
pub(crate) fn cpu_ns(pid: i32) -> Result<u64, String> {
    let time = clock_getcpuclockid(Pid::from_raw(pid)).and_then(clock_gettime);
    let time = time.map_err(|e| format!("cannot measure process {pid}: {e}"))?;
    Ok(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}

/// # Errors
/// A message, when there is no such process or it is not ours to look at.
pub(crate) fn sample(pid: i32) -> Result<Sample, String> {
    let failed = |e: &dyn std::fmt::Display| format!("cannot measure process {pid}: {e}");
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).map_err(|e| failed(&e))?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).map_err(|e| failed(&e))?;
    let (user_ticks, kernel_ticks) = ticks(&stat).ok_or_else(|| failed(&"unknown form of /proc/PID/stat"))?;
    Ok(Sample { cpu_ns: cpu_ns(pid)?, user_ticks, kernel_ticks, rss_bytes: resident(&status).unwrap_or(0) })
}

/// utime and stime: fields 14 and 15, counted after the name, which may contain anything. Source: `proc_pid_stat(5)`.
fn ticks(stat: &str) -> Option<(u64, u64)> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}

/// Cores as a user writes them: `1`, `0,2`, `2-5`.
///
/// # Errors
/// A message, when the text is no list of cores.
pub(crate) fn cores(text: &str) -> Result<Vec<usize>, String> {
    let number = |word: &str| word.trim().parse::<usize>().map_err(|e| format!("core {word:?}: {e}"));
    let mut cores = Vec::new();
    for part in text.split(',') {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        cores.extend(number(low)?..=number(high)?);
    }
    if cores.is_empty() { Err(format!("{text} names no core")) } else { Ok(cores) }
}

/// The cores this thread may run on.
pub(crate) fn allowed_cores() -> Vec<usize> {
    let Ok(set) = sched_getaffinity(Pid::from_raw(0)) else { return vec![0] };
    (0..CpuSet::count()).filter(|&core| set.is_set(core).unwrap_or(false)).collect()
}

/// Confines this thread, and threads and processes it starts from now on, to `cores`.
///
/// # Errors
/// A message, when the machine has none of them.
pub(crate) fn pin(cores: &[usize]) -> Result<(), String> {
    let mut set = CpuSet::new();
    for &core in cores {
        set.set(core).map_err(|e| format!("core {core}: {e}"))?;
    }
    sched_setaffinity(Pid::from_raw(0), &set).map_err(|e| format!("cannot run on cores {cores:?}: {e}"))
}

/// Raises the limit on open files of this process and its children, for thousands of connections.
pub(crate) fn raise_open_files() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // If it is too low, opening a connection fails and says so.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_proc() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 110 0 0 0 123 45 0 0 20 0 10 0 100 6 7";
        assert_eq!(ticks(stat), Some((123, 45)));
        assert_eq!(resident("Name:\tx\nVmRSS:\t    2048 kB\n"), Some(2 << 20));
        let me = sample(std::process::id() as i32).unwrap();
        assert!(me.cpu_ns > 0 && me.rss_bytes > 100_000);
        assert!(sample(i32::MAX).is_err());
    }

    #[test]
    fn reads_core_lists() {
        assert_eq!(cores("0,2-4"), Ok(vec![0, 2, 3, 4]));
        assert!(cores("x").is_err());
        assert!(cores("3-2").is_err());
    }
}
