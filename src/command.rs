//! The vocabulary between protocols and engine: requests and their results. Plain values that live for one command,
//! independent of protocol bytes and of the store.

/// An expiry time as sent by clients: 0 = never, negative = already expired, up to 30 days = relative, more = Unix time.
///
/// Source: protocol.txt, "Expiration times".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exptime(pub i64);

impl Exptime {
    /// The item never expires.
    pub const NEVER: Self = Self(0);
}

/// The condition under which a storage command stores, and what it does with the present value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Stores whether or not the key is present.
    Set,
    /// Only if the key is absent.
    Add,
    /// Only if the key is present.
    Replace,
    /// Appends to the present value; flags and expiry stay.
    Append,
    /// Puts the new value in front of the present one; flags and expiry stay.
    Prepend,
    /// Only if the present item has the given cas.
    Cas,
}

/// A storage command without its value.
#[derive(Clone, Copy, Debug)]
pub struct StorageRequest<'a> {
    /// 1 to 250 bytes.
    pub key: &'a [u8],
    /// When to store, and what to do with the present value.
    pub mode: Mode,
    /// The client flags that are stored with the item.
    pub flags: u32,
    /// The expiry that is stored with the item.
    pub exptime: Exptime,
    /// The cas that the present item must have; 0 compares nothing (and never matches for [`Mode::Cas`]).
    pub compare: u64,
    /// The cas that the new version gets; `None` if the server chooses it.
    pub cas: Option<u64>,
    /// If `compare` is older than the item's cas, store all the same and mark the item stale (meta `I`).
    pub allow_stale: bool,
    /// The expiry with which append and prepend create a missing item (meta `N`); `None` if they must not.
    pub vivify: Option<Exptime>,
    /// The key came in base64, and is shown in base64.
    pub key_is_binary: bool,
}

/// Result of a storage command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// The value has been stored.
    Stored(Written),
    /// Nothing was stored: the condition of add, replace, append or prepend failed.
    NotStored,
    /// Nothing was stored: the item's cas is another one.
    Exists,
    /// Nothing was stored: the command has a cas, but the key is absent.
    NotFound,
    /// Nothing was stored, for lack of memory.
    NoMemory,
    /// Nothing was stored: the item would be over the size limit.
    TooLarge,
}

/// The version of an item that a storage command has stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The cas of that version; 0 with -C.
    pub cas: u64,
    /// Length of the whole value, bytes; after an append, with the old part.
    pub value_bytes: usize,
}

/// Whether a number is incremented or decremented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Incremented; wraps at 2^64.
    Up,
    /// Decremented; stops at 0.
    Down,
}

/// An increment or decrement.
#[derive(Clone, Copy, Debug)]
pub struct Arith<'a> {
    /// 1 to 250 bytes.
    pub key: &'a [u8],
    /// Up or down.
    pub direction: Direction,
    /// The amount to add or subtract.
    pub delta: u64,
    /// The cas that the present item must have; 0 compares nothing.
    pub compare: u64,
    /// The cas that the new version gets; `None` if the server chooses it.
    pub cas: Option<u64>,
    /// The new expiry of a present item (meta `T`).
    pub touch: Option<Exptime>,
    /// The value and expiry with which a missing item is created; `None` if it must not be.
    pub create: Option<(u64, Exptime)>,
    /// The key came in base64, and is shown in base64.
    pub key_is_binary: bool,
}

/// Result of an [`Arith`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArithResult {
    /// The number has been stored.
    Number {
        /// The number after the change; for a created item, the initial value.
        number: u64,
        /// The cas of the stored version; 0 with -C.
        cas: u64,
        /// True if the item was absent and has been created.
        created: bool,
        /// Seconds that the item had left to live before [`Arith::touch`] took effect; `None` = for ever.
        ttl: Option<u32>,
    },
    /// The key is absent.
    NotFound,
    /// The value is not a number.
    NotNumeric,
    /// The item's cas is another one.
    Exists,
    /// The longer number finds no memory, or the log has no room for the change.
    NoMemory,
    /// The item is absent, and there is no memory to create it.
    NoMemoryToCreate,
}

/// Result of a delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// The item has been deleted, or changed instead of deleted as the command asked (`md`).
    Deleted,
    /// The key was absent.
    NotFound,
    /// The item's cas is another one.
    Exists,
    /// Nothing was deleted: the log has no room, because another ring lags.
    NoMemory,
}

/// Result of a touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touched {
    /// The item has its new expiry.
    Touched,
    /// The key is absent.
    NotFound,
    /// Nothing was changed: the log has no room, because another ring lags.
    NoMemory,
}

/// Result of a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flushed {
    /// All items are invalid at once, or will be at the time that was given.
    Done,
    /// The server was started with -F.
    NotAllowed,
    /// Nothing was flushed: the log has no room, because another ring lags.
    NoMemory,
}

/// Whether a command gets all of its replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replies {
    /// All replies are sent.
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
