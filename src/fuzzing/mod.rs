//! Bodies of the fuzz targets, and what they share with tests and benchmarks: an engine without a server, and a client of
//! a session.
//!
//! Nothing here is part of the server: tests, benchmarks and fuzzers call it, and own what it makes.
//!
//! Each target takes arbitrary bytes, and panics if the code breaks one of its promises.
//!
//! Each module imports only modules named before it: `seed`, `rings`, `flash`, `peer`, `peer_flash`, `decoders`, `memory_file`,
//! `model`, `storage`, `tier`.

mod decoders;
pub mod flash;
mod memory_file;
mod model;
mod peer;
mod peer_flash;
pub mod rings;
mod seed;
mod storage;
mod tier;

pub use decoders::{arguments, binary, meta, session, text, udp};
pub use memory_file::memory_file;
pub use model::model;
pub use peer::{Peer, engine, store};
pub use seed::seed;
pub use storage::storage;
pub use tier::tier;
