//! Edits: every command that changes one key. An edit is decided under the writer lock on the newest state; long values are
//! copied without the lock. An edit runs on the ring of the connection that writes, and owns the memory that it copies to.
//!
//! ```text
//!   lock ─ decide ─ short value: write, publish ──────────────────────────────► done
//!     ▲       ├──── its bytes are in reserved memory: write the head, publish ─► done
//!     │       └──── long value: reserve memory ─ unlock ─ copy ─┐
//!     └──────────────────────────────────────────────────────── ┘
//! ```
//!
//! A long value that has been copied is published only if the next decision is for the same bytes: the same kind of value, from
//! the same old version. The old version stays in memory, and its ref stays valid until the lock is taken again, because this
//! ring's cursor does not move and no memory is reused before the cursor moves. If other rings keep writing the key, the value
//! is finally copied under the lock.

use super::flash::Place;
use super::fresh::Fresh;
use super::item::{Fields, Item};
use super::item_ref::{Hash, ItemRef};
use super::reservation::ReservedItem;
use super::segment_table::{Need, Queue};
use super::write_txn::{Current, WriteTxn};
use super::{Data, Edit, EditError, Edited, Put, Retry, UpdateMetadata, Value, Wanted};
use crate::classes::item_bytes;
use std::mem::{Discriminant, discriminant};

/// Length of the longest value that is copied under the lock, bytes. Copying it takes some 2 µs.
const LOCKED_COPY_BYTES_MAX: usize = 16 * 1024;
/// How many more slices of eviction an edit does after the first, before it ends with [`Retry::Soon`] so that other connections
/// are served.
const EDIT_TURNS: u32 = 1;
/// How often an edit copies a long value without the lock before it copies the value under the lock.
const COPIES_MAX: u32 = 3;

/// The key that an edit is about, and its version in the index when this transaction began.
struct Target<'k, 't> {
    key: &'k [u8],
    hash: Hash,
    /// The newest version, expired or not; `None` if the key has no item.
    old: Current<'t>,
    /// The newest version, if there is one and it has not expired.
    live: Current<'t>,
}

impl Target<'_, '_> {
    fn old_value(&self) -> &[u8] {
        self.live.map_or(&[][..], |(_, item)| item.stored())
    }

    /// Where the old value is on flash; `None` if it is in memory, or there is none.
    fn place(&self) -> Option<Place> {
        self.live.and_then(|(_, item)| item.place())
    }

    /// The old version, if bytes of it become a part of `value`; else `None`.
    fn source(&self, value: &Value) -> Option<ItemRef> {
        self.live.filter(|_| value.needs_old()).map(|(item_ref, _)| item_ref)
    }
}

/// A long value that has been copied into item memory without holding the lock.
#[derive(Debug)]
struct Copied {
    reserved: ReservedItem,
    /// The kind of value that was copied.
    kind: Discriminant<Value>,
    /// The old version, if a part of the value was copied from it.
    source: Option<ItemRef>,
}

/// What the new version may be made of. It lasts as long as the edit, through all of its transactions.
struct Material<'m, 'd> {
    /// The request's data.
    data: &'m mut Data<'d>,
    copied: Option<Copied>,
    /// How many more times the value may be copied without the lock.
    copies_left: u32,
}

impl Material<'_, '_> {
    /// Item memory that already holds all bytes of `value`, if there is any: where the request's data was received, or where
    /// the same value was copied from the same old version.
    fn complete(&self, target: &Target<'_, '_>, value: &Value) -> Option<&ReservedItem> {
        if let (Value::Data, Data::Reservation(reservation)) = (value, &*self.data)
            && let Some(reserved) = reservation.as_reserved()
        {
            assert_eq!(
                reservation.filled(),
                reservation.len(),
                "a reservation is published when it is complete"
            );
            return Some(reserved);
        }
        let copied = self.copied.as_ref()?;
        let is_same = copied.kind == discriminant(value) && copied.source == target.source(value);
        is_same.then_some(&copied.reserved)
    }

    /// Gives up the item memory that [`Material::complete`] returned, because the item in it has been published.
    fn publish(&mut self) {
        if let Some(copied) = self.copied.take() {
            copied.reserved.publish();
        } else if let Data::Reservation(reservation) = std::mem::replace(self.data, Data::None) {
            reservation.publish();
        }
    }
}

/// The result of one attempt at an edit.
enum Attempt {
    /// The edit has been carried out. `cas` is the item's CAS unique after the edit; `written` is the size of the new version
    /// as memcached counts it, 0 if none was written.
    Done { cas: u64, written: u64 },
    /// The new version is larger than `-I` allows.
    TooLarge,
    /// The edit needs the old value, which is on flash and must be read first.
    OnFlash(Place),
    /// There is no memory for the new version. `item_bytes` is its size as memcached counts it.
    Lacks { need: Need, item_bytes: u64 },
    /// The value is to be copied into `reserved` without the lock. If there is a `source`, a part of the value comes from that
    /// old version.
    Copy { reserved: ReservedItem, source: Option<ItemRef> },
}

impl Attempt {
    fn unwritten(cas: u64) -> Self {
        Self::Done { cas, written: 0 }
    }

    fn written(&self) -> u64 {
        match self {
            Self::Done { written, .. } => *written,
            _ => 0,
        }
    }
}

impl Put {
    /// True if the new version leaves its value on flash, where the old version has it.
    fn is_stub(&self, target: &Target<'_, '_>) -> bool {
        matches!(self.value, Value::Old) && target.place().is_some()
    }
}

impl Value {
    /// True if the old value's bytes are a part of this value.
    fn needs_old(&self) -> bool {
        matches!(self, Self::OldThenData | Self::DataThenOld | Self::Old)
    }

    /// The value's bytes, made of the old value and the request's data: two parts, the second of which may be empty.
    fn parts<'b>(&'b self, old_value: &'b [u8], data: &'b [u8]) -> [&'b [u8]; 2] {
        match self {
            Self::Data | Self::Padded | Self::Loaded => [data, &[]],
            Self::OldThenData => [old_value, data],
            Self::DataThenOld => [data, old_value],
            Self::Old => [old_value, &[]],
            Self::Empty => [&[], &[]],
            Self::Digits(digits, length) => [&digits[..usize::from(*length)], &[]],
        }
    }
}

impl Fresh<'_> {
    /// Calls `decide` under the writer lock, on the newest state, and carries out the [`Edit`] that it returns.
    ///
    /// `decide` gets the live item (`None` if there is none or it has expired). It may be called more than once; the last call
    /// counts. `data` is the request's data, to which [`Value`] refers. A reservation that is published is taken out of `data`.
    ///
    /// # Errors
    /// [`EditError`]; nothing was changed.
    pub fn edit<R>(
        &mut self,
        key: &[u8],
        data: &mut Data<'_>,
        mut decide: impl FnMut(Option<&Item<'_>>) -> (Edit, R),
    ) -> Result<Edited<R>, EditError> {
        let hash = self.hash(key);
        let mut material = Material { data, copied: None, copies_left: COPIES_MAX };
        let mut turns = EDIT_TURNS;
        loop {
            let mut txn = self.shard.write_txn();
            if !txn.admits(hash, self.is_copy) {
                return Err(EditError::Superseded);
            }
            let old = txn.find(hash, key);
            let live = old.filter(|(_, item)| !item.expired(txn.now));
            let (edit, outcome) = decide(live.as_ref().map(|(_, item)| item));
            if !matches!(edit, Edit::Keep) && !txn.has_log_room(1) {
                drop(txn);
                self.shard.stalled().map_or(Ok(()), Err)?;
                continue;
            }
            let attempt = txn.apply(&Target { key, hash, old, live }, &edit, &mut material);
            if let Attempt::Lacks { need, .. } = attempt {
                txn.segments.promise(hash, need);
            }
            txn.evict_proactively(attempt.written());
            drop(txn);
            self.shard.wake_laggards();
            match attempt {
                Attempt::Done { cas, .. } => return Ok(Edited { outcome, cas }),
                Attempt::TooLarge => return Err(EditError::TooLarge),
                Attempt::OnFlash(place) => {
                    self.shard.wanted = Some(Wanted { key: key.into(), place });
                    return Err(Retry::Load.into());
                }
                Attempt::Lacks { need, item_bytes } => {
                    self.evict_for(hash, need, item_bytes, &mut turns)?;
                }
                Attempt::Copy { reserved, source } => {
                    material.copied = self.copy(&edit, reserved, source, material.data);
                    material.copies_left -= 1;
                }
            }
        }
    }

    /// Fills `reserved` with the value of `edit`, outside of any transaction; a part comes from the old version `source`, if
    /// there is one. `None` if `edit` stores no value.
    fn copy(
        &self,
        edit: &Edit,
        mut reserved: ReservedItem,
        source: Option<ItemRef>,
        data: &Data<'_>,
    ) -> Option<Copied> {
        let Edit::Put(Put { value, .. }) = edit else { return None };
        let old = source.map(|item_ref| self.shard.item(item_ref));
        let old_value = old.as_ref().map_or(&[][..], Item::stored);
        let mut filled = 0;
        for part in value.parts(old_value, data.bytes()) {
            filled += reserved.fill(filled, part);
        }
        assert_eq!(filled, reserved.layout().value_bytes, "the parts are the value");
        Some(Copied { reserved, kind: discriminant(value), source })
    }
}

impl WriteTxn<'_> {
    /// True if the edit may be carried out. False for an item of `--copy-from` if a client has edited its key since the copy
    /// began, or if the copy has ended. While a copy runs, also remembers the key that a client edits, whatever comes of the
    /// edit: a delete that finds nothing is a delete too.
    fn admits(&mut self, hash: Hash, is_copy: bool) -> bool {
        match &mut self.segments.written {
            Some(written) if is_copy => !written.contains(hash),
            Some(written) => {
                written.insert(hash);
                true
            }
            None => !is_copy,
        }
    }

    /// Carries out `edit`, or returns why it cannot be carried out, or not yet.
    fn apply(&mut self, target: &Target<'_, '_>, edit: &Edit, material: &mut Material<'_, '_>) -> Attempt {
        match edit {
            Edit::Keep => Attempt::unwritten(target.live.map_or(0, |(_, item)| item.cas())),
            Edit::Remove => {
                if target.old.is_some() {
                    self.publish(target.hash, target.old, None);
                }
                Attempt::unwritten(0)
            }
            Edit::UpdateMetadata(amend) => self.amend(target, amend),
            Edit::Load => {
                let unchanged = || Attempt::unwritten(target.live.map_or(0, |(_, item)| item.cas()));
                target.place().map_or_else(unchanged, Attempt::OnFlash)
            }
            Edit::Put(put) => self.put(target, put, material),
        }
    }

    /// Changes expiry and marks of the live item in place, and appends a delta that gives the change its place among the
    /// writes. Does nothing if there is no live item.
    fn amend(&mut self, target: &Target<'_, '_>, amend: &UpdateMetadata) -> Attempt {
        let Some((item_ref, item)) = target.live else { return Attempt::unwritten(0) };
        if let Some(exptime) = amend.exptime {
            item.set_exptime(exptime);
            let arena = self.arena();
            self.segments.expires(arena, item_ref, exptime);
        }
        item.set_marks(amend.stale, amend.won);
        self.publish_amended(target.hash, item_ref);
        Attempt::unwritten(item.cas())
    }

    /// Writes and publishes a new version, or returns what is lacking. If a long value is not in item memory yet, only reserves
    /// that memory ([`Attempt::Copy`]).
    fn put(&mut self, target: &Target<'_, '_>, put: &Put, material: &mut Material<'_, '_>) -> Attempt {
        let &Target { key, hash, old, live } = target;
        self.segments.redeem(hash);
        if matches!(put.value, Value::OldThenData | Value::DataThenOld)
            && let Some(place) = target.place()
        {
            return Attempt::OnFlash(place);
        }
        let parts = put.value.parts(target.old_value(), material.data.bytes());
        let value_bytes = parts[0].len() + parts[1].len();
        let item_bytes = item_bytes(key.len(), put.flags, value_bytes);
        if item_bytes > self.item_size_max() {
            return Attempt::TooLarge;
        }
        let complete = material.complete(target, &put.value).filter(|reserved| self.is_current(reserved));
        let queue = match complete {
            // The memory lies in a segment of the queue chosen at the reservation; asking the ghosts again might choose another
            // queue.
            Some(reserved) if old.is_none() => reserved.queue(),
            _ if put.is_stub(target) => Queue::Stubs,
            _ if matches!(put.value, Value::Loaded) => Queue::Main,
            _ => self.queue_for(hash, old, item_bytes),
        };
        let is_complete = complete.is_some();
        let written = if let Some(reserved) = complete {
            let fields = self.fields(put, target);
            Ok((self.finish(reserved, key, &fields), fields.cas))
        } else if value_bytes > LOCKED_COPY_BYTES_MAX && material.copies_left > 0 {
            // Memory into which a value was copied for another decision is freed first.
            material.copied = None;
            match self.reserve(queue, key, value_bytes, old) {
                Ok(reserved) => return Attempt::Copy { reserved, source: target.source(&put.value) },
                Err(need) => Err(need),
            }
        } else {
            let fields = self.fields(put, target);
            self.write_item(queue, key, parts, &fields, old).map(|written| (written, fields.cas))
        };
        let ((item_ref, item), cas) = match written {
            Ok(written) => written,
            Err(need) => return Attempt::Lacks { need, item_bytes },
        };
        if old.is_none() && queue == Queue::Main {
            self.segments.ghost.remove(hash);
        }
        if live.is_some_and(|(_, old)| put.value.is_same_item(old.value_bytes()) && old.fetched()) {
            item.set_fetched();
        }
        self.publish(hash, old, Some((item_ref, item, queue)));
        self.segments.totals.total_items += u64::from(!matches!(put.value, Value::Loaded));
        if is_complete {
            material.publish();
        }
        Attempt::Done { cas, written: item_bytes }
    }

    /// The header fields of the new version. Takes the next CAS unique, unless `put` specifies one.
    // Inlined, since the caller writes the fields immediately.
    #[inline(always)]
    fn fields(&mut self, put: &Put, target: &Target<'_, '_>) -> Fields {
        let &Target { old, live, .. } = target;
        Fields {
            flags: put.flags,
            exptime: put.exptime,
            last_access: live
                .filter(|(_, item)| put.value.is_same_item(item.value_bytes()))
                .map_or(self.now, |(_, item)| item.last_access()),
            cas: put.cas.unwrap_or_else(|| self.segments.next_cas()),
            stale: put.stale,
            won: put.won,
            key_is_binary: put.key_is_binary,
            hits: old.map_or(0, |(_, item)| item.hits()),
            is_stub: put.is_stub(target),
        }
    }
}
