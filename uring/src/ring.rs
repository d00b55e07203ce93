//! One thread's ring: built from what [`probe`](crate::probe) found, run once, never taken down.
//!
//! The end. The runtime drops the memory of operations in flight before the kernel has let go of it, so dropping it
//! with a read outstanding lets the kernel write into freed memory. [`Ring::run`] therefore leaks the runtime: what was
//! lent stays lent until the process exits. A server ends its connections first, so that this is the little that
//! could not be ended.
//!
//! Submission. Operations reach the kernel when the thread is about to wait, not before. So a task that keeps itself
//! ready keeps every other task's operations from starting; [`turn`] is the way to let others run. A submission that
//! fails (kernel out of memory) is tried again at the next wait: whoever runs a ring keeps a timer of about a second
//! going, so that there is a next one.

use crate::buf::Buffers;
use crate::probe::{StartError, Support, patiently};
use crate::sys;
use std::io;
use std::mem::ManuallyDrop;
use std::sync::Once;
use std::time::Duration;
use tokio_uring::Runtime;

/// How rings are made; the same for all of a process.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Rings of this process, which share the limit on locked memory.
    pub rings: usize,
    /// Size of a read buffer, bytes; a multiple of 4096.
    pub buffer_bytes: usize,
    /// Most registered buffers per ring.
    pub buffers_max: usize,
}

/// Sizes of submission and completion queue, and what the pair is charged against the limit on locked memory, bytes
/// (measured on Linux 6.18).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Queues {
    submissions: u32,
    completions: u32,
    charged_bytes: u64,
}

const QUEUES: [Queues; 3] = [
    Queues { submissions: 1024, completions: 4096, charged_bytes: 136 << 10 },
    Queues { submissions: 256, completions: 512, charged_bytes: 28 << 10 },
    Queues { submissions: 32, completions: 64, charged_bytes: 8 << 10 },
];

/// Left for other processes of the same user and for the kernel's rounding, bytes.
const MEMLOCK_SPARE_BYTES: u64 = 64 << 10;

/// Buffers take at most this part of a limited amount of locked memory, one in so many: the limit is per user, and a
/// second server of the same user, or this one restarted, must find room for its rings.
const BUFFERS_PART: u64 = 4;

/// What one ring takes of the locked memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Share {
    queues: Queues,
    buffers: usize,
}

impl Options {
    /// Divides `lockable` bytes among the rings: queues first, at most half of it, then buffers.
    fn share(&self, lockable: Option<u64>) -> Share {
        let Some(lockable) = lockable else { return Share { queues: QUEUES[0], buffers: self.buffers_max } };
        let mine = lockable.saturating_sub(MEMLOCK_SPARE_BYTES) / self.rings.max(1) as u64;
        let queues = QUEUES.into_iter().find(|queues| queues.charged_bytes <= mine / 2).unwrap_or(QUEUES[2]);
        let room = mine.saturating_sub(queues.charged_bytes).min(mine / BUFFERS_PART) as usize;
        let buffers = (room / self.buffer_bytes).min(self.buffers_max);
        Share { queues, buffers }
    }
}

/// A ring, on the thread that will run it.
#[derive(Debug)]
pub struct Ring {
    runtime: ManuallyDrop<Leaked>,
    buffers: Buffers,
}

struct Leaked(Runtime);

impl std::fmt::Debug for Leaked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Runtime")
    }
}

impl Ring {
    /// Makes this thread's ring and registers its buffers, fewer than asked for if the limit on locked memory wants it,
    /// if need be none (with one warning).
    ///
    /// # Errors
    /// Not even a small ring can be made; says why.
    pub fn build(support: Support, options: &Options) -> Result<Self, StartError> {
        let share = options.share(sys::lockable_bytes());
        let runtime = ManuallyDrop::new(Leaked(runtime(support, share.queues)?));
        let buffers = runtime.0.block_on(async { register(share.buffers, options) });
        tracing::debug!(
            setup = ?support.setup, queue = share.queues.submissions, buffers = buffers.registered(), "ring ready"
        );
        Ok(Self { runtime, buffers })
    }

    /// The ring's read buffers.
    pub fn buffers(&self) -> Buffers {
        self.buffers.clone()
    }

    /// Runs `main` and what it spawns until `main` is ready. Tasks and operations that are still there then are
    /// abandoned, with all they own; exit the process soon.
    pub fn run<F: Future>(self, main: F) -> F::Output {
        self.runtime.0.block_on(main)
    }
}

/// The runtime with `queues`, or with smaller ones if memory is refused.
fn runtime(support: Support, queues: Queues) -> Result<Runtime, StartError> {
    let mut refused = io::Error::from_raw_os_error(libc::ENOMEM);
    for queues in QUEUES.into_iter().filter(|smaller| smaller.submissions <= queues.submissions) {
        let mut builder = tokio_uring::builder();
        builder.entries(queues.submissions).uring_builder(&support.setup.builder(queues.completions));
        match patiently(|| Runtime::new(&builder)) {
            Ok(runtime) => return Ok(runtime),
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => refused = error,
            Err(error) => return Err(StartError::diagnose("starting a ring", &error)),
        }
    }
    Err(StartError::diagnose("starting a ring", &refused))
}

/// Registers `count` buffers, or half as many until the kernel agrees.
fn register(count: usize, options: &Options) -> Buffers {
    static WARN: Once = Once::new();
    let mut fewer = count;
    while fewer > 0 {
        // Only the intended number is worth waiting for; see `patiently`.
        let registered = if fewer == count {
            patiently(|| Buffers::register(fewer, options.buffer_bytes))
        } else {
            Buffers::register(fewer, options.buffer_bytes)
        };
        match registered {
            Ok(buffers) => return buffers,
            Err(error) => tracing::debug!(count = fewer, %error, "buffers not registered"),
        }
        fewer /= 2;
    }
    if options.buffers_max > 0 {
        WARN.call_once(|| {
            tracing::warn!(
                "read buffers cannot be registered: the limit on locked memory ({}) is too low. The server works \
                 without; to give it room: systemd LimitMEMLOCK=infinity, docker --ulimit memlock=-1, ulimit -l unlimited",
                sys::memlock_text()
            );
        });
    }
    Buffers::heap(options.buffer_bytes)
}

/// A spawned task; awaiting it waits for its end.
pub type Task = tokio::task::JoinHandle<()>;

/// Runs `task` on this thread's ring, beside the others.
///
/// # Panics
/// Outside of [`Ring::run`].
pub fn spawn(task: impl Future<Output = ()> + 'static) -> Task {
    tokio_uring::spawn(task)
}

/// Lets every other task run once and every waiting operation start, then goes on; about 2 µs.
///
/// Done by an operation that does nothing. A task that only wakes itself (as `yield_now` does) would go on before
/// anything is submitted.
pub async fn turn() {
    // The operation cannot fail; should the kernel refuse it, time has passed as well.
    let _ = tokio_uring::no_op().await;
}

/// Waits for `time`, to the millisecond. May be dropped unfinished.
pub async fn sleep(time: Duration) {
    tokio::time::sleep(time).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(rings: usize) -> Options {
        Options { rings, buffer_bytes: 16 << 10, buffers_max: 256 }
    }

    #[test]
    fn locked_memory_is_shared_out() {
        assert_eq!(options(4).share(None), Share { queues: QUEUES[0], buffers: 256 });
        // 8 MiB: (8192 - 64) / 4 = 2032 KiB a ring, a quarter of it is 31 buffers.
        assert_eq!(options(4).share(Some(8 << 20)), Share { queues: QUEUES[0], buffers: 31 });
        assert_eq!(options(16).share(Some(8 << 20)), Share { queues: QUEUES[0], buffers: 7 });
        // 64 KiB, as in many containers: small queues and no buffers.
        assert_eq!(options(4).share(Some(64 << 10)), Share { queues: QUEUES[2], buffers: 0 });
        for rings in 1..64 {
            for limit in (0..40).map(|shift| (1u64 << shift) + 12345) {
                let share = options(rings).share(Some(limit));
                let taken = rings as u64 * (share.queues.charged_bytes + share.buffers as u64 * (16 << 10));
                assert!(taken <= limit || share.buffers == 0, "{rings} rings, {limit} bytes: {share:?}");
            }
        }
    }
}
