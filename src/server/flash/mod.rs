//! The I/O of the flash tier: its files, the thread that moves chunks, and the reads of the rings.
//!
//! All threads share one [`Device`]: files that are only read and written by offset, and log limits with locks of their own. The
//! tier's thread alone writes chunks; each ring reads through its own `Loader`. Which chunk holds what is the business of
//! `store::Flash`, which has a lock for its chunks in memory and uses the store's writer lock for everything else.
//!
//! ```text
//!   store::Flash ◄── next_job, finish ── thread of the tier ◄──► files ──► Loader of each ring ──► connections
//!        └─ Host::flash_work ──► Work ─────────┘ wakes
//! ```
//!
//! A device that fails or is slow affects only requests for values on it: a read that fails is a miss, and a chunk that
//! could not be written is lost. A read that takes too long is a miss as well: its buffer stays with the kernel, and the
//! read counts as in flight until the kernel is done with it. Each kind of failure is logged at most once a minute.

mod beat;
mod files;
mod loader;
mod log_limit;
mod read_limiter;
mod silence;
mod tier;

pub use files::open_flash;
pub(super) use loader::Loader;
pub(super) use tier::{Tier, Work};

use crate::config;
use crate::limits::FLASH_READ_TIMEOUT;
use crate::store::{Extent, Flash};
use log_limit::LogLimit;
use silence::Silence;
use std::io;
use std::sync::Arc;
use std::time::Instant;
use uring::File;

/// The files of the tier, each with its path, in the order of the options.
#[derive(Debug)]
pub(super) struct Files(Vec<(String, File)>);

impl Files {
    /// Makes `files`, which have been opened and locked and have their final length, the files of the tier.
    pub(super) fn new(tier: &config::Flash, files: Vec<std::fs::File>) -> Self {
        let file = |(path, file): (&config::FlashPath, std::fs::File)| {
            let file = File::new(file);
            let path = path.path.clone();
            if !file.is_direct() {
                tracing::warn!(
                    "flash: {path} takes no direct I/O and is read and written through the page cache"
                );
            }
            (path, file)
        };
        Self(tier.paths.iter().zip(files).map(file).collect())
    }
}

/// The tier of the store and the files behind it, shared by the tier's thread and all rings.
#[derive(Debug)]
pub(super) struct Device {
    flash: Arc<Flash>,
    files: Files,
    failed_reads: LogLimit,
    failed_writes: LogLimit,
    silence: Silence,
}

impl Device {
    pub(super) fn new(flash: Arc<Flash>, files: Files) -> Arc<Self> {
        let (failed_reads, failed_writes) = (LogLimit::default(), LogLimit::default());
        Arc::new(Self { flash, files, failed_reads, failed_writes, silence: Silence::default() })
    }

    fn file(&self, extent: Extent) -> &File {
        &self.files.0[extent.file].1
    }

    /// Flushes the files to their devices; blocks until that is done.
    fn sync(&self) {
        for (path, file) in &self.files.0 {
            if let Err(error) = file.sync() {
                tracing::warn!("flash: can't write {path} to its device: {}", crate::logging::reason(&error));
            }
        }
    }

    fn note_failed_read(&self, extent: Extent, error: &io::Error) {
        self.failed_reads.log(|others| self.tell("read from", extent, error, others));
    }

    /// Ends the time in which no read was answered, if there is one. Called when the device has answered a read, even with an
    /// error.
    fn note_answer(&self) {
        self.silence.end();
    }

    /// Notes that a read requested at `since` was not answered in time, or could not begin. If no read has been answered for too
    /// long, takes the tier out of use: no values are moved to it any more.
    fn note_silence(&self, since: Instant) {
        if self.silence.go_on(since) && self.flash.take_out_of_use() {
            tracing::error!("flash: the device does not answer: nothing is moved there any more");
        }
    }

    fn note_failed_write(&self, extent: Extent, error: &io::Error) {
        self.failed_writes.log(|others| self.tell("write to", extent, error, others));
    }

    /// Logs a failed read or write; `others` is how many failures of the same kind were not logged before it.
    fn tell(&self, what: &str, extent: Extent, error: &io::Error, others: u64) {
        let (path, Extent { offset, bytes, .. }) = (&self.files.0[extent.file].0, extent);
        let reason = match error.kind() {
            io::ErrorKind::UnexpectedEof => "the file is shorter than it was".to_owned(),
            io::ErrorKind::TimedOut => format!("no answer within {} s", FLASH_READ_TIMEOUT.as_secs()),
            io::ErrorKind::InvalidData => "it is not what was written there".to_owned(),
            _ => crate::logging::reason(error),
        };
        let others =
            if others > 0 { format!(" ({others} more since the last such line)") } else { String::new() };
        tracing::warn!("flash: can't {what} {path}, {bytes} bytes at {offset}: {reason}{others}");
    }
}
