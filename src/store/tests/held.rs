//! Tests of memory that is held by sends (pins) and receives (reservations), and of what others may do meanwhile.

use super::*;
use crate::limits::{PINNED_PART, PINNED_SLACK_PART, UNHELD_PART};
use std::sync::atomic::AtomicBool;

fn pin(shard: &mut Shard, key: &str) -> Option<Pin> {
    match shard.fresh(NOW).find(key.as_bytes()) {
        Lookup::Hit(item) => item.pin(0, Share::OfReaders),
        _ => None,
    }
}

/// A segment with a pinned value was once emptied like any other. That freed nothing, so the next one was emptied as well, and so
/// on.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
pub(super) fn pinned_items_stay_and_cost_no_others() {
    let mut shard = alone(options(16 << 20, 1));
    let value = [b'v'; 1_000];
    for n in 0..20_000 {
        set(&mut shard, &format!("key-{n}"), &value).unwrap();
    }
    let (held_from, before) = (shard.store().totals().evictions, shard.store().totals().curr_items);
    // One in each segment, until no more may be held.
    let pins: Vec<_> = (held_from as usize..20_000)
        .step_by(60)
        .filter_map(|n| pin(&mut shard, &format!("key-{n}")).map(|pin| (n, pin)))
        .collect();
    let held = shard.store().base.arena().pinned_bytes();
    assert!((1 << 20..=2 << 20).contains(&held), "{held} bytes are held by {} pins", pins.len());
    for n in 0..40_000 {
        set(&mut shard, &format!("new-{n}"), &value).unwrap();
        if n % 1_000 == 0 {
            let now = shard.store().totals().curr_items;
            assert!(now * 100 >= before * 98, "{now} of {before} items after {n} sets");
        }
    }
    for (n, pin) in &pins {
        assert_eq!(pin.bytes(), value);
        assert!(get(&mut shard, &format!("key-{n}")).is_some(), "key-{n} is in nobody's way");
    }
    drop(pins);
    assert_eq!(shard.store().base.arena().pinned_bytes(), 0);
    for n in 0..40_000 {
        set(&mut shard, &format!("newer-{n}"), &value).unwrap();
    }
    assert_eq!(get(&mut shard, &format!("key-{held_from}")), None, "it goes like any other");
}

/// Versions that had been overwritten while they were sent took the memory of other items: 26 values of 900 KB in flight were
/// overwritten, and 22 of the new ones were evicted; with -M 28 of 52 sets were refused.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn old_versions_in_flight_cost_nobody_an_item() {
    const MEMORY: u64 = 64 << 20;
    for (evict, bytes) in [(true, 900_000), (false, 900_000), (true, 70_000), (false, 70_000)] {
        let store = Store::new(Options { evict, ..options(MEMORY, 1) }, Box::new(Quiet)).unwrap();
        let mut shard = shard(&store, 0);
        let (larges, others) = (45_000_000 / bytes, 1_000);
        let name = |n: usize| format!("large-{n}");
        for n in 0..larges {
            set(&mut shard, &name(n), &vec![b'1'; bytes]).unwrap();
        }
        for n in 0..others {
            set(&mut shard, &format!("other-{n}"), &[b'o'; 6_000]).unwrap();
        }
        let mut pins: Vec<_> = (0..larges).filter_map(|n| pin(&mut shard, &name(n))).collect();
        for round in [b'2', b'3'] {
            for n in 0..larges {
                set(&mut shard, &name(n), &vec![round; bytes]).unwrap();
                // The new versions are in flight as well, as far as there may be more.
                pins.extend(pin(&mut shard, &name(n)));
            }
        }
        let memory = store.memory();
        assert!(memory.held > MEMORY / 2 && memory.held <= store.base.arena().pinned_bytes(), "{memory:?}");
        assert!(used(&memory) <= MEMORY + memory.held, "{memory:?}");
        assert!((0..others).all(|n| get(&mut shard, &format!("other-{n}")).is_some()));
        assert!((0..larges).all(|n| get(&mut shard, &name(n)).is_some_and(|value| value[0] == b'3')));
        assert_eq!(store.totals().evictions, 0);
        assert!(pins.iter().all(|pin| pin.bytes().iter().all(|&byte| byte == pin.bytes()[0])));
        // What comes back goes to the kernel.
        drop(pins);
        while shard.maintain(NOW) {}
        let memory = store.memory();
        assert_eq!((memory.held, memory.pending), (0, 0));
        let idle = memory.large_free + memory.segments_free * memory.segment_bytes;
        assert!(used(&memory) + idle <= MEMORY, "{memory:?}");
        assert_eq!(store.totals().evictions, 0);
    }
}

/// A segment of which one value was being sent was not cleaned, however little of it was alive.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn what_dies_beside_a_value_in_flight_is_room_for_others() {
    for evict in [true, false] {
        let store = Store::new(Options { evict, ..options(64 << 20, 1) }, Box::new(Quiet)).unwrap();
        let mut shard = shard(&store, 0);
        let (count, in_segment) = (5_900, 13);
        for n in 0..count {
            set(&mut shard, &format!("key-{n}"), &[b'1'; 10_000]).unwrap();
        }
        let pins: Vec<_> = (0..)
            .step_by(in_segment)
            .map_while(|n| pin(&mut shard, &format!("key-{n}")).map(|pin| (n, pin)))
            .collect();
        assert_eq!(pins.len(), 64, "an eighth of memory");
        for n in (0..pins.len() * in_segment).filter(|n| n % in_segment != 0) {
            set(&mut shard, &format!("key-{n}"), &[b'2'; 10_000]).unwrap();
        }
        assert_eq!(store.totals().evictions, 0);
        assert!((0..count).all(|n| get(&mut shard, &format!("key-{n}")).is_some()));
        for (n, pin) in pins {
            assert_eq!(get(&mut shard, &format!("key-{n}")).as_deref(), Some(pin.bytes()));
        }
        while shard.maintain(NOW) {}
        assert_eq!(store.memory().pending, 0);
    }
}

/// What is in flight takes addresses that the budget would have. Where there are few, others make way for it.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn what_is_in_flight_may_take_the_last_addresses() {
    let mut shard = alone(Options { address_space: Some(32 << 20), ..options(16 << 20, 1) });
    let count = fill_until_evicting(&mut shard, "key", &[b'1'; 6_000]);
    let mut pins = Vec::new();
    for n in 0..20 * count {
        set(&mut shard, &format!("key-{}", n % count), &[b'2'; 6_000]).unwrap();
        if n % 10 == 0 {
            pins.extend(pin(&mut shard, &format!("key-{}", n % count)));
        }
    }
    assert!(shard.store().memory().held > 1 << 20, "{:?}", shard.store().memory());
    set(&mut shard, "large", &vec![b'l'; 1_000_000]).unwrap();
}

/// Each ring counts by itself what it pins: together they hold the share of readers, and a bounded part of memory more.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn rings_together_pin_their_share() {
    const MEMORY: u64 = 64 << 20;
    for rings in [1, 4, 16] {
        let store = store(Options { replicas: 1, ..options(MEMORY, rings) });
        let mut shards: Vec<Checked> = (0..rings).map(|ring| shard(&store, ring)).collect();
        let count = fill_until_evicting(&mut shards[0], "key", &[b'v'; 1_000]);
        // Two in each segment, by one ring after the other, until no more may be held.
        let pins: Vec<Pin> =
            (0..count / 60).filter_map(|n| pin(&mut shards[n % rings], &format!("key-{}", n * 60))).collect();
        let arena = store.base.arena();
        let held = arena.pinned_bytes();
        let (share, slack) = (MEMORY / PINNED_PART, if rings == 1 { 0 } else { MEMORY / PINNED_SLACK_PART });
        assert!((share..=share + slack).contains(&held), "{rings} rings hold {held}");
        assert_eq!(arena.held_counts(), (pins.len() as u64, 0));
        // Whichever ring ends a pin, none is held in the end.
        drop(pins);
        assert_eq!((arena.pinned_bytes(), arena.held_counts()), (0, (0, 0)));
    }
}

/// Up to an eighth of the limit is reserved as item memory for values that are being received. Beyond that they are received into
/// buffers that grow as bytes arrive, up to another eighth.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
pub(super) fn values_on_their_way_hold_a_bounded_part_of_memory() {
    let mut shard = alone(options(64 << 20, 1));
    let mut reservations = Vec::new();
    let refused = loop {
        match shard.fresh(NOW).reserve(
            format!("reservation-{}", reservations.len()).as_bytes(),
            1_000_000,
            u32::MAX,
        ) {
            Ok(reservation) => reservations.push(reservation),
            Err(why) => break why,
        }
        assert!(shard.store().memory().large <= 8 << 20);
    };
    assert_eq!(refused, ReserveError::Retry(Retry::Later));
    assert!(shard.store().is_short_of_reservations(NOW));
    // 8 of them in item memory, the others in 16 KiB each.
    assert_eq!(reservations.len(), 8 + 512);
    reservations.truncate(9);
    // The last one comes, and gets a place when there is one.
    let mut reservation = reservations.pop().unwrap();
    let value: Vec<u8> = (0..1_000_000_u32).map(|n| n as u8).collect();
    while reservation.filled() < 500_000 {
        assert!(reservation.fill(&value[reservation.filled()..]) > 0 || reservation.needs_room());
        shard.fresh(NOW).extend(&mut reservation, u32::MAX).unwrap();
    }
    assert!(reservation.unplaced_key().is_some());
    reservations.clear();
    while reservation.filled() < reservation.len() {
        reservation.fill(&value[reservation.filled()..]);
        shard.fresh(NOW).extend(&mut reservation, u32::MAX).unwrap();
    }
    assert!(reservation.unplaced_key().is_none());
    let edit = |_: Option<&Item<'_>>| (put(Value::Data, Timestamp::NEVER), ());
    shard.fresh(NOW).edit(b"reservation-8", &mut Data::Reservation(reservation), edit).unwrap();
    assert!(get(&mut shard, "reservation-8") == Some(value));
    assert_eq!(shard.store().reservations.buffer_bytes(), 0);
}

/// A value longer than all reservations together may be once had to wait until no other value was being received, and then all
/// others had to wait for it.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn a_value_longer_than_the_share_of_all_takes_nothing_of_it() {
    let mut shard = alone(Options { item_size_max: 32 << 20, ..options(64 << 20, 1) });
    let reserve =
        |shard: &mut Shard, key: &str, bytes| at_last(|| shard.fresh(NOW).reserve(key.as_bytes(), bytes, 9));
    let small = reserve(&mut shard, "small", 10_000).unwrap();
    let long = reserve(&mut shard, "long", 9_000_000).unwrap();
    assert!(long.unplaced_key().is_none(), "it has its place");
    let others: Vec<_> =
        (0..7).map(|n| reserve(&mut shard, &format!("other-{n}"), 1_000_000).unwrap()).collect();
    assert!(others.iter().all(|other| other.unplaced_key().is_none()), "so have all others");
    assert_eq!(reserve(&mut shard, "long-2", 9_000_000).unwrap_err(), ReserveError::Retry(Retry::Later));
    drop(long);
    let mut again = reserve(&mut shard, "long-2", 9_000_000).unwrap();
    again.fill(&vec![b'l'; 9_000_000]);
    let edit = |_: Option<&Item<'_>>| (put(Value::Data, Timestamp::NEVER), ());
    shard.fresh(NOW).edit(b"long-2", &mut Data::Reservation(again), edit).unwrap();
    drop((small, others));
    assert!(reserve(&mut shard, "long-3", 9_000_000).is_ok());
    assert_eq!(shard.store().reservations.lone_bytes(), 0);
}

/// As many clients as there may be that do not read their replies, and values that do not arrive, in the smallest store.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn all_that_is_held_leaves_a_part_of_memory_to_others() {
    for (memory, large, pins_first) in [
        (8, 900_000, true),
        (8, 900_000, false),
        (8, 3_900_000, true),
        (8, 3_900_000, false),
        (16, 30_000, true),
        (64, 900_000, false),
    ] {
        let memory = memory << 20;
        let mut shard = alone(Options { item_size_max: memory / 2, ..options(memory, 1) });
        let value = vec![b'l'; large];
        let count = memory as usize / large + 3;
        for n in 0..count {
            set(&mut shard, &format!("large-{n}"), &value).unwrap();
        }
        let (mut pins, mut reservations) = (Vec::new(), Vec::new());
        for is_pins in [pins_first, !pins_first] {
            for n in 0..count {
                if is_pins {
                    pins.extend(pin(&mut shard, &format!("large-{n}")));
                } else {
                    let key = format!("reserved-{n}");
                    reservations.extend(at_last(|| shard.fresh(NOW).reserve(key.as_bytes(), large, 9)));
                }
            }
        }
        let held = shard.store().base.arena().pinned_bytes() + shard.store().base.arena().bytes_reserved();
        let what = format!(
            "{memory}, {large}: {} pins, {} reservations, {held} held",
            pins.len(),
            reservations.len()
        );
        assert!(!pins.is_empty() || !reservations.is_empty(), "{what}");
        assert!(held <= memory - memory / UNHELD_PART + 300_000, "{what}");
        for n in 0..5_000 {
            set(&mut shard, &format!("key-{n}"), &[b'v'; 1_000])
                .unwrap_or_else(|why| panic!("{what}: {why:?}"));
        }
        for n in 4_700..5_000 {
            assert!(get(&mut shard, &format!("key-{n}")).is_some(), "{what}");
        }
        for n in 0..20 {
            set(&mut shard, &format!("middle-{n}"), &vec![b'm'; 100_000])
                .unwrap_or_else(|why| panic!("{what}: {why:?}"));
        }
    }
}

/// Many small values that were being received once held a segment each.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
pub(super) fn small_values_on_their_way_hold_few_segments() {
    let mut shard = alone(options(64 << 20, 1));
    let mut reservations = Vec::new();
    for n in 0..300 {
        reservations
            .push(shard.fresh(NOW).reserve(format!("reservation-{n}").as_bytes(), 10_000, u32::MAX).unwrap());
        for m in 0..20 {
            set(&mut shard, &format!("between-{n}-{m}"), &[b'v'; 6_000]).unwrap();
        }
    }
    let held = shard.store().base.arena().reserved_segment_bytes();
    assert!(held <= (64 << 20) / 32 + 131_072, "{held}");
}

/// An append once copied the old value under the writer lock: other rings waited until megabytes were copied.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn long_values_are_copied_outside_of_the_lock() {
    let mut shard = alone(options(64 << 20, 1));
    set(&mut shard, "large", &vec![b'a'; 900_000]).unwrap();
    set(&mut shard, "short", b"a").unwrap();
    for (key, expected) in [("large", 2), ("short", 1)] {
        let mut decisions = 0;
        let append = |_: Option<&Item<'_>>| {
            decisions += 1;
            (put(Value::OldThenData, Timestamp::NEVER), ())
        };
        shard.fresh(NOW).edit(key.as_bytes(), &mut Data::Bytes(b"b"), append).unwrap();
        // Decided once to learn what is to be copied, and once more when that has been done.
        assert_eq!(decisions, expected, "{key}");
    }
    let value = get(&mut shard, "large").unwrap();
    assert!(value.len() == 900_001 && value.ends_with(b"ab"));
}

/// Writers on two rings append to one value and prepend to it: whatever comes between a writer's copy and its publication, no
/// byte is lost or there twice.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn concurrent_appends_to_a_long_value_lose_nothing() {
    const APPENDS: usize = 400;
    let store = store(options(64 << 20, 2));
    let mut shards = [shard(&store, 0), shard(&store, 1)];
    set(&mut shards[0], "large", &vec![b'-'; 300_000]).unwrap();
    let is_over = AtomicBool::new(false);
    let mut tries = 0;
    std::thread::scope(|scope| {
        let [first, second] = &mut shards;
        let is_over = &is_over;
        let other = scope.spawn(move || {
            for _ in 0..APPENDS {
                let prepend = |_: Option<&Item<'_>>| (put(Value::DataThenOld, Timestamp::NEVER), ());
                second.fresh(NOW).edit(b"large", &mut Data::Bytes(b"p"), prepend).unwrap();
            }
            while !is_over.load(Ordering::Relaxed) {
                second.fresh(NOW);
                std::thread::yield_now();
            }
        });
        for _ in 0..APPENDS {
            let append = |_: Option<&Item<'_>>| {
                tries += 1;
                (put(Value::OldThenData, Timestamp::NEVER), ())
            };
            first.fresh(NOW).edit(b"large", &mut Data::Bytes(b"a"), append).unwrap();
        }
        while !other.is_finished()
            && get(first, "large").is_some_and(|value| value.len() < 300_000 + 2 * APPENDS)
        {
            std::thread::yield_now();
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let value = get(&mut shards[0], "large").unwrap();
    let expected = [vec![b'p'; APPENDS], vec![b'-'; 300_000], vec![b'a'; APPENDS]].concat();
    assert!(value == expected, "{} bytes after {tries} decisions", value.len());
}
