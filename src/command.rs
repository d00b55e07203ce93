//! The vocabulary between protocols and engine: requests and their results. These are plain values that live for one command and
//! depend neither on protocol bytes nor on the store.

/// An expiry as clients send it: 0 is never, a negative number is already expired. Up to 30 days it is a number of seconds from
/// now, above that a Unix time.
///
/// Source: protocol.txt, "Expiration times".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exptime(pub i64);

impl Exptime {
    /// The expiry of an item that never expires.
    pub const NEVER: Self = Self(0);
}

/// The storage commands. They differ in the condition for storing, and in what happens to the present value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Stores whether the key is present or absent.
    Set,
    /// Stores only if the key is absent.
    Add,
    /// Stores only if the key is present.
    Replace,
    /// Appends the new value to the present one, if the key is present. Flags and expiry do not change.
    Append,
    /// Puts the new value in front of the present one, if the key is present. Flags and expiry do not change.
    Prepend,
    /// Stores only if the present item has the cas [`StorageRequest::compare`].
    Cas,
}

/// A storage command without its value, which is received separately.
#[derive(Clone, Copy, Debug)]
pub struct StorageRequest<'a> {
    /// The key, 1 to 250 bytes.
    pub key: &'a [u8],
    /// The condition for storing, and what happens to the present value.
    pub mode: Mode,
    /// The client flags to store with the item. The server does not interpret them.
    pub flags: u32,
    /// The expiry to store with the item. [`Mode::Append`] and [`Mode::Prepend`] ignore it.
    pub exptime: Exptime,
    /// The cas that the present item must have. 0 stands for any cas, except with [`Mode::Cas`], where 0 never matches.
    pub compare: u64,
    /// The cas that the new version gets; `None` if the server chooses it.
    pub cas: Option<u64>,
    /// True if the command also stores when `compare` is less than the item's cas, and then marks the item as stale (meta `I`).
    pub allow_stale: bool,
    /// The expiry of the item that append and prepend create if the key is absent (meta `N`); `None` if they must not create one.
    pub vivify: Option<Exptime>,
    /// True if the client sent the key in base64. Replies and dumps then show it in base64 too.
    pub key_is_binary: bool,
}

/// Result of a storage command. Every variant but [`Stored::Stored`] means that nothing was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// The value has been stored, as this version of the item.
    Stored(Written),
    /// The condition of add, replace, append or prepend failed.
    NotStored,
    /// The item's cas is not the requested one.
    Exists,
    /// The command requires a cas, but the key is absent.
    NotFound,
    /// There is no memory for the item, or no room in the log for the change.
    NoMemory,
    /// The item would exceed the size limit (`-I`).
    TooLarge,
}

/// The version of an item that a storage command has stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The cas of the new version; 0 with -C.
    pub cas: u64,
    /// Length of the whole stored value, bytes. After an append or prepend it includes the old value.
    pub value_bytes: usize,
}

/// Says whether a number is incremented or decremented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The number is incremented, and wraps at 2^64.
    Up,
    /// The number is decremented, and stops at 0.
    Down,
}

/// A command that increments or decrements the number in an item.
#[derive(Clone, Copy, Debug)]
pub struct Arith<'a> {
    /// The key, 1 to 250 bytes.
    pub key: &'a [u8],
    /// Whether `delta` is added or subtracted.
    pub direction: Direction,
    /// The amount to add or subtract.
    pub delta: u64,
    /// The cas that the present item must have; 0 stands for any cas.
    pub compare: u64,
    /// The cas that the new version gets; `None` if the server chooses it.
    pub cas: Option<u64>,
    /// The new expiry of the item if the key is present (meta `T`); `None` leaves the expiry as it is.
    pub touch: Option<Exptime>,
    /// The number and the expiry of the item that is created if the key is absent; `None` if none must be created.
    pub create: Option<(u64, Exptime)>,
    /// True if the client sent the key in base64. Replies and dumps then show it in base64 too.
    pub key_is_binary: bool,
}

/// Result of an [`Arith`]. Every variant but [`ArithResult::Number`] means that nothing was stored.
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
        /// Seconds that the item had to live before [`Arith::touch`] took effect; `None` if it never expires.
        ttl: Option<u32>,
    },
    /// The key is absent.
    NotFound,
    /// The present value is not a number.
    NotNumeric,
    /// The item's cas is not the requested one.
    Exists,
    /// There is no memory for the longer number, or no room in the log for the change.
    NoMemory,
    /// The key is absent, and there is no memory to create the item.
    NoMemoryToCreate,
}

/// Result of a delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// The item has been deleted or, if a meta delete asked for it, marked as stale or emptied instead.
    Deleted,
    /// Nothing was deleted, because the key is absent.
    NotFound,
    /// The item's cas is not the requested one.
    Exists,
    /// Nothing was deleted, because the log has no room: another ring has not replayed its deltas.
    NoMemory,
}

/// Result of a touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touched {
    /// The item has its new expiry.
    Touched,
    /// The key is absent.
    NotFound,
    /// Nothing was changed, because the log has no room: another ring has not replayed its deltas.
    NoMemory,
}

/// Result of a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flushed {
    /// All items have become invalid, or will become so at the requested time.
    Done,
    /// Nothing was flushed, because the server was started with -F.
    NotAllowed,
    /// Nothing was flushed, because the log has no room: another ring has not replayed its deltas.
    NoMemory,
}

/// Which of a command's replies are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replies {
    /// All replies of the command are sent.
    Sent,
    /// Some replies are suppressed. A text command with `noreply` gets none. A binary quiet command or one with meta `q` gets
    /// none if it plainly succeeds or, if it is a retrieval, misses.
    Quiet,
}

impl Replies {
    /// True if some replies are suppressed ([`Replies::Quiet`]).
    pub fn quiet(self) -> bool {
        self == Self::Quiet
    }
}
