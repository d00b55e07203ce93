//! Values on flash that have been read, or could not be: counting, and what becomes of their items.

use crate::engine::Executor;
use crate::store::{EditError, Fault, Item, Place, Retry, Stub, Wanted};

/// What a get finds.
#[derive(Clone, Copy, Debug)]
pub struct Hit<'a> {
    /// The item.
    pub item: Item<'a>,
    /// Its value is on flash.
    pub stub: Option<Stub>,
}

impl Executor<'_> {
    /// The value of `key`, which a get needs, has been read at `place`; it comes back to memory if it `promotes` and there is
    /// room.
    pub fn loaded(&mut self, key: &[u8], place: Place, value: &[u8], promotes: bool) {
        self.count_load(place, key);
        if promotes {
            // If others are in the way it is read from flash once more.
            let _ = self.bring_back(key, place, value);
        }
    }

    /// The value of `key`, which a command needs, could not be read at `place`: the item is gone.
    pub fn lost(&mut self, key: &[u8], place: Place, fault: Fault) {
        let counters = &self.counters.ring;
        counters.get_extstore.add(1);
        counters.miss_from_extstore.add(1);
        counters.badcrc_from_extstore.add(u64::from(fault == Fault::Checksum));
        // If others are in the way it is found out once more.
        let _ = self.fresh.lose(key, place);
    }

    /// A value that a get needs was not read, since there was no room for it.
    pub fn left_out(&mut self) {
        self.counters.ring.get_extstore.add(1);
        self.counters.ring.get_oom_extstore.add(1);
    }

    /// The value of `key`, which a command needs in memory, has been read at `place`.
    ///
    /// # Errors
    /// [`Retry`]: it is not in memory, but may be if this is tried again.
    pub fn promote(&mut self, key: &[u8], place: Place, value: &[u8]) -> Result<(), Retry> {
        match self.bring_back(key, place, value) {
            Err(EditError::Retry(retry)) => return Err(retry),
            // The command will find out itself.
            Ok(()) | Err(_) => self.count_load(place, key),
        }
        Ok(())
    }

    fn bring_back(&mut self, key: &[u8], place: Place, value: &[u8]) -> Result<(), EditError> {
        if self.fresh.promote(key, place, value)? {
            self.counters.ring.recache_from_extstore.add(1);
        }
        Ok(())
    }

    fn count_load(&self, place: Place, key: &[u8]) {
        self.counters.ring.get_extstore.add(1);
        if let Some(flash) = self.store.flash() {
            flash.count_read(place, key.len());
        }
    }

    /// The value that the last command lacked which ended with [`Retry::Load`].
    pub fn take_wanted(&mut self) -> Option<Wanted> {
        self.fresh.take_wanted()
    }
}
