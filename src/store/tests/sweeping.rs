//! Tests of the sweep: expired items are removed without traffic, at a bounded cost.

use super::*;

/// The numbers of items that the sweep examined and removed during `work`.
fn swept(shard: &mut Shard, work: impl FnOnce(&mut Shard)) -> (u64, u64) {
    let before = shard.store().totals();
    work(shard);
    let after = shard.store().totals();
    (
        after.crawler_items_checked - before.crawler_items_checked,
        after.crawler_reclaimed - before.crawler_reclaimed,
    )
}

/// A store of `items`; the item with number n expires at `expiry(n)`.
fn filled(rings: usize, items: u32, expiry: impl Fn(u32) -> u32) -> Vec<Checked> {
    let store = store(options(64 << 20, rings));
    let mut shards: Vec<Checked> = (0..rings).map(|ring| shard(&store, ring)).collect();
    for n in 0..items {
        set_at(&mut shards[0], NOW, &format!("key-{n}"), b"value", Timestamp(expiry(n))).unwrap();
        if n % 1_000 == 0 {
            catch_up(&mut shards);
        }
    }
    catch_up(&mut shards);
    shards
}

fn catch_up(shards: &mut [Checked]) {
    for shard in shards {
        shard.latest();
    }
}

/// Maintains all rings in turn for the second `now`, until none wants to go on.
fn second(shards: &mut [Checked], now: u32) {
    let mut more = true;
    while more {
        more = false;
        for shard in &mut *shards {
            more |= shard.maintain(Timestamp(now));
        }
    }
}

/// Every ring once swept at the full rate, and looked up each item in every segment in which one had expired: with
/// expiries spread over 8 million items that was 44 % of a core.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
pub(super) fn a_second_of_sweeping_is_shared_by_all_rings() {
    let items = 320_000;
    let mut shards = filled(4, items, |n| 3 + n * 7_919 % 1_000);
    for now in 3..8 {
        let before = shards[0].store().totals();
        second(&mut shards, now);
        let after = shards[0].store().totals();
        let examined = after.crawler_items_checked - before.crawler_items_checked;
        let removed = after.crawler_reclaimed - before.crawler_reclaimed;
        assert!(examined - removed <= u64::from(items) / 32, "{examined} examined, {removed} removed");
        assert!(removed > 0);
    }
}

/// All expired items are removed in the end, even if the ring that swept first stops.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn whichever_ring_comes_sweeps() {
    let mut shards = filled(2, 100_000, |n| 3 + n % 40);
    // No more than the other ring may lag is removed in a second.
    for now in 3..200 {
        let ring = now as usize % 2;
        second(&mut shards[ring..=ring], now);
        catch_up(&mut shards);
    }
    assert_eq!(shards[0].store().totals().curr_items, 0);
    assert_eq!(shards[0].store().totals().crawler_reclaimed, 100_000);
}

/// The writer lock was once held for 256 items at a time, however many of them had to be removed.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn one_slice_removes_few_and_passes_over_many() {
    let mut shards = filled(1, 100_000, |_| 3);
    let shard = &mut shards[0];
    let (examined, removed) = swept(shard, |shard| assert!(shard.maintain(Timestamp(3))));
    assert!((8..=32).contains(&removed) && examined == removed, "{examined} examined, {removed} removed");
    let mut shards = filled(1, 100_000, |n| if n == 0 { 3 } else { 1_000 });
    let (examined, removed) = swept(&mut shards[0], |shard| assert!(shard.maintain(Timestamp(3))));
    assert!((500..=1_000).contains(&examined) && removed == 1, "{examined} examined, {removed} removed");
}

/// All that may be removed in a second was once removed at its beginning. Clients of other rings waited for up to 38 ms: their
/// rings had to replay 13,000 deltas before they could read, and the cores were busy.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn the_removals_of_a_second_are_spread_over_it() {
    let mut shards = filled(1, 250_000, |_| 3);
    let shard = &mut shards[0];
    let (mut more, mut rests, mut removed_by_all) = (true, 0, 0);
    while more {
        let (_, removed) = swept(shard, |shard| {
            while more {
                more = shard.maintain(Timestamp(3));
                if shard.should_rest() {
                    rests += 1;
                    break;
                }
            }
        });
        assert!(removed < 350, "{removed} removed without a rest");
        removed_by_all += removed;
    }
    assert!((500..700).contains(&rests), "{rests} rests");
    assert!((131_072..131_300).contains(&removed_by_all), "{removed_by_all} removed");
    // What is left is the next second's; then there is nothing to rest for.
    while shard.maintain(Timestamp(4)) {}
    assert_eq!((shard.store().totals().curr_items, shard.should_rest()), (0, false));
}

/// The sweep once went on until the log was full, which a client of the ring that lagged had to wait for.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn the_sweep_waits_for_a_ring_that_lags() {
    let mut shards = filled(2, 10_000, |_| 3);
    let store = Arc::clone(shards[0].store());
    let mut removed_before = 0;
    while store.totals().curr_items > 0 {
        while shards[0].maintain(Timestamp(3)) {}
        let removed = store.totals().crawler_reclaimed;
        assert!(removed - removed_before < 1_100, "{} removed", removed - removed_before);
        assert!(removed > removed_before && store.lag(1).0 < 1_100, "lags by {}", store.lag(1).0);
        assert!(shards[0].should_rest() || removed == 10_000);
        removed_before = removed;
        shards[1].latest();
    }
    assert!(!shards[0].should_rest());
}

/// Looking for due segments once took a scan of all of them, with every slice. Where nothing is due nothing is looked at.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn what_is_not_due_is_not_looked_at() {
    let mut shards = filled(1, 300_000, |n| 3 + n / 10_000);
    for now in 3..33 {
        let (examined, removed) = swept(&mut shards[0], |shard| while shard.maintain(Timestamp(now)) {});
        assert_eq!(removed, 10_000, "second {now}");
        // A segment holds 3,000 items.
        assert!(examined <= 17_000, "{examined} examined in second {now}");
    }
}

#[test]
pub(super) fn an_expiry_that_is_brought_forward_is_noticed() {
    let mut shard = alone(options(2 << 20, 1));
    set(&mut shard, "never", b"value").unwrap();
    set_at(&mut shard, NOW, "small", b"value", Timestamp(1_000)).unwrap();
    set_at(&mut shard, NOW, "large", &vec![b'v'; 20_000], Timestamp(1_000)).unwrap();
    set_at(&mut shard, NOW, "past", b"value", Timestamp::PAST).unwrap();
    while shard.maintain(Timestamp(3)) {}
    assert_eq!(shard.store().totals().curr_items, 3);
    for key in ["small", "large"] {
        let amend = |_: Option<&Item<'_>>| {
            (
                Edit::UpdateMetadata(UpdateMetadata {
                    exptime: Some(Timestamp(5)),
                    ..UpdateMetadata::default()
                }),
                (),
            )
        };
        shard.fresh(Timestamp(3)).edit(key.as_bytes(), &mut Data::None, amend).unwrap();
    }
    while shard.maintain(Timestamp(4)) {}
    assert_eq!(shard.store().totals().curr_items, 3);
    while shard.maintain(Timestamp(5)) {}
    assert_eq!(shard.store().totals().curr_items, 1);
    // What expires in the past after a walk has passed its place is found by the next.
    set_at(&mut shard, Timestamp(5), "past", b"value", Timestamp::PAST).unwrap();
    while shard.maintain(Timestamp(6)) {}
    assert_eq!((shard.store().totals().curr_items, get(&mut shard, "never").is_some()), (1, true));
}

#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn a_log_that_is_full_delays_the_sweep() {
    let store = store(Options { log_entries: Some(64), ..options(8 << 20, 2) });
    let (mut first, mut stuck) = (shard(&store, 0), shard(&store, 1));
    for n in 0..1_000 {
        stuck.latest();
        set_at(&mut first, NOW, &format!("key-{n}"), b"value", Timestamp(3)).unwrap();
    }
    let mut calls = 0;
    while first.maintain(Timestamp(3)) {
        calls += 1;
    }
    assert!(
        calls < 100 && store.totals().curr_items > 900,
        "{calls} calls do not wait for the ring that is stuck"
    );
    for _ in 0..100 {
        stuck.latest();
        while first.maintain(Timestamp(3)) {}
    }
    assert_eq!(store.totals().curr_items, 0);
}
