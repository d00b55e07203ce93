//! A device in memory for the flash tier, with faults on demand. A test owns it and does the work of the tier's thread with
//! it.

use crate::store::{Extent, Fault, Flash, FlashOptions, Job, Place, Source};
use bytes::Bytes;
use std::collections::BTreeMap;

/// A fault that a [`MemoryDevice`] can show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trouble {
    /// No fault.
    #[default]
    None,
    /// Reads fail.
    Reads,
    /// Writes fail.
    Writes,
    /// Writes are reported as done, but only their first 512 bytes are stored.
    Tears,
}

/// A device in memory that holds the files of a flash tier. [`MemoryDevice::work`] does the work of the tier's thread.
#[derive(Debug, Default)]
pub struct MemoryDevice {
    /// The chunks that have been written, by file and offset. A chunk that is used again replaces the earlier one.
    chunks: BTreeMap<(usize, u64), Vec<u8>>,
    /// The fault that the device shows at present. A test may change it at any time.
    pub trouble: Trouble,
}

impl MemoryDevice {
    /// Does all jobs that the tier has for its thread. True if there was at least one.
    pub fn work(&mut self, flash: &Flash) -> bool {
        let mut has_worked = false;
        while self.step(flash) {
            has_worked = true;
        }
        has_worked
    }

    /// Does one job that the tier has for its thread. False if there is none.
    pub fn step(&mut self, flash: &Flash) -> bool {
        let Some(job) = flash.next_job() else { return false };
        match job {
            Job::Write(write) => {
                let mut bytes = vec![0xff; write.extent.bytes];
                flash.fill(&write, &mut bytes);
                let is_written = self.trouble != Trouble::Writes;
                if is_written {
                    let there = if self.trouble == Trouble::Tears { 512 } else { bytes.len() };
                    self.put(write.extent, &bytes[..there]);
                }
                flash.finish_write(write, is_written);
            }
            Job::Read(read) => {
                let bytes = (self.trouble != Trouble::Reads).then(|| self.chunk(read.extent));
                flash.finish_read(read, bytes);
            }
        }
        true
    }

    /// Reads the value of `key` at `place`, from the tier's buffers or from the device.
    ///
    /// # Errors
    /// [`Fault`]: the value is gone or damaged, or the device shows a fault.
    pub fn load(&mut self, flash: &Flash, key: &[u8], place: Place) -> Result<Bytes, Fault> {
        match flash.read(place, key) {
            Source::Buffer(value) => Ok(value),
            Source::File(extent) if self.trouble != Trouble::Reads => {
                let record = Bytes::copy_from_slice(self.at(extent));
                flash.check(place, key, &record).map(|value| record.slice(value))
            }
            Source::File(_) | Source::Gone => Err(Fault::Other),
        }
    }

    /// Flips one bit at the end of the record of `key` at `place`, on the device. False if the record has not been written yet.
    pub fn flip(&mut self, flash: &Flash, key: &[u8], place: Place) -> bool {
        let Source::File(extent) = flash.read(place, key) else { return false };
        let last = self.at(extent).last_mut();
        last.is_some_and(|byte| {
            *byte ^= 1;
            true
        })
    }

    /// The bytes of a chunk as a file has them: what was written, then what was there before, which may be anything.
    fn chunk(&mut self, extent: Extent) -> Vec<u8> {
        let mut bytes = self.at(extent).to_vec();
        bytes.resize(extent.bytes, 0xff);
        bytes
    }

    /// Writes `bytes` at the start of the extent.
    fn put(&mut self, at: Extent, bytes: &[u8]) {
        let there = self.chunks.entry((at.file, at.offset)).or_default();
        there.resize(there.len().max(bytes.len()), 0);
        there[..bytes.len()].copy_from_slice(bytes);
    }

    /// The bytes of the extent that have been written; fewer than its length if the chunk was torn or never written.
    fn at(&mut self, extent: Extent) -> &mut [u8] {
        let chunks = self.chunks.range_mut((extent.file, 0)..=(extent.file, extent.offset));
        let Some((&(_, from), chunk)) = chunks.last() else { return &mut [] };
        let from = (extent.offset - from) as usize;
        let to = chunk.len().min(from + extent.bytes);
        &mut chunk[from.min(to)..to]
    }
}

/// Options of a tier to which values of any length can be moved.
pub fn options() -> FlashOptions {
    FlashOptions {
        files: vec![1 << 30],
        page_bytes: 4 << 20,
        chunk_bytes: 2 << 20,
        item_bytes_min: 0,
        item_age: u32::MAX,
        promotes: true,
        part_bytes: 1000,
    }
}
