//! Finds out what the kernel and the container allow io_uring to do before anything is built, and explains why if it is not
//! enough.

use super::trial;
use crate::engine::Support;
use crate::sys;
use io_uring::{IoUring, Probe, opcode};
use std::fmt;
use std::io;
use std::time::{Duration, Instant};

/// Features that rings on this machine use. Each is probed separately and left out if refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Setup {
    pub(super) flags: Flags,
    /// 6.0: multishot receive.
    pub(super) multishot: bool,
    /// 5.17: a send that succeeds posts no completion; 6.1: a non-blocking one that is short says how much it sent.
    pub(super) silent_sends: bool,
}

/// Setup flags by kernel version, best first; each step asks for less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flags {
    /// 6.1: `DEFER_TASKRUN`: task work runs in one batch when the thread waits.
    Deferred,
    /// 6.0: the flags below and `SINGLE_ISSUER`.
    SingleIssuer,
    /// 5.19: `COOP_TASKRUN`: task work runs when the thread enters the kernel anyway, instead of interrupting it.
    /// `SUBMIT_ALL` (5.18): a bad entry does not stop a batch.
    Cooperative,
    /// Anything older.
    Plain,
}

impl Flags {
    pub(super) const BEST_FIRST: [Self; 4] =
        [Self::Deferred, Self::SingleIssuer, Self::Cooperative, Self::Plain];

    /// A builder with these flags and a completion queue of `completions`, clamped to what the kernel allows.
    pub(super) fn builder(self, completions: u32) -> io_uring::Builder {
        let mut builder = IoUring::builder();
        builder.setup_clamp().setup_cqsize(completions);
        if self != Self::Plain {
            builder.setup_submit_all();
        }
        match self {
            Self::Deferred => {
                builder.setup_single_issuer().setup_defer_taskrun();
            }
            Self::SingleIssuer => {
                builder.setup_coop_taskrun().setup_single_issuer();
            }
            Self::Cooperative => {
                builder.setup_coop_taskrun();
            }
            Self::Plain => {}
        }
        builder
    }
}

/// Operations a ring cannot do without.
const NEEDED: [(u8, &str); 9] = [
    (opcode::Nop::CODE, "nop"),
    (opcode::Read::CODE, "read"),
    (opcode::Recv::CODE, "recv"),
    (opcode::RecvMsg::CODE, "recvmsg"),
    (opcode::Send::CODE, "send"),
    (opcode::SendMsg::CODE, "sendmsg"),
    (opcode::PollAdd::CODE, "poll_add"),
    (opcode::AsyncCancel::CODE, "async_cancel"),
    (opcode::Timeout::CODE, "timeout"),
];

/// Why a ring cannot be started: cause and cure, for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartError {
    message: String,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for StartError {}

impl StartError {
    pub(crate) fn new(message: String) -> Self {
        Self { message }
    }

    /// `step` failed with `error`; inspects the machine for the likely cause.
    pub(crate) fn diagnose(step: &str, error: &io::Error) -> Self {
        Self::explain(step, error, &Facts::of_this_machine())
    }

    fn explain(step: &str, error: &io::Error, facts: &Facts) -> Self {
        let cause = facts.cause(error.raw_os_error().unwrap_or(0));
        let code = error.raw_os_error().and_then(errno_name).unwrap_or("error");
        Self { message: format!("cannot use io_uring: {step} failed with {code}: {cause}") }
    }
}

fn errno_name(errno: i32) -> Option<&'static str> {
    Some(match errno {
        libc::EPERM => "EPERM",
        libc::ENOSYS => "ENOSYS",
        libc::EACCES => "EACCES",
        libc::ENOMEM => "ENOMEM",
        libc::EINVAL => "EINVAL",
        libc::EOPNOTSUPP => "EOPNOTSUPP",
        libc::EMFILE => "EMFILE",
        libc::ENFILE => "ENFILE",
        libc::EAGAIN => "EAGAIN",
        _ => return None,
    })
}

/// Facts that tell one cause from another.
struct Facts {
    /// Kernel version, major and minor.
    kernel: (u32, u32),
    /// The sysctl `kernel.io_uring_disabled` (6.6 and newer).
    disabled: Option<u32>,
    /// This process has a seccomp filter.
    filtered: bool,
    /// The limit on locked memory, for the message.
    memlock: String,
}

const OLDEST_GOOD: (u32, u32) = (5, 19);

impl Facts {
    fn of_this_machine() -> Self {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
        Self {
            kernel: (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)),
            disabled: std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled")
                .ok()
                .and_then(|text| text.trim().parse().ok()),
            filtered: sys::status_field("Seccomp:").as_deref() == Some("2"),
            memlock: sys::memlock_text(),
        }
    }

    /// The likely cause of `errno`, and its cure.
    fn cause(&self, errno: i32) -> String {
        let (major, minor) = self.kernel;
        match errno {
            libc::EPERM | libc::EACCES | libc::ENOSYS | libc::EOPNOTSUPP => match self.disabled {
                Some(1) => "the sysctl kernel.io_uring_disabled is 1, which keeps it from unprivileged users. \
                     Run `sysctl -w kernel.io_uring_disabled=0` on the host, or add this user's group to \
                     kernel.io_uring_group"
                    .to_owned(),
                Some(2..) => "the sysctl kernel.io_uring_disabled is 2, which switches it off. \
                     Run `sysctl -w kernel.io_uring_disabled=0` on the host"
                    .to_owned(),
                _ if self.kernel < (5, 1) => self.too_old(),
                _ if self.filtered => "a seccomp filter blocks it, as the default profiles of Docker, containerd and Podman do. \
                     Start the container with `--security-opt seccomp=unconfined` (Kubernetes: seccompProfile type \
                     Unconfined), or add io_uring_setup, io_uring_enter and io_uring_register to its profile"
                    .to_owned(),
                _ => format!(
                    "this kernel ({major}.{minor}) does not offer it: built without CONFIG_IO_URING, or a sandbox \
                     (gVisor, WSL1) stands in for it. Run on a Linux kernel 5.19 or newer that has it"
                ),
            },
            libc::EINVAL if self.kernel < OLDEST_GOOD => self.too_old(),
            libc::ENOMEM => format!(
                "the limit on locked memory ({}) is used up; it is shared by all processes of this user. Raise it: \
                 `ulimit -l unlimited`, systemd `LimitMEMLOCK=infinity`, docker `--ulimit memlock=-1`",
                self.memlock
            ),
            libc::EMFILE | libc::ENFILE => {
                "too few file descriptors are allowed. Raise the limit: `ulimit -n 65536`, systemd `LimitNOFILE=65536`".to_owned()
            }
            _ => format!("unexpected on this kernel ({major}.{minor})"),
        }
    }

    fn too_old(&self) -> String {
        let (major, minor) = self.kernel;
        format!("this kernel ({major}.{minor}) is too old. Run on Linux 5.19 or newer (6.1 recommended)")
    }
}

/// Builds a small ring, probes what it supports, and runs one operation on it.
///
/// # Errors
/// This process may not use io_uring; the error says why and what to do.
pub fn probe() -> Result<Support, StartError> {
    let fail = |step: &str, error: &io::Error| StartError::diagnose(step, error);
    let (flags, mut ring) =
        best_flags(|flags| flags.builder(16).build(8)).map_err(|error| fail("io_uring_setup", &error))?;
    let mut known = Probe::new();
    ring.submitter().register_probe(&mut known).map_err(|error| fail("io_uring_register", &error))?;
    if let Some((_, name)) = NEEDED.iter().find(|(code, _)| !known.is_supported(*code)) {
        let why = Facts::of_this_machine().too_old();
        return Err(StartError { message: format!("cannot use io_uring: it does not know {name}: {why}") });
    }
    round_trip(&mut ring).map_err(|error| fail("io_uring_enter", &error))?;
    if flags == Flags::Plain {
        tracing::warn!("this kernel's io_uring is old: Linux 5.19 or newer serves requests with less CPU");
    }
    let silent_sends = trial::has_silent_sends(&mut ring).unwrap_or(false);
    let multishot = trial::has_multishot(&mut ring).unwrap_or(false);
    Ok(Support::completion(Setup { flags, multishot, silent_sends }))
}

/// The result of `make` with the best flags that the kernel accepts.
fn best_flags<T>(mut make: impl FnMut(Flags) -> io::Result<T>) -> io::Result<(Flags, T)> {
    let mut refused = io::Error::from_raw_os_error(libc::EINVAL);
    for flags in Flags::BEST_FIRST {
        match patiently(|| make(flags)) {
            Ok(ring) => return Ok((flags, ring)),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => refused = error,
            Err(error) => return Err(error),
        }
    }
    Err(refused)
}

/// Runs one no-op: some filters allow the setup and nothing else.
fn round_trip(ring: &mut IoUring) -> io::Result<()> {
    trial::push(ring, &opcode::Nop::new().build());
    ring.submit_and_wait(1)?;
    ring.completion().for_each(drop);
    Ok(())
}

/// Retries `make` for a second while memory is refused: the kernel releases a dead process's locked memory with a delay,
/// which a restarted server can run into.
pub(crate) fn patiently<T>(mut make: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let deadline = Instant::now() + Duration::from_secs(1);
    let mut pause = Duration::from_millis(5);
    loop {
        match make() {
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) && Instant::now() < deadline => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(100));
            }
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts { kernel: (6, 8), disabled: Some(0), filtered: false, memlock: "64 KiB".to_owned() }
    }

    fn message(errno: i32, facts: &Facts) -> String {
        StartError::explain("io_uring_setup", &io::Error::from_raw_os_error(errno), facts).to_string()
    }

    #[test]
    fn causes_are_told_apart() {
        let sysctl = Facts { disabled: Some(2), filtered: true, ..facts() };
        assert!(message(libc::EPERM, &sysctl).contains("kernel.io_uring_disabled is 2"));
        let container = Facts { filtered: true, ..facts() };
        assert!(message(libc::EPERM, &container).contains("seccomp"));
        assert!(message(libc::ENOSYS, &container).contains("seccomp"));
        assert!(message(libc::ENOSYS, &facts()).contains("CONFIG_IO_URING"));
        assert!(message(libc::ENOMEM, &facts()).contains("64 KiB"));
        assert!(message(libc::EMFILE, &facts()).contains("ulimit -n"));
        let old = Facts { kernel: (5, 4), disabled: None, ..facts() };
        assert!(message(libc::EINVAL, &old).contains("5.4"));
        let ancient = Facts { kernel: (4, 19), disabled: None, ..facts() };
        assert!(message(libc::ENOSYS, &ancient).contains("too old"));
    }

    /// A kernel that accepts `best` and the flags below it only.
    fn kernel(best: usize) -> impl FnMut(Flags) -> io::Result<()> {
        move |setup| match Flags::BEST_FIRST.iter().position(|step| *step == setup) {
            Some(at) if at >= best => Ok(()),
            _ => Err(io::Error::from_raw_os_error(libc::EINVAL)),
        }
    }

    #[test]
    fn flags_are_given_up_one_by_one() {
        for (at, step) in Flags::BEST_FIRST.into_iter().enumerate() {
            assert_eq!(best_flags(kernel(at)).expect("a step that is known").0, step);
        }
        let refused = best_flags(kernel(4)).expect_err("a kernel that knows nothing");
        assert_eq!(refused.raw_os_error(), Some(libc::EINVAL));
    }

    #[test]
    fn other_refusals_are_not_tried_again_with_fewer_flags() {
        let mut tries = 0;
        let refused = best_flags(|_| -> io::Result<()> {
            tries += 1;
            Err(io::Error::from_raw_os_error(libc::EPERM))
        });
        assert_eq!((refused.expect_err("refused").raw_os_error(), tries), (Some(libc::EPERM), 1));
    }

    #[test]
    fn this_machine_has_rings() {
        probe().expect("tests need io_uring");
    }
}
