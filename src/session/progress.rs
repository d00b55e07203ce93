//! What a call of [`Session::feed`](super::Session::feed) tells its caller: how much input was used, and what is wanted
//! next. Plain values without state.
//!
//! Imports no other module of the session.

use crate::store::Retry;

/// What the caller of `feed` must do next, once everything in the output has been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Read more bytes from the client, and feed them behind the unconsumed rest of the input.
    Read,
    /// After the send, call `feed` again with the unconsumed rest, even if that is empty. The cause: output was full, the -R
    /// limit was reached, a dump goes on, or room is being made for a large value.
    Resume,
    /// As `Resume`, but after a pause: the command's value waits for memory that other unfinished values hold. Report the
    /// length of the pause with [`note_waited`](super::Session::note_waited).
    Wait,
    /// Other rings have to catch up before the next command can run. Call `feed` again with the unconsumed rest when
    /// [`crate::store::Store::slowest`] shows that they have. If that takes too long, call
    /// [`refuse_stalls`](super::Session::refuse_stalls) first.
    Stall,
    /// The next command needs a value in memory that is on flash: [`take_wanted`](super::Session::take_wanted) says which.
    /// Read it, have it [promoted](crate::engine::Executor::promote) or [given up](crate::engine::Executor::unloadable), and
    /// call `feed` again with the unconsumed rest.
    Load,
    /// A large value is arriving: take its memory with `lend_reservation`, receive into it, give it back with
    /// `return_reservation`, then call `feed` again.
    Receive,
    /// The connection has become a watcher. Pass [`wake_with`](super::Session::wake_with) a function that wakes its task, call
    /// [`pump`](super::Session::pump) each time the task is woken, and ignore what the client sends.
    Watch,
    /// The client asked to quit, or an item whose value was sent in part is gone, so that the rest cannot follow: send what is
    /// staged, then close.
    Close,
    /// The client's input cannot be parsed, or may not be served: send what is staged, then close.
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

/// Result of one call of [`feed`](super::Session::feed).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes at the front of the input that were used up; the caller keeps the others.
    pub consumed: usize,
    /// The caller's next step.
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
