//! Tests of `ext_item_age`: values that nobody uses go to flash while memory has room.

use super::*;

/// Values that nobody uses go to flash although memory has room, large ones too; values that are used stay.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn idle_values_go_before_memory_is_full() {
    let mut options = Options { item_size_max: CHUNK - 1000, ..tiered(16 << 20, 64 << 20) };
    options.flash.as_mut().unwrap().item_age = 10;
    let mut tiered = Tiered::new(options);
    for n in 0..1000 {
        tiered.set(&format!("key-{n}"), &value(n));
    }
    for n in 0..20 {
        tiered.set(&format!("large-{n}"), &vec![n as u8; 50_000]);
    }
    assert_eq!(tiered.totals().objects_used, 0);
    for secs in (2..40).step_by(5) {
        let now = Timestamp(NOW.0 + secs);
        for n in 0..100 {
            let mut fresh = tiered.shard.fresh(now);
            let Lookup::Hit(item) = fresh.find(format!("key-{n}").as_bytes()) else { panic!("it is gone") };
            item.record_access(now);
        }
        while tiered.shard.maintain(now) {
            let flash = tiered.flash();
            tiered.device.work(&flash);
        }
        let flash = tiered.flash();
        tiered.device.work(&flash);
    }
    assert_eq!(tiered.totals().objects_used, 920, "{:?}", tiered.totals());
    assert!((0..100).all(|n| tiered.place(&format!("key-{n}")).is_none()));
    assert!((0..20).all(|n| tiered.get(&format!("large-{n}")) == Some(vec![n as u8; 50_000])));
    assert_eq!(tiered.shard.store().totals().evictions, 0);
}

/// The search for idle values looks at a few units at the front of a queue, where those that had been moved had left their
/// entries: after 64 segments, or large items, no more was moved.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn all_idle_values_go() {
    for (keys, bytes) in [(3_000, 4_000), (300, 40_000)] {
        let mut options = Options { item_size_max: CHUNK - 1000, ..tiered(16 << 20, 64 << 20) };
        options.flash.as_mut().unwrap().item_age = 10;
        let mut tiered = Tiered::new(options);
        for n in 0..keys {
            tiered.set(&format!("key-{n}"), &vec![n as u8; bytes]);
        }
        let now = Timestamp(NOW.0 + 20);
        let flash = tiered.flash();
        // A long value takes a few turns.
        for _ in 0..5 * keys {
            tiered.shard.maintain(now);
            tiered.device.work(&flash);
        }
        assert_eq!(tiered.totals().objects_used, keys as u64, "values of {bytes} bytes");
    }
}

/// If the evictor has left a victim half-way, the search for idle values reports no work, or a ring would never come to rest.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn looking_for_idle_values_leaves_the_evictors_victim_alone() {
    let mut options = tiered(2 << 20, 16 << 20);
    options.flash.as_mut().unwrap().item_age = 10;
    let mut tiered = Tiered::new(options);
    let mut random = fastrand::Rng::with_seed(3);
    let mut are_left = 0;
    for n in 0..20_000 {
        // Panics if there is always more to do.
        tiered.set(&format!("key-{}", random.usize(..600)), &value(n));
        are_left += u32::from(tiered.shard.write_txn().segments.victim.is_some());
    }
    assert!(are_left > 0, "victims were left half-way");
}

/// Moving idle large items needs room in the log and copies bytes: a transaction ends when the log is full or it has copied its
/// share.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn idle_large_items_wait_for_the_log_and_take_turns() {
    let mut options = Options { item_size_max: CHUNK - 1000, ..tiered(16 << 20, 64 << 20) };
    options.flash.as_mut().unwrap().item_age = 10;
    let store = store(Options { rings: 2, replicas: 2, log_entries: Some(64), ..options });
    let (mut shard, mut other) = (shard(&store, 0), shard(&store, 1));
    for n in 0..60 {
        set(&mut shard, &format!("large-{n}"), &vec![n as u8; 20_000]).unwrap();
        other.fresh(NOW);
    }
    let (flash, mut device) = (Arc::clone(store.flash().unwrap()), MemoryDevice::default());
    let now = Timestamp(NOW.0 + 20);
    let moved = || store.flash_totals().unwrap().objects_used;
    // The other ring is behind by as much as the log holds, but for a few.
    for n in 0..60 {
        set(&mut shard, &format!("small-{n}"), b"value").unwrap();
    }
    shard.maintain(now);
    assert!(moved() <= 4, "{} deltas in a log with room for 4", moved());
    other.fresh(now);
    let mut turns = 0;
    while moved() < 60 {
        let before = moved();
        shard.maintain(now);
        assert!(moved() - before <= 4, "64 KiB are copied in a turn");
        device.work(&flash);
        other.fresh(now);
        turns += 1;
        assert!(turns < 200, "{} are moved", moved());
    }
}
