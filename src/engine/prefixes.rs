//! `stats detail`: counts by key prefix, while they are enabled, and the lines that list them.

use crate::escape;
use crate::limits::PREFIXES_MAX;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    gets: u64,
    hits: u64,
    sets: u64,
    deletes: u64,
}

impl Counts {
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

/// The first [`PREFIXES_MAX`] prefixes seen, and how often.
///
/// Only prefixes that are words of a line, so that none can forge a line of the list.
#[derive(Debug, Default)]
pub struct Prefixes {
    counts: Mutex<BTreeMap<Box<[u8]>, Counts>>,
}

impl Prefixes {
    /// Counts a use of `key`, if it has a prefix.
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

    /// Forgets all counts.
    pub fn reset(&self) {
        let all = std::mem::take(&mut *self.counts.lock());
        // Outside the lock, which every ring's requests take.
        drop(all);
    }

    /// Appends the lines of the next prefixes after `after`, at most `most`; returns the last one if there may be more.
    pub fn dump(&self, after: Option<&[u8]>, most: usize, out: &mut Vec<u8>) -> Option<Box<[u8]>> {
        let all = self.counts.lock();
        let from = after.map_or(Unbounded, Excluded);
        let mut last = None;
        let mut count = 0;
        for (prefix, counts) in all.range::<[u8], _>((from, Unbounded)).take(most) {
            let Counts { gets, hits, sets, deletes } = counts;
            out.extend_from_slice(b"PREFIX ");
            out.extend_from_slice(prefix);
            out.extend_from_slice(format!(" get {gets} hit {hits} set {sets} del {deletes}\r\n").as_bytes());
            last = Some(prefix);
            count += 1;
        }
        last.filter(|_| count == most).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dump(prefixes: &Prefixes, most: usize) -> String {
        let mut out = Vec::new();
        let mut after = prefixes.dump(None, most, &mut out);
        while let Some(last) = after {
            after = prefixes.dump(Some(&last), most, &mut out);
        }
        String::from_utf8(out).expect("text")
    }

    /// Keys with new prefixes took memory without end: 300,000 of them 68 MB.
    #[test]
    fn the_first_prefixes_are_counted_and_no_more() {
        let prefixes = Prefixes::default();
        for number in 0..PREFIXES_MAX + 10 {
            prefixes.count(format!("p{number}:key").as_bytes(), b':', Use::Set);
        }
        prefixes.count(b"p0:key", b':', Use::Get(true));
        let last = format!("p{}:key", PREFIXES_MAX - 1);
        prefixes.count(last.as_bytes(), b':', Use::Delete);
        let all = dump(&prefixes, 100);
        assert_eq!(all.lines().count(), PREFIXES_MAX);
        assert!(all.contains("PREFIX p0 get 1 hit 1 set 1 del 0\r\n"));
        assert!(all.contains(&format!("PREFIX p{} get 0 hit 0 set 1 del 1\r\n", PREFIXES_MAX - 1)));
        assert!(!all.contains(&format!("PREFIX p{PREFIXES_MAX} ")));
        prefixes.reset();
        prefixes.count(b"new:key", b':', Use::Set);
        assert_eq!(dump(&prefixes, 1), "PREFIX new get 0 hit 0 set 1 del 0\r\n");
    }

    #[test]
    fn the_list_is_the_same_in_slices_of_any_length() {
        let prefixes = Prefixes::default();
        for key in ["b:1", "a:1", ":none", "no prefix", "x y:1", "l\nf:1", "c:1"] {
            prefixes.count(key.as_bytes(), b':', Use::Set);
        }
        let counts = "get 0 hit 0 set 1 del 0\r\n";
        let expected = format!("PREFIX  {counts}PREFIX a {counts}PREFIX b {counts}PREFIX c {counts}");
        for most in 1..6 {
            assert_eq!(dump(&prefixes, most), expected);
        }
    }
}
