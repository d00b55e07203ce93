//! A task that waits for a connection, and is woken only while it does.

use std::cell::{Cell, RefCell};
use std::task::{Context, Waker};

/// A task that waits for a connection.
#[derive(Default)]
pub(super) struct Waiter {
    /// Kept between waits, mostly of the same task.
    waker: RefCell<Option<Waker>>,
    is_waiting: Cell<bool>,
}

impl Waiter {
    /// True while a task waits.
    #[cfg(debug_assertions)]
    pub(super) fn is_waiting(&self) -> bool {
        self.is_waiting.get()
    }

    /// Lets go of the task: it may hold what holds this.
    pub(super) fn forget(&self) {
        self.waker.take();
    }

    pub(super) fn wait(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        match &mut *waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        self.is_waiting.set(true);
    }

    /// True if a task was woken.
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

/// Guard of a wait: a task whose future was dropped is not woken.
pub(super) struct Waiting<'a>(pub(super) &'a Waiter);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.is_waiting.set(false);
    }
}
