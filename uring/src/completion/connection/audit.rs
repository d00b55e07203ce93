//! For debug builds: finds tasks that wait for a connection although they could go on, when their ring is about to sleep.
//! Changes nothing.

use super::{Connection, QueuedSend, Receiving};
use std::fmt;
use std::mem::MaybeUninit;

impl Connection {
    /// Why a task that waits for this connection could go on; `None` if no task waits, or the waiting task cannot go on.
    pub(in crate::completion) fn could_go_on(&self, silent_sends: bool) -> Option<&'static str> {
        let state = self.queued_send.borrow();
        let reads = self.reader.is_waiting();
        let is_settled = match &*state {
            QueuedSend::Resumed(_) => return None,
            QueuedSend::Queued(bytes) => silent_sends || bytes.is_empty(),
            QueuedSend::Idle | QueuedSend::Unsent(..) | QueuedSend::Broken(_) => true,
        };
        let has_failed = matches!(*state, QueuedSend::Unsent(..) | QueuedSend::Broken(_));
        if is_settled && self.settler.is_waiting() {
            Some("its queued send is over")
        } else if reads && has_failed {
            Some("its queued send has failed")
        } else if reads && is_settled && self.can_read() && self.receiving.get() != Receiving::Ending {
            // A task that ends a receive waits for the end, whatever arrives before.
            Some("there is something to read")
        } else if reads && self.receiving.get() == Receiving::Idle && self.arrivals.borrow().is_empty() {
            Some("no receive is under way")
        } else {
            None
        }
    }

    /// True if the socket holds bytes although a receive is in flight, which should have completed with them.
    pub(in crate::completion) fn is_deaf(&self) -> bool {
        let is_armed =
            matches!(self.receiving.get(), Receiving::Selecting | Receiving::Multishot | Receiving::Polling);
        is_armed && !self.is_over.get() && self.arrivals.borrow().is_empty() && {
            let mut byte = [MaybeUninit::uninit()];
            self.socket.recv_with_flags(&mut byte, libc::MSG_PEEK | libc::MSG_DONTWAIT).is_ok()
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("receiving", &self.receiving)
            .field("arrivals", &self.arrivals)
            .field("queued_send", &self.queued_send)
            .field("is_interrupted", &self.is_interrupted)
            .finish_non_exhaustive()
    }
}
