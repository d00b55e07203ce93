//! An index over all items: hash → item, in many small tables.
//!
//! ```text
//! hash ──► one of n small tables (shares of the hash space are uneven, about 2^(i/n))
//!            └─► hashbrown::HashTable<Entry>: 5 bytes an entry and 1 of control, 7/16 to 7/8 full
//! ```
//!
//! One large table would double in one step, with a pause, and then be half empty. Small tables double one by one, and at
//! different times, because their shares differ by up to a factor of two. So the whole is always about 60 % full, takes 9.7 to
//! 10.5 bytes per item at any number of items, and growing one table takes tens of microseconds. The number of tables suits the
//! `-m` of the start; if the limit is raised, tables that get too large are divided.
//!
//! Files: `entries` is one table's contents and knows no [`Index`]; `fill` fills an index before its rings run.
//!
//! Each index belongs to a replica (`replica`). It changes only when a ring of that replica applies deltas, or drops entries
//! from before a flush.
//!
//! A table that has fewer entries than 3/8 of its capacity is halved immediately. So the index also shrinks when the number of
//! items falls, and larger items can take its memory. A table that is full of tombstones rather than entries is rebuilt instead
//! of doubled.
//!
//! A lookup compares 11 bits of hash before it touches an item. Applying a delta touches no item, except when a table changes
//! its size: then the keys of its items are read and hashed again. Those items are still there, because memory is reused only
//! after this index has applied the deltas that remove its items.
//!
//! A flush ([`Delta::Flush`]) only increments the generation. A table of an older generation counts as empty; it is emptied
//! when it is next written, or by [`Index::drop_stale_tables`], a few tables at a time.
//!
//! # Several rings
//! An index of one ring is touched by that ring alone, without a lock. Where rings share an index, each table has a lock of its
//! own, held for one look-up or one delta, some 50 ns; only resizing a table takes longer. So a ring that replays waits for a
//! ring that reads only if both need the same one of thousands of tables at the same moment. If the kernel preempts a ring that
//! holds such a lock, the rings that need that table wait until the preempted ring runs again. With one lock for the whole
//! index, held for a batch of commands, every write would wait, under the writer lock, for the batches of the other rings of
//! its replica.

#![expect(unsafe_code, reason = "tables are reached through shared references, under their locks")]

mod entries;
mod fill;

#[cfg(test)]
pub(super) use entries::CAPACITY_MAX;
pub(super) use entries::Position;
pub(super) use fill::{Entrant, Items, Tables};

use super::base::Base;
use super::item::Item;
use super::item_ref::{Entry, Hash, ItemRef};
use super::log::Delta;
use super::prefetch::{CACHE_LINE_BYTES, prefetch, prefetch_range};
use entries::{Entries, Resized};
use hashbrown::HashTable;
use parking_lot::RawMutex;
use parking_lot::lock_api::RawMutex as _;
use std::cell::UnsafeCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// Bytes of `-m` for which an index has one table: about 1,000 items of 64 bytes.
const BYTES_PER_TABLE: u64 = 64 << 10;
/// How many bytes of an item are prefetched: all of an item with a 30-byte key and a value of 100 bytes.
const PREFETCHED_BYTES: usize = 3 * CACHE_LINE_BYTES;
const TABLES_MIN: usize = 64;
const TABLES_MAX: usize = 1 << 22;

/// One of an index's hash tables.
#[derive(Default)]
struct Table {
    entries: UnsafeCell<Entries>,
    /// The index's generation when the table was last emptied. While the index has a later generation, the table counts as
    /// empty.
    generation: AtomicU32,
    lock: Lock,
}

/// The lock of a table, one byte long, in place of padding. Used only if several rings share the index.
struct Lock(RawMutex);

impl Default for Lock {
    fn default() -> Self {
        Self(RawMutex::INIT)
    }
}

const _: () = assert!(size_of::<Table>() == 40);

/// An index: finds an item by the hash of its key.
pub(super) struct Index {
    tables: Box<[Table]>,
    /// True if several rings use the index. Then each access to a table takes the table's lock.
    is_shared: bool,
    /// How many flushes the index has applied. Tables of an earlier generation count as empty.
    generation: AtomicU32,
    /// Bytes of memory of all tables and of their entries.
    bytes: AtomicU64,
    /// Number of the table that [`Index::drop_stale_tables`] checks next.
    tidied: AtomicUsize,
}

// SAFETY: what is not atomic is the tables' entries. They are reached through `Index::open` alone: in a shared index under the
// table's lock, in any other by the one thread that uses it, which is what `Index::new` asks of its caller.
unsafe impl Sync for Index {}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index")
            .field("tables", &self.tables.len())
            .field("bytes", &self.bytes())
            .finish_non_exhaustive()
    }
}

/// What a look-up in an index finds.
pub(super) enum Found {
    /// The newest version of the key, expired or not.
    Item(ItemRef),
    /// The key had an entry before the last flush. This is not certain, because only 11 bits of its hash were compared.
    Flushed,
    /// The key has no entry.
    Nothing,
}

/// Exclusive access to a table, until this value is dropped.
struct Open<'i> {
    table: &'i Table,
    is_locked: bool,
}

impl Open<'_> {
    #[inline]
    fn entries(&self) -> &Entries {
        // SAFETY: as long as this value lives the entries are its own (see `Index::open`); they are borrowed as this value is.
        unsafe { &*self.table.entries.get() }
    }

    #[inline]
    fn entries_mut(&mut self) -> &mut Entries {
        // SAFETY: as above; they are borrowed mutably, as this value is.
        unsafe { &mut *self.table.entries.get() }
    }

    /// Empties the table and gives it `generation`; returns the change of memory.
    fn empty(&mut self, generation: u32) -> Resized {
        self.table.generation.store(generation, Ordering::Relaxed);
        Resized { before: std::mem::take(self.entries_mut()).allocation_size(), after: 0 }
    }
}

impl Drop for Open<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.is_locked {
            // SAFETY: `Index::open` has locked it, on this thread.
            unsafe { self.table.lock.0.unlock() };
        }
    }
}

/// The number of the table that `hash` belongs to, in an index of `tables` tables.
///
/// The shares follow dx/dy of y = x (1 + b - b x), a cheap stand-in for y = log2(1 + x); b = 0.3465 makes the largest share
/// twice the smallest.
#[inline]
pub(super) fn table_of(hash: Hash, tables: usize) -> usize {
    const B: u64 = 744_103_083;
    let x = u64::from(hash.table_bits());
    let y = (x * ((1 << 31) + B - 1 - ((x * B) >> 32))) >> 31;
    ((y * tables as u64) >> 32) as usize
}

/// Bytes of `tables` without the memory of their entries.
fn heads_bytes(tables: &[Table]) -> u64 {
    size_of_val(tables) as u64
}

impl Index {
    /// An empty index for a store of `memory_limit` bytes.
    ///
    /// # Safety
    /// - Unless the index `is_shared`, one thread at a time uses it, except that any thread may call [`Index::bytes`].
    pub(super) unsafe fn new(memory_limit: u64, is_shared: bool) -> Self {
        let count = (memory_limit / BYTES_PER_TABLE) as usize;
        let count = count.next_power_of_two().clamp(TABLES_MIN, TABLES_MAX);
        let tables: Box<[Table]> = (0..count).map(|_| Table::default()).collect();
        let bytes = AtomicU64::new(heads_bytes(&tables));
        Self { tables, is_shared, generation: AtomicU32::new(0), bytes, tidied: AtomicUsize::new(0) }
    }

    /// Bytes of memory that the index takes, entries included. Any thread may call this.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Bytes of memory that the index takes when it has no entries.
    pub(super) fn bytes_when_empty(&self) -> u64 {
        heads_bytes(&self.tables)
    }

    /// Number of tables, for walks over all of them.
    pub(super) fn tables(&self) -> usize {
        self.tables.len()
    }

    /// Returns exclusive access to the table of `hash`; if the index is shared, waits for it. The caller must drop the result
    /// before it opens another table of this index.
    #[inline]
    fn open(&self, hash: Hash) -> Open<'_> {
        self.open_at(table_of(hash, self.tables.len()))
    }

    #[inline]
    fn open_at(&self, table: usize) -> Open<'_> {
        let table = &self.tables[table];
        if self.is_shared {
            table.lock.0.lock();
        }
        Open { table, is_locked: self.is_shared }
    }

    /// True if `table` is of the index's generation: no flush has been applied since the table was last emptied. The answer
    /// holds while the table is locked: deltas are applied in order, and none is applied to this table meanwhile.
    #[inline]
    fn is_current(&self, table: &Open<'_>) -> bool {
        // Relaxed: the ring that applied the flush published that with Release (`Log::set_applied`), and a look-up that must
        // see the flush has read the position with Acquire. For any other look-up both answers are right.
        table.table.generation.load(Ordering::Relaxed) == self.generation.load(Ordering::Relaxed)
    }

    /// Adds the change of a table's memory to the bytes of this index and to those of all indexes.
    #[cold]
    fn count_resized(&self, base: &Base, resized: &Resized) {
        let (before, after) = (resized.before as u64, resized.after as u64);
        self.bytes.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
        base.arena().index_resized(before, after);
    }

    /// Applies the next delta of the log. Panics if the index lacks the delta's old entry. The caller makes sure that one
    /// thread at a time applies deltas to this index: see `replica`.
    pub(super) fn apply(&self, base: &Arc<Base>, delta: Delta) {
        let Delta::Entry { hash, old, new } = delta else {
            self.generation.fetch_add(1, Ordering::Relaxed);
            return;
        };
        if old == new {
            return;
        }
        let mut table = self.open(hash);
        if !self.is_current(&table) {
            let freed = table.empty(self.generation.load(Ordering::Relaxed));
            self.count_resized(base, &freed);
        }
        let entries = table.entries_mut();
        let rehash = |entry: &Entry| rehash(base, *entry);
        if old == ItemRef::NONE {
            if let Some(resized) = entries.insert(hash, Entry::new(new, hash), &rehash) {
                self.count_resized(base, &resized);
            }
            return;
        }
        let wanted = Entry::new(old, hash);
        let slot = entries.part_mut(hash).find_entry(hash.0, |entry| *entry == wanted);
        match (slot, new == ItemRef::NONE) {
            (Ok(slot), true) => {
                let _removed = slot.remove();
                if let Some(resized) = entries.shrink(hash, &rehash) {
                    self.count_resized(base, &resized);
                }
            }
            (Ok(mut slot), false) => *slot.get_mut() = Entry::new(new, hash),
            (Err(_), _) if cfg!(feature = "canary") => {}
            // Continuing would leave an entry that refers to reused memory.
            (Err(_), _) => panic!("a delta's old entry is not in the index"),
        }
    }

    /// Finds the entry of `key`, whose hash is `hash`. Finds expired items too.
    #[inline]
    pub(super) fn find(&self, base: &Arc<Base>, hash: Hash, key: &[u8]) -> Found {
        let table = self.open(hash);
        if !self.is_current(&table) {
            return Self::find_flushed(table.entries().part(hash), hash);
        }
        let same = |entry: &Entry| entry.tag_matches(hash) && item(base, *entry).key() == key;
        table
            .entries()
            .part(hash)
            .find(hash.0, same)
            .map_or(Found::Nothing, |entry| Found::Item(entry.item()))
    }

    /// Looks up a hash in a table from before the last flush. The memory of its items may have been reused, so their keys
    /// cannot be compared: 11 bits of the hash decide whether the key was there.
    #[cold]
    fn find_flushed(entries: &HashTable<Entry>, hash: Hash) -> Found {
        match entries.find(hash.0, |entry| entry.tag_matches(hash)) {
            Some(_) => Found::Flushed,
            None => Found::Nothing,
        }
    }

    /// Removes the entry for which [`Index::find`] returned [`Found::Flushed`], so that it is reported only once.
    #[cold]
    pub(super) fn forget_flushed(&self, hash: Hash) {
        let mut table = self.open(hash);
        // Another ring may have emptied and refilled the table meanwhile.
        if self.is_current(&table) {
            return;
        }
        if let Ok(slot) =
            table.entries_mut().part_mut(hash).find_entry(hash.0, |entry| entry.tag_matches(hash))
        {
            slot.remove();
        }
    }

    /// True if the index has an entry for a key of `hash` that names `item`.
    #[inline]
    pub(super) fn contains(&self, hash: Hash, item: ItemRef) -> bool {
        let wanted = Entry::new(item, hash);
        let table = self.open(hash);
        self.is_current(&table) && table.entries().part(hash).find(hash.0, |entry| *entry == wanted).is_some()
    }

    /// Starts loading into the cache the table that a look-up of `hash` will open.
    #[inline]
    pub(super) fn prefetch_table(&self, hash: Hash) {
        let table = &self.tables[table_of(hash, self.tables.len())];
        prefetch(std::ptr::from_ref(table).cast());
    }

    /// Starts loading into the cache the item that `hash` probably belongs to: its header, its key and the front of its value.
    #[inline]
    pub(super) fn prefetch_item(&self, base: &Arc<Base>, hash: Hash) {
        let table = self.open(hash);
        if let Some(entry) = table.entries().part(hash).find(hash.0, |entry| entry.tag_matches(hash)) {
            prefetch_range(base.address(entry.item()).as_ptr(), PREFETCHED_BYTES);
        }
    }

    /// The items of the part of table `table` at `position`, a few thousand at most, and the position of the next part.
    pub(super) fn items_at(&self, table: usize, position: Position) -> (Vec<ItemRef>, Position) {
        let table = self.open_at(table);
        let (part, next) = table.entries().part_at(position);
        let is_current = self.is_current(&table);
        (part.iter().filter(|_| is_current).map(|entry| entry.item()).collect(), next)
    }

    /// Checks the next `tables` tables, and empties those of an earlier generation, to free their memory.
    pub(super) fn drop_stale_tables(&self, base: &Base, tables: usize) {
        // If two rings do this at the same time, both check the same tables.
        let from = self.tidied.load(Ordering::Relaxed);
        let generation = self.generation.load(Ordering::Relaxed);
        for at in (from..).take(tables.min(self.tables.len())).map(|at| at % self.tables.len()) {
            if self.tables[at].generation.load(Ordering::Relaxed) == generation {
                continue;
            }
            let mut table = self.open_at(at);
            if !self.is_current(&table) {
                let freed = table.empty(self.generation.load(Ordering::Relaxed));
                self.count_resized(base, &freed);
            }
        }
        self.tidied.store((from + tables) % self.tables.len(), Ordering::Relaxed);
    }

    /// Returns the table and the item ref of every entry, to compare replicas and for
    /// [`WriteTxn::check`](super::write_txn::WriteTxn).
    pub(super) fn entries(&self) -> impl Iterator<Item = (usize, ItemRef)> + '_ {
        (0..self.tables.len()).flat_map(|at| {
            let mut items = Vec::new();
            let mut position = Position::default();
            while !position.is_end() {
                let (more, next) = self.items_at(at, position);
                items.extend(more.into_iter().map(|item| (at, item)));
                position = next;
            }
            items
        })
    }

    /// True if `hash` belongs to table `table`, and has an entry there that names `item`.
    pub(super) fn is_in(&self, table: usize, hash: Hash, item: ItemRef) -> bool {
        table_of(hash, self.tables.len()) == table && self.contains(hash, item)
    }

    /// The same as [`Index::bytes`], recounted from all tables.
    pub(super) fn counted_bytes(&self) -> u64 {
        let entries: usize =
            (0..self.tables.len()).map(|at| self.open_at(at).entries().allocation_size()).sum();
        (size_of_val(&*self.tables) + entries) as u64
    }
}

/// The item that `entry` names. The entry is in an open table of the current generation.
fn item(base: &Arc<Base>, entry: Entry) -> Item<'_> {
    // SAFETY: an entry of the current generation names a published item. Its memory is reused only after every index has
    // applied the delta that removes the entry; applying it takes the lock of this table, or happens on this thread.
    unsafe { Item::new(base.address(entry.item()), base) }
}

/// The full hash of an entry's key, read from the item.
fn rehash(base: &Arc<Base>, entry: Entry) -> u64 {
    base.hash(item(base, entry).key()).0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::key_hash::KeyHasher;

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
