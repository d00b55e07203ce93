//! Sending bytes: one buffer, or many pieces gathered by the kernel.

use super::{Pieces, submit};
use io_uring::{opcode, types};
use std::io;
use std::os::fd::AsRawFd;
use std::rc::Rc;

/// A broken connection is a result, not a signal; and the kernel goes on by itself when the peer makes room, so that
/// a slow reader costs no completions.
const FLAGS: i32 = libc::MSG_NOSIGNAL | libc::MSG_WAITALL;

/// Sends `bytes[from..to]`; the result may be short.
pub(crate) async fn send(
    socket: Rc<socket2::Socket>,
    bytes: Vec<u8>,
    from: usize,
    to: usize,
) -> (io::Result<usize>, Vec<u8>) {
    let slice = &bytes[from..to];
    let entry = opcode::Send::new(types::Fd(socket.as_raw_fd()), slice.as_ptr(), slice.len() as u32)
        .flags(FLAGS)
        .build();
    // SAFETY: the slice lies in the heap memory of `bytes`, which the operation owns and which does not move with it;
    // `socket` keeps the descriptor open; a plain send completes once.
    let (result, (_socket, bytes)) = unsafe { submit((socket, bytes), entry) }.await;
    (result, bytes)
}

/// The kernel's description of a gathering send, kept so that its memory is reused. Valid only inside [`gather`].
pub(crate) struct Vectors {
    header: libc::msghdr,
    list: Vec<libc::iovec>,
}

impl Default for Vectors {
    fn default() -> Self {
        // SAFETY: a msghdr is integers and pointers, for all of which zero is a value.
        let header = unsafe { std::mem::zeroed() };
        Self { header, list: Vec::new() }
    }
}

impl Vectors {
    /// Describes at most `len_max` bytes of `pieces` behind the first `skip`; returns how many.
    fn describe<P: Pieces>(&mut self, pieces: &P, mut skip: usize, len_max: usize) -> usize {
        self.list.clear();
        let mut len = 0;
        let list = &mut self.list;
        pieces.each(&mut |piece| {
            let passed = skip.min(piece.len());
            skip -= passed;
            let rest = &piece[passed..];
            let rest = &rest[..rest.len().min(len_max - len)];
            // The kernel takes UIO_MAXIOV vectors; what does not fit goes with the next operation.
            if !rest.is_empty() && list.len() < libc::UIO_MAXIOV as usize {
                len += rest.len();
                list.push(libc::iovec { iov_base: rest.as_ptr().cast_mut().cast(), iov_len: rest.len() });
            }
        });
        self.header.msg_iov = self.list.as_mut_ptr();
        self.header.msg_iovlen = self.list.len();
        len
    }
}

/// Sends at most `len_max` bytes of `pieces` behind the first `skip`; the result may be short, and is 0 if there is
/// nothing left.
pub(crate) async fn gather<P: Pieces>(
    socket: Rc<socket2::Socket>,
    pieces: P,
    mut vectors: Box<Vectors>,
    skip: usize,
    len_max: usize,
) -> (io::Result<usize>, P, Box<Vectors>) {
    if vectors.describe(&pieces, skip, len_max) == 0 {
        return (Ok(0), pieces, vectors);
    }
    let header: *const libc::msghdr = &raw const vectors.header;
    let entry = opcode::SendMsg::new(types::Fd(socket.as_raw_fd()), header).flags(FLAGS as u32).build();
    // SAFETY: the header lies in the box and its list on the heap, neither of which moves with `vectors`; the vectors name
    // bytes that `Pieces` promises to keep in place and unchanged while `pieces` lives; the operation owns all three, and
    // `socket` keeps the descriptor open; a plain sendmsg completes once.
    let (result, (_socket, pieces, vectors)) = unsafe { submit((socket, pieces, vectors), entry) }.await;
    (result, pieces, vectors)
}
