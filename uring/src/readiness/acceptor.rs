//! Accepting connections on epoll. An [`Acceptor`] belongs to its ring's thread.

use super::pace::CoopBudget;
use super::watched::{AsyncSocket, used_up};
use crate::sys::is_exhaustion;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io;
use std::os::fd::AsFd;
use tokio::io::Interest;

/// A listening socket on epoll.
#[derive(Debug)]
pub(crate) struct Acceptor {
    watched: AsyncSocket,
    pace: CoopBudget,
}

impl Acceptor {
    pub(crate) fn new(socket: socket2::Socket) -> Self {
        // accept(2) has no MSG_DONTWAIT. The call fails only for an invalid descriptor.
        let _ = socket.set_nonblocking(true);
        Self { watched: AsyncSocket::new(socket, Interest::READABLE), pace: CoopBudget::default() }
    }

    pub(crate) fn socket(&self) -> &socket2::Socket {
        self.watched.socket()
    }

    /// Waits for the next connection and accepts it. After a few connections that were already there, lets other tasks run first.
    pub(crate) async fn accept(&self) -> io::Result<socket2::Socket> {
        self.pace.step().await;
        loop {
            let mut readiness = self.watched.events()?.readable().await?;
            match self.accept_now() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    used_up(&mut readiness)?;
                    self.pace.has_waited();
                }
                // The kernel returns this error before it checks whether a connection waits.
                Err(error) if is_exhaustion(&error) && !self.is_waited_for() => used_up(&mut readiness)?,
                result => return result,
            }
        }
    }

    /// Accepts a connection that has arrived; fails with `WouldBlock` if there is none.
    pub(crate) fn accept_now(&self) -> io::Result<socket2::Socket> {
        self.socket().accept().map(|(socket, _)| socket)
    }

    /// True if a connection waits to be accepted, or the listener has been shut down.
    fn is_waited_for(&self) -> bool {
        let mut watched = [PollFd::new(self.socket().as_fd(), PollFlags::POLLIN)];
        poll(&mut watched, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }
}
