//! One datagram in, one out, with the address of the other end.

use super::submit;
use io_uring::{opcode, types};
use socket2::{SockAddr, SockAddrStorage};
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::rc::Rc;

/// The kernel's description of a datagram and the address beside it, kept so that their memory is reused. Boxed by its
/// owner: the header names its neighbours by address.
pub(crate) struct Envelope {
    header: libc::msghdr,
    vector: libc::iovec,
    address: SockAddrStorage,
    address_bytes: libc::socklen_t,
}

impl Default for Envelope {
    fn default() -> Self {
        // SAFETY: a msghdr is integers and pointers, for all of which zero is a value.
        let header = unsafe { std::mem::zeroed() };
        let vector = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        Self { header, vector, address: SockAddrStorage::zeroed(), address_bytes: 0 }
    }
}

impl Envelope {
    /// Describes `bytes`, and room for `address_bytes` of the address.
    fn describe(&mut self, start: *mut u8, len: usize, address_bytes: libc::socklen_t) {
        self.vector = libc::iovec { iov_base: start.cast(), iov_len: len };
        self.header.msg_name = (&raw mut self.address).cast();
        self.header.msg_namelen = address_bytes;
        self.header.msg_iov = &raw mut self.vector;
        self.header.msg_iovlen = 1;
        self.header.msg_flags = 0;
    }

    /// Takes the sender of the datagram that was received last.
    pub(crate) fn take_address(&mut self) -> Option<SocketAddr> {
        let address = std::mem::replace(&mut self.address, SockAddrStorage::zeroed());
        let len = self.address_bytes.min(address.size_of());
        // SAFETY: the kernel wrote an address of this length, which is inside the storage; and all bytes are initialised,
        // since they were zeros before.
        unsafe { SockAddr::new(address, len) }.as_socket()
    }

    /// Whether the datagram that was received last was longer than its room.
    pub(crate) fn is_cut(&self) -> bool {
        self.header.msg_flags & libc::MSG_TRUNC != 0
    }
}

/// Receives one datagram into `bytes`, all of which may be overwritten.
pub(crate) async fn receive_datagram(
    socket: Rc<socket2::Socket>,
    mut bytes: Vec<u8>,
    mut envelope: Box<Envelope>,
) -> (io::Result<usize>, Vec<u8>, Box<Envelope>) {
    let room = envelope.address.size_of();
    envelope.describe(bytes.as_mut_ptr(), bytes.len(), room);
    let entry = opcode::RecvMsg::new(types::Fd(socket.as_raw_fd()), &raw mut envelope.header).build();
    // SAFETY: header, vector and address lie in the box, the bytes on the vector's heap; none of them moves when its owner
    // is moved, and the operation owns both; `socket` keeps the descriptor open; a plain recvmsg completes once.
    let (result, (_socket, bytes, mut envelope)) = unsafe { submit((socket, bytes, envelope), entry) }.await;
    envelope.address_bytes = envelope.header.msg_namelen;
    (result, bytes, envelope)
}

/// Sends `bytes[range]` as one datagram to `to`.
pub(crate) async fn send_datagram(
    socket: Rc<socket2::Socket>,
    mut bytes: Vec<u8>,
    range: Range<usize>,
    mut envelope: Box<Envelope>,
    to: SocketAddr,
) -> (io::Result<usize>, Vec<u8>, Box<Envelope>) {
    let to = SockAddr::from(to);
    let address_bytes = to.len();
    envelope.address = to.as_storage();
    let part = &mut bytes[range];
    envelope.describe(part.as_mut_ptr(), part.len(), address_bytes);
    let entry = opcode::SendMsg::new(types::Fd(socket.as_raw_fd()), &raw const envelope.header)
        .flags(libc::MSG_NOSIGNAL as u32)
        .build();
    // SAFETY: as in `receive_datagram`; the kernel only reads.
    let (result, (_socket, bytes, envelope)) = unsafe { submit((socket, bytes, envelope), entry) }.await;
    (result, bytes, envelope)
}
