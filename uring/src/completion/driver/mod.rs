//! The driver: one ring's queues, and what is in flight.
//!
//! ```text
//!   tasks run ──► push entries ──► no task is ready: [`Driver::park`]
//!       ▲                             │ one io_uring_enter: submit all, wait for one completion
//!       └──── wake ◄── dispatch ◄─────┘
//! ```
//!
//! `park` is the executor's hook: it runs on the ring's thread when no task is ready, and returns only once it has woken a task,
//! since the executor would otherwise sleep forever. The submission queue is short, so that it fills and is submitted while
//! tasks still run: the first of a thousand ready connections does not wait for the last.
//!
//! There is one driver per thread, and it is used on that thread alone: `Cell` and `RefCell`, no locks. Only its doorbell is
//! shared with other threads. Tasks reach it through [`Driver::current`].
#![expect(unsafe_code, reason = "entries name memory by address")]

#[cfg(debug_assertions)]
mod audit;

use super::connection::Connection;
use super::in_flight::Operations;
use super::pool::Pool;
use super::probe::Setup;
use super::queue::{DOORBELL, OPERATION, RECEIVE, SEND, TIMER, kind_and_index, user_data};
use super::resources::Resources;
use super::timers::Timers;
use crate::buf::Buffers;
use crate::doorbell::Doorbell;
use io_uring::{EnterFlags, IoUring, opcode, types};
use slab::Slab;
use std::cell::{Cell, OnceCell, RefCell};
use std::io;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

/// Pause before a refused submission is retried; the kernel refuses when it is out of memory.
const REFUSED_REST: Duration = Duration::from_millis(1);

/// One ring's driver, shared by everything on the ring's thread.
pub(crate) struct Driver {
    pub(super) resources: Resources,
    pub(super) operations: Operations,
    /// All connections, by the index that is in the user data of their entries.
    pub(super) connections: RefCell<Slab<Rc<Connection>>>,
    pub(super) timers: Timers,
    /// The indexes of connections whose queued send may still be in flight.
    queued_sends: RefCell<Vec<usize>>,
    /// The indexes of connections whose reads let other connections go first. Their readers are woken in the next pass.
    yielded: RefCell<Vec<usize>>,
    /// The completions that [`Driver::dispatch`] has taken from the queue: user data, result and flags of each. Empty between
    /// two calls, but its memory is kept for reuse.
    taken: Cell<Vec<(u64, i32, u32)>>,
    /// Counts the calls of [`Driver::park`]; wraps around.
    pass: Cell<u32>,
    doorbell: Arc<Doorbell>,
    /// Where the kernel writes the count of the doorbell's event. On the heap, and never freed, like the driver.
    doorbell_count: Box<Cell<u64>>,
    /// Wakes the ring's main future. Used when the doorbell has rung, so that the executor runs and finds the tasks that other
    /// threads have woken.
    main: OnceCell<Waker>,
    #[cfg(debug_assertions)]
    audit: audit::Audit,
}

thread_local! {
    /// The driver of the ring that runs on this thread.
    static CURRENT: RefCell<Option<Rc<Driver>>> = const { RefCell::new(None) };
}

impl Driver {
    pub(super) fn new(ring: IoUring, setup: Setup, pool: Option<Pool>, buffers: Buffers) -> io::Result<Self> {
        Ok(Self {
            resources: Resources::new(ring, setup, pool, buffers),
            operations: Operations::default(),
            connections: RefCell::default(),
            timers: Timers::default(),
            queued_sends: RefCell::default(),
            yielded: RefCell::default(),
            taken: Cell::default(),
            pass: Cell::new(0),
            doorbell: Arc::new(Doorbell::new()?),
            doorbell_count: Box::default(),
            main: OnceCell::new(),
            #[cfg(debug_assertions)]
            audit: audit::Audit::default(),
        })
    }

    /// The driver of the ring that runs on this thread.
    ///
    /// # Panics
    /// Outside of [`crate::Ring::run`].
    pub(crate) fn current() -> Rc<Self> {
        CURRENT.with_borrow(Clone::clone).expect("a ring on io_uring runs on this thread")
    }

    /// Makes `self` the driver that [`Driver::current`] returns on this thread, and starts to read the doorbell; `main` wakes the
    /// ring's main future.
    pub(super) fn enter(self: &Rc<Self>, main: Waker) {
        let _ = self.main.set(main);
        CURRENT.set(Some(Rc::clone(self)));
        self.watch_doorbell();
    }

    /// The hook that the executor calls when no task is ready: parks the driver of this thread.
    pub(super) fn park_current() {
        // Cloned: waking may look up the driver.
        if let Some(driver) = CURRENT.with_borrow(Clone::clone) {
            driver.park();
        }
    }

    /// Submits everything, waits for completions and dispatches them, and repeats this until a task was woken.
    fn park(&self) {
        self.pass.set(self.pass.get().wrapping_add(1));
        let mut has_woken = false;
        while !has_woken {
            self.resources.queue.push_backlog();
            let may_sleep = !self.resources.is_settling.get()
                && self.yielded.borrow().is_empty()
                && self.resources.queue.has_room();
            let want = u32::from(self.doorbell.may_sleep() && may_sleep);
            #[cfg(debug_assertions)]
            if want > 0 {
                self.audit.before_sleep(&self.resources, &self.timers, &self.connections.borrow());
            }
            let refused = self.resources.queue.enter_kernel(want, EnterFlags::GETEVENTS).err();
            // Read before the dispatch, which may queue more entries.
            let is_settled = self.resources.queue.is_settled();
            let has_rung = self.doorbell.awake();
            let count;
            (has_woken, count) = self.dispatch();
            #[cfg(debug_assertions)]
            if want > 0 && count == 1 && !has_woken && self.timers.has_rung() {
                self.audit.after_timeout(&self.resources, &self.connections.borrow());
            }
            if has_rung && let Some(main) = self.main.get() {
                main.wake_by_ref();
                has_woken = true;
            }
            has_woken |= is_settled && self.settle_sends();
            has_woken |= self.timers.fire(&self.resources.queue) | self.wake_yielded();
            match refused.and_then(|error| error.raw_os_error()) {
                Some(libc::EBADR) => give_up(),
                // Bounded by the watchdog, which ends a process whose ring does not move.
                Some(libc::EINTR | libc::EBUSY) | None => {}
                Some(_) if count > 0 => {}
                Some(_) => std::thread::sleep(REFUSED_REST),
            }
        }
    }

    /// Takes all completions and passes each to the operation or connection that it belongs to; returns whether a task was woken,
    /// and how many completions there were.
    fn dispatch(&self) -> (bool, usize) {
        let mut taken = self.taken.take();
        self.resources.queue.take_completions(&mut taken);
        let mut has_woken = false;
        for &(user_data, result, flags) in &taken {
            let (kind, index) = kind_and_index(user_data);
            has_woken |= match kind {
                OPERATION => self.operations.complete(index, result),
                RECEIVE => {
                    let connection = self.connection(index);
                    let has_woken = connection.received(&self.resources, index, result, flags);
                    if connection.is_over() {
                        self.remove_if_unused(index);
                    }
                    has_woken
                }
                SEND => self.connection(index).queued_send_completed(&self.resources, index, result),
                DOORBELL => {
                    self.watch_doorbell();
                    false
                }
                TIMER => {
                    self.timers.rang(index);
                    false
                }
                _ => false,
            };
        }
        let count = taken.len();
        taken.clear();
        self.taken.set(taken);
        (has_woken, count)
    }

    /// Wakes the readers of the connections in `yielded`; true if one of these readers still waited.
    fn wake_yielded(&self) -> bool {
        let mut yielded = self.yielded.take();
        let mut has_woken = false;
        for index in yielded.drain(..) {
            // A connection that is gone or does not wait does not count as woken: no task would be ready.
            let connection = self.connections.borrow().get(index).map(Rc::clone);
            has_woken |= connection.is_some_and(|connection| connection.wake_reader());
        }
        self.yielded.replace(yielded);
        has_woken
    }

    /// Wakes the reader of connection `index` once all ready tasks have run and what they queued is submitted.
    pub(super) fn wake_in_next_pass(&self, index: usize) {
        self.yielded.borrow_mut().push(index);
    }

    fn connection(&self, index: usize) -> Rc<Connection> {
        Rc::clone(&self.connections.borrow()[index])
    }

    /// Drops connection `index`, which closes its socket, if its stream was dropped and nothing of it is in flight.
    pub(super) fn remove_if_unused(&self, index: usize) {
        let mut connections = self.connections.borrow_mut();
        if connections.get(index).is_some_and(|connection| connection.is_unused()) {
            let removed = connections.remove(index);
            // Dropping it closes its socket.
            drop(connections);
            drop(removed);
        }
    }

    /// Puts connection `index` on the list of those whose queued send is settled after the next submission.
    pub(super) fn send_is_queued(&self, index: usize) {
        self.queued_sends.borrow_mut().push(index);
    }

    /// Makes the queued sends that have ended Idle (see [`Connection::settle_queued_send`]), and keeps the remaining ones on the
    /// list. Called after everything was submitted. True if a task was woken.
    fn settle_sends(&self) -> bool {
        self.resources.is_settling.set(false);
        if self.queued_sends.borrow().is_empty() {
            return false;
        }
        let mut has_woken = false;
        let mut queued = std::mem::take(&mut *self.queued_sends.borrow_mut());
        queued.retain(|&index| {
            let Some(connection) = self.connections.borrow().get(index).map(Rc::clone) else { return false };
            match connection.settle_queued_send(&self.resources) {
                Some(woken) => {
                    has_woken |= woken;
                    self.remove_if_unused(index);
                    false
                }
                None => true,
            }
        });
        let mut now_queued = self.queued_sends.borrow_mut();
        queued.append(&mut now_queued);
        *now_queued = queued;
        has_woken
    }

    /// Gives the kernel more buffers; called when a receive failed because it had none left. False if the kernel has been given
    /// all buffers already, or there is no pool.
    pub(super) fn grow_pool(&self) -> bool {
        self.resources.pool.as_ref().is_some_and(|pool| pool.grow(self.pass()))
    }

    /// The number of the current pass. Each call of [`Driver::park`], when all ready tasks have run, adds one to it.
    pub(super) fn pass(&self) -> u32 {
        self.pass.get()
    }

    pub(crate) fn doorbell(&self) -> Arc<Doorbell> {
        Arc::clone(&self.doorbell)
    }

    /// Queues the next read of the doorbell's event, so that one read is always in flight.
    fn watch_doorbell(&self) {
        let fd = types::Fd(self.doorbell.as_raw_fd());
        let entry = opcode::Read::new(fd, self.doorbell_count.as_ptr().cast(), size_of::<u64>() as u32)
            .build()
            .user_data(user_data(DOORBELL, 0));
        // SAFETY: the count is on the heap and the doorbell is open as long as the driver is, which is for good once it
        // has been entered.
        unsafe { self.resources.queue.push(entry) };
    }
}

/// Ends the process, because the kernel ran out of memory and dropped completions. Tasks would wait for these forever, and
/// perhaps the doorbell's is among them.
fn give_up() -> ! {
    tracing::error!("the kernel is out of memory and has lost completions of io_uring: giving up");
    std::process::abort()
}
