//! What a caller asks of the store, and what comes of it.

use super::flash::Place;
use super::index::Position;
use super::item::Item;
use super::reservation::Reservation;
use crate::clock::Timestamp;

/// What a look-up finds.
#[derive(Debug)]
pub enum Lookup<'a> {
    /// The live item.
    Hit(Item<'a>),
    /// It was there, its time had passed. Reported once, then it is a miss.
    Expired,
    /// It was there, but is older than the last flush. Reported once, as long as the index has not been tidied.
    Flushed,
    /// Nothing.
    Miss,
}

/// A place in a walk over all items; the default is the beginning.
#[derive(Clone, Copy, Debug, Default)]
pub struct Walk {
    pub(super) table: usize,
    pub(super) position: Position,
}

/// The request's value.
#[derive(Debug)]
pub enum Data<'d> {
    /// It has none.
    None,
    /// In the read buffer.
    Bytes(&'d [u8]),
    /// Received into item memory; published in place if the edit's value is [`Value::Data`].
    Reservation(Reservation),
}

impl Data<'_> {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::None => &[],
            Self::Bytes(bytes) => bytes,
            Self::Reservation(reservation) => reservation.bytes(),
        }
    }
}

/// What an edit does to its key.
#[derive(Debug)]
pub enum Edit {
    /// Nothing.
    Keep,
    /// Removes the item.
    Remove,
    /// Stores a new version.
    Put(Put),
    /// Changes the item's fields in place: ordered like a write, cas stays.
    UpdateMetadata(UpdateMetadata),
    /// Nothing before the value, which is on flash, is in memory: see [`Retry::Load`].
    Load,
}

/// A new version of an item.
#[derive(Debug)]
pub struct Put {
    /// Client flags.
    pub flags: u32,
    /// When it expires.
    pub exptime: Timestamp,
    /// Its value.
    pub value: Value,
    /// An explicit CAS unique (meta `E`), else the next number.
    pub cas: Option<u64>,
    /// Marked stale.
    pub stale: bool,
    /// Somebody has been told to recache it.
    pub won: bool,
    /// The key came in base64.
    pub key_is_binary: bool,
}

impl Put {
    /// `old` with another value.
    pub fn again(old: &Item<'_>, value: Value, cas: Option<u64>) -> Self {
        Self {
            flags: old.flags(),
            exptime: old.exptime(),
            value,
            cas,
            stale: old.stale(),
            won: old.won(),
            key_is_binary: old.key_is_binary(),
        }
    }
}

/// A new version's value.
#[derive(Debug)]
pub enum Value {
    /// The request's data.
    Data,
    /// The request's data, which is the old value counted on, in its old length.
    Padded,
    /// The request's data, which is the old value as it was read from flash.
    Loaded,
    /// The old value, then the data (append).
    OldThenData,
    /// The data, then the old value (prepend).
    DataThenOld,
    /// The old value.
    Old,
    /// Nothing.
    Empty,
    /// The front of this buffer, of this length in bytes (incr, decr).
    Digits([u8; 24], u8),
}

impl Value {
    /// A counted item and one marked stale are the same item to its users, whose past uses are kept: memcached writes both
    /// in place.
    /// A number that has become longer is another item.
    pub(super) fn is_same_item(&self, old_value_bytes: usize) -> bool {
        match self {
            Self::Old | Self::Padded | Self::Loaded => true,
            Self::Digits(_, length) => usize::from(*length) <= old_value_bytes,
            _ => false,
        }
    }
}

/// Changes of an item's own fields.
#[derive(Debug, Default)]
pub struct UpdateMetadata {
    /// Sets the expiry.
    pub exptime: Option<Timestamp>,
    /// Sets or clears the stale mark.
    pub stale: Option<bool>,
    /// Sets or clears the won mark.
    pub won: Option<bool>,
}

/// An edit that was carried out.
#[derive(Debug)]
pub struct Edited<R> {
    /// What `decide` returned in its last call.
    pub outcome: R,
    /// The CAS unique of the item after the edit; 0 if there is none.
    pub cas: u64,
}

/// A value that has to be brought from flash to memory before its command can run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its key.
    pub key: Box<[u8]>,
    /// Where it is.
    pub place: Place,
}

/// Why nothing was done yet: try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// When others have had their turn: more has to be evicted than one call may.
    Soon,
    /// In a while, when some of the values have come that are on their way: they hold all the memory that they may.
    Later,
    /// When other rings have replayed, which have been woken: the log is full, or memory waits for them. See
    /// [`Store::slowest`](super::Store::slowest).
    Stalled,
    /// When the old value has been read from flash and promoted: [`Shard::take_wanted`](super::Shard::take_wanted) says which.
    Load,
}

/// Why no memory was reserved for a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReserveError {
    /// No memory: -M and full, or everything is in use.
    OutOfMemory,
    /// There may be some later.
    Retry(Retry),
}

/// Why an edit was not carried out. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EditError {
    /// See [`ReserveError::OutOfMemory`].
    OutOfMemory,
    /// The new version is over `-I`.
    TooLarge,
    /// A copied item, whose key has been written since the copy began.
    Superseded,
    /// It may be carried out later.
    Retry(Retry),
}

impl From<Retry> for ReserveError {
    fn from(retry: Retry) -> Self {
        Self::Retry(retry)
    }
}

impl From<Retry> for EditError {
    fn from(retry: Retry) -> Self {
        Self::Retry(retry)
    }
}

impl From<ReserveError> for EditError {
    fn from(error: ReserveError) -> Self {
        match error {
            ReserveError::OutOfMemory => Self::OutOfMemory,
            ReserveError::Retry(retry) => Self::Retry(retry),
        }
    }
}
