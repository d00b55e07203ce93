//! [`Counter`]: one number that one thread counts and any thread may read.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter that one thread writes and any thread may read. Relaxed: it orders nothing, and a reader may see it a moment
/// late.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only for the thread that owns the counter, because this is no atomic read-modify-write.
    #[inline(always)]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// The value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
