//! Stops and traces a server's threads from outside with ptrace, so that the server needs no test hooks.
//!
//! To the kernel a tracer is a thread: the thread that seized another must make all calls about it.

use nix::sys::ptrace::{self, Options};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::harness::Server;

/// The thread of a server's ring.
pub fn ring_thread(server: &Server, ring: usize) -> Pid {
    let name = format!("ring-{ring}");
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
    let id = tasks
        .map(|task| task.unwrap().path())
        .find(|task| std::fs::read_to_string(task.join("comm")).unwrap().trim_end() == name)
        .expect("a ring's thread");
    Pid::from_raw(id.file_name().unwrap().to_str().unwrap().parse().unwrap())
}

/// Stops `thread` and makes this thread its tracer.
pub fn seize(thread: Pid) {
    ptrace::seize(thread, Options::PTRACE_O_TRACESYSGOOD).unwrap();
    ptrace::interrupt(thread).unwrap();
    assert!(matches!(wait(thread), WaitStatus::PtraceEvent(..)));
}

/// Waits for the next stop of `thread`.
pub fn wait(thread: Pid) -> WaitStatus {
    waitpid(thread, Some(WaitPidFlag::__WALL)).unwrap()
}
