//! [`Report`]: the sources of every kind of `stats`, and the sink that takes names and values in whatever protocol.
//!
//! A report only reads, on any thread: counters are atomics, lists have their locks, and the store's figures, those of the flash
//! tier among them, are copied under its writer lock. The module may import `executor` and the
//! modules named before it in `engine`. The kinds of `stats` extend [`Report`]: `stats` (memcached's own list), `class_stats`,
//! `flash`, `memcrsd_stats` and `ring_stats`.

use crate::clock::Timestamp;
use crate::engine::{Executor, Shared};
use crate::store::Store;
use std::fmt::{Display, Write as _};

/// A function that takes statistics one at a time: a name and a value.
pub type Sink<'s> = dyn FnMut(&str, &str) + 's;

/// Writes names and values of any type into a sink.
pub(super) struct Writer<'w, 's> {
    sink: &'w mut Sink<'s>,
    name: String,
    value: String,
}

impl<'w, 's> Writer<'w, 's> {
    pub(super) fn new(sink: &'w mut Sink<'s>) -> Self {
        Self { sink, name: String::new(), value: String::new() }
    }

    pub(super) fn put(&mut self, name: impl Display, value: impl Display) {
        self.name.clear();
        self.value.clear();
        // Writing to a String cannot fail.
        let _ = write!(self.name, "{name}");
        let _ = write!(self.value, "{value}");
        (self.sink)(&self.name, &self.value);
    }
}

/// The sources of all statistics. A report can be made on any thread. It reads the counters of the rings without delaying the
/// rings.
#[derive(Clone, Copy, Debug)]
pub struct Report<'r> {
    pub(super) store: &'r Store,
    pub(super) shared: &'r Shared,
    pub(super) now: Timestamp,
}

impl<'r> Report<'r> {
    /// Makes a report for which `now` is the current time.
    pub fn new(store: &'r Store, shared: &'r Shared, now: Timestamp) -> Self {
        Self { store, shared, now }
    }
}

impl<'e> Executor<'e> {
    /// Makes a report on the server at this moment.
    pub fn report(&self) -> Report<'e> {
        Report { store: self.store, shared: self.shared, now: self.now() }
    }

    /// Runs `stats reset`: the counters begin at zero again, and the counts by prefix are removed. Figures about the present
    /// state do not change.
    pub fn reset_stats(&self) {
        self.shared.reset_counters();
        self.store.reset_counters();
        self.shared.prefixes.reset();
    }
}
