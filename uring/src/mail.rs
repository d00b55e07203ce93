//! A ring's mailbox, for other threads: messages, and wakes that coalesce. Any thread may send, through clones of a [`Waker`];
//! the [`Mailbox`] belongs to one task of the ring. No locks but those of tokio's channel.

use crate::backend::Backend;
use crate::completion::Driver;
use crate::doorbell::Doorbell;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, OnceLock};
use tokio::sync::mpsc;

/// One piece of mail in a ring's mailbox.
#[derive(Debug, PartialEq, Eq)]
pub enum Mail<M> {
    /// [`Waker::wake`] was called, once or several times since the last wake was taken.
    Wake,
    /// A message that was posted with [`Waker::post`].
    Message(M),
}

/// The sending side of a ring's mailbox, for any thread. An idle ring takes new mail within about 10 µs.
#[derive(Debug)]
pub struct Waker<M> {
    sender: mpsc::UnboundedSender<Mail<M>>,
    /// True while a wake is in the mailbox. Further wakes then add nothing to the mailbox.
    woken: Arc<AtomicBool>,
    /// Rings when it is dropped, since the ring may be waiting for the last sender to go. It is dropped after `sender` (field
    /// order).
    bellpull: Bellpull,
}

/// The doorbell of the ring that reads the mail. It is set once that ring has begun to read, and on io_uring only.
#[derive(Clone, Debug, Default)]
struct Bellpull(Arc<OnceLock<Arc<Doorbell>>>);

impl Bellpull {
    /// Wakes the ring's thread. A ring that has not begun to read mail finds it when it begins.
    fn ring(&self) {
        // The fence is between sending the mail and reading the doorbell. It pairs with the fence in `Mailbox::next`: either
        // this thread sees the doorbell, or the ring, which has just set the doorbell, sees the mail.
        fence(Ordering::SeqCst);
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

/// The receiving side of a ring's mailbox.
#[derive(Debug)]
pub struct Mailbox<M> {
    receiver: mpsc::UnboundedReceiver<Mail<M>>,
    woken: Arc<AtomicBool>,
    doorbell: Arc<OnceLock<Arc<Doorbell>>>,
}

/// A new mailbox, and a waker for it that may be cloned for any number of threads.
pub fn mailbox<M: Send>() -> (Waker<M>, Mailbox<M>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let woken = Arc::new(AtomicBool::new(false));
    let bellpull = Bellpull::default();
    let doorbell = Arc::clone(&bellpull.0);
    (Waker { sender, woken: Arc::clone(&woken), bellpull }, Mailbox { receiver, woken, doorbell })
}

impl<M: Send> Waker<M> {
    /// Puts a [`Mail::Wake`] into the mailbox and wakes the ring. Never blocks. Until the ring takes that mail, further wakes
    /// add nothing.
    pub fn wake(&self) {
        // AcqRel: pairs with the swap in `Mailbox::next`, so that the ring sees what was written before this wake even
        // if it takes an earlier one.
        if !self.woken.swap(true, Ordering::AcqRel) {
            // Fails only if the ring has ended.
            let _ = self.sender.send(Mail::Wake);
            self.bellpull.ring();
        }
    }

    /// Posts a message. Never blocks.
    ///
    /// # Errors
    /// The ring has ended; the error is the message.
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
    /// Waits for the next piece of mail, in the order of sending; `None` once all wakers are gone. The future may be dropped
    /// early.
    ///
    /// # Panics
    /// Outside of [`crate::Ring::run`].
    pub async fn next(&mut self) -> Option<Mail<M>> {
        if self.doorbell.get().is_none() && Backend::current() == Backend::Uring {
            let _ = self.doorbell.set(Driver::current().doorbell());
            // The fence is between setting the doorbell and looking for mail. It pairs with the fence in `Bellpull::ring`.
            fence(Ordering::SeqCst);
        }
        let mail = self.receiver.recv().await;
        if matches!(mail, Some(Mail::Wake)) {
            // Cleared before the ring acts on the wake, so that a later wake is a new one. Pairs with the swap in `wake`.
            self.woken.swap(false, Ordering::AcqRel);
        }
        mail
    }
}
