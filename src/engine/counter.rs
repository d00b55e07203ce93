//! [`Counter`]: one number that one thread counts and any thread may read.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter that one thread writes and any thread may read. All accesses are relaxed: other memory is not ordered by them, and
/// a reader may see a value a moment late.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only the thread that owns the counter may call this, because the addition is no atomic read-modify-write.
    #[inline(always)]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// The value, which may be a moment old on other threads.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
