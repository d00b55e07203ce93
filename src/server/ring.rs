//! One ring's thread: makes its [`RingContext`], starts its tasks, reads its mailbox, and ends it.
//!
//! The tasks: one per listener (`accept`), UDP socket (`udp`) and connection (`conn`), the heartbeat (clock and sweep, once
//! a second), and the background work of the store. All of them run on this thread and share the context.

use super::accept::{self, Steering};
use super::conn;
use super::context::{CloseReason, Entry, Message, Parts, Phase, RingContext};
use super::listen::Bound;
use super::sweeps::Sweeps;
use super::udp;
use crate::limits::PINNED_SILENT_SECS;
use std::io;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use uring::{ActiveListener, DatagramSocket, Datagrams, Listener, Mail, Mailbox};

/// Interval of the heartbeat.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Pause between two slices of background work while connections are active and the last slice had nothing to do.
const MAINTENANCE: Duration = Duration::from_millis(100);
/// Pause between two slices of background work while the store comes down to a lowered limit. When [`DESCENT_LOOKS`] checks in a
/// row find that nothing has been freed, the descent counts as ended.
const DESCENT: Duration = Duration::from_millis(10);
const DESCENT_LOOKS: u32 = 10;
/// Pause between two portions of expired items that the store's sweep removes.
const REST: Duration = Duration::from_millis(1);
/// Number of slices of background work per heartbeat while no connection is active.
const SLICES_PER_BEAT: u32 = 10;
/// A connection that has been silent for this many seconds gives up its buffers.
const HOLD_SECS: u32 = 2;
/// Number of connections that are swept before other tasks get a turn.
const SWEEP_SLICE: usize = 1024;
/// How long replies in flight may take to leave when the ring ends.
const DRAIN: Duration = Duration::from_millis(500);
/// How long the remaining connections may take to end after the ring has closed them.
const CUT: Duration = Duration::from_millis(200);

/// Runs the ring `io` until [`Message::Stop`] comes and the ring's connections have ended. The heartbeats of all rings are at
/// whole seconds after `epoch`, the start of the server's clock. Sends to `opened` whether everything in `bound` could be opened.
pub(super) fn run(
    io: uring::Ring,
    parts: Parts,
    mut mailbox: Mailbox<Message>,
    bound: Bound,
    epoch: Instant,
    opened: &mpsc::Sender<io::Result<()>>,
) {
    let ring = Rc::new(RingContext::new(parts, io.buffers()));
    io.run(async move {
        let (listeners, sockets) = match bound.open() {
            Ok(all) => all,
            Err(error) => {
                // A receiver that is gone does not start the server either.
                let _ = opened.send(Err(error));
                return;
            }
        };
        let _ = opened.send(Ok(()));
        let accepts: Vec<_> = listeners.iter().map(|(_, accepts)| Rc::clone(accepts)).collect();
        let steering = Steering::start(&ring, accepts.clone());
        for (listener, accepts) in &listeners {
            uring::spawn(accept::accept_all(Rc::clone(&ring), Rc::clone(accepts), *listener));
        }
        for socket in sockets {
            uring::spawn(udp::serve(Rc::clone(&ring), socket));
        }
        uring::spawn(heartbeat(Rc::clone(&ring), epoch, steering));
        uring::spawn(maintain(Rc::clone(&ring)));
        while let Some(mail) = mailbox.next().await {
            match mail {
                Mail::Wake => {
                    ring.catch_up();
                    ring.bell.ring();
                }
                Mail::Message(Message::Adopt(accepted)) => conn::spawn(&ring, accepted),
                Mail::Message(Message::Stop) => break,
            }
        }
        stop(&ring, &accepts).await;
    });
}

/// Listeners of a ring, with their indices in the configuration.
type Listening = Vec<(usize, Rc<ActiveListener>)>;

impl Bound {
    /// Opens all listeners and sockets on this thread's ring.
    fn open(self) -> io::Result<(Listening, Vec<Datagrams>)> {
        let open = |(index, listener): (usize, Listener)| Ok((index, Rc::new(listener.open()?)));
        let listeners = self.listeners.into_iter().map(open).collect::<io::Result<_>>()?;
        let sockets = self.sockets.into_iter().map(DatagramSocket::open).collect::<io::Result<_>>()?;
        Ok((listeners, sockets))
    }
}

/// The heartbeat: at every whole second of the clock, reads the time, rings the bell, steers new connections, and sweeps those
/// that are open.
async fn heartbeat(ring: Rc<RingContext>, epoch: Instant, mut steering: Steering) {
    let mut sweeps = Sweeps::default();
    loop {
        let into_second = Duration::from_nanos(u64::from(epoch.elapsed().subsec_nanos()));
        uring::sleep(HEARTBEAT.saturating_sub(into_second)).await;
        ring.tick();
        // All rings sweep one store: one of them reports.
        if ring.index == 0 {
            sweeps.report(&ring);
        }
        ring.beats.set(ring.beats.get().wrapping_add(1));
        ring.bell.ring();
        steering.update(&ring);
        sweep(&ring).await;
        // A trip through the kernel's queue, so that the beat shows that completions arrive.
        uring::yield_now().await;
        ring.heartbeats.beat(ring.index);
    }
}

/// How a store comes down to a lowered limit: the bytes still above it, and how many checks in a row found them unchanged.
#[derive(Default)]
struct Descent {
    bytes: u64,
    idle_looks: u32,
}

impl Descent {
    /// True while the descent goes on: there are `bytes` above the limit, and their number has changed within the last
    /// [`DESCENT_LOOKS`] checks. Memory is freed in steps, since the log may be full of evictions that other rings have yet to
    /// replay.
    fn goes_on(&mut self, bytes: u64) -> bool {
        let is_unchanged = std::mem::replace(&mut self.bytes, bytes) == bytes;
        self.idle_looks = if is_unchanged { self.idle_looks + 1 } else { 0 };
        bytes > 0 && self.idle_looks < DESCENT_LOOKS
    }
}

/// Does the background work of the store in slices. While there is work, one slice follows the other, with pauses if the work is
/// the sweep for expired items. Otherwise there are a hundred slices a second while the store comes down to a lowered limit, ten
/// a second while connections are active, and ten at the beginning of each second while none is.
async fn maintain(ring: Rc<RingContext>) {
    let (mut slices, mut descent) = (1, Descent::default());
    while !ring.is_stopping() {
        let more = ring.maintain();
        if ring.should_rest() {
            uring::sleep(REST).await;
        } else if more {
            uring::yield_now().await;
        } else if slices > 1 {
            slices -= 1;
            uring::yield_now().await;
        } else if descent.goes_on(ring.bytes_over_limit()) {
            uring::sleep(DESCENT).await;
        } else if ring.has_read.replace(false) {
            uring::sleep(MAINTENANCE).await;
        } else {
            // No connection is active: as many slices a second as usual, but all at its beginning.
            let beats = ring.beats.get();
            while ring.beats.get() == beats && !ring.is_stopping() && !ring.has_read.get() {
                ring.bell.heard().await;
            }
            slices = SLICES_PER_BEAT;
        }
    }
}

/// The sweep over connections: sums up the memory that they hold, closes connections that are idle or hold memory that others
/// need, and makes connections that have become silent release their buffers.
async fn sweep(ring: &RingContext) {
    let (now, instant) = (ring.now(), Instant::now());
    let timeout_secs = ring.settings.idle_timeout_secs;
    let is_short_of_reservations = ring.is_short_of_reservations();
    let is_short_of_room = ring.load_budget.is_short();
    let is_short_of_pins = ring.is_short_of_pins() || is_short_of_room;
    let must_take_fast = is_short_of_room || ring.holds_much_beside();
    let mut held_bytes = 0;
    let mut next = 0;
    while next < ring.entries.borrow().capacity() {
        let from = next;
        next += SWEEP_SLICE;
        for key in from..next {
            let Some(entry) = ring.entries.borrow().get(key).map(Rc::clone) else { continue };
            held_bytes += entry.held_bytes.get() + entry.stream.queued_bytes();
            entry.note_acknowledged(now);
            entry.measure_receiving(instant);
            entry.measure_taking(now);
            if is_short_of_reservations && entry.is_slow() {
                entry.give_way();
            }
            let silent_secs = now.0.saturating_sub(entry.last_active.get().0);
            let is_silent = is_short_of_pins && silent_secs >= PINNED_SILENT_SECS;
            let is_in_the_way =
                entry.holds_pins.get() && (is_silent || must_take_fast && entry.takes_slowly());
            if entry.is_overdue(now, timeout_secs) || is_in_the_way {
                entry.close(CloseReason::Idle);
            } else if entry.phase.get() == Phase::Reading && silent_secs == HOLD_SECS {
                entry.stream.interrupt();
            }
        }
        if next < ring.entries.borrow().capacity() {
            uring::yield_now().await;
        }
    }
    ring.set_held_bytes(held_bytes);
}

/// Ends the ring: stops accepting, closes idle connections whose replies are acknowledged, waits for replies in flight, then
/// closes the remaining connections.
async fn stop(ring: &RingContext, listeners: &[Rc<ActiveListener>]) {
    ring.stopping.set(true);
    for accepts in listeners {
        accepts.close();
    }
    let unacknowledged = close_idle(ring);
    ring.bell.ring();
    for entry in unacknowledged {
        entry.stream.interrupt();
    }
    let is_done = |entry: &Entry| entry.phase.get() == Phase::Leaving && entry.stream.has_arrived();
    if !is_empty_within(ring, DRAIN, is_done).await {
        is_empty_within(ring, CUT, |_| true).await;
    }
}

/// Closes the connections that are not being served, except those whose replies are not acknowledged yet. Returns the latter.
/// The caller must interrupt their reads, so that their tasks find that the server is stopping.
fn close_idle(ring: &RingContext) -> Vec<Rc<Entry>> {
    let mut unacknowledged = Vec::new();
    for (_, entry) in ring.entries.borrow().iter() {
        match entry.phase.get() {
            Phase::Working => {}
            Phase::Reading if !entry.stream.has_arrived() => unacknowledged.push(Rc::clone(entry)),
            _ => entry.close(CloseReason::Stopped),
        }
    }
    unacknowledged
}

/// Waits until there are no connections, and closes those for which `may_go` returns true; false if some remain after `time`.
async fn is_empty_within(ring: &RingContext, time: Duration, may_go: impl Fn(&Entry) -> bool) -> bool {
    let deadline = Instant::now() + time;
    loop {
        for (_, entry) in ring.entries.borrow().iter().filter(|(_, entry)| may_go(entry)) {
            entry.close(CloseReason::Stopped);
        }
        if ring.entries.borrow().is_empty() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        uring::sleep(Duration::from_millis(1)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that nobody used evicted once a second what the log could hold: 100 MB in 8 s.
    #[test]
    fn a_descent_goes_on_while_something_is_freed() {
        let mut descent = Descent::default();
        assert!(!descent.goes_on(0));
        for bytes in (1..1_000).rev() {
            assert!((0..DESCENT_LOOKS).all(|_| descent.goes_on(bytes)), "others take their time");
        }
        assert!(!descent.goes_on(1), "nothing can be freed");
        assert!(!descent.goes_on(0), "it is over");
        assert!(descent.goes_on(1), "the limit has been lowered again");
    }
}
