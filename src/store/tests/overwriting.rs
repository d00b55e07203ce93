//! What overwriting evicts.

use super::*;

/// Segments that are a quarter dead are cleaned before anything live is evicted. What was alive in them was evicted all the same when
/// there was no room to copy it to: clients had filled the segments that the evictor had opened for its copies.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn overwriting_evicts_nothing_while_segments_are_a_quarter_dead() {
    for (memory, item_bytes_max, live_percent) in [(8, 4_000, 70), (16, 4_000, 78), (64, 600, 70)] {
        let mut shard = alone(options(memory << 20, 1));
        let mut random = fastrand::Rng::with_seed(7);
        // Most are shorter: a third of that long on average.
        let mut value = || {
            let share = random.f64();
            (vec![b'v'; (f64::from(item_bytes_max) * share * share) as usize], random.f64())
        };
        let keys = (memory << 20) as usize * live_percent / 100 / (item_bytes_max as usize / 3 + 40);
        for n in 0..keys {
            set(&mut shard, &format!("key-{n}"), &value().0).unwrap();
        }
        for _ in 0..5 * keys {
            let (value, which) = value();
            set(&mut shard, &format!("key-{}", (which * keys as f64) as usize), &value).unwrap();
        }
        assert_eq!(shard.store().totals().evictions, 0, "{memory} MiB, values up to {item_bytes_max} bytes");
    }
}
