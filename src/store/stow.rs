//! Values on their way to flash, from chunk to chunk, and back.
//!
//! ```text
//!   evictor: a value has to go ──► pushed to the open chunk, stub published ──► memory is free at once
//!   a chunk has to go: its stub was read since ──► pushed to the open chunk again, at most half of the chunk
//!                      nobody did, or too many ──► evicted
//!   read twice while memory holds such values ──► promoted: a value in memory again
//! ```
//!
//! What is pushed is copied under the writer lock; it counts as copied by the transaction, which so has its bounds. If the open
//! chunk is full and the device is behind, nothing is pushed, and the value is evicted as without a tier.

use super::flash::{Flash, Leaving, PLACE_BYTES, Place};
use super::fresh::Fresh;
use super::item::{Fields, Item, Layout};
use super::item_ref::{Hash, ItemRef};
use super::segment_table::{Purpose, Queue};
use super::write_txn::WriteTxn;
use super::{Data, Edit, EditError, Put, Value};

/// The layout of a stub of `item`.
fn stub_layout(item: &Item<'_>) -> Layout {
    Layout::new(item.key().len(), PLACE_BYTES, item.flags(), item.cas())
}

impl WriteTxn<'_> {
    /// Moves a live value that has to go to flash; false if it stays what it was: it is too short, or there is no room.
    pub(super) fn stow(&mut self, item_ref: ItemRef, item: &Item<'_>, hash: Hash) -> bool {
        if !self.may_stow(item) {
            return false;
        }
        // What is pushed and gets no stub is in the way of others until its chunk goes, and would be pushed again at the next try.
        if !self.has_room_for_stub(item) {
            return false;
        }
        let Some(place) = self.push(item.key(), item.value()) else { return false };
        self.effort.copied(item.value().len() as u64);
        if !self.publish_stub(item_ref, item, hash, place) {
            return false;
        }
        if let Some(flash) = self.tier() {
            flash.note_stowed(self.now.0.saturating_sub(item.last_access().0));
        }
        self.host_stowed(item);
        true
    }

    /// What all threads share of the tier, if there is one.
    pub(super) fn tier(&self) -> Option<&Flash> {
        self.segments.flash.as_ref().map(|books| &**books.flash())
    }

    /// True if records have to leave their chunk.
    fn has_leaving(&self) -> bool {
        self.tier().is_some_and(Flash::has_leaving)
    }

    /// True for a value that is to go to flash if it has to go.
    pub(super) fn may_stow(&self, item: &Item<'_>) -> bool {
        let Some(flash) = self.tier() else { return false };
        let (_, bytes) = self.segments.class_of(item);
        flash.takes(bytes) && !item.is_stub() && !item.expired(self.now)
    }

    /// A place in the open chunk with this value in it.
    fn push(&mut self, key: &[u8], value: &[u8]) -> Option<Place> {
        let (place, has_work) = self.segments.flash.as_mut()?.push(key, value);
        // A chunk has been begun, or there was none for it.
        if has_work {
            self.free_chunks();
            self.wake_tier();
        }
        place
    }

    /// True if there is memory for a stub of `item`.
    fn has_room_for_stub(&mut self, item: &Item<'_>) -> bool {
        let arena = self.arena();
        self.segments.make_room(arena, Queue::Stubs, stub_layout(item))
    }

    /// Publishes a stub of `place` instead of `item`; false if there is no memory for one.
    fn publish_stub(&mut self, item_ref: ItemRef, item: &Item<'_>, hash: Hash, place: Place) -> bool {
        let fields = Fields { hits: 0, is_stub: true, ..item.fields() };
        let layout = stub_layout(item);
        let value = [&place.to_bytes()[..], &[]];
        let written = self.write(Queue::Stubs, layout, item.key(), value, &fields, Purpose::Copy);
        let Ok((stub_ref, stub)) = written else { return false };
        if item.fetched() {
            stub.set_fetched();
        }
        self.publish(hash, Some((item_ref, *item)), Some((stub_ref, stub, Queue::Stubs)));
        true
    }

    /// Looks through `count` records of chunks that have to go; true if there are more.
    pub(super) fn empty_chunks(&mut self, count: usize) -> bool {
        for _ in 0..count {
            if !self.has_leaving() || self.effort.is_spent() {
                break;
            }
            if !self.has_log_room(1) {
                return false;
            }
            self.effort.looked(1, 0);
            let Some(books) = &mut self.segments.flash else { return false };
            match books.next_leaving() {
                Some(leaving) => self.leave(&leaving),
                None => self.free_chunks(),
            }
        }
        self.has_leaving()
    }

    /// A record has to leave its chunk: if its stub lives it is rescued, or evicted.
    fn leave(&mut self, leaving: &Leaving) {
        let Leaving { record, is_lost } = leaving;
        let hash = self.hash(&record.key);
        let Some((item_ref, stub)) = self.find(hash, &record.key) else { return };
        if stub.place() != Some(record.place) {
            return;
        }
        if !is_lost
            && !stub.expired(self.now)
            && stub.hits() > 0
            && self.rescue(item_ref, &stub, hash, leaving)
        {
            return;
        }
        match self.tier() {
            Some(flash) if *is_lost => flash.count_lost(),
            Some(flash) => flash.count_evicted(record.place, record.key.len(), stub.hits() == 0),
            None => {}
        }
        self.drop_item(item_ref, &stub, hash, Queue::Stubs);
    }

    /// Writes a value once more, since it was read; false if that cannot be.
    fn rescue(&mut self, item_ref: ItemRef, stub: &Item<'_>, hash: Hash, leaving: &Leaving) -> bool {
        let record = &leaving.record;
        if !self.has_room_for_stub(stub) {
            return false;
        }
        let Some(books) = &mut self.segments.flash else { return false };
        if !books.may_rescue(record.place, record.key.len()) {
            return false;
        }
        let Some(place) = self.push(&record.key, &record.value) else { return false };
        self.effort.copied(record.value.len() as u64);
        let is_rescued = self.publish_stub(item_ref, stub, hash, place);
        if is_rescued && let Some(flash) = self.tier() {
            flash.count_rescued();
        }
        is_rescued
    }

    /// Gives back chunks without values, or has the oldest one read, if few are free.
    fn free_chunks(&mut self) {
        let evicts = self.evicts();
        if self.segments.flash.as_mut().is_some_and(|books| books.advance(evicts)) {
            self.wake_tier();
        }
    }

    /// Has the oldest chunks read if room is short; for a ring that has time.
    pub(super) fn maintain_tier(&mut self, count: usize) -> bool {
        if self.segments.flash.is_none() {
            return false;
        }
        self.free_chunks();
        let has_more = self.stow_idle();
        self.empty_chunks(count) || has_more
    }
}

impl Fresh<'_> {
    /// Brings the value of `key`, which was read at `place`, back to memory; false if the key no longer has its value
    /// at `place`. The CAS unique is kept.
    ///
    /// # Errors
    /// [`EditError`]; nothing was changed.
    pub fn promote(&mut self, key: &[u8], place: Place, value: &[u8]) -> Result<bool, EditError> {
        let edited = self.edit(key, &mut Data::Bytes(value), |old| match old {
            Some(old) if old.place() == Some(place) => {
                (Edit::Put(Put::again(old, Value::Loaded, Some(old.cas()))), true)
            }
            _ => (Edit::Keep, false),
        })?;
        Ok(edited.outcome)
    }

    /// The value of `key` at `place` cannot be read: the key is gone, if it still is there.
    ///
    /// # Errors
    /// [`EditError`]; nothing was changed.
    pub fn lose(&mut self, key: &[u8], place: Place) -> Result<bool, EditError> {
        let edited = self.edit(key, &mut Data::None, |old| match old {
            Some(old) if old.place() == Some(place) => (Edit::Remove, true),
            _ => (Edit::Keep, false),
        })?;
        Ok(edited.outcome)
    }
}
