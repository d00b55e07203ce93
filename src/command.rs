//! The vocabulary between protocols and engine: requests and their results. Plain values that live for one command,
//! independent of protocol bytes and of the store.

/// An expiry time as sent by clients: 0 = never, negative = already expired, up to 30 days = relative, more = Unix time.
///
/// Source: protocol.txt, "Expiration times".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exptime(pub i64);

impl Exptime {
    /// No expiry.
    pub const NEVER: Self = Self(0);
}

/// The condition and mode of a storage command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Unconditional.
    Set,
    /// Only if the key is absent.
    Add,
    /// Only if the key is present.
    Replace,
    /// After the present value; flags and expiry stay.
    Append,
    /// Before the present value; flags and expiry stay.
    Prepend,
    /// Only if the present item has the given cas.
    Cas,
}

/// A storage command without its value.
#[derive(Clone, Copy, Debug)]
pub struct StorageRequest<'a> {
    /// 1 to 250 bytes.
    pub key: &'a [u8],
    /// Condition and mode.
    pub mode: Mode,
    /// Client flags.
    pub flags: u32,
    /// Expiry.
    pub exptime: Exptime,
    /// The cas that the present item must have; 0 compares nothing (and never matches for [`Mode::Cas`]).
    pub compare: u64,
    /// The new version's cas, if the client chooses it.
    pub cas: Option<u64>,
    /// If `compare` is older than the item, store anyway and mark the item stale (meta `I`).
    pub allow_stale: bool,
    /// Append and prepend create a missing item with this expiry (meta `N`).
    pub vivify: Option<Exptime>,
    /// The key came in base64 and is shown so.
    pub key_is_binary: bool,
}

/// Result of a storage command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// Stored under this cas.
    Stored(Written),
    /// The condition of add, replace, append or prepend failed.
    NotStored,
    /// The cas differs.
    Exists,
    /// The cas of an absent key was compared.
    NotFound,
    /// No memory; nothing was stored.
    NoMemory,
    /// Over the item size limit; nothing was stored.
    TooLarge,
}

/// A stored version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The cas of the stored version.
    pub cas: u64,
    /// Length of its value, bytes.
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
pub struct Arith<'a> {
    /// 1 to 250 bytes.
    pub key: &'a [u8],
    /// Up or down.
    pub direction: Direction,
    /// The amount.
    pub delta: u64,
    /// The cas that the present item must have; 0 compares nothing.
    pub compare: u64,
    /// The new version's cas, if the client chooses it.
    pub cas: Option<u64>,
    /// A new expiry for a present item (meta `T`).
    pub touch: Option<Exptime>,
    /// Create a missing item: initial value and expiry.
    pub create: Option<(u64, Exptime)>,
    /// The key came in base64 and is shown so.
    pub key_is_binary: bool,
}

/// Result of an [`Arith`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArithResult {
    /// Stored; `created` if it is the initial value.
    Number {
        /// The new value.
        number: u64,
        /// The item's cas.
        cas: u64,
        /// True if the item was created.
        created: bool,
        /// Time to live before [`Arith::touch`] took effect, seconds; None = for ever.
        ttl: Option<u32>,
    },
    /// The key is absent.
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

/// Result of a delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// Deleted.
    Deleted,
    /// The key was absent.
    NotFound,
    /// The cas differs.
    Exists,
    /// The log has no room, because another ring lags.
    NoMemory,
}

/// Result of a touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touched {
    /// The item has its new expiry.
    Touched,
    /// The key is absent.
    NotFound,
    /// No memory to say so to the other rings.
    NoMemory,
}

/// Result of a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flushed {
    /// All items are invalid, now or at the given time.
    Done,
    /// The server was started with -F.
    NotAllowed,
    /// The log has no room, because another ring lags.
    NoMemory,
}

/// Which replies are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replies {
    /// All.
    Sent,
    /// With `noreply`, none. For binary quiet commands and meta `q`, none for a plain success or, for retrievals, a
    /// miss.
    Quiet,
}

impl Replies {
    /// True for [`Replies::Quiet`].
    pub fn quiet(self) -> bool {
        self == Self::Quiet
    }
}
