//! A notification for tasks of one ring, from tasks of the same ring.

use std::rc::Rc;
use tokio::sync::Notify;

/// Wakes tasks of the same thread; clones share one bell.
#[derive(Clone, Debug, Default)]
pub struct Bell(Rc<Notify>);

impl Bell {
    /// Completes every future that [`Bell::heard`] has returned so far.
    pub fn ring(&self) {
        self.0.notify_waiters();
    }

    /// A future that completes at the first [`Bell::ring`] after this call, even if the future has not been polled by then. It
    /// may be dropped at any time.
    pub fn heard(&self) -> impl Future<Output = ()> + '_ {
        self.0.notified()
    }
}
