//! The store: items once in shared segments, a few indexes of them, a log that keeps the indexes equal.
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
//! *Reading.* [`Shard::fresh`] replays the log to its tail; only the [`Fresh`] it returns can look up. So a read sees
//! every write that was acknowledged before it began, on whichever ring: that is its place in the one order of all
//! operations, the log's. A read takes no lock and shares no cache line but the log's tail, as long as its ring has an index
//! of its own; where rings share one (`replica`), it takes the lock of a small table.
//!
//! *Writing.* [`Fresh::edit`] takes the writer lock, replays to the tail, lets the caller decide on the newest state,
//! writes the new item, appends one delta and applies it to the own replica. Add, replace, cas, append, incr are all such
//! decisions, hence atomic. The lock is held for one decision and a slice of eviction. Nothing here waits: what other
//! rings must make possible first (log full, memory not yet free) is refused with [`Retry::Stalled`], what takes more slices
//! with [`Retry::Soon`], and the caller lets its thread serve others until it tries again.
//!
//! *Memory.* An item is written once and never changed (but for its expiry and use marks, which are atomics), so a
//! reader needs no protection but that the memory is not reused: see `segment_table`, "When memory is reused". Replies may go
//! on reading an item that has been overwritten or evicted: [`Pin`].
//!
//! Reading order: `item_ref`, `key_hash`, `item`, `log`, `time`, `pin_counts`, `pinned`, `base`, `index`, `replica`, `segment_table`,
//! `shared`, `write_txn`, `pace`, `evict`, `sweep`, `reservation`, `shard`, `fresh`, `edit`; then `memory_file` and `restore` (-e),
//! `flash` and `stow` (`ext_path`).
//!
//! Each module imports only modules named before it: `sync`, `item_ref`, `prefetch`, `pace`, `faults`, `region`,
//! `geometry`, `log`, `time`, `key_hash`, `ghost`, `written`, `pin_counts`, `pinned`, `arena`, `large`, `memory_file`, `flash`,
//! `base`, `start`, `pin`, `item`, `host`, `index`, `replica`, `totals`, `segment_table`, `reservation`, `restore`,
//! `request`, `shared`, `statistics`, `write_txn`, `check`, `evict`, `sweep`, `shard`, `whole`, `fresh`, `edit`, `stow`.
//! From outside the store they import only `classes`, `clock` and `limits`.
//!
//! # Invariants
//! 1. All replicas that have applied the log to the same place hold the same entries.
//! 2. An entry names an item whose memory is not reused before its replica has applied the delta that removes it, nor while
//!    a ring may hold what it found before.
//! 3. A key has at most one entry per replica; the CAS uniques of its versions grow.
//! 4. Segments in use + large items + indexes + ghosts ≤ limit, except for what one slice of eviction has yet to free.
//!
//! # Assumed
//! Of the kernel: anonymous memory reads as zero, a discarded page too.

mod arena;
mod base;
mod check;
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
mod stow;
mod sweep;
mod sync;
#[cfg(test)]
mod tests;
mod time;
mod totals;
mod whole;
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
