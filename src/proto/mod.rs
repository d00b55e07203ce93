//! Parsers and writers of the protocols. Pure: they parse in place, know no store, and allocate only reply bytes.

pub mod base64;
pub mod binary;
pub mod meta;
pub mod scan;
pub mod text;
pub mod udp;
