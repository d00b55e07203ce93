//! How other threads wake a ring that sleeps in the kernel.
//!
//! ```text
//!   another thread: put mail; has_rung = true; if is_asleep: write the event
//!   the ring:       is_asleep = true; if has_rung: do not sleep; else sleep, with a read of the event under way
//! ```
//!
//! Both sides write their own flag before they read the other's, all in one order (`SeqCst`), so at least one of them sees
//! the other: either the ring does not fall asleep or the event is written. Whoever finds that it has been rung already
//! leaves the rest to who rang first. A ring that is awake costs its wakers no system call.

use crate::sync::{AtomicBool, Ordering};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::io;
use std::os::fd::{AsRawFd, RawFd};

/// A ring's doorbell.
#[derive(Debug)]
pub(crate) struct Doorbell {
    flags: Flags,
    event: EventFd,
}

/// The part of it that is memory.
#[derive(Debug)]
pub(crate) struct Flags {
    has_rung: AtomicBool,
    is_asleep: AtomicBool,
}

impl Flags {
    pub(crate) fn new() -> Self {
        Self { has_rung: AtomicBool::new(false), is_asleep: AtomicBool::new(false) }
    }

    /// Rings; true if the event must be written.
    pub(crate) fn ring(&self) -> bool {
        !self.has_rung.swap(true, Ordering::SeqCst) && self.is_asleep.load(Ordering::SeqCst)
    }

    /// The ring is about to sleep; false if it must not.
    pub(crate) fn may_sleep(&self) -> bool {
        self.is_asleep.store(true, Ordering::SeqCst);
        !self.has_rung.load(Ordering::SeqCst)
    }

    /// The ring is awake; true if it has been rung, which is over with it.
    pub(crate) fn awake(&self) -> bool {
        self.is_asleep.store(false, Ordering::Relaxed);
        // The swap comes before the ring looks at its mail: whoever rings from now on rings anew.
        self.has_rung.load(Ordering::Relaxed) && self.has_rung.swap(false, Ordering::SeqCst)
    }
}

impl Doorbell {
    /// # Errors
    /// There are no descriptors left.
    pub(crate) fn new() -> io::Result<Self> {
        // Blocking: a read that is under way waits for the ring.
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?;
        Ok(Self { flags: Flags::new(), event })
    }

    /// Wakes the ring. Never waits.
    pub(crate) fn ring(&self) {
        if self.flags.ring() {
            // It could fail only if the count were full, and the ring's read empties it.
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
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicUsize;
    use loom::thread;

    /// The flags with what they guard: mail, and the event that a sleeping ring waits for.
    struct Model {
        flags: Flags,
        mail: AtomicUsize,
        events: AtomicUsize,
    }

    impl Model {
        fn post(&self) {
            self.mail.fetch_add(1, Ordering::Relaxed);
            if self.flags.ring() {
                self.events.fetch_add(1, Ordering::Release);
            }
        }

        /// One pass of the ring; returns the mail it found.
        fn pass(&self) -> usize {
            if self.flags.may_sleep() {
                // In the kernel, until there is an event.
                while self.events.load(Ordering::Acquire) == 0 {
                    thread::yield_now();
                }
                self.events.fetch_sub(1, Ordering::Acquire);
            }
            if self.flags.awake() { self.mail.swap(0, Ordering::Relaxed) } else { 0 }
        }
    }

    /// In every order a ring that has mail to come gets all of it: no wake is lost, and it does not sleep for ever (loom
    /// fails a wait that nothing ends).
    #[test]
    fn no_wake_is_lost() {
        loom::model(|| {
            let model = Arc::new(Model {
                flags: Flags::new(),
                mail: AtomicUsize::new(0),
                events: AtomicUsize::new(0),
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
