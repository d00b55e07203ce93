//! Meta commands: the part of them that the classic commands cannot do.
//!
//! The module extends [`Executor`], owns no state, and may import the modules named before it in `engine`, but no other command.

use crate::clock::Timestamp;
use crate::command::{Deleted, Exptime};
use crate::engine::Executor;
use crate::engine::observe::Found;
use crate::store::{Data, Edit, EditError, Item, Lookup, Put, Retry, Stub, UpdateMetadata, Value};

/// The arguments of an `mg`.
#[derive(Clone, Copy, Debug)]
pub struct MetaGet<'a> {
    /// The key, 1 to 250 bytes.
    pub key: &'a [u8],
    /// The new expiry (`T`); `None` leaves the expiry as it is.
    pub touch: Option<Exptime>,
    /// The expiry with which a missing item is created (`N`); `None` if none must be created.
    pub vivify: Option<Exptime>,
    /// If the item expires earlier than this, this client is chosen to recreate the value, unless another client has been (`R`).
    pub recache: Option<Exptime>,
    /// True if [`MetaGet::recache`] is compared with the expiry that [`MetaGet::touch`] sets.
    pub recache_sees_touch: bool,
    /// The cas of an item that is created; `None` if the server chooses it.
    pub cas: Option<u64>,
    /// True if the get does not count as a use of the item (`u`).
    pub no_bump: bool,
}

/// An item as an `mg` found it, before the `mg` changed it.
#[derive(Clone, Copy, Debug)]
pub struct MetaHit {
    /// The client flags.
    pub flags: u32,
    /// The cas that clients are shown: that of the item, or 0 with -C.
    pub cas: u64,
    /// Length of the value, bytes.
    pub value_bytes: usize,
    /// The place of the value on flash, with the fields of the header that a reply needs; `None` if the value is in memory.
    pub stub: Option<Stub>,
    /// The expiry of the item before this `mg`, which may change it.
    pub exptime: Timestamp,
    /// The time at which the item was last used before this `mg`.
    pub last_access: Timestamp,
    /// True if any client had fetched the item before this `mg`.
    pub fetched: bool,
    /// True if the item is marked as stale (`X`).
    pub stale: bool,
    /// True if another client had been chosen to recreate the value before this `mg` (`Z`).
    pub was_won: bool,
    /// True if this client is chosen to recreate the value (`W`).
    pub won: bool,
    /// True if this `mg` has created the item, with an empty value.
    pub created: bool,
}

/// Result of an `mg`.
#[derive(Clone, Copy, Debug)]
pub enum MetaGetResult {
    /// The item was present or has been created, and has been shown.
    Hit,
    /// The item is absent, and has not been created: the command did not ask for that, or there was no room.
    Miss,
    /// Nothing was changed, because the log has no room: another ring has not replayed its deltas.
    NoMemory,
}

/// The arguments of an `md`.
#[derive(Clone, Copy, Debug)]
pub struct MetaDelete<'a> {
    /// The key, 1 to 250 bytes.
    pub key: &'a [u8],
    /// The cas that the item must have; `None` stands for any cas.
    pub compare: Option<u64>,
    /// True if the item is marked as stale instead of being deleted (`I`).
    pub stale: bool,
    /// True if the item's value is emptied instead of the item being deleted (`x`).
    pub empty: bool,
    /// The new expiry of an item that is not deleted (`T`).
    pub touch: Option<Exptime>,
    /// The client flags of an item whose value is emptied (`F`).
    pub flags: u32,
    /// The new cas of an item that is not deleted (`E`); `None` if the server chooses it.
    pub cas: Option<u64>,
}

impl Executor<'_> {
    /// Looks up `fetch.key`, makes the changes that the `mg` requests, and passes the item to `show`.
    ///
    /// `show` may be called more than once. Only the last call counts, and only if the result is a hit. If the `mg` has created
    /// the item, `show` gets no item, because the item's value is empty.
    ///
    /// # Errors
    /// [`Retry`]: nothing was changed, and the command must be run again.
    pub fn fetch(
        &mut self,
        fetch: &MetaGet<'_>,
        mut show: impl FnMut(&MetaHit, Option<&Item<'_>>),
    ) -> Result<MetaGetResult, Retry> {
        let (now, shared) = (self.now(), self.shared);
        let cas_enabled = shared.config.cas_enabled;
        match self.fresh.find(fetch.key) {
            Lookup::Hit(item) => {
                // Almost all `mg` change nothing and do not take the writer lock.
                if fetch.touch.is_none() && fetch.recache.is_none() && (!item.stale() || item.won()) {
                    let seen = seen(&item, cas_enabled, now, false);
                    show(&seen, Some(&item));
                    if !fetch.no_bump {
                        item.record_access(now);
                    }
                    let class = shared.class_of(&item);
                    self.class(class).get_hits.add(1);
                    if let Some(observer) = self.observer() {
                        observer.fetched(fetch.key, Found::Yes(class, seen.value_bytes));
                    }
                    return Ok(MetaGetResult::Hit);
                }
            }
            missed => {
                let found = match missed {
                    Lookup::Expired => {
                        self.counters.ring.get_expired.add(1);
                        Found::Expired
                    }
                    Lookup::Flushed => {
                        self.counters.ring.get_flushed.add(1);
                        Found::Flushed
                    }
                    _ => Found::No,
                };
                if fetch.vivify.is_none() {
                    self.counters.ring.get_misses.add(1);
                    if let Some(observer) = self.observer() {
                        observer.fetched(fetch.key, found);
                    }
                    return Ok(MetaGetResult::Miss);
                }
            }
        }
        self.fetch_and_change(fetch, show)
    }

    /// Does what [`Executor::fetch`] does, for an `mg` that may change or create the item. It is decided under the writer lock.
    fn fetch_and_change(
        &mut self,
        fetch: &MetaGet<'_>,
        mut show: impl FnMut(&MetaHit, Option<&Item<'_>>),
    ) -> Result<MetaGetResult, Retry> {
        let (shared, now) = (self.shared, self.now());
        let cas_enabled = shared.config.cas_enabled;
        let touch = fetch.touch.map(|exptime| self.deadline(exptime));
        let vivify = fetch.vivify.map(|exptime| self.deadline(exptime));
        let recache = fetch.recache.map(|exptime| self.deadline(exptime));
        let edited = self.fresh.edit(fetch.key, &mut Data::None, |old| match (old, vivify) {
            (None, None) => (Edit::Keep, None),
            (None, Some(exptime)) => {
                let put = Put {
                    flags: 0,
                    exptime,
                    value: Value::Empty,
                    cas: fetch.cas,
                    stale: false,
                    won: true,
                    key_is_binary: false,
                };
                (
                    Edit::Put(put),
                    Some((created(now), shared.classes.of(shared.bytes_of(fetch.key.len(), 0, 0)))),
                )
            }
            (Some(old), _) => {
                let exptime =
                    if fetch.recache_sees_touch { touch.unwrap_or(old.exptime()) } else { old.exptime() };
                let recached = recache
                    .is_some_and(|recache| exptime != Timestamp::NEVER && exptime < recache)
                    && !old.won();
                let won = recached || (old.stale() && !old.won());
                let seen = seen(old, cas_enabled, now, won);
                show(&seen, Some(old));
                let update = UpdateMetadata { exptime: touch, won: won.then_some(true), stale: None };
                let is_change = won || touch.is_some();
                let edit = if is_change { Edit::UpdateMetadata(update) } else { Edit::Keep };
                (edit, Some((seen, shared.class_of(old))))
            }
        });
        let edited = self.settle(edited)?;
        if let Err(EditError::Retry(_)) = edited {
            return Ok(MetaGetResult::NoMemory);
        }
        let Some((mut seen, class, cas)) =
            edited.ok().and_then(|edited| edited.outcome.map(|(seen, class)| (seen, class, edited.cas)))
        else {
            self.counters.ring.get_misses.add(1);
            if let Some(observer) = self.observer() {
                observer.fetched(fetch.key, Found::No);
            }
            return Ok(MetaGetResult::Miss);
        };
        self.note_hit(fetch, &seen, class);
        if seen.created {
            seen.cas = self.shown_cas(cas);
            show(&seen, None);
        }
        Ok(MetaGetResult::Hit)
    }

    /// Counts a hit of `fetch`, reports it to watchers, and marks the item as used unless the `mg` forbids that.
    fn note_hit(&mut self, fetch: &MetaGet<'_>, seen: &MetaHit, class: u8) {
        if let Some(observer) = self.observer() {
            let found = if seen.created { Found::No } else { Found::Yes(class, seen.value_bytes) };
            observer.fetched(fetch.key, found);
        }
        let now = self.now();
        if !fetch.no_bump
            && let Lookup::Hit(item) = self.fresh.find(fetch.key)
        {
            item.record_access(now);
        }
        let class = self.class(class);
        if fetch.touch.is_some() {
            class.touch_hits.add(1);
        } else {
            class.get_hits.add(1);
        }
    }

    /// Runs an `md`: deletes the item, marks it as stale, or empties its value.
    ///
    /// # Errors
    /// [`Retry`]: nothing was changed, and the command must be run again.
    pub fn discard(&mut self, discard: &MetaDelete<'_>) -> Result<Deleted, Retry> {
        let shared = self.shared;
        let touch = discard.touch.map(|exptime| self.deadline(exptime));
        let edited = self.fresh.edit(discard.key, &mut Data::None, |old| {
            let Some(old) = old else { return (Edit::Keep, (Deleted::NotFound, (0, 0))) };
            if discard.compare.is_some_and(|cas| cas != old.cas()) {
                return (Edit::Keep, (Deleted::Exists, (0, 0)));
            }
            let kept = Put {
                exptime: touch.unwrap_or(old.exptime()),
                stale: discard.stale,
                won: false,
                ..Put::again(old, Value::Old, discard.cas)
            };
            let edit = match (discard.empty, discard.stale) {
                (false, false) => Edit::Remove,
                (false, true) => Edit::Put(kept),
                // An item whose value is only emptied keeps its cas, unless it is also marked as stale.
                (true, stale) => Edit::Put(Put {
                    flags: discard.flags,
                    exptime: touch.unwrap_or(Timestamp::NEVER),
                    value: Value::Empty,
                    cas: discard.cas.or((!stale).then(|| old.cas())),
                    ..kept
                }),
            };
            (edit, (Deleted::Deleted, (shared.class_of(old), old.value_bytes())))
        });
        let Ok(edited) = self.settle(edited)? else { return Ok(Deleted::NoMemory) };
        let (deleted, (class, bytes)) = edited.outcome;
        if let Some(observer) = self.observer()
            && !(discard.stale && deleted == Deleted::Deleted)
        {
            observer.deleted(discard.key, "md", (deleted == Deleted::Deleted).then_some((class, bytes)));
        }
        match deleted {
            // An item that is marked as stale is not counted at all.
            Deleted::Deleted if discard.stale => {}
            Deleted::Deleted => self.class(class).delete_hits.add(1),
            _ => self.counters.ring.delete_misses.add(1),
        }
        Ok(deleted)
    }

    /// Returns the item of `key` and its class, for `me`; `None` if it is absent. The command is counted, but neither as a hit
    /// nor as a miss, and the item does not count as used.
    pub fn inspect(&mut self, key: &[u8]) -> Option<(Item<'_>, u8)> {
        let shared = self.shared;
        self.counters.ring.cmd_meta.add(1);
        match self.fresh.find(key) {
            Lookup::Hit(item) => {
                let class = shared.class_of(&item);
                Some((item, class))
            }
            _ => None,
        }
    }
}

// Always inline: most of the fields are never read.
/// Returns the item as an `mg` sees it. `won` is true if this client is chosen to recreate the value.
#[inline(always)]
fn seen(item: &Item<'_>, cas_enabled: bool, now: Timestamp, won: bool) -> MetaHit {
    let stub = item.stub(now);
    MetaHit {
        flags: item.flags(),
        cas: if cas_enabled { item.cas() } else { 0 },
        value_bytes: stub.map_or_else(|| item.stored_bytes(), |stub| stub.place.value_bytes()),
        stub,
        exptime: item.exptime(),
        last_access: item.last_access(),
        fetched: item.fetched(),
        stale: item.stale(),
        was_won: item.won(),
        won,
        created: false,
    }
}

/// Returns a new item as the `mg` that creates it sees it, without the expiry that `N` gives it.
fn created(now: Timestamp) -> MetaHit {
    MetaHit {
        flags: 0,
        cas: 0,
        value_bytes: 0,
        stub: None,
        exptime: Timestamp::NEVER,
        last_access: now,
        fetched: false,
        stale: false,
        was_won: false,
        won: true,
        created: true,
    }
}
