//! The steps that the test of kills draws at random: each calls the store, and records in the model what must then be true.

use super::super::*;
use super::model::{Entry, InFlight, entry_of};
use super::{EVICTED, World};

impl World {
    fn key(&mut self) -> Vec<u8> {
        format!("key-{}", self.random.u32(..300)).into_bytes()
    }

    fn value(&mut self) -> Vec<u8> {
        let bytes = match self.random.u8(..20) {
            0 => self.random.usize(9_000..60_000),
            1..4 => self.random.usize(1_000..9_000),
            _ => self.random.usize(..1_500),
        };
        vec![self.random.u8(..); bytes]
    }

    fn exptime(&mut self) -> Timestamp {
        if self.random.u8(..4) == 0 {
            Timestamp(self.now.0 + self.random.u32(1..20))
        } else {
            Timestamp::NEVER
        }
    }

    pub(super) fn act(&mut self) {
        match self.random.u8(..100) {
            0..45 => self.set(),
            45..55 => self.delete(),
            55..60 => self.touch(),
            60..68 => self.append(),
            68..80 => self.receive(),
            80..83 => self.mark(),
            83..90 => self.read(),
            90..97 => {
                self.now.0 += u32::from(self.random.u8(..3) == 0);
                if self.flush_at.is_some_and(|at| at <= self.now) {
                    self.in_flight = InFlight::Flush;
                    self.flush_at = None;
                    self.model.clear();
                }
                for _ in 0..3 {
                    self.shard.maintain(self.now);
                }
            }
            97 => {
                let limit = self.random.u64(12..24) << 16;
                assert!(self.shard.store().set_memory_limit(limit));
            }
            98 => {
                let at = Timestamp(self.now.0 + self.random.u32(1..10));
                self.shard.fresh(self.now).flush_at(at);
                self.flush_at = Some(at);
            }
            _ => {
                self.in_flight = InFlight::Flush;
                self.shard.fresh(self.now).flush().unwrap();
                self.model.clear();
                self.flush_at = None;
            }
        }
    }

    fn store(
        &mut self,
        key: &[u8],
        mut data: Data<'_>,
        value: impl Fn() -> Value,
        entry: Entry,
        cas: Option<u64>,
    ) {
        self.in_flight = InFlight::Put(key.to_vec(), entry.clone());
        let now = self.now;
        let edit = |_: Option<&Item<'_>>| {
            let put = Put {
                flags: entry.flags,
                exptime: entry.exptime,
                value: value(),
                cas,
                stale: entry.stale,
                won: false,
                key_is_binary: false,
            };
            (Edit::Put(put), ())
        };
        let shard = &mut self.shard;
        match at_last(|| shard.fresh(now).edit(key, &mut data, edit)) {
            Ok(done) => {
                if cas.is_none() {
                    assert!(done.cas > self.last_cas, "cas grows");
                    self.last_cas = done.cas;
                }
                EVICTED.with_borrow_mut(|evicted| evicted.remove(key));
                self.model.insert(key.to_vec(), Entry { cas: done.cas, ..entry });
            }
            Err(error) => {
                assert!(!self.evict || !self.receiving.is_empty(), "{error:?}");
                self.in_flight = InFlight::Nothing;
            }
        }
    }

    fn set(&mut self) {
        let (key, value, exptime, flags) = (self.key(), self.value(), self.exptime(), self.random.u32(..2));
        let cas = (self.random.u8(..10) == 0).then(|| self.random.u64(1..1 << 60));
        let entry = Entry { value: value.clone(), flags, exptime, cas: 0, stale: false };
        self.store(&key, Data::Bytes(&value), || Value::Data, entry, cas);
    }

    fn append(&mut self) {
        let (key, more) = (self.key(), self.value());
        let Some(old) = self.live(&key).cloned() else { return };
        let value = [&old.value[..], &more].concat();
        if value.len() < 100_000 {
            self.store(&key, Data::Bytes(&more), || Value::OldThenData, Entry { value, ..old }, None);
        }
    }

    fn delete(&mut self) {
        let key = self.key();
        self.in_flight = InFlight::Remove(key.clone());
        self.shard.fresh(self.now).edit(&key, &mut Data::None, |_| (Edit::Remove, ())).unwrap();
        self.model.remove(&key);
    }

    fn touch(&mut self) {
        let (key, exptime) = (self.key(), self.exptime());
        self.amend(&key, UpdateMetadata { exptime: Some(exptime), ..UpdateMetadata::default() }, |entry| {
            entry.exptime = exptime;
        });
    }

    fn mark(&mut self) {
        let key = self.key();
        let marks = UpdateMetadata { stale: Some(true), won: Some(false), ..UpdateMetadata::default() };
        self.amend(&key, marks, |entry| entry.stale = true);
    }

    fn amend(&mut self, key: &[u8], amend: UpdateMetadata, change: impl FnOnce(&mut Entry)) {
        let Some(mut entry) = self.live(key).cloned() else { return };
        change(&mut entry);
        self.in_flight = InFlight::Put(key.to_vec(), entry.clone());
        let mut amend = Some(amend);
        let edit = |item: Option<&Item<'_>>| match item {
            Some(_) => (Edit::UpdateMetadata(amend.take().unwrap_or_default()), true),
            None => (Edit::Keep, false),
        };
        let done = self.shard.fresh(self.now).edit(key, &mut Data::None, edit).unwrap();
        if done.outcome {
            self.model.insert(key.to_vec(), entry);
        }
    }

    fn read(&mut self) {
        let key = self.key();
        let now = self.now;
        let found = match self.shard.fresh(now).find(&key) {
            Lookup::Hit(item) => {
                item.record_access(now);
                Some(entry_of(&item))
            }
            _ => None,
        };
        assert_eq!(found.as_ref(), self.live(&key), "{}", key.escape_ascii());
    }

    /// Begins to receive a value, or goes on with one.
    fn receive(&mut self) {
        if self.receiving.len() < 3 && self.random.bool() {
            let (key, mut value) = (self.key(), self.value());
            value.push(b'!');
            let reserved = self.shard.fresh(self.now).reserve(&key, value.len(), 50);
            if let Ok(reservation) = reserved {
                self.receiving.push((key, value, reservation));
            }
            return;
        }
        if self.receiving.is_empty() {
            return;
        }
        let at = self.random.usize(..self.receiving.len());
        let (_, value, reservation) = &mut self.receiving[at];
        let filled = reservation.filled();
        let count = self.random.usize(1..=value.len() - filled);
        if reservation.needs_room() {
            let _ = self.shard.fresh(self.now).extend(reservation, 50);
        }
        reservation.fill(&value[filled..filled + count]);
        if reservation.filled() == reservation.len() {
            let (key, value, reservation) = self.receiving.swap_remove(at);
            if self.random.u8(..4) > 0 {
                let entry = Entry { value, flags: 5, exptime: Timestamp::NEVER, cas: 0, stale: false };
                // The first try that gets as far as publishing takes it.
                self.store(&key, Data::Reservation(reservation), || Value::Data, entry, None);
            }
        }
    }
}
