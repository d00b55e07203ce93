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
