//! A seeded simulation of several rings on one thread. Replicas are stepped in random order; log and memory are tiny, so
//! that wrap-around, lagging rings, eviction, compaction and expiry happen all the time.
//!
//! The oracle is a plain map to which the same operations are applied in log order. Every read must agree with it exactly:
//! a hit is the current value, a miss is a key that was deleted, expired, flushed, or reported as evicted.
//!
//! `MEMCRSD_TEST_SEED=n` repeats a run (`random` draws a seed), `SIM_OPS=n` sets its length. With the feature `canary`
//! and `MEMCRSD_CANARY=delta` replica 1 skips one delta, with `MEMCRSD_CANARY=section` ring 1 hides that it reads, and the
//! simulation must fail, which tests the checker.

#![expect(clippy::print_stdout, reason = "the printed parameters repeat a run")]

mod model;
mod world;

use world::{Kind, World};

fn run(kind: Kind) {
    let seed = memcrsd::fuzzing::seed(1);
    let ops = std::env::var("SIM_OPS").map_or(60_000, |text| text.parse().expect("SIM_OPS is a number"));
    println!("SIM_OPS={ops} {kind:?}");
    let mut world = World::new(seed, kind);
    for op in 0..ops {
        world.step(op);
    }
    world.finish();
}

/// Four rings, each with a replica of its own.
const FOUR: Kind = Kind {
    rings: 4,
    replicas: 4,
    keys: 20_000,
    value_bytes_max: 900,
    large: false,
    evict: true,
    address_space: None,
    flash: false,
};

#[test]
fn small_items_one_ring() {
    run(Kind { rings: 1, replicas: 1, value_bytes_max: 600, ..FOUR });
}

#[test]
fn small_items_four_rings() {
    run(FOUR);
}

#[test]
fn mixed_sizes_three_rings() {
    run(Kind { rings: 3, replicas: 3, keys: 500, value_bytes_max: 6_000, large: true, ..FOUR });
}

#[test]
fn refusing_when_full() {
    let kind = Kind {
        rings: 3,
        replicas: 3,
        keys: 3_000,
        value_bytes_max: 2_000,
        large: true,
        evict: false,
        ..FOUR
    };
    run(kind);
    run(Kind { replicas: 1, ..kind });
}

#[test]
fn few_hot_keys_eight_rings() {
    run(Kind { rings: 8, replicas: 8, keys: 20, value_bytes_max: 300, ..FOUR });
}

/// Rings that share their replica with all others, with one other, or with none.
#[test]
fn rings_that_share_replicas() {
    for (rings, replicas) in [(2, 1), (4, 1), (4, 2), (5, 3), (16, 4)] {
        run(Kind { rings, replicas, keys: 500, value_bytes_max: 6_000, large: true, ..FOUR });
    }
    run(Kind { rings: 6, replicas: 2, keys: 20, value_bytes_max: 300, ..FOUR });
    run(Kind { replicas: 2, ..FOUR });
}

/// Values on a device that is small, and fails now and then.
#[test]
fn values_on_flash() {
    for (rings, replicas) in [(1, 1), (3, 3), (6, 2)] {
        let kind = Kind { rings, replicas, keys: 4_000, value_bytes_max: 4_000, flash: true, ..FOUR };
        run(kind);
        run(Kind { keys: 800, large: true, ..kind });
    }
}

/// Where the system allows little address space, there may be enough free memory for a large value, but not in one piece.
#[test]
fn large_items_in_little_address_space() {
    let kind = Kind {
        rings: 3,
        replicas: 3,
        keys: 200,
        value_bytes_max: 60_000,
        large: true,
        address_space: Some(6_500_000),
        ..FOUR
    };
    run(kind);
    run(Kind { evict: false, ..kind });
}
