//! The atomics of the store's protocols: the standard library's, or loom's, which runs through every order of their
//! operations that the memory model allows (`just loom`).

#[cfg(memcrsd_loom)]
pub(super) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
#[cfg(not(memcrsd_loom))]
pub(super) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
