//! One connection without I/O: bytes in, bytes out.
//!
//! [`Session::feed`] runs every complete command at the front of its input and stages the replies. What is incomplete is
//! left in the input, to be fed again with more behind it, but for two kinds of value:
//!
//! ```text
//!                  ┌──────────── refused value: skipped, then answered ──────► DiscardBody ──┐
//!   Command ───────┤                                                                         ├──► Command
//!      ▲           └── large value not all here: received into item memory ──► Receive ──────┘
//!      └─ a get whose output is full stops between two keys: Keys
//! ```
//!
//! Dumps and lists go out slice by slice (Dump, List); a watcher stays one (Watch); with -Y a user comes before all else (Login,
//! Token).
//!
//! A feed runs no more commands than its budget (-R), stages no more than an output holds, and then asks to be resumed, so that
//! the ring's other connections have their turn.
//!
//! A value that may not be pinned and is too long to be staged whole goes out part by part, whatever the state: the parts
//! that follow are staged before anything else. If its version has gone meanwhile the connection is closed.

mod admin;
mod auth;
mod binary;
mod body;
mod copy;
mod dump;
mod line;
mod list;
mod lookahead;
mod meta;
mod progress;
mod staging;
mod stats;
mod text;
mod timing;
pub mod udp;

pub use copy::Copied;
pub use progress::{Next, Owed, Progress};

use crate::config::Protocol;
use crate::engine::{Engine, Executor};
use crate::limits::{DATAGRAM_DUMP_ITEMS_MAX, LOADS_MAX, OUTPUT_BYTES_MAX};
use crate::output::{Output, Part};
use crate::proto::binary::{Echo, MAGIC_REQUEST, Status};
use crate::store::{Reservation, Retry, Wanted};
use std::time::Duration;

/// The connection's protocol, fixed by its first byte unless the listener fixes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    Undecided,
    Text,
    Binary,
}

/// What the next bytes are.
#[derive(Debug, Default)]
enum State {
    /// A command.
    #[default]
    Command,
    /// The rest of a get's line.
    Keys(text::Keys),
    /// Bytes that mean nothing, then an answer.
    DiscardBody { left: u64, then: DeferredReply },
    /// The rest of a value whose command is in `Session::head`. None while the reservation is lent.
    Receive(Option<Reservation>),
    /// Nothing, until all items have been walked.
    Dump(Box<dump::Dump>),
    /// Nothing, until a list has been staged.
    List(Box<list::List>),
    /// Nothing, ever: the connection is a watcher.
    Watch(admin::Watching),
    /// A user and a password, in the text protocol.
    Login,
    /// They are on the way: this many bytes.
    Token(usize),
}

/// An answer that has to wait for the end of the value it refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DeferredReply {
    Nothing,
    Line(&'static [u8]),
    Packet(Echo, Status),
}

/// One connection.
#[derive(Debug)]
pub struct Session {
    id: u32,
    dialect: Dialect,
    state: State,
    /// Bytes at the front of the unconsumed input that are known to hold no line end.
    searched: usize,
    /// The command line or packet head of the value being received.
    head: Vec<u8>,
    /// How long the value at hand has waited for its memory.
    waited: Duration,
    /// The value that has been staged in part.
    part: Option<Box<Part>>,
    /// The next feed has something to be prepared for: it refuses stalls, it is the copy's, or a value has been read for it.
    is_special: bool,
    /// The next feed refuses what must wait for other rings.
    refuses_stalls: bool,
    /// Whether commands and replies are logged (-vv).
    verbose: bool,
    /// Whether binary commands are served.
    authenticated: bool,
    /// For a datagram, which no further input follows: items that its dumps may still visit. None on a connection.
    datagram: Option<u32>,
    /// What the last feed left unused is a command whose value has not all come.
    lacks_value: bool,
    /// The client is the server's own copy of another.
    is_copy: bool,
    /// Values that the command at the front of the input has had read from flash.
    loads: u8,
    /// The one it lacks now.
    wanted: Option<Box<Wanted>>,
}

/// One call of [`Session::feed`].
struct InputBatch<'f, 'e> {
    executor: Executor<'e>,
    input: &'f [u8],
    /// Bytes of `input` used up.
    at: usize,
    /// The keys of the commands before this place have been announced to the store.
    looked: usize,
    /// Commands that may still run before other connections have their turn.
    budget: u32,
    /// Values that the first command has had read from flash.
    loads: u8,
    out: &'f mut Output,
}

impl<'f> InputBatch<'f, '_> {
    fn rest(&self) -> &'f [u8] {
        &self.input[self.at..]
    }
}

/// What became of a command. A command that fails with [`Retry`] has changed nothing, and runs again from its front.
enum Step {
    /// Done, go on.
    Done,
    /// More input is needed before anything can be done.
    Need,
    /// Stop here.
    Stop(Next),
}

impl Session {
    /// `id` is the number of the connection in logs, `stats conns` and watch lines (its descriptor), `protocol` what its
    /// listener speaks.
    pub fn new(engine: &Engine, id: u32, protocol: Protocol) -> Self {
        let dialect = match protocol {
            Protocol::Auto => Dialect::Undecided,
            Protocol::Ascii => Dialect::Text,
            Protocol::Binary => Dialect::Binary,
        };
        let config = &engine.shared().config;
        let state = if config.auth_file.is_some() { State::Login } else { State::Command };
        let authenticated = !config.sasl;
        Self {
            id,
            dialect,
            state,
            searched: 0,
            head: Vec::new(),
            waited: Duration::ZERO,
            part: None,
            is_special: false,
            refuses_stalls: false,
            verbose: false,
            authenticated,
            datagram: None,
            lacks_value: false,
            is_copy: false,
            loads: 0,
            wanted: None,
        }
    }

    /// The session of one datagram, which speaks what it begins with whatever `-B` says; `id` is the number of its socket.
    fn for_datagram(engine: &Engine, id: u32) -> Self {
        let datagram = Some(DATAGRAM_DUMP_ITEMS_MAX);
        Self { datagram, is_special: true, refuses_stalls: true, ..Self::new(engine, id, Protocol::Auto) }
    }

    /// Tells the executor what is special about this feed.
    #[cold]
    fn prepare(&mut self, feed: &mut InputBatch<'_, '_>) {
        if self.refuses_stalls {
            // Datagrams wait for nothing.
            self.refuses_stalls = self.datagram.is_some();
            feed.executor.refuse_stalls();
        }
        if self.is_copy {
            feed.executor.set_copy();
        }
        self.is_special = self.is_copy || self.refuses_stalls;
        feed.loads = std::mem::take(&mut self.loads);
        if feed.loads >= LOADS_MAX {
            // Only this command: those that follow may have values read again.
            feed.executor.refuse_loads();
            feed.budget = 1;
        }
    }

    /// Runs the complete commands at the front of `input` in place, staging replies in `out`.
    pub fn feed(&mut self, engine: &mut Engine, input: &[u8], out: &mut Output) -> Progress {
        // Made in place: a function that returns it would copy it.
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
                // What nearly every feed ends with, told from nothing but the length.
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

    /// Goes on with the value that has been staged in part; what to do next if that is not its end.
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

    // Always: it has one caller, and is too large for the compiler to see that by itself.
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

    /// The command at hand lacks a value that is on flash.
    #[cold]
    fn note_wanted(&mut self, feed: &mut InputBatch<'_, '_>) {
        let is_first = feed.at == 0;
        self.loads = 1 + if is_first { feed.loads } else { 0 };
        self.is_special = true;
        self.wanted = feed.executor.take_wanted().map(Box::new);
    }

    /// The value that is to be read after [`Next::Load`].
    pub fn take_wanted(&mut self) -> Option<Box<Wanted>> {
        self.wanted.take()
    }

    /// The next feed refuses what would have to wait for other rings ([`Next::Stall`]).
    pub fn refuse_stalls(&mut self) {
        (self.is_special, self.refuses_stalls) = (true, true);
    }

    /// Watchers: has `wake` called when log lines are pending.
    pub fn wake_with(&self, wake: Box<dyn Fn() + Send>) {
        if let State::Watch(watching) = &self.state {
            watching.wake_with(wake);
        }
    }

    /// Watchers: stages pending log lines.
    pub fn pump(&mut self, engine: &mut Engine, out: &mut Output) {
        if let State::Watch(watching) = &self.state {
            watching.take(engine.shared(), out);
        }
    }
}

#[cfg(test)]
mod tests;
