//! The model that the store is compared with: a map of what clients have seen, and the change that is in flight.

use super::super::*;
use std::collections::HashMap;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) value: Vec<u8>,
    pub(super) flags: u32,
    pub(super) exptime: Timestamp,
    pub(super) cas: u64,
    pub(super) stale: bool,
}

/// What clients know to be in the store.
pub(super) type Model = HashMap<Vec<u8>, Entry>;

/// What a step is about to do.
#[derive(Clone, Debug)]
pub(super) enum InFlight {
    Nothing,
    /// This key gets this entry, whose cas is not known yet.
    Put(Vec<u8>, Entry),
    Remove(Vec<u8>),
    Flush,
}

/// True if the write in flight may leave no item under `key`: it deletes it, or what it writes has expired already.
pub(super) fn is_in_flight_removal(in_flight: &InFlight, key: &[u8], now: Timestamp) -> bool {
    match in_flight {
        InFlight::Remove(name) => name == key,
        InFlight::Put(name, entry) => {
            name == key && entry.exptime != Timestamp::NEVER && entry.exptime <= now
        }
        _ => false,
    }
}

pub(super) fn describe(in_flight: &InFlight) -> String {
    match in_flight {
        InFlight::Put(key, entry) => format!("put {} {}", key.escape_ascii(), brief(Some(entry))),
        InFlight::Remove(key) => format!("remove {}", key.escape_ascii()),
        other => format!("{other:?}"),
    }
}

pub(super) fn brief(entry: Option<&Entry>) -> String {
    entry.map_or_else(
        || "nothing".to_owned(),
        |entry| {
            format!(
                "{} times {:?}, {:?}",
                entry.value.len(),
                entry.value.first(),
                Entry { value: Vec::new(), ..entry.clone() }
            )
        },
    )
}

pub(super) fn entry_of(item: &Item<'_>) -> Entry {
    Entry {
        value: item.value().to_vec(),
        flags: item.flags(),
        exptime: item.exptime(),
        cas: item.cas(),
        stale: item.stale(),
    }
}

pub(super) fn everything(shard: &mut Shard, now: Timestamp) -> Model {
    let mut found = Model::default();
    let mut walk = Walk::default();
    let mut fresh = shard.fresh(now);
    while fresh.walk(&mut walk, |item| {
        found.insert(item.key().to_vec(), entry_of(item));
    }) {}
    found
}
