//! The types in which a caller asks the store for something, and in which the store answers. Plain data that belongs to one
//! request.

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
    /// The key's item has expired. It has been removed (unless the log is full), so that further look-ups miss.
    Expired,
    /// The key's item was removed by the last flush. Reported at most once, and only until the index forgets flushed entries.
    /// In rare cases also reported for a key that had no item.
    Flushed,
    /// The key has no item.
    Miss,
}

/// A position in a walk over all items; the default is the beginning.
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
    /// The value has been received into item memory. It is published there if the edit's value is [`Value::Data`].
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
    /// Removes the key's item, if there is one.
    Remove,
    /// Stores a new version.
    Put(Put),
    /// Changes the item's expiry and marks in place. All rings see the change in the order of writes; the CAS unique stays the
    /// same.
    UpdateMetadata(UpdateMetadata),
    /// Decides nothing yet, because the old value is needed. If the value is on flash, the edit ends with [`Retry::Load`].
    /// Otherwise the same as [`Edit::Keep`].
    Load,
}

/// A new version of an item.
#[derive(Debug)]
pub struct Put {
    /// Client flags.
    pub flags: u32,
    /// When the new version expires, or [`Timestamp::NEVER`].
    pub exptime: Timestamp,
    /// What the new version's value consists of.
    pub value: Value,
    /// The CAS unique that the client chose (meta `E`); `None` for the store's next number.
    pub cas: Option<u64>,
    /// True if the new version is marked stale, which a meta get shows as flag `X`.
    pub stale: bool,
    /// True if a client has been told to recache the item, so that other clients are not told.
    pub won: bool,
    /// True if the client gave the key in base64 (flag `b` of the meta protocol).
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
    /// The request's data, which is the number of an incr or decr, padded with spaces to the length of the old value.
    Padded,
    /// The request's data, which is the old value as it was read from flash.
    Loaded,
    /// The old value, followed by the request's data (append).
    OldThenData,
    /// The request's data, followed by the old value (prepend).
    DataThenOld,
    /// The old value; if it is on flash, it stays there.
    Old,
    /// No bytes.
    Empty,
    /// The first bytes of this buffer; the second field says how many (incr, decr).
    Digits([u8; 24], u8),
}

impl Value {
    /// True if memcached would change the item in place, so that clients see the same item with a changed value. Then its
    /// fetched mark and last access are kept. A number that becomes longer than the old value is a new item.
    pub(super) fn is_same_item(&self, old_value_bytes: usize) -> bool {
        match self {
            Self::Old | Self::Padded | Self::Loaded => true,
            Self::Digits(_, length) => usize::from(*length) <= old_value_bytes,
            _ => false,
        }
    }
}

/// Changes of an item's expiry and marks. The default changes nothing.
#[derive(Debug, Default)]
pub struct UpdateMetadata {
    /// The new expiry; `None` leaves the expiry as it is.
    pub exptime: Option<Timestamp>,
    /// True sets the stale mark, false clears it; `None` leaves the mark as it is.
    pub stale: Option<bool>,
    /// True sets the won mark, false clears it; `None` leaves the mark as it is.
    pub won: Option<bool>,
}

/// The result of an edit that was carried out.
#[derive(Debug)]
pub struct Edited<R> {
    /// What `decide` returned beside the edit, in its last call.
    pub outcome: R,
    /// The CAS unique of the item after the edit; 0 if there is no item.
    pub cas: u64,
}

/// A value that has to be brought from flash to memory before a command can run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The key of the value.
    pub key: Box<[u8]>,
    /// Where the value is on flash.
    pub place: Place,
}

/// Why nothing has been done yet, and when the caller should try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// More has to be evicted than one call may evict: try again when other connections have had their turn.
    Soon,
    /// Values that are being received hold all the memory that they may: try again in a while, when some of them are complete.
    Later,
    /// The log is full, or memory cannot be reused before other rings have replayed; these rings have been woken. Try again
    /// when they have replayed: see [`Store::slowest`](super::Store::slowest).
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
    /// No memory has been reserved yet: [`Retry`] says when to try again.
    Retry(Retry),
}

/// Why an edit was not carried out. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EditError {
    /// The store is full and may evict nothing, as in [`ReserveError::OutOfMemory`].
    OutOfMemory,
    /// The new version is larger than `-I` allows.
    TooLarge,
    /// The item came from `--copy-from`, and a client has edited its key since the copy began, or the copy has ended.
    Superseded,
    /// The edit cannot be carried out yet: [`Retry`] says when to try again.
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
