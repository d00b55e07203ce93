//! For debug builds: checks before each sleep of the ring that no task waits although it could run. A lost wake would otherwise
//! show as a delay until the next timer, if at all; here it fails the test that lost it. A part of the driver; changes nothing
//! but its own position in the list of connections.

use crate::completion::connection::Connection;
use crate::completion::resources::Resources;
use crate::completion::timers::Timers;
use slab::Slab;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// Number of connections that are checked before each sleep. The check before the next sleep continues with the connections
/// after them.
const AT_A_TIME: usize = 64;
/// How long a receive may take to complete when bytes arrive on another processor.
const ARRIVAL: Duration = Duration::from_millis(20);

/// Remembers which connections the next check is to look at.
#[derive(Default)]
pub(super) struct Audit {
    /// Index of the connection to check next.
    next: Cell<usize>,
}

impl Audit {
    /// Checks that no task waits although it could run. Called when the ring is about to submit what is queued and sleep until a
    /// completion.
    ///
    /// # Panics
    /// If there is such a task.
    pub(super) fn before_sleep(
        &self,
        resources: &Resources,
        timers: &Timers,
        connections: &Slab<Rc<Connection>>,
    ) {
        assert!(resources.queue.has_room(), "entries wait for room in the queue");
        assert!(timers.is_armed(), "no operation ends the earliest sleep");
        self.some(connections, |connection| {
            if let Some(why) = connection.could_go_on(resources.setup.get().silent_sends) {
                panic!("a connection waits and could go on: {why}: {connection:?}");
            }
        });
    }

    /// Checks that no socket holds bytes which its receive missed. Called when nothing but a timeout ended the sleep.
    ///
    /// # Panics
    /// If a socket holds such bytes.
    pub(super) fn after_timeout(&self, resources: &Resources, connections: &Slab<Rc<Connection>>) {
        self.some(connections, |connection| {
            if connection.is_deaf() {
                std::thread::sleep(ARRIVAL);
                assert!(
                    !connection.is_deaf() || resources.queue.has_completions(),
                    "bytes have come and no receive has completed: {connection:?}"
                );
            }
        });
    }

    fn some(&self, connections: &Slab<Rc<Connection>>, check: impl Fn(&Connection)) {
        let (from, end) = (self.next.get(), connections.capacity());
        (from..end).take(AT_A_TIME).filter_map(|index| connections.get(index)).for_each(|one| check(one));
        self.next.set(if from + AT_A_TIME < end { from + AT_A_TIME } else { 0 });
    }
}
