//! Accepting: takes new connections, gives them permits or refuses them, and hands them over to the ring they will live on.
//! One task per listener of a ring, on that ring's thread. All that the tasks share with other rings is the limits of
//! [`admission`](super::admission), made of atomics, and the mailboxes.

use super::admission::ConnPermit;
use super::conn;
use super::context::{AcceptedConn, Message, Origin, RingContext};
use crate::logging;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};
use uring::{ActiveListener, Socket};

/// The reply to a client that is refused. Source: memcached.c, `drive_machine`, `conn_listening`.
const TOO_MANY: &[u8] = b"ERROR Too many open connections\r\n";

/// Most connections that are refused before the ring checks again whether descriptors are free.
const REFUSED_TOGETHER: usize = 256;

/// Pause in accepting when descriptors, memory or permits have run out.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(10);

/// After this many transient failures to accept in a row, the ring pauses before it accepts again.
const TRANSIENT_MAX: u32 = 100;

/// Has the kernel give new connections to the rings that are to take them. So few must be handed over, and none waits for a ring
/// that is stuck.
///
/// Every ring does this for its own listeners; each call is for the listeners of all rings that share the port.
pub(super) struct Steering {
    accepts: Vec<Rc<ActiveListener>>,
    /// The rings that get new connections.
    targets: Vec<u32>,
}

impl Steering {
    /// Steers the ports of `accepts`, the listeners of `ring`.
    pub(super) fn start(ring: &RingContext, accepts: Vec<Rc<ActiveListener>>) -> Self {
        // Without a program the kernel gives them to all.
        let mut steering = Self { accepts, targets: (0..).take(ring.wakers.len()).collect() };
        steering.update(ring);
        steering
    }

    /// Steers again if other rings serve than before, or are alive. To be called with every heartbeat.
    pub(super) fn update(&mut self, ring: &RingContext) {
        let alive = |index| ring.heartbeats.is_alive(index);
        let targets = ring.settings.placement.serving().targets(alive);
        if targets == self.targets {
            return;
        }
        for accepts in &self.accepts {
            // If this fails, as with a unix socket, which has only one listener, connections are handed over.
            let _ = accepts.steer(&targets);
        }
        self.targets = targets;
    }
}

/// Accepts connections from one listener until the ring stops; `listener` is its index in the configuration.
///
/// No other future accepts from that listener, and this one is never dropped: a dropped accept would leak the connection that it
/// still takes.
pub(super) async fn accept_all(ring: Rc<RingContext>, accepts: Rc<ActiveListener>, listener: usize) {
    let mut transient = 0;
    while !ring.is_stopping() {
        match accepts.accept().await {
            Ok(socket) => {
                transient = 0;
                admit(&ring, socket, listener).await;
            }
            Err(_) if ring.is_stopping() => {}
            Err(error) if uring::is_exhaustion(&error) => {
                warn(&ring, &error);
                while_full(&ring, wait_for_descriptors(&ring, &accepts)).await;
            }
            Err(error) if is_transient(&error) && transient < TRANSIENT_MAX => transient += 1,
            Err(error) => {
                warn(&ring, &error);
                uring::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

/// True for errors that concern only one client. The ring then accepts again immediately.
fn is_transient(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, Interrupted, WouldBlock};
    matches!(error.kind(), ConnectionAborted | Interrupted | WouldBlock)
}

/// Logs a failure to accept, unless some ring has logged one in the last few seconds.
fn warn(ring: &RingContext, error: &io::Error) {
    if ring.limits.may_warn(ring.now()) {
        tracing::warn!("cannot accept connections: {}", logging::reason(error));
    }
}

/// Refuses new connections until there are free descriptors. Pauses at least once, since the cause may be a lack of memory.
async fn wait_for_descriptors(ring: &RingContext, accepts: &ActiveListener) {
    loop {
        // Bounded: clients that come as fast as they are refused must not keep the ring from finding free descriptors.
        for _ in 0..REFUSED_TOGETHER {
            if !accepts.refuse_one(TOO_MANY) {
                break;
            }
            ring.counters().rejected_connections.add(1);
            uring::yield_now().await;
        }
        uring::sleep(ACCEPT_BACKOFF).await;
        if ring.is_stopping() || accepts.has_descriptors() {
            break;
        }
    }
}

/// Awaits `what` and returns its output. Meanwhile the statistics say that this ring does not accept.
async fn while_full<T>(ring: &RingContext, what: impl Future<Output = T>) -> T {
    let since = Instant::now();
    ring.shared.gauges.disable_listening();
    let result = what.await;
    ring.shared.gauges.enable_listening(since.elapsed().as_micros() as u64);
    result
}

/// Gets a permit for a new connection, and gives the connection to this ring or the least loaded one that serves. If there is no
/// permit, the connection is refused, or waits for a permit, as configured.
async fn admit(ring: &Rc<RingContext>, socket: Socket, listener: usize) {
    let mut permit = match ring.limits.acquire(ring.index) {
        Some(permit) => permit,
        None if ring.settings.refuse_when_full => {
            ring.counters().rejected_connections.add(1);
            return socket.refuse(TOO_MANY);
        }
        None => match while_full(ring, wait_for_permit(ring)).await {
            Some(permit) => permit,
            None => return,
        },
    };
    let origin = Origin { id: socket.id() as u32, peer: socket.peer(), listener: Some(listener) };
    let serving = ring.settings.placement.serving();
    let best = ring.limits.best(ring.index, serving, |index| ring.heartbeats.is_alive(index));
    if best == ring.index {
        return conn::spawn(ring, AcceptedConn { socket, permit: Some(permit), origin });
    }
    permit.move_to(best);
    // A ring that has ended takes no message; the server is stopping then.
    let _ = ring.wakers[best].post(Message::Adopt(AcceptedConn { socket, permit: Some(permit), origin }));
}

/// Waits for a permit; `None` if the server stops first.
async fn wait_for_permit(ring: &RingContext) -> Option<ConnPermit> {
    loop {
        uring::sleep(ACCEPT_BACKOFF).await;
        if ring.is_stopping() {
            return None;
        }
        if let Some(permit) = ring.limits.acquire(ring.index) {
            return Some(permit);
        }
    }
}
