//! Mail between threads: pokes that merge, and messages that do not.

use crate::completion::Driver;
use crate::doorbell::Doorbell;
use crate::engine::Backend;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::sync::mpsc;

/// What a ring finds in its mailbox.
#[derive(Debug, PartialEq, Eq)]
pub enum Mail<M> {
    /// One or more [`Waker::wake`]s.
    Wake,
    /// A [`Waker::post`].
    Message(M),
}

/// The outside of a ring's mailbox, for every thread; waking an idle ring takes it about 10 µs to notice.
#[derive(Debug)]
pub struct Waker<M> {
    sender: mpsc::UnboundedSender<Mail<M>>,
    /// A wake is in the mailbox and has not been taken out.
    woken: Arc<AtomicBool>,
    /// Rings when this is dropped, behind the sender: the ring may be waiting for that.
    bellpull: Bellpull,
}

/// The doorbell of the ring that reads the mail, once it does, if it sleeps in the kernel.
#[derive(Clone, Debug, Default)]
struct Bellpull(Arc<OnceLock<Arc<Doorbell>>>);

impl Bellpull {
    /// Wakes the ring's thread. A ring that does not read its mail yet finds it when it begins to.
    fn ring(&self) {
        if let Some(doorbell) = self.0.get() {
            doorbell.ring();
        }
    }
}

impl Drop for Bellpull {
    fn drop(&mut self) {
        self.ring();
    }
}

impl<M> Clone for Waker<M> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), woken: Arc::clone(&self.woken), bellpull: self.bellpull.clone() }
    }
}

/// The inside of a ring's mailbox.
#[derive(Debug)]
pub struct Mailbox<M> {
    receiver: mpsc::UnboundedReceiver<Mail<M>>,
    woken: Arc<AtomicBool>,
    doorbell: Arc<OnceLock<Arc<Doorbell>>>,
}

/// A new mailbox and its waker.
pub fn mailbox<M: Send>() -> (Waker<M>, Mailbox<M>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let woken = Arc::new(AtomicBool::new(false));
    let bellpull = Bellpull::default();
    let doorbell = Arc::clone(&bellpull.0);
    (Waker { sender, woken: Arc::clone(&woken), bellpull }, Mailbox { receiver, woken, doorbell })
}

impl<M: Send> Waker<M> {
    /// Wakes the ring. Never blocks; many wakes before the ring looks are one.
    pub fn wake(&self) {
        // AcqRel: what was written before this wake is seen by whoever takes the wake that is already there (see
        // `Mailbox::next`).
        if !self.woken.swap(true, Ordering::AcqRel) {
            // A ring that has ended needs no wakes.
            let _ = self.sender.send(Mail::Wake);
            self.bellpull.ring();
        }
    }

    /// Posts a message. Never blocks.
    ///
    /// # Errors
    /// The ring has ended: the message comes back.
    pub fn post(&self, message: M) -> Result<(), M> {
        self.sender.send(Mail::Message(message)).map_err(|refused| match refused.0 {
            Mail::Message(message) => message,
            Mail::Wake => unreachable!("a message was sent"),
        })?;
        self.bellpull.ring();
        Ok(())
    }
}

impl<M> Mailbox<M> {
    /// The next mail, in order; `None` once all wakers are gone. May be dropped unfinished.
    ///
    /// # Panics
    /// Outside of [`crate::Ring::run`].
    pub async fn next(&mut self) -> Option<Mail<M>> {
        if self.doorbell.get().is_none() && Backend::current() == Backend::Uring {
            let _ = self.doorbell.set(Driver::current().doorbell());
        }
        let mail = self.receiver.recv().await;
        if matches!(mail, Some(Mail::Wake)) {
            // Before the ring acts on the wake, so that a wake from now on is a new one. Pairs with the swap in `wake`.
            self.woken.swap(false, Ordering::AcqRel);
        }
        mail
    }
}
