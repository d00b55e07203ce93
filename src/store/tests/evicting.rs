//! Tests of eviction: how much a write evicts, what stays when the same keys are rewritten, and how a lowered limit is reached.

use super::*;

#[test]
#[cfg_attr(miri, ignore = "takes hours")]
pub(super) fn rewriting_the_same_keys_does_not_push_the_rest_out() {
    let mut shard = alone(options(8 << 20, 1));
    fill_until_evicting(&mut shard, "cold", &[b'c'; 100]);
    let before = shard.store().totals().curr_items;
    for n in 0..600_000 {
        set(&mut shard, &format!("hot-{}", n % 1_000), &[b'h'; 100]).unwrap();
    }
    let after = shard.store().totals().curr_items;
    assert!(after * 10 >= before * 9, "{before} items, then {after}");
}

/// The most items that one try of `writes` sets evicts; their values are `bytes` long.
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

/// A large item is a unit of its own: a write that made room by looking at 64 units once evicted half the store.
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

/// Making room for 1 MB among items of 60 bytes means 18,000 evictions, which other connections once had to wait for.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
pub(super) fn room_for_a_large_value_is_made_in_turns() {
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

#[test]
#[cfg_attr(miri, ignore = "takes hours")]
pub(super) fn the_limit_can_shrink_and_grow() {
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

/// A write once had to evict everything above a lowered limit at a time; a server without writes evicted nothing.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
pub(super) fn a_lowered_limit_is_reached_little_by_little() {
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
