//! Receiving into the caller's memory, for long values. The operation owns that memory meanwhile.

use super::handle::Handle;
use super::operation::submit;
use crate::Receive;
use io_uring::{opcode, types};
use std::io;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::rc::Rc;

/// Receives once, at most `len_max` bytes, into the front of `target`'s spare memory. An interrupt cancels the receive.
pub(crate) async fn receive<T: Receive>(
    connection: &Handle,
    mut target: T,
    len_max: usize,
) -> (io::Result<usize>, T) {
    let socket = Rc::clone(connection.socket());
    let (start, len) = target.spare();
    let entry = opcode::Recv::new(types::Fd(socket.as_raw_fd()), start, len.min(len_max) as u32).build();
    // SAFETY: `Receive` promises that the spare memory stays valid, in place and unused by others while `target` lives,
    // and the operation owns `target`; `socket` keeps the descriptor open; a plain receive completes once.
    let mut operation = unsafe { submit(Rc::clone(connection.driver()), (socket, target), entry) };
    let (result, (_socket, target)) = connection
        .receive_directly(|cx, is_interrupted| {
            if is_interrupted {
                operation.cancel();
            }
            Pin::new(&mut operation).poll(cx)
        })
        .await;
    (result, target)
}
