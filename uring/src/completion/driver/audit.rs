//! Debug builds check before each sleep of the ring that no task waits that could run. A lost wake would otherwise show as a
//! delay until the next timer, if at all; here it fails the test that lost it.

use super::Driver;
use crate::completion::connection::Connection;
use std::cell::Cell;
use std::time::Duration;

/// Connections checked before each sleep, in rotation.
const AT_A_TIME: usize = 64;
/// How long another processor may take between the arrival of bytes and the end of a wait for them.
const ARRIVAL: Duration = Duration::from_millis(20);

/// How far the checks have come.
#[derive(Default)]
pub(super) struct Audit {
    next: Cell<usize>,
}

impl Driver {
    /// The ring is about to submit what is queued and wait for `want` completions.
    ///
    /// # Panics
    /// Some task could run.
    pub(super) fn audit_before(&self, want: u32) {
        if want == 0 {
            return;
        }
        assert!(self.resources.queue.has_room(), "entries wait for room in the queue");
        assert!(self.timers.is_armed(), "no operation ends the earliest sleep");
        self.some_connections(|connection| {
            if let Some(why) = connection.could_go_on(self.resources.setup.get().silent_sends) {
                panic!("a connection waits and could go on: {why}: {connection:?}");
            }
        });
    }

    /// The wait ended by its timeout: no socket may have bytes that its receive missed.
    ///
    /// # Panics
    /// One has.
    pub(super) fn audit_after_time(&self) {
        self.some_connections(|connection| {
            if connection.is_deaf() {
                std::thread::sleep(ARRIVAL);
                assert!(
                    !connection.is_deaf() || self.resources.queue.has_completions(),
                    "bytes have come and no receive has completed: {connection:?}"
                );
            }
        });
    }

    fn some_connections(&self, check: impl Fn(&Connection)) {
        let connections = self.connections.borrow();
        let (from, end) = (self.audit.next.get(), connections.capacity());
        (from..end).take(AT_A_TIME).filter_map(|index| connections.get(index)).for_each(|one| check(one));
        self.audit.next.set(if from + AT_A_TIME < end { from + AT_A_TIME } else { 0 });
    }
}
