//! The binary protocol: parses packets into commands, and writes results as packets. Pure functions; a [`Packet`] borrows
//! from the input.
//!
//! ```text
//!   0 magic   1 opcode   2 key length (2)   4 extras length   5 data type   6 vbucket or status (2)
//!   8 body length (4)    12 opaque (4)      16 cas (8)        24 extras, key, value
//! ```
//!
//! Source: protocol-binary.txt (docs.memcached.org, "Binary Protocol"), and memcached 1.6.45 for what that document leaves open.

use crate::command::{Arith, Direction, Exptime, Mode, Replies, StorageRequest};
use crate::limits::{KEY_BYTES_MAX, PACKET_BODY_BYTES_MAX, PACKET_HEAD_BYTES_MAX};

/// The first byte of a request, and so of a binary connection.
pub const MAGIC_REQUEST: u8 = 0x80;
/// The first byte of a reply.
pub const MAGIC_REPLY: u8 = 0x81;
/// Length of a packet's header, bytes.
pub const HEADER_BYTES: usize = 24;
const GET: u8 = 0x00;
const GETQ: u8 = 0x09;
/// The expiry with which an increment or decrement says that it must not create an item.
const NO_CREATE: u32 = u32::MAX;

/// The status of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Status {
    /// The command has been run; for a retrieval, the item was found.
    Ok = 0x0000,
    /// The key is absent, or a `stat` names an unknown list.
    NotFound = 0x0001,
    /// The item's cas is not the requested one or, for an add, the key is present.
    Exists = 0x0002,
    /// The item would exceed the size limit (`-I`).
    TooLarge = 0x0003,
    /// The layout does not match the opcode, or the key or body is too long. The connection is closed after this reply.
    Invalid = 0x0004,
    /// An append or prepend found no item, or no memory for the longer value.
    NotStored = 0x0005,
    /// An increment or decrement found a value that is not a number.
    NotNumeric = 0x0006,
    /// The client is not logged in, its login failed, or the command is disabled.
    Auth = 0x0020,
    /// A login needs further steps. Never sent, because PLAIN has one step.
    AuthContinue = 0x0021,
    /// The server has no such command.
    Unknown = 0x0081,
    /// There is no memory for the item, or no room in the log for the change.
    NoMemory = 0x0082,
}

impl Status {
    /// Returns the body of an error reply with this status.
    pub fn text(self) -> &'static [u8] {
        match self {
            Self::Ok | Self::AuthContinue => b"",
            Self::NotFound => b"Not found",
            Self::Exists => b"Data exists for key.",
            Self::TooLarge => b"Too large.",
            Self::Invalid => b"Invalid arguments",
            Self::NotStored => b"Not stored.",
            Self::NotNumeric => b"Non-numeric server-side value for incr or decr",
            Self::Auth => b"Auth failure.",
            Self::Unknown => b"Unknown command",
            Self::NoMemory => NO_MEMORY,
        }
    }
}

/// The body of [`Status::NoMemory`] if a storage command found no memory.
pub const NO_MEMORY: &[u8] = b"Out of memory allocating item";
/// The body of [`Status::NoMemory`] if an increment or decrement found no memory for the longer number.
pub const NO_MEMORY_COUNTING: &[u8] = b"Out of memory incrementing value";
/// The body of [`Status::NoMemory`] if an increment or decrement found no memory for the item it would create.
pub const NO_MEMORY_CREATING: &[u8] = b"Out of memory allocating new item";
/// The body of the reply to a successful login.
pub const AUTHENTICATED: &[u8] = b"Authenticated";

/// The fields of a request that its reply repeats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Echo {
    /// The opcode as sent, so quiet or not.
    pub opcode: u8,
    /// A number by which the client recognizes the reply. The server does not interpret it.
    pub opaque: [u8; 4],
}

/// A request packet without its value.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// The fields of the request that its reply repeats.
    pub echo: Echo,
    /// The command, with the key and the fields of the extras.
    pub command: Command<'a>,
    /// [`Replies::Quiet`] for a quiet opcode: a success or, if the command is a retrieval, a miss gets no reply.
    pub replies: Replies,
    /// Length of header, extras and key together, bytes.
    pub head_bytes: usize,
    /// Length of the value that follows the key, bytes.
    pub value_bytes: usize,
}

/// The command of a packet. An opcode and its quiet counterpart have the same command.
#[derive(Clone, Copy, Debug)]
pub enum Command<'a> {
    /// get, getk, gat and gatk.
    Get {
        /// The key, 1 to 250 bytes.
        key: &'a [u8],
        /// True if the reply repeats the key, even on a miss.
        with_key: bool,
        /// The item's new expiry (gat, gatk); `None` leaves the expiry as it is.
        touch: Option<Exptime>,
    },
    /// set, add, replace, append and prepend. The value follows the key.
    Store(StorageRequest<'a>),
    /// delete: the key, and the cas that the item must have; 0 stands for any cas.
    Delete(&'a [u8], u64),
    /// increment and decrement.
    Arith(Arith<'a>),
    /// touch: the key and its new expiry.
    Touch(&'a [u8], Exptime),
    /// flush: the time at which all items become invalid.
    Flush(Exptime),
    /// noop, which only gets an empty reply.
    Noop,
    /// version, whose reply is the server's version.
    Version,
    /// quit, after which the connection is closed.
    Quit,
    /// stat: the name of the requested list; an empty name stands for the general one.
    Stat(&'a [u8]),
    /// sasl list mechanisms, whose reply is the list of the mechanisms for a login.
    SaslList,
    /// sasl auth and sasl step: the name of the mechanism. The value that follows holds user and password.
    SaslAuth(&'a [u8]),
    /// A packet whose opcode the server does not have.
    Unknown,
    /// A packet whose extras and key are longer than its body. It gets an error reply, then the connection is closed.
    Torn,
    /// A packet whose layout does not match the opcode, or whose key or body is too long. It gets an error reply, then the
    /// connection is closed.
    Invalid,
}

/// Result of parsing the packet at the start of the input.
#[derive(Clone, Copy, Debug)]
pub enum Parsed<'a> {
    /// Header, extras and key have not been received completely.
    Need,
    /// The first byte is not that of a request, or header, extras and key are too long. The connection must be closed.
    Bad,
    /// A packet. Its value may not have been received completely.
    Packet(Packet<'a>),
}

/// Returns the key of the packet at the start of `input`, and the length of the packet with its value, bytes. `None` if the key
/// has not been received completely or the packet is not a request. Not everything is checked, so this is only for lookahead.
#[inline]
pub fn peek(input: &[u8]) -> Option<(&[u8], usize)> {
    let header = input.first_chunk::<HEADER_BYTES>()?;
    let [MAGIC_REQUEST, _, k0, k1, extras_bytes, _, _, _, b0, b1, b2, b3, ..] = *header else { return None };
    let key_at = HEADER_BYTES + usize::from(extras_bytes);
    let key = input.get(key_at..key_at + usize::from(u16::from_be_bytes([k0, k1])))?;
    Some((key, HEADER_BYTES + u32::from_be_bytes([b0, b1, b2, b3]) as usize))
}

/// Parses the most frequent packet, a get or getq, at the start of `input`. Returns the fields for its reply, whether a miss gets
/// a reply, the key, and the length of the packet in bytes. `None` for any other packet, which [`parse`] handles.
#[inline]
pub fn plain_get(input: &[u8]) -> Option<(Echo, Replies, &[u8], usize)> {
    let header = input.first_chunk::<HEADER_BYTES>()?;
    let [MAGIC_REQUEST, opcode @ (GET | GETQ), k0, k1, 0, _, _, _, 0, 0, b2, b3, o0, o1, o2, o3, ..] =
        *header
    else {
        return None;
    };
    let key_bytes = usize::from(u16::from_be_bytes([k0, k1]));
    if [k0, k1] != [b2, b3] || key_bytes == 0 || key_bytes > KEY_BYTES_MAX {
        return None;
    }
    let key = input.get(HEADER_BYTES..HEADER_BYTES + key_bytes)?;
    let replies = if opcode == GET { Replies::Sent } else { Replies::Quiet };
    Some((Echo { opcode, opaque: [o0, o1, o2, o3] }, replies, key, HEADER_BYTES + key_bytes))
}

/// Parses header, extras and key of the packet at the start of `input`.
pub fn parse(input: &[u8]) -> Parsed<'_> {
    let Some((header, behind)) = input.split_first_chunk::<HEADER_BYTES>() else { return Parsed::Need };
    let [magic, opcode, k0, k1, extras_bytes, _, _, _, b0, b1, b2, b3, o0, o1, o2, o3, cas @ ..] = *header;
    if magic != MAGIC_REQUEST {
        return Parsed::Bad;
    }
    let key_bytes = usize::from(u16::from_be_bytes([k0, k1]));
    let extras_bytes = usize::from(extras_bytes);
    let body_bytes = u32::from_be_bytes([b0, b1, b2, b3]);
    let cas = u64::from_be_bytes(cas);
    let head_bytes = HEADER_BYTES + extras_bytes + key_bytes;
    if head_bytes > PACKET_HEAD_BYTES_MAX {
        return Parsed::Bad;
    }
    let echo = Echo { opcode, opaque: [o0, o1, o2, o3] };
    let (kind, replies) = opcode_kind(opcode);
    let mut packet = Packet { echo, command: Command::Torn, replies, head_bytes, value_bytes: 0 };
    let Some(value_bytes) = (body_bytes as usize).checked_sub(extras_bytes + key_bytes) else {
        return Parsed::Packet(packet);
    };
    let Some((extras, behind)) = behind.split_at_checked(extras_bytes) else { return Parsed::Need };
    let Some(key) = behind.get(..key_bytes) else { return Parsed::Need };
    packet.value_bytes = value_bytes;
    packet.command = if key_bytes > KEY_BYTES_MAX || body_bytes > PACKET_BODY_BYTES_MAX {
        Command::Invalid
    } else {
        command(kind, extras, key, value_bytes, cas)
    };
    Parsed::Packet(packet)
}

/// The commands without their arguments. A quiet opcode has the same kind as the one that is not quiet.
#[derive(Clone, Copy)]
enum Kind {
    Get { with_key: bool, touch: bool },
    Store(Mode),
    Delete,
    Arith(Direction),
    Touch,
    Flush,
    Noop,
    Version,
    Quit,
    Stat,
    SaslList,
    SaslAuth,
    Unknown,
}

/// Returns the kind of an opcode, and [`Replies::Quiet`] for a quiet opcode.
fn opcode_kind(opcode: u8) -> (Kind, Replies) {
    let (loud, quiet) = (Replies::Sent, Replies::Quiet);
    match opcode {
        GET => (Kind::Get { with_key: false, touch: false }, loud),
        GETQ => (Kind::Get { with_key: false, touch: false }, quiet),
        0x0c => (Kind::Get { with_key: true, touch: false }, loud),
        0x0d => (Kind::Get { with_key: true, touch: false }, quiet),
        0x1d => (Kind::Get { with_key: false, touch: true }, loud),
        0x1e => (Kind::Get { with_key: false, touch: true }, quiet),
        0x23 => (Kind::Get { with_key: true, touch: true }, loud),
        0x24 => (Kind::Get { with_key: true, touch: true }, quiet),
        0x01 => (Kind::Store(Mode::Set), loud),
        0x11 => (Kind::Store(Mode::Set), quiet),
        0x02 => (Kind::Store(Mode::Add), loud),
        0x12 => (Kind::Store(Mode::Add), quiet),
        0x03 => (Kind::Store(Mode::Replace), loud),
        0x13 => (Kind::Store(Mode::Replace), quiet),
        0x0e => (Kind::Store(Mode::Append), loud),
        0x19 => (Kind::Store(Mode::Append), quiet),
        0x0f => (Kind::Store(Mode::Prepend), loud),
        0x1a => (Kind::Store(Mode::Prepend), quiet),
        0x04 => (Kind::Delete, loud),
        0x14 => (Kind::Delete, quiet),
        0x05 => (Kind::Arith(Direction::Up), loud),
        0x15 => (Kind::Arith(Direction::Up), quiet),
        0x06 => (Kind::Arith(Direction::Down), loud),
        0x16 => (Kind::Arith(Direction::Down), quiet),
        0x07 => (Kind::Quit, loud),
        0x17 => (Kind::Quit, quiet),
        0x08 => (Kind::Flush, loud),
        0x18 => (Kind::Flush, quiet),
        0x0a => (Kind::Noop, loud),
        0x0b => (Kind::Version, loud),
        0x10 => (Kind::Stat, loud),
        0x1c => (Kind::Touch, loud),
        0x20 => (Kind::SaslList, loud),
        0x21 | 0x22 => (Kind::SaslAuth, loud),
        _ => (Kind::Unknown, loud),
    }
}

/// Returns the command of the given kind; [`Command::Invalid`] if extras, key or value do not fit it.
fn command<'a>(kind: Kind, extras: &[u8], key: &'a [u8], value_bytes: usize, cas: u64) -> Command<'a> {
    match (kind, extras, key, value_bytes) {
        (Kind::Get { with_key, touch: false }, [], [_, ..], 0) => Command::Get { key, with_key, touch: None },
        (Kind::Get { with_key, touch: true }, &[a, b, c, d], [_, ..], _) => {
            Command::Get { key, with_key, touch: Some(exptime([a, b, c, d])) }
        }
        (Kind::Touch, &[a, b, c, d], [_, ..], _) => Command::Touch(key, exptime([a, b, c, d])),
        (Kind::Store(mode @ (Mode::Append | Mode::Prepend)), [], [_, ..], _) => {
            Command::Store(store(key, mode, 0, Exptime::NEVER, cas))
        }
        (Kind::Store(Mode::Append | Mode::Prepend), ..) => Command::Invalid,
        (Kind::Store(mode), &[f0, f1, f2, f3, e0, e1, e2, e3], [_, ..], _) => {
            // With a cas, set, add and replace all do the same: they replace the version with that cas.
            let mode = if cas == 0 { mode } else { Mode::Cas };
            let flags = u32::from_be_bytes([f0, f1, f2, f3]);
            Command::Store(store(key, mode, flags, exptime([e0, e1, e2, e3]), cas))
        }
        (Kind::Delete, [], [_, ..], 0) => Command::Delete(key, cas),
        (Kind::Arith(direction), extras, [_, ..], 0) => match count(key, direction, extras, cas) {
            Some(count) => Command::Arith(count),
            None => Command::Invalid,
        },
        (Kind::Flush, [], [], 0) => Command::Flush(Exptime(0)),
        (Kind::Flush, &[a, b, c, d], [], 0) => Command::Flush(exptime([a, b, c, d])),
        (Kind::Noop, [], [], 0) => Command::Noop,
        (Kind::Version, [], [], 0) => Command::Version,
        (Kind::Quit, [], [], 0) => Command::Quit,
        (Kind::Stat, [], _, 0) => Command::Stat(key),
        (Kind::SaslList, [], [], 0) => Command::SaslList,
        (Kind::SaslAuth, [], [_, ..], _) => Command::SaslAuth(key),
        (Kind::Unknown, ..) => Command::Unknown,
        _ => Command::Invalid,
    }
}

fn exptime(bytes: [u8; 4]) -> Exptime {
    Exptime(i64::from(u32::from_be_bytes(bytes)))
}

fn store(key: &[u8], mode: Mode, flags: u32, exptime: Exptime, compare: u64) -> StorageRequest<'_> {
    StorageRequest {
        key,
        mode,
        flags,
        exptime,
        compare,
        cas: None,
        allow_stale: false,
        vivify: None,
        key_is_binary: false,
    }
}

/// Parses the extras of an increment or decrement. `None` if their length is wrong.
fn count<'a>(key: &'a [u8], direction: Direction, extras: &[u8], compare: u64) -> Option<Arith<'a>> {
    let (delta, extras) = extras.split_first_chunk::<8>()?;
    let (initial, extras) = extras.split_first_chunk::<8>()?;
    let exptime = u32::from_be_bytes(extras.try_into().ok()?);
    Some(Arith {
        key,
        direction,
        delta: u64::from_be_bytes(*delta),
        compare,
        cas: None,
        touch: None,
        create: (exptime != NO_CREATE).then(|| (u64::from_be_bytes(*initial), Exptime(i64::from(exptime)))),
        key_is_binary: false,
    })
}

/// The lengths of a reply's parts, and its cas.
#[derive(Clone, Copy, Debug, Default)]
pub struct Parts {
    /// Length of the extras, bytes.
    pub extras_bytes: usize,
    /// Length of the key, bytes.
    pub key_bytes: usize,
    /// Length of the value, bytes.
    pub value_bytes: usize,
    /// The item's cas; 0 in a reply about no item.
    pub cas: u64,
}

/// Appends a reply's header. The caller then appends extras, key and value.
#[inline]
pub fn push_header(out: &mut Vec<u8>, echo: Echo, status: Status, parts: Parts) {
    let mut header = [0; HEADER_BYTES];
    header[0] = MAGIC_REPLY;
    header[1] = echo.opcode;
    header[2..4].copy_from_slice(&(parts.key_bytes as u16).to_be_bytes());
    header[4] = parts.extras_bytes as u8;
    header[6..8].copy_from_slice(&(status as u16).to_be_bytes());
    let body_bytes = (parts.extras_bytes + parts.key_bytes + parts.value_bytes) as u32;
    header[8..12].copy_from_slice(&body_bytes.to_be_bytes());
    header[12..16].copy_from_slice(&echo.opaque);
    header[16..].copy_from_slice(&parts.cas.to_be_bytes());
    out.extend_from_slice(&header);
}

/// Appends a reply with the value `body`, without extras and key.
pub fn push_reply(out: &mut Vec<u8>, echo: Echo, status: Status, body: &[u8], cas: u64) {
    push_header(out, echo, status, Parts { value_bytes: body.len(), cas, ..Parts::default() });
    out.extend_from_slice(body);
}

/// Appends one statistic as a packet. The packet with an empty name and an empty value ends a list.
pub fn push_stat(out: &mut Vec<u8>, echo: Echo, name: &[u8], value: &[u8]) {
    let parts = Parts { key_bytes: name.len(), value_bytes: value.len(), ..Parts::default() };
    push_header(out, echo, Status::Ok, parts);
    out.extend_from_slice(name);
    out.extend_from_slice(value);
}
