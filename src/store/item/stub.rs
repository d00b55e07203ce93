//! What a get needs to know of a value on flash: a copy of what its stub says. No state.

use super::{Item, Place};
use crate::clock::Timestamp;

/// What a get needs to know of a value on flash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stub {
    /// Where the value is on flash.
    pub place: Place,
    /// True if the value is to be stored in memory again once it has been read from flash, because clients use it often.
    pub promotes: bool,
    /// The item's client flags.
    pub flags: u32,
    /// The item's CAS unique, which stays the same when the value is moved between memory and flash.
    pub cas: u64,
}

impl Item<'_> {
    /// A copy of what the stub says; `None` if the value is in memory. Must be called before [`Item::record_access`], since
    /// `promotes` depends on the previous use of the item.
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
