//! The fields of a session, on which all commands work, and those of one call of [`Session::feed`].
//!
//! The module owns [`Session`], [`State`], [`InputBatch`] and [`Step`]. A `Session` lives as long as its connection; an
//! `InputBatch` lives for one call of `feed`. Only the ring that serves the connection touches them. The module may import the
//! contents of states (`dump`, `list`, `watching`, `progress`), and no command.

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

/// The protocol of the connection: that of the listener or, if the listener allows both, that of the first byte received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Undecided,
    Text,
    Binary,
}

/// What the next bytes of the input belong to.
#[derive(Debug, Default)]
pub(super) enum State {
    /// The start of a command.
    #[default]
    Command,
    /// More keys of a get whose line is answered in pieces.
    Keys(Keys),
    /// The remainder of a refused value: `left` more bytes are skipped, then `then` is sent.
    DiscardBody { left: u64, then: DeferredReply },
    /// The remainder of a value that is received into item memory. Its command is in `Session::head`. `None` while the
    /// reservation is lent to the caller.
    Receive(Option<Reservation>),
    /// A dump in progress. The input is not read until the dump has ended.
    Dump(Box<Dump>),
    /// A list in progress. The input is not read until the list has ended.
    List(Box<List>),
    /// The input of a watcher, which is discarded.
    Watch(Watching),
    /// The line of a login in the text protocol (-Y): `set <any> <any> <any> <bytes>`.
    Login,
    /// User and password of a login (-Y), of this many bytes without the line end.
    Token(usize),
}

/// How the keys of a get are answered, while its line is answered in pieces.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keys {
    pub(super) with_cas: bool,
    pub(super) touch: Option<Exptime>,
    /// True if a key was too long, memory was short, or the line is not a valid command. The error has been staged, and the
    /// remainder of the line is skipped.
    pub(super) bad: bool,
}

/// The reply to a refused value, which is staged when all of the value has been skipped.
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
    /// Number of bytes at the front of the unconsumed input that contain no line end. The next search begins after them.
    pub(super) searched: usize,
    /// The command line (text) or packet head (binary) whose value is being received. When the value is complete, the command is
    /// parsed again from these bytes.
    pub(super) head: Vec<u8>,
    /// How long the command in progress has waited for memory for its value.
    pub(super) waited: Duration,
    /// A large value of which only a part has been staged. More of it is staged before the next command runs.
    pub(super) part: Option<Box<Part>>,
    /// True if the next feed must call `Session::prepare` first, because it refuses stalls, belongs to a copy, or follows a read
    /// from flash.
    pub(super) is_special: bool,
    /// True if the next feed refuses commands that would have to wait for other rings. For the session of a datagram, every feed
    /// does.
    pub(super) refuses_stalls: bool,
    /// True if commands and replies are logged (-vv). The session reads the setting at the start of each feed.
    pub(super) verbose: bool,
    /// True if the client may use all commands of the binary protocol. Without -S the field is true from the start.
    pub(super) authenticated: bool,
    /// For the session of a datagram, the number of items that its dumps may still examine. `None` for a connection, which may
    /// examine all items.
    pub(super) datagram: Option<u32>,
    /// True if the last feed left the start of a command in the input because the command's short value has not been received
    /// completely.
    pub(super) lacks_value: bool,
    /// True if the client is the server itself, which copies the items of another server (--copy-from). The session's commands
    /// store no item whose key a client has written meanwhile.
    pub(super) is_copy: bool,
    /// How many times a value has been read from flash for the command at the front of the input. At `LOADS_MAX` the command is
    /// refused instead of waiting for another read.
    pub(super) loads: u8,
    /// The key and the place of the value that the command at the front of the input needs in memory, after [`Next::Load`].
    pub(super) wanted: Option<Box<Wanted>>,
}

/// The input, the output and the progress of one call of [`Session::feed`].
pub(super) struct InputBatch<'f, 'e> {
    pub(super) executor: Executor<'e>,
    pub(super) input: &'f [u8],
    /// Number of bytes of `input` that have been consumed.
    pub(super) at: usize,
    /// The offset in `input` up to which keys have been prefetched.
    pub(super) looked: usize,
    /// Number of commands that may still run before other connections have their turn (-R).
    pub(super) budget: u32,
    /// [`Session::loads`] as it was when the feed began. It applies only to the first command of `input`.
    pub(super) loads: u8,
    pub(super) out: &'f mut Output,
}

impl<'f> InputBatch<'f, '_> {
    pub(super) fn rest(&self) -> &'f [u8] {
        &self.input[self.at..]
    }
}

/// How one step of a session, usually one command, has ended. A command that fails with [`Retry`](crate::store::Retry) has
/// changed nothing, and must run again from its start.
pub(super) enum Step {
    /// The step is done, and the feed continues with the next one.
    Done,
    /// The step needs more input, so the feed ends with `Next::Read`.
    Need,
    /// The feed ends, and returns this value to the caller.
    Stop(Next),
}

impl Session {
    /// Makes the session of a new connection. `id` is the connection's number in logs, `stats conns` and watch lines, which is
    /// its descriptor. `protocol` is that of its listener.
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
