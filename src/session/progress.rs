//! What a call of [`Session::feed`](super::Session::feed) tells its caller: how much input was used, and what is wanted
//! next. Plain values without state.
//!
//! Imports no other module of the session.

use crate::store::Retry;

/// What the caller of `feed` must do next, once everything in the output has been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// More bytes: read. (Unconsumed input must be fed again, in front of them.)
    Read,
    /// Call `feed` again with the unconsumed rest (maybe empty) after the send: output was full, the -R limit was
    /// reached, a dump goes on, or room is being made for a large value.
    Resume,
    /// As `Resume`, but after a pause: the value at hand waits for memory that other unfinished values hold. Report the
    /// length of the pause with [`note_waited`](super::Session::note_waited).
    Wait,
    /// Other rings have to catch up before the next command can run. Call `feed` again with the unconsumed rest when they
    /// have ([`crate::store::Store::slowest`]), or after [`refuse_stalls`](super::Session::refuse_stalls) when that takes
    /// too long.
    Stall,
    /// The next command needs a value in memory that is on flash: [`take_wanted`](super::Session::take_wanted) says which.
    /// Read it, have it [promoted](crate::engine::Executor::promote) or [given up](crate::engine::Executor::unloadable), and
    /// call `feed` again with the unconsumed rest.
    Load,
    /// A large value is arriving: take its memory with `lend_reservation`, receive into it, give it back with
    /// `return_reservation`, then call `feed` again.
    Receive,
    /// The connection has become a watcher: pass `wake_with` a function that wakes it, call `pump` each time it is woken,
    /// and ignore what the client sends.
    Watch,
    /// The client asked to quit, or the rest of a partly sent value is gone: send what is staged, then close.
    Close,
    /// What the client has sent cannot be parsed: send what is staged, then close.
    Reject,
}

/// Whether the client is in the middle of sending a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owed {
    /// No: the next bytes begin a command.
    Nothing,
    /// Yes, and the value will be stored.
    Value,
    /// Yes, but the value has been refused and will be skipped.
    RefusedValue,
}

/// Result of one call of `feed`.
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
