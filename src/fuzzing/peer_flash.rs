//! What a [`Peer`] does with the flash tier of its server: it reads the values that replies and commands lack, as a ring
//! does but without waiting, and moves values there and back.

use super::flash::MemoryDevice;
use super::peer::{Peer, store_with};
use crate::config::Config;
use crate::engine::Search;
use crate::output::{Hole, Output};
use crate::session::udp::Exchange;
use crate::store::{Flash, FlashOptions, Lookup, Place, Walk, Wanted};
use std::sync::Arc;

impl Peer {
    /// A client of a server whose flash tier is on a device in memory.
    pub fn with_flash(config: Config, options: FlashOptions) -> Self {
        let store = store_with(&config, 1, Some(options));
        let mut peer = Self::on_store(config, &store);
        peer.set_holds_short(true);
        peer
    }

    /// The flash tier of the server.
    ///
    /// # Panics
    /// The server has no tier.
    pub fn flash(&mut self) -> Arc<Flash> {
        Arc::clone(self.engine.shard_mut().store().flash().expect("a server with a tier"))
    }

    /// The device that the flash tier of the server is on.
    pub fn device_mut(&mut self) -> &mut MemoryDevice {
        &mut self.device
    }

    /// The place of the value of `key` on flash; `None` if the value is in memory or the key is absent.
    pub fn place(&mut self, key: &[u8]) -> Option<Place> {
        let mut fresh = self.engine.shard_mut().latest();
        match fresh.find(key) {
            Lookup::Hit(item) => item.place(),
            _ => None,
        }
    }

    /// Moves the value of `key` to the flash tier, which may write it later. False if the value stays in memory.
    pub fn demote(&mut self, key: &[u8]) -> bool {
        self.engine.shard_mut().latest().demote(key)
    }

    /// Copies one more part of the value that is on its way to flash. If there is none, begins with the value of `key`.
    pub fn demote_part(&mut self, key: &[u8]) {
        self.engine.shard_mut().latest().demote_part(Some(key));
    }

    /// Moves all values to the flash tier that can be moved.
    pub fn demote_all(&mut self) {
        let mut keys: Vec<Box<[u8]>> = Vec::new();
        let mut walk = Walk::default();
        let mut fresh = self.engine.shard_mut().latest();
        while fresh.walk(&mut walk, |item| keys.push(item.key().into())) {}
        for key in keys {
            fresh.demote(&key);
        }
    }

    /// Writes all chunks that wait, even one that is not full, to the device.
    pub fn write_all(&mut self) {
        let flash = self.flash();
        flash.seal();
        self.device.work(&flash);
    }

    /// Does all of the store's background work that is due.
    pub fn maintain(&mut self) {
        let now = self.engine.shard_mut().store().now();
        while self.engine.shard_mut().maintain(now) {}
    }

    /// From this call on, the value of `key` is moved to flash again each time a command has brought it back to memory.
    pub fn demotes_again(&mut self, key: &[u8]) {
        self.demoted_again = key.into();
    }

    /// Reads the values that the replies in `out` lack from the device, and fills them in.
    pub(super) fn fill(&mut self, out: &mut Output) {
        let mut holes = out.take_holes();
        self.load(&mut holes);
        out.fill(holes);
    }

    /// Reads the values that the replies to a datagram lack from the device, and fills them in.
    pub(super) fn fill_exchange(&mut self, exchange: &mut Exchange) {
        let mut holes = exchange.take_holes();
        self.load(&mut holes);
        exchange.fill(holes);
    }

    /// The largest number of values so far that had to be read from flash for one send.
    pub fn reads_at_once(&self) -> usize {
        self.reads_at_once
    }

    fn load(&mut self, holes: &mut [Hole]) {
        self.reads_at_once = self.reads_at_once.max(holes.len());
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
                        // If that fails because of other rings, the next get reads the value from flash once more.
                        let _ = executor.promote(&hole.key, place, &value);
                    }
                    hole.value = Some(value);
                }
                Err(fault) => executor.lost(&hole.key, place, fault),
            }
        }
    }

    /// Chooses what happens to short values from flash. With true, they may stay in the memory that they were read into, as on a
    /// ring with enough memory. With false, they are copied, as on a ring that is short of memory.
    pub fn set_holds_short(&mut self, holds_short: bool) {
        self.out.set_holds_short(holds_short);
    }

    /// Sets up that `others` runs once, after the next look-up that finds values on flash and before those values are read.
    pub fn set_meanwhile(&mut self, others: fn(&mut Self)) {
        self.meanwhile = Some(others);
    }

    /// Reads the value that a command needs, and brings it back to memory; reports it as lost if it cannot be read.
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
                if key == self.demoted_again {
                    assert!(self.demote(&key));
                }
            }
            Err(fault) => self.engine.fresh().unloadable(&key, place, fault),
        }
    }
}
