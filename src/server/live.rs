//! The server's own core and conversations: the engine and the session behind the edge's traits.

use super::core::{Conversation, Core, Draft, End, Event, Origin};
use super::signals::{self, Request};
use crate::clock::Secs;
use crate::engine::connections::{Address, Connection, State};
use crate::engine::counters::RingCounters;
use crate::engine::watch::Stream;
use crate::engine::{Engine, Reason, Shared, Stop};
use crate::output::Output;
use crate::session::udp::Exchange;
use crate::session::{Next, Owed, Progress, Session};
use crate::store;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

/// One ring's engine.
pub(super) struct Live {
    engine: RefCell<Engine>,
    shared: Arc<Shared>,
    counters: Arc<RingCounters>,
    /// The listeners' addresses, with their places in the configuration.
    listeners: Arc<[(usize, Address)]>,
    now: Cell<Secs>,
    /// Items examined and reclaimed for their expiry when the last second began, for those who watch the system.
    swept: Cell<Option<(u64, u64)>>,
    tells_of_sweeps: bool,
}

impl Live {
    pub(super) fn new(
        shared: Arc<Shared>,
        shard: store::Shard,
        ring: usize,
        listeners: Arc<[(usize, Address)]>,
    ) -> Self {
        let engine = RefCell::new(Engine::new(Arc::clone(&shared), shard, ring));
        let counters = Arc::clone(shared.ring_counters(ring));
        // The rings sweep one store: one of them tells.
        let tells_of_sweeps = ring == 0;
        let now = Cell::new(Secs::default());
        Self { engine, shared, counters, listeners, now, swept: Cell::new(None), tells_of_sweeps }
    }

    /// Tells watchers of expired items that are gone.
    fn tell_of_sweeps(&self) {
        // Counted with nobody watching too: what another ring sweeps in the second in which somebody begins is told as well.
        let totals = self.engine.borrow_mut().shard_mut().store().totals();
        // Whole segments of expired items go without each being examined.
        let swept = (totals.crawler_items_checked, totals.reclaimed + totals.crawler_reclaimed);
        if let Some((examined, reclaimed)) = self.swept.replace(Some(swept))
            && swept.1 > reclaimed
            && self.shared.watch.wants(Stream::System)
        {
            // `stats reset` may have come between.
            self.shared.log_sweep(swept.0.saturating_sub(examined), swept.1 - reclaimed);
        }
    }

    /// The list's entry for a new connection.
    fn enter(&self, origin: &Origin) -> Arc<Connection> {
        let address = origin.peer.map_or(Address::UnixPeer, Address::Tcp);
        // A name may stand for an address of each family.
        let took = |listener: &Address| match (listener, origin.peer) {
            (Address::Tcp(listener), Some(peer)) => listener.is_ipv4() == peer.is_ipv4(),
            _ => true,
        };
        let listener =
            self.listeners.iter().find(|(place, address)| *place == origin.listener && took(address));
        let listener = listener.map_or(Address::UnixPeer, |(_, address)| address.clone());
        let entry = Arc::new(Connection::new(address, Some(listener), self.now.get()));
        self.shared.connections.insert(origin.id, Arc::clone(&entry));
        entry
    }
}

impl Core for Live {
    type Talk = Talk;

    fn talk(self: &Rc<Self>, origin: &Origin) -> Talk {
        self.shared.log_connection(origin.id, origin.peer);
        let protocol = self.shared.config.listen[origin.listener].protocol;
        Talk {
            session: Session::new(&self.engine.borrow(), origin.id, protocol),
            live: Rc::clone(self),
            entry: self.enter(origin),
            id: origin.id,
            ends_server: false,
        }
    }

    fn tick(&self) -> Secs {
        let now = self.shared.clock.now();
        self.engine.borrow_mut().set_now(now);
        self.now.set(now);
        if self.tells_of_sweeps {
            self.tell_of_sweeps();
        }
        now
    }

    fn catch_up(&self) {
        self.engine.borrow_mut().shard_mut().fresh(self.now.get());
    }

    fn is_short_of_drafts(&self) -> bool {
        self.engine.borrow_mut().shard_mut().store().is_short_of_drafts(self.now.get())
    }

    fn slowest(&self) -> Option<u64> {
        self.engine.borrow_mut().shard_mut().store().slowest()
    }

    fn maintain(&self) -> bool {
        self.engine.borrow_mut().shard_mut().maintain(self.now.get())
    }

    fn datagram(&self, id: u32, datagram: &[u8]) -> Option<Exchange> {
        Exchange::new(&self.engine.borrow(), id, datagram)
    }

    fn step(&self, exchange: &mut Exchange, datagram: &[u8]) -> bool {
        exchange.step(&mut self.engine.borrow_mut(), datagram)
    }

    fn count(&self, event: Event) {
        let (counters, gauges) = (&self.counters.ring, &self.shared.gauges);
        match event {
            Event::Read(bytes) => counters.bytes_read.add(bytes as u64),
            Event::Written(bytes) => counters.bytes_written.add(bytes as u64),
            Event::Opened => counters.total_connections.add(1),
            Event::Closed(end) => {
                counters.closed_connections.add(1);
                counters.idle_kicks.add(u64::from(end == End::Idle));
            }
            Event::Held { connections, read_buffers } => {
                self.counters.held.set(connections as u64, read_buffers as u64);
            }
            Event::TlsEstablished { is_new } => counters.ssl_new_sessions.add(u64::from(is_new)),
            Event::TlsRefused => counters.ssl_handshake_errors.add(1),
            Event::TlsBroken => counters.ssl_proto_errors.add(1),
            Event::Rejected => counters.rejected_connections.add(1),
            Event::NoReadMemory => counters.read_buf_oom.add(1),
            Event::Full => gauges.disable_listening(),
            Event::FullNoMore { rested_us } => gauges.enable_listening(rested_us),
        }
    }
}

/// One client's session, with its ring's engine. The engine is borrowed for one call at a time, never while anything
/// is awaited.
pub(super) struct Talk {
    session: Session,
    live: Rc<Live>,
    entry: Arc<Connection>,
    /// The entry's number.
    id: u32,
    /// The client has asked the server to stop.
    ends_server: bool,
}

impl Conversation for Talk {
    type Draft = Place;

    fn feed(&mut self, input: &[u8], out: &mut Output) -> Progress {
        let live = &*self.live;
        self.entry.set_state(State::Parsing);
        self.entry.set_last_command(live.now.get());
        let progress = self.session.feed(&mut live.engine.borrow_mut(), input, out);
        self.entry.set_state(match progress.next {
            Next::Read => match self.session.owes() {
                Owed::Nothing => State::Waiting,
                Owed::Value => State::Receiving,
                Owed::RefusedValue => State::Swallowing,
            },
            Next::Resume | Next::Wait | Next::Stall => State::Writing,
            Next::Receive => State::Receiving,
            Next::Watch => State::Watching,
            Next::Close | Next::Reject => State::Closing,
        });
        if progress.next == Next::Close
            && let Some(stop) = self.live.shared.stop_requested()
        {
            self.ends_server = true;
            signals::ask(match stop {
                Stop::Now => Request::Stop,
                Stop::Graceful => Request::StopGracefully,
            });
        }
        progress
    }

    fn owes(&self) -> Owed {
        self.session.owes()
    }

    fn refuse_stalls(&mut self) {
        self.session.refuse_stalls();
    }

    fn lend_draft(&mut self) -> Option<Place> {
        self.session.lend_draft().map(Place)
    }

    fn return_draft(&mut self, draft: Place) {
        self.session.return_draft(draft.0);
    }

    fn wake_with(&self, wake: Box<dyn Fn() + Send>) {
        self.session.wake_with(wake);
    }

    fn pump(&mut self, out: &mut Output) {
        self.session.pump(&mut self.live.engine.borrow_mut(), out);
    }

    fn ended(&mut self, end: End) {
        let peer = match self.entry.address {
            Address::Tcp(peer) => Some(peer),
            _ => None,
        };
        let reason = match end {
            End::Idle => Reason::IdleTimeout,
            End::Stopped => Reason::Shutdown,
            End::Normal if self.ends_server => Reason::Shutdown,
            End::Normal => Reason::Normal,
            End::Rejected | End::Broken => Reason::Error,
        };
        self.live.shared.log_disconnection(self.id, peer, reason);
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        // While the descriptor is open, so that no later connection has its number yet.
        self.live.shared.connections.remove(self.id);
    }
}

/// Item memory that a value is received into.
pub(super) struct Place(store::Draft);

#[expect(unsafe_code, reason = "the kernel writes values into item memory")]
// SAFETY: the draft promises that its spare memory is valid as long as it lives; it is unpublished, so that this is the
// only way to it, and it is lent to one receive at a time.
unsafe impl uring::Receive for Place {
    fn spare(&mut self) -> (*mut u8, usize) {
        self.0.spare()
    }
}

impl Draft for Place {
    fn advance(&mut self, count: usize) {
        self.0.advance(count);
    }
}
