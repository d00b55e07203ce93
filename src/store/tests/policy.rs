//! Which items the evictor favours.

use super::super::ledger::Queue;
use super::*;

/// Stores a value the way one comes that is longer than a read: its memory is reserved before it is there.
fn receive(shard: &mut Shard, key: &str, bytes: usize) {
    let mut draft = loop {
        match shard.fresh(NOW).reserve(key.as_bytes(), bytes, 1) {
            Ok(draft) => break draft,
            Err(why) => assert_eq!(why, Unreserved::Later, "{key}"),
        }
    };
    draft.fill(&vec![b'v'; bytes]);
    let edit = |_: Option<&Item<'_>>| (put(Value::Data, Secs::NEVER), ());
    shard.fresh(NOW).edit(key.as_bytes(), Data::Draft(draft), edit).unwrap();
}

fn queue_of(shard: &mut Shard, key: &str) -> Queue {
    let hash = shard.fresh(NOW).hash(key.as_bytes());
    let turn = shard.turn(NOW);
    let (item_ref, _) = turn.find(hash, key.as_bytes()).expect("stored");
    turn.queue_of(item_ref)
}

/// Reserving memory for a large value once took its ghost, and publishing it asked for the ghost again and found none: a
/// large value that came back was never remembered. So was one whose reservation was tried twice.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn a_large_value_that_comes_back_is_remembered() {
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
