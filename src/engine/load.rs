//! Values on flash that have been read, or could not be: counting, and what becomes of their items.

use crate::engine::Executor;
use crate::store::{EditError, Fault, Item, Lookup, Place, Retry, Stub, Wanted};
use bytes::Bytes;

/// What a get finds.
#[derive(Clone, Copy, Debug)]
pub struct Hit<'a> {
    /// The item.
    pub item: Item<'a>,
    /// Its value is on flash.
    pub stub: Option<Stub>,
}

/// Where a value is by now that could not be read where it was found.
#[derive(Clone, Debug)]
pub enum Whereabouts {
    /// On flash, elsewhere.
    Flash(Stub),
    /// In memory: this is it.
    Memory(Bytes),
    /// Nowhere, or still where it was; or another value has taken its place.
    Gone,
}

impl Executor<'_> {
    /// Looks once more for the value of `key`, which could not be read where `stub` says: it may have been moved meanwhile.
    /// Whatever is found fits the reply that was staged for `stub`: flags, CAS unique and length are the same.
    pub fn look_again(&mut self, key: &[u8], stub: Stub) -> Whereabouts {
        let Lookup::Hit(item) = self.fresh.find(key) else { return Whereabouts::Gone };
        let is_it = (item.flags(), item.cas(), item.value_bytes())
            == (stub.flags, stub.cas, stub.place.value_bytes());
        match item.place() {
            _ if !is_it => Whereabouts::Gone,
            Some(place) if place == stub.place => Whereabouts::Gone,
            Some(place) => Whereabouts::Flash(Stub { place, ..stub }),
            None => Whereabouts::Memory(Bytes::copy_from_slice(item.value())),
        }
    }

    /// Reports that the value of `key`, which a command needs in memory, could not be read at `place`. If the item is still
    /// there, it is dropped; if it has moved, running the command again finds it.
    pub fn unloadable(&mut self, key: &[u8], place: Place, fault: Fault) {
        if matches!(self.fresh.find(key), Lookup::Hit(item) if item.place() == Some(place)) {
            self.lost(key, place, fault);
        }
    }

    /// The value of `key` has been read at `place`.
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
        // If others are in the way it is found out once more.
        let _ = self.fresh.lose(key, place);
    }

    /// `count` values that gets need are not read, since those gets have no answer any more.
    pub fn aborted(&mut self, count: usize) {
        self.counters.ring.get_extstore.add(count as u64);
        self.counters.ring.get_aborted_extstore.add(count as u64);
    }

    /// A value that a get needs was not read, since there was no room for it.
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
            // A command that needs it will find out itself.
            Err(_) => {}
        }
        Ok(())
    }

    /// The value that the last command lacked which ended with [`Retry::Load`].
    pub fn take_wanted(&mut self) -> Option<Wanted> {
        self.fresh.take_wanted()
    }
}
