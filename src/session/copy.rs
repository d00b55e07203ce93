//! The session through which a copy of another server (`--copy-from`) stores its items, and what the replies to it
//! mean.
//!
//! It only makes the session: it imports `state`, and no module of commands.

use super::state::{Session, State};
use crate::config::Protocol;
use crate::engine::Engine;
use crate::proto::text::reply;

/// What became of an item that was to be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copied {
    /// It is here.
    Stored,
    /// A client has written its key.
    Superseded,
    /// It is over `-I`.
    TooLarge,
    /// There is no memory for it.
    NoMemory,
}

impl Copied {
    /// What the reply to its `ms` says.
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
    /// A session of meta commands that needs no login. It stores only what no client has written: see
    /// [`crate::store::Store::begin_copy`].
    pub fn for_copy(engine: &Engine, id: u32) -> Self {
        let session = Self::new(engine, id, Protocol::Ascii);
        Self { is_special: true, is_copy: true, state: State::Command, authenticated: true, ..session }
    }
}
