//! Waiting: until a file is readable, for a time, for other tasks. No state of its own.

use super::driver::Driver;
use super::operation::submit;
use super::sleep::Sleep;
use io_uring::{opcode, types};
use std::io;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::Duration;

/// Waits until `file` is readable or at its end.
pub(super) async fn readable<F: AsRawFd + 'static>(driver: Rc<Driver>, file: Rc<F>) -> io::Result<()> {
    let events = (libc::POLLIN | libc::POLLRDHUP) as u32;
    let entry = opcode::PollAdd::new(types::Fd(file.as_raw_fd()), events).build();
    // SAFETY: the entry names no memory; `file` keeps the descriptor open; a poll without multishot completes once.
    let (result, _file) = unsafe { submit(driver, file, entry) }.await;
    result.map(drop)
}

/// Lets every other ready task run once and submits what is queued; takes about 2 µs.
///
/// The function waits for a no-op operation. A task that merely wakes itself (as tokio's `yield_now` does) would run again
/// before anything is submitted.
pub(crate) async fn yield_now() {
    let entry = opcode::Nop::new().build();
    // SAFETY: the entry names nothing; it completes once.
    let (_result, ()) = unsafe { submit(Driver::current(), (), entry) }.await;
    // A no-op does not fail; and even if the kernel refused it, other tasks have run.
}

/// Returns a future that completes once `time` has passed, counted from this call.
pub(crate) fn sleep(time: Duration) -> impl Future<Output = ()> {
    Sleep::new(Driver::current(), time)
}
