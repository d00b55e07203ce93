//! Tests of which rings wait while another one is preempted.

use super::*;

/// A writer that shared its replica once waited for the replay of a preempted neighbour with the writer lock held, and all
/// other writers waited with it.
#[test]
pub(super) fn writers_do_not_wait_for_a_replay_of_other_rings() {
    let store = store(Options { replicas: 2, ..options(8 << 20, 4) });
    let (mut near, mut far) = (shard(&store, 0), shard(&store, 2));
    // Ring 1 has been preempted in the middle of a replay.
    let replaying = store.replicas[0].try_replaying().expect("nobody replays");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| set(&mut near, "near", b"v").map(|_| get(&mut near, "near")));
        while store.replicas[0].memory().waits == 0 {
            std::thread::yield_now();
        }
        let can_write = !store.is_busy();
        if can_write {
            set(&mut far, "far", b"v").unwrap();
        }
        drop(replaying);
        assert_eq!(waiting.join().unwrap(), Ok(Some(b"v".to_vec())), "it reads what it has written");
        assert!(can_write, "ring 2 waits for ring 1");
    });
    assert!(get(&mut near, "far").is_some() && get(&mut far, "near").is_some());
}

/// In a full store, writers had to wait for a preempted ring after a segment or two. Each wait raises what is kept free, up to a
/// sixteenth of the limit; without waits it falls again.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn more_is_kept_free_where_writers_have_to_wait() {
    let store = store(options(8 << 20, 2));
    let (mut writer, mut other) = (shard(&store, 0), shard(&store, 1));
    let mut number = 0;
    // Writes up to `most` times after one replay of the other ring, and returns how often that succeeded.
    let mut write = |most: u32, secs: u32| {
        let now = Timestamp(NOW.0 + secs);
        other.fresh(now).find(b"none");
        (0..most)
            .take_while(|_| {
                number += 1;
                set_at(&mut writer, now, &format!("key-{number}"), &[b'v'; 1000], Timestamp::NEVER).is_ok()
            })
            .count()
    };
    while store.totals().evictions == 0 {
        write(u32::MAX, 0);
    }
    let before = write(u32::MAX, 0);
    let waited = (0..20).map(|_| write(u32::MAX, 0)).last().unwrap();
    assert!(before < 100 && (400..1200).contains(&waited), "{before} writes at first, {waited} later");
    for secs in 1..=60 {
        assert_eq!(write(1, secs), 1);
    }
    write(u32::MAX, 60);
    let rested = write(u32::MAX, 60);
    assert!(rested < waited / 2, "{waited} writes while there were waits, {rested} after a minute without");
}
