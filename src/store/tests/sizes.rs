//! Tests of values of any size, in any order of sizes and in caches of any size, with eviction and without.

use super::*;

#[test]
#[cfg_attr(miri, ignore = "takes hours")]
pub(super) fn a_value_grows_by_appends_for_ever() {
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

/// In memcached, memory stays in the size class to which it once went; here it must not.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
pub(super) fn any_mix_of_sizes_can_follow_any_other() {
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

/// Where items just over an eighth of a segment lie. The sizes are those at which the choice changes, in whole units of 4 bytes.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn what_wastes_pages_lies_in_a_segment() {
    const MAX: u64 = 1 << 30;
    for (megabytes, edges) in [
        // 6, 5 and 4 items in 64 KiB.
        (32, &[10_920, 12_272, 13_104, 16_368, 16_384, MAX][..]),
        // 7 and 6 items in 128 KiB, 7 in 256 KiB, and 8 in 512 KiB.
        (64, &[18_724, 20_464, 21_844, MAX]),
        (128, &[32_768, 36_848, 37_448, MAX]),
        (256, &[65_536, MAX]),
        (4_096, &[262_144, MAX]),
    ] {
        let shard = alone(options(megabytes << 20, 1));
        let is_large = |bytes| shard.store().segments.lock().is_large(shard.base.arena(), bytes);
        for (n, &edge) in edges.iter().enumerate() {
            let (before, after) = (is_large(edge), is_large(edge + 4));
            assert_eq!((before, after), (n % 2 == 1, n % 2 == 0 || edge == MAX), "-m {megabytes}, {edge}");
        }
    }
    let shard = alone(Options { evict: false, ..options(32 << 20, 1) });
    let segments = shard.store().segments.lock();
    assert!(segments.is_large(shard.base.arena(), 8_196), "with -M");
    drop(segments);
}

#[test]
#[cfg_attr(miri, ignore = "takes hours")]
pub(super) fn very_small_caches_work() {
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
pub(super) fn without_eviction_nothing_accepted_is_lost() {
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
