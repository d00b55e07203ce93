//! The executor: tokio on one thread, with neither its I/O nor its timers. What it does when no task is ready is the driver.

use super::driver::Driver;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};

/// Tasks that run before the executor looks at what only it knows of, of which there is nothing: its own I/O and timers,
/// and wakes from other threads, which the doorbell announces.
const TASKS_PER_TICK: u32 = 4096;

/// A thread's ring and its tasks.
pub(crate) struct Runtime {
    tasks: LocalRuntime,
    driver: Rc<Driver>,
}

impl Runtime {
    /// # Errors
    /// One of the kernel's.
    pub(super) fn new(driver: Driver) -> io::Result<Self> {
        let tasks = Builder::new_current_thread()
            .event_interval(TASKS_PER_TICK)
            .on_thread_park(Driver::park_current)
            .build_local(LocalOptions::default())?;
        Ok(Self { tasks, driver: Rc::new(driver) })
    }

    /// Runs until `main` is ready.
    pub(crate) fn block_on<F: Future>(&self, main: F) -> F::Output {
        let mut main = pin!(main);
        let mut has_entered = false;
        self.tasks.block_on(poll_fn(move |cx| {
            if !std::mem::replace(&mut has_entered, true) {
                self.driver.enter(cx.waker().clone());
            }
            main.as_mut().poll(cx)
        }))
    }
}
