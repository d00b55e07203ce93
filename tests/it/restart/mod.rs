//! What is left of a cache with `-e` after its process has ended, in whatever way.

mod behaviour;
mod crash;
mod files;
mod memory;
mod model;
mod operation;
mod world;
