//! A ring's own index over all items: hash → item, kept equal to every other ring's by replaying the log.
//!
//! ```text
//! hash ──► one of n small tables (shares of the hash space are uneven, about 2^(i/n))
//!            └─► hashbrown::HashTable<Entry>: 5 bytes an entry and 1 of control, 7/16 to 7/8 full
//! ```
//!
//! One large table would double all at once: a pause, and half of it empty. Small ones double one by one, and because
//! their shares differ by up to a factor of two they do so at different times: the whole is always about 60 % full,
//! 9.7 to 10.5 bytes an item at any number of items, and growing one takes tens of microseconds.
//!
//! A table that is less than 3/8 of what it could hold is halved at once, so that the index follows the number of items
//! down as well: with fewer, larger items the memory goes to them.
//!
//! A lookup compares 11 bits of hash before it touches an item. Replay touches no item, except that a table which changes
//! its size reads the keys of its items to hash them again; they are still there, because memory is reused only after this
//! replica has applied the deltas that remove its items.
//!
//! A flush ([`Delta::Flush`]) only moves on the generation: a table of an older one counts as empty, and is emptied when
//! it is next written or by [`Replica::tidy`], a few at a time.

#![expect(unsafe_code, reason = "borrows items whose memory the cursor protects")]

use super::Store;
use super::item::Item;
use super::item_ref::{Entry, Hash, ItemRef};
use super::log::{Delta, Log};
use hashbrown::HashTable;
use std::sync::Arc;

/// Memory a table is made for, bytes of `-m`: about 1,000 items of 64 bytes.
const BYTES_PER_TABLE: u64 = 64 << 10;
const CACHE_LINE_BYTES: usize = 64;
/// Lines of an item that are loaded ahead: all of one with a 30-byte key and a value of 100 bytes.
const PREFETCHED_LINES: usize = 3;
/// Deltas by which tables are loaded ahead in a replay.
const REPLAY_AHEAD: u64 = 8;
/// A table of up to this many entries is not made smaller.
const CAPACITY_KEPT: usize = 64;
const TABLES_MIN: usize = 64;
const TABLES_MAX: usize = 1 << 22;

#[derive(Debug, Default)]
struct Table {
    entries: HashTable<Entry>,
    generation: u32,
}

/// One ring's index.
#[derive(Debug)]
pub(super) struct Replica {
    ring: usize,
    tables: Box<[Table]>,
    generation: u32,
    /// Everything before this place of the log has been applied.
    cursor: u64,
    /// Bytes of all tables.
    bytes: u64,
    /// The table [`Replica::tidy`] looks at next.
    tidied: usize,
}

/// What a lookup finds.
pub(super) enum Found<'a> {
    /// The newest version of the key, expired or not.
    Item(ItemRef, Item<'a>),
    /// The key was there before the last flush.
    Flushed,
    /// Nothing.
    Nothing,
}

/// Which of `tables` holds `hash`.
///
/// The shares follow dx/dy of y = x (1 + b - b x), a cheap stand-in for y = log2(1 + x); b = 0.3465 makes the largest
/// share twice the smallest.
#[inline]
pub(super) fn table_of(hash: Hash, tables: usize) -> usize {
    const B: u64 = 744_103_083;
    let x = u64::from(hash.table_bits());
    let y = (x * ((1 << 31) + B - 1 - ((x * B) >> 32))) >> 31;
    ((y * tables as u64) >> 32) as usize
}

impl Replica {
    /// An empty index for a store of `memory_limit` bytes.
    pub(super) fn new(ring: usize, memory_limit: u64) -> Self {
        let count = (memory_limit / BYTES_PER_TABLE) as usize;
        let count = count.next_power_of_two().clamp(TABLES_MIN, TABLES_MAX);
        let tables: Box<[Table]> = (0..count).map(|_| Table::default()).collect();
        let bytes = size_of_val(&*tables) as u64;
        Self { ring, tables, generation: 0, cursor: 0, bytes, tidied: 0 }
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How far the log has been applied.
    pub(super) fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Number of tables, for walks.
    pub(super) fn tables(&self) -> usize {
        self.tables.len()
    }

    /// Applies the log up to its tail and gives up every reference obtained before.
    #[inline]
    pub(super) fn catch_up(&mut self, store: &Arc<Store>) {
        let log = store.log();
        let tail = log.tail();
        if tail != self.cursor {
            self.replay(store, log, tail);
        }
    }

    fn replay(&mut self, store: &Arc<Store>, log: &Log, tail: u64) {
        for place in self.cursor..tail {
            if cfg!(feature = "canary") && self.ring == 1 && place == 1_000 {
                continue;
            }
            if place + REPLAY_AHEAD < tail
                && let Delta::Entry { hash, .. } = log.read(place + REPLAY_AHEAD)
            {
                self.prefetch_table(hash);
            }
            self.apply(store, log.read(place));
        }
        self.cursor = tail;
        store.set_index_bytes(self.ring, self.bytes);
        log.passed(self.ring, tail);
    }

    /// Applies the delta this ring has just appended; its cursor in the log moves when the turn ends.
    pub(super) fn apply_own(&mut self, store: &Arc<Store>, delta: Delta) {
        self.apply(store, delta);
        self.cursor += 1;
    }

    fn apply(&mut self, store: &Arc<Store>, delta: Delta) {
        let Delta::Entry { hash, old, new } = delta else {
            self.generation += 1;
            return;
        };
        if old == new {
            return;
        }
        let table = table_of(hash, self.tables.len());
        let table = &mut self.tables[table];
        if table.generation != self.generation {
            self.bytes -= table.entries.allocation_size() as u64;
            *table = Table { entries: HashTable::new(), generation: self.generation };
        }
        let entries = &mut table.entries;
        if old == ItemRef::NONE {
            let grows = entries.len() == entries.capacity();
            let before = if grows { entries.allocation_size() } else { 0 };
            entries.insert_unique(hash.0, Entry::new(new, hash), |entry| rehash(store, *entry));
            if grows {
                self.bytes += entries.allocation_size() as u64;
                self.bytes -= before as u64;
            }
            return;
        }
        let wanted = Entry::new(old, hash);
        let slot = entries.find_entry(hash.0, |entry| *entry == wanted);
        match (slot, new == ItemRef::NONE) {
            (Ok(slot), true) => {
                let _removed = slot.remove();
                if is_sparse(entries) {
                    self.bytes -= shrink(store, entries);
                }
            }
            (Ok(mut slot), false) => *slot.get_mut() = Entry::new(new, hash),
            (Err(_), _) => debug_assert!(cfg!(feature = "canary"), "every delta's old entry is in the index"),
        }
    }

    /// Finds the key's entry. Does not check expiry.
    #[inline]
    pub(super) fn find<'a>(&'a self, store: &'a Arc<Store>, hash: Hash, key: &[u8]) -> Found<'a> {
        let table = &self.tables[table_of(hash, self.tables.len())];
        let stale = table.generation != self.generation;
        if stale {
            return Self::find_flushed(table, hash);
        }
        let same = |entry: &Entry| entry.may_be(hash) && self.item(store, entry.item()).key() == key;
        match table.entries.find(hash.0, same) {
            Some(entry) => Found::Item(entry.item(), self.item(store, entry.item())),
            None => Found::Nothing,
        }
    }

    /// The items of a stale table may be gone from memory; 11 bits of hash say whether the key was there.
    #[cold]
    fn find_flushed<'a>(table: &Table, hash: Hash) -> Found<'a> {
        match table.entries.find(hash.0, |entry| entry.may_be(hash)) {
            Some(_) => Found::Flushed,
            None => Found::Nothing,
        }
    }

    /// Drops what [`Found::Flushed`] reported, so that it is reported once.
    #[cold]
    pub(super) fn forget_flushed(&mut self, hash: Hash) {
        let table = table_of(hash, self.tables.len());
        if let Ok(slot) = self.tables[table].entries.find_entry(hash.0, |entry| entry.may_be(hash)) {
            slot.remove();
        }
    }

    /// True if the index says that `hash` is at `item`.
    #[inline]
    pub(super) fn says(&self, hash: Hash, item: ItemRef) -> bool {
        let table = &self.tables[table_of(hash, self.tables.len())];
        let wanted = Entry::new(item, hash);
        table.generation == self.generation && table.entries.find(hash.0, |entry| *entry == wanted).is_some()
    }

    /// The item of an entry of this index.
    #[inline]
    #[expect(clippy::unused_self, reason = "the borrow of the index is what keeps the item")]
    pub(super) fn item<'a>(&'a self, store: &'a Arc<Store>, item: ItemRef) -> Item<'a> {
        // SAFETY: an entry of the current generation names a published item; its memory is reused only after this
        // ring's cursor has passed the delta that removes the entry, and the cursor moves only through `&mut self`.
        unsafe { Item::new(store.address(item), store) }
    }

    /// Starts loading what a lookup of `hash` will touch.
    #[inline]
    pub(super) fn prefetch_table(&self, hash: Hash) {
        let table = &self.tables[table_of(hash, self.tables.len())];
        super::prefetch(std::ptr::from_ref(table).cast());
    }

    /// Starts loading the item that `hash` probably is: the lines of its header, key and the front of its value.
    #[inline]
    pub(super) fn prefetch_item(&self, store: &Arc<Store>, hash: Hash) {
        let table = &self.tables[table_of(hash, self.tables.len())];
        if let Some(entry) = table.entries.find(hash.0, |entry| entry.may_be(hash)) {
            let at = store.address(entry.item()).as_ptr().cast_const();
            for line in 0..PREFETCHED_LINES {
                super::prefetch(at.wrapping_add(line * CACHE_LINE_BYTES));
            }
        }
    }

    /// The items of table `table`.
    pub(super) fn items_of<'a>(
        &'a self,
        store: &'a Arc<Store>,
        table: usize,
    ) -> impl Iterator<Item = Item<'a>> {
        let table = &self.tables[table];
        let current = table.generation == self.generation;
        table.entries.iter().filter(move |_| current).map(move |entry| self.item(store, entry.item()))
    }

    /// Looks after the next few tables: empties those of an older generation.
    pub(super) fn tidy(&mut self, store: &Arc<Store>, tables: usize) {
        for _ in 0..tables.min(self.tables.len()) {
            let at = self.tidied;
            self.tidied = (at + 1) % self.tables.len();
            if self.tables[at].generation != self.generation {
                self.bytes -= self.tables[at].entries.allocation_size() as u64;
                self.tables[at] = Table { entries: HashTable::new(), generation: self.generation };
            }
        }
        store.set_index_bytes(self.ring, self.bytes);
    }

    /// Every entry's table and item ref, for comparing replicas and for [`Turn::check`](super::turn::Turn).
    pub(super) fn entries(&self) -> impl Iterator<Item = (usize, ItemRef)> + '_ {
        let current = |(_, table): &(usize, &Table)| table.generation == self.generation;
        let tables = self.tables.iter().enumerate().filter(current);
        tables.flat_map(|(at, table)| table.entries.iter().map(move |entry| (at, entry.item())))
    }

    /// True if table `table` is that of `hash` and finds `item` there.
    pub(super) fn is_in(&self, table: usize, hash: Hash, item: ItemRef) -> bool {
        table_of(hash, self.tables.len()) == table && self.says(hash, item)
    }

    /// [`Replica::bytes`], counted anew.
    pub(super) fn counted_bytes(&self) -> u64 {
        let entries: usize = self.tables.iter().map(|table| table.entries.allocation_size()).sum();
        (size_of_val(&*self.tables) + entries) as u64
    }
}

/// True if a table has so few entries left that half its size would be enough, with room for a third more of them.
#[inline]
fn is_sparse(entries: &HashTable<Entry>) -> bool {
    entries.len() < entries.capacity() / 8 * 3 && entries.capacity() > CAPACITY_KEPT
}

/// Makes a sparse table smaller; the bytes that frees.
#[cold]
fn shrink(store: &Arc<Store>, entries: &mut HashTable<Entry>) -> u64 {
    let before = entries.allocation_size();
    entries.shrink_to(entries.len() + entries.len() / 3, |entry| rehash(store, *entry));
    (before - entries.allocation_size()) as u64
}

/// The full hash of an entry's key, read from the item.
fn rehash(store: &Arc<Store>, entry: Entry) -> u64 {
    // SAFETY: as in `Replica::item`: the entry is in the index of a ring whose cursor has not passed its removal.
    let item = unsafe { Item::new(store.address(entry.item()), store) };
    store.hasher().hash(item.key()).0
}

#[cfg(test)]
mod tests {
    use super::super::key_hash::KeyHasher;
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "takes hours")]
    fn shares_of_tables_differ_by_a_factor_of_two() {
        let hasher = KeyHasher::from_seed(3);
        let mut counts = vec![0_u32; 64];
        for n in 0..1_000_000_u32 {
            counts[table_of(hasher.hash(&n.to_le_bytes()), 64)] += 1;
        }
        let (first, last) = (f64::from(counts[0]), f64::from(counts[63]));
        assert!((1.9..2.2).contains(&(last / first)), "{first} {last}");
        assert!(counts.windows(2).all(|pair| f64::from(pair[1]) > f64::from(pair[0]) * 0.96));
        assert_eq!(table_of(Hash(u64::MAX), 64), 63);
        assert_eq!(table_of(Hash(0), 64), 0);
    }
}
