//! The thread of the flash tier: writes chunks that are full, and reads back chunks whose space is to be used again. The server
//! has one such thread; it takes its jobs from `store::Flash`.

use super::Device;
use crate::store::{Job, Read, Write};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use uring::{AlignedBuffer, Backend, Background, BackgroundFile};

/// How long [`Tier::finish`] waits for chunks to be written.
const FINISH_TIMEOUT: Duration = Duration::from_secs(10);

/// Wakes the thread of the tier; clones wake the same thread. Any thread may use it.
#[derive(Clone, Debug, Default)]
pub(in crate::server) struct Work(Arc<Signals>);

#[derive(Debug, Default)]
struct Signals {
    is_there: Notify,
    is_ending: AtomicBool,
}

impl Work {
    /// Wakes the tier's thread, or keeps it from going to sleep, because there is work. Never waits.
    pub(in crate::server) fn announce(&self) {
        // The notification is kept until the thread waits again, so that none is lost that comes while it works.
        self.0.is_there.notify_one();
    }
}

/// The main thread's handle on the running thread of the tier.
#[derive(Debug)]
pub(in crate::server) struct Tier {
    device: Arc<Device>,
    work: Work,
    thread: JoinHandle<()>,
}

impl Tier {
    /// Starts the thread, which uses the I/O engine of the rings if one more ring can be built, else epoll.
    ///
    /// # Errors
    /// The thread cannot be created.
    pub(in crate::server) fn start(device: &Arc<Device>, engine: Backend, work: Work) -> io::Result<Self> {
        let (theirs, signals) = (Arc::clone(device), work.clone());
        let body = move || {
            let files: Vec<_> = theirs.files.0.iter().map(|(_, file)| file.clone()).collect();
            let main = |files| run(files, &theirs, &signals);
            let end = Background::build(engine).and_then(|background| background.run_tasks(&files, main));
            if let Err(error) = end {
                tracing::error!("flash: nothing is moved there: {}", crate::logging::reason(&error));
            }
            // On this thread, because a file system that does not answer would keep the main thread from ending the server.
            theirs.sync();
        };
        let thread = std::thread::Builder::new().name("flash".to_owned()).spawn(body)?;
        Ok(Self { device: Arc::clone(device), work, thread })
    }

    /// Writes the chunks that are still in memory to the files, for the next process, flushes the files, and ends the thread.
    /// Gives up with a warning after [`FINISH_TIMEOUT`]. The rings must have ended before.
    pub(in crate::server) fn finish(self) {
        self.device.flash.seal();
        self.work.0.is_ending.store(true, Ordering::Release);
        self.work.announce();
        let deadline = Instant::now() + FINISH_TIMEOUT;
        while !self.thread.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        if !self.thread.is_finished() {
            tracing::warn!("flash: the device is too slow: what it has not taken is lost");
        }
    }
}

/// Does the jobs of the tier until the server ends and no job is left.
async fn run(files: Vec<BackgroundFile>, device: &Device, work: &Work) {
    let flash = &device.flash;
    let mut buffer = AlignedBuffer::zeroed(flash.chunk_bytes() as usize);
    loop {
        match flash.next_job() {
            Some(Job::Write(write)) => buffer = write_chunk(&files, device, write, buffer).await,
            Some(Job::Read(read)) => read_chunk(&files, device, read).await,
            None if work.0.is_ending.load(Ordering::Acquire) => return,
            None => work.0.is_there.notified().await,
        }
    }
}

/// Fills `buffer`, which is as long as the longest chunk, with a chunk, writes the chunk to its file, and returns the buffer.
async fn write_chunk(
    files: &[BackgroundFile],
    device: &Device,
    write: Write,
    mut buffer: AlignedBuffer,
) -> AlignedBuffer {
    let extent = write.extent;
    device.flash.fill(&write, &mut buffer.bytes_mut()[..extent.bytes]);
    let (result, buffer) = files[extent.file].write_at(buffer, extent.bytes, extent.offset).await;
    if let Err(error) = &result {
        device.note_failed_write(extent, error);
    }
    if device.flash.finish_write(write, result.is_ok()) {
        tracing::error!("flash: too many writes in a row have failed: nothing is moved there any more");
    }
    buffer
}

/// Reads a chunk whose space is to be used again, and hands it to `store::Flash`, which keeps some of its values.
async fn read_chunk(files: &[BackgroundFile], device: &Device, read: Read) {
    let extent = read.extent;
    let (result, buffer) =
        files[extent.file].read_at(AlignedBuffer::with_room(extent.bytes), extent.offset).await;
    let is_whole = result.and_then(|count| match count {
        _ if count == extent.bytes => Ok(()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    });
    if let Err(error) = &is_whole {
        device.note_failed_read(extent, error);
    }
    device.flash.finish_read(read, is_whole.is_ok().then(|| buffer.bytes().to_vec()));
}
