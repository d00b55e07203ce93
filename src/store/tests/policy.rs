//! Tests of which items the evictor keeps.

use super::super::segment_table::Queue;
use super::*;

/// Stores a value as one that is longer than a read: its memory is reserved before its bytes arrive.
fn receive(shard: &mut Shard, key: &str, bytes: usize) {
    let mut reservation = loop {
        match shard.fresh(NOW).reserve(key.as_bytes(), bytes, 1) {
            Ok(reservation) => break reservation,
            Err(why) => assert_eq!(why, ReserveError::Retry(Retry::Soon), "{key}"),
        }
    };
    reservation.fill(&vec![b'v'; bytes]);
    let edit = |_: Option<&Item<'_>>| (put(Value::Data, Timestamp::NEVER), ());
    shard.fresh(NOW).edit(key.as_bytes(), &mut Data::Reservation(reservation), edit).unwrap();
}

fn queue_of(shard: &mut Shard, key: &str) -> Queue {
    let hash = shard.fresh(NOW).hash(key.as_bytes());
    let txn = shard.write_txn();
    let (item_ref, _) = txn.find(hash, key.as_bytes()).expect("stored");
    txn.queue_of(item_ref)
}

/// Reserving memory for a large value once took its ghost, and publishing it asked for the ghost again and found none: a
/// large value that came back was never remembered. So was one whose reservation was tried twice.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
pub(super) fn a_large_value_that_comes_back_is_remembered() {
    let mut shard = alone(options(16 << 20, 1));
    // 40 stay; as many of those before them are remembered.
    for n in 0..60 {
        receive(&mut shard, &format!("large-{n}"), 300_000);
    }
    let gone: Vec<String> =
        (0..60).map(|n| format!("large-{n}")).filter(|key| get(&mut shard, key).is_none()).collect();
    for key in gone.iter().rev().take(5) {
        receive(&mut shard, key, 300_000);
        assert_eq!(queue_of(&mut shard, key), Queue::Main, "{key}");
    }
    receive(&mut shard, "new", 300_000);
    assert_eq!(queue_of(&mut shard, "new"), Queue::Small);
}

/// Reads `key` as a client does, and stores it on a miss; false on a miss.
fn use_or_set(shard: &mut Shard, key: &str, bytes: usize) -> bool {
    let hit = match shard.fresh(NOW).find(key.as_bytes()) {
        Lookup::Hit(item) => {
            item.record_access(NOW);
            true
        }
        _ => false,
    };
    if !hit {
        set(shard, key, &vec![b'v'; bytes]).unwrap();
    }
    hit
}

/// Each value of a megabyte took a sixth of the small queue, so that new items were gone before their second read.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
pub(super) fn new_items_keep_their_time_beside_a_stream_of_large_values() {
    const LATER: usize = 2_000;
    let mut shard = alone(options(64 << 20, 1));
    let mut misses = 0;
    for n in 0..40_000 {
        use_or_set(&mut shard, &format!("new-{n}"), 300);
        if n >= LATER {
            misses += usize::from(!use_or_set(&mut shard, &format!("new-{}", n - LATER), 300));
        }
        if n % 20 == 0 {
            set(&mut shard, &format!("bulk-{n}"), &vec![b'b'; 1_000_000]).unwrap();
        }
    }
    assert!(shard.store().totals().evictions > 1_000);
    assert_eq!(misses, 0, "of {} second reads", 40_000 - LATER);
}

/// A stream of small items does not push out a large one that is no older than they are.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
pub(super) fn a_large_value_keeps_its_time_beside_a_stream_of_new_items() {
    let mut shard = alone(Options { item_size_max: 16 << 20, ..options(64 << 20, 1) });
    for n in 0..250_000 {
        set(&mut shard, &format!("old-{n}"), &[b'v'; 300]).unwrap();
    }
    for megabytes in [1, 4] {
        let large = format!("large-{megabytes}");
        set(&mut shard, &large, &vec![b'l'; megabytes << 20]).unwrap();
        // 2 MB of them.
        for n in 0..6_000 {
            set(&mut shard, &format!("{large}-{n}"), &[b'v'; 300]).unwrap();
        }
        assert!(get(&mut shard, &large).is_some(), "{large}");
        for n in 6_000..300_000 {
            set(&mut shard, &format!("{large}-{n}"), &[b'v'; 300]).unwrap();
        }
        assert_eq!(get(&mut shard, &large), None, "{large} has had its time");
    }
}

/// Incr at full speed on one key once filled a log-structured cache with dead versions.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn a_counter_does_not_push_the_rest_out() {
    let mut shard = alone(options(8 << 20, 1));
    fill_until_evicting(&mut shard, "cold", &[b'c'; 100]);
    let before = shard.store().totals().curr_items;
    let digits = *b"18446744073709551615\0\0\0\0";
    for _ in 0..500_000 {
        let count = |_: Option<&Item<'_>>| (put(Value::Digits(digits, 20), Timestamp::NEVER), ());
        shard.fresh(NOW).edit(b"counter", &mut Data::None, count).unwrap();
    }
    let after = shard.store().totals().curr_items;
    assert!(after * 10 >= before * 9, "{before} items, then {after}");
}

/// A segment that had been freed and opened again stood for the oldest of its queue, as new as it now was.
#[test]
fn a_segment_that_is_used_again_is_not_the_oldest() {
    let mut shard = alone(options(8 << 20, 1));
    for n in 0..1000 {
        set(&mut shard, &format!("key-{n}"), &[b'v'; 1000]).unwrap();
    }
    for n in 0..200 {
        let removed =
            shard.fresh(NOW).edit(format!("key-{n}").as_bytes(), &mut Data::None, |_| (Edit::Remove, ()));
        assert!(removed.is_ok(), "key-{n}");
    }
    let later = Timestamp(NOW.0 + 100);
    for n in 0..200 {
        set_at(&mut shard, later, &format!("later-{n}"), &[b'v'; 1000], Timestamp::NEVER).unwrap();
    }
    assert!(shard.store().class_totals().iter().all(|class| class.oldest == NOW));
}
