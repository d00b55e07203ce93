//! How other threads wake a ring that sleeps in the kernel.
//!
//! ```text
//!   another thread: put mail; has_rung = true; if is_asleep: write the event
//!   the ring:       is_asleep = true; if has_rung: do not sleep; else sleep, with a read of the event under way
//! ```
//!
//! Both sides write their own flag before they read the other's, with a fence (`SeqCst`) in between, so at least one of
//! them sees the other: either the ring does not fall asleep or the event is written. A thread that finds `has_rung` set leaves
//! the write to the thread that set it. Waking a ring that is awake costs no system call.
//!
//! Each ring on io_uring has a doorbell, shared with all threads that wake it: any thread may ring; the ring's thread alone goes
//! to sleep and clears the flags.

use crate::sync::{AtomicBool, Ordering, fence};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::io;
use std::os::fd::{AsRawFd, RawFd};

/// Lets any thread wake a ring that sleeps in the kernel.
#[derive(Debug)]
pub(crate) struct Doorbell {
    flags: Flags,
    event: EventFd,
}

/// The flags of a doorbell, apart from the descriptor so that loom can model them.
#[derive(Debug)]
pub(crate) struct Flags {
    /// True once a thread has rung; the ring clears it when it is awake.
    has_rung: AtomicBool,
    /// True while the ring sleeps in the kernel or is about to; set and cleared by the ring.
    is_asleep: AtomicBool,
}

impl Flags {
    pub(crate) fn new() -> Self {
        Self { has_rung: AtomicBool::new(false), is_asleep: AtomicBool::new(false) }
    }

    /// Takes note that the calling thread rings. True if that thread must write to the event descriptor, because it is the first
    /// to ring and the ring sleeps or is about to.
    pub(crate) fn ring(&self) -> bool {
        // AcqRel: the ring sees what was posted before this swap, even if another thread rang first.
        if self.has_rung.swap(true, Ordering::AcqRel) {
            return false;
        }
        fence(Ordering::SeqCst);
        self.is_asleep.load(Ordering::Relaxed)
    }

    /// Takes note that the ring is about to sleep; called by the ring. False if it must not sleep, because a thread has rung.
    pub(crate) fn may_sleep(&self) -> bool {
        self.is_asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        !self.has_rung.load(Ordering::Relaxed)
    }

    /// Takes note that the ring is awake again; called by the ring. True if a thread has rung since the previous call.
    pub(crate) fn awake(&self) -> bool {
        self.is_asleep.store(false, Ordering::Relaxed);
        // The swap comes before the ring takes its mail. A thread that rings after the swap sets the flag anew.
        self.has_rung.load(Ordering::Relaxed) && self.has_rung.swap(false, Ordering::AcqRel)
    }
}

impl Doorbell {
    /// Makes a doorbell that has not rung.
    ///
    /// # Errors
    /// The process is out of descriptors.
    pub(crate) fn new() -> io::Result<Self> {
        // A blocking descriptor: the ring's read in flight completes at a write.
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?;
        Ok(Self { flags: Flags::new(), event })
    }

    /// Wakes the ring if it sleeps, else keeps it from going to sleep next time. Never waits.
    pub(crate) fn ring(&self) {
        if self.flags.ring() {
            // Could fail only if the count were full; the ring's read empties it.
            let _ = self.event.write(1);
        }
    }

    pub(crate) fn may_sleep(&self) -> bool {
        self.flags.may_sleep()
    }

    pub(crate) fn awake(&self) -> bool {
        self.flags.awake()
    }
}

impl AsRawFd for Doorbell {
    fn as_raw_fd(&self) -> RawFd {
        std::os::fd::AsFd::as_fd(&self.event).as_raw_fd()
    }
}

#[cfg(all(test, memcrsd_loom))]
mod tests {
    use super::*;
    use loom::sync::atomic::AtomicUsize;
    use loom::sync::{Arc, Condvar, Mutex};
    use loom::thread;

    /// The flags, the mail that they announce, and the event that a sleeping ring waits for.
    struct Model {
        flags: Flags,
        mail: AtomicUsize,
        event: Mutex<usize>,
        written: Condvar,
    }

    impl Model {
        fn post(&self) {
            self.mail.fetch_add(1, Ordering::Relaxed);
            if self.flags.ring() {
                *self.event.lock().expect("no poison") += 1;
                self.written.notify_one();
            }
        }

        /// One pass of the ring; returns the mail it found.
        fn pass(&self) -> usize {
            if self.flags.may_sleep() {
                let mut event = self.event.lock().expect("no poison");
                while *event == 0 {
                    event = self.written.wait(event).expect("no poison");
                }
                *event = 0;
            }
            if self.flags.awake() { self.mail.swap(0, Ordering::Relaxed) } else { 0 }
        }
    }

    /// In every order of events a ring gets all of its mail. No wake is lost (loom fails a wait that nothing ends), and mail
    /// posted before a wake is seen after the wake.
    #[test]
    fn no_wake_is_lost() {
        let mut orders = loom::model::Builder::new();
        // All orders with this many preemptions at most; more take minutes.
        orders.preemption_bound = Some(3);
        orders.check(|| {
            let model = Arc::new(Model {
                flags: Flags::new(),
                mail: AtomicUsize::new(0),
                event: Mutex::new(0),
                written: Condvar::new(),
            });
            let senders: Vec<_> = (0..2)
                .map(|_| {
                    let model = Arc::clone(&model);
                    thread::spawn(move || model.post())
                })
                .collect();
            let mut found = 0;
            while found < 2 {
                found += model.pass();
            }
            for sender in senders {
                sender.join().expect("no panic");
            }
        });
    }
}
