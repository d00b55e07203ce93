//! The operations of a ring that have been submitted and have not completed, or whose task has not seen the result. A part of the
//! driver, on its ring's thread alone.

use slab::Slab;
use std::any::Any;
use std::cell::RefCell;
use std::io;
use std::task::Waker;

/// The state of an operation in flight.
pub(super) enum State {
    /// The operation is submitted, and its task waits.
    Submitted(Waker),
    /// The operation's future was dropped. The memory of the operation is kept here until the completion.
    Abandoned(Box<dyn Any>),
    /// The operation has completed with this result, which its task has not seen yet.
    Completed(i32),
}

/// The operations in flight of one ring, by the index that is in the user data of their entries.
#[derive(Default)]
pub(super) struct Operations(pub(super) RefCell<Slab<State>>);

impl Operations {
    /// Keeps the result of operation `index` for its task, or frees the memory of an abandoned operation. Called by the driver
    /// when the operation has completed. True if a task was woken.
    pub(super) fn complete(&self, index: usize, result: i32) -> bool {
        let mut all = self.0.borrow_mut();
        match std::mem::replace(&mut all[index], State::Completed(result)) {
            State::Submitted(waker) => {
                drop(all);
                waker.wake();
                true
            }
            State::Abandoned(data) => {
                all.remove(index);
                // Dropping it may look up the driver.
                drop(all);
                drop(data);
                false
            }
            State::Completed(_) => false,
        }
    }
}

/// Turns a kernel result into a `Result`: negative values are error numbers.
pub(super) fn to_result(result: i32) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
}
