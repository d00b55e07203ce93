//! [`Session::feed`]: runs the commands at the front of the input, and continues what the last call has not finished. The
//! connection (`server::conn`) calls it each time input arrives or the session has asked to be resumed.
//!
//! This is the top of what a connection needs: it may import every module of the session except those that make sessions, `copy`
//! and `udp`.

use super::progress::{Next, Progress};
use super::state::{Dialect, InputBatch, Session, State, Step};
use crate::engine::Engine;
use crate::limits::{LOADS_MAX, OUTPUT_BYTES_MAX};
use crate::output::Output;
use crate::proto::binary::MAGIC_REQUEST;
use crate::store::{Retry, Wanted};

impl Session {
    /// Runs the complete commands at the front of `input` in place, and stages their replies in `out`. Returns how many bytes of
    /// `input` were consumed, and what the caller must do next.
    pub fn feed(&mut self, engine: &mut Engine, input: &[u8], out: &mut Output) -> Progress {
        // Made in place: a function that returned it would have to copy it.
        let executor = engine.fresh();
        let budget = executor.shared().config.reqs_per_event;
        let mut feed = InputBatch { executor, input, at: 0, looked: 0, budget, loads: 0, out };
        feed.executor.set_connection(self.id);
        if self.is_special {
            self.prepare(&mut feed);
        }
        self.verbose = feed.executor.shared().verbosity() > 1;
        self.lacks_value = false;
        if self.dialect == Dialect::Undecided {
            match input.first() {
                None => return Progress { consumed: 0, next: Next::Read },
                Some(&MAGIC_REQUEST) => self.dialect = Dialect::Binary,
                Some(_) => self.dialect = Dialect::Text,
            }
            if self.verbose {
                let name = if self.dialect == Dialect::Text { "ascii" } else { "binary" };
                tracing::debug!(target: "wire", "{}: Client using the {name} protocol", self.id);
            }
        }
        if self.part.is_some()
            && let Some(next) = self.stage_part(&mut feed)
        {
            return Progress { consumed: 0, next };
        }
        let is_timed = feed.executor.is_timed();
        let mut timing = None;
        let next = loop {
            if feed.rest().is_empty() && matches!(self.state, State::Command) {
                // This is how nearly every feed ends. It is recognized without looking at the input's bytes.
                self.searched = 0;
                break Next::Read;
            }
            if feed.out.is_full() {
                break Next::Resume;
            }
            if feed.budget == 0 && !feed.rest().is_empty() {
                feed.executor.counters().conn_yields.add(1);
                break Next::Resume;
            }
            if is_timed {
                timing = self.begin_timing(&feed);
            }
            let step = self.step(&mut feed);
            if is_timed {
                self.end_timing(&feed, timing, &step);
            }
            match step {
                Step::Done => feed.budget = feed.budget.saturating_sub(1),
                Step::Need => break Next::Read,
                Step::Stop(next) => break next,
            }
        };
        if let Some(part) = feed.out.take_part() {
            self.part = Some(Box::new(part));
            return Progress { consumed: feed.at, next: Next::Resume };
        }
        Progress { consumed: feed.at, next }
    }

    /// Prepares a feed for which `is_special` is set: tells the executor which commands to refuse, and whether the commands are
    /// those of a copy.
    #[cold]
    fn prepare(&mut self, feed: &mut InputBatch<'_, '_>) {
        if self.refuses_stalls {
            // For datagrams, which must wait for nothing, the flag stays set.
            self.refuses_stalls = self.datagram.is_some();
            feed.executor.refuse_stalls();
        }
        if self.is_copy {
            feed.executor.set_copy();
        }
        self.is_special = self.is_copy || self.refuses_stalls;
        feed.loads = std::mem::take(&mut self.loads);
        if feed.loads >= LOADS_MAX {
            // Only the first command is refused. Later commands may have values read again.
            feed.executor.refuse_loads();
            feed.budget = 1;
        }
    }

    /// Stages more of a value of which only a part has been staged. `None` when the whole value is staged; otherwise how the feed
    /// ends.
    #[cold]
    fn stage_part(&mut self, feed: &mut InputBatch<'_, '_>) -> Option<Next> {
        let mut part = self.part.take()?;
        let Some(item) = feed.executor.find_version(&part.key, part.version) else {
            return Some(Next::Close);
        };
        if feed.out.push_rest(&item, part.copied) {
            feed.out.staged.extend_from_slice(&part.behind);
            return None;
        }
        let rest = &item.value()[part.copied..];
        let bytes = OUTPUT_BYTES_MAX.saturating_sub(feed.out.staged.len()).min(rest.len());
        feed.out.staged.extend_from_slice(&rest[..bytes]);
        part.copied += bytes;
        self.part = Some(part);
        Some(Next::Resume)
    }

    // Always inline: it has one caller, and the compiler would not inline it because of its size.
    #[inline(always)]
    fn step(&mut self, feed: &mut InputBatch<'_, '_>) -> Step {
        let mut front = feed.at;
        let tried = match &mut self.state {
            State::Command if self.dialect == Dialect::Text => self.text(feed),
            State::Command => self.binary(feed),
            State::Dump(_) => return self.dump(feed),
            State::List(_) => return self.list_slice(feed),
            State::Watch(_) => {
                feed.at = feed.input.len();
                return Step::Stop(Next::Watch);
            }
            State::Login => return self.login(feed),
            &mut State::Token(bytes) => return self.token(feed, bytes),
            State::Keys(keys) => {
                let keys = *keys;
                return self.text_keys(feed, keys);
            }
            State::DiscardBody { .. } => return self.skip_body(feed),
            State::Receive(_) => {
                if let Some(step) = self.receive_body(feed) {
                    return step;
                }
                front = feed.at;
                if self.dialect == Dialect::Text {
                    self.text_received(feed)
                } else {
                    self.binary_received(feed)
                }
            }
        };
        tried.unwrap_or_else(|retry| {
            feed.at = front;
            if retry == Retry::Load {
                self.note_wanted(feed);
            }
            Step::Stop(retry.into())
        })
    }

    /// Takes the executor's note of which value on flash the command needs in memory, and counts the read.
    #[cold]
    fn note_wanted(&mut self, feed: &mut InputBatch<'_, '_>) {
        let is_first = feed.at == 0;
        self.loads = 1 + if is_first { feed.loads } else { 0 };
        self.is_special = true;
        self.wanted = feed.executor.take_wanted().map(Box::new);
    }

    /// Takes the key and the place of the value that must be read from flash after [`Next::Load`]. `None` at other times.
    pub fn take_wanted(&mut self) -> Option<Box<Wanted>> {
        self.wanted.take()
    }

    /// Makes the next call of `feed` refuse commands for which it would otherwise return [`Next::Stall`].
    pub fn refuse_stalls(&mut self) {
        (self.is_special, self.refuses_stalls) = (true, true);
    }

    /// Makes `wake` be called, by any thread, whenever the watcher's empty buffer gets its first log line. The caller must then
    /// call [`Session::pump`]. No effect unless the session is a watcher.
    pub fn wake_with(&self, wake: Box<dyn Fn() + Send>) {
        if let State::Watch(watching) = &self.state {
            watching.wake_with(wake);
        }
    }

    /// Moves the watcher's log lines to `out`. No effect unless the session is a watcher.
    pub fn pump(&mut self, engine: &mut Engine, out: &mut Output) {
        if let State::Watch(watching) = &self.state {
            watching.take(engine.shared(), out);
        }
    }
}
