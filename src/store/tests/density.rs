//! Tests of how many items a store holds before it evicts.

use super::*;

/// The number of items of `value_bytes` that a store of `memory_limit` holds when it evicts for the first time.
fn held_at_first_eviction(memory_limit: u64, rings: usize, replicas: usize, value_bytes: usize) -> u64 {
    let store = store(Options { replicas, ..options(memory_limit, rings) });
    let mut shards: Vec<Checked> = (0..rings).map(|ring| shard(&store, ring)).collect();
    let value = vec![b'v'; value_bytes];
    for n in 0.. {
        let stored = set(&mut shards[0], &format!("key-of-thirty-bytes-{n:010}"), &value);
        for shard in &mut shards[1..] {
            shard.fresh(NOW);
        }
        // With several shards on one thread a write that has to evict cannot wait for the others.
        if stored.is_err() || ((n % 1_000 == 0 || value_bytes > 5_000) && store.totals().evictions > 0) {
            break;
        }
    }
    store.totals().curr_items
}

/// memcached 1.6 holds 559,232 / 349,504 / 56,640 / 6,016 items of a 30-byte key and these values at -m 64.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn holds_more_than_memcached() {
    for (value_bytes, memcached) in [(10, 559_232), (100, 349_504), (1_000, 56_640), (10_000, 6_016)] {
        let one = held_at_first_eviction(64 << 20, 1, 1, value_bytes);
        assert!(one * 10 >= memcached * 11, "{value_bytes} B, 1 ring: {one}");
        let four = held_at_first_eviction(64 << 20, 4, 4, value_bytes);
        assert!(four >= memcached, "{value_bytes} B, 4 rings: {four}");
        let sixteen = held_at_first_eviction(64 << 20, 16, 4, value_bytes);
        assert!(sixteen >= memcached, "{value_bytes} B, 16 rings: {sixteen}");
        let shared = held_at_first_eviction(64 << 20, 16, 1, value_bytes);
        assert!(
            shared.abs_diff(one) < one / 200,
            "{value_bytes} B, 16 rings with one replica: {shared}, not {one}"
        );
    }
}

/// All values over an eighth of a segment once had pages of their own: -m 32 held 2,715 of 8,250 bytes, of which each wasted 4,000.
/// `in_pages` is what was held then, also while overwriting.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn values_that_waste_pages_are_packed() {
    for (megabytes, value_bytes, in_pages, expected) in [
        (8, 8_250, 672, 850),
        (32, 8_250, 2_715, 3_500),
        (32, 10_800, 2_715, 3_000),
        (32, 13_000, 2_036, 2_500),
        (64, 16_500, 3_259, 3_500),
        (64, 21_700, 2_716, 3_000),
    ] {
        let held = held_at_first_eviction(megabytes << 20, 1, 1, value_bytes);
        assert!(held >= expected, "{value_bytes} B at -m {megabytes}: {held}");
        let many = held_while_overwriting(megabytes << 20, value_bytes, 3 * in_pages / 2);
        assert!(many >= in_pages, "{value_bytes} B at -m {megabytes}, overwriting: {many}");
    }
}

/// The number of items held when each of `keys`, more than there is room for, has been set about eight times.
fn held_while_overwriting(memory_limit: u64, value_bytes: usize, keys: u64) -> u64 {
    let mut shard = alone(options(memory_limit, 1));
    let mut random = fastrand::Rng::with_seed(1);
    let value = vec![b'v'; value_bytes];
    for _ in 0..8 * keys {
        set(&mut shard, &format!("key-of-thirty-bytes-{:010}", random.u64(..keys)), &value).unwrap();
    }
    shard.store().totals().curr_items
}

/// A table that was full of tombstones was once doubled, though half of them are enough for its entries: in a store that has long
/// been full, an item's index took 12.9 bytes in each replica, and there was room for 4 % fewer items of 100 bytes.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn an_index_keeps_its_size_while_items_come_and_go() {
    let mut shard = alone(options(8 << 20, 1));
    for n in 0..1_000_000 {
        set(&mut shard, &format!("key-of-thirty-bytes-{n:010}"), &[b'v'; 10]).unwrap();
    }
    let (totals, memory) = (shard.store().totals(), shard.store().memory());
    assert!(totals.evictions > 5 * totals.curr_items, "{totals:?}");
    let bytes_per_item = memory.index as f64 / totals.curr_items as f64;
    assert!(bytes_per_item < 11.6, "{bytes_per_item} bytes an item");
}
