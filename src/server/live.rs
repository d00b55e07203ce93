//! The server's own core and conversations: the engine and the session behind the edge's traits.

use super::core::{Conversation, Core, Draft, End, Event, Origin};
use crate::clock::Secs;
use crate::engine::counters::RingCounters;
use crate::engine::{Engine, Shared};
use crate::output::Output;
use crate::session::{Progress, Session};
use crate::store;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// One ring's engine.
pub(super) struct Live {
    engine: RefCell<Engine>,
    shared: Arc<Shared>,
    counters: Arc<RingCounters>,
    now: Cell<Secs>,
}

impl Live {
    pub(super) fn new(shared: Arc<Shared>, shard: store::Shard, ring: usize) -> Self {
        let engine = RefCell::new(Engine::new(Arc::clone(&shared), shard, ring));
        let counters = Arc::clone(shared.ring_counters(ring));
        Self { engine, shared, counters, now: Cell::new(Secs::default()) }
    }
}

impl Core for Live {
    type Talk = Talk;

    fn talk(self: &Rc<Self>, origin: &Origin) -> Talk {
        Talk { session: Session::new(&self.engine.borrow(), origin.id), live: Rc::clone(self) }
    }

    fn tick(&self) -> Secs {
        let now = self.shared.clock.now();
        self.engine.borrow_mut().set_now(now);
        self.now.set(now);
        now
    }

    fn catch_up(&self) {
        self.engine.borrow_mut().shard_mut().fresh(self.now.get());
    }

    fn maintain(&self) -> bool {
        self.engine.borrow_mut().shard_mut().maintain(self.now.get())
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
            Event::Rejected => counters.rejected_connections.add(1),
            // Relaxed: numbers for `stats`, in no order.
            Event::Full => {
                gauges.accepting.store(false, Ordering::Relaxed);
                gauges.listen_disabled_count.fetch_add(1, Ordering::Relaxed);
            }
            Event::FullNoMore { rested_us } => {
                gauges.accepting.store(true, Ordering::Relaxed);
                gauges.listen_disabled_us.fetch_add(rested_us, Ordering::Relaxed);
            }
        }
    }
}

/// One client's session, with its ring's engine. The engine is borrowed for one call at a time, never while anything
/// is awaited.
pub(super) struct Talk {
    session: Session,
    live: Rc<Live>,
}

impl Conversation for Talk {
    type Draft = Place;

    fn feed(&mut self, input: &[u8], out: &mut Output) -> Progress {
        self.session.feed(&mut self.live.engine.borrow_mut(), input, out)
    }

    fn lend_draft(&mut self) -> Option<Place> {
        self.session.lend_draft().map(Place)
    }

    fn return_draft(&mut self, draft: Place) {
        self.session.return_draft(draft.0);
    }

    fn pump(&mut self, out: &mut Output) {
        self.session.pump(&mut self.live.engine.borrow_mut(), out);
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
