//! What commands mean. Sees items and numbers, no bytes of any protocol.
//!
//! A ring has one [`Engine`]. A session takes an [`Executor`] for each piece of input: the replica is brought up to date once,
//! and every command in that input runs on it.
//!
//! Modules import from the rows below their own:
//!
//! ```text
//! stats │ memcrsd_stats                       lists of statistics that include lines of others
//! flash │ class_stats │ ring_stats            lists, or lines of them; flash also tunes the tier
//! report                                      what lists are made of
//!
//! get                                         commands, each apart from the others
//! storage │ arith │ meta │ dump │ load
//! executor                                    Engine and Executor, which commands and lists extend
//! observe                                     events for watchers
//! shared                                      what all rings share: the configuration, and all that is counted
//! counters                                    of a ring, which include its latencies and hot keys
//! latency │ copy_progress │ hotkeys │ prefixes │ connections │ watch
//! counter │ sample
//! ```

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
pub use load::{Hit, Whereabouts};
pub use meta::{MetaDelete, MetaGet, MetaGetResult, MetaHit};
pub use observe::Reason;
pub use report::{Report, Sink};
pub use shared::{Gauges, Shared, Stop, classes};
