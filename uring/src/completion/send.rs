//! Sending bytes: one buffer, or many pieces gathered by the kernel.

use super::submit;
use crate::Pieces;
use crate::memory::Vectors;
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
    let header = vectors.header();
    let entry = opcode::SendMsg::new(types::Fd(socket.as_raw_fd()), header).flags(FLAGS as u32).build();
    // SAFETY: the header lies in the box and its list on the heap, neither of which moves with `vectors`; the vectors name
    // bytes that `Pieces` promises to keep in place and unchanged while `pieces` lives; the operation owns all three, and
    // `socket` keeps the descriptor open; a plain sendmsg completes once.
    let (result, (_socket, pieces, vectors)) = unsafe { submit((socket, pieces, vectors), entry) }.await;
    (result, pieces, vectors)
}
