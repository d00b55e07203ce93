//! Why a ring cannot be started, and what the operator can do about it: turns an error number into a message. Reads `/proc`,
//! keeps no state.

use crate::sys;
use std::fmt;
use std::io;

/// The reason why a ring cannot be started, as a message that tells the operator the cause and the cure.
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

    /// The error for a `step` that failed with `error`. Inspects the machine for the likely cause.
    pub(crate) fn diagnose(step: &str, error: &io::Error) -> Self {
        Self::explain(step, error, &Facts::of_this_machine())
    }

    /// The error for an io_uring that lacks the operation `name`, without which no ring works.
    pub(crate) fn does_not_know(name: &str) -> Self {
        let why = Facts::of_this_machine().too_old();
        Self { message: format!("cannot use io_uring: it does not know {name}: {why}") }
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

/// Facts about this machine, by which one cause of an error is told from another.
struct Facts {
    /// Kernel version, major and minor.
    kernel: (u32, u32),
    /// The sysctl `kernel.io_uring_disabled` (6.6 and newer); `None` if the kernel has no such sysctl.
    disabled: Option<u32>,
    /// True if this process has a seccomp filter.
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
}
