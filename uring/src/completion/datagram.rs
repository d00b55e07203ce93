//! Datagrams, with the address of the other end. A handle belongs to one task of the ring; an operation owns its memory.
//!
//! No receive is left pending in the kernel: it would hold the port for some milliseconds after the process is gone (see
//! `accept`).

use super::accept::Watch;
use super::driver::Driver;
use super::operation::submit;
use super::wait::readable;
use io_uring::{opcode, types};
use socket2::{SockAddr, SockAddrStorage};
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;

/// The `msghdr`, `iovec` and address of one datagram, kept for reuse. The owner boxes it, because the header points to the other
/// two.
struct MsgHdr {
    header: libc::msghdr,
    vector: libc::iovec,
    address: SockAddrStorage,
    address_bytes: libc::socklen_t,
}

impl Default for MsgHdr {
    fn default() -> Self {
        // SAFETY: a msghdr is integers and pointers, for all of which zero is a value.
        let header = unsafe { std::mem::zeroed() };
        let vector = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        Self { header, vector, address: SockAddrStorage::zeroed(), address_bytes: 0 }
    }
}

impl MsgHdr {
    /// Makes the header point to `len` bytes at `start`, and to the first `address_bytes` bytes of `address`.
    fn describe(&mut self, start: *mut u8, len: usize, address_bytes: libc::socklen_t) {
        self.vector = libc::iovec { iov_base: start.cast(), iov_len: len };
        self.header.msg_name = (&raw mut self.address).cast();
        self.header.msg_namelen = address_bytes;
        self.header.msg_iov = &raw mut self.vector;
        self.header.msg_iovlen = 1;
        self.header.msg_flags = 0;
    }

    /// Takes the address of the last datagram's sender; `None` if it is not an IP address.
    fn take_address(&mut self) -> Option<SocketAddr> {
        let address = std::mem::replace(&mut self.address, SockAddrStorage::zeroed());
        let len = self.address_bytes.min(address.size_of());
        // SAFETY: the kernel wrote an address of this length, which is inside the storage; and all bytes are initialised,
        // since they were zeros before.
        unsafe { SockAddr::new(address, len) }.as_socket()
    }

    /// True if the last datagram received was longer than its memory.
    fn is_cut(&self) -> bool {
        self.header.msg_flags & libc::MSG_TRUNC != 0
    }
}

/// A handle on a datagram socket, for one receive and one send at a time.
pub(crate) struct Datagrams {
    socket: Rc<socket2::Socket>,
    watch: Rc<Watch>,
    /// The header for receives; `None` while a receive uses it, and before the first.
    received: Option<Box<MsgHdr>>,
    /// The header for sends; `None` while a send uses it, and before the first.
    sent: Option<Box<MsgHdr>>,
}

impl std::fmt::Debug for Datagrams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Datagrams").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl Datagrams {
    /// Makes a handle on `socket`, for this thread's ring.
    ///
    /// # Errors
    /// Out of descriptors or memory.
    pub(crate) fn new(socket: socket2::Socket) -> io::Result<Self> {
        let watch = Rc::new(Watch::new(&socket)?);
        Ok(Self { socket: Rc::new(socket), watch, received: None, sent: None })
    }

    pub(crate) fn id(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Another handle on the same socket, so that one task can send while another receives.
    pub(crate) fn share(&self) -> Self {
        Self { socket: Rc::clone(&self.socket), watch: Rc::clone(&self.watch), received: None, sent: None }
    }

    /// Waits for one datagram and receives it into `room`; a datagram longer than `room` is discarded. Returns the length of the
    /// datagram, bytes, and its sender.
    pub(crate) async fn receive(&mut self, room: &mut Vec<u8>) -> io::Result<(usize, SocketAddr)> {
        loop {
            let message = self.received.take().unwrap_or_default();
            let (result, bytes, mut message) =
                receive_now(Rc::clone(&self.socket), std::mem::take(room), message).await;
            *room = bytes;
            // A datagram that was cut off is longer than any datagram over IP. It is ignored.
            let sender = if message.is_cut() { None } else { message.take_address() };
            self.received = Some(message);
            match (result, sender) {
                (Ok(count), Some(sender)) => return Ok((count, sender)),
                (Ok(_), None) => {}
                (Err(error), _) if error.kind() == io::ErrorKind::WouldBlock => {
                    readable(Driver::current(), Rc::clone(&self.watch)).await?;
                }
                (Err(error), _) => return Err(error),
            }
        }
    }

    /// Sends `bytes[range]` as one datagram to `to`, and returns `bytes`.
    pub(crate) async fn send(
        &mut self,
        mut bytes: Vec<u8>,
        range: Range<usize>,
        to: SocketAddr,
    ) -> (io::Result<()>, Vec<u8>) {
        let socket = Rc::clone(&self.socket);
        let mut message = self.sent.take().unwrap_or_default();
        let to = SockAddr::from(to);
        let address_bytes = to.len();
        message.address = to.as_storage();
        let part = &mut bytes[range];
        message.describe(part.as_mut_ptr(), part.len(), address_bytes);
        let entry = opcode::SendMsg::new(types::Fd(socket.as_raw_fd()), &raw const message.header)
            .flags(libc::MSG_NOSIGNAL as u32)
            .build();
        // SAFETY: as in `receive_now`; the kernel only reads.
        let (result, (_socket, bytes, message)) =
            unsafe { submit(Driver::current(), (socket, bytes, message), entry) }.await;
        self.sent = Some(message);
        (result.map(drop), bytes)
    }
}

/// Receives one datagram into `bytes`, all of which may be overwritten; fails with `WouldBlock` if none is there.
async fn receive_now(
    socket: Rc<socket2::Socket>,
    mut bytes: Vec<u8>,
    mut message: Box<MsgHdr>,
) -> (io::Result<usize>, Vec<u8>, Box<MsgHdr>) {
    let room = message.address.size_of();
    message.describe(bytes.as_mut_ptr(), bytes.len(), room);
    let entry = opcode::RecvMsg::new(types::Fd(socket.as_raw_fd()), &raw mut message.header)
        .flags(libc::MSG_DONTWAIT as u32)
        .build();
    // SAFETY: header, vector and address lie in the box, the bytes on the vector's heap; none of them moves when its owner
    // is moved, and the operation owns both; `socket` keeps the descriptor open; a plain recvmsg completes once.
    let (result, (_socket, bytes, mut message)) =
        unsafe { submit(Driver::current(), (socket, bytes, message), entry) }.await;
    message.address_bytes = message.header.msg_namelen;
    (result, bytes, message)
}
