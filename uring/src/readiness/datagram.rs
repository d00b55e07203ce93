//! A datagram socket on epoll: each call receives or sends now, or waits until the socket is ready. A handle belongs to one task
//! of the ring.
#![expect(unsafe_code, reason = "what is watched must stay the same socket")]

use super::pace::CoopBudget;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A handle on a datagram socket that epoll watches.
#[derive(Debug)]
pub(crate) struct Datagrams {
    watched: Rc<AsyncFd<UdpSocket>>,
    pace: CoopBudget,
}

impl Datagrams {
    /// Registers `socket` with epoll.
    ///
    /// # Errors
    /// `ENOSPC`, `ENOMEM`: epoll refuses one more socket.
    ///
    /// # Panics
    /// Outside of [`crate::Ring::run`].
    pub(crate) fn new(socket: socket2::Socket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        // SAFETY: a `UdpSocket` owns its descriptor, which is open and the same until the value is dropped, and nothing here
        // replaces the value.
        let watched = unsafe { AsyncFd::register(UdpSocket::from(socket)) }?;
        let watched = Rc::new(watched);
        Ok(Self { watched, pace: CoopBudget::default() })
    }

    pub(crate) fn id(&self) -> RawFd {
        self.watched.get_ref().as_raw_fd()
    }

    /// Another handle on the same socket, so that one task can send while another receives.
    pub(crate) fn share(&self) -> Self {
        Self { watched: Rc::clone(&self.watched), pace: CoopBudget::default() }
    }

    /// Waits for one datagram and receives it into `room`; bytes that do not fit are lost. Returns the number of bytes in
    /// `room`, and the sender.
    pub(crate) async fn receive(&self, room: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.pace.step().await;
        self.watched.async_io(Interest::READABLE, |socket| socket.recv_from(room)).await
    }

    /// Sends `bytes` as one datagram to `to`; returns how many bytes were sent.
    pub(crate) async fn send(&self, bytes: &[u8], to: SocketAddr) -> io::Result<usize> {
        self.pace.step().await;
        self.watched.async_io(Interest::WRITABLE, |socket| socket.send_to(bytes, to)).await
    }
}
