//! Datagram sockets (UDP). A [`DatagramSocket`] belongs to no ring yet; [`Datagrams`] and its senders belong to one ring, and are
//! used by one task each.

use crate::backend::Backend;
use crate::completion;
use crate::readiness;
use socket2::{Domain, Protocol, SockAddr, Type};
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::{AsRawFd, RawFd};

/// Length of the longest datagram over IP, rounded up, bytes.
const DATAGRAM_BYTES_MAX: usize = 64 * 1024;

/// A bound datagram socket, not yet on a ring. It may be made on one thread and put on another thread's ring.
#[derive(Debug)]
pub struct DatagramSocket {
    socket: socket2::Socket,
    local: SocketAddr,
}

impl DatagramSocket {
    /// Binds `count` sockets to one address; the kernel spreads senders over them. Port 0 means any free port, the same for all.
    ///
    /// # Errors
    /// Any error of bind(2). `EADDRINUSE` comes even if the other socket has set `SO_REUSEPORT`, because an exclusive bind is
    /// tried first.
    pub fn bind_each(address: SocketAddr, count: usize) -> io::Result<Vec<Self>> {
        let exclusive = unbound(address)?;
        exclusive.bind(&SockAddr::from(address))?;
        let mut bound = address;
        if let Some(local) = exclusive.local_addr()?.as_socket() {
            bound.set_port(local.port());
        }
        // Unlike listeners, datagram sockets that share an address cannot be bound while an exclusive one is.
        drop(exclusive);
        (0..count)
            .map(|_| {
                let socket = unbound(bound)?;
                socket.set_reuse_port(true)?;
                socket.bind(&SockAddr::from(bound))?;
                Ok(Self { socket, local: bound })
            })
            .collect()
    }

    /// The bound address, with the port the kernel chose.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The number of the file descriptor, which no other open socket has.
    pub fn id(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Puts the socket on this thread's ring.
    ///
    /// # Errors
    /// The kernel cannot watch one more socket.
    ///
    /// # Panics
    /// Outside of [`crate::Ring::run`].
    pub fn open(self) -> io::Result<Datagrams> {
        let socket = match Backend::current() {
            Backend::Uring => Side::Completion(completion::Datagrams::new(self.socket)?),
            Backend::Epoll => Side::Readiness(readiness::Datagrams::new(self.socket)?),
        };
        Ok(Datagrams { socket, room: vec![0; DATAGRAM_BYTES_MAX], filled: 0 })
    }
}

fn unbound(address: SocketAddr) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// A datagram socket on this thread's ring, which receives one datagram at a time. To send, use a [`Datagrams::sender`].
///
/// As everywhere in this crate, a future must not be dropped before it is ready. The memory to receive into would be lost.
#[derive(Debug)]
pub struct Datagrams {
    socket: Side,
    /// The memory that datagrams are received into.
    room: Vec<u8>,
    /// Length of the last datagram, which is at the front of `room`.
    filled: usize,
}

/// The socket in the form that the thread's backend needs.
#[derive(Debug)]
enum Side {
    Completion(completion::Datagrams),
    Readiness(readiness::Datagrams),
}

impl Datagrams {
    /// The number of the file descriptor, which no other open socket has.
    pub fn id(&self) -> RawFd {
        match &self.socket {
            Side::Completion(socket) => socket.id(),
            Side::Readiness(socket) => socket.id(),
        }
    }

    /// Waits for the next datagram and returns its sender. [`Datagrams::bytes`] holds the datagram until the next call.
    ///
    /// # Errors
    /// Any error of recvmsg(2), which may be a peer's answer to an earlier send (`ECONNREFUSED`).
    pub async fn receive(&mut self) -> io::Result<SocketAddr> {
        let (count, sender) = match &mut self.socket {
            Side::Completion(socket) => socket.receive(&mut self.room).await?,
            Side::Readiness(socket) => socket.receive(&mut self.room).await?,
        };
        self.filled = count;
        Ok(sender)
    }

    /// The last datagram that [`Datagrams::receive`] returned; empty before the first.
    pub fn bytes(&self) -> &[u8] {
        &self.room[..self.filled]
    }

    /// Returns a sender on the same socket, which may send while `self` waits for a datagram.
    pub fn sender(&self) -> DatagramSender {
        let socket = match &self.socket {
            Side::Completion(socket) => Side::Completion(socket.share()),
            Side::Readiness(socket) => Side::Readiness(socket.share()),
        };
        DatagramSender(socket)
    }
}

/// Sends from a datagram socket on this thread's ring, one at a time.
#[derive(Debug)]
pub struct DatagramSender(Side);

impl DatagramSender {
    /// Sends `bytes[range]` as one datagram to `to`; returns `bytes`, for reuse.
    ///
    /// # Errors
    /// Any error of sendmsg(2).
    pub async fn send(
        &mut self,
        bytes: Vec<u8>,
        range: Range<usize>,
        to: SocketAddr,
    ) -> (io::Result<()>, Vec<u8>) {
        match &mut self.0 {
            Side::Completion(socket) => socket.send(bytes, range, to).await,
            Side::Readiness(socket) => (socket.send(&bytes[range], to).await.map(drop), bytes),
        }
    }
}
