//! Signals, waited for by the main thread alone.

use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;

/// What the operator asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// INT or TERM: end.
    Stop,
    /// USR1: end, after saving what is to be saved.
    StopGracefully,
    /// HUP: read the files again.
    Reload,
}

const WATCHED: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGUSR1, Signal::SIGHUP];

/// Keeps the signals for [`next`]; called before any other thread exists, which inherits it.
pub(super) fn hold() {
    watched().thread_block().expect("the set is valid");
}

/// Asks as the operator would, from any thread.
pub(super) fn ask(request: Request) {
    let signal = match request {
        Request::Stop => Signal::SIGINT,
        Request::StopGracefully => Signal::SIGUSR1,
        Request::Reload => Signal::SIGHUP,
    };
    // To the process, where it waits for `next`; a process may always signal itself.
    let _ = kill(Pid::this(), signal);
}

/// Waits for the next request.
pub(super) fn next() -> Request {
    loop {
        match watched().wait() {
            Ok(Signal::SIGINT | Signal::SIGTERM) => return Request::Stop,
            Ok(Signal::SIGUSR1) => return Request::StopGracefully,
            Ok(Signal::SIGHUP) => return Request::Reload,
            // Interrupted by a debugger.
            Ok(_) | Err(_) => {}
        }
    }
}

fn watched() -> SigSet {
    WATCHED.into_iter().collect()
}
