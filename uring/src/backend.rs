//! The two backends, and which of them this thread runs.
//!
//! The backends differ in who waits. On io_uring the kernel is handed an operation with its memory and says when it is complete
//! ([`completion`](crate::completion)). On epoll the kernel says when a call would not block, and the thread makes the call then
//! ([`readiness`](crate::readiness)). A thread has one backend, set when its ring begins to run and never changed; sockets
//! remember on which one they were opened.

use crate::completion::Setup;
use std::cell::Cell;
use std::fmt;

/// The kernel interface that does a ring's I/O.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// io_uring: the kernel performs operations and reports their completion.
    Uring,
    /// epoll: the kernel reports which sockets are ready, and the thread makes the calls. For machines and containers that do
    /// not allow io_uring.
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

/// How rings are to be built on this machine: on io_uring with the features that [`probe`](crate::probe) found, or on epoll
/// ([`Support::epoll`]).
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

    /// Support for rings on epoll, which every machine can build.
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
