//! A socket registered with epoll. Belongs to the listener or connection on its ring's thread.
#![expect(unsafe_code, reason = "what is watched must stay the same socket")]

use std::io;
use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};

/// A socket registered with epoll; or, if epoll refused one more, the socket and the error.
pub(super) enum AsyncSocket {
    Events(AsyncFd<socket2::Socket>),
    Refused(socket2::Socket, io::Error),
}

impl AsyncSocket {
    /// Registers `socket` with epoll; a refusal shows when [`AsyncSocket::events`] is called.
    ///
    /// # Panics
    /// Outside of [`crate::Ring::run`].
    pub(super) fn new(socket: socket2::Socket, interest: Interest) -> Self {
        // SAFETY: a `Socket` owns its descriptor, which is open and the same until the value is dropped, and nothing here
        // replaces the value.
        match unsafe { AsyncFd::register_with_interest(socket, interest) } {
            Ok(events) => Self::Events(events),
            Err(refused) => {
                let (socket, error) = refused.into_parts();
                Self::Refused(socket, error)
            }
        }
    }

    /// The socket, for calls that do not block.
    pub(super) fn socket(&self) -> &socket2::Socket {
        match self {
            Self::Events(events) => events.get_ref(),
            Self::Refused(socket, _) => socket,
        }
    }

    /// The registered socket, to wait for its events.
    ///
    /// # Errors
    /// `ENOSPC`, `ENOMEM`: the socket could not be registered.
    pub(super) fn events(&self) -> io::Result<&AsyncFd<socket2::Socket>> {
        match self {
            Self::Events(events) => Ok(events),
            Self::Refused(_, error) => match error.raw_os_error() {
                Some(errno) => Err(io::Error::from_raw_os_error(errno)),
                None => Err(error.kind().into()),
            },
        }
    }
}

/// Clears `event`, so that the next wait waits for a new event. To be called when a call would block although `event` said that
/// the socket is ready.
///
/// # Errors
/// The socket has been shut down, so there will be no further event. (accept(2) on a unix socket then keeps returning `EAGAIN`.)
pub(super) fn used_up(event: &mut AsyncFdReadyGuard<'_, socket2::Socket>) -> io::Result<()> {
    if event.ready().is_read_closed() || event.ready().is_write_closed() {
        return Err(io::ErrorKind::ConnectionReset.into());
    }
    event.clear_ready();
    Ok(())
}

impl std::fmt::Debug for AsyncSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.socket().fmt(f)
    }
}
