//! A place for one task that waits for a connection: it is woken only while it waits. A field of the connection, on its ring's
//! thread alone.

use std::cell::{Cell, RefCell};
use std::task::{Context, Waker};

/// Remembers the task that waits for a connection, so that the driver can wake it.
#[derive(Default)]
pub(super) struct Waiter {
    /// The waker of the task that waits, or that waited last. Kept after a wake, since the next task to wait is mostly the same.
    waker: RefCell<Option<Waker>>,
    is_waiting: Cell<bool>,
}

impl Waiter {
    /// True while a task waits.
    #[cfg(debug_assertions)]
    pub(super) fn is_waiting(&self) -> bool {
        self.is_waiting.get()
    }

    /// Drops the waker. The task that it refers to may own the connection, which would then own itself.
    pub(super) fn forget(&self) {
        self.waker.take();
    }

    /// Makes the task of `cx` the one that the next [`Waiter::wake`] wakes.
    pub(super) fn wait(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        match &mut *waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        self.is_waiting.set(true);
    }

    /// Wakes the task that waits; false if no task waits.
    pub(super) fn wake(&self) -> bool {
        if !self.is_waiting.replace(false) {
            return false;
        }
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
        true
    }
}

/// Ends the wait of a [`Waiter`] when it is dropped, so that a task whose future was dropped is not woken.
pub(super) struct Waiting<'a>(pub(super) &'a Waiter);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.is_waiting.set(false);
    }
}
