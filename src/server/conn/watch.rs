//! A connection that watches: log lines go out as they come, and what the client sends is discarded. The lines wait in the
//! shared registry (`engine::watch`), which wakes this ring.

use super::{Connection, drain};
use crate::server::context::{CloseReason, Entry, Phase, RingContext};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// How long log lines are gathered, so that a busy watcher costs one send for many lines.
const GATHER: Duration = Duration::from_millis(1);

impl Connection {
    /// Sends log lines as they come, until the connection ends; returns how it ended.
    pub(super) async fn watch(&mut self) -> CloseReason {
        self.entry.phase.set(Phase::Watching);
        self.release_buffers();
        let has_gone = Rc::new(Cell::new(false));
        let reader =
            uring::spawn(discard_input(Rc::clone(&self.ring), Rc::clone(&self.entry), Rc::clone(&has_gone)));
        let ring = Rc::clone(&self.ring);
        let waker = ring.wakers[ring.index].clone();
        self.session.wake_with(Box::new(move || waker.wake()));
        let end = loop {
            // Called before pumping, so that lines logged during the send end the wait below.
            let heard = ring.bell.heard();
            self.session.pump(&mut self.ring.engine.borrow_mut(), &mut self.out);
            if let Err(end) = self.send(false).await {
                break end;
            }
            if has_gone.get() {
                break self.entry.closed_for.get().unwrap_or(CloseReason::Normal);
            }
            // A stop that came while the reply to `watch` was being sent did not close this connection, which looked busy.
            if let Err(end) = self.check_stop() {
                break end;
            }
            heard.await;
            uring::sleep(GATHER).await;
        };
        self.entry.stream.shutdown();
        let _ = reader.await;
        end
    }
}

/// Discards input until the client of a watcher has gone, then sets `has_gone` and rings the bell, which wakes the watcher's
/// task.
async fn discard_input(ring: Rc<RingContext>, entry: Rc<Entry>, has_gone: Rc<Cell<bool>>) {
    drain(&ring, &entry).await;
    has_gone.set(true);
    ring.bell.ring();
}
