//! Requests and replies of memcached's three protocols, as a client sees them. Bytes only, no sockets.
//!
//! A reply is read in two steps. [`decode`] parses its head; if it is a value, the caller itself consumes `value_len` bytes
//! and [`Protocol::value_tail`], so that a large value can be checked as it arrives.

mod binary;
mod line;
mod reply;

pub(crate) use reply::{Garbage, Name, Reply};

use std::str::FromStr;

/// A protocol of memcached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// The classic text commands: `get`, `set`.
    Text,
    /// The meta commands: `mg`, `ms`.
    Meta,
    /// The binary protocol.
    Binary,
}

impl Protocol {
    /// What follows the value bytes of a reply, and of a set.
    pub(crate) fn value_tail(self) -> &'static [u8] {
        match self {
            Self::Text | Self::Meta => b"\r\n",
            Self::Binary => b"",
        }
    }

    /// True if every get ends with a terminator, with or without values before it.
    pub(crate) fn single_get_has_end(self) -> bool {
        self == Self::Text
    }
}

impl FromStr for Protocol {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "text" | "ascii" => Ok(Self::Text),
            "meta" => Ok(Self::Meta),
            "binary" => Ok(Self::Binary),
            _ => Err(format!("no protocol is called {word}: text, meta or binary")),
        }
    }
}

/// Parses the head of the reply at the start of `bytes`; `Ok(None)` if more bytes are needed.
///
/// The number is the length of the head in bytes, which is the whole reply unless it is a value.
///
/// # Errors
/// [`Garbage`]: framing is lost, close the connection.
pub(crate) fn decode(protocol: Protocol, bytes: &[u8]) -> Result<Option<(Reply<'_>, usize)>, Garbage> {
    match protocol {
        Protocol::Text | Protocol::Meta => line::decode(bytes),
        Protocol::Binary => binary::decode(bytes),
    }
}

/// Appends a get of one key. `opaque` comes back in the binary protocol only.
pub(crate) fn encode_get(protocol: Protocol, out: &mut Vec<u8>, key: &[u8], opaque: u32) {
    match protocol {
        Protocol::Text => line::get(out, &[key]),
        Protocol::Meta => line::meta_get(out, key, b" v\r\n"),
        Protocol::Binary => binary::get(out, binary::GET, key, opaque),
    }
}

/// Appends one part of a get of several keys; `place` says which.
pub(crate) fn encode_multiget(protocol: Protocol, out: &mut Vec<u8>, place: Place, key: &[u8], opaque: u32) {
    match protocol {
        Protocol::Text => {
            out.extend_from_slice(if place == Place::First { b"get " } else { b" " });
            out.extend_from_slice(key);
        }
        Protocol::Meta => line::meta_get(out, key, b" k v q\r\n"),
        Protocol::Binary => binary::get(out, binary::GETKQ, key, opaque),
    }
}

/// Position of a key in a get of several keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The first.
    First,
    /// A later one.
    Later,
}

/// Ends a get of several keys.
pub(crate) fn encode_multiget_end(protocol: Protocol, out: &mut Vec<u8>) {
    match protocol {
        Protocol::Text => out.extend_from_slice(b"\r\n"),
        Protocol::Meta => out.extend_from_slice(b"mn\r\n"),
        Protocol::Binary => binary::get(out, binary::NOOP, b"", 0),
    }
}

/// Appends the head of a set; the value and [`Protocol::value_tail`] follow it. Client flags are 0.
pub(crate) fn encode_set(protocol: Protocol, out: &mut Vec<u8>, key: &[u8], ttl_secs: u32, value_len: usize) {
    match protocol {
        Protocol::Text => line::set(out, key, ttl_secs, value_len),
        Protocol::Meta => line::meta_set(out, key, ttl_secs, value_len),
        Protocol::Binary => binary::set(out, key, ttl_secs, value_len),
    }
}

/// Appends a delete.
pub(crate) fn encode_delete(protocol: Protocol, out: &mut Vec<u8>, key: &[u8]) {
    match protocol {
        Protocol::Text => line::command(out, b"delete ", key),
        Protocol::Meta => line::command(out, b"md ", key),
        Protocol::Binary => binary::get(out, binary::DELETE, key, 0),
    }
}
