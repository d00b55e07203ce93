//! The fields of a session, which all commands work on, and one call of [`Session::feed`] as they see it.
//!
//! Owns [`Session`], [`State`], [`InputBatch`] and [`Step`]. A `Session` lives as long as its connection; an `InputBatch`
//! lives for one call of `feed`. Both are touched only by the ring that serves the connection. May import what a state is
//! made of (`dump`, `list`, `watching`, `progress`), and no command.

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

/// The part of a command or login that the next bytes of the input belong to.
#[derive(Debug, Default)]
pub(super) enum State {
    /// The start of a command.
    #[default]
    Command,
    /// More keys of a get whose line is being answered in pieces.
    Keys(Keys),
    /// The rest of a refused value: `left` more bytes are skipped, then `then` is sent.
    DiscardBody { left: u64, then: DeferredReply },
    /// The rest of a value that is received into item memory, whose command is in `Session::head`. `None` while the reservation
    /// is lent to the caller.
    Receive(Option<Reservation>),
    /// A dump is in progress: the input is left unread until it has ended.
    Dump(Box<Dump>),
    /// A list is in progress: the input is left unread until it has ended.
    List(Box<List>),
    /// The connection is a watcher: the input is discarded.
    Watch(Watching),
    /// The line of a login in the text protocol (-Y): `set <any> <any> <any> <bytes>`.
    Login,
    /// User and password of a login (-Y), this many bytes without the line end.
    Token(usize),
}

/// How the keys of a get are answered; kept while the line is answered in pieces.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keys {
    pub(super) with_cas: bool,
    pub(super) touch: Option<Exptime>,
    /// A key was too long, memory was short, or the line is no valid command. The error has been sent, and the rest of the line
    /// is skipped.
    pub(super) bad: bool,
}

/// The answer to a refused value, sent when all of the value has been skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeferredReply {
    Nothing,
    Line(&'static [u8]),
    Packet(Echo, Status),
}

/// The protocol state of one connection.
#[derive(Debug)]
pub struct Session {
    pub(super) id: u32,
    pub(super) dialect: Dialect,
    pub(super) state: State,
    /// How many bytes at the front of the unconsumed input are known to hold no line end. The next search begins behind them.
    pub(super) searched: usize,
    /// The command line (text) or packet head (binary) of the value that is being received; the command is parsed from it once
    /// more at the end.
    pub(super) head: Vec<u8>,
    /// How long the command at hand has waited for memory for its value.
    pub(super) waited: Duration,
    /// A large value of which only the front has been staged; its rest is staged before the next command runs.
    pub(super) part: Option<Box<Part>>,
    /// The next feed calls `Session::prepare` first, because it refuses stalls, is part of a copy, or follows a read from
    /// flash.
    pub(super) is_special: bool,
    /// The next feed refuses commands that would have to wait for other rings; in the session of a datagram, every feed.
    pub(super) refuses_stalls: bool,
    /// Whether commands and replies are logged (-vv). Read again at the start of each feed.
    pub(super) verbose: bool,
    /// The client may use all commands of the binary protocol; true from the start without -S.
    pub(super) authenticated: bool,
    /// For the session of a datagram: how many items its dumps may still examine. `None` for a connection, which may examine
    /// all.
    pub(super) datagram: Option<u32>,
    /// The last feed left the start of a command in the input, because not all of its short value has come.
    pub(super) lacks_value: bool,
    /// The client is the server itself, which copies the items of another server (--copy-from). Its commands store no item
    /// whose key a client has written meanwhile.
    pub(super) is_copy: bool,
    /// How many times a value has been read from flash for the command at the front of the input. At `LOADS_MAX` the command is
    /// refused instead of waiting for another read.
    pub(super) loads: u8,
    /// After [`Next::Load`]: the key and the place of the value that the command at the front of the input needs in memory.
    pub(super) wanted: Option<Box<Wanted>>,
}

/// The input, the output and the progress of one call of [`Session::feed`].
pub(super) struct InputBatch<'f, 'e> {
    pub(super) executor: Executor<'e>,
    pub(super) input: &'f [u8],
    /// How many bytes of `input` have been consumed.
    pub(super) at: usize,
    /// The offset in `input` up to which keys have been prefetched.
    pub(super) looked: usize,
    /// How many commands may still run before other connections have their turn (-R).
    pub(super) budget: u32,
    /// [`Session::loads`] as it was when the feed began. It belongs to the first command of `input` only.
    pub(super) loads: u8,
    pub(super) out: &'f mut Output,
}

impl<'f> InputBatch<'f, '_> {
    pub(super) fn rest(&self) -> &'f [u8] {
        &self.input[self.at..]
    }
}

/// How one step of a session, usually one command, has ended. A command that fails with [`Retry`](crate::store::Retry) has
/// changed nothing, and runs again from its front.
pub(super) enum Step {
    /// The feed goes on with the next step.
    Done,
    /// The step needs more input: the feed ends with `Next::Read`.
    Need,
    /// The feed ends, and returns this to the caller.
    Stop(Next),
}

impl Session {
    /// A session for a new connection. `id` is the connection's number in logs, `stats conns` and watch lines (its descriptor);
    /// `protocol` is what its listener speaks.
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
