//! The types in which a caller asks the store for something, and in which the store answers. Plain data; belongs to the request.

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
    /// The key's item has expired. It is removed (unless the log is full), so that further look-ups miss.
    Expired,
    /// The key's item was removed by the last flush. Reported once at most, and only until the index forgets flushed entries.
    Flushed,
    /// The key has no item.
    Miss,
}

/// A place in a walk over all items; the default is the beginning.
#[derive(Clone, Copy, Debug, Default)]
pub struct Walk {
    pub(super) table: usize,
    pub(super) position: Position,
}

/// The value that came with a request.
#[derive(Debug)]
pub enum Data<'d> {
    /// No value came.
    None,
    /// The value lies in the connection's read buffer.
    Bytes(&'d [u8]),
    /// Received into item memory; published in place if the edit's value is [`Value::Data`].
    Reservation(Reservation),
}

impl Data<'_> {
    /// The bytes of the value; empty if none came.
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
    /// Leaves the key as it is.
    Keep,
    /// Removes the item.
    Remove,
    /// Stores a new version.
    Put(Put),
    /// Changes the item's expiry and marks in place. All rings see the change in the order of writes; the CAS unique stays.
    UpdateMetadata(UpdateMetadata),
    /// Decides nothing yet, because the value is needed: ends with [`Retry::Load`] if it is on flash. Otherwise the same as
    /// [`Edit::Keep`].
    Load,
}

/// A new version of an item.
#[derive(Debug)]
pub struct Put {
    /// Client flags.
    pub flags: u32,
    /// When it expires, or [`Timestamp::NEVER`].
    pub exptime: Timestamp,
    /// What its value consists of.
    pub value: Value,
    /// The CAS unique that the client chose (meta `E`); `None` for the next number.
    pub cas: Option<u64>,
    /// True if the new version is marked stale (flag `X` of a meta get).
    pub stale: bool,
    /// True if a client has been told to recache it, so that others are not told.
    pub won: bool,
    /// True if the key came in base64 (flag `b` of the meta protocol).
    pub key_is_binary: bool,
}

impl Put {
    /// A new version with all fields of `old`, but another value and CAS unique.
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

/// What a new version's value consists of.
#[derive(Debug)]
pub enum Value {
    /// The request's data.
    Data,
    /// The request's data: the number of an incr or decr, padded with spaces to the length of the old value.
    Padded,
    /// The request's data: the old value as it was read from flash.
    Loaded,
    /// The old value, then the data (append).
    OldThenData,
    /// The data, then the old value (prepend).
    DataThenOld,
    /// The old value; if it is on flash, it stays there.
    Old,
    /// No bytes.
    Empty,
    /// The first bytes of this buffer, as many as the second number says (incr, decr).
    Digits([u8; 24], u8),
}

impl Value {
    /// True if clients see the new version as the same item with a changed value, so that its past uses are kept: where memcached
    /// changes the item in place. A number that becomes longer than the old value is a new item.
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
    /// The new expiry; `None` leaves it as it is.
    pub exptime: Option<Timestamp>,
    /// True sets the stale mark, false clears it; `None` leaves it as it is.
    pub stale: Option<bool>,
    /// True sets the won mark, false clears it; `None` leaves it as it is.
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

/// A value that has to be brought from flash to memory before a command can run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The key.
    pub key: Box<[u8]>,
    /// Where its value is on flash.
    pub place: Place,
}

/// Why nothing was done yet, and when to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// More has to be evicted than one call may: try again when other connections have had their turn.
    Soon,
    /// Values that are being received hold all the memory that they may: try again in a while, when some of them are complete.
    Later,
    /// The log is full, or memory cannot be reused before other rings have replayed; they have been woken. Try again when they
    /// have replayed: see [`Store::slowest`](super::Store::slowest).
    Stalled,
    /// The old value is on flash: try again when it has been read and promoted.
    /// [`Shard::take_wanted`](super::Shard::take_wanted) says which value.
    Load,
}

/// Why no memory was reserved for a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReserveError {
    /// The store is full and may evict nothing: with -M, or because all memory is in use.
    OutOfMemory,
    /// Not yet: [`Retry`] says when to try again.
    Retry(Retry),
}

/// Why an edit was not carried out. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EditError {
    /// See [`ReserveError::OutOfMemory`].
    OutOfMemory,
    /// The new version is over `-I`.
    TooLarge,
    /// The item came from `--copy-from`, and a client has edited its key since the copy began, or the copy has ended.
    Superseded,
    /// Not yet: [`Retry`] says when to try again.
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
