//! Tests of -M: what was accepted stays, a write that needs no more than it frees is accepted, and others are refused without
//! work.

use super::*;

fn refusing(memory_limit: u64) -> Checked {
    alone(Options { evict: false, ..options(memory_limit, 1) })
}

/// Stores new keys with values of `bytes(n)` until one is refused; returns the sizes of the others.
fn fill(shard: &mut Shard, bytes: impl Fn(usize) -> usize) -> Vec<usize> {
    let value = vec![b'v'; 1 << 20];
    (0..)
        .map_while(|n| set(shard, &format!("key-{n}"), &value[..bytes(n)]).is_ok().then(|| bytes(n)))
        .collect()
}

/// A size between 1 and `max`, which depends on `n` alone.
fn any_size(n: usize, max: usize) -> usize {
    fastrand::Rng::with_seed(n as u64).usize(1..=max)
}

/// Overwrites keys at random, then checks that all keys have what was written last; `sizes` are the lengths of their values.
fn overwrite(shard: &mut Shard, sizes: &mut [usize], writes: usize, bytes: impl Fn(usize) -> usize) {
    let mut random = fastrand::Rng::with_seed(sizes.len() as u64);
    let value = vec![b'w'; 1 << 20];
    for n in 0..writes {
        let key = random.usize(..sizes.len());
        sizes[key] = bytes(key);
        let stored = set(shard, &format!("key-{key}"), &value[..sizes[key]]);
        assert!(
            stored.is_ok(),
            "overwrite {n} of key-{key}, {} bytes: {:?}",
            sizes[key],
            shard.store().memory()
        );
    }
    for (key, &bytes) in sizes.iter().enumerate() {
        let found = get(shard, &format!("key-{key}")).map(|value| value.len());
        assert_eq!(found, Some(bytes), "key-{key}");
    }
}

/// 19,872 of 20,000 overwrites in a full store were once refused, and their keys' old values went: a segment was compacted
/// only when a 16th of it was dead, and 4 % of all items had to be deleted before one write was accepted.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
pub(super) fn a_full_store_takes_whatever_needs_no_more_than_it_frees() {
    for (megabytes, bytes, writes) in [
        (64, 10, 100_000),
        (64, 100, 100_000),
        (64, 1_000, 50_000),
        (64, 9_000, 30_000),
        (64, 15_000, 20_000),
        (64, 15_900, 20_000),
        (64, 16_500, 20_000),
        (64, 20_000, 10_000),
        (64, 300_000, 1_000),
        (64, 1_000_000, 300),
        (4, 1, 50_000),
        (4, 100, 50_000),
        (4, 7_000, 20_000),
        (4, 9_000, 20_000),
        (2, 100, 50_000),
        (2, 7_000, 10_000),
    ] {
        let mut shard = refusing((megabytes << 20) as u64);
        let mut sizes = fill(&mut shard, |_| bytes);
        assert!(
            sizes.len() * (bytes + 50) > (megabytes << 20) / 10 * 7,
            "{} of {bytes} bytes in {megabytes} MB",
            sizes.len()
        );
        overwrite(&mut shard, &mut sizes, writes, |_| bytes);
        // Something smaller as well, and a new key again as soon as there is room.
        overwrite(&mut shard, &mut sizes, writes / 10, |key| if key % 2 == 0 { bytes / 2 } else { bytes });
    }
}

/// Values of mixed sizes leave unused tails of segments, whose lengths change whenever segments are compacted.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
pub(super) fn a_full_store_of_mixed_sizes_takes_overwrites() {
    for (megabytes, max) in [
        (64, 200),
        (64, 16_000),
        (64, 22_000),
        (64, 40_000),
        (4, 7_900),
        (4, 13_000),
        (2, 7_900),
        (16, 1_000_000),
    ] {
        let mut shard = refusing((megabytes << 20) as u64);
        let mut sizes = fill(&mut shard, |n| any_size(n, max));
        overwrite(&mut shard, &mut sizes, 200_000.min((100 << 20) / max), |key| any_size(key, max));
    }
    // Small ones in the gaps of those that just are not large.
    let mut shard = refusing(16 << 20);
    let bytes = |n: usize| if n.is_multiple_of(20) { 7_900 } else { 30 };
    let mut sizes = fill(&mut shard, bytes);
    overwrite(&mut shard, &mut sizes, 200_000, bytes);
}

/// Sets of new values of 15,000 bytes once copied one full segment after the other for ever: the room behind their last
/// items counted as dead, and nothing fitted into it.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn growth_is_refused_without_work() {
    for bytes in [11_000, 12_000, 13_300, 14_600, 15_000, 15_300] {
        let mut shard = refusing(64 << 20);
        let count = fill(&mut shard, |_| bytes).len();
        assert!(count * bytes > 55 << 20, "{count} of {bytes}");
        let before = shard.store().totals();
        for n in 0..1_000 {
            assert_eq!(set(&mut shard, &format!("new-{n}"), &vec![b'n'; bytes]), Err(EditError::OutOfMemory));
        }
        let after = shard.store().totals();
        assert_eq!(after.moves_within_lru, before.moves_within_lru);
        assert_eq!((after.direct_reclaims, after.curr_items), (before.direct_reclaims, count as u64));
    }
}

/// A store that had been full when its limit was lowered once refused every write, whatever was deleted: compaction found
/// no segment to copy to.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
pub(super) fn a_store_over_a_lowered_limit_takes_what_fits_under_it() {
    let mut shard = refusing(64 << 20);
    let mut sizes = fill(&mut shard, |_| 1_000);
    assert!(shard.store().set_memory_limit(32 << 20));
    assert_eq!(set(&mut shard, "new", &[b'n'; 1_000]), Err(EditError::OutOfMemory));
    overwrite(&mut shard, &mut sizes, 50_000, |_| 1_000);
    let count = sizes.len();
    for n in (0..count).filter(|n| n % 4 != 0) {
        shard
            .fresh(NOW)
            .edit(format!("key-{n}").as_bytes(), &mut Data::None, |_| (Edit::Remove, ()))
            .unwrap();
    }
    for n in 0..489 {
        set(&mut shard, &format!("new-{n}"), &[b'n'; 1_000]).unwrap();
    }
    while shard.maintain(NOW) {}
    let memory = shard.store().memory();
    assert!(used(&memory) <= memory.limit, "{memory:?}");
    let mut more = 0;
    while set(&mut shard, &format!("more-{more}"), &[b'n'; 1_000]).is_ok() {
        more += 1;
    }
    assert!((count / 4 + 489 + more) * 1_050 > 28 << 20, "{more} more");
    for n in (0..count).step_by(4) {
        assert!(get(&mut shard, &format!("key-{n}")).is_some(), "key-{n}");
    }
}

/// A value that is received in pieces is stored with a longer header. So it once cost more than the old version, which had come
/// in one piece, and was refused.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
pub(super) fn a_full_store_takes_overwrites_as_they_come() {
    for bytes in [9_000, 15_980, 20_000, 300_000] {
        let mut shard = refusing(64 << 20);
        let sizes = fill(&mut shard, |_| bytes);
        for n in 0..3_000 {
            let key = format!("key-{}", n * 7 % sizes.len());
            let mut reservation = shard.fresh(NOW).reserve(key.as_bytes(), bytes, u32::MAX).unwrap();
            reservation.fill(&vec![b'd'; bytes]);
            let edit = |_: Option<&Item<'_>>| (put(Value::Data, Timestamp::NEVER), ());
            shard.fresh(NOW).edit(key.as_bytes(), &mut Data::Reservation(reservation), edit).unwrap();
        }
        assert_eq!(shard.store().totals().curr_items, sizes.len() as u64);
    }
}
