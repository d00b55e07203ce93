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

/// What the next bytes of the input are.
#[derive(Debug, Default)]
pub(super) enum State {
    /// A command.
    #[default]
    Command,
    /// More keys of a get whose line is being answered in pieces.
    Keys(Keys),
    /// The rest of a refused value: `left` bytes to skip, then the answer to send.
    DiscardBody { left: u64, then: DeferredReply },
    /// The rest of a value that is received into item memory; its command is in `Session::head`. `None` while the
    /// reservation is lent.
    Receive(Option<Reservation>),
    /// Left unread until the dump has walked all items.
    Dump(Box<Dump>),
    /// Left unread until the list has been staged.
    List(Box<List>),
    /// Discarded: the connection is a watcher.
    Watch(Watching),
    /// The line of a login in the text protocol (-Y): `set <any> <any> <any> <bytes>`.
    Login,
    /// User and password of the login, this many bytes.
    Token(usize),
}

/// How the keys of a get are answered; kept while its line is answered in pieces.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keys {
    pub(super) with_cas: bool,
    pub(super) touch: Option<Exptime>,
    /// A key was too long, or memory was short: the rest of the line is skipped.
    pub(super) bad: bool,
}

/// The answer to a refused value, sent when the value has been skipped.
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
    /// Bytes at the front of the unconsumed input that are known to hold no line end.
    pub(super) searched: usize,
    /// The command line (text) or packet head (binary) of the value being received.
    pub(super) head: Vec<u8>,
    /// How long the command at hand has waited for memory for its value.
    pub(super) waited: Duration,
    /// A large value of which the front has been staged; the rest goes out before anything else.
    pub(super) part: Option<Box<Part>>,
    /// The next feed has to be prepared for (`Session::prepare`): it refuses stalls, it is the copy's, or a value has been
    /// read for it.
    pub(super) is_special: bool,
    /// The next feed refuses commands that would have to wait for other rings.
    pub(super) refuses_stalls: bool,
    /// Whether commands and replies are logged (-vv).
    pub(super) verbose: bool,
    /// Whether commands of the binary protocol are served: always true without -S.
    pub(super) authenticated: bool,
    /// For a session of a datagram: how many items its dumps may still examine. `None` for a connection.
    pub(super) datagram: Option<u32>,
    /// The input that the last feed left unused is a command whose value has not all come.
    pub(super) lacks_value: bool,
    /// The client is the server itself, which copies the items of another server (--copy-from).
    pub(super) is_copy: bool,
    /// How many times a value has been read from flash for the command at the front of the input.
    pub(super) loads: u8,
    /// The value on flash that this command needs in memory next.
    pub(super) wanted: Option<Box<Wanted>>,
}

/// One call of [`Session::feed`].
pub(super) struct InputBatch<'f, 'e> {
    pub(super) executor: Executor<'e>,
    pub(super) input: &'f [u8],
    /// Bytes of `input` used up.
    pub(super) at: usize,
    /// Lookahead has already prefetched the keys of the commands before this offset of `input`.
    pub(super) looked: usize,
    /// Commands that may still run before other connections have their turn.
    pub(super) budget: u32,
    /// [`Session::loads`] when the feed began: reads from flash for the first command of `input`.
    pub(super) loads: u8,
    pub(super) out: &'f mut Output,
}

impl<'f> InputBatch<'f, '_> {
    pub(super) fn rest(&self) -> &'f [u8] {
        &self.input[self.at..]
    }
}

/// Result of one step of a session, usually one command. A command that fails with [`Retry`](crate::store::Retry) has
/// changed nothing, and runs again from its front.
pub(super) enum Step {
    /// Done, go on.
    Done,
    /// More input is needed; the feed ends with `Next::Read`.
    Need,
    /// The feed ends with this.
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
