//! What commands mean: lookups, stores and all other commands, on items and numbers. Knows no bytes of any protocol.
//!
//! A ring has one [`Engine`], which only its thread uses. For each piece of input a session takes an [`Executor`] from it: the
//! replica is brought up to date once, and every command in that input runs on it. All rings share one [`Shared`]: settings and
//! lists behind locks, flags in atomics, and the counters, of which each ring writes its own and any thread may read all. Items
//! belong to the store: they are replaced in its write transactions, under its writer lock, and only their access marks are set
//! without that lock.
//!
//! Each module imports only modules named before it:
//!
//! - `counter`, `sample`: one number that a ring counts, and which inputs are sampled
//! - `latency`, `hotkeys`, `counters`, `copy_progress`, `connections`, `prefixes`, `watch`: what is counted and listed
//! - `shared`: all of these, for all rings
//! - `observe`: events for watchers
//! - `executor`: a ring's engine, and the executor that commands and statistics extend
//! - `load`, `get`, `storage`, `arith`, `meta`, `dump`: commands, which know nothing of each other except the result of a get
//! - `report`: the sources of statistics
//! - `class_stats`, `ring_stats`, `flash`, `memcrsd_stats`, `stats`: the lists of statistics.

mod arith;
mod class_stats;
pub mod connections;
pub mod copy_progress;
pub mod counter;
pub mod counters;
mod dump;
mod executor;
mod flash;
mod get;
pub mod hotkeys;
pub mod latency;
mod load;
mod memcrsd_stats;
mod meta;
mod observe;
pub mod prefixes;
mod report;
pub mod ring_stats;
mod sample;
mod shared;
mod stats;
mod storage;
pub mod watch;

pub use dump::ClassSet;
pub use executor::{Engine, Executor};
pub use flash::flash_options;
pub use load::{Hit, Search};
pub use meta::{MetaDelete, MetaGet, MetaGetResult, MetaHit};
pub use observe::Reason;
pub use report::{Report, Sink};
pub use shared::{Gauges, Shared, Stop, classes};
