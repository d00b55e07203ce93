//! Accepting: places, refusals, and which ring a new connection goes to.

use super::core::{Core, Event, Origin};
use super::ring::{Local, Message, Newcomer};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use uring::{Accepts, Socket};

/// The last words to a client there is no place for. Source: memcached.c, `drive_machine`, `conn_listening`.
const TOO_MANY: &[u8] = b"ERROR Too many open connections\r\n";

/// How long accepting rests when descriptors, memory or places have run out.
const REST: Duration = Duration::from_millis(10);

/// A ring gives a new connection away if it has this many more than the least loaded one: with one, two rings could
/// pass connections to and fro.
const HAND_OVER_DIFFERENCE: usize = 2;

/// Who has how many connections; all rings look at it when they accept, and only then.
#[derive(Debug)]
pub(crate) struct Load {
    rings: Box<[AtomicUsize]>,
    total: AtomicUsize,
    places: usize,
}

impl Load {
    pub(crate) fn new(rings: usize, places: usize) -> Arc<Self> {
        let rings = (0..rings).map(|_| AtomicUsize::new(0)).collect();
        Arc::new(Self { rings, total: AtomicUsize::new(0), places })
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

    /// The ring that a connection accepted by `own` should live on.
    fn best(&self, own: usize) -> usize {
        let load = |ring: usize| self.rings[ring].load(Ordering::Relaxed);
        let least = (0..self.rings.len()).min_by_key(|&ring| load(ring)).unwrap_or(own);
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
    while !local.is_stopping() {
        match accepts.accept().await {
            Ok(socket) => admit(&local, socket, listener).await,
            Err(_) if local.is_stopping() => {}
            Err(error) if uring::is_exhaustion(&error) => {
                if accepts.refuse_one(TOO_MANY) {
                    local.core.count(Event::Rejected);
                }
                tracing::warn!(%error, "cannot accept");
                uring::sleep(REST).await;
            }
            // The client was faster, or its packets are being dropped on the way.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept");
                uring::sleep(REST).await;
            }
        }
    }
}

/// Gives the newcomer a place, here or on the least loaded ring; or refuses it, or keeps it waiting.
async fn admit<C: Core>(local: &Rc<Local<C>>, socket: Socket, listener: usize) {
    let mut seat = match local.load.seat(local.index) {
        Some(seat) => seat,
        None if local.settings.refuse_when_full => {
            local.core.count(Event::Rejected);
            return socket.refuse(TOO_MANY);
        }
        None => match seat_in_time(local).await {
            Some(seat) => seat,
            None => return,
        },
    };
    let origin = Origin { id: socket.id() as u32, peer: socket.peer(), listener };
    let best = local.load.best(local.index);
    if best == local.index {
        return local.adopt(Newcomer { socket, seat, origin });
    }
    seat.move_to(best);
    // A ring that has ended takes nobody; the server is stopping then.
    let _ = local.wakers[best].post(Message::Adopt(Newcomer { socket, seat, origin }));
}

/// Waits for a place, accepting nobody meanwhile; `None` if the server stops first.
async fn seat_in_time<C: Core>(local: &Rc<Local<C>>) -> Option<Seat> {
    let since = Instant::now();
    local.core.count(Event::Full);
    let seat = loop {
        uring::sleep(REST).await;
        if local.is_stopping() {
            break None;
        }
        if let Some(seat) = local.load.seat(local.index) {
            break Some(seat);
        }
    };
    local.core.count(Event::FullNoMore { rested_us: since.elapsed().as_micros() as u64 });
    seat
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
    fn a_ring_gives_away_only_what_evens_out() {
        let load = Load::new(3, 100);
        let _own = load.seat(0);
        assert_eq!(load.best(0), 0, "one more is as even as it gets");
        let _second = load.seat(0);
        assert_eq!(load.best(0), 1);
        let _other = load.seat(1);
        assert_eq!(load.best(0), 2);
        assert_eq!(load.best(2), 2);
    }
}
