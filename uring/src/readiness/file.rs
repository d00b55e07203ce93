//! Reading files, for which epoll knows no readiness. A few threads, shared by all rings of the process, make the calls, which
//! block. A read is handed to a thread with its buffer, and comes back through a channel; no other state is shared.

use crate::aligned::AlignedBuffer;
use crate::disk::Disk;
use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Number of threads: enough to keep a device busy. More threads would only wait for the device.
const THREADS: usize = 4;
/// Most reads that are with the threads of the process, queued or running. The tasks of further reads wait.
const READS_MAX: usize = 1024;

/// The threads that read files. They are started at the first use, and end with the process.
static READERS: LazyLock<Readers> = LazyLock::new(Readers::start);

/// A read that a thread is to make, and the channel for its result.
struct Job {
    file: Arc<Disk>,
    buffer: AlignedBuffer,
    offset: u64,
    done: oneshot::Sender<Outcome>,
    /// The read's share of [`READS_MAX`], which the end of the job gives back.
    _place: Option<OwnedSemaphorePermit>,
    /// A value that the caller wants kept as long as the buffer is in use; dropped with the job.
    _lease: Box<dyn Send>,
}

type Outcome = (io::Result<()>, AlignedBuffer);

impl Job {
    fn run(mut self) {
        if self.done.is_closed() {
            return;
        }
        let result = self.file.read(&mut self.buffer, self.offset);
        // Fails if the future of the read was dropped.
        let _ = self.done.send((result, self.buffer));
    }
}

/// The rings' way to the threads that read files: the queue of reads, and the bound on their number. One per process.
struct Readers {
    jobs: Sender<Job>,
    places: Arc<Semaphore>,
    /// False if no thread could be started. Rings then make the calls themselves.
    has_threads: bool,
}

impl Readers {
    fn start() -> Self {
        let (jobs, waiting) = mpsc::channel();
        let waiting = Arc::new(Mutex::new(waiting));
        let threads = (0..THREADS).map(|number| {
            let waiting = Arc::clone(&waiting);
            std::thread::Builder::new().name(format!("reader-{number}")).spawn(move || read(&waiting))
        });
        // `fold` tries to start all of them, even if the first fails.
        let has_threads = threads.fold(false, |has, thread| match thread {
            Ok(_) => true,
            Err(error) => {
                tracing::warn!(%error, "can't create a thread that reads files");
                has
            }
        });
        Self { jobs, places: Arc::new(Semaphore::new(READS_MAX)), has_threads }
    }
}

/// The work of a thread. One thread waits for the next read; the others wait for the lock, which that thread holds.
fn read(waiting: &Mutex<Receiver<Job>>) {
    loop {
        let job = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match job {
            Ok(job) => job.run(),
            Err(_) => return,
        }
    }
}

/// Starts the threads that read files, unless they have been started already.
pub(crate) fn start_readers() {
    LazyLock::force(&READERS);
}

/// Reads the file from `offset` on until `buffer` is full or the file ends. If the future is dropped, `lease` is kept as long as
/// a thread has the buffer.
pub(crate) async fn read_at<L: Send + 'static>(
    file: Arc<Disk>,
    mut buffer: AlignedBuffer,
    offset: u64,
    lease: L,
) -> Outcome {
    let readers = &*READERS;
    if !readers.has_threads {
        return (file.read(&mut buffer, offset), buffer);
    }
    // The semaphore is never closed, so this succeeds.
    let place = Arc::clone(&readers.places).acquire_owned().await.ok();
    let (done, outcome) = oneshot::channel();
    let job = Job { file, buffer, offset, done, _place: place, _lease: Box::new(lease) };
    let sent = readers.jobs.send(job);
    // Threads wait for jobs for as long as there can be any, and answer each.
    assert!(sent.is_ok(), "the threads that read are there");
    outcome.await.expect("a thread answers")
}
