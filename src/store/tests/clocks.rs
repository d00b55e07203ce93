//! Tests of rings that read their clocks at different moments: what has expired for one has expired for all.

use super::*;

fn touch(fresh: &mut Fresh<'_>, key: &str) -> bool {
    let amend = || {
        Edit::UpdateMetadata(UpdateMetadata { exptime: Some(Timestamp(100)), ..UpdateMetadata::default() })
    };
    let touch = |old: Option<&Item<'_>>| (if old.is_some() { amend() } else { Edit::Keep }, old.is_some());
    fresh.edit(key.as_bytes(), &mut Data::None, touch).unwrap().outcome
}

/// Each ring once went by its own clock: a client that had been told by one ring that a key was gone, with `NOT_FOUND` to
/// a touch, was served it by another that had not looked at the clock yet.
#[test]
pub(super) fn what_has_expired_on_one_ring_is_gone_on_all() {
    let store = store(options(2 << 20, 2));
    let (mut early, mut late) = (shard(&store, 0), shard(&store, 1));
    set_at(&mut early, NOW, "key", b"value", Timestamp(3)).unwrap();
    assert!(get(&mut late, "key").is_some());
    assert!(!touch(&mut early.fresh(Timestamp(3)), "key"));
    assert!(matches!(late.fresh(NOW).find(b"key"), Lookup::Expired), "the late ring's clock is at {NOW:?}");
}

/// A batch that began before, but sees what the other ring wrote afterwards, must not find what had expired by then.
#[test]
fn a_batch_that_sees_a_later_write_sees_the_later_second() {
    let store = store(options(2 << 20, 2));
    let (mut early, mut late) = (shard(&store, 0), shard(&store, 1));
    set_at(&mut early, NOW, "key", b"value", Timestamp(3)).unwrap();
    let mut batch = late.fresh(NOW);
    assert!(matches!(batch.find(b"key"), Lookup::Hit(_)));
    assert!(!touch(&mut early.fresh(Timestamp(3)), "key"));
    set_at(&mut early, Timestamp(3), "later", b"value", Timestamp::NEVER).unwrap();
    assert!(touch(&mut batch, "later"), "an edit is decided on the newest state");
    assert!(matches!(batch.find(b"key"), Lookup::Expired));
}

/// `debugtime` moves the clock back as well.
#[test]
pub(super) fn the_time_can_be_set_back() {
    let mut shard = alone(options(2 << 20, 1));
    set_at(&mut shard, NOW, "key", b"value", Timestamp(9)).unwrap();
    shard.store().set_now(Timestamp(9));
    assert_eq!(shard.latest().now(), Timestamp(9));
    shard.store().set_now(NOW);
    assert!(get(&mut shard, "key").is_some());
}
