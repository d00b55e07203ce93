//! Accepting: places, refusals, and which ring a new connection goes to.

use super::core::{Core, Event, Origin};
use super::ring::{Local, Message, Newcomer};
use crate::clock::Secs;
use crate::log;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use uring::{Accepts, Socket};

/// The last words to a client there is no place for. Source: memcached.c, `drive_machine`, `conn_listening`.
const TOO_MANY: &[u8] = b"ERROR Too many open connections\r\n";

/// How long accepting rests when descriptors, memory or places have run out.
const REST: Duration = Duration::from_millis(10);

/// So many accepts in a row that have met nobody are no coincidence.
const GONE_MAX: u32 = 100;

/// Failures to accept are spoken of at most this often, by all rings together, seconds.
const WARNING_SECS: u32 = 10;

/// A ring gives a new connection away if it has this many more than the least loaded one: with one, two rings could
/// pass connections to and fro.
const HAND_OVER_DIFFERENCE: usize = 2;

/// Who has how many connections; all rings look at it when they accept, and only then.
#[derive(Debug)]
pub(crate) struct Load {
    rings: Box<[AtomicUsize]>,
    total: AtomicUsize,
    places: usize,
    /// When a failure to accept may be spoken of again.
    warning_at: AtomicU32,
}

impl Load {
    pub(crate) fn new(rings: usize, places: usize) -> Arc<Self> {
        let rings = (0..rings).map(|_| AtomicUsize::new(0)).collect();
        Arc::new(Self { rings, total: AtomicUsize::new(0), places, warning_at: AtomicU32::new(0) })
    }

    /// A place on `ring`, if there is one left.
    pub(crate) fn seat(self: &Arc<Self>, ring: usize) -> Option<Seat> {
        // Relaxed, here and below: the numbers order nothing but themselves.
        if self.total.fetch_add(1, Ordering::Relaxed) >= self.places {
            self.total.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        self.rings[ring].fetch_add(1, Ordering::Relaxed);
        Some(Seat { load: Arc::clone(self), ring })
    }

    /// True for the one who may speak of a failure now.
    fn may_warn(&self, now: Secs) -> bool {
        let at = self.warning_at.load(Ordering::Relaxed);
        let next = now.0 + WARNING_SECS;
        now.0 >= at
            && self.warning_at.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// The ring that a connection accepted by `own` should live on: none that does not turn.
    fn best(&self, own: usize, turns: impl Fn(usize) -> bool) -> usize {
        let load = |ring: usize| self.rings[ring].load(Ordering::Relaxed);
        let turning = (0..self.rings.len()).filter(|&ring| turns(ring));
        let least = turning.min_by_key(|&ring| load(ring)).unwrap_or(own);
        if load(own) >= load(least) + HAND_OVER_DIFFERENCE { least } else { own }
    }
}

/// A connection's place; dropping it frees it.
#[derive(Debug)]
pub(crate) struct Seat {
    load: Arc<Load>,
    ring: usize,
}

impl Seat {
    fn move_to(&mut self, ring: usize) {
        self.load.rings[self.ring].fetch_sub(1, Ordering::Relaxed);
        self.load.rings[ring].fetch_add(1, Ordering::Relaxed);
        self.ring = ring;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.load.rings[self.ring].fetch_sub(1, Ordering::Relaxed);
        self.load.total.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Accepts from one listener until it is closed.
///
/// This is the only future that accepts from it, and it is never dropped: an accept that is given up would leak the
/// connection it still takes.
pub(super) async fn accept_all<C: Core>(local: Rc<Local<C>>, accepts: Rc<Accepts>, listener: usize) {
    let mut gone = 0;
    while !local.is_stopping() {
        match accepts.accept().await {
            Ok(socket) => {
                gone = 0;
                admit(&local, socket, listener).await;
            }
            Err(_) if local.is_stopping() => {}
            Err(error) if uring::is_exhaustion(&error) => {
                warn(&local, &error);
                while_full(&local, wait_for_descriptors(&local, &accepts)).await;
            }
            Err(error) if is_passing(&error) && gone < GONE_MAX => gone += 1,
            Err(error) => {
                warn(&local, &error);
                uring::sleep(REST).await;
            }
        }
    }
}

/// True for what says nothing about the next client: this one was faster, or its packets are being dropped on the way, or
/// something else has disturbed the wait.
fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, Interrupted, WouldBlock};
    matches!(error.kind(), ConnectionAborted | Interrupted | WouldBlock)
}

fn warn<C: Core>(local: &Local<C>, error: &io::Error) {
    if local.load.may_warn(local.now()) {
        tracing::warn!("cannot accept connections: {}", log::reason(error));
    }
}

/// Refuses who comes until there are descriptors again; always rests, since it may be memory that is lacking.
async fn wait_for_descriptors<C: Core>(local: &Local<C>, accepts: &Accepts) {
    loop {
        while accepts.refuse_one(TOO_MANY) {
            local.core.count(Event::Rejected);
            uring::turn().await;
        }
        uring::sleep(REST).await;
        if local.is_stopping() || accepts.has_descriptors() {
            break;
        }
    }
}

/// Waits for `what`, and counts the time of it as one in which nobody is accepted.
async fn while_full<C: Core, T>(local: &Local<C>, what: impl Future<Output = T>) -> T {
    let since = Instant::now();
    local.core.count(Event::Full);
    let result = what.await;
    local.core.count(Event::FullNoMore { rested_us: since.elapsed().as_micros() as u64 });
    result
}

/// Gives the newcomer a place, here or on the least loaded ring; or refuses it, or keeps it waiting.
async fn admit<C: Core>(local: &Rc<Local<C>>, socket: Socket, listener: usize) {
    let mut seat = match local.load.seat(local.index) {
        Some(seat) => seat,
        None if local.settings.refuse_when_full => {
            local.core.count(Event::Rejected);
            return socket.refuse(TOO_MANY);
        }
        None => match while_full(local, seat_in_time(local)).await {
            Some(seat) => seat,
            None => return,
        },
    };
    let origin = Origin { id: socket.id() as u32, peer: socket.peer(), listener };
    let best = local.load.best(local.index, |ring| local.pulses.beats(ring));
    if best == local.index {
        return local.adopt(Newcomer { socket, seat, origin });
    }
    seat.move_to(best);
    // A ring that has ended takes nobody; the server is stopping then.
    let _ = local.wakers[best].post(Message::Adopt(Newcomer { socket, seat, origin }));
}

/// Waits for a place; `None` if the server stops first.
async fn seat_in_time<C: Core>(local: &Local<C>) -> Option<Seat> {
    loop {
        uring::sleep(REST).await;
        if local.is_stopping() {
            return None;
        }
        if let Some(seat) = local.load.seat(local.index) {
            return Some(seat);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_exactly() {
        let load = Load::new(2, 3);
        let mut seats: Vec<_> = (0..3).map(|_| load.seat(0).expect("a place")).collect();
        assert!(load.seat(1).is_none());
        seats[0].move_to(1);
        drop(seats);
        assert_eq!(load.total.load(Ordering::Relaxed), 0);
        assert!(load.rings.iter().all(|ring| ring.load(Ordering::Relaxed) == 0));
        assert!(load.seat(1).is_some());
    }

    #[test]
    fn failures_are_spoken_of_once_in_a_while() {
        let load = Load::new(1, 1);
        let spoken: Vec<u32> =
            (2..40).filter(|&now| load.may_warn(Secs(now)) | load.may_warn(Secs(now))).collect();
        assert_eq!(spoken, [2, 12, 22, 32]);
    }

    #[test]
    fn a_ring_gives_away_only_what_evens_out() {
        let load = Load::new(3, 100);
        let _own = load.seat(0);
        let best = |own| load.best(own, |_| true);
        assert_eq!(best(0), 0, "one more is as even as it gets");
        let _second = load.seat(0);
        assert_eq!(best(0), 1);
        let _other = load.seat(1);
        assert_eq!(best(0), 2);
        assert_eq!(best(2), 2);
        assert_eq!(load.best(0, |ring| ring != 2), 0, "a ring that does not turn is given nothing");
    }
}
