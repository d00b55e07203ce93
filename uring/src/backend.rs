//! The two backends, and which of them this thread runs.
//!
//! The backends differ in who waits. On io_uring the kernel is handed an operation with its memory and says when it is complete
//! ([`completion`](crate::completion)). On epoll the kernel says when a call would not block, and the thread makes the call then
//! ([`readiness`](crate::readiness)). A thread has one backend, set when its ring begins to run and never changed; sockets
//! remember on which one they were opened.

use crate::completion::Setup;
use std::cell::Cell;
use std::fmt;

/// Which kernel interface does the I/O.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Completions of an io_uring.
    Uring,
    /// Readiness, as epoll reports it: for machines and containers that do not allow io_uring.
    Epoll,
}

impl Backend {
    /// The backend's name in options and statistics: `uring` or `epoll`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Uring => "uring",
            Self::Epoll => "epoll",
        }
    }

    /// The backend of the ring that runs on this thread.
    ///
    /// # Panics
    /// Outside of [`crate::Ring::run`].
    pub(crate) fn current() -> Self {
        CURRENT.get().expect("a ring runs on this thread")
    }

    /// Makes `self` the backend that [`Backend::current`] returns on this thread.
    pub(crate) fn enter(self) {
        CURRENT.set(Some(self));
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

thread_local! {
    /// The backend of the ring that runs on this thread.
    static CURRENT: Cell<Option<Backend>> = const { Cell::new(None) };
}

/// How rings are built on this machine: what [`probe`](crate::probe) found, or [`Support::epoll`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Support(pub(crate) BackendSetup);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BackendSetup {
    Completion(Setup),
    Readiness,
}

impl Support {
    pub(crate) fn completion(setup: Setup) -> Self {
        Self(BackendSetup::Completion(setup))
    }

    /// Rings without io_uring, which every machine supports.
    pub fn epoll() -> Self {
        Self(BackendSetup::Readiness)
    }

    /// The backend of the rings that are built with this support.
    pub fn engine(&self) -> Backend {
        match self.0 {
            BackendSetup::Completion(_) => Backend::Uring,
            BackendSetup::Readiness => Backend::Epoll,
        }
    }
}
