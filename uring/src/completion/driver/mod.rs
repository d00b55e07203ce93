//! The driver: one ring's submission and completion queues, and what is in flight.
//!
//! ```text
//!   tasks run ──► push entries ──► no task is ready: [`Driver::park`]
//!       ▲                             │ one io_uring_enter: submit all, wait for one completion
//!       └──── wake ◄── dispatch ◄─────┘
//! ```
//!
//! `park` is the executor's hook: it runs on the ring's thread when no task is ready, and returns only once it has woken
//! one, since the executor would otherwise sleep for ever. The submission queue is short, so that it fills and is submitted
//! while tasks still run: the first of a thousand ready connections does not wait for the last.
//!
//! The user data of an entry says what its completion belongs to: a kind in the low bits, an index above.
//!
//! | kind | index | completes |
//! |---|---|---|
//! | `OPERATION` | of [`Operations`] | once |
//! | `RECEIVE` | of a connection | once; multishot, until a completion without `F_MORE` |
//! | `SEND` | of a connection | at submission; without a completion if all was sent and the kernel supports that |
//! | `TIMER` | of [`Timers`] | once |
//! | `DOORBELL`, `IGNORED` | none | once |
#![expect(unsafe_code, reason = "entries name memory by address")]

#[cfg(debug_assertions)]
mod audit;

use super::connection::Connection;
use super::operation::Operations;
use super::pool::Pool;
use super::probe::Setup;
use super::timers::Timers;
use crate::buf::{Buffer, Buffers};
use crate::doorbell::Doorbell;
use io_uring::{EnterFlags, IoUring, cqueue, opcode, squeue, types};
use slab::Slab;
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

pub(super) const OPERATION: u64 = 0;
pub(super) const RECEIVE: u64 = 1;
pub(super) const SEND: u64 = 2;
const DOORBELL: u64 = 3;
pub(super) const TIMER: u64 = 4;
pub(super) const IGNORED: u64 = 5;
const KIND_BITS: u32 = 3;

/// The user data of an entry.
pub(super) fn user_data(kind: u64, index: usize) -> u64 {
    (index as u64) << KIND_BITS | kind
}

/// Pause before a refused submission is retried; the kernel refuses when it is out of memory.
const REFUSED_REST: Duration = Duration::from_millis(1);

/// One ring's driver, shared by everything on the ring's thread.
pub(crate) struct Driver {
    ring: RefCell<IoUring>,
    pub(super) setup: Cell<Setup>,
    pub(super) operations: Operations,
    pub(super) connections: RefCell<Slab<Rc<Connection>>>,
    pub(super) timers: Timers,
    /// Provided buffers for receives; `None` if they cannot be registered.
    pub(super) pool: Option<Pool>,
    /// Entries for which the submission queue had no room.
    pub(super) backlog: RefCell<VecDeque<squeue::Entry>>,
    /// Connections whose queued send is not known to be done.
    queued_sends: RefCell<Vec<usize>>,
    /// A task waits for one of them. The ring must not sleep then: the send may succeed without a completion.
    is_settling: Cell<bool>,
    /// Connections whose reader is woken in the next pass.
    yielded: RefCell<Vec<usize>>,
    /// Where heap memory comes from when no buffer is free.
    pub(super) buffers: Buffers,
    /// Completions taken from the queue; kept to reuse its memory.
    taken: Cell<Vec<(u64, i32, u32)>>,
    /// Counts the calls of [`Driver::park`].
    pass: Cell<u32>,
    doorbell: Arc<Doorbell>,
    /// Where the kernel writes the doorbell's count. On the heap, and never freed, like the driver.
    doorbell_count: Box<Cell<u64>>,
    /// Wakes the ring's main future, for when no other task was woken.
    main: OnceCell<Waker>,
    #[cfg(debug_assertions)]
    audit: audit::Audit,
    /// This many submissions fail.
    #[cfg(test)]
    pub(super) refusals: Cell<u32>,
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<Driver>>> = const { RefCell::new(None) };
}

impl Driver {
    pub(super) fn new(ring: IoUring, setup: Setup, pool: Option<Pool>, buffers: Buffers) -> io::Result<Self> {
        Ok(Self {
            ring: RefCell::new(ring),
            setup: Cell::new(setup),
            operations: Operations::default(),
            connections: RefCell::default(),
            timers: Timers::default(),
            pool,
            backlog: RefCell::default(),
            queued_sends: RefCell::default(),
            is_settling: Cell::new(false),
            yielded: RefCell::default(),
            buffers,
            taken: Cell::default(),
            pass: Cell::new(0),
            doorbell: Arc::new(Doorbell::new()?),
            doorbell_count: Box::default(),
            main: OnceCell::new(),
            #[cfg(debug_assertions)]
            audit: audit::Audit::default(),
            #[cfg(test)]
            refusals: Cell::default(),
        })
    }

    /// The driver of the ring that runs on this thread.
    ///
    /// # Panics
    /// Outside of [`crate::Ring::run`].
    pub(crate) fn current() -> Rc<Self> {
        CURRENT.with_borrow(Clone::clone).expect("a ring on io_uring runs on this thread")
    }

    /// Makes this the thread's driver; `main` wakes the ring's main future.
    pub(super) fn enter(self: &Rc<Self>, main: Waker) {
        let _ = self.main.set(main);
        CURRENT.set(Some(Rc::clone(self)));
        self.watch_doorbell();
    }

    /// The executor's hook, for the driver of this thread.
    pub(super) fn park_current() {
        // Cloned: waking may look up the driver.
        if let Some(driver) = CURRENT.with_borrow(Clone::clone) {
            driver.park();
        }
    }

    /// Queues `entry` for the next submission; submits now if the queue is full.
    ///
    /// # Safety
    /// What the entry points to stays valid until its last completion, or, for one that may complete silently, until it is
    /// submitted.
    pub(super) unsafe fn push(&self, entry: squeue::Entry) {
        let mut backlog = self.backlog.borrow_mut();
        if backlog.is_empty() {
            if self.try_push(&entry) {
                return;
            }
            self.submit();
            if self.try_push(&entry) {
                return;
            }
        }
        backlog.push_back(entry);
    }

    fn try_push(&self, entry: &squeue::Entry) -> bool {
        // SAFETY: promised to `push`, the only way in.
        unsafe { self.ring.borrow_mut().submission().push(entry) }.is_ok()
    }

    /// Submits what is queued, without waiting. [`Driver::park`] retries a refusal.
    pub(super) fn submit(&self) {
        let _ = self.enter_kernel(0, EnterFlags::empty());
    }

    /// Submits and waits for `want` completions. The kernel's deferred task work runs here.
    pub(super) fn enter_kernel(&self, want: u32, flags: EnterFlags) -> io::Result<()> {
        #[cfg(test)]
        if let Some(left) = self.refusals.get().checked_sub(1) {
            self.refusals.set(left);
            return Err(io::Error::from_raw_os_error(libc::EAGAIN));
        }
        let mut ring = self.ring.borrow_mut();
        let count = ring.submission().len() as u32;
        // SAFETY: there is no argument, and the entries are those of `push`.
        unsafe { ring.submitter().enter::<libc::sigset_t>(count, want, flags.bits(), None) }.map(drop)
    }

    /// True if the kernel has every entry, and every completion is visible.
    fn is_settled(&self) -> bool {
        let mut ring = self.ring.borrow_mut();
        let submission = ring.submission();
        submission.is_empty() && !submission.cq_overflow() && self.backlog.borrow().is_empty()
    }

    /// Flushes completions to the queue; true if there are any.
    #[cfg(debug_assertions)]
    pub(super) fn has_completions(&self) -> bool {
        let _ = self.enter_kernel(0, EnterFlags::GETEVENTS);
        !self.ring.borrow_mut().completion().is_empty()
    }

    /// Submits, waits, and wakes tasks; returns once one was woken.
    fn park(&self) {
        self.pass.set(self.pass.get().wrapping_add(1));
        let mut has_woken = false;
        while !has_woken {
            self.push_backlog();
            let may_sleep = !self.is_settling.get()
                && self.yielded.borrow().is_empty()
                && self.backlog.borrow().is_empty();
            let want = u32::from(self.doorbell.may_sleep() && may_sleep);
            #[cfg(debug_assertions)]
            self.audit_before(want);
            let refused = self.enter_kernel(want, EnterFlags::GETEVENTS).err();
            // Before dispatch, which may queue more.
            let is_settled = self.is_settled();
            let has_rung = self.doorbell.awake();
            let count;
            (has_woken, count) = self.dispatch();
            #[cfg(debug_assertions)]
            if want > 0 && count == 1 && !has_woken && self.timers.has_rung() {
                self.audit_after_time();
            }
            if has_rung && let Some(main) = self.main.get() {
                main.wake_by_ref();
                has_woken = true;
            }
            has_woken |= is_settled && self.settle_sends();
            has_woken |= self.timers.fire(self) | self.wake_yielded();
            match refused.and_then(|error| error.raw_os_error()) {
                Some(libc::EBADR) => give_up(),
                // Bounded by the watchdog, which ends a process whose ring does not move.
                Some(libc::EINTR | libc::EBUSY) | None => {}
                Some(_) if count > 0 => {}
                Some(_) => std::thread::sleep(REFUSED_REST),
            }
        }
    }

    /// Moves entries from the backlog into the queue while it has room.
    fn push_backlog(&self) {
        let mut backlog = self.backlog.borrow_mut();
        while let Some(entry) = backlog.front() {
            if !self.try_push(entry) {
                break;
            }
            backlog.pop_front();
        }
    }

    /// Dispatches completions; returns whether a task was woken, and how many completions there were.
    fn dispatch(&self) -> (bool, usize) {
        let mut taken = self.taken.take();
        let take = |entry: cqueue::Entry| (entry.user_data(), entry.result(), entry.flags());
        taken.extend(self.ring.borrow_mut().completion().map(take));
        let mut has_woken = false;
        for &(user_data, result, flags) in &taken {
            let index = (user_data >> KIND_BITS) as usize;
            has_woken |= match user_data & ((1 << KIND_BITS) - 1) {
                OPERATION => self.operations.complete(index, result),
                RECEIVE => self.connection(index).received(self, index, result, flags),
                SEND => self.connection(index).queued_send_completed(self, index, result),
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

    fn wake_yielded(&self) -> bool {
        let mut yielded = self.yielded.take();
        let mut has_woken = false;
        for index in yielded.drain(..) {
            // One that is gone or no longer waits does not count as woken: no task would be ready.
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

    /// Cancels the operation with this user data, if there is one.
    pub(super) fn cancel(&self, target: u64) {
        let entry = opcode::AsyncCancel::new(target).build().user_data(user_data(IGNORED, 0));
        // SAFETY: the entry names no memory and no descriptor.
        unsafe { self.push(entry) };
    }

    /// The kernel refused a multishot receive: use none from now on.
    pub(super) fn no_more_multishot(&self) {
        self.setup.set(Setup { multishot: false, ..self.setup.get() });
    }

    /// A heap buffer.
    ///
    /// # Errors
    /// The limit on read memory is reached.
    pub(super) fn heap_buffer(&self) -> io::Result<Buffer> {
        self.buffers.heap().ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }

    fn connection(&self, index: usize) -> Rc<Connection> {
        Rc::clone(&self.connections.borrow()[index])
    }

    /// Connection `index` has a queued send.
    pub(super) fn send_is_queued(&self, index: usize) {
        self.queued_sends.borrow_mut().push(index);
    }

    /// A task waits for a queued send.
    pub(super) fn must_settle(&self) {
        self.is_settling.set(true);
    }

    /// After a submission: queued sends without a completion are done. True if a task was woken.
    fn settle_sends(&self) -> bool {
        self.is_settling.set(false);
        if self.queued_sends.borrow().is_empty() {
            return false;
        }
        let mut has_woken = false;
        let mut queued = std::mem::take(&mut *self.queued_sends.borrow_mut());
        queued.retain(|&index| {
            let Some(connection) = self.connections.borrow().get(index).map(Rc::clone) else { return false };
            match connection.settle_queued_send(self) {
                Some(woken) => {
                    has_woken |= woken;
                    connection.remove_if_over(self, index);
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

    /// Submits everything, backlog included, unless the kernel refuses.
    pub(super) fn flush(&self) {
        loop {
            let before = self.backlog.borrow().len();
            self.push_backlog();
            self.submit();
            // Ends when the backlog no longer shrinks.
            if matches!(self.backlog.borrow().len(), left if left == 0 || left == before) {
                break;
            }
        }
    }

    /// The number of the current pass; it grows whenever all ready tasks have run.
    pub(super) fn pass(&self) -> u32 {
        self.pass.get()
    }

    pub(crate) fn doorbell(&self) -> Arc<Doorbell> {
        Arc::clone(&self.doorbell)
    }

    /// Starts the next read of the doorbell: one is always in flight.
    fn watch_doorbell(&self) {
        let fd = types::Fd(self.doorbell.as_raw_fd());
        let entry = opcode::Read::new(fd, self.doorbell_count.as_ptr().cast(), size_of::<u64>() as u32)
            .build()
            .user_data(user_data(DOORBELL, 0));
        // SAFETY: the count is on the heap and the doorbell is open as long as the driver is, which is for good once it
        // has been entered.
        unsafe { self.push(entry) };
    }
}

/// The kernel ran out of memory and dropped completions. Tasks would wait for them for ever, perhaps the doorbell too.
fn give_up() -> ! {
    tracing::error!("the kernel is out of memory and has lost completions of io_uring: giving up");
    std::process::abort()
}
