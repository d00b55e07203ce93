//! What a get needs to know of a value on flash: a copy of what its stub says. No state.

use super::{Item, Place};
use crate::clock::Timestamp;

/// A value on flash, as a get finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stub {
    /// Where the value is.
    pub place: Place,
    /// True if the value is to come back to memory once it has been read, because it is read often.
    pub promotes: bool,
    /// The item's client flags.
    pub flags: u32,
    /// The item's CAS unique, which stays the same when the value is moved between memory and flash.
    pub cas: u64,
}

impl Item<'_> {
    /// A copy of what the stub says; `None` if the value is in memory. Ask before [`Item::record_access`], since `promotes`
    /// depends on the use before this one.
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
