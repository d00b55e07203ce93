//! What the writer lock guards: which memory is used for what, and the budget that all of it comes out of.
//!
//! There is one [`SegmentTable`] per store, inside the mutex `Store::segments`, which is the writer lock. Each file here holds
//! fields of the table or methods on it, so everything here is read and changed only under the writer lock: mostly by a write
//! transaction, on whichever ring writes or maintains; at the start by `restore`, before rings run. Item bytes and pin counts
//! are in the arena, which methods take as an argument.
//!
//! ```text
//!             open ──────► Open ──seal──► Sealed ──victim──► Victim ──retire──► Retired ──collect──► Free
//!              ▲                            └──────────── retire (last live item died) ──▲             │
//!              └───────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Segments stand in one of three FIFO queues (small, main, stubs; see `evict`); a large item is a unit of its own in the same
//! queues. There is one open segment per queue, whatever the number of rings: space in it is claimed under the lock.
//!
//! # When memory is reused
//! A unit (a segment or a large item) is retired at log position p once no replica that has applied everything before p has an
//! entry for any of its items. It is collected, which means that its memory may be reused, when three conditions hold: every
//! replica has applied the log up to p; no ring holds a reference that it found before (see `log`, "Positions"); and the unit's
//! pin and reservation counts are 0 (no send reads it, no receive writes it). A transaction moves its own ring's position only
//! at its end, so memory retired in a transaction is never reused in that transaction.
//!
//! # The budget
//! `limit` ≥ segments in use + extents in use + every replica's index + ghosts. Free segments and extents keep their memory for
//! reuse only while that fits under the limit as well. What exceeds a lowered limit (`over_limit_bytes`) is evicted gradually, so
//! that no single write has to evict it all.
//!
//! Retired memory that only sends hold is not counted (`beside_bytes`). If it were, clients that do not read their replies would
//! shrink the store for all others. There is no more of it than pins may hold. With a memory file, whose room is claimed at the
//! start, it is counted.
//!
//! # Files
//! `table` holds the struct; the files behind it in this list each add one kind of change as methods on it. Each module
//! imports only modules named before it: `need`, `sum`, `sweeper`, `unit`, `victim`, `lazy_fifo`, `reclaim`, `schedule`,
//! `table`, `allocate`, `budget`, `check`, `extents`, `growth`, `link`, `promise`, `queues`, `record`, `restore`,
//! `retire`.

mod allocate;
mod budget;
mod check;
mod extents;
mod growth;
mod lazy_fifo;
mod link;
mod need;
mod promise;
mod queues;
mod reclaim;
mod record;
mod restore;
mod retire;
mod schedule;
mod sum;
mod sweeper;
mod table;
mod unit;
mod victim;

pub(super) use check::Recount;
pub(super) use need::{Need, Purpose};
pub(super) use queues::Popped;
pub(super) use restore::{RestoredLarge, RestoredSegment, RestoredUnits};
pub(super) use sweeper::Walk;
pub(super) use table::SegmentTable;
pub(super) use unit::{EvictionUnit, Fifo, Large, QUEUES, Queue, Segment, State};
pub(super) use victim::{Demoted, Transfer, Victim, VictimMode};
