//! Datagrams: received and sent when the socket can.
#![expect(
    unsafe_code,
    reason = "receives into initialised memory through an interface for uninitialised one"
)]

use super::watched::{Watched, used_up};
use socket2::SockAddr;
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use tokio::io::Interest;

/// A bound socket of datagrams.
#[derive(Debug)]
pub(crate) struct DatagramSocket {
    watched: Watched,
}

impl DatagramSocket {
    pub(crate) fn new(socket: socket2::Socket) -> Self {
        Self { watched: Watched::new(socket, Interest::READABLE | Interest::WRITABLE) }
    }

    pub(crate) fn id(&self) -> RawFd {
        self.watched.socket().as_raw_fd()
    }

    /// Receives one datagram into the front of `room`; what does not fit is lost.
    pub(crate) async fn receive(&self, room: &mut [u8]) -> io::Result<(usize, Option<SocketAddr>)> {
        loop {
            let mut readiness = self.watched.events()?.readable().await?;
            // SAFETY: initialised bytes are as good as uninitialised ones, and the call writes only initialised bytes.
            let room = unsafe { &mut *(std::ptr::from_mut(room) as *mut [MaybeUninit<u8>]) };
            match self.watched.socket().recv_from_with_flags(room, libc::MSG_DONTWAIT) {
                Ok((count, sender)) => return Ok((count, sender.as_socket())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => used_up(&mut readiness)?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends `bytes` as one datagram.
    pub(crate) async fn send(&self, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
        let (to, flags) = (SockAddr::from(to), libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL);
        loop {
            match self.watched.socket().send_to_with_flags(bytes, &to, flags) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let mut readiness = self.watched.events()?.writable().await?;
                    used_up(&mut readiness)?;
                }
                Err(error) => return Err(error),
            }
        }
    }
}
