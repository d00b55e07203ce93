//! Returns free memory of the C library's heap to the kernel, if the process stays larger than it promises.
//!
//! Tables of the indexes and the buffers of connections come from the heap. After a limit has been lowered far, or hundreds of
//! slow readers have gone, most of their memory is free but lies between memory still in use, and the C library returns only
//! memory at the end of the heap. Returning all free memory takes some 0.5 ms for each megabyte, during which rings that
//! allocate may wait. Hence it is done seldom, and only when the store has come down to its limit. It has a thread of its own,
//! since the watchdog must wait for no lock.

use super::watchdog::Heartbeats;
use crate::engine::{Report, Shared};
use crate::store::Store;
use std::sync::Arc;
use std::time::Duration;

/// Interval of the checks.
const TICK: Duration = Duration::from_secs(1);
/// Number of checks in a row that must find the process too large before memory is returned.
const SETTLED_TICKS: u32 = 3;
/// Number of checks in a row after which memory is returned again, if the process is still too large.
const AGAIN_TICKS: u32 = 60;

/// Counts the checks in a row that have found the process too large.
#[derive(Debug, Default)]
struct Patience {
    ticks: u32,
}

impl Patience {
    /// Counts a check; true if memory is to be returned now.
    fn ends(&mut self, is_too_large: bool) -> bool {
        self.ticks = if is_too_large { self.ticks + 1 } else { 0 };
        if self.ticks > AGAIN_TICKS {
            self.ticks = SETTLED_TICKS;
        }
        self.ticks == SETTLED_TICKS
    }
}

/// Starts the thread, which ends with the server.
///
/// # Errors
/// The thread cannot be created.
pub(super) fn start(
    heartbeats: Arc<Heartbeats>,
    shared: Arc<Shared>,
    store: Arc<Store>,
) -> std::io::Result<()> {
    let look = move || {
        let mut patience = Patience::default();
        loop {
            std::thread::sleep(TICK);
            if heartbeats.has_stopped() {
                return;
            }
            let is_too_large = Report::new(&store, &shared, shared.clock.now()).is_too_large();
            if patience.ends(is_too_large && store.bytes_over_limit() == 0) {
                store.trim_heap();
            }
        }
    };
    std::thread::Builder::new().name("trim".to_owned()).spawn(look).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_given_back_when_it_has_been_too_much_for_a_while_and_then_seldom() {
        let mut patience = Patience::default();
        let mut trims =
            |checks: u32, is_too_large| (0..checks).filter(|_| patience.ends(is_too_large)).count();
        assert_eq!(trims(SETTLED_TICKS - 1, true), 0);
        assert_eq!(trims(1, false), 0);
        assert_eq!(trims(SETTLED_TICKS, true), 1);
        assert_eq!(trims(AGAIN_TICKS - SETTLED_TICKS, true), 0);
        assert_eq!(trims(1, true), 1);
        assert_eq!(trims(100, false), 0);
    }
}
