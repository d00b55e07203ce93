//! The entries of one table of an index: a hash table, which is divided into sixteen parts when it has become large; large parts
//! are divided again. Whoever has opened the table (`Index::open`) has exclusive access.
//!
//! ```text
//!   at most 3,584 entries: HashTable           more: ┌ HashTable   hashes with 0 in bits 18 to 21
//!                                                    ├ HashTable   with 1
//!                                                    ┆             the parts of part 1: bits 22 to 25
//! ```
//!
//! The number of tables follows from the `-m` of the start. If `cache_memlimit` raises the limit a hundredfold, a table has a
//! hundred times as many entries: doubling it in one step would take milliseconds under the writer lock. Because tables are
//! divided, growing moves 3,584 entries at most; a look-up in a divided table reads one more cache line.
//!
//! Parts that have few entries are joined again, so that a store whose limit is lowered gets their memory back: an index that
//! took more memory than the limit would leave no room for any item. If parts are joined between two steps of a walk, the walk
//! may visit their entries twice.

use crate::store::item_ref::{Entry, Hash};
use hashbrown::HashTable;

/// The capacity, in entries, at which a full hash table is divided instead of doubled: that of 4,096 buckets.
pub(in crate::store) const CAPACITY_MAX: usize = 3_584;
/// Sixteen parts that together have this many entries or fewer are joined.
const JOINED_MAX: usize = CAPACITY_MAX / 4;
/// Number of bits of the hash that choose one of the parts.
const PART_BITS: u32 = 4;
const PARTS: usize = 1 << PART_BITS;
/// The most levels of parts that a table can have. The parts are chosen by the bits of the hash that also choose the table,
/// from the lowest bits on.
const LEVELS_MAX: u32 = 5;

/// The entries of a table, or of a part of it: in one hash table, or divided into parts.
#[derive(Clone)]
pub(super) enum Entries {
    Whole(HashTable<Entry>),
    Divided(Box<[Self; PARTS]>),
}

const _: () = assert!(size_of::<Entries>() == size_of::<HashTable<Entry>>());

/// The bytes of memory that entries took before a change, and that they take after it.
pub(super) struct Resized {
    pub(super) before: usize,
    pub(super) after: usize,
}

/// A position in a walk over a table. For each level of division it has a hexadecimal digit, which is the number of the part at
/// that level. The digit of the first level is the most significant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::store) struct Position(u32);

impl Position {
    const END: u32 = 1 << (PART_BITS * LEVELS_MAX);

    /// True if the walk is past the last part of the table.
    pub(in crate::store) fn is_end(self) -> bool {
        self.0 >= Self::END
    }
}

impl Default for Entries {
    fn default() -> Self {
        Self::Whole(HashTable::new())
    }
}

/// The number of the part that `hash` belongs to, among parts of this level. The parts of the table itself have level 0.
fn part_of(hash: Hash, level: u32) -> usize {
    (hash.table_bits() >> (PART_BITS * level)) as usize & (PARTS - 1)
}

impl Entries {
    /// The hash table that contains the entries of keys with this hash.
    #[inline]
    pub(super) fn part(&self, hash: Hash) -> &HashTable<Entry> {
        match self {
            Self::Whole(table) => table,
            Self::Divided(parts) => Self::part_below(parts, hash),
        }
    }

    #[cold]
    fn part_below(mut parts: &[Self; PARTS], hash: Hash) -> &HashTable<Entry> {
        let mut level = 0;
        loop {
            match &parts[part_of(hash, level)] {
                Self::Whole(table) => return table,
                Self::Divided(below) => parts = below,
            }
            level += 1;
        }
    }

    /// The same as [`Entries::part`], but to change or remove an entry. To insert one, use [`Entries::insert`], which divides a
    /// hash table that gets too large.
    #[inline]
    pub(super) fn part_mut(&mut self, hash: Hash) -> &mut HashTable<Entry> {
        match self {
            Self::Whole(table) => table,
            Self::Divided(parts) => Self::part_mut_below(parts, hash),
        }
    }

    #[cold]
    fn part_mut_below(mut parts: &mut [Self; PARTS], hash: Hash) -> &mut HashTable<Entry> {
        let mut level = 0;
        loop {
            match &mut parts[part_of(hash, level)] {
                Self::Whole(table) => return table,
                Self::Divided(below) => parts = below,
            }
            level += 1;
        }
    }

    /// Inserts an entry for a key that has none. Returns the change of memory; `None` if there was none. `rehash` returns the
    /// hash of an entry's key.
    #[inline]
    pub(super) fn insert(
        &mut self,
        hash: Hash,
        entry: Entry,
        rehash: &impl Fn(&Entry) -> u64,
    ) -> Option<Resized> {
        if let Self::Whole(table) = self
            && table.len() < table.capacity()
        {
            table.insert_unique(hash.0, entry, rehash);
            return None;
        }
        self.insert_at(0, hash, entry, rehash)
    }

    #[cold]
    fn insert_at(
        &mut self,
        level: u32,
        hash: Hash,
        entry: Entry,
        rehash: &impl Fn(&Entry) -> u64,
    ) -> Option<Resized> {
        let table = match self {
            Self::Divided(parts) => {
                return parts[part_of(hash, level)].insert_at(level + 1, hash, entry, rehash);
            }
            Self::Whole(table) => table,
        };
        if table.len() < table.capacity() {
            table.insert_unique(hash.0, entry, rehash);
            return None;
        }
        let before = table.allocation_size();
        let has_tombstones = has_tombstones(table);
        if has_tombstones {
            rebuild(table, rehash);
        }
        if !has_tombstones && full_capacity(table) >= CAPACITY_MAX && level < LEVELS_MAX {
            *self = Self::divided(table, level, rehash);
            let _grown = self.insert_at(level, hash, entry, rehash);
        } else {
            table.insert_unique(hash.0, entry, rehash);
        }
        Some(Resized { before, after: self.allocation_size() })
    }

    /// Moves the entries of `table` to sixteen new parts of the given level.
    fn divided(table: &mut HashTable<Entry>, level: u32, rehash: &impl Fn(&Entry) -> u64) -> Self {
        // The parts together get as much room as the table would have if it were doubled.
        let capacity = table.len() / PARTS / 4 * 5;
        let mut parts: [_; PARTS] = std::array::from_fn(|_| HashTable::with_capacity(capacity));
        for entry in table.drain() {
            let hash = rehash(&entry);
            parts[part_of(Hash(hash), level)].insert_unique(hash, entry, rehash);
        }
        Self::Divided(Box::new(parts.map(Self::Whole)))
    }

    /// Shrinks the hash table of `hash` if it is sparse; called after a removal. If it shrank and is one of sixteen parts that
    /// together have [`JOINED_MAX`] entries or fewer, these become one hash table again. Returns the change of memory; `None`
    /// if there was none.
    #[inline]
    pub(super) fn shrink(&mut self, hash: Hash, rehash: &impl Fn(&Entry) -> u64) -> Option<Resized> {
        match self {
            Self::Whole(table) => shrink_sparse(table, rehash),
            Self::Divided(_) => self.shrink_at(0, hash, rehash),
        }
    }

    #[cold]
    fn shrink_at(&mut self, level: u32, hash: Hash, rehash: &impl Fn(&Entry) -> u64) -> Option<Resized> {
        let parts = match self {
            Self::Whole(table) => return shrink_sparse(table, rehash),
            Self::Divided(parts) => parts,
        };
        let resized = parts[part_of(hash, level)].shrink_at(level + 1, hash, rehash)?;
        let Some(joined) = Self::joined(parts, rehash) else { return Some(resized) };
        let before = self.allocation_size() - resized.after + resized.before;
        *self = Self::Whole(joined);
        Some(Resized { before, after: self.allocation_size() })
    }

    /// The hash table with all entries; `None` if the entries are divided into parts.
    fn whole(&self) -> Option<&HashTable<Entry>> {
        match self {
            Self::Whole(table) => Some(table),
            Self::Divided(_) => None,
        }
    }

    /// A hash table with copies of the entries of all parts. `None` if there are more than [`JOINED_MAX`], or if a part is
    /// divided itself.
    fn joined(parts: &[Self; PARTS], rehash: &impl Fn(&Entry) -> u64) -> Option<HashTable<Entry>> {
        let count: usize = parts.iter().map(|part| part.whole().map(HashTable::len)).sum::<Option<_>>()?;
        if count > JOINED_MAX {
            return None;
        }
        let mut joined = HashTable::with_capacity(count + count / 3);
        for entry in parts.iter().filter_map(Self::whole).flatten() {
            joined.insert_unique(rehash(entry), *entry, rehash);
        }
        Some(joined)
    }

    /// Shrinks every hash table that is sparse.
    pub(super) fn shrink_all(&mut self, rehash: &impl Fn(&Entry) -> u64) {
        match self {
            Self::Divided(parts) => parts.iter_mut().for_each(|part| part.shrink_all(rehash)),
            Self::Whole(table) => drop(shrink_sparse(table, rehash)),
        }
    }

    /// Makes room for `count` entries in all, or for [`CAPACITY_MAX`] if that is less. Does nothing if the entries are divided.
    pub(super) fn reserve(&mut self, count: usize, rehash: &impl Fn(&Entry) -> u64) {
        if let Self::Whole(table) = self {
            table.reserve(count.min(CAPACITY_MAX).saturating_sub(table.len()), rehash);
        }
    }

    /// Bytes of memory that the hash tables and the arrays of parts take.
    pub(super) fn allocation_size(&self) -> usize {
        match self {
            Self::Whole(table) => table.allocation_size(),
            Self::Divided(parts) => {
                size_of_val(&**parts) + parts.iter().map(Self::allocation_size).sum::<usize>()
            }
        }
    }

    /// The hash table at a position, and the position of the next one. A walk visits each entry once even if entries are
    /// divided between two of its steps.
    pub(super) fn part_at(&self, position: Position) -> (&HashTable<Entry>, Position) {
        let (mut entries, mut digits) = (self, LEVELS_MAX);
        while let Self::Divided(parts) = entries {
            digits -= 1;
            entries = &parts[(position.0 >> (PART_BITS * digits)) as usize & (PARTS - 1)];
        }
        let Self::Whole(table) = entries else { unreachable!("what is not divided is whole") };
        (table, Position((position.0 | ((1 << (PART_BITS * digits)) - 1)) + 1))
    }
}

/// True if a table of half the size could hold the entries and a third more; also if the table is empty but has memory.
#[inline]
fn is_sparse(table: &HashTable<Entry>) -> bool {
    let (len, capacity) = (table.len(), table.capacity());
    len < capacity / 8 * 3 || len == 0 && capacity > 0
}

/// Shrinks a table if it is sparse. Returns the change of memory; `None` if the table is not sparse.
#[inline]
fn shrink_sparse(table: &mut HashTable<Entry>, rehash: &impl Fn(&Entry) -> u64) -> Option<Resized> {
    is_sparse(table).then(|| shrink(table, rehash))
}

#[cold]
fn shrink(table: &mut HashTable<Entry>, rehash: impl Fn(&Entry) -> u64) -> Resized {
    let before = table.allocation_size();
    table.shrink_to(table.len() + table.len() / 3, rehash);
    Resized { before, after: table.allocation_size() }
}

/// The number of entries that fit into a table of this size when it has no tombstones.
fn full_capacity(table: &HashTable<Entry>) -> usize {
    table.num_buckets() / 8 * 7
}

/// True if a full table has so many tombstones that removing them makes room for a while.
///
/// hashbrown would double a full table that is more than half full of entries. In a store that evicts as much as it takes in,
/// that keeps half of the tables twice as large as their entries need: 12.9 bytes an item instead of 11, and twice as many
/// entries hashed again.
#[cold]
fn has_tombstones(table: &HashTable<Entry>) -> bool {
    table.len() <= full_capacity(table) / 16 * 15
}

/// Replaces a table by one of the same size without tombstones.
#[cold]
fn rebuild(table: &mut HashTable<Entry>, rehash: &impl Fn(&Entry) -> u64) {
    let mut rebuilt = HashTable::with_capacity(full_capacity(table));
    for entry in table.drain() {
        rebuilt.insert_unique(rehash(&entry), entry, rehash);
    }
    *table = rebuilt;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::item_ref::ItemRef;
    use std::cell::Cell;

    /// Keys that belong to one of 128 tables: seven bits of their hashes are the same.
    struct Keys {
        hashes: Vec<u64>,
        /// How many entries have been hashed again.
        moved: Cell<usize>,
    }

    impl Keys {
        fn new(count: usize, seed: u64) -> Self {
            let mut random = fastrand::Rng::with_seed(seed);
            let hashes = (0..count).map(|_| random.u64(..) & !(0x7f << 43)).collect();
            Self { hashes, moved: Cell::new(0) }
        }

        fn rehash(&self, entry: Entry) -> u64 {
            self.moved.set(self.moved.get() + 1);
            self.hashes[entry.item().bits() as usize - 1]
        }

        fn hash(&self, n: usize) -> Hash {
            Hash(self.hashes[n])
        }

        fn entry(&self, n: usize) -> Entry {
            Entry::new(ItemRef::from_bits(n as u64 + 1), self.hash(n))
        }
    }

    /// Tables and parts that have been emptied keep no memory: together it might be more than a lowered limit.
    #[test]
    #[cfg_attr(miri, ignore = "takes hours")]
    fn what_is_emptied_gives_its_memory_back() {
        const COUNT: usize = 100_000;
        let keys = Keys::new(COUNT, 10);
        let rehash = |entry: &Entry| keys.rehash(*entry);
        let mut entries = Entries::default();
        let mut bytes = 0;
        let mut count = |resized: Option<Resized>| {
            bytes = resized.map_or(bytes, |resized| bytes + resized.after - resized.before);
            bytes
        };
        for n in 0..COUNT {
            count(entries.insert(keys.hash(n), keys.entry(n), &rehash));
        }
        for n in 0..COUNT {
            let (hash, entry) = (keys.hash(n), keys.entry(n));
            let slot = entries.part_mut(hash).find_entry(hash.0, |other| *other == entry);
            let (_entry, _vacant) = slot.unwrap_or_else(|_| panic!("{n} is there")).remove();
            keys.moved.set(0);
            let bytes = count(entries.shrink(hash, &rehash));
            assert_eq!(bytes, entries.allocation_size());
            assert!(keys.moved.get() <= CAPACITY_MAX, "{} entries moved", keys.moved.get());
            let left = COUNT - n - 1;
            assert!(bytes <= 40 * left + 16 * size_of_val(&entries) * 40, "{bytes} bytes for {left} entries");
            if left > 0 {
                let (hash, entry) = (keys.hash(n + 1), keys.entry(n + 1));
                assert!(entries.part(hash).find(hash.0, |other| *other == entry).is_some());
            }
        }
        assert_eq!(count(None), 0);
    }

    /// However many entries there are, one insert hashes again at most as many as one hash table can have, and in addition
    /// those of one part that grows.
    #[test]
    #[cfg_attr(miri, ignore = "takes hours")]
    fn no_insert_moves_many_entries() {
        const COUNT: usize = 300_000;
        let keys = Keys::new(COUNT, 9);
        let (mut entries, mut most) = (Entries::default(), 0);
        let mut bytes = 0;
        for n in 0..COUNT {
            keys.moved.set(0);
            let inserted = entries.insert(keys.hash(n), keys.entry(n), &|entry| keys.rehash(*entry));
            if let Some(resized) = inserted {
                bytes = bytes + resized.after - resized.before;
            }
            most = most.max(keys.moved.get());
        }
        assert!((CAPACITY_MAX / 2..=CAPACITY_MAX / 16 * 17).contains(&most), "{most} entries moved");
        assert_eq!(bytes, entries.allocation_size());
        let bytes_per_item = bytes as f64 / COUNT as f64;
        assert!(bytes_per_item < 15.0, "{bytes_per_item} bytes an item");
        for n in 0..COUNT {
            let (entry, hash) = (keys.entry(n), keys.hash(n));
            assert!(entries.part(hash).find(hash.0, |other| *other == entry).is_some());
            assert!(entries.part_mut(hash).find_entry(hash.0, |other| *other == entry).is_ok());
        }
        let (mut position, mut visited) = (Position::default(), 0);
        while !position.is_end() {
            let (table, next) = entries.part_at(position);
            assert!(next.0 > position.0 && table.capacity() <= CAPACITY_MAX);
            (visited, position) = (visited + table.len(), next);
        }
        assert_eq!(visited, COUNT);
    }
}
