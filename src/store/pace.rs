//! How much eviction may cost: for each byte that it gains, and in one turn of the writer lock.
//!
//! A survivor is copied and gains nothing. If all of a store has been read, nothing would be gained before all of it had been
//! copied, and one small set would pay for that. So copying is paid from a [`Credit`]: each byte gained earns
//! [`COPIED_PER_GAINED`] bytes of it. While it is out, items go that were read only once; when it is far out, all others too.
//! So the bytes looked at for a write are bounded by what it needs, whatever has been read.
//!
//! An [`Effort`] bounds the transaction, by bytes: a few large survivors cost as much as a thousand small ones.

/// Bytes of survivors copied for each byte gained.
const COPIED_PER_GAINED: i64 = 8;
/// Most credit, as a part of the limit: victims differ, and a run of good ones pays for the next.
const CREDIT_PART: u64 = 256;
/// And at least this much, bytes.
const CREDIT_MIN: u64 = 256 << 10;
/// Bytes that the second chance of a large item counts as: no copy, but a step of the search.
pub(super) const RELINK_BYTES: u64 = 16 << 10;
/// Bytes looked at after which what was before counts half.
const RECENT_BYTES: u64 = 1 << 20;
/// Most bytes of victims to look at for a byte gained.
const EFFORT_MAX: u64 = COPIED_PER_GAINED as u64;

/// In one transaction: items of victims looked at, their bytes, and the bytes of them that were copied. The last item may exceed it.
const TURN_ITEMS: usize = 256;
const TURN_LOOKED_BYTES: u64 = 256 << 10;
const TURN_COPIED_BYTES: u64 = 64 << 10;

/// What copying may still cost, and what gaining a byte costs at present.
#[derive(Debug)]
pub(super) struct Credit {
    bytes: i64,
    looked: u64,
    gained: u64,
}

impl Credit {
    pub(super) fn new(limit: u64) -> Self {
        Self { bytes: most(limit), looked: 0, gained: 0 }
    }

    /// Bytes of a victim are free.
    pub(super) fn earn(&mut self, bytes: u64, limit: u64) {
        let earned = COPIED_PER_GAINED.saturating_mul(signed(bytes));
        self.bytes = self.bytes.saturating_add(earned).min(most(limit));
        self.note(bytes, bytes);
    }

    /// Bytes of a victim had to be copied.
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

    /// Reads that an item must have had to survive, whatever its size; `None` if none survives.
    pub(super) fn hits_wanted(&self, limit: u64) -> Option<u8> {
        let most = most(limit);
        match self.bytes {
            1.. => Some(1),
            out if out > -most => Some(2),
            out if out > -2 * most => Some(3),
            _ => None,
        }
    }

    /// Bytes of victims to look at to gain one, as it was of late.
    pub(super) fn effort(&self) -> u64 {
        (self.looked / self.gained.max(1)).clamp(1, EFFORT_MAX)
    }
}

fn most(limit: u64) -> i64 {
    signed((limit / CREDIT_PART).max(CREDIT_MIN))
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// What a transaction has done for memory.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Effort {
    items: usize,
    looked: u64,
    copied: u64,
}

impl Effort {
    /// `items` have been looked at, of `bytes` in all.
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

    /// True if others must have the lock before more is done.
    pub(super) fn is_spent(&self) -> bool {
        self.items >= TURN_ITEMS || self.looked >= TURN_LOOKED_BYTES || self.copied >= TURN_COPIED_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 64 << 20;

    /// However often everything is read, eight bytes are copied for each gained, and what the credit allows besides.
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
