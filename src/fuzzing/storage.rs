//! Target: operations on a store of three rings compared with a map, with a log so short and memory so scarce that both are
//! used up again and again.

use super::rings::{self, with_shard};
use crate::classes::Classes;
use crate::clock::Timestamp;
use crate::store::{Data, Edit, EditError, Host, Item, Lookup, Options, Pin, Put, Share, Value};
use std::collections::HashMap;

/// Replicas of the three rings: two rings share one, the third has its own.
const REPLICAS: usize = 2;
const RINGS: usize = 3;
/// Length of the log, deltas. It is so short that writers must wait for rings, but long enough for a write with one turn of
/// maintenance and one of eviction.
const LOG_ENTRIES: usize = 256;
/// Number of operations after which the store is compared with the model.
const CHECK_STEPS: usize = 512;

/// True if all bytes of `value` are the same. That is so in every value stored, so that a torn value is noticed.
fn is_whole(value: &[u8]) -> bool {
    value.windows(2).all(|pair| pair[0] == pair[1])
}

fn put(value: Value, exptime: Timestamp) -> Edit {
    Edit::Put(Put { flags: 0, exptime, value, cas: None, stale: false, won: false, key_is_binary: false })
}

struct Rings;

impl Host for Rings {
    fn wake(&self, ring: usize) {
        rings::wake(ring);
    }
}

/// The state of a run: the last value stored under each key that has not been removed since, and the pins held.
#[derive(Debug, Default)]
struct World {
    values: HashMap<u8, (u8, usize, Timestamp)>,
    pins: Vec<(u8, usize, Pin)>,
    evicts: bool,
    now: Timestamp,
}

impl World {
    fn new(evicts: bool) -> Self {
        let options = Options {
            memory_limit: 1 << 20,
            item_size_max: 256 << 10,
            evict: evicts,
            rings: RINGS,
            replicas: REPLICAS,
            classes: Classes::new(1.25, 48, 128 << 10),
            seed: Some(7),
            log_entries: Some(LOG_ENTRIES),
            address_space: None,
            memory_file: None,
            flash: None,
        };
        // The shards hold the store.
        drop(rings::open(options, Rings));
        Self { evicts, now: rings::now(), ..Self::default() }
    }

    /// Makes all rings replay the log, so that no write has to wait for one.
    fn catch_up(&self) {
        for ring in 0..RINGS {
            with_shard(ring, |shard| {
                shard.fresh(self.now);
            });
        }
    }

    fn step(&mut self, [verb, key, size, fill]: [u8; 4]) {
        self.catch_up();
        let ring = usize::from(verb >> 4) % RINGS;
        let name = [b'k', key];
        let bytes = usize::from(size) * if verb & 8 == 0 { 8 } else { 600 } + 1;
        match verb & 7 {
            0..=2 => {
                let exptime = if verb & 7 == 2 {
                    Timestamp(self.now.0 + 1 + u32::from(fill % 4))
                } else {
                    Timestamp::NEVER
                };
                self.store(ring, name, &vec![fill; bytes], exptime);
            }
            3 => self.read(ring, name, fill & 1 == 1),
            4 => {
                let done = with_shard(ring, |shard| {
                    shard.fresh(self.now).edit(&name, &mut Data::None, |_| (Edit::Remove, ()))
                });
                if done.is_ok() {
                    self.values.remove(&key);
                }
            }
            5 => self.receive(ring, name, fill, bytes, size & 1 == 1),
            6 if fill < 16 => {
                if with_shard(ring, |shard| shard.fresh(self.now).flush()).is_ok() {
                    self.values.clear();
                }
            }
            6 => self.pins.truncate(usize::from(fill & 7)),
            _ => {
                self.now.0 += u32::from(fill & 1);
                rings::set_now(self.now);
                for _ in 0..4 {
                    with_shard(ring, |shard| shard.maintain(self.now));
                    self.catch_up();
                }
            }
        }
    }

    fn store(&mut self, ring: usize, name: [u8; 2], value: &[u8], exptime: Timestamp) {
        let edit = |_: Option<&Item<'_>>| (put(Value::Data, exptime), ());
        let done = with_shard(ring, |shard| shard.fresh(self.now).edit(&name, &mut Data::Bytes(value), edit));
        self.has_stored(name, value[0], value.len(), exptime, done.err());
    }

    fn has_stored(
        &mut self,
        name: [u8; 2],
        fill: u8,
        bytes: usize,
        exptime: Timestamp,
        refusal: Option<EditError>,
    ) {
        match refusal {
            None => drop(self.values.insert(name[1], (fill, bytes, exptime))),
            // Nothing was changed.
            Some(
                EditError::OutOfMemory | EditError::TooLarge | EditError::Superseded | EditError::Retry(_),
            ) => {}
        }
    }

    fn receive(&mut self, ring: usize, name: [u8; 2], fill: u8, bytes: usize, is_abandoned: bool) {
        let reservation = with_shard(ring, |shard| shard.fresh(self.now).reserve(&name, bytes, u32::MAX));
        let Ok(mut reservation) = reservation else { return };
        for piece in vec![fill; bytes].chunks(5_000) {
            assert_eq!(reservation.fill(piece), piece.len());
            // Other rings catch up meanwhile.
            self.catch_up();
        }
        if is_abandoned {
            return;
        }
        let edit = |_: Option<&Item<'_>>| (put(Value::Data, Timestamp::NEVER), ());
        let done = with_shard(ring, |shard| {
            shard.fresh(self.now).edit(&name, &mut Data::Reservation(reservation), edit)
        });
        self.has_stored(name, fill, bytes, Timestamp::NEVER, done.err());
    }

    fn read(&mut self, ring: usize, name: [u8; 2], pins: bool) {
        let known =
            self.values.get(&name[1]).filter(|(_, _, at)| *at == Timestamp::NEVER || *at > self.now).copied();
        let (evicts, now, held) = (self.evicts, self.now, &mut self.pins);
        with_shard(ring, |shard| match shard.fresh(now).find(&name) {
            Lookup::Hit(item) => {
                let value = item.value();
                assert!(is_whole(value));
                let (fill, bytes, _) = known.expect("what is found was stored and not removed");
                assert_eq!((value[0], value.len()), (fill, bytes), "the newest version");
                if pins && held.len() < 8 {
                    held.extend(item.pin(0, Share::OfReaders).map(|pin| (fill, bytes, pin)));
                }
            }
            Lookup::Expired | Lookup::Flushed | Lookup::Miss => {
                assert!(evicts || known.is_none(), "without eviction nothing is lost");
            }
        });
    }

    fn check(&self) {
        for (fill, bytes, pin) in &self.pins {
            assert!(is_whole(pin.bytes()) && pin.bytes()[0] == *fill && pin.bytes().len() == *bytes);
        }
        self.catch_up();
        let indexes: Vec<_> = (0..RINGS).map(|ring| with_shard(ring, |shard| shard.index())).collect();
        assert!(indexes.windows(2).all(|pair| pair[0] == pair[1]), "all rings say the same");
        for ring in 0..RINGS {
            assert_eq!(with_shard(ring, |shard| shard.check(self.now)), Ok(()), "the books add up");
        }
    }
}

/// Target: the first byte of `data` says whether the store evicts; after it, each four bytes are one operation on the store.
///
/// # Panics
/// A read finds a wrong value, or the rings do not agree.
pub fn storage(data: &[u8]) {
    let Some((&first, data)) = data.split_first() else { return };
    let mut world = World::new(first & 1 == 0);
    for (step, operation) in data.as_chunks().0.iter().take(4_000).enumerate() {
        world.step(*operation);
        if step % CHECK_STEPS == CHECK_STEPS - 1 {
            world.check();
        }
    }
    world.check();
    // Pins are dropped first, then shards; both hold the store.
    drop(world);
    rings::close();
}
