//! Building a ring: queues as large as the limit on locked memory allows, and buffers, which are not counted against it. Runs
//! once on each ring's thread, before the ring does.

use super::driver::Driver;
use super::pool::Pool;
use super::probe::{Flags, Setup, patiently};
use super::runtime::Runtime;
use crate::buf::Buffers;
use crate::options::Options;
use crate::start_error::StartError;
use crate::sys;
use io_uring::IoUring;
use std::io;
use std::sync::Once;

/// Number of entries of the submission queue and of the completion queue, and the bytes that the kernel charges for both against
/// the limit on locked memory (measured on Linux 6.18).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Queues {
    submissions: u32,
    completions: u32,
    charged_bytes: u64,
}

const QUEUES: [Queues; 3] = [
    Queues { submissions: 128, completions: 1024, charged_bytes: 32 << 10 },
    Queues { submissions: 64, completions: 256, charged_bytes: 16 << 10 },
    Queues { submissions: 32, completions: 64, charged_bytes: 12 << 10 },
];

/// The rings of a process take at most the limit on locked memory divided by this number. The limit is per user, and other
/// servers of the same user, or this one restarted, need room for their rings.
const PROCESS_PART: u64 = 8;

impl Options {
    /// The largest queue sizes that one ring may have if `lockable` bytes may be locked (`None` means no limit); the smallest
    /// ones if even these need more.
    fn queues(&self, lockable: Option<u64>) -> Queues {
        let Some(lockable) = lockable else { return QUEUES[0] };
        let mine = lockable / PROCESS_PART / self.rings.max(1) as u64;
        QUEUES.into_iter().find(|queues| queues.charged_bytes <= mine).unwrap_or(QUEUES[QUEUES.len() - 1])
    }
}

/// Builds this thread's ring and its buffers.
///
/// # Errors
/// Not even a ring with the smallest queues can be built; the error says why.
pub(crate) fn build(setup: Setup, options: &Options) -> Result<(Runtime, Buffers), StartError> {
    let fail = |error: &io::Error| StartError::diagnose("starting a ring", error);
    let ring = ring(setup.flags, options.queues(sys::lockable_bytes())).map_err(|error| fail(&error))?;
    let pool = match options.buffers() {
        0 => None,
        count => Pool::register(&ring, count, options.buffer_bytes).map_err(|error| warn(&error)).ok(),
    };
    let buffers = match &pool {
        Some(pool) => pool.buffers(options.read_bytes_max),
        None => Buffers::on_heap(options.buffer_bytes, options.read_bytes_max),
    };
    tracing::debug!(?setup, queue = ring.params().sq_entries(), buffers = buffers.pooled(), "ring ready");
    let driver = Driver::new(ring, setup, pool, buffers.clone()).map_err(|error| fail(&error))?;
    Ok((Runtime::new(driver).map_err(|error| fail(&error))?, buffers))
}

/// Builds a ring with `queues`, or with smaller ones if the kernel refuses memory. Retries the smallest ones [`patiently`].
fn ring(flags: Flags, queues: Queues) -> io::Result<IoUring> {
    let make = |queues: Queues| flags.builder(queues.completions).build(queues.submissions);
    for queues in QUEUES.into_iter().filter(|smaller| smaller.submissions <= queues.submissions) {
        match make(queues) {
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => {}
            result => return result,
        }
    }
    patiently(|| make(QUEUES[QUEUES.len() - 1]))
}

/// Logs a warning, once per process, that receives have no provided buffers because of `error`.
fn warn(error: &io::Error) {
    static WARN: Once = Once::new();
    WARN.call_once(|| {
        let what = "read buffers cannot be registered";
        if error.raw_os_error() == Some(libc::ENOMEM) {
            tracing::warn!(
                "{what}: the limit on locked memory ({}) is too low. The server works without, with more CPU; to give \
                 it room: systemd LimitMEMLOCK=infinity, docker --ulimit memlock=-1, ulimit -l unlimited",
                sys::memlock_text()
            );
        } else {
            tracing::warn!("{what}: {error}. The server works without, with more CPU");
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::completion::{self, Handle};
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    const BEST: Setup = Setup { flags: Flags::Deferred, multishot: true, silent_sends: true };

    fn run<F: Future<Output = ()>>(setup: Setup, options: &Options, main: impl FnOnce() -> F) {
        let (runtime, _) = build(setup, options).expect("a ring");
        let runtime = std::mem::ManuallyDrop::new(runtime);
        runtime.block_on(async { main().await });
    }

    /// A kernel that lacks any one feature still serves.
    #[test]
    fn rings_work_with_whatever_there_is() {
        let with_flags = Flags::BEST_FIRST.map(|flags| Setup { flags, ..BEST });
        let others = [
            Setup { multishot: false, ..BEST },
            Setup { silent_sends: false, ..BEST },
            Setup { flags: Flags::Plain, multishot: false, silent_sends: false },
        ];
        for (setup, buffers_max) in with_flags.into_iter().chain(others).zip([8, 8, 8, 8, 8, 8, 0]) {
            let (ours, mut theirs) = UnixStream::pair().expect("a pair");
            let options = Options { buffers_max, ..options(1) };
            run(setup, &options, async || {
                let connection = Handle::new(socket2::Socket::from(ours));
                for _ in 0..20 {
                    theirs.write_all(b"bytes").expect("a write");
                    let buffer = connection.read().await.expect("a read");
                    assert_eq!(buffer.bytes(), b"bytes", "{setup:?}");
                    connection.queue_send(b"back".to_vec());
                }
                connection.settled().await.expect("sends");
                let mut back = [0; 80];
                io::Read::read_exact(&mut theirs, &mut back).expect("all of them");
                let (result, _) =
                    completion::send(connection.driver(), connection.socket(), b"back".to_vec(), 0).await;
                result.expect("a send");
            });
        }
    }

    /// A runtime whose ring has 8 submissions, room for `completions`, and `buffers` of 4 KiB.
    fn runtime(setup: Setup, completions: u32, buffers: usize) -> std::mem::ManuallyDrop<Runtime> {
        let ring = setup.flags.builder(completions).build(8).expect("a ring");
        let pool = Pool::register(&ring, buffers, 4096).expect("buffers");
        let buffers = pool.buffers(0);
        let driver = Driver::new(ring, setup, Some(pool), buffers).expect("a driver");
        std::mem::ManuallyDrop::new(Runtime::new(driver).expect("a runtime"))
    }

    /// The kernel takes buffers in turn and so would touch all of them, however few are in use at a time.
    #[test]
    fn the_kernel_is_given_more_buffers_when_it_has_none() {
        const BUFFERS: usize = 100;
        for flags in Flags::BEST_FIRST {
            let runtime = runtime(Setup { flags, ..BEST }, 1024, BUFFERS);
            runtime.block_on(async {
                let given = || Driver::current().resources.pool.as_ref().map(Pool::given);
                let mut lent = Vec::new();
                for (bytes, expected) in
                    [(1, 32), (20, 32), (40, 64), (BUFFERS, BUFFERS), (BUFFERS + 5, BUFFERS)]
                {
                    while lent.len() < bytes {
                        let (ours, theirs) = UnixStream::pair().expect("a pair");
                        (&theirs).write_all(b"x").expect("a write");
                        let connection = Handle::new(socket2::Socket::from(ours));
                        lent.push((connection.read().await.expect("bytes"), connection));
                    }
                    assert_eq!(given(), Some(expected), "for {bytes} buffers");
                    let pooled = lent.iter().filter(|(buffer, _)| buffer.is_pooled()).count();
                    assert_eq!(pooled, bytes.min(BUFFERS));
                }
            });
        }
    }

    /// Far more completions than the queue has room for: the kernel keeps the rest, and none is lost.
    #[test]
    fn an_overflowing_completion_queue_loses_nothing() {
        const PAIRS: usize = 200;
        for flags in Flags::BEST_FIRST {
            let runtime = runtime(Setup { flags, ..BEST }, 16, 4);
            runtime.block_on(async {
                let (ours, theirs): (Vec<_>, Vec<_>) =
                    (0..PAIRS).map(|_| UnixStream::pair().expect("a pair")).unzip();
                let waiting: Vec<_> = ours
                    .into_iter()
                    .map(|socket| {
                        tokio::task::spawn_local(async move {
                            let connection = Handle::new(socket2::Socket::from(socket));
                            connection.read().await.expect("bytes").bytes().to_vec()
                        })
                    })
                    .collect();
                // Now all of them wait in the kernel.
                completion::yield_now().await;
                for peer in &theirs {
                    (&mut &*peer).write_all(b"x").expect("a write");
                }
                for task in waiting {
                    assert_eq!(task.await.expect("no panic"), b"x");
                }
            });
        }
    }

    /// While the kernel refused submissions, replies in the backlog were taken for sent as soon as the queue itself was
    /// empty: their memory was reused for other replies, and the ring slept on what it had not submitted.
    #[test]
    fn what_the_kernel_refuses_to_take_is_not_lost() {
        const PAIRS: usize = 100;
        for silent_sends in [true, false] {
            let runtime = runtime(Setup { silent_sends, ..BEST }, 1024, PAIRS);
            runtime.block_on(async {
                let (ours, theirs): (Vec<_>, Vec<_>) =
                    (0..PAIRS).map(|_| UnixStream::pair().expect("a pair")).unzip();
                theirs.iter().try_for_each(|peer| peer.set_nonblocking(true)).expect("sockets");
                for socket in ours {
                    tokio::task::spawn_local(async move {
                        let connection = Handle::new(socket2::Socket::from(socket));
                        loop {
                            let request = connection.read().await.expect("bytes").bytes().to_vec();
                            Driver::current().resources.queue.refusals.set(20);
                            let mut reply = Driver::current().resources.buffers.spare();
                            reply.extend_from_slice(&request.repeat(1000));
                            connection.queue_send(reply);
                        }
                    });
                }
                completion::yield_now().await;
                for _ in 0..3 {
                    for (number, peer) in (0_u8..).zip(&theirs) {
                        (&mut &*peer).write_all(&[number]).expect("a write");
                    }
                    for (number, peer) in (0_u8..).zip(&theirs) {
                        let mut reply = Vec::new();
                        while reply.len() < 1000 {
                            let mut part = [0; 1000];
                            match (&mut &*peer).read(&mut part) {
                                Ok(count) => reply.extend_from_slice(&part[..count]),
                                Err(_) => completion::yield_now().await,
                            }
                        }
                        assert!(reply == [number; 1000], "{number} was told {}", reply[0]);
                    }
                }
            });
        }
    }

    fn options(rings: usize) -> Options {
        Options { rings, buffer_bytes: 16 << 10, buffers_max: 256, read_bytes_max: 0 }
    }

    #[test]
    fn locked_memory_is_shared_out() {
        assert_eq!(options(4).queues(None), QUEUES[0]);
        assert_eq!(options(4).queues(Some(8 << 20)), QUEUES[0]);
        // 64 KiB, as in many containers.
        assert_eq!(options(4).queues(Some(64 << 10)), QUEUES[2]);
    }

    #[test]
    fn a_limit_on_read_memory_limits_the_pool() {
        let limited = Options { read_bytes_max: 100 << 10, ..options(1) };
        assert_eq!((options(1).buffers(), limited.buffers()), (256, 6));
    }
}
