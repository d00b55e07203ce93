//! Tests of a store whose limit is raised far above that of its start, and lowered again.

use super::*;
use crate::store::Walk;
use crate::store::index::{CAPACITY_MAX, Position};

const KEYS: usize = 800_000;

fn key(n: usize) -> String {
    format!("key-{n}")
}

/// The number of an index's tables follows from the `-m` of the start. Where the limit was then raised a hundredfold, one table
/// once grew by a hundred thousand entries in one step.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
pub(super) fn tables_stay_small_when_the_limit_is_raised() {
    let mut shard = alone(options(8 << 20, 1));
    let before = shard.store().memory().index;
    assert!(shard.store().set_memory_limit(800 << 20));
    let mut visits = vec![0_u8; KEYS];
    let mut walk = Walk::default();
    for n in 0..KEYS {
        set(&mut shard, &key(n), b"").unwrap();
        // From the half on a walk runs beside the writes: some tables are divided before it reaches them, some after.
        if n > KEYS / 2 && n % 1_000 == 0 {
            shard.fresh(NOW).walk(&mut walk, |item| {
                let number: usize = std::str::from_utf8(&item.key()[4..]).unwrap().parse().unwrap();
                visits[number] += 1;
            });
        }
    }
    while shard.fresh(NOW).walk(&mut walk, |item| {
        visits[std::str::from_utf8(&item.key()[4..]).unwrap().parse::<usize>().unwrap()] += 1;
    }) {}
    assert!(visits[..=KEYS / 2].iter().all(|&visits| visits == 1), "each was visited once");
    assert!(visits.iter().all(|&visits| visits <= 1));

    let index = shard.replica.index();
    let mut largest = 0;
    for table in 0..index.tables() {
        let mut position = Position::default();
        while !position.is_end() {
            let (items, next) = index.items_at(table, position);
            (largest, position) = (largest.max(items.len()), next);
        }
    }
    assert!(KEYS / index.tables() > CAPACITY_MAX, "whole tables would be larger");
    assert!(largest <= CAPACITY_MAX, "growing one would move {largest} entries");

    for n in (0..KEYS).step_by(1_001) {
        assert!(get(&mut shard, &key(n)).is_some());
        shard.fresh(NOW).edit(key(n).as_bytes(), &mut Data::None, |_| (Edit::Remove, ())).unwrap();
        assert!(get(&mut shard, &key(n)).is_none());
    }
    assert_eq!(shard.check(NOW), Ok(()));
    shard.fresh(NOW).flush().unwrap();
    let mut now = NOW;
    while shard.store().memory().index > before {
        now = Timestamp(now.0 + 1);
        assert!(now.0 < 100, "what a flush has emptied is freed");
        while shard.maintain(now) {}
    }
    set(&mut shard, &key(0), b"").unwrap();
    assert!(get(&mut shard, &key(0)).is_some() && get(&mut shard, &key(1)).is_none());
}

/// Lowers the limit to `bytes`, and evicts until the store is within.
fn lower(shard: &mut Shard, bytes: u64) {
    assert!(shard.store().set_memory_limit(bytes));
    let mut now = NOW;
    let used = |shard: &Shard| {
        let memory = shard.store().memory();
        memory.segments + memory.large + memory.index + memory.ghost
    };
    while used(shard) > bytes {
        now = Timestamp(now.0 + 1);
        assert!(now.0 < 1_000, "it comes down");
        while shard.maintain(now) {}
    }
}

/// A table that was emptied kept some memory, and what had been divided stayed so: where there were many, they alone took more
/// than a lowered limit. Then no item could stay, though every set was answered with STORED.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn a_lowered_limit_has_room_for_items() {
    for (start, raised) in [(8 << 20, 800 << 20), (512 << 20, 512 << 20)] {
        let mut shard = alone(options(start, 1));
        assert!(shard.store().set_memory_limit(raised));
        for n in 0..KEYS {
            set(&mut shard, &key(n), b"").unwrap();
        }
        lower(&mut shard, 8 << 20);
        assert!(
            shard.store().totals().curr_items > 50_000,
            "{} items are left",
            shard.store().totals().curr_items
        );
        for n in 0..1_000 {
            set(&mut shard, &key(n), b"new").unwrap();
        }
        assert!((0..1_000).all(|n| get(&mut shard, &key(n)).is_some()));
        assert_eq!(shard.check(NOW), Ok(()));
    }
}
