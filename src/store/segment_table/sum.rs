//! Checked arithmetic for the sums that the budget is computed from. Plain values.

use std::ops::{AddAssign, SubAssign};

/// A number of bytes or units. Panics instead of wrapping, in release builds too: a sum that wrapped below zero would make the
/// budget unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::store) struct Sum(u64);

impl Sum {
    #[inline]
    pub(in crate::store) fn get(self) -> u64 {
        self.0
    }
}

impl AddAssign<u64> for Sum {
    #[inline]
    fn add_assign(&mut self, more: u64) {
        self.0 = self.0.checked_add(more).unwrap_or_else(|| wrong(self.0, more));
    }
}

impl SubAssign<u64> for Sum {
    #[inline]
    fn sub_assign(&mut self, less: u64) {
        self.0 = self.0.checked_sub(less).unwrap_or_else(|| wrong(self.0, less));
    }
}

/// Subtracts `by` from `sum`; panics instead of wrapping.
#[inline]
pub(super) fn less(sum: u32, by: u32) -> u32 {
    sum.checked_sub(by).unwrap_or_else(|| wrong(sum.into(), by.into()) as u32)
}

#[cold]
#[inline(never)]
fn wrong(sum: u64, change: u64) -> u64 {
    panic!("the store's books are wrong: {sum} changed by {change}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_up_and_down() {
        let mut sum = Sum::default();
        sum += 7;
        sum -= 7;
        assert_eq!(sum.get(), 0);
    }

    #[test]
    #[should_panic(expected = "books are wrong")]
    fn is_never_below_zero() {
        let mut sum = Sum::default();
        sum += 6;
        sum -= 7;
    }

    #[test]
    #[should_panic(expected = "books are wrong")]
    fn does_not_wrap() {
        let mut sum = Sum(u64::MAX);
        sum += 1;
    }
}
