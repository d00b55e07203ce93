//! Atomics from std, or from loom when the log's protocol is being model-checked.

#[cfg(not(memcrsd_loom))]
pub(super) use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(memcrsd_loom)]
pub(super) use loom::sync::atomic::{AtomicU64, Ordering};
