//! `stats` and its subcommands, in both protocols: chooses the list, and writes it as lines or packets. The figures come from
//! `engine::Report`, which reads the counters of all rings.
//!
//! `admin` and `binary` run the module. It may import `slices`, `dump`, `list`, `staging` and the state.

use super::dump::Form;
use super::list::List;
use super::staging::refuse_packet;
use super::state::{InputBatch, Session, Step};
use crate::engine::{ClassSet, Report, Sink};
use crate::number;
use crate::proto::binary::{self, Echo, Status};
use crate::proto::text::{Words, reply};

/// Largest class number that `stats cachedump` accepts.
pub(super) const CLASS_MAX: u64 = 63;

impl Session {
    /// Runs `stats` in the text protocol, with `words` after it. A long list is only started here; its slices are staged in later
    /// steps.
    pub(super) fn stats(&mut self, feed: &mut InputBatch<'_, '_>, mut words: Words<'_>) -> Step {
        let Some(word) = words.next() else { return self.list(feed, Report::stats) };
        // memcached compares as many bytes as the word has, in this order of names.
        let is = |name: &[u8]| name.starts_with(word);
        if is(b"reset") {
            feed.executor.reset_stats();
            self.push_line(feed, reply::RESET);
        } else if is(b"detail") {
            self.detail(feed, words);
        } else if is(b"settings") {
            return self.list(feed, Report::settings);
        } else if is(b"cachedump") {
            self.cachedump(feed, words);
        } else if is(b"conns") {
            self.start_list(List::Connections(0));
        } else if is(b"extstore") {
            self.start_list(List::Pages(0));
        } else {
            match word {
                b"sizes" if feed.executor.shared().config.track_sizes => {
                    self.start_dump(ClassSet::ALL, Form::sizes(None));
                }
                b"sizes" => {
                    self.push_line(feed, reply::SIZES_DISABLED);
                    self.push_line(feed, reply::END);
                }
                b"hotkeys" if !feed.executor.shared().config.dump_enabled => {
                    self.push_line(feed, reply::HOTKEYS_NOT_ALLOWED);
                }
                name => match named_list(name) {
                    Some(list) => return self.list(feed, list),
                    None => self.push_line(feed, reply::ERROR),
                },
            }
        }
        Step::Done
    }

    /// Stages all lines of a short list, and `END`.
    fn list<'e>(&self, feed: &mut InputBatch<'_, 'e>, list: Sheet<'e>) -> Step {
        let out = &mut feed.out.staged;
        list(&feed.executor.report(), &mut |name, value| reply::stat(out, name.as_bytes(), value.as_bytes()));
        self.push_line(feed, reply::END);
        Step::Done
    }

    /// Runs `stats detail on`, `off` or `dump`. A dump is only started here; its slices are staged in later steps.
    fn detail(&mut self, feed: &mut InputBatch<'_, '_>, mut words: Words<'_>) {
        let shared = feed.executor.shared();
        if !shared.config.dump_enabled {
            return self.push_line(feed, reply::DETAIL_NOT_ALLOWED);
        }
        match words.next() {
            Some(word) if b"on".starts_with(word) => feed.executor.set_detail(true),
            Some(word) if b"off".starts_with(word) => feed.executor.set_detail(false),
            Some(word) if b"dump".starts_with(word) => return self.start_list(List::Prefixes(None)),
            _ => return self.push_line(feed, reply::BAD_USAGE_DETAIL),
        }
        self.push_line(feed, reply::OK);
    }

    /// Starts `stats cachedump <class> <limit>`, or stages the error line.
    fn cachedump(&mut self, feed: &mut InputBatch<'_, '_>, mut words: Words<'_>) {
        if !feed.executor.shared().config.dump_enabled {
            return self.push_line(feed, reply::CACHEDUMP_NOT_ALLOWED);
        }
        let (Some(class), Some(limit)) = (words.next(), words.next()) else {
            return self.push_line(feed, reply::BAD_COMMAND_LINE);
        };
        match (number::unsigned_32(class), number::unsigned_32(limit)) {
            (Some(class), Some(_)) if u64::from(class) > CLASS_MAX => {
                self.push_line(feed, reply::ILLEGAL_SLAB_ID);
            }
            (Some(_), Some(limit)) => match ClassSet::parse(class) {
                Some(classes) => self.start_dump(classes, Form::cachedump(limit)),
                None => self.push_line(feed, reply::END),
            },
            _ => self.push_line(feed, reply::BAD_FORMAT),
        }
    }

    /// Runs the stat command of the binary protocol for the lists that are short. `key` is the name of the list; an empty name
    /// stands for memcached's general list.
    pub(super) fn packet_stat(feed: &mut InputBatch<'_, '_>, echo: Echo, key: &[u8]) {
        let dump_enabled = feed.executor.shared().config.dump_enabled;
        match key {
            b"detail on" if dump_enabled => feed.executor.set_detail(true),
            b"detail off" if dump_enabled => feed.executor.set_detail(false),
            _ => {}
        }
        let (executor, out) = (&feed.executor, &mut feed.out.staged);
        let mut sink = |name: &str, value: &str| {
            binary::push_stat(out, echo, name.as_bytes(), value.as_bytes());
        };
        match key {
            b"" => executor.report().stats(&mut sink),
            b"hotkeys" if !dump_enabled => return refuse_packet(feed, echo, Status::NotFound),
            b"sizes" => sink("sizes_status", "disabled"),
            b"detail on" | b"detail off" if dump_enabled => {}
            key if b"reset".starts_with(key) => executor.reset_stats(),
            key if b"settings".starts_with(key) => executor.report().settings(&mut sink),
            name => match named_list(name) {
                Some(list) => list(&executor.report(), &mut sink),
                None => return refuse_packet(feed, echo, Status::NotFound),
            },
        }
        binary::push_stat(&mut feed.out.staged, echo, b"", b"");
    }
}

/// A function of [`Report`] that writes one list of names and values into a sink.
type Sheet<'e> = fn(&Report<'e>, &mut Sink<'_>);

/// Returns the function that writes the list called `name`; `None` if no list that both protocols return has this name.
fn named_list<'e>(name: &[u8]) -> Option<Sheet<'e>> {
    let list: Sheet<'e> = match name {
        b"items" => Report::stats_items,
        b"slabs" => Report::stats_slabs,
        b"memcrsd" => Report::stats_memcrsd,
        b"memory" => Report::stats_memory,
        b"latency" => Report::stats_latency,
        b"hotkeys" => Report::stats_hotkeys,
        b"rings" => Report::stats_rings,
        _ => return None,
    };
    Some(list)
}
