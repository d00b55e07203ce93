//! Promises of the store as a whole, kept by one thread with one to four shards.

use super::*;
use crate::classes::Classes;

mod clocks;
mod density;
mod disk;
mod filed;
mod flash;
mod held;
mod kills;
mod paced;
mod policy;
mod refusing;
mod restart;
mod restart_speed;
mod sweeping;
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

/// A store; over a memory file while [`filed`] says so.
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

/// Most turns that a write takes: it has more to evict, but not for ever.
const TURNS_MAX: u32 = 10_000;

/// Tries again as long as there is only more to evict.
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

/// Stores `value` under `name-0`, `name-1`, … until an item is evicted; how many there were.
fn fill_until_evicting(shard: &mut Shard, name: &str, value: &[u8]) -> usize {
    let mut count = 0;
    while shard.store().totals().evictions == 0 {
        set(shard, &format!("{name}-{count}"), value).unwrap();
        count += 1;
    }
    count
}

#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn rewriting_the_same_keys_does_not_push_the_rest_out() {
    let mut shard = alone(options(8 << 20, 1));
    fill_until_evicting(&mut shard, "cold", &[b'c'; 100]);
    let before = shard.store().totals().curr_items;
    for n in 0..600_000 {
        set(&mut shard, &format!("hot-{}", n % 1_000), &[b'h'; 100]).unwrap();
    }
    let after = shard.store().totals().curr_items;
    assert!(after * 10 >= before * 9, "{before} items, then {after}");
}

#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn a_value_grows_by_appends_for_ever() {
    let mut shard = alone(options(8 << 20, 1));
    set(&mut shard, "log", b"").unwrap();
    for n in 1..=8_000_usize {
        let append = |_: Option<&Item<'_>>| (put(Value::OldThenData, Timestamp::NEVER), ());
        at_last(|| shard.fresh(NOW).edit(b"log", &mut Data::Bytes(b"0123456789"), append)).unwrap();
        if n.is_multiple_of(1_000) {
            assert_eq!(get(&mut shard, "log").map(|value| value.len()), Some(10 * n));
        }
    }
}

/// Bytes of the budget that are in use.
fn used(memory: &Memory) -> u64 {
    memory.segments + memory.large + memory.index + memory.ghost
}

/// Items that the costliest try of `writes` evicts; values of `bytes`.
fn most_evicted_in_one_go(shard: &mut Shard, name: &str, bytes: usize, writes: usize) -> u64 {
    let value = vec![b'v'; bytes];
    let mut before = shard.store().totals().evictions;
    let mut most = 0;
    for n in 0..writes {
        let key = format!("{name}-of-thirty-bytes-{n:09}");
        let edit = |_: Option<&Item<'_>>| (put(Value::Data, Timestamp::NEVER), ());
        let stored = at_last(|| {
            let tried = shard.fresh(NOW).edit(key.as_bytes(), &mut Data::Bytes(&value), edit);
            let after = shard.store().totals().evictions;
            most = most.max(after - before);
            before = after;
            tried
        });
        assert!(stored.is_ok(), "{key}: {stored:?}");
    }
    assert!(before > 0, "{writes} writes of {bytes} bytes evict");
    most
}

/// The write that evicted for the first time once made the table of ghosts and evicted its size in items, 70,000 of them
/// at -m 64, in one go; and a write of 10 KB after small ones a whole segment of them.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn no_write_evicts_much_in_one_go() {
    let mut shard = alone(options(64 << 20, 1));
    for (name, bytes, writes, bound) in
        [("small", 10, 1_500_000, 64), ("large", 10_000, 10_000, 1_100), ("again", 10, 300_000, 64)]
    {
        let most = most_evicted_in_one_go(&mut shard, name, bytes, writes);
        assert!(most <= bound, "{name}: {most}");
    }
}

/// A large item is a unit of its own: looking at 64 of them for one that was to come once evicted half the store.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn a_large_value_evicts_about_its_own_size() {
    let mut shard = alone(options(64 << 20, 1));
    let most = most_evicted_in_one_go(&mut shard, "large", 500_000, 500);
    assert!(most <= 2, "{most}");
    // Received as it comes, as well.
    for n in 0..300 {
        let key = format!("reservation-{n}");
        let mut reservation = shard.fresh(NOW).reserve(key.as_bytes(), 500_000, 4).unwrap();
        reservation.fill(&vec![b'd'; 500_000]);
        let edit = |_: Option<&Item<'_>>| (put(Value::Data, Timestamp::NEVER), ());
        shard.fresh(NOW).edit(key.as_bytes(), &mut Data::Reservation(reservation), edit).unwrap();
        let held = shard.store().totals().curr_items;
        assert!((125..=132).contains(&held), "{held}");
    }
}

/// memcached strands memory in the size class it once went to.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn any_mix_of_sizes_can_follow_any_other() {
    let mut shard = alone(options(64 << 20, 1));
    for (round, bytes) in [100, 500_000, 100, 20_000, 900_000, 1, 40_000, 300].into_iter().enumerate() {
        let count = (100 << 20) / (bytes + 100);
        for n in 0..count {
            let value = vec![b'v'; bytes];
            set(&mut shard, &format!("{round}-{n}"), &value).unwrap_or_else(|error| {
                panic!("{error:?} at item {n} of {bytes} bytes: {:?}", shard.store().memory());
            });
        }
        let memory = shard.store().memory();
        assert!(used(&memory) <= memory.limit + (memory.limit >> 8), "{memory:?}");
    }
}

/// Half of the address space is for large items; here that is little more than the limit, and their free memory is soon in
/// pieces. A write for which there was enough, but in no piece, once tried for ever.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn room_in_pieces_is_made_whole() {
    for evict in [true, false] {
        let little = Options { address_space: Some(42 << 20), evict, ..options(16 << 20, 1) };
        let mut shard = alone(little);
        let mut random = fastrand::Rng::with_seed(3);
        let value = vec![b'v'; 1 << 20];
        let mut stored = 0;
        for n in 0..3_000 {
            let value = &value[..random.usize(9_000..1_000_000)];
            let done = set(&mut shard, &format!("key-{}", n % 50), value);
            assert!(done.is_ok() || !evict, "{n}: {done:?} {:?}", shard.store().memory());
            stored += usize::from(done.is_ok());
        }
        assert!(
            stored > 100 && shard.store().memory().large > 12 << 20,
            "{stored} {:?}",
            shard.store().memory()
        );
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn very_small_caches_work() {
    for (memory, bytes, count) in
        [(2 << 20, 66_000, 3_000), (3 << 20, 1_000, 20_000), (2 << 20, 900_000, 200)]
    {
        let mut shard = alone(options(memory, 1));
        let value = vec![b'v'; bytes];
        for n in 0..count {
            let key = format!("key-{}", n % 100);
            set(&mut shard, &key, &value).unwrap();
            assert_eq!(get(&mut shard, &key).map(|value| value.len()), Some(bytes));
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn without_eviction_nothing_accepted_is_lost() {
    for (megabytes, bytes) in [(4, 500), (4, 1), (5, 10), (6, 30), (64, 10), (64, 2_000)] {
        keeps_what_it_accepted(megabytes << 20, bytes);
    }
}

fn keeps_what_it_accepted(memory_limit: u64, bytes: usize) {
    let mut shard = alone(Options { evict: false, ..options(memory_limit, 1) });
    let value = vec![b'v'; bytes];
    let mut accepted = 0;
    while set(&mut shard, &format!("key-{accepted}"), &value).is_ok() {
        accepted += 1;
    }
    assert!(accepted * (bytes as u64 + 40) > memory_limit / 10 * 8, "{accepted} of {bytes} bytes");
    for n in 0..accepted {
        assert!(get(&mut shard, &format!("key-{n}")).is_some(), "key-{n}");
    }
    // Dead space is compacted before a write is refused: every other item goes, as many new ones fit.
    for n in (0..accepted).step_by(2) {
        shard
            .fresh(NOW)
            .edit(format!("key-{n}").as_bytes(), &mut Data::None, |_| (Edit::Remove, ()))
            .unwrap();
    }
    let mut again = 0;
    while set(&mut shard, &format!("new-{again}"), &value).is_ok() {
        again += 1;
    }
    assert!(again * 10 >= accepted * 4, "{again} of {accepted} of {bytes} bytes");
    for n in (1..accepted).step_by(2) {
        assert!(get(&mut shard, &format!("key-{n}")).is_some(), "key-{n}");
    }
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
        // Under Miri just enough that the memory would be used again.
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

/// Making room for 1 MB among items of 60 bytes means 18,000 evictions, which other connections once had to wait for.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn room_for_a_large_value_is_made_in_turns() {
    let mut shard = alone(options(16 << 20, 1));
    most_evicted_in_one_go(&mut shard, "small", 10, 400_000);
    let mut before = shard.store().totals().evictions;
    let mut calls = 0;
    let reservation = loop {
        calls += 1;
        let reserved = shard.fresh(NOW).reserve(b"large", 1_000_000, 1);
        let after = shard.store().totals().evictions;
        assert!(after - before <= 2 * 300, "{}", after - before);
        before = after;
        match reserved {
            Ok(reservation) => break reservation,
            Err(why) => assert_eq!(why, ReserveError::Retry(Retry::Soon)),
        }
    };
    assert!((25..100).contains(&calls), "{calls}");
    assert_eq!(reservation.len(), 1_000_000);
}

/// A ring that never turns again fills the log: a flush once waited for it for ever.
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
#[cfg_attr(miri, ignore = "takes hours")]
fn the_limit_can_shrink_and_grow() {
    let mut shard = alone(options(64 << 20, 1));
    let fill = |shard: &mut Shard, round: u32| {
        for n in 0..400_000 {
            set(shard, &format!("{round}-{n}"), &[b'v'; 150]).unwrap();
        }
        shard.store().totals().curr_items
    };
    let full = fill(&mut shard, 0);
    assert!(shard.store().set_memory_limit(16 << 20));
    let quarter = fill(&mut shard, 1);
    assert!(quarter < full / 3, "{quarter} of {full}");
    assert!(shard.store().set_memory_limit(64 << 20));
    assert!(fill(&mut shard, 2) * 10 > full * 9);
    assert!(!shard.store().set_memory_limit(1 << 50));
}

/// A write once had to evict everything above a lowered limit, and a server without writes kept it.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn a_lowered_limit_is_reached_little_by_little() {
    let mut shard = alone(options(64 << 20, 1));
    let fill = |shard: &mut Shard, name| most_evicted_in_one_go(shard, name, 10, 1_200_000);
    fill(&mut shard, "first");
    assert!(shard.store().set_memory_limit(16 << 20));
    let most = fill(&mut shard, "second");
    assert!(most <= 300, "{most}");
    let memory = shard.store().memory();
    assert!(used(&memory) <= memory.limit, "{memory:?}");
    assert!(shard.store().set_memory_limit(8 << 20));
    while shard.maintain(NOW) {}
    let memory = shard.store().memory();
    assert!(used(&memory) + memory.segments_free * memory.segment_bytes <= memory.limit, "{memory:?}");
    assert!(used(&memory) > 6 << 20, "{memory:?}");
}

/// What had been evicted for a lowered limit was evicted once more when its memory came back: of 60 values of 1 MB a limit of
/// 20 MB left none, instead of 19.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn a_lowered_limit_keeps_what_fits() {
    let mut shard = alone(options(64 << 20, 1));
    for n in 0..60 {
        set(&mut shard, &format!("large-{n}"), &vec![b'v'; 1_000_000]).unwrap();
    }
    assert!(shard.store().set_memory_limit(20 << 20));
    for _ in 0..3 {
        while shard.maintain(NOW) {}
    }
    let items = shard.store().totals().curr_items;
    assert!((18..=20).contains(&items), "{items}");
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

/// Rings on threads of their own: what is read is what some write of that key wrote, whole, and stays so while it is
/// pinned, with memory used again all the time.
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
    assert_eq!(store.memory().pins, 0);
}
