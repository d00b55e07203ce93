//! `stats detail`: counts by key prefix, as long as somebody wants them.

use parking_lot::Mutex;
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    gets: u64,
    hits: u64,
    sets: u64,
    deletes: u64,
}

/// What is counted for a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// A lookup that found something, or not.
    Get(bool),
    /// A store.
    Set,
    /// A delete.
    Delete,
}

/// The prefixes seen, and how often.
#[derive(Debug, Default)]
pub struct Prefixes {
    counts: Mutex<BTreeMap<Vec<u8>, Counts>>,
}

impl Prefixes {
    /// Counts a use of `key`, if it has a prefix.
    pub fn count(&self, key: &[u8], delimiter: u8, used: Use) {
        let Some(end) = memchr::memchr(delimiter, key) else { return };
        let mut all = self.counts.lock();
        let counts = match all.get_mut(&key[..end]) {
            Some(counts) => counts,
            None => all.entry(key[..end].to_vec()).or_default(),
        };
        match used {
            Use::Get(hit) => {
                counts.gets += 1;
                counts.hits += u64::from(hit);
            }
            Use::Set => counts.sets += 1,
            Use::Delete => counts.deletes += 1,
        }
    }

    /// Forgets all counts.
    pub fn reset(&self) {
        self.counts.lock().clear();
    }

    /// All counts, a line each, and the end.
    pub fn dump(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (prefix, counts) in &*self.counts.lock() {
            let Counts { gets, hits, sets, deletes } = counts;
            out.extend_from_slice(b"PREFIX ");
            out.extend_from_slice(prefix);
            out.extend_from_slice(format!(" get {gets} hit {hits} set {sets} del {deletes}\r\n").as_bytes());
        }
        out.extend_from_slice(b"END\r\n");
        out
    }
}
