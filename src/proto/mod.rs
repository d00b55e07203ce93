//! Bytes to commands and replies to bytes. Pure: parses in place, sees no store, allocates nothing but reply bytes.

pub mod binary;
pub mod meta;
pub mod scan;
pub mod text;
pub mod udp;
