//! Tests of what one write may cost others: a bounded number of bytes copied in each turn, and for each byte that it needs.

use super::*;

/// Stores values of `bytes` until an item is evicted, then reads all that are left `reads` times.
fn fill_and_read(shard: &mut Shard, bytes: usize, reads: u32) -> usize {
    let count = fill_until_evicting(shard, "old", &vec![b'v'; bytes]);
    for n in 0..count {
        for _ in 0..reads {
            if let Lookup::Hit(item) = shard.fresh(NOW).find(format!("old-{n}").as_bytes()) {
                item.record_access(NOW);
            }
        }
    }
    count
}

fn moves(shard: &Shard) -> u64 {
    let totals = shard.store().totals();
    totals.moves_to_warm + totals.moves_within_lru
}

/// When all items had been read, the next set once copied nearly all of the store, since eviction gains nothing before it comes
/// to an item that nobody has read. That took seconds, in which the ring served nobody; with several rings the set was refused.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
pub(super) fn no_set_copies_much_whatever_has_been_read() {
    const SETS: usize = 8_000;
    for bytes in [100, 1_000, 15_000] {
        for reads in [1, 3] {
            let mut shard = alone(options(64 << 20, 1));
            let count = fill_and_read(&mut shard, bytes, reads);
            let (value, item_bytes) = (vec![b'n'; bytes], bytes as u64 + 48);
            let before = moves(&shard);
            let mut seen = before;
            for n in 0..SETS.min(count / 4) {
                let key = format!("new-{n}");
                let edit = |_: Option<&Item<'_>>| (put(Value::Data, Timestamp::NEVER), ());
                let stored = at_last(|| {
                    let tried = shard.fresh(NOW).edit(key.as_bytes(), &mut Data::Bytes(&value), edit);
                    let copied = (moves(&shard) - seen) * item_bytes;
                    seen = moves(&shard);
                    // Four turns: those in which it is tried, before and after room has been made, and those in which it is.
                    assert!(copied <= 4 * ((64 << 10) + item_bytes), "{copied} bytes in one go, {bytes}");
                    tried
                });
                assert!(stored.is_ok(), "{key}: {stored:?}");
            }
            let copied = (moves(&shard) - before) * item_bytes;
            let written = SETS.min(count / 4) as u64 * item_bytes;
            assert!(
                copied <= 10 * written + (3 << 20),
                "{copied} for {written}, values of {bytes}, {reads} reads"
            );
        }
    }
}

/// Overwrites of items in main go to main, but eviction ran ahead of need only for the small queue: for each segment's worth of
/// overwrites, one of them had to evict a segment by itself.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn eviction_runs_ahead_of_overwrites_in_main() {
    let mut shard = alone(options(64 << 20, 1));
    let count = fill_and_read(&mut shard, 1_000, 1);
    // Most of those that were read are in main then.
    for n in 0..count {
        set(&mut shard, &format!("new-{n}"), &[b'n'; 100]).unwrap();
    }
    let kept: Vec<String> =
        (0..count).map(|n| format!("old-{n}")).filter(|key| get(&mut shard, key).is_some()).collect();
    assert!(kept.len() > count / 4, "{} of {count}", kept.len());
    let before = shard.store().totals().direct_reclaims;
    for (n, key) in kept.iter().cycle().take(4 * count).enumerate() {
        set(&mut shard, key, &vec![b'o'; 700 + n % 600]).unwrap();
    }
    let by_themselves = shard.store().totals().direct_reclaims - before;
    assert!(by_themselves < 10, "{by_themselves} turns");
}

/// Room for a large value is made in several turns. Other writers once took it in between, for as long as they wrote.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
pub(super) fn a_large_value_finds_its_room_beside_others_writes() {
    let mut shard = alone(Options { item_size_max: 16 << 20, ..options(64 << 20, 1) });
    fill_and_read(&mut shard, 100, 0);
    let (small, large) = (vec![b's'; 15_000], vec![b'l'; 100_000]);
    for round in 0..1_000 {
        match shard.fresh(NOW).reserve(b"largest", 6 << 20, 1) {
            Ok(_) => return,
            Err(why) => assert_eq!(why, ReserveError::Retry(Retry::Soon)),
        }
        for n in 0..8 {
            set(&mut shard, &format!("small-{round}-{n}"), &small).unwrap();
            set(&mut shard, &format!("large-{round}-{n}"), &large).unwrap();
        }
    }
    panic!("it has waited for a thousand rounds");
}

/// Room that a writer was promised is free for others if the writer does not come back.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn room_is_kept_for_a_while_only() {
    let mut shard = alone(Options { item_size_max: 16 << 20, ..options(64 << 20, 1) });
    fill_and_read(&mut shard, 1_000, 0);
    let before = shard.store().totals().curr_items;
    let reserved = shard.fresh(NOW).reserve(b"largest", 8 << 20, 0);
    assert_eq!(reserved.err(), Some(ReserveError::Retry(Retry::Soon)));
    let later = Timestamp(NOW.0 + 2);
    for n in 0..100_000 {
        set_at(&mut shard, later, &format!("new-{n}"), &[b'n'; 1_000], Timestamp::NEVER).unwrap();
    }
    let after = shard.store().totals().curr_items;
    assert!(after * 100 >= before * 98, "{after} of {before} items");
}
