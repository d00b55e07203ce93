//! The store: shared segments, a replication log, one replica per ring. (Interface; see `shard.rs` for the face.)

mod face;
pub use face::*;
