//! Taking a connection from a listener.

use super::submit;
use io_uring::{opcode, types};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::rc::Rc;

/// The next connection of `listener`.
///
/// Must not be dropped before it is ready: the kernel would still take a connection, and its descriptor would belong
/// to nobody for the life of the process.
pub(crate) async fn accept(listener: Rc<socket2::Socket>) -> io::Result<OwnedFd> {
    // No address is asked for: it would have to be boxed for each accept, and few ever look at it.
    let entry =
        opcode::Accept::new(types::Fd(listener.as_raw_fd()), std::ptr::null_mut(), std::ptr::null_mut())
            .flags(libc::SOCK_CLOEXEC)
            .build();
    // SAFETY: the entry names no memory; `listener` keeps the descriptor open; accept without multishot completes once.
    let (result, _listener) = unsafe { submit(listener, entry) }.await;
    // SAFETY: the kernel made this descriptor for this completion; no one else knows it.
    result.map(|fd| unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}
