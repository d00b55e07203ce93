//! The session through which a copy of another server (`--copy-from`) stores its items, and the replies to that copy.
//!
//! The session belongs to a connection of ring 0 like any other; its client is the thread of `server::copy`. The module imports
//! `state`, and no module of commands.

use super::state::{Session, State};
use crate::config::Protocol;
use crate::engine::Engine;
use crate::proto::text::reply;

/// What happened to an item that was to be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copied {
    /// The item has been stored on this server.
    Stored,
    /// The item has not been stored, because a client has written, deleted or flushed its key meanwhile.
    Superseded,
    /// The item has not been stored, because it exceeds the size limit (`-I`).
    TooLarge,
    /// The item has not been stored, because there is no memory for it.
    NoMemory,
}

impl Copied {
    /// Parses the reply, without its line end, to the `ms` that copies an item. `None` if `line` is not such a reply.
    pub fn of_reply(line: &[u8]) -> Option<Self> {
        let without_end = |reply: &'static [u8]| reply.trim_ascii_end();
        Some(match line {
            b"HD" => Self::Stored,
            b"NS" => Self::Superseded,
            line if line == without_end(reply::TOO_LARGE) => Self::TooLarge,
            line if line == without_end(reply::NO_MEMORY_STORING) => Self::NoMemory,
            _ => return None,
        })
    }
}

impl Session {
    /// Makes a session in the text protocol that needs no login. It stores an item only if no client has written its key
    /// meanwhile: see [`crate::store::Store::begin_copy`].
    pub fn for_copy(engine: &Engine, id: u32) -> Self {
        let session = Self::new(engine, id, Protocol::Ascii);
        Self { is_special: true, is_copy: true, state: State::Command, authenticated: true, ..session }
    }
}
