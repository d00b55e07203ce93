//! What a feed tells the connection: how far it came, and what is wanted next.
//!
//! Imports no other module of the session.

use crate::store::Retry;

/// What the connection wants next, once everything in `out` has been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// More bytes: read. (Unconsumed input must be fed again, in front of them.)
    Read,
    /// Call `feed` again with the unconsumed rest (maybe empty) after the send: output was full, the -R limit was
    /// reached, a dump goes on, or room is being made for a large value.
    Resume,
    /// As `Resume`, but not before a moment has passed, of which it is told ([`note_waited`](super::Session::note_waited)).
    Wait,
    /// Other rings have to catch up before the next command can run. Call `feed` again with the unconsumed rest when they
    /// have ([`crate::store::Store::slowest`]), or after [`refuse_stalls`](super::Session::refuse_stalls) when that takes
    /// too long.
    Stall,
    /// The next command needs a value in memory that is on flash: [`take_wanted`](super::Session::take_wanted) says which.
    /// Read it, have it [promoted](crate::engine::Executor::promote) or [given up](crate::engine::Executor::unloadable), and
    /// call `feed` again with the unconsumed rest.
    Load,
    /// A large value is on its way: `lend_reservation`, receive into it, `return_reservation`, then `feed` again.
    Receive,
    /// The connection has become a watcher: say how it is woken (`wake_with`), and `pump` it then; bytes read are ignored.
    Watch,
    /// The client asked to quit, or the rest of a partly sent value is gone: send what is staged, then close.
    Close,
    /// What the client sends cannot be made sense of: likewise.
    Reject,
}

/// What a connection waits for in the middle of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owed {
    /// It is not in the middle of one.
    Nothing,
    /// The rest of a value.
    Value,
    /// The rest of a value that is not stored.
    RefusedValue,
}

/// How far a feed came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the input that were used up.
    pub consumed: usize,
    /// What to do next.
    pub next: Next,
}

impl From<Retry> for Next {
    fn from(retry: Retry) -> Self {
        match retry {
            Retry::Soon => Self::Resume,
            Retry::Later => Self::Wait,
            Retry::Stalled => Self::Stall,
            Retry::Load => Self::Load,
        }
    }
}
