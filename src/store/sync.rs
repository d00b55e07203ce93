//! The atomics of the store's protocols: the standard library's, or loom's, which runs through every order of their
//! operations that the memory model allows (`just loom`).

#[cfg(memcrsd_loom)]
pub(super) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
#[cfg(not(memcrsd_loom))]
pub(super) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// Keeps what writers write on other cache lines than what all rings read.
#[repr(align(128))]
pub(super) struct Apart<T>(pub(super) T);

impl<T> std::ops::Deref for Apart<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
