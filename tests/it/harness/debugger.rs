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
    *threads(server, |other| other == name).first().expect("a ring's thread")
}

/// The threads of a server whose names are such.
pub fn threads(server: &Server, is_such: impl Fn(&str) -> bool) -> Vec<Pid> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
    tasks
        .map(|task| task.unwrap().path())
        .filter(|task| is_such(std::fs::read_to_string(task.join("comm")).unwrap().trim_end()))
        .map(|task| Pid::from_raw(task.file_name().unwrap().to_str().unwrap().parse().unwrap()))
        .collect()
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
