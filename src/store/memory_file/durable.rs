//! The order in which a memory file is written.
//!
//! A process that is killed has carried out its stores up to some point, in the order in which it made them visible; what
//! another thread has seen is among them, and everything that had been stored before. So what the file says at any
//! moment must be what the next process may believe. Stores that the order matters for go through here.
//!
//! Source: the kernel keeps the pages of a shared mapping whatever becomes of the process (mmap(2), `MAP_SHARED`).

use std::sync::atomic::{AtomicU16, AtomicU64, Ordering, fence};

#[cfg(test)]
thread_local! {
    /// What the simulation does after each store of this thread.
    pub(in crate::store) static AFTER_STORE: std::cell::RefCell<Option<Box<dyn FnMut()>>> =
        const { std::cell::RefCell::new(None) };
    /// Makes marks of death come late, with the next write, which the simulation must find out; and the item that waits.
    pub(in crate::store) static IS_LATE: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    pub(in crate::store) static LATE: std::cell::Cell<Option<u64>> = const { std::cell::Cell::new(None) };
}

/// A moment at which the process may be killed.
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

/// Stores a word behind everything that was stored before.
#[inline]
pub(in crate::store) fn store(word: &AtomicU64, value: u64) {
    word.store(value, Ordering::Release);
    stored();
}

/// As [`store`], half a word or less.
#[inline]
pub(in crate::store) fn store_short(word: &AtomicU16, value: u16) {
    word.store(value, Ordering::Release);
    stored();
}

/// As [`store`], and nothing that is stored afterwards comes before it.
pub(in crate::store) fn store_first(word: &AtomicU64, value: u64) {
    store(word, value);
    fence(Ordering::Release);
}
