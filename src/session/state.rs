//! The state of a connection, which the commands work on, and one call of [`Session::feed`] as they see it.
//!
//! Owns [`Session`], [`State`], [`InputBatch`] and [`Step`]. May import what a state is made of (`dump`, `list`, `watching`,
//! `progress`), and no command.

use super::dump::Dump;
use super::list::List;
use super::progress::Next;
use super::watching::Watching;
use crate::command::Exptime;
use crate::config::Protocol;
use crate::engine::{Engine, Executor};
use crate::output::{Output, Part};
use crate::proto::binary::{Echo, Status};
use crate::store::{Reservation, Wanted};
use std::time::Duration;

/// The connection's protocol, fixed by its first byte unless the listener fixes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Undecided,
    Text,
    Binary,
}

/// What the next bytes are.
#[derive(Debug, Default)]
pub(super) enum State {
    /// A command.
    #[default]
    Command,
    /// The rest of a get's line.
    Keys(Keys),
    /// Bytes that mean nothing, then an answer.
    DiscardBody { left: u64, then: DeferredReply },
    /// The rest of a value whose command is in `Session::head`. None while the reservation is lent.
    Receive(Option<Reservation>),
    /// Nothing, until all items have been walked.
    Dump(Box<Dump>),
    /// Nothing, until a list has been staged.
    List(Box<List>),
    /// Nothing, ever: the connection is a watcher.
    Watch(Watching),
    /// A user and a password, in the text protocol.
    Login,
    /// They are on the way: this many bytes.
    Token(usize),
}

/// How the keys of a get are answered, while its line is worked through.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keys {
    pub(super) with_cas: bool,
    pub(super) touch: Option<Exptime>,
    /// A key was bad: the rest of the line is skipped.
    pub(super) bad: bool,
}

/// An answer that has to wait for the end of the value it refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeferredReply {
    Nothing,
    Line(&'static [u8]),
    Packet(Echo, Status),
}

/// One connection.
#[derive(Debug)]
pub struct Session {
    pub(super) id: u32,
    pub(super) dialect: Dialect,
    pub(super) state: State,
    /// Bytes at the front of the unconsumed input that are known to hold no line end.
    pub(super) searched: usize,
    /// The command line or packet head of the value being received.
    pub(super) head: Vec<u8>,
    /// How long the value at hand has waited for its memory.
    pub(super) waited: Duration,
    /// The value that has been staged in part.
    pub(super) part: Option<Box<Part>>,
    /// The next feed has something to be prepared for: it refuses stalls, it is the copy's, or a value has been read for it.
    pub(super) is_special: bool,
    /// The next feed refuses what must wait for other rings.
    pub(super) refuses_stalls: bool,
    /// Whether commands and replies are logged (-vv).
    pub(super) verbose: bool,
    /// Whether binary commands are served.
    pub(super) authenticated: bool,
    /// For a datagram, which no further input follows: items that its dumps may still visit. None on a connection.
    pub(super) datagram: Option<u32>,
    /// What the last feed left unused is a command whose value has not all come.
    pub(super) lacks_value: bool,
    /// The client is the server's own copy of another.
    pub(super) is_copy: bool,
    /// Values that the command at the front of the input has had read from flash.
    pub(super) loads: u8,
    /// The one it lacks now.
    pub(super) wanted: Option<Box<Wanted>>,
}

/// One call of [`Session::feed`].
pub(super) struct InputBatch<'f, 'e> {
    pub(super) executor: Executor<'e>,
    pub(super) input: &'f [u8],
    /// Bytes of `input` used up.
    pub(super) at: usize,
    /// The keys of the commands before this place have been announced to the store.
    pub(super) looked: usize,
    /// Commands that may still run before other connections have their turn.
    pub(super) budget: u32,
    /// Values that the first command has had read from flash.
    pub(super) loads: u8,
    pub(super) out: &'f mut Output,
}

impl<'f> InputBatch<'f, '_> {
    pub(super) fn rest(&self) -> &'f [u8] {
        &self.input[self.at..]
    }
}

/// What became of a command. A command that fails with [`Retry`](crate::store::Retry) has changed nothing, and runs again from its front.
pub(super) enum Step {
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
}
