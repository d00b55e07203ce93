//! Tests of what the store as a whole promises. Each test makes stores of its own; unless it says otherwise, one thread drives
//! all of a store's shards, one to four. When a [`Checked`] shard is dropped, the store's books are recounted.

use super::*;
use crate::classes::Classes;
use crate::clock::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

mod clocks;
mod density;
mod disk;
mod evicting;
mod filed;
pub(super) mod flash;
mod held;
mod kills;
mod overwriting;
mod paced;
mod policy;
mod raised;
mod refusing;
mod restart;
mod restart_speed;
mod sizes;
mod sweeping;
mod waiting;
mod widths;

pub(super) const NOW: Timestamp = Timestamp(2);

struct Quiet;

impl Host for Quiet {
    fn wake(&self, _ring: usize) {}
}

pub(super) fn options(memory_limit: u64, rings: usize) -> Options {
    Options {
        memory_limit,
        item_size_max: 1 << 20,
        evict: true,
        rings,
        replicas: rings,
        classes: Classes::new(1.25, 48, 512 << 10),
        seed: Some(1),
        log_entries: None,
        address_space: None,
        memory_file: None,
        flash: None,
    }
}

/// A shard whose books are recounted when its test is over.
pub(super) struct Checked {
    shard: Shard,
    /// The test has planted an error.
    pub(super) is_spoiled: bool,
}

impl std::ops::Deref for Checked {
    type Target = Shard;

    fn deref(&self) -> &Shard {
        &self.shard
    }
}

impl std::ops::DerefMut for Checked {
    fn deref_mut(&mut self) -> &mut Shard {
        &mut self.shard
    }
}

impl Drop for Checked {
    fn drop(&mut self) {
        if !self.is_spoiled && !std::thread::panicking() {
            assert_eq!(self.shard.check(NOW), Ok(()));
        }
    }
}

/// A store with these options; over a memory file if this thread's tests are to run so (`filed`).
fn store(options: Options) -> Arc<Store> {
    Store::new(filed::over_a_file(options), Box::new(Quiet)).unwrap()
}

fn shard(store: &Arc<Store>, ring: usize) -> Checked {
    Checked { shard: store.shard(ring), is_spoiled: false }
}

pub(super) fn alone(options: Options) -> Checked {
    shard(&store(options), 0)
}

fn put(value: Value, exptime: Timestamp) -> Edit {
    Edit::Put(Put { flags: 0, exptime, value, cas: None, stale: false, won: false, key_is_binary: false })
}

pub(super) fn set_at(
    shard: &mut Shard,
    now: Timestamp,
    key: &str,
    value: &[u8],
    exptime: Timestamp,
) -> Result<u64, EditError> {
    let edit = |_: Option<&Item<'_>>| (put(Value::Data, exptime), ());
    at_last(|| shard.fresh(now).edit(key.as_bytes(), &mut Data::Bytes(value), edit)).map(|done| done.cas)
}

/// The most turns that a write may take until enough has been evicted for it.
const TURNS_MAX: u32 = 10_000;

/// Tries again as long as the answer is that more must be evicted.
pub(super) fn at_last<T, E: Copy>(mut attempt: impl FnMut() -> Result<T, E>) -> Result<T, E>
where
    EditError: From<E>,
{
    for _ in 0..TURNS_MAX {
        match attempt() {
            Err(error) if EditError::from(error) == EditError::Retry(Retry::Soon) => {}
            done => return done,
        }
    }
    panic!("{TURNS_MAX} turns, and there is no room yet");
}

pub(super) fn set(shard: &mut Shard, key: &str, value: &[u8]) -> Result<u64, EditError> {
    set_at(shard, NOW, key, value, Timestamp::NEVER)
}

fn get(shard: &mut Shard, key: &str) -> Option<Vec<u8>> {
    match shard.fresh(NOW).find(key.as_bytes()) {
        Lookup::Hit(item) => Some(item.value().to_vec()),
        _ => None,
    }
}

/// Stores `value` under `name-0`, `name-1` and so on until an item is evicted; returns how many it stored.
fn fill_until_evicting(shard: &mut Shard, name: &str, value: &[u8]) -> usize {
    let mut count = 0;
    while shard.store().totals().evictions == 0 {
        set(shard, &format!("{name}-{count}"), value).unwrap();
        count += 1;
    }
    count
}

/// Bytes of the budget that are in use.
fn used(memory: &Memory) -> u64 {
    memory.segments + memory.large + memory.index + memory.ghost
}

#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn what_has_expired_is_reclaimed_without_traffic() {
    let mut shard = alone(options(64 << 20, 1));
    for n in 0..100_000 {
        set_at(&mut shard, NOW, &format!("key-{n}"), &[b'v'; 200], Timestamp(10)).unwrap();
    }
    set_at(&mut shard, NOW, "large", &vec![b'v'; 300_000], Timestamp(10)).unwrap();
    while shard.maintain(Timestamp(9)) {}
    assert_eq!(shard.store().totals().curr_items, 100_001);
    while shard.maintain(Timestamp(10)) {}
    while shard.maintain(Timestamp(11)) {}
    let (totals, memory) = (shard.store().totals(), shard.store().memory());
    assert_eq!(totals.curr_items, 0, "{memory:?}");
    assert!(memory.segments_in_use <= 2 && memory.large == 0, "{memory:?}");
}

#[test]
fn a_reply_in_flight_outlives_its_item() {
    let mut shard = alone(options(if cfg!(miri) { 2 << 20 } else { 16 << 20 }, 1));
    for bytes in [if cfg!(miri) { 7_000 } else { 1_000 }, 256_000, 900_000] {
        let old = vec![b'o'; bytes];
        set(&mut shard, "key", &old).unwrap();
        let pin = match shard.fresh(NOW).find(b"key") {
            Lookup::Hit(item) => item.pin(0, Share::OfReaders).expect("nothing else is pinned"),
            other => panic!("{other:?}"),
        };
        // Under Miri just enough for the memory to be used again.
        for n in 0..if cfg!(miri) { 2_000_000 } else { 60_000_000 } / bytes {
            set(&mut shard, "key", &vec![b'n'; bytes]).unwrap();
            set(&mut shard, &format!("other-{n}"), &vec![b'x'; bytes]).unwrap();
        }
        assert!(pin.bytes() == old, "{bytes} bytes");
    }
}

#[test]
fn a_dropped_reservation_leaves_nothing() {
    let mut shard = alone(options(8 << 20, 1));
    for bytes in [10_000, 600_000] {
        for _ in 0..if cfg!(miri) { 10 } else { 200 } {
            let mut reservation = shard.fresh(NOW).reserve(b"key", bytes, u32::MAX).unwrap();
            assert_eq!(reservation.fill(&vec![b'd'; 5_000]), 5_000);
        }
    }
    assert_eq!(get(&mut shard, "key"), None);
    while shard.maintain(Timestamp(3)) {}
    while shard.maintain(Timestamp(4)) {}
    let memory = shard.store().memory();
    assert_eq!((memory.reservations, memory.large), (0, 0), "{memory:?}");
}

/// A ring that stops replaying fills the log: a flush once waited for it forever.
#[test]
fn a_flush_waits_for_no_stuck_ring() {
    let store = store(Options { log_entries: Some(16), ..options(8 << 20, 2) });
    let (mut shard, mut stuck) = (shard(&store, 0), shard(&store, 1));
    for n in 0..16 {
        set(&mut shard, &format!("key-{n}"), b"v").unwrap();
    }
    assert_eq!(shard.fresh(NOW).flush(), Err(Retry::Stalled));
    assert_eq!(get(&mut shard, "key-0").as_deref(), Some(&b"v"[..]));
    // A delayed one that comes due meanwhile is not forgotten.
    shard.fresh(NOW).flush_at(NOW);
    assert_eq!(get(&mut shard, "key-0").as_deref(), Some(&b"v"[..]));
    stuck.fresh(NOW);
    assert_eq!(get(&mut shard, "key-0"), None);
    set(&mut shard, "key-0", b"v").unwrap();
    assert_eq!(shard.fresh(NOW).flush(), Ok(()));
    assert_eq!(get(&mut shard, "key-0"), None);
}

#[test]
fn every_field_comes_back() {
    let mut shard = alone(options(if cfg!(miri) { 2 << 20 } else { 64 << 20 }, 1));
    for (flags, cas, bytes) in
        [(0, None, 0), (7, None, 65_535), (u32::MAX, Some(u64::MAX), 65_536), (0, Some(1 << 48), 9)]
    {
        let fields = || Put {
            flags,
            exptime: Timestamp(77),
            value: Value::Data,
            cas,
            stale: true,
            won: bytes > 9,
            key_is_binary: flags == 7,
        };
        let value = vec![b'v'; bytes];
        let done = shard.fresh(NOW).edit(b"key", &mut Data::Bytes(&value), |_| (Edit::Put(fields()), ()));
        let cas = done.map(|done| done.cas).unwrap();
        let mut fresh = shard.fresh(NOW);
        let Lookup::Hit(item) = fresh.find(b"key") else { panic!("stored") };
        assert_eq!(
            (item.key(), item.value(), item.flags(), item.cas()),
            (&b"key"[..], &value[..], flags, cas)
        );
        assert_eq!((item.exptime(), item.last_access(), item.fetched()), (Timestamp(77), NOW, false));
        assert_eq!((item.stale(), item.won(), item.key_is_binary()), (true, bytes > 9, flags == 7));
        item.record_access(Timestamp(5));
        assert!(item.fetched() && item.last_access() == Timestamp(5));
    }
}

#[test]
fn a_flushed_key_is_reported_once() {
    let mut shard = alone(options(8 << 20, 1));
    set(&mut shard, "key", b"v").unwrap();
    shard.fresh(NOW).flush().unwrap();
    assert!(matches!(shard.fresh(NOW).find(b"key"), Lookup::Flushed));
    assert!(matches!(shard.fresh(NOW).find(b"key"), Lookup::Miss));
    set_at(&mut shard, NOW, "key", b"v", Timestamp(3)).unwrap();
    assert!(matches!(shard.fresh(Timestamp(3)).find(b"key"), Lookup::Expired));
    assert!(matches!(shard.fresh(Timestamp(3)).find(b"key"), Lookup::Miss));
}

/// Rings on threads of their own: every value that is read is whole and was written to that key, and a pinned one stays as it
/// was, while memory is used again all the time.
#[test]
fn rings_on_threads_read_whole_values() {
    for replicas in 1..=3 {
        read_whole_values_on_threads(replicas);
    }
}

fn read_whole_values_on_threads(replicas: usize) {
    const RINGS: usize = 3;
    const KEYS: usize = 40;
    let ops = if cfg!(miri) { 60 } else { 20_000 };
    let store = store(Options { replicas, ..options(2 << 20, RINGS) });
    let working = AtomicU32::new(RINGS as u32);
    let is_whole = |key: usize, value: &[u8]| {
        value.iter().all(|&byte| byte == value[0]) && value[0] as usize % KEYS == key
    };
    std::thread::scope(|scope| {
        for (ring, mut shard) in (0..RINGS).map(|ring| (ring, shard(&store, ring))).collect::<Vec<_>>() {
            let working = &working;
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(ring as u64);
                let mut pins = std::collections::VecDeque::new();
                for op in 0..ops {
                    let key = random.usize(..KEYS);
                    let name = format!("key-{key}");
                    match random.u32(..8) {
                        0..=2 => {
                            let byte = (key + KEYS * random.usize(..6)) as u8;
                            let bytes = if op % 50 == 0 { 100_000 } else { random.usize(1_000..7_900) };
                            // It may have to wait for a ring that is slow; then there is no room.
                            let _ = set(&mut shard, &name, &vec![byte; bytes]);
                        }
                        3 => {
                            let _ = shard
                                .fresh(NOW)
                                .edit(name.as_bytes(), &mut Data::None, |_| (Edit::Remove, ()));
                        }
                        _ => {
                            if let Lookup::Hit(item) = shard.fresh(NOW).find(name.as_bytes()) {
                                assert!(is_whole(key, item.value()), "{name}");
                                pins.extend(item.pin(0, Share::OfReaders).map(|pin| (key, pin)));
                            }
                        }
                    }
                    if pins.len() > 5
                        && let Some((key, pin)) = pins.pop_front()
                    {
                        assert!(is_whole(key, pin.bytes()), "key-{key}, pinned");
                    }
                }
                drop(pins);
                working.fetch_sub(1, Ordering::Relaxed);
                // The others wait for this ring as long as they write.
                while working.load(Ordering::Relaxed) > 0 {
                    shard.fresh(NOW);
                    std::thread::yield_now();
                }
            });
        }
    });
    assert_eq!((store.memory().pins, store.base.arena().pinned_bytes()), (0, 0));
}
