//! Finds out what the kernel and the container allow io_uring to do, before any ring is built. Uses a ring of its own, which it
//! drops.

use super::trial;
use crate::start_error::StartError;
use io_uring::{IoUring, Probe, opcode};
use std::io;
use std::time::{Duration, Instant};

/// The io_uring features that rings on this machine use. Each is probed separately, and not used if the kernel refuses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Setup {
    pub(super) flags: Flags,
    /// True if multishot receive works (since Linux 6.0).
    pub(super) multishot: bool,
    /// True if a complete send posts no completion (since Linux 5.17), and a send that would block reports how much it has sent
    /// (since 6.1).
    pub(super) silent_sends: bool,
}

/// The setup flags of a ring, best first. Each further variant asks less of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flags {
    /// `SINGLE_ISSUER` and `DEFER_TASKRUN` (since Linux 6.1): task work runs in one batch when the thread waits.
    Deferred,
    /// `SINGLE_ISSUER` (since Linux 6.0), and the flags of `Cooperative`.
    SingleIssuer,
    /// `COOP_TASKRUN` (since Linux 5.19): task work runs when the thread enters the kernel anyway, instead of interrupting it.
    /// `SUBMIT_ALL` (since 5.18): a bad entry does not stop a submission.
    Cooperative,
    /// None of these flags, for older kernels.
    Plain,
}

impl Flags {
    pub(super) const BEST_FIRST: [Self; 4] =
        [Self::Deferred, Self::SingleIssuer, Self::Cooperative, Self::Plain];

    /// A builder for a ring with these flags and a completion queue of `completions` entries, or as many as the kernel allows.
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

/// Operations without which a ring cannot work, by code and name.
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

/// Finds out what io_uring supports here: builds a small ring, probes it, and runs a few operations on it.
///
/// # Errors
/// This process may not use io_uring; the error says why and what to do.
pub(crate) fn probe() -> Result<Setup, StartError> {
    let fail = |step: &str, error: &io::Error| StartError::diagnose(step, error);
    let (flags, mut ring) =
        best_flags(|flags| flags.builder(16).build(8)).map_err(|error| fail("io_uring_setup", &error))?;
    let mut known = Probe::new();
    ring.submitter().register_probe(&mut known).map_err(|error| fail("io_uring_register", &error))?;
    if let Some((_, name)) = NEEDED.iter().find(|(code, _)| !known.is_supported(*code)) {
        return Err(StartError::does_not_know(name));
    }
    round_trip(&mut ring).map_err(|error| fail("io_uring_enter", &error))?;
    if flags == Flags::Plain {
        tracing::warn!("this kernel's io_uring is old: Linux 5.19 or newer serves requests with less CPU");
    }
    let silent_sends = trial::has_silent_sends(&mut ring).unwrap_or(false);
    let multishot = trial::has_multishot(&mut ring).unwrap_or(false);
    Ok(Setup { flags, multishot, silent_sends })
}

/// Calls `make` with each of the flags, best first, until the kernel accepts them; returns these flags and the result.
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

/// Runs one no-op, since some seccomp filters allow io_uring to be set up but not to be used.
fn round_trip(ring: &mut IoUring) -> io::Result<()> {
    trial::push(ring, &opcode::Nop::new().build());
    ring.submit_and_wait(1)?;
    ring.completion().for_each(drop);
    Ok(())
}

/// Calls `make` again, for up to a second, while it fails with `ENOMEM`. The kernel releases the locked memory of a dead process
/// with a delay, which a restarted server can run into.
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
