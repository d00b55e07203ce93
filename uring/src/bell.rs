//! A bell inside one ring: whoever waits when it rings goes on.

use std::rc::Rc;
use tokio::sync::Notify;

/// Wakes tasks of the same thread; clones are the same bell.
#[derive(Clone, Debug, Default)]
pub struct Bell(Rc<Notify>);

impl Bell {
    /// Wakes everybody whose [`Bell::heard`] was called before.
    pub fn ring(&self) {
        self.0.notify_waiters();
    }

    /// A future that is ready once the bell rings; rings from this call on count, not only from the first await on.
    /// It may be dropped at any time.
    pub fn heard(&self) -> impl Future<Output = ()> + '_ {
        self.0.notified()
    }
}
