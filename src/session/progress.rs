//! The result of a call of [`Session::feed`](super::Session::feed): how much input was consumed, and what the caller must do
//! next. Plain values without state.
//!
//! The module imports no other module of the session.

use crate::store::Retry;

/// What the caller of `feed` must do next, after everything in the output has been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Read more bytes from the client, append them to the unconsumed input, and call `feed` again.
    Read,
    /// Call `feed` again with the unconsumed input, even if that is empty. The reason is that the output was full, the limit of
    /// -R was reached, a dump continues, or room is being made for a large value.
    Resume,
    /// Pause, then call `feed` again as for `Resume`: the command's value waits for memory that other unfinished values hold.
    /// Report the length of the pause with [`note_waited`](super::Session::note_waited).
    Wait,
    /// Wait until other rings have replayed the log, because the next command needs room in it. Call `feed` again with the
    /// unconsumed input when [`crate::store::Store::slowest`] shows progress. If that takes too long, call
    /// [`refuse_stalls`](super::Session::refuse_stalls) first.
    Stall,
    /// Read a value from flash that the next command needs in memory. [`take_wanted`](super::Session::take_wanted) says which
    /// one. Have the value [promoted](crate::engine::Executor::promote) or [given up](crate::engine::Executor::unloadable), and
    /// call `feed` again with the unconsumed input.
    Load,
    /// Receive a large value: take its memory with `lend_reservation`, receive into that, give it back with `return_reservation`,
    /// then call `feed` again.
    Receive,
    /// Serve a watcher, which the connection has become. Pass [`wake_with`](super::Session::wake_with) a function that wakes its
    /// task, call [`pump`](super::Session::pump) each time the task is woken, and ignore what the client sends.
    Watch,
    /// Close the connection. The client asked to quit, or an item whose value was sent in part is gone, so that the remaining
    /// part cannot be sent.
    Close,
    /// Close the connection, because the client's input cannot be parsed or may not be served.
    Reject,
}

/// Says whether the client is in the middle of sending a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owed {
    /// The client is not in the middle of a value: the next bytes begin a command.
    Nothing,
    /// The client is sending a value that will be stored.
    Value,
    /// The client is sending a value that has been refused and will be skipped.
    RefusedValue,
}

/// Result of one call of [`feed`](super::Session::feed).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Number of bytes at the front of the input that were consumed. The caller keeps the other bytes and feeds them again.
    pub consumed: usize,
    /// What the caller must do next.
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
