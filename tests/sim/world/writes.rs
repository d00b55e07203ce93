//! Writes of every kind, at once or received in pieces, followed in the model.

use super::{Receiving, World};
use crate::model::Entry;
use memcrsd::clock::Timestamp;
use memcrsd::fuzzing::rings::{self, with_shard};
use memcrsd::store::{Data, Edit, EditError, Edited, Item, Put, ReserveError, Retry, UpdateMetadata, Value};

/// The heads of two items of one key, with their padding, differ by at most this, bytes.
const HEAD_BYTES: usize = 16;
/// Values below this are never large items, bytes.
const LARGE_BYTES: usize = 8_000;

fn put(flags: u32, exptime: Timestamp, value: Value) -> Edit {
    Edit::Put(Put { flags, exptime, value, cas: None, stale: false, won: false, key_is_binary: false })
}

impl World {
    /// Runs an edit and follows it in the model; `next` says what the model's entry becomes.
    fn edit(
        &mut self,
        ring: usize,
        key: &[u8],
        mut data: Data<'_>,
        edit: impl Fn() -> Edit,
        next: impl FnOnce(Option<&Entry>) -> Option<Entry>,
    ) {
        let now = rings::now();
        let mut seen = None;
        let result = self.attempt(ring, |shard| {
            let mut fresh = shard.fresh(now);
            fresh.edit(key, &mut data, |item| {
                seen = item.map(Item::cas);
                (edit(), ())
            })
        });
        if let Ok(done) = result {
            let current = self.check_seen(key, seen);
            match next(current.as_ref()).map(|entry| Entry { cas: done.cas, ..entry }) {
                Some(entry) => self.model.put(key, entry),
                None => self.model.remove(key),
            }
        }
    }

    pub(super) fn set(&mut self, ring: usize) {
        let (key, value, exptime, flags) = (self.key(), self.value(), self.exptime(), self.random.u32(..3));
        self.write(ring, &key, flags, exptime, &value);
    }

    pub(super) fn write(&mut self, ring: usize, key: &[u8], flags: u32, exptime: Timestamp, value: &[u8]) {
        let now = rings::now();
        let result = self.attempt(ring, |shard| {
            shard.fresh(now).edit(key, &mut Data::Bytes(value), |_| (put(flags, exptime, Value::Data), ()))
        });
        match result {
            Ok(done) => {
                let entry = Entry { value: value.to_vec(), flags, exptime, cas: done.cas };
                self.model.put(key, entry);
            }
            Err(EditError::OutOfMemory) if self.kind.evict => {
                assert!(!self.receiving.is_empty() || !self.sending.is_empty(), "room can be made");
            }
            Err(EditError::OutOfMemory) => {
                if self.accepts_equals(key, value.len()) {
                    self.write_at_rest(ring, key, flags, exptime, value);
                }
            }
            Err(error) => assert_eq!(error, EditError::Retry(Retry::Stalled)),
        }
    }

    /// True if a value of `bytes` needs no more than that of `key` frees. In little address space a large one may find its
    /// memory in pieces.
    fn accepts_equals(&self, key: &[u8], bytes: usize) -> bool {
        let frees = self.model.get(key, rings::now()).map_or(0, |old| old.value.len());
        frees >= bytes + HEAD_BYTES && (self.kind.address_space.is_none() || bytes < LARGE_BYTES)
    }

    /// Without eviction a write that needs no more than it frees is accepted, unless sends and receives hold the memory.
    fn write_at_rest(&mut self, ring: usize, key: &[u8], flags: u32, exptime: Timestamp, value: &[u8]) {
        assert!(!self.receiving.is_empty() || !self.sending.is_empty(), "what needs no more is accepted");
        self.receiving.clear();
        while !self.sending.is_empty() {
            self.end_send();
        }
        self.write(ring, key, flags, exptime, value);
    }

    pub(super) fn concat(&mut self, ring: usize) {
        let (key, more, front) = (self.key(), self.value(), self.random.bool());
        let now = rings::now();
        let Some(old) = self.model.get(&key, now).cloned() else { return };
        let value = if front { [&more[..], &old.value].concat() } else { [&old.value[..], &more].concat() };
        if value.len() > 200_000 {
            return;
        }
        let result = self.attempt(ring, |shard| {
            shard.fresh(now).edit(&key, &mut Data::Bytes(&more), |item| {
                let Some(item) = item else { return (Edit::Keep, false) };
                let value = if front { Value::DataThenOld } else { Value::OldThenData };
                (put(item.flags(), item.exptime(), value), true)
            })
        });
        match result {
            Ok(done) if done.outcome => self.model.put(&key, Entry { value, cas: done.cas, ..old }),
            Ok(_) => drop(self.check_seen(&key, None)),
            Err(_) => {}
        }
    }

    #[expect(
        clippy::redundant_closure_for_method_calls,
        reason = "the method is not general enough over lifetimes"
    )]
    pub(super) fn add(&mut self, ring: usize) {
        let (key, value) = (self.key(), self.value());
        let now = rings::now();
        if self.model.get(&key, now).is_none() {
            self.write(ring, &key, 0, Timestamp::NEVER, &value);
        } else {
            self.edit(ring, &key, Data::Bytes(&value), || Edit::Keep, |entry| entry.cloned());
        }
    }

    pub(super) fn delete(&mut self, ring: usize) {
        let key = self.key();
        self.edit(ring, &key, Data::None, || Edit::Remove, |_| None);
    }

    pub(super) fn touch(&mut self, ring: usize) {
        let (key, exptime) = (self.key(), self.exptime());
        let amend =
            || Edit::UpdateMetadata(UpdateMetadata { exptime: Some(exptime), ..UpdateMetadata::default() });
        self.edit(ring, &key, Data::None, amend, |entry| {
            entry.map(|entry| Entry { exptime, ..entry.clone() })
        });
    }

    pub(super) fn cas(&mut self, ring: usize) {
        let key = self.key();
        let now = rings::now();
        let wanted = self.model.get(&key, now).map_or(1, |entry| entry.cas);
        let result = self.attempt(ring, |shard| {
            shard.fresh(now).edit(&key, &mut Data::Bytes(b"swapped"), |item| match item {
                Some(item) if item.cas() == wanted => (put(9, Timestamp::NEVER, Value::Data), true),
                _ => (Edit::Keep, false),
            })
        });
        if let Ok(done) = result
            && done.outcome
        {
            assert!(done.cas > wanted, "cas grows");
            let entry =
                Entry { value: b"swapped".to_vec(), flags: 9, exptime: Timestamp::NEVER, cas: done.cas };
            self.model.put(&key, entry);
        }
    }

    pub(super) fn count(&mut self, ring: usize) {
        let key = self.key();
        let now = rings::now();
        let mut digits = [0; 24];
        digits[..3].copy_from_slice(b"123");
        let result = self.attempt(ring, |shard| {
            shard.fresh(now).edit(&key, &mut Data::None, |item| {
                let Some(item) = item else { return (Edit::Keep, None) };
                let (flags, exptime) = (item.flags(), item.exptime());
                (put(flags, exptime, Value::Digits(digits, 3)), Some((flags, exptime)))
            })
        });
        match result {
            Ok(Edited { outcome: Some((flags, exptime)), cas }) => {
                self.model.put(&key, Entry { value: b"123".to_vec(), flags, exptime, cas });
            }
            Ok(_) => drop(self.check_seen(&key, None)),
            Err(_) => {}
        }
    }

    pub(super) fn begin_draft(&mut self, ring: usize) {
        if self.receiving.len() >= 3 {
            return;
        }
        let (key, mut value) = (self.key(), self.value());
        value.push(b'!');
        let turns = self.random.u32(..3);
        let reservation =
            with_shard(ring, |shard| shard.fresh(rings::now()).reserve(&key, value.len(), turns));
        match reservation {
            Ok(reservation) => self.receiving.push(Receiving { ring, key, value, reservation }),
            Err(ReserveError::Retry(_)) => {}
            Err(ReserveError::OutOfMemory) => self.refusals += 1,
        }
    }

    pub(super) fn continue_draft(&mut self) {
        if self.receiving.is_empty() {
            return;
        }
        let at = self.random.usize(..self.receiving.len());
        let receiving = &mut self.receiving[at];
        let filled = receiving.reservation.filled();
        let count = self.random.usize(1..=receiving.value.len() - filled);
        if receiving.reservation.needs_room() {
            let turns = self.random.u32(..3);
            let (ring, reservation) = (receiving.ring, &mut receiving.reservation);
            // Whether there is some or not, the value is whole in the end.
            let _ = with_shard(ring, |shard| shard.fresh(rings::now()).extend(reservation, turns));
        }
        receiving.reservation.fill(&receiving.value[filled..filled + count]);
        if receiving.reservation.filled() == receiving.reservation.len() {
            let Receiving { ring, key, value, reservation } = self.receiving.swap_remove(at);
            if self.random.u8(..4) == 0 {
                return;
            }
            let put = || put(5, Timestamp::NEVER, Value::Data);
            let entry = Entry { value, flags: 5, exptime: Timestamp::NEVER, cas: 0 };
            self.edit(ring, &key, Data::Reservation(reservation), put, |_| Some(entry));
        }
    }
}
