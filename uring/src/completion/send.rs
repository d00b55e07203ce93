//! Sending bytes: one buffer, or many pieces gathered by the kernel. Operations own the bytes; no other state.

use super::driver::Driver;
use super::operation::submit;
use crate::GatherBuf;
use crate::memory::{IoVecs, OPERATION_BYTES_MAX};
use crate::sys::is_interrupted;
use io_uring::{opcode, types};
use std::io;
use std::os::fd::AsRawFd;
use std::rc::Rc;

/// Flags of the sends in this file: no SIGPIPE, and the kernel itself continues a short send when the peer makes room, so that a
/// slow reader costs no further completions.
const FLAGS: i32 = libc::MSG_NOSIGNAL | libc::MSG_WAITALL;

/// Sends what follows the first `sent` bytes of `bytes`, however long the peer takes, and returns `bytes`.
pub(crate) async fn send(
    driver: &Rc<Driver>,
    socket: &Rc<socket2::Socket>,
    mut bytes: Vec<u8>,
    mut sent: usize,
) -> (io::Result<()>, Vec<u8>) {
    while sent < bytes.len() {
        let slice = &bytes[sent..bytes.len().min(sent + OPERATION_BYTES_MAX)];
        let entry = opcode::Send::new(types::Fd(socket.as_raw_fd()), slice.as_ptr(), slice.len() as u32)
            .flags(FLAGS)
            .build();
        let result;
        // SAFETY: the slice lies in the heap memory of `bytes`, which the operation owns and which does not move with it;
        // `socket` keeps the descriptor open; a plain send completes once.
        (result, (_, bytes)) = unsafe { submit(Rc::clone(driver), (Rc::clone(socket), bytes), entry) }.await;
        match result {
            // The send may be short.
            Ok(count) => sent += count,
            Err(error) if is_interrupted(&error) => {}
            Err(error) => return (Err(error), bytes),
        }
    }
    (Ok(()), bytes)
}

/// Sends at most `len_max` bytes of `pieces`, beginning after the first `skip` bytes. Returns how many bytes were sent, which
/// may be fewer than asked; 0 if nothing is left to send.
pub(crate) async fn gather<P: GatherBuf>(
    driver: &Rc<Driver>,
    socket: Rc<socket2::Socket>,
    pieces: P,
    mut vectors: Box<IoVecs>,
    skip: usize,
    len_max: usize,
) -> (io::Result<usize>, P, Box<IoVecs>) {
    if vectors.describe(&pieces, skip, len_max) == 0 {
        return (Ok(0), pieces, vectors);
    }
    let header = vectors.header();
    let entry = opcode::SendMsg::new(types::Fd(socket.as_raw_fd()), header).flags(FLAGS as u32).build();
    // SAFETY: the header lies in the box and its list on the heap, neither of which moves with `vectors`; the vectors name
    // bytes that `GatherBuf` promises to keep in place and unchanged while `pieces` lives; the operation owns all three, and
    // `socket` keeps the descriptor open; a plain sendmsg completes once.
    let (result, (_socket, pieces, vectors)) =
        unsafe { submit(Rc::clone(driver), (socket, pieces, vectors), entry) }.await;
    (result, pieces, vectors)
}
