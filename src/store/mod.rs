//! The store: every item lies once in shared segments, a few indexes find it, and a log keeps the indexes equal.
//!
//! ```text
//!        ring 0                 ring 1                         one for all
//!   ┌─ Shard ───────┐      ┌─ Shard ───────┐        ┌─ Store ────────────────────────────┐
//!   │ Replica       │      │ Replica       │        │ Base    mapping, pins, Log, hash   │
//!   │  hash → item  │      │  hash → item  │        │ SegmentTable  (writer lock):       │
//!   └──────┬────────┘      └──────┬────────┘        │  segments, large items, queues     │
//!          │ replay               │ replay          └──────▲─────────────────────────────┘
//!          └──────────────◄───────┴───── deltas ◄──────────┘ WriteTxn (a writer's): decide, append, apply
//! ```
//!
//! *Reading.* [`Shard::fresh`] replays the log to its tail; only the [`Fresh`] it returns can look up. So a read sees every
//! write that was acknowledged before the read began, on whichever ring. All operations have one order, that of the log, and
//! the read's place in it is that tail. A read takes no lock and shares no cache line but the log's tail, as long as its ring
//! has an index of its own; where rings share one (`replica`), it takes the lock of a small table.
//!
//! *Writing.* [`Fresh::edit`] takes the writer lock, replays to the tail, lets the caller decide on the newest state, writes
//! the new item, appends one delta and applies it to the ring's replica. Add, replace, cas, append, incr are all such
//! decisions, hence atomic. The lock is held for one decision and a slice of eviction. Nothing here waits for other rings. If
//! they must replay first (log full, memory not yet free), the write is refused with [`Retry::Stalled`]; if it needs more
//! slices of eviction, with [`Retry::Soon`]. The caller then lets its thread serve others until it tries again.
//!
//! *Memory.* An item is written once and never changed (except its expiry and its marks, which are atomics), so a reader is
//! safe as long as the item's memory is not reused: see `segment_table`, "When memory is reused". Replies may go on reading an
//! item that has been overwritten or evicted: [`Pin`].
//!
//! Reading order: `item_ref`, `key_hash`, `item`, `log`, `time`, `pin_counts`, `pinned`, `base`, `index`, `replica`,
//! `segment_table`, `shared`, `write_txn`, `pace`, `evict`, `sweep`, `reservation`, `shard`, `fresh`, `edit`; then `memory_file`
//! and `restore` (-e), `flash` and `demote` (`ext_path`).
//!
//! Each module imports only modules named before it: `sync`, `item_ref`, `prefetch`, `pace`, `faults`, `region`,
//! `geometry`, `log`, `time`, `key_hash`, `ghost`, `written`, `pin_counts`, `pinned`, `arena`, `large`, `memory_file`, `flash`,
//! `base`, `start`, `pin`, `item`, `host`, `index`, `replica`, `totals`, `segment_table`, `reservation`, `restore`,
//! `request`, `shared`, `statistics`, `write_txn`, `check`, `evict`, `sweep`, `shard`, `defragment`, `fresh`, `edit`, `demote`.
//! From outside the store they import only `classes`, `clock` and `limits`.
//!
//! # Who owns what, and who may change it
//! "The writer lock" is the mutex `Store::segments`. A `WriteTxn` (`write_txn`) holds it from beginning to end.
//!
//! - An item's key, value and fixed header fields (`item`): its writer, before the item is published; then nobody. Expiry and the
//!   stale, won and alive marks: a transaction. Last access, hits and the fetched mark: any ring at any time (atomics).
//! - An index (`index`, `replica`): the one ring that it belongs to, without a lock. If several rings share it, one of them at a
//!   time applies deltas, under the lock of each table that it touches.
//! - The log's deltas and its tail (`log`): a transaction; read without a lock. How far a replica has applied the log: the ring
//!   that replays for it. The position from which on a ring may hold references: that ring alone. (Both are atomics in the log.)
//! - `segment_table`, and what its struct contains (of `ghost`, `large`, `pace`, `written`, `totals`, `memory_file::Ledger` and
//!   `flash::ChunkTable`): changed and read only under the writer lock.
//! - Pin counts and sums (`arena`), the time, the flash tier's counters: any ring at any time (atomics).
//! - Chunks of the flash tier in memory (`flash::ChunkBuffers`): under a mutex of their own, which may be taken inside
//!   the writer lock.
//! - The bytes of a value that is being received (`reservation`): the ring of the connection that receives it.
//! - The mapping, its geometry, the secrets of the key hash and most options: made at the start, then read only.
//!
//! Before the first ring runs, `restore` fills all of this from the memory file, if there is one.
//!
//! # Invariants
//! 1. All replicas that have applied the log to the same place hold the same entries.
//! 2. An entry names an item whose memory is not reused before its replica has applied the delta that removes it, nor while
//!    a ring may hold a reference that it obtained before.
//! 3. A key has at most one entry per replica; the CAS uniques of its versions grow.
//! 4. Segments in use + large items + indexes + ghosts ≤ limit, except for what one slice of eviction has yet to free, what is
//!    in use above a lowered limit, and retired memory that only sends hold, which the bound on pins also bounds.
//!
//! # Assumed
//! The kernel makes anonymous memory read as zero, and a discarded page too.

mod arena;
mod base;
mod check;
mod defragment;
mod demote;
mod edit;
mod evict;
mod faults;
mod flash;
mod fresh;
mod geometry;
mod ghost;
mod host;
mod index;
mod item;
mod item_ref;
mod key_hash;
mod large;
mod log;
#[cfg(all(test, memcrsd_loom))]
mod loom_tests;
mod memory_file;
mod pace;
mod pin;
mod pin_counts;
mod pinned;
mod prefetch;
mod region;
mod replica;
mod request;
mod reservation;
mod restore;
mod segment_table;
mod shard;
mod shared;
mod start;
mod statistics;
mod sweep;
mod sync;
#[cfg(test)]
mod tests;
mod time;
mod totals;
mod write_txn;
mod written;

pub use flash::{
    Extent, Fault, Flash, FlashOptions, FlashPage, FlashTotals, Job, Place, Read, Source, Write,
};
pub use fresh::Fresh;
pub use host::Host;
pub use item::{Item, Stub, Version};
pub use item_ref::Hash;
pub use memory_file::{MemoryFile, MemoryFileError, Occasion, memory_file_sections, mend_memory_file};
pub use pin::{Pin, Share};
pub use replica::ReplicaMemory;
pub use request::{
    Data, Edit, EditError, Edited, Lookup, Put, ReserveError, Retry, UpdateMetadata, Value, Walk, Wanted,
};
pub use reservation::Reservation;
pub use shard::Shard;
pub use shared::Store;
pub use start::{LostOnFlash, Options, RestoreOutcome, Restored, StartError};
pub use totals::{ClassTotals, Memory, Totals};
