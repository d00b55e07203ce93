//! Bounds the cost of eviction: per byte that it gains, and per write transaction.
//!
//! Copying a survivor gains nothing. If every item of the store has been read, eviction would copy all of them before it gained
//! a byte, and one small set would have to wait for all that copying. So copying is paid from a [`Credit`]: each byte gained
//! earns [`COPIED_PER_GAINED`] bytes of it. When the credit is used up, items that were read only once do not survive; when it
//! is far overdrawn, no item does. So the bytes examined for a write are bounded by what the write needs, whatever has been
//! read.
//!
//! An [`Effort`] bounds one transaction. It counts bytes, because a few large survivors cost as much as a thousand small ones.
//!
//! The credit is a field of the segment table (under the writer lock), an effort one of its transaction.

/// Bytes of survivors that may be copied for each byte gained.
const COPIED_PER_GAINED: i64 = 8;
/// The limit divided by this is the most credit that can be saved up, bytes. Saved credit lets victims that free much pay for
/// victims that free little.
const CREDIT_PART: u64 = 256;
/// The most credit of a store with a small limit, bytes.
const CREDIT_MIN: u64 = 256 << 10;
/// What it costs in credit, in bytes, to let a large item survive. Nothing is copied: the item goes to the end of a queue, but
/// the search for a victim has taken a step.
pub(super) const RELINK_BYTES: u64 = 16 << 10;
/// When more bytes of victims than this have been examined, both sums of recent evictions are halved.
const RECENT_BYTES: u64 = 1 << 20;
/// The largest [`Credit::effort`]: bytes of victims to examine for each byte gained.
const EFFORT_MAX: u64 = COPIED_PER_GAINED as u64;

/// How many items of victims one transaction examines at most. The last item examined may exceed this bound and the two below.
const TURN_ITEMS: usize = 256;
/// How many bytes of victims one transaction examines at most.
const TURN_LOOKED_BYTES: u64 = 256 << 10;
/// How many bytes one transaction copies at most.
const TURN_COPIED_BYTES: u64 = 64 << 10;

/// The credit for copying, and the recent cost of gaining a byte.
#[derive(Debug)]
pub(super) struct Credit {
    /// How many bytes of survivors may be copied; negative when the credit is overdrawn.
    bytes: i64,
    /// Bytes of victims examined recently: halved now and then, so that older ones count less.
    looked: u64,
    /// Bytes gained from the victims that `looked` counts.
    gained: u64,
}

impl Credit {
    pub(super) fn new(limit: u64) -> Self {
        Self { bytes: most(limit), looked: 0, gained: 0 }
    }

    /// Adds credit for `bytes` that were gained from a victim, up to the most that a store of this `limit` can have.
    pub(super) fn earn(&mut self, bytes: u64, limit: u64) {
        let earned = COPIED_PER_GAINED.saturating_mul(signed(bytes));
        self.bytes = self.bytes.saturating_add(earned).min(most(limit));
        self.note(bytes, bytes);
    }

    /// Subtracts from the credit `bytes` of a victim that had to be copied.
    pub(super) fn spend(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_sub(signed(bytes));
        self.note(bytes, 0);
    }

    fn note(&mut self, looked: u64, gained: u64) {
        (self.looked, self.gained) = (self.looked.saturating_add(looked), self.gained.saturating_add(gained));
        if self.looked > RECENT_BYTES {
            (self.looked, self.gained) = (self.looked / 2, self.gained / 2);
        }
    }

    /// How often an item must have been read to survive its victim's eviction: 1 to 3. `None` if no item survives.
    pub(super) fn hits_wanted(&self, limit: u64) -> Option<u8> {
        let most = most(limit);
        match self.bytes {
            1.. => Some(1),
            out if out > -most => Some(2),
            out if out > -2 * most => Some(3),
            _ => None,
        }
    }

    /// How many bytes of victims must be examined to gain one byte, judging by recent evictions: 1 to [`EFFORT_MAX`].
    pub(super) fn effort(&self) -> u64 {
        (self.looked / self.gained.max(1)).clamp(1, EFFORT_MAX)
    }
}

/// The most credit that a store of this `limit` can save up, bytes.
fn most(limit: u64) -> i64 {
    signed((limit / CREDIT_PART).max(CREDIT_MIN))
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// The eviction work that one transaction has done.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Effort {
    items: usize,
    looked: u64,
    copied: u64,
}

impl Effort {
    /// Counts `items` that have been examined; together they have `bytes`.
    pub(super) fn looked(&mut self, items: usize, bytes: u64) {
        self.items += items;
        self.looked += bytes;
    }

    pub(super) fn copied(&mut self, bytes: u64) {
        self.copied += bytes;
    }

    pub(super) fn items(&self) -> usize {
        self.items
    }

    pub(super) fn looked_bytes(&self) -> u64 {
        self.looked
    }

    /// True if the transaction must end, so that other rings get the writer lock.
    pub(super) fn is_spent(&self) -> bool {
        self.items >= TURN_ITEMS || self.looked >= TURN_LOOKED_BYTES || self.copied >= TURN_COPIED_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 64 << 20;

    /// However often everything is read, at most eight bytes are copied for each byte gained, in addition to the initial
    /// credit.
    #[test]
    fn copies_are_bounded_by_what_is_gained() {
        let mut credit = Credit::new(LIMIT);
        let (mut copied, mut gained) = (0_u64, 0_u64);
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..1_000_000 {
            let bytes = random.u64(50..5_000);
            if credit.hits_wanted(LIMIT).is_some_and(|wanted| random.u8(1..=3) >= wanted) {
                credit.spend(bytes);
                copied += bytes;
            } else {
                credit.earn(bytes, LIMIT);
                gained += bytes;
            }
        }
        assert!(copied <= 8 * gained + 3 * (LIMIT / CREDIT_PART) + 5_000, "{copied} for {gained}");
        assert!(copied >= 7 * gained, "{copied} for {gained}");
        assert_eq!(credit.effort(), EFFORT_MAX);
    }

    #[test]
    fn what_is_gained_at_once_costs_no_effort() {
        let mut credit = Credit::new(LIMIT);
        for _ in 0..10_000 {
            credit.earn(1_000, LIMIT);
        }
        assert_eq!((credit.effort(), credit.hits_wanted(LIMIT)), (1, Some(1)));
        credit.spend(u64::MAX);
        assert_eq!(credit.hits_wanted(LIMIT), None);
        credit.earn(u64::MAX, LIMIT);
        assert_eq!(credit.hits_wanted(LIMIT), Some(1));
    }

    #[test]
    fn a_turn_is_bounded_by_each_of_its_costs() {
        for (items, looked, copied) in
            [(TURN_ITEMS, 0, 0), (0, TURN_LOOKED_BYTES, 0), (0, 0, TURN_COPIED_BYTES)]
        {
            let mut effort = Effort::default();
            assert!(!effort.is_spent());
            effort.looked(items, looked);
            effort.copied(copied);
            assert!(effort.is_spent());
        }
    }
}
