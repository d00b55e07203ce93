//! Features that the kernel does not list, tried on a socket pair, on the ring that `probe` made.
#![expect(unsafe_code, reason = "entries are trusted by the kernel interface")]

use super::pool::Pool;
use crate::provided::GROUP;
use io_uring::{IoUring, cqueue, opcode, squeue, types};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

/// Length of a send that no socket buffer takes as a whole, bytes.
const TOO_LONG: usize = 1 << 20;

/// Pushes `entry` to the submission queue, which must have room.
pub(super) fn push(ring: &mut IoUring, entry: &squeue::Entry) {
    // SAFETY: an entry names memory of the function that pushes it, which waits for the completion before it returns.
    let pushed = unsafe { ring.submission().push(entry) };
    assert!(pushed.is_ok(), "a new queue has room");
}

/// True if a complete send posts no completion, and a short send posts one that says how much was sent.
pub(super) fn has_silent_sends(ring: &mut IoUring) -> io::Result<bool> {
    if !ring.params().is_feature_skip_cqe_on_success() {
        return Ok(false);
    }
    let (ours, mut theirs) = UnixStream::pair()?;
    theirs.set_nonblocking(true)?;
    let bytes = vec![7; TOO_LONG];
    let send = |len: usize| {
        opcode::Send::new(types::Fd(ours.as_raw_fd()), bytes.as_ptr(), len as u32)
            .flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL | libc::MSG_DONTWAIT)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
    };
    push(ring, &send(1));
    ring.submit()?;
    let is_silent = ring.completion().next().is_none();
    push(ring, &send(TOO_LONG));
    // The send does not block, so it completes at submission.
    ring.submit_and_wait(0)?;
    let said: Vec<i32> = ring.completion().map(|completion| completion.result()).collect();
    let mut there = 0;
    let mut chunk = vec![0; 64 << 10];
    while let Ok(count @ 1..) = theirs.read(&mut chunk) {
        there += count;
    }
    Ok(is_silent && there > 1 && said == [there as i32 - 1])
}

/// True if multishot receive works.
pub(super) fn has_multishot(ring: &mut IoUring) -> io::Result<bool> {
    let (ours, theirs) = UnixStream::pair()?;
    let pool = Pool::register(ring, 4, 4096)?;
    push(ring, &opcode::RecvMulti::new(types::Fd(ours.as_raw_fd()), GROUP).build());
    let mut has_come_twice = true;
    for _ in 0..2 {
        (&theirs).write_all(b"x")?;
        ring.submit_and_wait(1)?;
        let completion = ring.completion().next();
        has_come_twice &=
            completion.is_some_and(|completion| completion.result() == 1 && cqueue::more(completion.flags()));
    }
    if has_come_twice {
        drop(theirs);
        ring.submit_and_wait(1)?;
        ring.completion().for_each(drop);
    }
    ring.submitter().unregister_buf_ring(GROUP)?;
    drop(pool);
    Ok(has_come_twice)
}
