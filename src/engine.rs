//! INTERFACE SKETCH: what commands mean. One per ring.
#![allow(missing_docs, dead_code, unused_variables, clippy::all, clippy::pedantic, reason = "sketch")]

use crate::clock::{Clock, Secs};
use crate::config::Config;
use crate::store::{Shard, Store};
use std::sync::Arc;

/// What all rings share besides the store: configuration, run-time settings, counters of every ring, watchers.
#[derive(Debug)]
pub struct Shared;
impl Shared {
    pub fn new(config: Config, clock: Clock, rings: usize) -> Arc<Shared> {
        todo!()
    }
}

/// One ring's executor.
#[derive(Debug)]
pub struct Engine;
impl Engine {
    pub fn new(shared: Arc<Shared>, shard: Shard, ring: usize) -> Self {
        todo!()
    }
    /// Once per completion batch: takes the coarse time.
    pub fn set_now(&mut self, now: Secs) {}
    pub fn shard_mut(&mut self) -> &mut Shard {
        todo!()
    }
}
