//! Waiting without memory, and ending what waits.

use super::submit;
use io_uring::{opcode, types};
use std::io;
use std::os::fd::AsRawFd;
use std::rc::Rc;

/// Ready once `socket` has bytes to read, its peer has closed, or it is broken.
pub(crate) async fn readable(socket: Rc<socket2::Socket>) -> io::Result<()> {
    let events = (libc::POLLIN | libc::POLLRDHUP) as u32;
    let entry = opcode::PollAdd::new(types::Fd(socket.as_raw_fd()), events).build();
    // SAFETY: the entry names no memory; `socket` keeps the descriptor open; a poll without multishot completes once.
    let (result, _socket) = unsafe { submit(socket, entry) }.await;
    result.map(drop)
}

/// Makes an operation that waits on `socket`, if there is one, complete with `ECANCELED`.
pub(crate) async fn cancel(socket: Rc<socket2::Socket>) {
    let builder = types::CancelBuilder::fd(types::Fd(socket.as_raw_fd()));
    let entry = opcode::AsyncCancel2::new(builder).build();
    // SAFETY: the entry names no memory; `socket` keeps the descriptor open, so that it cannot have become another
    // connection's when the kernel looks it up; a cancel completes once.
    let (_result, _socket) = unsafe { submit(socket, entry) }.await;
    // "Nothing to cancel" and "too late" are as good: the operation completes, or has completed, by itself.
}

/// Lets every other task run once and every waiting operation start; about 2 µs.
///
/// Done by an operation that does nothing. A task that only wakes itself (as `yield_now` does) would go on before
/// anything is submitted.
pub(crate) async fn turn() {
    // The operation cannot fail; should the kernel refuse it, time has passed as well.
    let _ = tokio_uring::no_op().await;
}
