//! What the tasks of one ring share: its engine, its clock, its open connections, and the way to the other rings.
//!
//! A [`RingContext`] and its [`Entry`]s live on the ring's thread and are touched only by its tasks, hence `Rc`, `Cell` and
//! `RefCell`. A connection's task and the ring's sweep talk through the fields of its entry. [`Message`]s are what other
//! threads may send.

use super::admission::{ConnLimits, ConnPermit};
use super::flash::{Device, Loader};
use super::load_budget::LoadBudget;
use super::placement::Placement;
use super::stall::{LastStall, RunClock};
use super::watchdog::Heartbeats;
use crate::clock::Timestamp;
use crate::engine::connections::Address;
use crate::engine::counters::{Counters, RingCounters};
use crate::engine::{Engine, Shared};
use crate::limits::{PINNED_SILENT_SECS, SLOW_BYTES_PER_SEC, SLOW_TIME};
use crate::tls::Certificates;
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;
use uring::{Bell, Buffers, Socket, Stream, Waker};

/// A message from another thread to a ring.
#[derive(Debug)]
pub(super) enum Message {
    /// Serve this connection, which another ring has accepted.
    Adopt(AcceptedConn),
    /// End the ring: close its connections and stop.
    Stop,
}

/// An accepted connection that has no task yet.
#[derive(Debug)]
pub(super) struct AcceptedConn {
    pub(super) socket: Socket,
    /// The permit; `None` for the connection of `--copy-from`, which needs none.
    pub(super) permit: Option<ConnPermit>,
    pub(super) origin: Origin,
}

/// Where a connection comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    /// The number of the connection's descriptor, by which the log and `stats conns` name it.
    pub(super) id: u32,
    /// The client; `None` on a unix socket.
    pub(super) peer: Option<SocketAddr>,
    /// Index in the configuration of the listener that accepted the connection; `None` for the connection of `--copy-from`.
    pub(super) listener: Option<usize>,
}

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CloseReason {
    /// The client closed the connection, or asked the server to close it.
    Normal,
    /// The client sent something that cannot be parsed.
    Rejected,
    /// The connection failed: a read, a send, or TLS.
    Broken,
    /// The client was silent for longer than the idle timeout, or took too little of replies whose values hold memory that others
    /// need.
    Idle,
    /// The server stops.
    Stopped,
}

/// The settings of connections, from the configuration.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// What the log calls the connections of each listener, by the listener's index in the configuration.
    pub(super) connection_words: Arc<[&'static str]>,
    /// Seconds without a command after which a TCP connection is closed; 0 means never.
    pub(super) idle_timeout_secs: u32,
    /// True if connections over the limit are refused; false if they wait in the backlog.
    pub(super) refuse_when_full: bool,
    pub(super) placement: Placement,
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Waiting for bytes.
    Reading,
    /// Running commands or sending their replies.
    Working,
    /// Receiving a large value.
    Receiving,
    /// Being sent log lines.
    Watching,
    /// Closing: its last replies are being sent.
    Leaving,
}

/// A connection as its ring sees it: the connection's task writes here what it does, and the sweep reads it.
pub(super) struct Entry {
    pub(super) stream: Stream,
    pub(super) phase: Cell<Phase>,
    /// When the client last sent bytes, or acknowledged bytes while replies waited for it.
    pub(super) last_active: Cell<Timestamp>,
    /// Size of the connection's own memory for input and replies, bytes, as of when it last began to read or send.
    pub(super) held_bytes: Cell<usize>,
    /// When the session last consumed a command or a part of a command.
    pub(super) last_command: Cell<Timestamp>,
    /// True while the client is in the middle of sending a value.
    pub(super) is_mid_value: Cell<bool>,
    /// Progress of the large value that is being received into item memory; `None` if there is none.
    receiving: Cell<Option<Receiving>>,
    /// True if the connection is to give up the large value that it is receiving, with the memory of that value. Set by the
    /// sweep.
    pub(super) gives_way: Cell<bool>,
    /// True while the connection's task awaits a send, which as a rule waits for the client.
    pub(super) awaits_send: Cell<bool>,
    /// True while the send in progress holds values in item memory, or in buffers that they were read into from flash.
    pub(super) holds_pins: Cell<bool>,
    /// Bytes that the client had acknowledged at the last sweep that found replies waiting for it.
    acknowledged_bytes: Cell<u64>,
    /// How fast the client takes replies that hold pins, from one measurement to the next.
    taking: Cell<Option<Taking>>,
    /// Why the ring has closed the connection; `None` if the ring has not closed it.
    pub(super) closed_for: Cell<Option<CloseReason>>,
    is_tcp: bool,
}

/// How fast a large value arrives, measured anew from each sweep to the next, since a value that began fast may stop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Receiving {
    since: Instant,
    /// Bytes of the value that have arrived since `since`.
    bytes: usize,
    /// True if the last measurement found fewer bytes per second than [`SLOW_BYTES_PER_SEC`].
    is_slow: bool,
}

/// How fast a client takes values that are held for it, from one measurement to the next.
#[derive(Clone, Copy, Debug)]
struct Taking {
    since: Timestamp,
    /// Bytes that the client had acknowledged at `since`, since the connection began.
    acknowledged_bytes: u64,
    /// True if the last measurement found fewer bytes per second than [`SLOW_BYTES_PER_SEC`].
    is_slow: bool,
}

impl Receiving {
    fn new(now: Instant) -> Self {
        Self { since: now, bytes: 0, is_slow: false }
    }

    fn add(self, count: usize) -> Self {
        Self { bytes: self.bytes.saturating_add(count), ..self }
    }

    /// Judges the bytes since `since` and begins a new measurement. A measurement shorter than [`SLOW_TIME`] never finds a value
    /// slow.
    fn measured(self, now: Instant) -> Self {
        let time = now.saturating_duration_since(self.since);
        let due = u128::from(SLOW_BYTES_PER_SEC) * time.as_millis() / 1000;
        Self { is_slow: time >= SLOW_TIME && (self.bytes as u128) < due, ..Self::new(now) }
    }
}

impl Entry {
    pub(super) fn new(socket: Socket, is_tcp: bool, now: Timestamp) -> Self {
        Self {
            stream: Stream::new(socket),
            phase: Cell::new(Phase::Working),
            last_active: Cell::new(now),
            held_bytes: Cell::new(0),
            last_command: Cell::new(now),
            is_mid_value: Cell::new(false),
            receiving: Cell::new(None),
            gives_way: Cell::new(false),
            awaits_send: Cell::new(false),
            holds_pins: Cell::new(false),
            acknowledged_bytes: Cell::new(0),
            taking: Cell::new(None),
            closed_for: Cell::new(None),
            is_tcp,
        }
    }

    /// Notes that a large value is being received, and starts to measure its speed if the value is new.
    pub(super) fn start_receiving(&self) {
        if self.receiving.get().is_none() {
            self.receiving.set(Some(Receiving::new(Instant::now())));
            self.gives_way.set(false);
        }
    }

    /// Stops measuring a large value, because no value is being received any more, or the value waits for memory.
    pub(super) fn end_receiving(&self) {
        self.receiving.set(None);
    }

    /// Adds `count` bytes that have arrived to the measurement of the large value, if one is being received.
    pub(super) fn note_received(&self, count: usize) {
        if let Some(value) = self.receiving.get() {
            self.receiving.set(Some(value.add(count)));
        }
    }

    /// Measures how fast a large value arrives; called once a second.
    pub(super) fn measure_receiving(&self, now: Instant) {
        if let Some(value) = self.receiving.get() {
            self.receiving.set(Some(value.measured(now)));
        }
    }

    /// Asks the connection to give up the memory of the large value being received, because other values wait for memory.
    /// Called by the sweep.
    pub(super) fn give_way(&self) {
        self.gives_way.set(true);
        self.stream.interrupt();
    }

    /// True if the large value being received arrives so slowly that it must not make other values wait.
    pub(super) fn is_slow(&self) -> bool {
        self.receiving.get().is_some_and(|value| value.is_slow)
    }

    /// True while replies wait for the client: the task sends, or a queued send is under way.
    fn is_sending(&self) -> bool {
        self.awaits_send.get() || self.stream.queued_bytes() > 0
    }

    /// Counts the client as active if replies wait for it and it has acknowledged bytes since the last call.
    pub(super) fn note_acknowledged(&self, now: Timestamp) {
        if self.is_sending() {
            let bytes = self.stream.acknowledged_bytes();
            if self.acknowledged_bytes.replace(bytes) != bytes {
                self.last_active.set(now);
            }
        }
    }

    /// Measures how fast the client takes the values that are held for it; called after [`Entry::note_acknowledged`].
    pub(super) fn measure_taking(&self, now: Timestamp) {
        let acknowledged_bytes = self.acknowledged_bytes.get();
        let begun = Taking { since: now, acknowledged_bytes, is_slow: false };
        let taking = self.taking.get().filter(|_| self.holds_pins.get()).unwrap_or(begun);
        let secs = now.0.saturating_sub(taking.since.0);
        self.taking.set(Some(if secs < PINNED_SILENT_SECS {
            taking
        } else {
            let taken = acknowledged_bytes.saturating_sub(taking.acknowledged_bytes);
            Taking { is_slow: taken < u64::from(secs) * SLOW_BYTES_PER_SEC, ..begun }
        }));
    }

    /// True if the client takes the values that are held for it so slowly that it must not make other connections wait.
    pub(super) fn takes_slowly(&self) -> bool {
        self.taking.get().is_some_and(|taking| taking.is_slow)
    }

    /// True if the client has been idle for longer than `timeout_secs`; 0 means no limit. A client is idle while it completes no
    /// command, even if it sends parts of one. While replies wait for the client, it is idle if it takes none of them. Clients
    /// in the middle of a value, and those on a unix socket, never count as idle. Source: memcached.c, `conn_close_idle`.
    pub(super) fn is_overdue(&self, now: Timestamp, timeout_secs: u32) -> bool {
        let idle_since = match self.phase.get() {
            Phase::Reading | Phase::Working if self.is_sending() => self.last_active.get(),
            Phase::Reading if !self.is_mid_value.get() => self.last_command.get(),
            _ => return false,
        };
        let idle_secs = now.0.saturating_sub(idle_since.0);
        timeout_secs > 0 && idle_secs > timeout_secs && self.is_tcp
    }

    /// Ends the connection for the reason `why`: shuts the socket down, so that pending operations complete and its task ends.
    pub(super) fn close(&self, why: CloseReason) {
        self.closed_for.set(Some(why));
        self.stream.shutdown();
    }
}

/// The state that the tasks of one ring share.
pub(super) struct RingContext {
    pub(super) index: usize,
    /// The ring's engine. It is borrowed for one call at a time, never across an await.
    pub(super) engine: RefCell<Engine>,
    pub(super) shared: Arc<Shared>,
    counters: Arc<RingCounters>,
    /// Addresses of the listeners, with their indices in the configuration.
    pub(super) addresses: Arc<[(usize, Address)]>,
    pub(super) limits: Arc<ConnLimits>,
    pub(super) wakers: Arc<[Waker<Message>]>,
    pub(super) heartbeats: Arc<Heartbeats>,
    pub(super) last_stall: LastStall,
    pub(super) run_clock: RunClock,
    pub(super) settings: Settings,
    pub(super) buffers: Buffers,
    /// Rung when another thread wakes the ring, and once a second. Tasks then check again what they wait for.
    pub(super) bell: Bell,
    pub(super) certificates: Option<Arc<Certificates>>,
    /// Reads values from flash; `None` without a flash tier.
    pub(super) loader: Option<Loader>,
    /// Bounds the memory of values that were read from flash and have not been sent yet.
    pub(super) load_budget: LoadBudget,
    /// The open connections. An entry is made with its connection's task, which removes the entry at its end.
    pub(super) entries: RefCell<slab::Slab<Rc<Entry>>>,
    /// True if a connection has been read from since background work last ran; that work then runs again soon.
    pub(super) has_read: Cell<bool>,
    /// See [`RingContext::now`].
    now: Cell<Timestamp>,
    /// Number of heartbeats since the ring's start, one a second.
    pub(super) beats: Cell<u32>,
    /// True if the ring is to end. Tasks stop when they next check this.
    pub(super) stopping: Cell<bool>,
}

/// What [`RingContext::new`] needs.
pub(super) struct Parts {
    pub(super) index: usize,
    pub(super) engine: Engine,
    pub(super) addresses: Arc<[(usize, Address)]>,
    pub(super) limits: Arc<ConnLimits>,
    pub(super) wakers: Arc<[Waker<Message>]>,
    pub(super) heartbeats: Arc<Heartbeats>,
    pub(super) settings: Settings,
    /// The certificates for connections of TLS listeners; `None` without TLS.
    pub(super) certificates: Option<Arc<Certificates>>,
    /// The files of the flash tier; `None` without a tier.
    pub(super) flash: Option<Arc<Device>>,
}

impl RingContext {
    pub(super) fn new(parts: Parts, buffers: Buffers) -> Self {
        let Parts { index, engine, addresses, limits, wakers, heartbeats, settings, certificates, flash } =
            parts;
        let shared = Arc::clone(engine.shared());
        let counters = Arc::clone(shared.ring_counters(index));
        let bell = Bell::default();
        let loader = flash.map(|device| Loader::new(device, Arc::clone(&counters), bell.clone()));
        let load_budget = LoadBudget::new(shared.loaded_bytes_max());
        let context = Self {
            index,
            engine: RefCell::new(engine),
            shared,
            counters,
            addresses,
            limits,
            wakers,
            heartbeats,
            last_stall: LastStall::default(),
            run_clock: RunClock::default(),
            settings,
            buffers,
            bell,
            certificates,
            loader,
            load_budget,
            entries: RefCell::default(),
            has_read: Cell::new(true),
            now: Cell::default(),
            beats: Cell::new(0),
            stopping: Cell::new(false),
        };
        context.counters.set_thread();
        context.tick();
        context
    }

    /// The time of the ring's last heartbeat, in whole seconds of the server's clock.
    pub(super) fn now(&self) -> Timestamp {
        self.now.get()
    }

    /// Reads the server's clock, and passes the time to [`RingContext::now`] and the engine.
    pub(super) fn tick(&self) {
        let now = self.shared.clock.now();
        self.engine.borrow().advance(now);
        self.now.set(now);
    }

    /// Replays the log to its tail.
    pub(super) fn catch_up(&self) {
        self.engine.borrow_mut().shard_mut().latest();
    }

    /// Does background work of the store for at most 100 µs; true if there is more.
    pub(super) fn maintain(&self) -> bool {
        let mut engine = self.engine.borrow_mut();
        let shard = engine.shard_mut();
        let now = shard.store().now();
        shard.maintain(now)
    }

    /// True if the next slice of background work should come a millisecond later.
    pub(super) fn should_rest(&self) -> bool {
        self.engine.borrow_mut().shard_mut().should_rest()
    }

    /// Bytes that the store has yet to free to come down to a lowered limit; 0 if it is within its limit.
    pub(super) fn bytes_over_limit(&self) -> u64 {
        self.engine.borrow_mut().shard_mut().store().bytes_over_limit()
    }

    /// Log position of the ring that lags most in its replay of the log; `None` if no ring lags.
    pub(super) fn slowest(&self) -> Option<u64> {
        self.engine.borrow_mut().shard_mut().store().slowest()
    }

    /// True if pins hold so much memory that connections whose clients take nothing must be closed.
    pub(super) fn is_short_of_pins(&self) -> bool {
        self.engine.borrow_mut().shard_mut().store().is_short_of_pins()
    }

    /// True if pins hold so many old versions of values that connections whose clients take their values slowly must be closed.
    pub(super) fn holds_much_beside(&self) -> bool {
        self.engine.borrow_mut().shard_mut().store().holds_much_beside()
    }

    /// True if values have recently had to wait for memory that unfinished values hold.
    pub(super) fn is_short_of_reservations(&self) -> bool {
        self.engine.borrow_mut().shard_mut().store().is_short_of_reservations(self.now())
    }

    /// The ring's counters, which only this ring writes.
    pub(super) fn counters(&self) -> &Counters {
        &self.counters.ring
    }

    /// Publishes for `stats` how many bytes the ring's connections hold, and how many bytes its pool of read buffers takes.
    pub(super) fn set_held_bytes(&self, connections: usize) {
        self.counters.held.set(connections as u64, self.buffers.pool_bytes() as u64);
    }

    /// Notes that a connection has been read from, so that background work runs more often.
    pub(super) fn note_read(&self) {
        self.has_read.set(true);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// The speed of a value was taken over all of its time: a client that had sent megabytes at once could then stand still
    /// for minutes.
    #[test]
    fn a_value_that_has_stopped_is_slow_whatever_came_before() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut value = Receiving::new(start).add(15 << 20);
        for (millis, is_slow) in [(500, false), (1500, true), (1510, false), (2500, true)] {
            value = value.measured(at(millis));
            assert_eq!(value.is_slow, is_slow, "at {millis}");
        }
        value = value.add(SLOW_BYTES_PER_SEC as usize).measured(at(3500));
        assert!(!value.is_slow, "it goes on");
        value = value.add(SLOW_BYTES_PER_SEC as usize - 1).measured(at(4500));
        assert!(value.is_slow, "it trickles");
        assert!(value.add(1_000_000).measured(at(100_000)).is_slow, "a machine that slept");
    }
}
