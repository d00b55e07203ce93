//! The atomics of the store's protocols: the standard library's, or those of loom, which runs through every order of their
//! operations that the memory model allows (`just loom`). No state.

#[cfg(memcrsd_loom)]
pub(super) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
#[cfg(not(memcrsd_loom))]
pub(super) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// Aligns `T` to cache lines of its own, so that writers which change it do not slow down rings which read its neighbours.
#[repr(align(128))]
pub(super) struct Apart<T>(pub(super) T);

impl<T> std::ops::Deref for Apart<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
