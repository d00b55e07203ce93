//! Moves values to flash, from chunk to chunk, and back.
//!
//! These are methods of the write transaction. They run under the writer lock, on whichever ring evicts or maintains. The state
//! that they change is in the segment table (`transfer`, `flash`). Only bringing values back begins at a [`Fresh`], as an edit.
//!
//! ```text
//!   a value in memory has to go ──► pushed to the open chunk, its stub published ──► its memory is free
//!                                   (a long value: a part of it in each transaction)
//!   a chunk has to go; its record was read, or flash is nearly empty, and the bounds allow it ──► pushed to the open chunk
//!                      any other record ──► evicted
//!   a value on flash is read twice within `Flash::promote_age` ──► promoted: a value in memory again
//! ```
//!
//! What is pushed is copied under the writer lock and counts as copied by the transaction, whose bounds apply. A long value
//! is a [`Transfer`] until all of it has been copied. There is one transfer at a time, and it goes before all other work for
//! flash. Until it is complete, its item stays unchanged in its place; if the item is removed, or the chunk is given up, the
//! transfer ends without effect. If the open chunk is full and the device cannot keep up, nothing is pushed, and the value is
//! evicted as without a flash tier.

use super::arena::Placement;
use super::flash::{DrainedRecord, Flash, Leaving, PLACE_BYTES, Place};
use super::fresh::Fresh;
use super::item::{Fields, Item, Layout};
use super::item_ref::{Hash, ItemRef};
use super::segment_table::{Demoted, Purpose, Queue, Transfer, VictimMode};
use super::write_txn::WriteTxn;
use super::{Data, Edit, EditError, Put, Value};

/// The layout of a stub for `item`.
fn stub_layout(item: &Item<'_>) -> Layout {
    Layout::new(item.key().len(), PLACE_BYTES, item.flags(), item.cas())
}

impl WriteTxn<'_> {
    /// Moves the value of a live item to flash, or begins to: a long value takes several transactions. Must not be called while
    /// another value is on its way.
    pub(super) fn demote(&mut self, item_ref: ItemRef, item: &Item<'_>, hash: Hash) -> Demoted {
        if self.may_demote(item) && self.begin_transfer(item_ref, item, hash, None) {
            self.continue_transfer()
        } else {
            Demoted::Not
        }
    }

    /// Begins to copy a value to the open chunk: the value of `item`, or, if a record is `leaving` its chunk, the value of this
    /// record, whose stub `item` is. False if there is no room.
    fn begin_transfer(
        &mut self,
        item_ref: ItemRef,
        item: &Item<'_>,
        hash: Hash,
        leaving: Option<&DrainedRecord>,
    ) -> bool {
        assert!(self.segments.transfer.is_none(), "one value at a time is on its way");
        // If a value were copied and then got no stub, it would take room in its chunk for nothing, and be copied again at the
        // next try.
        if !self.has_room_for_stub(item) {
            return false;
        }
        let place = self.begin_record(item.key(), item.value_bytes());
        let leaving = leaving.cloned();
        self.segments.transfer = place.map(|place| Transfer { item_ref, hash, leaving, place, copied: 0 });
        place.is_some()
    }

    /// True if a value is on its way to flash: more of it has to be copied.
    pub(super) fn has_transfer(&self) -> bool {
        self.segments.transfer.is_some()
    }

    /// Copies the next part of the value that is on its way to flash, if one is. The caller has checked that the log has room
    /// for the delta of a stub.
    pub(super) fn continue_transfer(&mut self) -> Demoted {
        let Some(transfer) = self.segments.transfer.take() else { return Demoted::Not };
        // The item is still there: its removal would have ended the transfer.
        let item = self.item(transfer.item_ref);
        let value = match &transfer.leaving {
            Some(record) => &record.value[..],
            None => item.value(),
        };
        let Some(chunks) = &self.segments.flash else { return Demoted::Not };
        let part_bytes = chunks.flash().part_bytes();
        let part = &value[transfer.copied..value.len().min(transfer.copied + part_bytes)];
        let is_copied = chunks.extend(transfer.place, part);
        self.effort.copied(part.len() as u64);
        let copied = transfer.copied + part.len();
        if is_copied && copied < value.len() {
            self.segments.transfer = Some(Transfer { copied, ..transfer });
            return Demoted::UnderWay;
        }
        let is_demoted = is_copied && self.end_transfer(&transfer, &item);
        match &transfer.leaving {
            _ if is_demoted => return Demoted::Done,
            Some(record) => self.drop_leaving(record, transfer.item_ref, &item, transfer.hash, false),
            None => {}
        }
        Demoted::Not
    }

    /// Ends a transfer of which all of the value has been copied: publishes its stub. False if there is no memory for the stub,
    /// the item has expired, or the record cannot be finished.
    fn end_transfer(&mut self, transfer: &Transfer, item: &Item<'_>) -> bool {
        let &Transfer { item_ref, hash, place, .. } = transfer;
        if item.expired(self.now) || !self.has_room_for_stub(item) {
            return false;
        }
        let is_finished =
            self.segments.flash.as_ref().is_some_and(|chunks| chunks.finish(place, item.key().len()));
        if !is_finished || !self.publish_stub(item_ref, item, hash, place) {
            return false;
        }
        let Some(flash) = self.tier() else { return false };
        if transfer.leaving.is_some() {
            flash.count_rescued();
            return true;
        }
        flash.note_demoted(self.now.0.saturating_sub(item.last_access().0));
        self.host_demoted(item);
        if let Placement::Large(_) = self.segments.placement(self.arena(), item_ref) {
            self.earn(VictimMode::Evict, item.layout().bytes() as u64);
        }
        true
    }

    /// The flash tier, if there is one.
    pub(super) fn tier(&self) -> Option<&Flash> {
        self.segments.flash.as_ref().map(|chunks| &**chunks.flash())
    }

    /// True if a chunk on flash has records that have to leave it.
    fn has_leaving(&self) -> bool {
        self.tier().is_some_and(Flash::has_leaving)
    }

    /// True if `item` is long enough for flash, false if it is too short; `None` if there is no flash tier.
    fn is_taken(&self, item: &Item<'_>) -> Option<bool> {
        let flash = self.tier()?;
        let (_, bytes) = self.segments.class_of(item);
        Some(flash.takes(bytes))
    }

    /// True if there is a flash tier and `item` is too short for it.
    pub(super) fn is_short(&self, item: &Item<'_>) -> bool {
        self.is_taken(item) == Some(false)
    }

    /// True if the value of `item` may be moved to flash: it is long enough, not on flash yet, and has not expired.
    pub(super) fn may_demote(&self, item: &Item<'_>) -> bool {
        self.is_taken(item) == Some(true) && !item.is_stub() && !item.expired(self.now)
    }

    /// Begins a record in the open chunk, in the place of one that was begun and not finished. `None` if there is no tier, no
    /// room, or the value is too long for a chunk. Wakes the thread of the flash tier if this gives it work.
    fn begin_record(&mut self, key: &[u8], value_bytes: usize) -> Option<Place> {
        let (place, has_work) = self.segments.flash.as_mut()?.begin(key, value_bytes);
        // A new chunk has been opened, or no chunk was free.
        if has_work {
            self.free_chunks();
            self.wake_tier();
        }
        place
    }

    /// True if there is memory for a stub of `item`. Opens a segment for stubs if necessary.
    fn has_room_for_stub(&mut self, item: &Item<'_>) -> bool {
        let arena = self.arena();
        self.segments.ensure_open_segment(arena, Queue::Stubs, stub_layout(item))
    }

    /// Replaces `item` by a stub whose value is at `place` on flash; false if there is no memory for the stub.
    fn publish_stub(&mut self, item_ref: ItemRef, item: &Item<'_>, hash: Hash, place: Place) -> bool {
        let fields = Fields { hits: 0, is_stub: true, ..item.fields() };
        let layout = stub_layout(item);
        let value = [&place.to_bytes()[..], &[]];
        let written = self.write(Queue::Stubs, layout, item.key(), value, &fields, Purpose::Spare);
        let Ok((stub_ref, stub)) = written else { return false };
        if item.fetched() {
            stub.set_fetched();
        }
        self.publish(hash, Some((item_ref, *item)), Some((stub_ref, stub, Queue::Stubs)));
        true
    }

    /// Deals with up to `count` records that have to leave their chunk. True if there are more.
    pub(super) fn empty_chunks(&mut self, count: usize) -> bool {
        for _ in 0..count {
            if !self.has_leaving() || self.effort.is_spent() {
                break;
            }
            if !self.has_log_room(1) {
                return false;
            }
            self.effort.looked(1, 0);
            if self.has_transfer() {
                self.continue_transfer();
                continue;
            }
            let Some(chunks) = &mut self.segments.flash else { return false };
            if let Some(leaving) = chunks.next_leaving() {
                self.leave(&leaving);
            } else {
                self.free_chunks();
                // Even if the thread has no chunk to read, it frees the memory of the chunk whose records have all been taken.
                self.wake_tier();
            }
        }
        self.has_leaving()
    }

    /// Deals with a record that has to leave its chunk. Copies it to the open chunk if it was read or flash is nearly empty,
    /// and the bounds allow it; else removes its stub. Does nothing if no stub names the record any more.
    fn leave(&mut self, leaving: &Leaving) {
        let Leaving { record, is_lost } = leaving;
        let hash = self.hash(&record.key);
        let Some((item_ref, stub)) = self.find(hash, &record.key) else { return };
        if stub.place() != Some(record.place) {
            return;
        }
        if !is_lost
            && !stub.expired(self.now)
            && self
                .segments
                .flash
                .as_mut()
                .is_some_and(|chunks| chunks.may_rescue(record.place, record.key.len(), stub.hits() > 0))
            && self.begin_transfer(item_ref, &stub, hash, Some(record))
        {
            self.continue_transfer();
            return;
        }
        self.drop_leaving(record, item_ref, &stub, hash, *is_lost);
    }

    /// Removes the stub of a record that is given up with its chunk, and counts the item: as lost if the chunk could not be
    /// written, else as evicted.
    fn drop_leaving(
        &mut self,
        record: &DrainedRecord,
        stub_ref: ItemRef,
        stub: &Item<'_>,
        hash: Hash,
        is_lost: bool,
    ) {
        match self.tier() {
            Some(flash) if is_lost => flash.count_lost(),
            Some(flash) => flash.count_evicted(record.place, record.key.len(), stub.hits() == 0),
            None => {}
        }
        self.drop_item(stub_ref, stub, hash, Queue::Stubs);
    }

    /// Frees chunks without live values. If too few are free then, has the thread of the flash tier read the oldest chunk.
    fn free_chunks(&mut self) {
        let evicts = self.evicts();
        if self.segments.flash.as_mut().is_some_and(|chunks| chunks.advance(evicts)) {
            self.wake_tier();
        }
    }

    /// Does background work for the flash tier: frees chunks, goes on with a transfer, moves idle values, and deals with up to
    /// `count` records that have to leave their chunk. True if there is more to do now.
    pub(super) fn maintain_tier(&mut self, count: usize) -> bool {
        if self.segments.flash.is_none() {
            return false;
        }
        self.free_chunks();
        if self.has_transfer() {
            let goes_on = self.has_log_room(1);
            if goes_on {
                self.continue_transfer();
            }
            return goes_on;
        }
        let has_more = self.demote_idle();
        self.empty_chunks(count) || has_more
    }
}

impl Fresh<'_> {
    /// Stores the value of `key`, which was read from `place` on flash, in memory again; the CAS unique stays the same. False,
    /// and nothing is changed, if the key's value is not at `place` any more.
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

    /// Removes `key`, because its value at `place` on flash cannot be read. False, and nothing is changed, if the key's value
    /// is not at `place` any more.
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
