//! The simulated rings and clock, the random choices, reads, and the comparison with the model.

mod writes;

mod flash;

use crate::model::{Entry, Model};
use memcrsd::classes::Classes;
use memcrsd::clock::Timestamp;
use memcrsd::fuzzing::flash::MemoryDevice;
use memcrsd::fuzzing::rings::{self, with_shard};
use memcrsd::store::{EditError, Host, Item, Lookup, Options, Pin, Reservation, Retry, Shard, Store, Walk};
use std::cell::RefCell;
use std::sync::Arc;

/// Steps after which the store's books are recounted.
const CHECK_STEPS: u64 = 256;
/// Tries after which a write is not stalled any more, since all rings have been woken by the first.
const TRIES_MAX: u32 = 64;

thread_local! {
    /// Key and cas of what the evictor dropped during the current step.
    static EVICTED: RefCell<Vec<(Vec<u8>, u64)>> = const { RefCell::new(Vec::new()) };
}

/// Shape of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) rings: usize,
    pub(crate) replicas: usize,
    pub(crate) keys: u32,
    pub(crate) value_bytes_max: usize,
    pub(crate) large: bool,
    pub(crate) evict: bool,
    /// Bytes of it; `None` for plenty.
    pub(crate) address_space: Option<u64>,
    /// Values go to a device that fails now and then.
    pub(crate) flash: bool,
}

struct Rings;

impl Host for Rings {
    fn wake(&self, ring: usize) {
        rings::wake(ring);
    }

    fn watches_evictions(&self) -> bool {
        true
    }

    fn evicted(&self, item: &Item<'_>, _now: Timestamp) {
        EVICTED.with_borrow_mut(|evicted| evicted.push((item.key().to_vec(), item.cas())));
    }
}

/// A reply on its way out: the pinned bytes must stay what they were.
struct Sending {
    pin: Pin,
    bytes: Vec<u8>,
}

/// A value on its way in.
struct Receiving {
    ring: usize,
    key: Vec<u8>,
    value: Vec<u8>,
    reservation: Reservation,
}

pub(crate) struct World {
    random: fastrand::Rng,
    kind: Kind,
    model: Model,
    sending: Vec<Sending>,
    receiving: Vec<Receiving>,
    device: MemoryDevice,
    store: Arc<Store>,
    evictions: u64,
    refusals: u64,
    stalls: u64,
    turns: u64,
    hits: u64,
    loads: u64,
    losses: u64,
}

impl World {
    pub(crate) fn new(seed: u64, kind: Kind) -> Self {
        let options = Options {
            memory_limit: 2 << 20,
            item_size_max: 1 << 20,
            evict: kind.evict,
            rings: kind.rings,
            replicas: kind.replicas,
            classes: Classes::new(1.25, 48, 512 << 10),
            seed: Some(seed),
            log_entries: Some(64),
            address_space: kind.address_space,
            memory_file: None,
            flash: kind.flash.then(flash::options),
        };
        let store = rings::open(options, Rings);
        EVICTED.take();
        Self {
            random: fastrand::Rng::with_seed(seed),
            kind,
            model: Model::default(),
            sending: Vec::new(),
            receiving: Vec::new(),
            device: MemoryDevice::default(),
            store,
            evictions: 0,
            refusals: 0,
            stalls: 0,
            turns: 0,
            hits: 0,
            loads: 0,
            losses: 0,
        }
    }

    fn key(&mut self) -> Vec<u8> {
        // Half of the traffic on an eighth of the keys.
        let span = if self.random.bool() { self.kind.keys } else { (self.kind.keys / 8).max(1) };
        format!("key:{}", self.random.u32(..span)).into_bytes()
    }

    fn value(&mut self) -> Vec<u8> {
        let large = self.kind.large && self.random.u8(..) < 8;
        let max = match self.kind.address_space {
            Some(_) if large => 600_000,
            None if large => 120_000,
            _ => self.kind.value_bytes_max,
        };
        let length = self.random.usize(..=max);
        let byte = self.random.u8(..);
        vec![byte; length]
    }

    fn exptime(&mut self) -> Timestamp {
        match self.random.u8(..4) {
            0 => Timestamp(rings::now().0 + self.random.u32(1..20)),
            _ => Timestamp::NEVER,
        }
    }

    pub(crate) fn step(&mut self, op: u64) {
        let mut ring = self.random.usize(..self.kind.rings);
        if rings::stuck() == Some(ring) {
            ring = (ring + 1) % self.kind.rings;
        }
        match self.random.u8(..100) {
            0..35 => self.read(ring),
            35..60 => self.set(ring),
            60..66 => self.concat(ring),
            66..70 => self.add(ring),
            70..74 => self.delete(ring),
            74..78 => self.touch(ring),
            78..82 => self.cas(ring),
            82..86 => self.count(ring),
            86..90 => self.begin_draft(ring),
            90..94 => self.continue_draft(),
            94..97 => self.end_send(),
            97 => {
                with_shard(ring, |shard| shard.maintain(rings::now()));
            }
            98 if self.random.u8(..4) == 0 => self.read_slowly(ring),
            98 => self.rare(ring, op),
            _ => with_shard(ring, |shard| {
                shard.fresh(rings::now());
            }),
        }
        self.take_evicted();
        if self.kind.flash && self.random.u8(..4) == 0 {
            self.work();
        }
        if op.is_multiple_of(CHECK_STEPS) {
            self.check_books(ring);
        }
    }

    /// The books add up, with rings behind, sends and receives under way.
    fn check_books(&mut self, ring: usize) {
        assert_eq!(with_shard(ring, |shard| shard.check(rings::now())), Ok(()), "seen by ring {ring}");
        self.take_evicted();
    }

    fn rare(&mut self, ring: usize, op: u64) {
        match self.random.u8(..12) {
            0..6 => {
                rings::set_now(Timestamp(rings::now().0 + 1));
                if self.model.flush_at.is_some_and(|at| at <= rings::now()) {
                    // The next operation on any ring carries it out; nothing is readable in between.
                    self.model.flush();
                }
            }
            6 if op.is_multiple_of(64) => {
                let flush = |shard: &mut Shard| shard.fresh(rings::now()).flush().map_err(EditError::from);
                if self.attempt(ring, flush).is_ok() {
                    self.model.flush();
                }
            }
            // A flush that comes due while a ring is stuck is late.
            7 if op.is_multiple_of(64) && rings::stuck().is_none() => {
                let at = Timestamp(rings::now().0 + 2);
                with_shard(ring, |shard| shard.fresh(rings::now()).flush_at(at));
                self.model.flush_at = Some(at);
            }
            8 => {
                let limit = self.random.u64(1..=2) << 20;
                assert!(self.store.set_memory_limit(limit + (512 << 10)));
            }
            9 => self.walk(ring),
            10 if self.kind.rings > 1 && self.model.flush_at.is_none() && self.random.u8(..8) == 0 => {
                rings::set_stuck(Some((ring + 1) % self.kind.rings));
            }
            11 => rings::set_stuck(None),
            _ => {}
        }
    }

    /// Tries until it is not for other rings to make it possible; while one of them is stuck that may be in vain.
    fn attempt<R>(
        &mut self,
        ring: usize,
        mut attempt: impl FnMut(&mut Shard) -> Result<R, EditError>,
    ) -> Result<R, EditError> {
        for _ in 0..TRIES_MAX {
            let result = with_shard(ring, &mut attempt);
            match result {
                Err(EditError::Retry(Retry::Soon)) => self.turns += 1,
                Err(EditError::Retry(Retry::Load)) => self.bring(ring)?,
                Err(EditError::Retry(retry)) => {
                    assert_eq!(retry, Retry::Stalled);
                    self.stalls += 1;
                    if rings::stuck().is_some() {
                        return result;
                    }
                }
                Err(EditError::OutOfMemory) => {
                    self.refusals += 1;
                    return result;
                }
                _ => return result,
            }
        }
        panic!("ring {ring} is stalled, and no ring is stuck");
    }

    /// Follows the evictions of this step in the model. They may have come before or after the step's own change, so a
    /// version is named by its cas.
    fn take_evicted(&mut self) {
        for (key, cas) in EVICTED.take() {
            self.evictions += 1;
            if self.model.get(&key, rings::now()).is_some_and(|entry| entry.cas == cas) {
                self.model.remove(&key);
            }
        }
    }

    /// The key's entry as the step's decision must have seen it: `seen` is its cas. Only an eviction in the same step
    /// explains that nothing was seen.
    fn check_seen(&self, key: &[u8], seen: Option<u64>) -> Option<Entry> {
        let current = self.model.get(key, rings::now());
        let evicted =
            |cas| EVICTED.with_borrow(|evicted| evicted.iter().any(|each| each.0 == key && each.1 == cas));
        match (seen, current) {
            (None, Some(entry)) => assert!(evicted(entry.cas), "missed {}: {entry:?}", key.escape_ascii()),
            (seen, current) => assert_eq!(seen, current.map(|entry| entry.cas), "{}", key.escape_ascii()),
        }
        seen.and(current).cloned()
    }

    /// What a ring has found stays what it was as long as it looks at it, whatever the others write meanwhile.
    fn read_slowly(&mut self, ring: usize) {
        if self.kind.rings == 1 || rings::stuck().is_some() || self.model.flush_at.is_some() {
            return;
        }
        let key = self.key();
        let now = rings::now();
        let expected = self.model.get(&key, now).cloned();
        with_shard(ring, |shard| {
            let mut fresh = shard.fresh(now);
            let Lookup::Hit(item) = fresh.find(&key) else { return };
            if item.place().is_some() {
                return;
            }
            let writer = (ring + self.random.usize(1..self.kind.rings)) % self.kind.rings;
            // Until its reading is over the ring hears nothing.
            rings::set_stuck(Some(ring));
            for _ in 0..self.random.u32(1..400) {
                let (key, value) =
                    if self.random.bool() { (key.clone(), self.value()) } else { (self.key(), self.value()) };
                self.write(writer, &key, 0, Timestamp::NEVER, &value);
                self.take_evicted();
            }
            rings::set_stuck(None);
            let expected = expected.expect("the model has it too");
            assert!(item.key() == key && item.value() == expected.value, "{}", key.escape_ascii());
        });
    }

    fn end_send(&mut self) {
        for sending in &self.sending {
            assert_eq!(sending.pin.bytes(), sending.bytes, "a reply in flight keeps its bytes");
        }
        if !self.sending.is_empty() {
            let at = self.random.usize(..self.sending.len());
            self.sending.swap_remove(at);
        }
    }

    fn walk(&mut self, ring: usize) {
        let mut seen = Vec::new();
        with_shard(ring, |shard| {
            let mut walk = Walk::default();
            let mut fresh = shard.fresh(rings::now());
            while fresh.walk(&mut walk, |item| seen.push(item.key().to_vec())) {}
        });
        seen.sort();
        assert!(seen == self.model.keys(rings::now()), "a walk sees every live key once");
    }

    /// At rest all replicas are equal, nothing is held, and the books agree with the model.
    pub(crate) fn finish(mut self) {
        self.sending.clear();
        self.receiving.clear();
        rings::set_stuck(None);
        if self.kind.flash {
            assert!(self.loads > 500, "{} values were read from flash", self.loads);
        }
        let now = rings::now();
        let maintain = |ring| while with_shard(ring, |shard| shard.maintain(now)) {};
        (0..self.kind.rings).for_each(maintain);
        (0..self.kind.rings).for_each(maintain);
        self.take_evicted();
        self.walk(0);
        for ring in 0..self.kind.rings {
            with_shard(ring, |shard| {
                shard.fresh(now);
            });
        }
        let first = with_shard(0, |shard| shard.index());
        for ring in 1..self.kind.rings {
            assert!(first == with_shard(ring, |shard| shard.index()), "replica {ring} equals replica 0");
        }
        (0..self.kind.rings).for_each(|ring| self.check_books(ring));
        let memory = self.store.memory();
        assert_eq!((memory.pins, memory.reservations), (0, 0));
        let totals = self.store.totals();
        assert_eq!(totals.curr_items, first.len() as u64, "the books count what the index holds");
        println!("{} loads, {} losses, {:?}", self.loads, self.losses, self.store.flash_totals());
        println!(
            "{} hits, {} evictions, {} refusals, {} stalls, {} further turns, {totals:?}, {memory:?}",
            self.hits, self.evictions, self.refusals, self.stalls, self.turns
        );
        rings::close();
    }
}
