//! Waiting: for readiness, for a while, for a turn.

use super::driver::Driver;
use super::operation::submit;
use super::timers::Sleep;
use io_uring::{opcode, types};
use std::io;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::Duration;

/// Ready once `file` has something to read, or never will.
pub(super) async fn readable<F: AsRawFd + 'static>(driver: Rc<Driver>, file: Rc<F>) -> io::Result<()> {
    let events = (libc::POLLIN | libc::POLLRDHUP) as u32;
    let entry = opcode::PollAdd::new(types::Fd(file.as_raw_fd()), events).build();
    // SAFETY: the entry names no memory; `file` keeps the descriptor open; a poll without multishot completes once.
    let (result, _file) = unsafe { submit(driver, file, entry) }.await;
    result.map(drop)
}

/// Lets every other task run once and every waiting operation start; about 2 µs.
///
/// Done by an operation that does nothing. A task that only wakes itself (as `yield_now` does) would go on before
/// anything is submitted.
pub(crate) async fn yield_now() {
    let entry = opcode::Nop::new().build();
    // SAFETY: the entry names nothing; it completes once.
    let (_result, ()) = unsafe { submit(Driver::current(), (), entry) }.await;
    // The operation cannot fail; should the kernel refuse it, time has passed as well.
}

/// Waits for `time`.
pub(crate) fn sleep(time: Duration) -> impl Future<Output = ()> {
    Sleep::new(Driver::current(), time)
}
