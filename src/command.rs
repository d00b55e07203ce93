//! The vocabulary between protocols and engine: what a request asks for and what came of it. No bytes of a protocol, no store.

/// An expiry time as clients send it: 0 is never, negative has passed, up to 30 days is relative, more is Unix time.
///
/// Source: protocol.txt, "Expiration times".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exptime(pub i64);

impl Exptime {
    /// No expiry.
    pub const NEVER: Self = Self(0);
}

/// The condition and the manner of a storage command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Whatever is there.
    Set,
    /// Only if nothing is there.
    Add,
    /// Only if something is there.
    Replace,
    /// Behind what is there; its flags and expiry stay.
    Append,
    /// In front of what is there; its flags and expiry stay.
    Prepend,
    /// Only if the item there has the given cas.
    Cas,
}

/// A storage command without its value.
#[derive(Clone, Copy, Debug)]
pub struct Store<'a> {
    /// 1 to 250 bytes.
    pub key: &'a [u8],
    /// Condition and manner.
    pub mode: Mode,
    /// Client flags.
    pub flags: u32,
    /// When it expires.
    pub exptime: Exptime,
    /// The cas that the present item must have; 0 compares nothing (and never matches for [`Mode::Cas`]).
    pub compare: u64,
    /// The new version's cas, if the client chooses it.
    pub cas: Option<u64>,
    /// An older `compare` stores too, marked stale (meta `I`).
    pub allow_stale: bool,
    /// Append and prepend create a missing item with this expiry (meta `N`).
    pub vivify: Option<Exptime>,
    /// The key came in base64 and is shown so.
    pub key_is_binary: bool,
}

/// What came of a storage command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// Stored under this cas.
    Stored(Written),
    /// The condition of add, replace, append or prepend did not hold.
    NotStored,
    /// The cas differs.
    Exists,
    /// A cas was asked for and nothing is there.
    NotFound,
    /// No memory; nothing was stored.
    NoMemory,
    /// Over the item size limit; nothing was stored.
    TooLarge,
}

/// A stored version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its cas.
    pub cas: u64,
    /// Its value's length, bytes.
    pub value_bytes: usize,
}

/// Up or down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Wraps at 2^64.
    Up,
    /// Stops at 0.
    Down,
}

/// An increment or decrement.
#[derive(Clone, Copy, Debug)]
pub struct Count<'a> {
    /// 1 to 250 bytes.
    pub key: &'a [u8],
    /// Up or down.
    pub direction: Direction,
    /// By how much.
    pub delta: u64,
    /// The cas that the present item must have; 0 compares nothing.
    pub compare: u64,
    /// The new version's cas, if the client chooses it.
    pub cas: Option<u64>,
    /// A new expiry for an item that is there (meta `T`).
    pub touch: Option<Exptime>,
    /// Create a missing item: initial value and expiry.
    pub create: Option<(u64, Exptime)>,
    /// The key came in base64 and is shown so.
    pub key_is_binary: bool,
}

/// What came of a [`Count`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// The number stored and its cas; `created` if it is the initial one.
    Number {
        /// The new value.
        number: u64,
        /// The item's cas.
        cas: u64,
        /// Whether the item was created.
        created: bool,
        /// Seconds left to live before [`Count::touch`] took effect; None is for ever.
        ttl: Option<u32>,
    },
    /// Nothing is there.
    NotFound,
    /// The value is not a number.
    NotNumeric,
    /// The cas differs.
    Exists,
    /// No memory for the longer number.
    NoMemory,
    /// No memory for the new item.
    NoMemoryToCreate,
}

/// What came of a delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// Gone.
    Deleted,
    /// Nothing was there.
    NotFound,
    /// The cas differs.
    Exists,
    /// No memory for the tombstone.
    NoMemory,
}

/// What came of a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flushed {
    /// Everything is gone, or will be in time.
    Done,
    /// The server was started without it.
    NotAllowed,
    /// No memory for the tombstone.
    NoMemory,
}

/// Whether nominal replies are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replies {
    /// All.
    Sent,
    /// None (`noreply`), or only errors (binary quiet commands, meta `q`).
    Quiet,
}

impl Replies {
    /// True for [`Replies::Quiet`].
    pub fn quiet(self) -> bool {
        self == Self::Quiet
    }
}
