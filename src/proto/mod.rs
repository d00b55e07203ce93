//! Parsers and writers of the protocols. They are pure functions without state or I/O: they parse in place, borrow from the
//! input, know no store, and allocate only reply bytes. `session` calls them.

pub mod base64;
pub mod binary;
pub mod meta;
pub mod scan;
pub mod text;
pub mod udp;
