//! Stores words in a memory file, in an order that survives a kill. Functions without state. Callers hold the writer lock or are
//! alone at the start, unless they store a word that is right whatever else the file says.
//!
//! A killed process has carried out a prefix of its stores, in the order in which they became visible. That prefix contains
//! every store that another thread has seen, and all stores before it. So at every moment the file must say only what the next
//! process may believe. All stores whose order matters go through this module.
//!
//! Source: the kernel keeps the pages of a shared mapping however the process ends (mmap(2), `MAP_SHARED`).

use std::sync::atomic::{AtomicU16, AtomicU64, Ordering, fence};

#[cfg(test)]
thread_local! {
    /// For tests: a function that is called after each store of this thread.
    pub(in crate::store) static AFTER_STORE: std::cell::RefCell<Option<Box<dyn FnMut()>>> =
        const { std::cell::RefCell::new(None) };
    /// For tests: true to delay each mark of death until the next write, an error that the test of kills must detect.
    pub(in crate::store) static IS_LATE: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    /// For tests: the bits of the ref of the item whose mark of death is delayed.
    pub(in crate::store) static LATE: std::cell::Cell<Option<u64>> = const { std::cell::Cell::new(None) };
}

/// Called after each store. Lets a test kill the process there; does nothing outside of tests.
#[inline]
pub(in crate::store) fn stored() {
    #[cfg(test)]
    {
        let hook = AFTER_STORE.with_borrow_mut(Option::take);
        if let Some(mut hook) = hook {
            hook();
            AFTER_STORE.with_borrow_mut(|after| *after = Some(hook));
        }
    }
}

/// Stores a word, which becomes visible after everything that was stored before.
#[inline]
pub(in crate::store) fn store(word: &AtomicU64, value: u64) {
    word.store(value, Ordering::Release);
    stored();
}

/// As [`store`], for a 16-bit word.
#[inline]
pub(in crate::store) fn store_short(word: &AtomicU16, value: u16) {
    word.store(value, Ordering::Release);
    stored();
}

/// As [`store`], and the word also becomes visible before everything that is stored later.
pub(in crate::store) fn store_first(word: &AtomicU64, value: u64) {
    store(word, value);
    fence(Ordering::Release);
}
