//! `stats settings`: the configuration, and what commands have changed of it since.

use crate::config::{self, LiveSettings};
use crate::engine::Turn;
use crate::engine::stats::{Sink, Writer};

impl Turn<'_> {
    /// `stats settings`.
    pub fn settings(&self, sink: &mut Sink<'_>) {
        let config = &self.shared.config;
        let live = LiveSettings {
            maxbytes: self.store.memory_limit(),
            verbosity: self.shared.verbosity(),
            detail_enabled: self.shared.detail(),
            lru_crawler: self.shared.crawler(),
            ..LiveSettings::new(config)
        };
        let mut to = Writer::new(sink);
        for (name, value) in config::settings(config, &live) {
            to.put(name, value);
        }
    }
}
