//! Fills an index at the start, before its rings run (`restore`). Several threads do so without locks, each in a range of
//! tables of its own.

use super::{Index, Table, table_of};
use crate::store::item_ref::{Entry, Hash, ItemRef};

/// A range of an index's tables, which one thread fills.
pub(in crate::store) struct Tables<'i> {
    range: &'i mut [Table],
    /// The number of the first table of this range.
    first: usize,
    /// How many tables the index has.
    count: usize,
}

/// An item to insert, with its key's hash.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Entrant {
    pub(in crate::store) hash: Hash,
    pub(in crate::store) item: ItemRef,
}

/// Answers questions about the items of a memory file while an index is filled.
pub(in crate::store) trait Items: Sync {
    /// Returns the hash of the item's key.
    fn hash(&self, item: ItemRef) -> Hash;
    /// True if both items have the same key.
    fn is_same_key(&self, one: ItemRef, other: ItemRef) -> bool;
    /// True if `one` is newer than `other`, which has the same key: then `one` is kept.
    fn is_newer(&self, one: ItemRef, other: ItemRef) -> bool;
}

impl Tables<'_> {
    /// Makes room in each table of the range for its share of `expected` entries, which is how many the whole index will have.
    pub(in crate::store) fn reserve(&mut self, expected: usize, items: &impl Items) {
        for (at, table) in self.range.iter_mut().enumerate() {
            let share = share_of(self.first + at, self.count) * expected as f64;
            table.entries.get_mut().reserve(share as usize, &|entry| items.hash(entry.item()).0);
        }
    }

    /// Inserts an item. If the index has one with the same key, keeps the newer of the two and returns the other; else `None`.
    #[inline]
    pub(in crate::store) fn insert(&mut self, entrant: Entrant, items: &impl Items) -> Option<ItemRef> {
        let Entrant { hash, item } = entrant;
        let entries = self.range[table_of(hash, self.count) - self.first].entries.get_mut();
        let is_same = |entry: &Entry| entry.tag_matches(hash) && items.is_same_key(entry.item(), item);
        if let Some(entry) = entries.part_mut(hash).find_mut(hash.0, is_same) {
            let other = entry.item();
            if items.is_newer(item, other) {
                *entry = Entry::new(item, hash);
                return Some(other);
            }
            return Some(item);
        }
        // The memory is counted when all items have been inserted: `Index::recount`.
        let _resized = entries.insert(hash, Entry::new(item, hash), &|entry| items.hash(entry.item()).0);
        None
    }

    /// Shrinks the sparse tables of the range, as removals do in a running index.
    pub(in crate::store) fn shrink(&mut self, items: &impl Items) {
        for table in self.range.iter_mut() {
            table.entries.get_mut().shrink_all(&|entry| items.hash(entry.item()).0);
        }
    }

    /// Copies the entries of the same tables of another index, `from`.
    pub(in crate::store) fn copy(&mut self, from: &mut Self) {
        for (table, from) in self.range.iter_mut().zip(from.range.iter_mut()) {
            table.entries.get_mut().clone_from(from.entries.get_mut());
        }
    }
}

/// The share of all hashes, from 0 to 1, that belongs to table `table` of `count`.
fn share_of(table: usize, count: usize) -> f64 {
    // The borders that `table_of` draws: y = x (1 + b - b x), solved for x.
    const B: f64 = 744_103_083.0 / (1_u64 << 31) as f64;
    let border = |y: f64| (1.0 + B - ((1.0 + B).powi(2) - 4.0 * B * y).sqrt()) / (2.0 * B);
    border((table + 1) as f64 / count as f64) - border(table as f64 / count as f64)
}

impl Index {
    /// Divides the index's tables into `parts` ranges with about the same number of entries each.
    pub(in crate::store) fn parts(&mut self, parts: usize) -> Vec<Tables<'_>> {
        let count = self.tables.len();
        let mut rest = &mut *self.tables;
        let mut first = 0;
        let mut result = Vec::new();
        for part in 1..=parts {
            let end = if part == parts { count } else { first_table(part, parts, count) };
            let (tables, more) = rest.split_at_mut(end - first);
            result.push(Tables { range: tables, first, count });
            (rest, first) = (more, end);
        }
        result
    }

    /// The number of the range that contains the table of `hash`, of an index of `tables` tables that [`Index::parts`] divides
    /// into `parts` ranges.
    #[inline]
    pub(in crate::store) fn part_of(hash: Hash, parts: usize, tables: usize) -> usize {
        let part = ((u64::from(hash.table_bits()) * parts as u64) >> 32) as usize;
        // A range ends where a table ends, so this table may belong to the next range.
        if part + 1 < parts && table_of(hash, tables) >= first_table(part + 1, parts, tables) {
            part + 1
        } else {
            part
        }
    }

    /// Recounts the bytes of all tables; while the index is filled, they are not counted.
    pub(in crate::store) fn recount(&self) {
        self.bytes.store(self.counted_bytes(), std::sync::atomic::Ordering::Relaxed);
    }
}

/// The first table of range `part` of `parts`: the one that contains the range's first hash.
fn first_table(part: usize, parts: usize, tables: usize) -> usize {
    let bits = ((part as u64) << 32).div_ceil(parts as u64);
    table_of(Hash(bits << 18), tables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_whole_tables_of_equal_shares() {
        for tables in [64, 1024] {
            for parts in 1..=8 {
                // SAFETY: used by this thread alone.
                #[expect(unsafe_code, reason = "an index without locks is used by one thread")]
                let mut index = unsafe { Index::new(tables as u64 * (64 << 10), false) };
                assert_eq!(index.tables(), tables);
                let parts_of: Vec<(usize, usize)> =
                    index.parts(parts).iter().map(|part| (part.first, part.range.len())).collect();
                let mut random = fastrand::Rng::with_seed(4);
                for _ in 0..2_000 {
                    let hash = Hash(random.u64(..));
                    let (first, length) = parts_of[Index::part_of(hash, parts, tables)];
                    assert!((first..first + length).contains(&table_of(hash, tables)));
                }
                for (first, length) in parts_of {
                    let share: f64 = (first..first + length).map(|at| share_of(at, tables)).sum();
                    assert!((share * parts as f64 - 1.0).abs() < 0.2, "{share} of {parts}");
                }
            }
        }
    }
}
