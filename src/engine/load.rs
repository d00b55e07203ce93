//! Values on flash after the attempt to read them: counts the reads, and decides what happens to the items. The module extends
//! [`Executor`], whose ring has done the read.

use crate::engine::Executor;
use crate::store::{EditError, Fault, Item, Lookup, Place, Retry, Stub, Wanted};
use bytes::Bytes;

/// The item that a get has found, and the place of its value if the value is on flash.
#[derive(Clone, Copy, Debug)]
pub struct Hit<'a> {
    /// The item. If its value is on flash, only its header and key are in memory.
    pub item: Item<'a>,
    /// The place of the value on flash, with the fields of the header that a reply needs; `None` if the value is in memory.
    pub stub: Option<Stub>,
}

/// Most places at which one search reads a value that is moved away each time.
const LOOKS_MAX: u32 = 4;

/// The search for one value on flash that a reply needs. Other rings may move the value while it is being read.
#[derive(Debug)]
pub struct Search {
    stub: Stub,
    looks_left: u32,
}

impl Search {
    /// Starts a search at the place in `stub`.
    pub fn new(stub: Stub) -> Self {
        Self { stub, looks_left: LOOKS_MAX }
    }

    /// Returns the place at which the value must be read next.
    pub fn place(&self) -> Place {
        self.stub.place
    }

    /// Looks up the value again after it could not be read at [`Search::place`].
    ///
    /// Returns `None` if the value has been moved, so that it must be read at the new [`Search::place`]. Otherwise returns the
    /// value if it is in memory again, or `fault` if it is lost. A returned value fits the reply staged for the stub: flags, CAS
    /// unique and length are the same.
    pub fn failed(
        &mut self,
        executor: &mut Executor<'_>,
        key: &[u8],
        fault: Fault,
    ) -> Option<Result<Bytes, Fault>> {
        self.looks_left -= 1;
        let Lookup::Hit(item) = executor.fresh.find(key) else { return Some(Err(fault)) };
        let is_it = (item.flags(), item.cas(), item.value_bytes())
            == (self.stub.flags, self.stub.cas, self.place().value_bytes());
        match item.place() {
            _ if !is_it || self.looks_left == 0 => Some(Err(fault)),
            Some(place) if place == self.place() => Some(Err(fault)),
            Some(place) => {
                self.stub.place = place;
                None
            }
            None => Some(Ok(Bytes::copy_from_slice(item.value()))),
        }
    }
}

impl Executor<'_> {
    /// Reports that the value of `key`, which a command needs in memory, could not be read at `place`. If the item is still at
    /// that place, it is removed and counted as lost. If it has been moved, the command finds it when it runs again.
    pub fn unloadable(&mut self, key: &[u8], place: Place, fault: Fault) {
        if matches!(self.fresh.find(key), Lookup::Hit(item) if item.place() == Some(place)) {
            self.lost(key, place, fault);
        }
    }

    /// Counts a value of `key` that has been read at `place`, for this ring and for the tier.
    pub fn loaded(&mut self, key: &[u8], place: Place) {
        self.counters.ring.get_extstore.add(1);
        if let Some(flash) = self.store.flash() {
            flash.count_read(place, key.len());
        }
    }

    /// Counts a value of `key` that could not be read at `place`, and removes the item. If the item cannot be removed at this
    /// moment, the next failed read removes it.
    pub fn lost(&mut self, key: &[u8], place: Place, fault: Fault) {
        let counters = &self.counters.ring;
        counters.get_extstore.add(1);
        counters.miss_from_extstore.add(1);
        counters.badcrc_from_extstore.add(u64::from(fault == Fault::Checksum));
        // If the item cannot be removed at this moment, the next read fails too, and removes it then.
        let _ = self.fresh.lose(key, place);
    }

    /// Counts `count` reads that were dropped before they began, because the replies to their gets were dropped.
    pub fn aborted(&mut self, count: usize) {
        self.counters.ring.get_extstore.add(count as u64);
        self.counters.ring.get_aborted_extstore.add(count as u64);
    }

    /// Counts a value that a get needs and that was not read for lack of memory.
    pub fn left_out(&mut self) {
        self.counters.ring.get_extstore.add(1);
        self.counters.ring.get_oom_extstore.add(1);
    }

    /// Brings the value of `key`, which was read at `place`, back to memory. Does nothing if there is no room for it or if the
    /// item has changed.
    ///
    /// # Errors
    /// [`Retry`]: other rings prevent it for the moment, and the call must be repeated.
    pub fn promote(&mut self, key: &[u8], place: Place, value: &[u8]) -> Result<(), Retry> {
        match self.fresh.promote(key, place, value) {
            Ok(is_promoted) => self.counters.ring.recache_from_extstore.add(u64::from(is_promoted)),
            Err(EditError::Retry(retry)) => return Err(retry),
            // A command that needs the value is refused or asks for it again when it runs.
            Err(_) => {}
        }
        Ok(())
    }

    /// Takes the key and the place of the value that the last command with [`Retry::Load`] needs in memory. `None` if there is no
    /// such value.
    pub fn take_wanted(&mut self) -> Option<Wanted> {
        self.fresh.take_wanted()
    }
}
