//! What a get needs to know of a value on flash: a copy of what its stub says. No state.

use super::{Item, Place};
use crate::clock::Timestamp;

/// A value on flash, as a get finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stub {
    /// Where it is.
    pub place: Place,
    /// True if the value is to come back to memory once it has been read, because it is read often.
    pub promotes: bool,
    /// The item's client flags and CAS unique, which it keeps wherever its value is moved.
    pub flags: u32,
    /// See `flags`.
    pub cas: u64,
}

impl Item<'_> {
    /// The stub, if the value is on flash. Ask before the get is recorded as a use ([`Item::record_access`]).
    #[inline]
    pub fn stub(&self, now: Timestamp) -> Option<Stub> {
        if self.is_stub() { self.read_stub(now) } else { None }
    }

    #[cold]
    fn read_stub(&self, now: Timestamp) -> Option<Stub> {
        let place = self.place()?;
        let age = now.0.saturating_sub(self.last_access().0);
        let promotes = self.hits() > 0
            && self.base.flash().is_some_and(|flash| flash.promotes() && age < flash.promote_age());
        Some(Stub { place, promotes, flags: self.flags(), cas: self.cas() })
    }
}
