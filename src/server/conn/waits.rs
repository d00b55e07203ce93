//! What a connection's task does in the middle of a command: it receives a long value into reserved memory, or waits for
//! memory, for lagging rings, or for a read from flash.

use super::Connection;
use crate::server::backoff::wait_for_rings;
use crate::server::context::{CloseReason, Phase};
use crate::server::load::load_wanted;
use crate::server::stall::{PAUSE_MAX, PAUSE_MIN};
use crate::session::Next;
use std::time::Duration;
use uring::Stream;

impl Connection {
    /// Waits for what the current command needs, as `next` says: memory, lagging rings, or a read from flash. The first stall
    /// sets `stalled_since`, a time of the ring's `run_clock`.
    pub(super) async fn wait_for_others(
        &mut self,
        next: Next,
        stalled_since: &mut Option<Duration>,
    ) -> Result<(), CloseReason> {
        self.check_stop()?;
        match next {
            Next::Wait => self.wait_for_memory().await,
            Next::Stall => {
                let since = *stalled_since.get_or_insert_with(|| self.ring.run_clock.now());
                if !wait_for_rings(&self.ring, since).await {
                    self.session.refuse_stalls();
                }
            }
            Next::Load => load_wanted(&self.ring, self.session.take_wanted()).await,
            _ => {}
        }
        Ok(())
    }

    /// Pauses, so that other connections may give back the memory that a value needs. The pause is as long as the value has
    /// waited so far, but at least [`PAUSE_MIN`] and at most [`PAUSE_MAX`].
    async fn wait_for_memory(&mut self) {
        // The wait is not the client's fault: its value must not count as slow.
        self.entry.end_receiving();
        let since = self.ring.run_clock.now();
        uring::sleep(self.session.waited().clamp(PAUSE_MIN, PAUSE_MAX)).await;
        self.session.note_waited(self.ring.run_clock.since(since));
    }

    /// Gives up the value that is being received if the sweep has set `gives_way`, so that others can have its memory. True if
    /// the value was given up.
    pub(super) fn give_way(&mut self) -> bool {
        let gives_way = self.entry.gives_way.replace(false);
        if gives_way {
            self.session.give_up_value();
            self.entry.end_receiving();
        }
        gives_way
    }

    /// Receives the bytes of a large value straight into its reservation, until the reservation is full or given up.
    pub(super) async fn receive(&mut self) -> Result<(), CloseReason> {
        self.entry.phase.set(Phase::Receiving);
        while let Some(mut reservation) = self.session.lend_reservation() {
            if uring::Receive::spare(&mut reservation).1 == 0 {
                self.session.return_reservation(reservation);
                break;
            }
            self.check_stop()?;
            let (result, mut reservation) = self.entry.stream.recv_into(reservation).await;
            let count = match result {
                Ok(0) => return Err(self.entry.closed_for.get().unwrap_or(CloseReason::Normal)),
                Ok(count) => count,
                // The sweep has interrupted the receive.
                Err(error) if Stream::is_interrupted(&error) => 0,
                Err(error) => return Err(self.broken(&error)),
            };
            reservation.advance(count);
            self.ring.counters().bytes_read.add(count as u64);
            self.entry.note_received(count);
            self.session.return_reservation(reservation);
            if self.give_way() {
                break;
            }
        }
        self.note_read();
        Ok(())
    }
}
