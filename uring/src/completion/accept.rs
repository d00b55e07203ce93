//! Accepting connections, and the epoll instance through which a task waits for a listener or a datagram socket. An [`Acceptor`]
//! belongs to its ring's thread.
//!
//! An operation holds a reference to its file until the kernel has torn the ring down, which is some milliseconds after a
//! killed process is gone. A listener held that long would accept connections that nobody serves. So the operation polls an
//! epoll instance that watches the listener, and holds only the instance; the accept itself is a system call.

use super::driver::Driver;
use super::wait::readable;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use std::cell::Cell;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;

/// An epoll instance that is readable whenever the watched socket is, and does not keep that socket open.
#[derive(Debug)]
pub(super) struct Watch(Epoll);

impl Watch {
    /// Makes an epoll instance that watches `socket`.
    ///
    /// # Errors
    /// Out of descriptors or memory.
    pub(super) fn new(socket: &socket2::Socket) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(socket, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
        Ok(Self(epoll))
    }
}

impl AsRawFd for Watch {
    fn as_raw_fd(&self) -> RawFd {
        self.0.0.as_raw_fd()
    }
}

/// A listening socket on io_uring. The kernel holds no reference to it while a task waits for connections.
#[derive(Debug)]
pub(crate) struct Acceptor {
    socket: socket2::Socket,
    watch: Rc<Watch>,
    /// True once [`Acceptor::will_close`] was called. A waiting [`Acceptor::accept`] then fails when it is woken.
    is_closed: Cell<bool>,
}

impl Acceptor {
    /// Makes the listening `socket` non-blocking, and watches it.
    ///
    /// # Errors
    /// Out of descriptors or memory.
    pub(crate) fn new(socket: socket2::Socket) -> io::Result<Self> {
        // accept(2) has no MSG_DONTWAIT.
        socket.set_nonblocking(true)?;
        let watch = Rc::new(Watch::new(&socket)?);
        Ok(Self { socket, watch, is_closed: Cell::new(false) })
    }

    pub(crate) fn socket(&self) -> &socket2::Socket {
        &self.socket
    }

    /// Waits for the next connection and accepts it. Polls even if a connection is already there, so that other tasks run in
    /// between. Fails with `NotConnected` after [`Acceptor::will_close`].
    pub(crate) async fn accept(&self) -> io::Result<socket2::Socket> {
        loop {
            readable(Driver::current(), Rc::clone(&self.watch)).await?;
            if self.is_closed.get() {
                return Err(io::ErrorKind::NotConnected.into());
            }
            match self.accept_now() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
        }
    }

    /// Accepts a connection that has arrived; fails with `WouldBlock` if there is none.
    pub(crate) fn accept_now(&self) -> io::Result<socket2::Socket> {
        self.socket.accept().map(|(socket, _)| socket)
    }

    /// Makes a waiting [`Acceptor::accept`] fail when the shutdown of the listener wakes it; to be called before the shutdown.
    pub(crate) fn will_close(&self) {
        self.is_closed.set(true);
    }
}
