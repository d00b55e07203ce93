//! The expected content of the store: a plain map.

use memcrsd::clock::Timestamp;
use std::collections::HashMap;

/// One key's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) value: Vec<u8>,
    pub(crate) flags: u32,
    pub(crate) exptime: Timestamp,
    pub(crate) cas: u64,
}

/// The oracle.
#[derive(Debug, Default)]
pub(crate) struct Model {
    entries: HashMap<Vec<u8>, Entry>,
    pub(crate) flush_at: Option<Timestamp>,
}

impl Model {
    /// The live entry of `key`.
    pub(crate) fn get(&self, key: &[u8], now: Timestamp) -> Option<&Entry> {
        let live = |entry: &&Entry| entry.exptime == Timestamp::NEVER || entry.exptime > now;
        self.entries.get(key).filter(live)
    }

    pub(crate) fn put(&mut self, key: &[u8], entry: Entry) {
        self.entries.insert(key.to_vec(), entry);
    }

    pub(crate) fn remove(&mut self, key: &[u8]) {
        self.entries.remove(key);
    }

    pub(crate) fn flush(&mut self) {
        self.entries.clear();
        self.flush_at = None;
    }

    pub(crate) fn keys(&self, now: Timestamp) -> Vec<Vec<u8>> {
        let mut keys: Vec<_> =
            self.entries.keys().filter(|key| self.get(key, now).is_some()).cloned().collect();
        keys.sort();
        keys
    }
}
