//! Values on flash that have been read, or could not be: counts the reads, and decides what becomes of the items. Extends
//! [`Executor`], whose ring has done the read.

use crate::engine::Executor;
use crate::store::{EditError, Fault, Item, Lookup, Place, Retry, Stub, Wanted};
use bytes::Bytes;

/// An item that a get has found.
#[derive(Clone, Copy, Debug)]
pub struct Hit<'a> {
    /// The item.
    pub item: Item<'a>,
    /// `Some` if the item's value is on flash.
    pub stub: Option<Stub>,
}

/// How many places are tried for a value that is moved away each time.
const LOOKS_MAX: u32 = 4;

/// The search of one reply for a value on flash, which others may move while it is read.
#[derive(Debug)]
pub struct Search {
    stub: Stub,
    looks_left: u32,
}

impl Search {
    /// A search that begins at the place of `stub`.
    pub fn new(stub: Stub) -> Self {
        Self { stub, looks_left: LOOKS_MAX }
    }

    /// Where to read the value next.
    pub fn place(&self) -> Place {
        self.stub.place
    }

    /// Notes that the value could not be read at [`Search::place`], and looks it up again. Returns `None` if it has been
    /// moved and is to be read at the new [`Search::place`]; the value, if it has come back to memory; or `fault`, if it is
    /// lost. What is returned fits the reply that was staged for the stub: flags, CAS unique and length are the same.
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
    /// Reports that the value of `key`, which a command needs in memory, could not be read at `place`. If the item is still
    /// there, it is dropped; if it has moved, running the command again finds it.
    pub fn unloadable(&mut self, key: &[u8], place: Place, fault: Fault) {
        if matches!(self.fresh.find(key), Lookup::Hit(item) if item.place() == Some(place)) {
            self.lost(key, place, fault);
        }
    }

    /// Counts that the value of `key` has been read at `place`.
    pub fn loaded(&mut self, key: &[u8], place: Place) {
        self.counters.ring.get_extstore.add(1);
        if let Some(flash) = self.store.flash() {
            flash.count_read(place, key.len());
        }
    }

    /// Counts that the value of `key`, which a get needs, could not be read at `place`, and removes the item.
    pub fn lost(&mut self, key: &[u8], place: Place, fault: Fault) {
        let counters = &self.counters.ring;
        counters.get_extstore.add(1);
        counters.miss_from_extstore.add(1);
        counters.badcrc_from_extstore.add(u64::from(fault == Fault::Checksum));
        // If the item cannot be removed right now, the next read finds it lost once more.
        let _ = self.fresh.lose(key, place);
    }

    /// Counts `count` reads of gets that were dropped, since their gets are not answered any more.
    pub fn aborted(&mut self, count: usize) {
        self.counters.ring.get_extstore.add(count as u64);
        self.counters.ring.get_aborted_extstore.add(count as u64);
    }

    /// Counts a value that a get needs and that was not read, since there was no room for it.
    pub fn left_out(&mut self) {
        self.counters.ring.get_extstore.add(1);
        self.counters.ring.get_oom_extstore.add(1);
    }

    /// Brings the value of `key`, which has been read at `place`, back to memory, if there is room.
    ///
    /// # Errors
    /// [`Retry`]: it is not in memory, but may be if this is tried again.
    pub fn promote(&mut self, key: &[u8], place: Place, value: &[u8]) -> Result<(), Retry> {
        match self.fresh.promote(key, place, value) {
            Ok(is_promoted) => self.counters.ring.recache_from_extstore.add(u64::from(is_promoted)),
            Err(EditError::Retry(retry)) => return Err(retry),
            // A command that needs the value finds out when it runs again.
            Err(_) => {}
        }
        Ok(())
    }

    /// Takes the value that the last command needed which ended with [`Retry::Load`].
    pub fn take_wanted(&mut self) -> Option<Wanted> {
        self.fresh.take_wanted()
    }
}
