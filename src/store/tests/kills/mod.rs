//! Kills the process between any two of its stores, again and again. What the memory file contains at that moment becomes the
//! next process's store, and is compared with what had been acknowledged.
//!
//! Every store to the file whose order matters calls a hook. At one of them, drawn at random, the file is copied, as a kill
//! would leave it; the copy is restored and compared ([`World::compare`]), and the step continues.

mod model;
mod steps;

use super::disk::{At, Disk};
use super::*;
use crate::store::memory_file::durable;
use model::{Entry, InFlight, Model, brief, describe, entry_of, everything, is_in_flight_removal};
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::rc::Rc;

/// Steps of a run, of which about a quarter are killed.
const STEPS: u32 = 2_000;

thread_local! {
    /// What the evictor dropped in the current step, by key.
    static EVICTED: RefCell<HashSet<Vec<u8>>> = RefCell::default();
    /// Stores left until the file is copied.
    static STORES: Cell<u64> = const { Cell::new(0) };
}

struct Watching;

impl Host for Watching {
    fn wake(&self, _ring: usize) {}

    fn watches_evictions(&self) -> bool {
        true
    }

    fn evicted(&self, item: &Item<'_>, _now: Timestamp) {
        EVICTED.with_borrow_mut(|evicted| evicted.insert(item.key().to_vec()));
    }
}

struct World {
    random: fastrand::Rng,
    evict: bool,
    disk: Disk,
    shard: Shard,
    now: Timestamp,
    seconds: u64,
    model: Model,
    flush_at: Option<Timestamp>,
    receiving: Vec<(Vec<u8>, Vec<u8>, Reservation)>,
    in_flight: InFlight,
    last_cas: u64,
    /// Kills so far, and items found whose write had not been acknowledged.
    kills: u64,
    found_in_flight: u64,
}

fn world_options(evict: bool, seed: u64) -> Options {
    Options {
        evict,
        item_size_max: 256 << 10,
        address_space: Some(4 << 20),
        seed: Some(seed),
        log_entries: Some(4096),
        ..options(1 << 20, 1)
    }
}

impl World {
    fn new(seed: u64, evict: bool) -> Self {
        let disk = Disk::new();
        let options = world_options(evict, seed);
        let store = disk.start_with(options, At::seconds_later(0), Box::new(Watching));
        Self {
            random: fastrand::Rng::with_seed(seed),
            evict,
            shard: store.shard(0),
            disk,
            now: NOW,
            seconds: 0,
            model: Model::default(),
            flush_at: None,
            receiving: Vec::new(),
            in_flight: InFlight::Nothing,
            last_cas: 1,
            kills: 0,
            found_in_flight: 0,
        }
    }

    fn live(&self, key: &[u8]) -> Option<&Entry> {
        self.model.get(key).filter(|entry| entry.exptime == Timestamp::NEVER || entry.exptime > self.now)
    }

    /// Runs a step; kills about a quarter of them at one of their stores.
    fn step(&mut self) -> Result<(), String> {
        EVICTED.take();
        self.in_flight = InFlight::Nothing;
        let before = self.model.clone();
        let stores = self.random.u64(1..=12);
        let copy: Rc<RefCell<Option<Vec<u8>>>> = Rc::default();
        let is_killed = self.random.u8(..4) == 0;
        if is_killed {
            let (file, copy) = (self.disk.file.try_clone().unwrap(), Rc::clone(&copy));
            STORES.set(stores);
            durable::AFTER_STORE.set(Some(Box::new(move || {
                STORES.set(STORES.get().saturating_sub(1));
                if STORES.get() == 0 && copy.borrow().is_none() {
                    *copy.borrow_mut() = Some(Disk { file: file.try_clone().unwrap() }.bytes());
                }
            })));
        }
        self.act();
        durable::AFTER_STORE.set(None);
        let evicted = EVICTED.take();
        let is_flushed = matches!(self.in_flight, InFlight::Flush);
        if is_killed {
            let bytes = copy.borrow_mut().take();
            // If the step had fewer stores than that, the kill comes after it, and the step was acknowledged.
            let (bytes, models) = match bytes {
                Some(bytes) => (bytes, vec![before.clone()]),
                None => (self.disk.bytes(), vec![self.model.clone()]),
            };
            self.kills += 1;
            self.compare(&Disk::with(&bytes), &models[0], &evicted, is_flushed)?;
        }
        for key in &evicted {
            // A step may have evicted the old version of a key that it then stored.
            if self.find(key).is_none() {
                self.model.remove(key);
            }
        }
        Ok(())
    }

    fn find(&mut self, key: &[u8]) -> Option<Entry> {
        match self.shard.fresh(self.now).find(key) {
            Lookup::Hit(item) => Some(entry_of(&item)),
            _ => None,
        }
    }

    /// Restores `disk` and compares it with `model`; the step in flight may or may not have happened.
    fn compare(
        &mut self,
        disk: &Disk,
        model: &Model,
        evicted: &HashSet<Vec<u8>>,
        is_flushed: bool,
    ) -> Result<(), String> {
        self.seconds = u64::from(self.now.0 - 2);
        let start = |disk: &Disk, world: &mut Self| {
            let options = world_options(world.evict, world.random.u64(..));
            let rings = world.random.usize(1..4);
            let replicas = world.random.usize(1..=rings);
            disk.start(Options { rings, replicas, ..options }, At::seconds_later(world.seconds))
        };
        let store = start(disk, self);
        if outcome_of(&store) != RestoreOutcome::Restored {
            return Err(format!("{:?}", outcome_of(&store)));
        }
        let mut shard = store.shard(0);
        let now = self.now;
        shard.check(now)?;
        let found = everything(&mut shard, now);
        self.compare_contents(&found, model, evicted, is_flushed)?;
        let edit = |_: Option<&Item<'_>>| (put(Value::Data, Timestamp::NEVER), ());
        let next = at_last(|| shard.fresh(now).edit(b"next", &mut Data::Bytes(b"next"), edit));
        if next.is_ok_and(|done| done.cas <= self.last_cas) {
            return Err(format!("cas goes back behind {}", self.last_cas));
        }
        // Killed once more, with nothing in flight: nothing may change.
        let before = everything(&mut shard, now);
        drop(shard);
        drop(store);
        let store = start(disk, self);
        let mut shard = store.shard(0);
        shard.check(now)?;
        if everything(&mut shard, now) != before {
            return Err("another start finds something else".to_owned());
        }
        Ok(())
    }

    /// What was `found` is what was acknowledged, except for the step in flight.
    fn compare_contents(
        &mut self,
        found: &Model,
        model: &Model,
        evicted: &HashSet<Vec<u8>>,
        is_flushed: bool,
    ) -> Result<(), String> {
        let now = self.now;
        let is_live = |entry: &Entry| entry.exptime == Timestamp::NEVER || entry.exptime > now;
        let in_flight = self.in_flight.clone();
        let is_due = is_flushed || self.flush_at.is_some_and(|at| at <= now);
        for (key, entry) in found {
            let is_acknowledged = model.get(key).is_some_and(|acknowledged| acknowledged == entry);
            let is_in_flight = match &in_flight {
                InFlight::Put(name, put) => name == key && Entry { cas: entry.cas, ..put.clone() } == *entry,
                _ => false,
            };
            self.found_in_flight += u64::from(is_in_flight && !is_acknowledged);
            if !is_acknowledged && !is_in_flight {
                return Err(format!(
                    "{} is {}, not {}, in flight {}",
                    key.escape_ascii(),
                    brief(Some(entry)),
                    brief(model.get(key)),
                    describe(&in_flight)
                ));
            }
        }
        for (key, entry) in model.iter().filter(|(_, entry)| is_live(entry)) {
            let is_in_flight =
                matches!(&in_flight, InFlight::Put(name, _) | InFlight::Remove(name) if name == key);
            let may_be_gone = is_due || evicted.contains(key) || is_in_flight_removal(&in_flight, key, now);
            if !found.contains_key(key) && !may_be_gone {
                return Err(format!(
                    "{} is lost: {}, in flight {is_in_flight}",
                    key.escape_ascii(),
                    brief(Some(entry))
                ));
            }
        }
        Ok(())
    }
}

fn outcome_of(store: &Store) -> RestoreOutcome {
    store.restored().unwrap().outcome.clone()
}

/// Runs `steps` steps; returns the number of kills, and how many left something that was in flight.
fn run(seed: u64, evict: bool, steps: u32) -> Result<(u64, u64), String> {
    let mut world = World::new(seed, evict);
    for step in 0..steps {
        world.step().map_err(|fault| format!("seed {seed}, step {step}: {fault}"))?;
    }
    world.shard.check(world.now)?;
    Ok((world.kills, world.found_in_flight))
}

#[test]
#[cfg_attr(miri, ignore = "Miri maps no files")]
fn a_kill_at_any_store_leaves_what_was_acknowledged() {
    let seed = crate::fuzzing::seed(1);
    for (seed, evict) in [(seed, true), (seed + 1, false)] {
        let (kills, in_flight) = run(seed, evict, STEPS).unwrap();
        assert!(kills > u64::from(STEPS) / 8 && in_flight > 10, "{kills} kills, {in_flight} in flight");
    }
}

/// Tests the checker: a mark of death that is stored too late must be detected.
#[test]
#[cfg_attr(miri, ignore = "Miri maps no files")]
fn a_mark_of_death_that_comes_late_is_found() {
    durable::IS_LATE.set(true);
    let result = run(4, true, STEPS);
    durable::IS_LATE.set(false);
    durable::LATE.set(None);
    assert!(result.is_err(), "a deleted item comes back");
}
