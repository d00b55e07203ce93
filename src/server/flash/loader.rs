//! Reads of one ring: values that replies and commands lack.

use super::Device;
use crate::engine::counters::RingCounters;
use crate::engine::latency::Kind;
use crate::limits::FLASH_READ_BYTES_MAX;
use crate::store::{Extent, Fault, Place, Source};
use bytes::Bytes;
use std::io;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Semaphore;
use uring::{AlignedBuffer, AlignedBuffers};

/// Reads of a ring that are in flight at the same time; others wait for their turn.
const READS_MAX: usize = 128;
/// Memory that they read into is counted in units; a value longer than all of it has to wait until it is alone.
const UNIT_BYTES: usize = 4096;
const UNITS_MAX: u32 = (FLASH_READ_BYTES_MAX / UNIT_BYTES) as u32;
/// Memory that is kept for later reads, bytes.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// The reads of a ring.
#[derive(Debug)]
pub(in crate::server) struct Loader {
    device: Arc<Device>,
    counters: Arc<RingCounters>,
    buffers: AlignedBuffers,
    reads: Semaphore,
    units: Semaphore,
}

impl Loader {
    pub(in crate::server) fn new(device: Arc<Device>, counters: Arc<RingCounters>) -> Self {
        Self {
            device,
            counters,
            buffers: AlignedBuffers::new(KEPT_BYTES_MAX),
            reads: Semaphore::new(READS_MAX),
            units: Semaphore::new(UNITS_MAX as usize),
        }
    }

    /// The value of `key` at `place`, wherever it is by now.
    ///
    /// # Errors
    /// It is there no more, or could not be read.
    pub(in crate::server) async fn load(&self, key: &[u8], place: Place) -> Result<Bytes, Fault> {
        let extent = match self.device.flash.read(place, key) {
            // The client may take its time, and a part of a chunk keeps all of its memory.
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
        let value = self.device.flash.check(place, key, &record).inspect_err(|&fault| {
            if fault == Fault::Checksum {
                self.device.note_failed_read(extent, &io::ErrorKind::InvalidData.into());
            }
        })?;
        Ok(record.slice(value))
    }

    async fn read(&self, extent: Extent) -> io::Result<Bytes> {
        let file = self.device.file(extent);
        let units = file.widen(extent.offset, extent.bytes).len.div_ceil(UNIT_BYTES) as u32;
        // Neither is ever closed. Whoever has a place among the reads waits for nothing else, so all get on.
        let _memory = self.units.acquire_many(units.min(UNITS_MAX)).await;
        let _read = self.reads.acquire().await;
        let (buffer, record): (AlignedBuffer, _) =
            file.read_range(&self.buffers, extent.offset, extent.bytes).await?;
        Ok(Bytes::from_owner(buffer).slice(record))
    }
}
