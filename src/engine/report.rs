//! [`Report`]: the sources of every kind of `stats`, and the sink that takes names and values, whatever the protocol.
//!
//! A report only reads, from any thread: counters are atomics, lists have their locks. May import `executor` and the modules
//! named before it in `engine`. The kinds of `stats` extend [`Report`]: `stats` (memcached's own list), `class_stats`,
//! `flash`, `memcrsd_stats` and `ring_stats`.

use crate::clock::Timestamp;
use crate::engine::{Executor, Shared};
use crate::store::Store;
use std::fmt::{Display, Write as _};

/// A function that takes statistics one by one: name and value.
pub type Sink<'s> = dyn FnMut(&str, &str) + 's;

/// Writes names and values of any types into a sink.
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

/// The sources of all statistics. A report can be made on any thread; it reads the counters of the rings without delaying the
/// rings.
#[derive(Clone, Copy, Debug)]
pub struct Report<'r> {
    pub(super) store: &'r Store,
    pub(super) shared: &'r Shared,
    pub(super) now: Timestamp,
}

impl<'r> Report<'r> {
    /// A report for which `now` is the current time.
    pub fn new(store: &'r Store, shared: &'r Shared, now: Timestamp) -> Self {
        Self { store, shared, now }
    }
}

impl<'e> Executor<'e> {
    /// A report on the server at this moment.
    pub fn report(&self) -> Report<'e> {
        Report { store: self.store, shared: self.shared, now: self.now() }
    }

    /// Runs `stats reset`: the counters start again at zero, and the counts by prefix are forgotten. Figures about the present
    /// stay.
    pub fn reset_stats(&self) {
        self.shared.reset_counters();
        self.store.reset_counters();
        self.shared.prefixes.reset();
    }
}
