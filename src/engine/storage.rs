//! Storing, deleting, touching, flushing, and changing the memory limit.
//!
//! The module extends [`Executor`], owns no state, and may import the modules named before it in `engine`, but no other command.
//! Stores, deletes and touches are decided in a closure that the store calls in a write transaction, under the writer lock.

use crate::clock::Timestamp;
use crate::command::{Deleted, Exptime, Flushed, Mode, StorageRequest, Stored, Touched, Written};
use crate::engine::Executor;
use crate::engine::observe::Found;
use crate::store::{
    Data, Edit, EditError, Item, Put, Reservation, ReserveError, Retry, Stub, UpdateMetadata, Value,
};

/// The result of comparing the cas of a storage command with the cas of the item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compared {
    /// The command has no cas.
    None,
    Match,
    /// The command's cas is less than the item's, and the command accepts that.
    Stale,
    Differs,
    /// The command has a cas, but the key is absent.
    Missing,
}

/// The outcome of a storage command under the writer lock. It is counted and reported after the lock is released.
#[derive(Clone, Copy, Debug)]
struct Decision {
    stored: Stored,
    compared: Compared,
    /// The class and the value length, in bytes, of the item that the command found; `None` if the key was absent.
    old: Option<(u8, usize)>,
}

impl Executor<'_> {
    /// True if an item for `store` with a value of `value_bytes` bytes would exceed the size limit.
    pub fn is_too_large(&self, store: &StorageRequest<'_>, value_bytes: usize) -> bool {
        self.shared.bytes_of(store.key.len(), store.flags, value_bytes) > self.shared.config.item_size_max
    }

    /// Counts a store that is refused for the reason `why`. With `drop_old` the item of its key is removed, so that a failed set
    /// leaves no old value. With -M, or for a copy, the item is never removed.
    ///
    /// # Errors
    /// [`Retry`]: the item has not been removed, and the command must be run again.
    pub fn refuse_store(
        &mut self,
        store: &StorageRequest<'_>,
        why: Stored,
        drop_old: bool,
    ) -> Result<(), Retry> {
        // With -M, stored items stay, whatever is refused. A copy replaces nothing.
        if drop_old && self.shared.config.evictions && !self.fresh.is_copy() {
            let removed = self
                .fresh
                .edit(store.key, &mut Data::None, |old| (old.map_or(Edit::Keep, |_| Edit::Remove), ()));
            // Removing takes no memory. If other rings prevent it, the store is refused even so.
            let _ = self.settle(removed)?;
        }
        match why {
            Stored::TooLarge => self.counters.ring.store_too_large.add(1),
            _ => self.counters.ring.store_no_memory.add(1),
        }
        if let Some(observer) = self.observer() {
            let status = if why == Stored::TooLarge { "too_large" } else { "no_memory" };
            observer.stored(store.key, store.mode, status, (0, 0, 0));
        }
        Ok(())
    }

    /// Reserves item memory for a value that is still to be received. Spends at most `turns` turns of eviction on it.
    ///
    /// # Errors
    /// The outer error, [`Retry`]: the command must be run again. The inner error: there is no memory.
    pub fn reserve(
        &mut self,
        key: &[u8],
        value_bytes: usize,
        turns: u32,
    ) -> Result<Result<Reservation, ReserveError>, Retry> {
        let reserved = self.fresh.reserve(key, value_bytes, turns);
        self.settle(reserved)
    }

    /// Finds memory for more of a value whose reservation [needs room](Reservation::needs_room). Spends at most `turns` turns of
    /// eviction on it.
    ///
    /// # Errors
    /// The outer error, [`Retry`]: the call must be repeated. The inner error: there is no memory.
    pub fn extend(
        &mut self,
        reservation: &mut Reservation,
        turns: u32,
    ) -> Result<Result<(), ReserveError>, Retry> {
        let extended = self.fresh.extend(reservation, turns);
        self.settle(extended)
    }

    /// Counts a storage command whose value has been received completely, in `cmd_set` of its class.
    pub fn count_set(&self, store: &StorageRequest<'_>, value_bytes: usize) {
        let class = self.shared.classes.of(self.shared.bytes_of(store.key.len(), store.flags, value_bytes));
        self.class(class).cmd_set.add(1);
    }

    /// Runs the storage command `store`, whose value `data` has `value_bytes` bytes. The decision is made under the writer lock,
    /// then counted and reported.
    ///
    /// # Errors
    /// [`Retry`]: nothing was stored and `data` is unchanged, so the command must be run again.
    pub fn store(
        &mut self,
        store: &StorageRequest<'_>,
        value_bytes: usize,
        data: &mut Data<'_>,
    ) -> Result<Stored, Retry> {
        if matches!(data, Data::Reservation(reservation) if reservation.is_given_up()) {
            return Ok(Stored::NoMemory);
        }
        let (now, shared) = (self.now(), self.shared);
        let deadline = self.deadline(store.exptime);
        let vivify = store.vivify.map(|exptime| self.deadline(exptime));
        let edited = self.fresh.edit(store.key, data, |old| {
            let compared = compare(store, old);
            let old_size = old.map(|old| (shared.class_of(old), old.value_bytes()));
            let edit = decide(store, old, compared, deadline, vivify);
            if let (Some(old), Mode::Add, Err(Stored::NotStored)) = (old, store.mode, &edit) {
                // A failed add counts as interest in the item.
                old.refresh(now);
            }
            let (edit, stored) = match edit {
                Ok(put) => {
                    let old_bytes = old_size.map_or(0, |(_, bytes)| bytes);
                    let joined = matches!(put.value, Value::OldThenData | Value::DataThenOld);
                    let bytes = value_bytes + if joined { old_bytes } else { 0 };
                    (Edit::Put(put), Stored::Stored(Written { cas: 0, value_bytes: bytes }))
                }
                Err(refused) => (Edit::Keep, refused),
            };
            (edit, Decision { stored, compared, old: old_size })
        });
        Ok(match self.settle(edited)? {
            Ok(edited) => {
                self.count_set(store, value_bytes);
                self.count_compared(store, edited.outcome);
                self.observe(store, value_bytes, edited.outcome);
                match edited.outcome.stored {
                    Stored::Stored(written) => {
                        Stored::Stored(Written { cas: self.shown_cas(edited.cas), ..written })
                    }
                    refused => refused,
                }
            }
            // An append for which there is no room leaves the present value as it is.
            Err(_) if matches!(store.mode, Mode::Append | Mode::Prepend) => {
                self.count_set(store, value_bytes);
                Stored::NotStored
            }
            Err(EditError::Superseded) => Stored::NotStored,
            Err(EditError::TooLarge) => Stored::TooLarge,
            Err(EditError::OutOfMemory | EditError::Retry(_)) => Stored::NoMemory,
        })
    }

    /// Counts the result of comparing the cas, under the class of the item that the command found.
    fn count_compared(&self, store: &StorageRequest<'_>, decision: Decision) {
        let class = decision.old.map_or(0, |(class, _)| class);
        match decision.compared {
            Compared::Match | Compared::Stale => self.class(class).cas_hits.add(1),
            Compared::Differs => self.class(class).cas_badval.add(1),
            Compared::Missing if store.mode == Mode::Cas => self.counters.ring.cas_misses.add(1),
            Compared::None | Compared::Missing => {}
        }
    }

    /// Reports a storage command to watchers and to the counts by key.
    fn observe(&self, store: &StorageRequest<'_>, value_bytes: usize, decision: Decision) {
        let Some(observer) = self.observer() else { return };
        observer
            .looked_up(store.key, decision.old.map_or(Found::No, |(class, bytes)| Found::Yes(class, bytes)));
        let (status, value_bytes) = match decision.stored {
            Stored::Stored(written) => ("stored", written.value_bytes),
            Stored::Exists => ("exists", value_bytes),
            Stored::NotFound => ("not_found", value_bytes),
            _ => ("not_stored", value_bytes),
        };
        let class = self.shared.classes.of(self.shared.bytes_of(store.key.len(), store.flags, value_bytes));
        let ttl = match self.deadline(store.exptime) {
            Timestamp::NEVER => 0,
            deadline => deadline.0.saturating_sub(self.now().0),
        };
        observer.stored(store.key, store.mode, status, (class, value_bytes, ttl));
    }

    /// Deletes the item of `key`. With `compare`, deletes it only if that is its cas.
    ///
    /// # Errors
    /// [`Retry`]: nothing was deleted, and the command must be run again.
    pub fn delete(&mut self, key: &[u8], compare: Option<u64>) -> Result<Deleted, Retry> {
        let shared = self.shared;
        let edited = self.fresh.edit(key, &mut Data::None, |old| match old {
            None => (Edit::Keep, (Deleted::NotFound, (0, 0))),
            Some(old) if compare.is_some_and(|cas| cas != old.cas()) => {
                (Edit::Keep, (Deleted::Exists, (0, 0)))
            }
            Some(old) => (Edit::Remove, (Deleted::Deleted, (shared.class_of(old), old.value_bytes()))),
        });
        let Ok(edited) = self.settle(edited)? else { return Ok(Deleted::NoMemory) };
        let (deleted, (class, bytes)) = edited.outcome;
        if let Some(observer) = self.observer() {
            observer.deleted(key, "delete", (deleted == Deleted::Deleted).then_some((class, bytes)));
        }
        match deleted {
            Deleted::Deleted => self.class(class).delete_hits.add(1),
            Deleted::NotFound => self.counters.ring.delete_misses.add(1),
            Deleted::Exists | Deleted::NoMemory => {}
        }
        Ok(deleted)
    }

    /// Gives the item of `key` a new expiry, and passes the item to `show`. `show` may be called more than once. Only the last
    /// call counts, and only if the item was touched.
    ///
    /// # Errors
    /// [`Retry`]: nothing was changed, and the command must be run again.
    pub fn touch(
        &mut self,
        key: &[u8],
        exptime: Exptime,
        mut show: impl FnMut(&Item<'_>, Option<Stub>),
    ) -> Result<Touched, Retry> {
        let (now, shared) = (self.now(), self.shared);
        let deadline = self.deadline(exptime);
        let edited = self.fresh.edit(key, &mut Data::None, |old| match old {
            None => (Edit::Keep, None),
            Some(old) => {
                let stub = old.stub(now);
                old.record_access(now);
                show(old, stub);
                let amend = UpdateMetadata { exptime: Some(deadline), ..UpdateMetadata::default() };
                (Edit::UpdateMetadata(amend), Some((shared.class_of(old), old.value_bytes())))
            }
        });
        let Ok(edited) = self.settle(edited)? else { return Ok(Touched::NoMemory) };
        let found = edited.outcome;
        if let Some(observer) = self.observer() {
            observer.fetched(key, found.map_or(Found::No, |(class, bytes)| Found::Yes(class, bytes)));
        }
        match found {
            Some((class, _)) => self.class(class).touch_hits.add(1),
            None => self.counters.ring.touch_misses.add(1),
        }
        Ok(if found.is_some() { Touched::Touched } else { Touched::NotFound })
    }

    /// Sets the memory limit of the store, bytes (`cache_memlimit`). False if the store cannot have that limit; then the old
    /// limit stays.
    pub fn set_memory_limit(&self, bytes: u64) -> bool {
        self.store.set_memory_limit(bytes)
    }

    /// Runs `flush_all`: all items stored so far become invalid, immediately or at the time `exptime`.
    ///
    /// # Errors
    /// [`Retry`]: nothing was flushed, and the command must be run again.
    pub fn flush(&mut self, exptime: Exptime) -> Result<Flushed, Retry> {
        if !self.shared.config.flush_enabled {
            self.count_flush();
            return Ok(Flushed::NotAllowed);
        }
        let at = if exptime.0 <= 0 { self.now() } else { self.deadline(exptime) };
        let flushed = if at > self.now() {
            self.fresh.flush_at(at);
            Ok(())
        } else {
            let flushed = self.fresh.flush();
            self.settle(flushed)?
        };
        self.count_flush();
        if flushed.is_err() {
            return Ok(Flushed::NoMemory);
        }
        self.shared.change(|live| live.oldest = at.0.saturating_sub(1));
        Ok(Flushed::Done)
    }

    /// Counts a `flush_all` in `cmd_flush`. Refused commands count too.
    pub fn count_flush(&self) {
        self.counters.ring.cmd_flush.add(1);
    }
}

fn compare(store: &StorageRequest<'_>, old: Option<&Item<'_>>) -> Compared {
    match old {
        None if store.compare != 0 || store.mode == Mode::Cas => Compared::Missing,
        Some(_) if store.compare == 0 && store.mode == Mode::Cas => Compared::Differs,
        _ if store.compare == 0 => Compared::None,
        None => Compared::Missing,
        Some(old) if old.cas() == store.compare => Compared::Match,
        Some(old) if store.allow_stale && store.compare < old.cas() => Compared::Stale,
        Some(_) => Compared::Differs,
    }
}

/// Returns the version that a storage command puts in place of `old`. `Err` is the reason why it stores nothing.
fn decide(
    store: &StorageRequest<'_>,
    old: Option<&Item<'_>>,
    compared: Compared,
    deadline: Timestamp,
    vivify: Option<Timestamp>,
) -> Result<Put, Stored> {
    let fresh = Put {
        flags: store.flags,
        exptime: deadline,
        value: Value::Data,
        cas: store.cas,
        stale: false,
        won: false,
        key_is_binary: store.key_is_binary,
    };
    match (store.mode, old) {
        (Mode::Set, _) | (Mode::Add, None) | (Mode::Replace, Some(_)) => Ok(fresh),
        (Mode::Add, Some(_)) | (Mode::Replace, None) => Err(Stored::NotStored),
        (Mode::Cas, None) => Err(Stored::NotFound),
        (Mode::Cas, Some(old)) => match compared {
            Compared::Match => Ok(fresh),
            Compared::Stale => Ok(Put { exptime: old.exptime(), stale: true, won: old.won(), ..fresh }),
            _ => Err(Stored::Exists),
        },
        (Mode::Append | Mode::Prepend, None) => match vivify {
            Some(deadline) => Ok(Put { exptime: deadline, ..fresh }),
            None => Err(Stored::NotStored),
        },
        (Mode::Append | Mode::Prepend, Some(old)) => match compared {
            Compared::None | Compared::Match => Ok(Put {
                flags: old.flags(),
                exptime: old.exptime(),
                value: if store.mode == Mode::Append { Value::OldThenData } else { Value::DataThenOld },
                key_is_binary: old.key_is_binary(),
                ..fresh
            }),
            _ => Err(Stored::Exists),
        },
    }
}
