//! [`Counter`]: a number that one thread counts and any thread may read.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter that one thread writes and any thread may read. All accesses are relaxed: they order no other memory, and a reader
/// may see an old value for a moment.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only the thread that owns the counter may call this, because the addition is not an atomic read-modify-write.
    #[inline(always)]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Returns the value. On other threads it may be old by a moment.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
