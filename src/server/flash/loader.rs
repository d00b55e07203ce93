//! Reads values from flash for the replies and commands of one ring. Each ring has one [`Loader`] in its `RingContext`; its
//! tasks share it.

use super::Device;
use super::beat::unless;
use super::read_limiter::ReadLimiter;
use crate::engine::counters::RingCounters;
use crate::engine::latency::Kind;
use crate::limits::FLASH_READ_TIMEOUT;
use crate::store::{Extent, Fault, Place, Source};
use bytes::Bytes;
use std::io;
use std::sync::Arc;
use std::time::Instant;
use uring::{AlignedBuffer, AlignedBuffers, Bell};

/// Most bytes of read-buffer memory that a ring keeps for later reads.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// Reads values from flash for one ring, as many at a time as its limiter allows.
#[derive(Debug)]
pub(in crate::server) struct Loader {
    device: Arc<Device>,
    counters: Arc<RingCounters>,
    buffers: AlignedBuffers,
    limiter: ReadLimiter,
    bell: Bell,
}

impl Loader {
    /// Makes a ring's loader. `bell` must ring at least once a second, since overdue reads are noticed only when it rings.
    pub(in crate::server) fn new(device: Arc<Device>, counters: Arc<RingCounters>, bell: Bell) -> Self {
        let buffers = AlignedBuffers::new(KEPT_BYTES_MAX);
        Self { device, counters, buffers, limiter: ReadLimiter::new(), bell }
    }

    /// Returns the value of `key` at `place`: from memory if its chunk is still to be written, else from the file.
    ///
    /// # Errors
    /// The value is no longer there, or could not be read in time.
    pub(in crate::server) async fn load(&self, key: &[u8], place: Place) -> Result<Bytes, Fault> {
        let extent = match self.device.flash.read(place, key) {
            // Copied, because the client may take its time, and a reference to a part of a chunk keeps the whole chunk.
            Source::Buffer(value) => return Ok(Bytes::copy_from_slice(&value)),
            Source::File(extent) => extent,
            Source::Gone => return Err(Fault::Other),
        };
        let since = Instant::now();
        let record = self.read(extent).await.map_err(|error| {
            self.device.note_failed_read(extent, &error);
            Fault::Other
        })?;
        self.counters.latency.record(Kind::FlashRead, since.elapsed(), 1);
        let value = self.device.flash.check(place, key, &record).map_err(|_| {
            // The chunk may have been used again during the read.
            if matches!(self.device.flash.read(place, key), Source::Gone) {
                return Fault::Other;
            }
            // Otherwise the file holds what this server has not written there.
            self.device.note_failed_read(extent, &io::ErrorKind::InvalidData.into());
            Fault::Checksum
        })?;
        Ok(record.slice(value))
    }

    /// Reads the bytes of `extent` from its file, within the limits on reads.
    ///
    /// # Errors
    /// The error of the device, or `TimedOut` if it does not answer.
    async fn read(&self, extent: Extent) -> io::Result<Bytes> {
        let file = self.device.file(extent);
        // A device that is out of use gets no new read until the overdue ones have been answered.
        if self.device.flash.is_out_of_use() && self.limiter.has_overdue() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let bytes = file.widen(extent.offset, extent.bytes).len;
        let asked = Instant::now();
        let Some(permit) = self.limiter.take(bytes, &self.bell).await else {
            self.device.note_silence(asked);
            return Err(io::ErrorKind::TimedOut.into());
        };
        let (since, ours) = (Instant::now(), Arc::downgrade(&permit));
        let read = file.read_range(&self.buffers, extent.offset, extent.bytes, permit);
        let Some(result) = unless(read, &self.bell, || since.elapsed() >= FLASH_READ_TIMEOUT).await else {
            self.limiter.note_overdue(ours);
            self.device.note_silence(since);
            return Err(io::ErrorKind::TimedOut.into());
        };
        self.device.note_answer();
        let (buffer, record): (AlignedBuffer, _) = result?;
        Ok(Bytes::from_owner(buffer).slice(record))
    }
}
