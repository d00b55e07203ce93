//! The filter of `-o drop_privileges`: from the end of the start on, the process may only make the system calls that serving
//! takes. Set once for all threads, and cannot be removed.
//!
//! A forbidden call fails with `EPERM`: starting programs or processes, new connections and listeners, changing users, tracing,
//! mounting, loading, and everything else that is not listed here. memcached's filter kills the process instead; here a call
//! that a library makes once in a while must not cost the cache.
//!
//! The kernel does not ask a filter about operations of an io_uring, which can open files and connect too. Where that
//! matters, use `--io-engine=epoll` and start the server under a filter that forbids io_uring.
//!
//! Source: seccomp(2); memcached, `linux_priv.c`.

use crate::config::Config;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};
use std::collections::BTreeMap;

/// System calls that are allowed with any arguments.
const ALLOWED: &[libc::c_long] = &[
    // The rings. None is built later, but the thread of the metrics may still be building its own.
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    // Connections that are there, and those that are accepted.
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_shutdown,
    libc::SYS_listen,
    // Waiting and waking.
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_ppoll,
    libc::SYS_eventfd2,
    libc::SYS_futex,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_sched_yield,
    libc::SYS_restart_syscall,
    // Memory.
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_mlock,
    libc::SYS_munlock,
    // Memory that is a file (-e).
    libc::SYS_fallocate,
    libc::SYS_ftruncate,
    libc::SYS_msync,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_pwrite64,
    libc::SYS_flock,
    // Files that are read again, figures of /proc, standard error, the pid file.
    libc::SYS_openat,
    libc::SYS_close,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_faccessat,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_unlinkat,
    libc::SYS_getcwd,
    libc::SYS_fcntl,
    libc::SYS_ioctl,
    libc::SYS_dup,
    // Signals, threads that end, time, figures of the process.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sigaltstack,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_sched_getaffinity,
    libc::SYS_membarrier,
    libc::SYS_getcpu,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_uname,
    libc::SYS_sysinfo,
];

/// System calls that only older architectures have. They too are allowed with any arguments.
#[cfg(target_arch = "x86_64")]
const OLDER: &[libc::c_long] = &[
    libc::SYS_epoll_wait,
    libc::SYS_poll,
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_unlink,
    libc::SYS_dup2,
    libc::SYS_time,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[libc::c_long] = &[];

/// System calls allowed in addition with `--copy-from`, which connects to the other server and looks its name up.
const TO_CONNECT: &[libc::c_long] = &[libc::SYS_socket, libc::SYS_connect, libc::SYS_bind];

/// System calls that are allowed with one value of their first argument only: to send signals to the process itself, and to name
/// threads that start late.
fn with_argument() -> [(libc::c_long, u64); 3] {
    let own = u64::from(std::process::id());
    [(libc::SYS_kill, own), (libc::SYS_tgkill, own), (libc::SYS_prctl, libc::PR_SET_NAME as u64)]
}

/// Forbids all threads of the process the system calls that are not in the lists above.
///
/// # Errors
/// The kernel has no filters, or a thread already has a different filter.
pub(super) fn drop_privileges(config: &Config) -> Result<(), seccompiler::Error> {
    seccompiler::apply_filter_all_threads(&program(config.copy_from.is_some())?)
}

fn program(connects: bool) -> Result<BpfProgram, seccompiler::BackendError> {
    let more = if connects { TO_CONNECT } else { &[] };
    let always = ALLOWED.iter().chain(OLDER).chain(more).map(|&call| (call, Vec::new()));
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = always.collect();
    for (call, argument) in with_argument() {
        let is_right = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, argument)?;
        rules.insert(call, vec![SeccompRule::new(vec![is_right])?]);
    }
    let denied = SeccompAction::Errno(libc::EPERM as u32);
    SeccompFilter::new(rules, denied, SeccompAction::Allow, std::env::consts::ARCH.try_into()?)?.try_into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::errno::Errno;
    use nix::sys::signal::kill;
    use nix::unistd::Pid;
    use std::io::ErrorKind::PermissionDenied;
    use std::net::{TcpListener, TcpStream};
    use std::process::Command;

    /// The filter on one thread, which ends with the test.
    fn under_filter<R: Send>(connects: bool, test: impl FnOnce() -> R + Send) -> R {
        let body = || {
            seccompiler::apply_filter(&program(connects).unwrap()).unwrap();
            test()
        };
        std::thread::scope(|scope| scope.spawn(body).join().unwrap())
    }

    /// Runs `test`, the test of this module that is called `name`, in a process of its own. Other tests change the user, which
    /// glibc does for all threads of the process; it aborts if a filter forbids that to one of them.
    fn in_own_process(name: &str, test: impl FnOnce()) {
        const ALONE: &str = "MEMCRSD_TEST_ALONE";
        if std::env::var_os(ALONE).is_some() {
            return test();
        }
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", &format!("process::privileges::tests::{name}")]).env(ALONE, "1");
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
    }

    #[test]
    fn what_serving_does_not_take_is_forbidden() {
        in_own_process("what_serving_does_not_take_is_forbidden", forbids);
    }

    fn forbids() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        under_filter(false, || {
            assert_eq!(Command::new("/bin/true").status().unwrap_err().kind(), PermissionDenied);
            assert_eq!(std::thread::Builder::new().spawn(|| {}).unwrap_err().kind(), PermissionDenied);
            assert_eq!(TcpStream::connect(address).unwrap_err().kind(), PermissionDenied);
            assert_eq!(TcpListener::bind("127.0.0.1:0").unwrap_err().kind(), PermissionDenied);
            assert_eq!(nix::sched::unshare(nix::sched::CloneFlags::empty()), Err(Errno::EPERM));
            assert_eq!(kill(Pid::from_raw(1), None), Err(Errno::EPERM));
            assert_eq!(kill(Pid::this(), None), Ok(()));
            assert_eq!(
                std::fs::rename("/nonexistent/a", "/nonexistent/b").unwrap_err().kind(),
                PermissionDenied
            );
            assert!(std::fs::read("/proc/self/statm").is_ok());
        });
    }

    #[test]
    fn a_copy_may_connect() {
        in_own_process("a_copy_may_connect", permits_a_copy);
    }

    fn permits_a_copy() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        under_filter(true, || {
            assert!(TcpStream::connect(address).is_ok());
            assert_eq!(Command::new("/bin/true").status().unwrap_err().kind(), PermissionDenied);
        });
    }
}
