//! A device in memory for the flash tier, with faults on demand.

use super::{Peer, store_with};
use crate::config::Config;
use crate::engine::Search;
use crate::output::Hole;
use crate::output::Output;
use crate::session::udp::Exchange;
use crate::store::{Extent, Fault, Flash, FlashOptions, Job, Lookup, Place, Source, Walk, Wanted};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is wrong with a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing.
    #[default]
    None,
    /// Reads fail.
    Reads,
    /// Writes fail.
    Writes,
    /// Writes are reported as done, but only their first 512 bytes are there.
    Tears,
}

/// Files in memory. It does the work of the tier's thread when it is told to.
#[derive(Debug, Default)]
pub struct MemoryDevice {
    /// What has been written, by file and offset: chunks, whose places are the same in every lap.
    chunks: BTreeMap<(usize, u64), Vec<u8>>,
    /// What is wrong with it.
    pub trouble: Trouble,
}

impl MemoryDevice {
    /// Does all that there is to do; true if there was anything.
    pub fn work(&mut self, flash: &Flash) -> bool {
        let mut has_worked = false;
        while self.step(flash) {
            has_worked = true;
        }
        has_worked
    }

    /// Does one thing; false if there is nothing to do.
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
                let bytes = (self.trouble != Trouble::Reads).then(|| self.at(read.extent).to_vec());
                flash.finish_read(read, bytes);
            }
        }
        true
    }

    /// The value of `key` at `place`.
    ///
    /// # Errors
    /// [`Fault`]: it is not there.
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

    /// Flips the last bit of the record of `key` at `place`; false if it has not been written.
    pub fn flip(&mut self, flash: &Flash, key: &[u8], place: Place) -> bool {
        let Source::File(extent) = flash.read(place, key) else { return false };
        let last = self.at(extent).last_mut();
        last.is_some_and(|byte| {
            *byte ^= 1;
            true
        })
    }

    /// Puts `bytes` where they belong.
    fn put(&mut self, at: Extent, bytes: &[u8]) {
        let there = self.chunks.entry((at.file, at.offset)).or_default();
        there.resize(there.len().max(bytes.len()), 0);
        there[..bytes.len()].copy_from_slice(bytes);
    }

    /// What stands there; shorter where nothing was ever written.
    fn at(&mut self, extent: Extent) -> &mut [u8] {
        let chunks = self.chunks.range_mut((extent.file, 0)..=(extent.file, extent.offset));
        let Some((&(_, from), chunk)) = chunks.last() else { return &mut [] };
        let from = (extent.offset - from) as usize;
        let to = chunk.len().min(from + extent.bytes);
        &mut chunk[from.min(to)..to]
    }
}

/// A tier to which values of any length can be moved.
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

impl Peer {
    /// A client of a server with a flash tier on a device in memory.
    pub fn with_flash(config: Config, options: FlashOptions) -> Self {
        let store = store_with(&config, 1, Some(options));
        Self::on_store(config, &store)
    }

    /// The server's tier.
    ///
    /// # Panics
    /// It has none.
    pub fn flash(&mut self) -> Arc<Flash> {
        Arc::clone(self.engine.shard_mut().store().flash().expect("a server with a tier"))
    }

    /// The device it is on.
    pub fn device_mut(&mut self) -> &mut MemoryDevice {
        &mut self.device
    }

    /// Where the value of `key` is, if it is on flash.
    pub fn place(&mut self, key: &[u8]) -> Option<Place> {
        let mut fresh = self.engine.shard_mut().latest();
        match fresh.find(key) {
            Lookup::Hit(item) => item.place(),
            _ => None,
        }
    }

    /// Moves the value of `key` to flash; false if it stays where it is.
    pub fn stow(&mut self, key: &[u8]) -> bool {
        self.engine.shard_mut().latest().stow(key)
    }

    /// Copies the next part of the value that is on its way to flash, or else the first one of that of `key`.
    pub fn stow_part(&mut self, key: &[u8]) {
        self.engine.shard_mut().latest().stow_part(Some(key));
    }

    /// Moves all values to flash.
    pub fn stow_all(&mut self) {
        let mut keys: Vec<Box<[u8]>> = Vec::new();
        let mut walk = Walk::default();
        let mut fresh = self.engine.shard_mut().latest();
        while fresh.walk(&mut walk, |item| keys.push(item.key().into())) {}
        for key in keys {
            fresh.stow(&key);
        }
    }

    /// Has all values written that are on their way to flash.
    pub fn write_all(&mut self) {
        let flash = self.flash();
        flash.seal();
        self.device.work(&flash);
    }

    /// Does all background work that there is.
    pub fn maintain(&mut self) {
        let now = self.engine.shard_mut().store().now();
        while self.engine.shard_mut().maintain(now) {}
    }

    /// Has the value of `key` moved to flash again each time it comes back for a command.
    pub fn stows_again(&mut self, key: &[u8]) {
        self.stowed_again = key.into();
    }

    /// Reads what the replies lack.
    pub(super) fn fill(&mut self, out: &mut Output) {
        let mut holes = out.take_holes();
        self.load(&mut holes);
        out.fill(holes);
    }

    /// Reads what the replies to a datagram lack.
    pub(super) fn fill_exchange(&mut self, exchange: &mut Exchange) {
        let mut holes = exchange.take_holes();
        self.load(&mut holes);
        exchange.fill(holes);
    }

    fn load(&mut self, holes: &mut [Hole]) {
        if holes.is_empty() {
            return;
        }
        if let Some(others) = self.meanwhile.take() {
            others(self);
        }
        let flash = self.flash();
        for hole in holes {
            let (mut search, mut executor) = (Search::new(hole.stub), self.engine.fresh());
            let found = loop {
                let loaded = self.device.load(&flash, &hole.key, search.place());
                let found = loaded
                    .map_or_else(|fault| search.failed(&mut executor, &hole.key, fault), |it| Some(Ok(it)));
                if let Some(found) = found {
                    break found;
                }
            };
            let place = search.place();
            match found {
                Ok(value) => {
                    executor.loaded(&hole.key, place);
                    if hole.stub.promotes {
                        // If others are in the way it is read from flash once more.
                        let _ = executor.promote(&hole.key, place, &value);
                    }
                    hole.value = Some(value);
                }
                Err(fault) => executor.lost(&hole.key, place, fault),
            }
        }
    }

    /// Has this happen between the next look-up that lacks values and the reads of these.
    pub fn set_meanwhile(&mut self, others: fn(&mut Self)) {
        self.meanwhile = Some(others);
    }

    /// Reads what a command lacks.
    pub(super) fn load_wanted(&mut self, wanted: Option<Box<Wanted>>) {
        let Wanted { key, place } = *wanted.expect("the session says what it lacks");
        if let Some(others) = self.meanwhile.take() {
            others(self);
        }
        let flash = self.flash();
        match self.device.load(&flash, &key, place) {
            Ok(value) => {
                let mut executor = self.engine.fresh();
                executor.loaded(&key, place);
                let promoted = executor.promote(&key, place, &value);
                drop(executor);
                assert_eq!(promoted, Ok(()), "nobody is in the way");
                if key == self.stowed_again {
                    assert!(self.stow(&key));
                }
            }
            Err(fault) => self.engine.fresh().unloadable(&key, place, fault),
        }
    }
}
