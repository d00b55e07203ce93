//! `stats detail`: counts uses of keys by key prefix while it is on. How the counts are shown is the protocol's business.
//!
//! There is one [`Prefixes`], in `engine::Shared`: a map behind a lock, which every ring takes for each use that it counts.
//!
//! The module imports no other module of the engine.

use crate::escape;
use crate::limits::PREFIXES_MAX;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

/// The number of uses of the keys with one prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrefixCounts {
    /// Lookups of keys with this prefix by commands that read.
    pub gets: u64,
    /// Of the lookups in `gets`, those that found an item.
    pub hits: u64,
    /// Storage commands for keys with this prefix, whatever their result.
    pub sets: u64,
    /// Deletes of keys with this prefix, whatever their result.
    pub deletes: u64,
}

impl PrefixCounts {
    fn add(&mut self, used: Use) {
        match used {
            Use::Get(hit) => {
                self.gets += 1;
                self.hits += u64::from(hit);
            }
            Use::Set => self.sets += 1,
            Use::Delete => self.deletes += 1,
        }
    }
}

/// A use of a key. The variant says which count it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// A lookup by a command that reads; true if it found an item.
    Get(bool),
    /// A storage command, whatever its result.
    Set,
    /// A delete, whatever its result.
    Delete,
}

/// The first [`PREFIXES_MAX`] prefixes that were seen, with their counts.
///
/// A prefix that contains a space or a line feed is not counted, because it could forge a line of `stats detail dump`.
#[derive(Debug, Default)]
pub struct Prefixes {
    counts: Mutex<BTreeMap<Box<[u8]>, PrefixCounts>>,
}

impl Prefixes {
    /// Counts a use of `key` under its prefix, which is the part before the first `delimiter`. Counts nothing if `key` contains
    /// no delimiter.
    pub fn count(&self, key: &[u8], delimiter: u8, used: Use) {
        let Some(end) = memchr::memchr(delimiter, key) else { return };
        let Some(prefix) = escape::word(&key[..end]) else { return };
        let mut all = self.counts.lock();
        if let Some(counts) = all.get_mut(prefix) {
            counts.add(used);
        } else if all.len() < PREFIXES_MAX {
            all.entry(prefix.into()).or_default().add(used);
        }
    }

    /// Removes all prefixes and their counts.
    pub fn reset(&self) {
        let all = std::mem::take(&mut *self.counts.lock());
        // Dropped outside of the lock, because requests of every ring take the lock.
        drop(all);
    }

    /// Passes the next prefixes after `after` to `show`, in order, at most `most` of them. `after` is `None` at the start.
    /// Returns the last prefix if there may be more, otherwise `None`.
    pub fn slice(
        &self,
        after: Option<&[u8]>,
        most: usize,
        mut show: impl FnMut(&[u8], PrefixCounts),
    ) -> Option<Box<[u8]>> {
        let all = self.counts.lock();
        let from = after.map_or(Unbounded, Excluded);
        let mut last = None;
        let mut count = 0;
        for (prefix, counts) in all.range::<[u8], _>((from, Unbounded)).take(most) {
            show(prefix, *counts);
            last = Some(prefix);
            count += 1;
        }
        last.filter(|_| count == most).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns all prefixes with their counts, taking `most` at a time.
    fn all(prefixes: &Prefixes, most: usize) -> Vec<(String, PrefixCounts)> {
        let mut shown = Vec::new();
        let mut show =
            |prefix: &[u8], counts| shown.push((str::from_utf8(prefix).expect("text").to_owned(), counts));
        let mut after = prefixes.slice(None, most, &mut show);
        while let Some(last) = after {
            after = prefixes.slice(Some(&last), most, &mut show);
        }
        shown
    }

    /// Without the limit, keys with ever new prefixes took memory without bound: 68 MB for 300,000 of them.
    #[test]
    fn the_first_prefixes_are_counted_and_no_more() {
        let prefixes = Prefixes::default();
        for number in 0..PREFIXES_MAX + 10 {
            prefixes.count(format!("p{number}:key").as_bytes(), b':', Use::Set);
        }
        prefixes.count(b"p0:key", b':', Use::Get(true));
        let last = format!("p{}", PREFIXES_MAX - 1);
        prefixes.count(format!("{last}:key").as_bytes(), b':', Use::Delete);
        let all_of_them = all(&prefixes, 100);
        assert_eq!(all_of_them.len(), PREFIXES_MAX);
        let set = PrefixCounts { sets: 1, ..PrefixCounts::default() };
        assert!(all_of_them.contains(&("p0".to_owned(), PrefixCounts { gets: 1, hits: 1, ..set })));
        assert!(all_of_them.contains(&(last, PrefixCounts { deletes: 1, ..set })));
        let beyond = format!("p{PREFIXES_MAX}");
        assert!(all_of_them.iter().all(|(prefix, _)| *prefix != beyond));
        prefixes.reset();
        prefixes.count(b"new:key", b':', Use::Set);
        assert_eq!(all(&prefixes, 1), [("new".to_owned(), set)]);
    }

    #[test]
    fn the_list_is_the_same_in_slices_of_any_length() {
        let prefixes = Prefixes::default();
        for key in ["b:1", "a:1", ":none", "no prefix", "x y:1", "l\nf:1", "c:1"] {
            prefixes.count(key.as_bytes(), b':', Use::Set);
        }
        let set = PrefixCounts { sets: 1, ..PrefixCounts::default() };
        let expected = ["", "a", "b", "c"].map(|prefix| (prefix.to_owned(), set));
        for most in 1..6 {
            assert_eq!(all(&prefixes, most), expected);
        }
    }
}
