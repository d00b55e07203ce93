//! The atomics of what threads share: the standard library's, or loom's, which runs through every order of their
//! operations that the memory model allows (`just loom`). No state.

#[cfg(memcrsd_loom)]
pub(crate) use loom::sync::atomic::{AtomicBool, Ordering, fence};
#[cfg(not(memcrsd_loom))]
pub(crate) use std::sync::atomic::{AtomicBool, Ordering, fence};
