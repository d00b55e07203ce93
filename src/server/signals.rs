//! Signals of the process. All threads block them; only the main thread waits for them, in [`next`].

use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;

/// What a signal asks the main thread to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Stop, on INT or TERM.
    Stop,
    /// Stop gracefully, on USR1.
    StopGracefully,
    /// Read the password file and the certificates again, on HUP.
    Reload,
}

const HANDLED: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGUSR1, Signal::SIGHUP];

/// Blocks the signals in [`HANDLED`], so that [`next`] gets them. Must be called before other threads are started, since they
/// inherit the mask.
///
/// Also blocks SIGXFSZ, which says that a file would become longer than `ulimit -f` allows. The failed write reports that too.
pub(super) fn block() {
    let mut blocked = handled();
    blocked.add(Signal::SIGXFSZ);
    blocked.thread_block().expect("the set is valid");
}

/// Sends this process the signal for `request`, so that [`next`] returns it. Any thread may call it.
pub(super) fn raise(request: Request) {
    let signal = match request {
        Request::Stop => Signal::SIGINT,
        Request::StopGracefully => Signal::SIGUSR1,
        Request::Reload => Signal::SIGHUP,
    };
    // To the process, where it stays pending until `next`; a process may always signal itself.
    let _ = kill(Pid::this(), signal);
}

/// Waits for the next signal and returns what it asks for; for the main thread.
pub(super) fn next() -> Request {
    loop {
        match handled().wait() {
            Ok(Signal::SIGINT | Signal::SIGTERM) => return Request::Stop,
            Ok(Signal::SIGUSR1) => return Request::StopGracefully,
            Ok(Signal::SIGHUP) => return Request::Reload,
            // Interrupted by a debugger.
            Ok(_) | Err(_) => {}
        }
    }
}

fn handled() -> SigSet {
    HANDLED.into_iter().collect()
}
