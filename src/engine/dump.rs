//! Walks over all items in slices, for dumps.
//!
//! The module extends [`Executor`]; the caller owns the progress of a walk. It may import `executor` and the modules named before
//! it in `engine`.

use crate::clock::Timestamp;
use crate::engine::Executor;
use crate::store::{Item, Walk};

/// A set of class numbers from 1 to 63.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassSet(u64);

impl ClassSet {
    /// The set of all classes.
    pub const ALL: Self = Self(u64::MAX);

    /// Parses a comma-separated list of class numbers from 1 to 63. `None` if the list contains anything else. Empty elements are
    /// ignored.
    pub fn parse(list: &[u8]) -> Option<Self> {
        let mut set = 0;
        for number in list.split(|&byte| byte == b',').filter(|number| !number.is_empty()) {
            match std::str::from_utf8(number).ok()?.parse() {
                Ok(class @ 1..=63) => set |= 1u64 << class,
                _ => return None,
            }
        }
        Some(Self(set))
    }

    /// True if the set contains `class`.
    pub fn has(self, class: u8) -> bool {
        class < 64 && self.0 & (1 << class) != 0
    }
}

impl Executor<'_> {
    /// Examines the next slice of `walk`, and passes each live item of `classes` to `show`, with its class. Returns the number of
    /// items examined; `None` if the walk has ended.
    pub fn walk(
        &mut self,
        walk: &mut Walk,
        classes: ClassSet,
        mut show: impl FnMut(&Item<'_>, u8),
    ) -> Option<u32> {
        let (now, shared) = (self.now(), self.shared);
        let mut looked_at = 0;
        let more = self.fresh.walk(walk, |item| {
            looked_at += 1;
            let class = shared.class_of(item);
            let live = item.exptime() == Timestamp::NEVER || item.exptime() > now;
            if live && classes.has(class) {
                show(item, class);
            }
        });
        more.then_some(looked_at)
    }
}
