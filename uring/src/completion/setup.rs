//! How a ring is made: queues and registered buffers as large as the limit on locked memory allows.

use super::Setup;
use super::probe::{StartError, patiently};
use crate::buf::Buffers;
use crate::ring::Options;
use crate::sys;
use std::io;
use std::sync::Once;
use tokio_uring::Runtime;

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

/// Makes this thread's ring and registers its buffers, fewer than asked for if the limit on locked memory wants it, if
/// need be none (with one warning).
///
/// # Errors
/// Not even a small ring can be made; says why.
pub(crate) fn build(setup: Setup, options: &Options) -> Result<(Runtime, Buffers), StartError> {
    let share = options.share(sys::lockable_bytes());
    let runtime = runtime(setup, share.queues)?;
    let buffers = runtime.block_on(async { register(share.buffers, options) });
    tracing::debug!(?setup, queue = share.queues.submissions, buffers = buffers.pooled(), "ring ready");
    Ok((runtime, buffers))
}

/// The runtime with `queues`, or with smaller ones if memory is refused.
fn runtime(setup: Setup, queues: Queues) -> Result<Runtime, StartError> {
    let mut refused = io::Error::from_raw_os_error(libc::ENOMEM);
    for queues in QUEUES.into_iter().filter(|smaller| smaller.submissions <= queues.submissions) {
        match patiently(|| make_runtime(setup, queues)) {
            Ok(runtime) => return Ok(runtime),
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => refused = error,
            Err(error) => return Err(StartError::diagnose("starting a ring", &error)),
        }
    }
    Err(StartError::diagnose("starting a ring", &refused))
}

fn make_runtime(setup: Setup, queues: Queues) -> io::Result<Runtime> {
    let mut builder = tokio_uring::builder();
    builder.entries(queues.submissions).uring_builder(&setup.builder(queues.completions));
    Runtime::new(&builder)
}

/// Registers `count` buffers, or half as many until the kernel agrees.
fn register(count: usize, options: &Options) -> Buffers {
    static WARN: Once = Once::new();
    let mut fewer = count;
    let mut refused = None;
    while fewer > 0 {
        // Only the intended number is worth waiting for; see `patiently`.
        let registered = if fewer == count {
            patiently(|| Buffers::register(fewer, options.buffer_bytes))
        } else {
            Buffers::register(fewer, options.buffer_bytes)
        };
        match registered {
            Ok(buffers) => return buffers,
            Err(error) => {
                tracing::debug!(count = fewer, %error, "buffers not registered");
                refused = Some(error);
            }
        }
        fewer /= 2;
    }
    if options.buffers_max > 0 {
        WARN.call_once(|| match refused {
            // None was tried, because the limit leaves no room.
            Some(error) if error.raw_os_error() != Some(libc::ENOMEM) => {
                tracing::warn!("read buffers cannot be registered: {error}. The server works without");
            }
            _ => tracing::warn!(
                "read buffers cannot be registered: the limit on locked memory ({}) is too low. The server works \
                 without; to give it room: systemd LimitMEMLOCK=infinity, docker --ulimit memlock=-1, ulimit -l unlimited",
                sys::memlock_text()
            ),
        });
    }
    Buffers::heap(options.buffer_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::completion;
    use std::io::Write as _;
    use std::os::unix::net::UnixStream;
    use std::rc::Rc;

    /// A kernel that knows none of the newer flags still serves.
    #[test]
    fn rings_work_with_whatever_flags_there_are() {
        for setup in [Setup::SingleIssuer, Setup::Cooperative, Setup::Plain] {
            let (ours, theirs) = UnixStream::pair().expect("a pair");
            let (runtime, buffers) = build(setup, &options(1)).expect("a ring");
            runtime.block_on(async {
                let socket = Rc::new(socket2::Socket::from(ours));
                (&theirs).write_all(b"bytes").expect("a write");
                let (result, buffer) = completion::read(Rc::clone(&socket), buffers.take()).await;
                assert_eq!((result.expect("a read"), buffer.bytes()), (5, &b"bytes"[..]), "{setup:?}");
                let (result, _) = completion::send(socket, b"back".to_vec(), 0, 4).await;
                assert_eq!(result.expect("a send"), 4);
            });
        }
    }

    /// Far more completions at once than their queue has room for: the kernel keeps the rest, and none is lost.
    #[test]
    fn an_overflowing_completion_queue_loses_nothing() {
        const PAIRS: usize = 200;
        let queues = Queues { submissions: 8, completions: 16, charged_bytes: 0 };
        let runtime = make_runtime(Setup::SingleIssuer, queues).expect("a ring");
        runtime.block_on(async {
            let (ours, theirs): (Vec<_>, Vec<_>) =
                (0..PAIRS).map(|_| UnixStream::pair().expect("a pair")).unzip();
            let waiting: Vec<_> = ours
                .into_iter()
                .map(|socket| {
                    let socket = Rc::new(socket2::Socket::from(socket));
                    tokio::task::spawn_local(completion::readable(socket))
                })
                .collect();
            // Now all of them wait in the kernel.
            completion::turn().await;
            for peer in &theirs {
                (&mut &*peer).write_all(b"x").expect("a write");
            }
            for task in waiting {
                task.await.expect("no panic").expect("readable");
            }
        });
    }

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
