//! One ring's thread: its connections, its mailbox, its seconds, its end.

use super::Bound;
use super::accept::{self, Load, Seat};
use super::conn::Connection;
use super::core::{Core, End, Event, Origin};
use super::stall::LastStall;
use super::udp;
use super::watchdog::Pulses;
use crate::clock::Secs;
use crate::limits::{SLOW_BYTES_PER_SEC, SLOW_SECS};
use crate::log;
use crate::tls::Certificates;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use uring::{Accepts, Bell, Buffers, Listener, Mail, Mailbox, Socket, Stream, Waker};

/// A ring's mail.
#[derive(Debug)]
pub(crate) enum Message {
    /// A connection another ring has accepted.
    Adopt(Newcomer),
    /// End.
    Stop,
}

/// A connection that has a place but no task yet.
#[derive(Debug)]
pub(crate) struct Newcomer {
    pub(super) socket: Socket,
    pub(super) seat: Seat,
    pub(super) origin: Origin,
}

/// What the configuration says to the edge.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// What the log calls the connections of each listener.
    pub(crate) connection_words: Arc<[&'static str]>,
    /// A TCP connection that is silent between commands for longer is closed, seconds; 0 is never.
    pub(crate) idle_timeout_secs: u32,
    /// Refuse whom there is no place for; else keep them waiting.
    pub(crate) refuse_when_full: bool,
}

/// How often the clock is read and connections are looked through.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How often background work is looked for when there was none.
const MAINTENANCE: Duration = Duration::from_millis(100);
const LOOKS_PER_BEAT: u32 = 10;
/// A connection silent for so long gives back what memory it can, seconds.
const HOLD_SECS: u32 = 2;
/// Connections looked at before others get a turn.
const SWEEP_SLICE: usize = 1024;
/// How long the end waits for replies that are being sent.
const DRAIN: Duration = Duration::from_millis(500);
/// And then for the connections that were cut off.
const CUT: Duration = Duration::from_millis(200);

/// What a connection is doing, for whoever wants to end or disturb it.
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
    /// Over: its last replies are on their way.
    Leaving,
}

/// A connection as its ring sees it.
pub(super) struct Entry {
    pub(super) stream: Stream,
    pub(super) phase: Cell<Phase>,
    /// When bytes last came.
    pub(super) last_active: Cell<Secs>,
    /// Memory of the connection's buffers, without the ring's, at its last wait.
    pub(super) held_bytes: Cell<usize>,
    /// When a command, or a part of one, was last used up.
    pub(super) last_command: Cell<Secs>,
    /// The client is in the middle of a value.
    pub(super) is_mid_value: Cell<bool>,
    /// The large value that is being received into its place.
    pub(super) receiving: Cell<Option<Receiving>>,
    /// A send is waited for.
    pub(super) awaits_send: Cell<bool>,
    /// Bytes that the client had taken when the ring last looked.
    taken_bytes: Cell<u64>,
    /// Why the ring ended the connection, if it did.
    pub(super) end: Cell<Option<End>>,
    is_tcp: bool,
}

/// A large value on its way: when it began, and what has come of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Receiving {
    since: Secs,
    bytes: usize,
}

impl Entry {
    pub(super) fn begins_to_receive(&self, now: Secs) {
        self.receiving.set(Some(Receiving { since: now, bytes: 0 }));
    }

    /// More of a large value has come.
    pub(super) fn has_received(&self, count: usize) {
        self.receiving.set(
            self.receiving.get().map(|value| Receiving { bytes: value.bytes.saturating_add(count), ..value }),
        );
    }

    /// True if a large value comes so slowly that others should not have to wait for it.
    fn is_slow(&self, now: Secs) -> bool {
        self.receiving.get().is_some_and(|value| {
            let secs = now.0.saturating_sub(value.since.0) as usize;
            secs >= SLOW_SECS && value.bytes / secs < SLOW_BYTES_PER_SEC
        })
    }

    /// True while replies wait for the client to take them.
    fn is_sending(&self) -> bool {
        self.awaits_send.get() || self.stream.queued_bytes() > 0
    }

    /// A client that takes what it is sent is not silent.
    fn look_at_send(&self, now: Secs) {
        let taken = self.stream.acknowledged_bytes();
        if self.taken_bytes.replace(taken) != taken {
            self.last_active.set(now);
        }
    }

    /// Ends the connection, and makes what waits on it return.
    fn end(&self, why: End) {
        self.end.set(Some(why));
        self.stream.shutdown();
    }
}

/// A ring's own things, shared by its tasks.
pub(super) struct Local<C: Core> {
    pub(super) core: Rc<C>,
    pub(super) index: usize,
    pub(super) load: Arc<Load>,
    pub(super) wakers: Arc<[Waker<Message>]>,
    pub(super) pulses: Arc<Pulses>,
    pub(super) last_stall: LastStall,
    pub(super) settings: Settings,
    pub(super) buffers: Buffers,
    /// Rings when the ring has been woken and every second.
    pub(super) bell: Bell,
    certificates: Option<Arc<Certificates>>,
    entries: RefCell<slab::Slab<Rc<Entry>>>,
    /// Some connection has been read from since background work was looked for.
    has_heard: Cell<bool>,
    now: Cell<Secs>,
    /// Whole seconds since the start.
    beats: Cell<u32>,
    stopping: Cell<bool>,
}

/// What a ring's thread is started with.
pub(super) struct Parts<C: Core> {
    pub(super) core: Rc<C>,
    pub(super) index: usize,
    pub(super) load: Arc<Load>,
    pub(super) wakers: Arc<[Waker<Message>]>,
    pub(super) mailbox: Mailbox<Message>,
    pub(super) bound: Bound,
    pub(super) settings: Settings,
    /// When the server's clock started: seconds begin at whole seconds from here.
    pub(super) epoch: Instant,
    /// What connections of TLS listeners are encrypted with.
    pub(super) certificates: Option<Arc<Certificates>>,
    pub(super) pulses: Arc<Pulses>,
}

/// Runs `ring` until it is told to stop and its connections have ended.
pub(super) fn run<C: Core>(ring: uring::Ring, parts: Parts<C>) {
    let Parts { core, index, load, wakers, mut mailbox, bound, settings, epoch, certificates, pulses } =
        parts;
    let Bound { listeners, sockets } = bound;
    let now = Cell::new(core.tick());
    let local = Rc::new(Local {
        core,
        index,
        load,
        wakers,
        pulses,
        last_stall: LastStall::default(),
        settings,
        buffers: ring.buffers(),
        bell: Bell::default(),
        certificates,
        entries: RefCell::default(),
        has_heard: Cell::new(true),
        now,
        beats: Cell::new(0),
        stopping: Cell::new(false),
    });
    ring.run(async move {
        let listeners: Vec<_> = listeners.into_iter().filter_map(open).collect();
        for (place, accepts) in &listeners {
            uring::spawn(accept::accept_all(Rc::clone(&local), Rc::clone(accepts), *place));
        }
        for socket in sockets {
            uring::spawn(udp::serve(Rc::clone(&local), socket));
        }
        uring::spawn(heartbeat(Rc::clone(&local), epoch));
        uring::spawn(maintain(Rc::clone(&local)));
        while let Some(mail) = mailbox.next().await {
            match mail {
                Mail::Wake => {
                    local.core.catch_up();
                    local.bell.ring();
                }
                Mail::Message(Message::Adopt(newcomer)) => local.adopt(newcomer),
                Mail::Message(Message::Stop) => break,
            }
        }
        let accepts: Vec<_> = listeners.into_iter().map(|(_, accepts)| accepts).collect();
        local.stop(&accepts).await;
    });
}

fn open((place, listener): (usize, Listener)) -> Option<(usize, Rc<Accepts>)> {
    match listener.open() {
        Ok(accepts) => Some((place, Rc::new(accepts))),
        Err(error) => {
            tracing::error!("cannot accept connections: {}", log::reason(&error));
            None
        }
    }
}

impl<C: Core> Local<C> {
    /// Starts the task of a connection.
    pub(super) fn adopt(self: &Rc<Self>, newcomer: Newcomer) {
        let Newcomer { socket, seat, origin } = newcomer;
        tracing::debug!("<{} new {}", origin.id, self.settings.connection_words[origin.listener]);
        if self.is_stopping() {
            return;
        }
        let channel =
            match self.certificates.as_ref().and_then(|all| all.channel(origin.listener)).transpose() {
                Ok(channel) => channel,
                Err(error) => return tracing::warn!(%error, "cannot encrypt"),
            };
        let channel = channel.map(Box::new);
        let entry = Rc::new(Entry {
            stream: Stream::new(socket),
            phase: Cell::new(Phase::Working),
            last_active: Cell::new(self.now()),
            held_bytes: Cell::new(0),
            last_command: Cell::new(self.now()),
            is_mid_value: Cell::new(false),
            receiving: Cell::new(None),
            awaits_send: Cell::new(false),
            taken_bytes: Cell::new(0),
            end: Cell::new(None),
            is_tcp: origin.peer.is_some(),
        });
        let key = self.entries.borrow_mut().insert(Rc::clone(&entry));
        self.core.count(Event::Opened);
        let mut connection = Connection::new(Rc::clone(self), entry, self.core.talk(&origin), channel);
        let local = Rc::clone(self);
        uring::spawn(async move {
            // By reference: a future holds what it is given twice, once as it came.
            let end = connection.run().await;
            drop(connection);
            tracing::debug!("<{} connection closed.", origin.id);
            local.entries.borrow_mut().remove(key);
            local.core.count(Event::Closed(end));
            drop(seat);
        });
    }

    pub(super) fn now(&self) -> Secs {
        self.now.get()
    }

    /// A connection has been read from.
    pub(super) fn heard(&self) {
        self.has_heard.set(true);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    /// Adds up what connections hold, ends idle ones, and lets those that have become idle give memory back.
    async fn sweep(&self) {
        let now = self.now();
        let is_short_of_drafts = self.core.is_short_of_drafts();
        let mut held_bytes = 0;
        let mut next = 0;
        while next < self.entries.borrow().capacity() {
            let from = next;
            next += SWEEP_SLICE;
            for key in from..next {
                let Some(entry) = self.entries.borrow().get(key).map(Rc::clone) else { continue };
                held_bytes += entry.held_bytes.get() + entry.stream.queued_bytes();
                if entry.is_sending() {
                    entry.look_at_send(now);
                }
                let silent_secs = now.0.saturating_sub(entry.last_active.get().0);
                if self.is_overdue(&entry) || is_short_of_drafts && entry.is_slow(now) {
                    entry.end(End::Idle);
                } else if entry.phase.get() == Phase::Reading && silent_secs == HOLD_SECS {
                    entry.stream.interrupt();
                }
            }
            if next < self.entries.borrow().capacity() {
                uring::turn().await;
            }
        }
        self.core.count(Event::Held { connections: held_bytes, read_buffers: self.buffers.pool_bytes() });
    }

    /// True for a client that has given no command for too long, even if it has sent half of one, or that has taken none of
    /// its replies for as long. One that is in the middle of a value may take its time. Source: memcached.c,
    /// `conn_close_idle`.
    fn is_overdue(&self, entry: &Entry) -> bool {
        let idle_since = match entry.phase.get() {
            Phase::Reading | Phase::Working if entry.is_sending() => entry.last_active.get(),
            Phase::Reading if !entry.is_mid_value.get() => entry.last_command.get(),
            _ => return false,
        };
        let idle_secs = self.now().0.saturating_sub(idle_since.0);
        let timeout_secs = self.settings.idle_timeout_secs;
        timeout_secs > 0 && idle_secs > timeout_secs && entry.is_tcp
    }

    /// Accepts nobody, cuts off who waits and is owed nothing, lets replies that are on their way arrive, each for its own
    /// time; then cuts off the rest.
    async fn stop(&self, listeners: &[Rc<Accepts>]) {
        self.stopping.set(true);
        for accepts in listeners {
            accepts.close();
        }
        let owed = self.cut_idle();
        self.bell.ring();
        for entry in owed {
            entry.stream.interrupt();
        }
        let is_done = |entry: &Entry| entry.phase.get() == Phase::Leaving && entry.stream.has_arrived();
        if !self.is_empty_within(DRAIN, is_done).await {
            self.is_empty_within(CUT, |_| true).await;
        }
    }

    /// Cuts off who is not being served; returns those among them whose replies have left the server and not arrived. An
    /// interrupted wait makes them see that the server is stopping.
    fn cut_idle(&self) -> Vec<Rc<Entry>> {
        let mut owed = Vec::new();
        for (_, entry) in self.entries.borrow().iter() {
            match entry.phase.get() {
                Phase::Working => {}
                Phase::Reading if !entry.stream.has_arrived() => owed.push(Rc::clone(entry)),
                _ => entry.end(End::Stopped),
            }
        }
        owed
    }

    /// Waits until all have gone, cutting off those that `may_go`; false if some are left after `time`.
    async fn is_empty_within(&self, time: Duration, may_go: impl Fn(&Entry) -> bool) -> bool {
        let deadline = Instant::now() + time;
        loop {
            for (_, entry) in self.entries.borrow().iter().filter(|(_, entry)| may_go(entry)) {
                entry.end(End::Stopped);
            }
            if self.entries.borrow().is_empty() {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            uring::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Every whole second of the clock: time, bell, sweep. Also the timer that a ring must have (see `uring`).
async fn heartbeat<C: Core>(local: Rc<Local<C>>, epoch: Instant) {
    loop {
        let into_second = Duration::from_nanos(u64::from(epoch.elapsed().subsec_nanos()));
        uring::sleep(HEARTBEAT.saturating_sub(into_second)).await;
        local.now.set(local.core.tick());
        local.beats.set(local.beats.get().wrapping_add(1));
        local.bell.ring();
        local.sweep().await;
        // There and back through the ring, so that the beat says that completions arrive.
        uring::turn().await;
        local.pulses.beat(local.index);
    }
}

async fn maintain<C: Core>(local: Rc<Local<C>>) {
    let mut looks = 1;
    while !local.is_stopping() {
        if local.core.maintain() {
            uring::turn().await;
        } else if looks > 1 {
            looks -= 1;
            uring::turn().await;
        } else if local.has_heard.replace(false) {
            uring::sleep(MAINTENANCE).await;
        } else {
            // Nobody has asked for anything: as many looks as usual, but all of a second at its beginning.
            let beats = local.beats.get();
            while local.beats.get() == beats && !local.is_stopping() && !local.has_heard.get() {
                local.bell.heard().await;
            }
            looks = LOOKS_PER_BEAT;
        }
    }
}
