//! The executor of one ring: tokio on one thread, without its I/O and timers. When no task is ready, it runs the driver.

use super::driver::Driver;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};

/// Number of tasks that run before tokio next checks its own I/O, timers and cross-thread wakes. None of these are used, since
/// the doorbell announces wakes from other threads; so tokio checks rarely.
const TASKS_PER_TICK: u32 = 4096;

/// A thread's ring and its tasks.
pub(crate) struct Runtime {
    tasks: LocalRuntime,
    driver: Rc<Driver>,
}

impl Runtime {
    /// Builds the executor that runs `driver` when no task is ready.
    ///
    /// # Errors
    /// Tokio cannot build its executor.
    pub(super) fn new(driver: Driver) -> io::Result<Self> {
        let tasks = Builder::new_current_thread()
            .event_interval(TASKS_PER_TICK)
            .on_thread_park(Driver::park_current)
            .build_local(LocalOptions::default())?;
        Ok(Self { tasks, driver: Rc::new(driver) })
    }

    /// Runs this thread's tasks until `main` is ready, and returns its output.
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
