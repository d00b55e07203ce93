//! Receiving into a buffer or into memory of the caller's.

use super::submit;
use crate::{Buffer, Receive};
use io_uring::{opcode, types};
use std::io;
use std::os::fd::AsRawFd;
use std::rc::Rc;

/// One read into `buffer`, which afterwards holds exactly the bytes of this read.
pub(crate) async fn read(socket: Rc<socket2::Socket>, mut buffer: Buffer) -> (io::Result<usize>, Buffer) {
    let fd = types::Fd(socket.as_raw_fd());
    let registered = buffer.registered_index();
    let (start, len) = buffer.lend();
    let entry = match registered {
        // A stream has no position: -1, as read(2) passes it.
        Some(index) => opcode::ReadFixed::new(fd, start, len, index).offset(u64::MAX).build(),
        None => opcode::Recv::new(fd, start, len).build(),
    };
    // SAFETY: `start` and `len` are the buffer's own memory, which does not move with it (slot of an arena or heap) and
    // is reachable through this one `Buffer` only, which the operation owns; `socket` keeps the descriptor open; neither
    // opcode completes more than once.
    let (result, (_socket, mut buffer)) = unsafe { submit((socket, buffer), entry) }.await;
    if let Ok(count) = result {
        buffer.returned(count);
    }
    (result, buffer)
}

/// One receive of at most `len_max` bytes into the front of `target`'s spare memory.
pub(crate) async fn receive<T: Receive>(
    socket: Rc<socket2::Socket>,
    mut target: T,
    len_max: usize,
) -> (io::Result<usize>, T) {
    let (start, len) = target.spare();
    let entry = opcode::Recv::new(types::Fd(socket.as_raw_fd()), start, len.min(len_max) as u32).build();
    // SAFETY: `Receive` promises that the spare memory stays valid, in place and unused by others while `target` lives,
    // and the operation owns `target`; `socket` keeps the descriptor open; a plain receive completes once.
    let (result, (_socket, target)) = unsafe { submit((socket, target), entry) }.await;
    (result, target)
}
