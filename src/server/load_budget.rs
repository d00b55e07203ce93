//! Bounds the memory of one ring for values that were read from flash, until their clients have taken them.
//!
//! Each ring has one [`LoadBudget`] in its `RingContext`, and its tasks take from it. A share is given back when the
//! [`Bytes`] that [`hold`] returned are dropped.

use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Size of the unit in which the budget is counted, bytes.
pub(super) const UNIT_BYTES: usize = 4096;

/// The memory that a ring may use for values that have been read from flash and not yet been sent.
#[derive(Debug)]
pub(super) struct LoadBudget {
    units: Arc<Semaphore>,
    units_max: u32,
}

impl LoadBudget {
    /// A budget of `bytes`. A reply that needs more than the whole budget waits until all of it is free.
    pub(super) fn new(bytes: u64) -> Self {
        let units_max = u32::try_from(bytes / UNIT_BYTES as u64).unwrap_or(u32::MAX);
        Self { units: Arc::new(Semaphore::new(units_max as usize)), units_max }
    }

    /// Takes `units` of the budget until the permit is dropped; `None` if fewer are free.
    pub(super) fn try_take(&self, units: u32) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.units).try_acquire_many_owned(units).ok()
    }

    /// Size of the budget in units.
    pub(super) fn units_max(&self) -> u32 {
        self.units_max
    }

    /// True if less than a quarter of the budget is free. Connections whose clients take nothing are then closed.
    pub(super) fn is_short(&self) -> bool {
        self.units.available_permits() < self.units_max as usize / 4
    }
}

/// A value together with the part of the budget that it uses.
struct Held {
    value: Bytes,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.value
    }
}

/// Ties `room` to the value, so that it returns to the budget when the value is dropped.
pub(super) fn hold(value: Bytes, room: OwnedSemaphorePermit) -> Bytes {
    Bytes::from_owner(Held { value, _room: room })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_comes_back_with_the_last_of_a_value() {
        let budget = LoadBudget::new(100 * UNIT_BYTES as u64);
        let value = hold(Bytes::from_static(b"value"), budget.try_take(80).unwrap());
        assert!(budget.is_short() && budget.try_take(30).is_none());
        let part = value.slice(1..2);
        drop(value);
        assert!(budget.is_short(), "a part of it is still there");
        drop(part);
        assert!(!budget.is_short() && budget.try_take(budget.units_max()).is_some());
        assert!(budget.try_take(0).is_some(), "short values need none");
    }
}
