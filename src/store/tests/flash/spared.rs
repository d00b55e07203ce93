//! Tests of what is evicted while flash has room: nothing that is long enough for it, and nothing too short while that takes
//! little memory.

use super::*;

impl Tiered {
    /// The number of evictions of items that are too short for flash, and of others.
    fn evictions(&self) -> (u64, u64) {
        let flash = self.flash();
        let short = usize::from(Classes::new(1.25, 48, 512 << 10).of(flash.item_bytes_min()));
        let evicted = |classes: &[ClassTotals]| classes.iter().map(|class| class.evicted).sum();
        let classes = self.shard.store().class_totals();
        (evicted(&classes[..short]), evicted(&classes[short..]))
    }

    /// Reads the value of `key`; if it is on flash, it comes back to memory.
    fn promote(&mut self, key: &str) {
        if let Lookup::Hit(item) = self.shard.fresh(NOW).find(key.as_bytes()) {
            item.record_access(NOW);
        }
        let Some(place) = self.place(key) else { return };
        let value = self.get(key).unwrap();
        at_last(|| self.shard.fresh(NOW).promote(key.as_bytes(), place, &value)).unwrap();
        self.work();
    }
}

/// Values of 0 to 4000 bytes, most of them shorter.
fn skewed(random: &mut fastrand::Rng) -> Vec<u8> {
    let share = random.f64();
    vec![b'v'; (4000.0 * share * share) as usize]
}

/// Overwrites leave segments that are dead in part. What was still alive in one was evicted when there was no room to copy it to:
/// clients had filled the segments that the evictor had opened for its copies.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn overwriting_evicts_nothing_that_flash_has_room_for() {
    for (memory, keys) in [(8 << 20, 4_000), (16 << 20, 8_000), (16 << 20, 10_000)] {
        let mut tiered = Tiered::new(tiered(memory, 256 << 20));
        let mut random = fastrand::Rng::with_seed(7);
        for n in 0..keys {
            tiered.set(&format!("key-{n}"), &skewed(&mut random));
        }
        for _ in 0..20_000 {
            tiered.set(&format!("key-{}", random.usize(..keys)), &skewed(&mut random));
        }
        assert_eq!(tiered.evictions(), (0, 0), "{keys} keys: {:?}", tiered.totals());
    }
}

/// Values that came back from flash and were read once used up the credit for copies, so that short items were evicted.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn bringing_values_back_evicts_nothing_that_flash_has_room_for() {
    let shapes = [(8 << 20, 6_000, 500, 6_000, 100), (16 << 20, 7_500, 0, 9_000, 512)];
    for (memory, keys, least, most, item_bytes_min) in shapes {
        let mut options = tiered(memory, 256 << 20);
        options.flash.as_mut().unwrap().item_bytes_min = item_bytes_min;
        let mut tiered = Tiered::new(options);
        for n in 0..keys {
            tiered.set(&format!("key-{n}"), &vec![b'v'; least + n * 7919 % (most - least)]);
        }
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..40_000 {
            tiered.promote(&format!("key-{}", random.usize(..keys)));
        }
        assert_eq!(tiered.evictions(), (0, 0), "{keys} keys: {:?}", tiered.totals());
        assert!(tiered.totals().objects_written > keys as u64, "{:?}", tiered.totals());
    }
}

/// Short items that were loaded together fill whole segments, from which nothing can be gained.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn short_items_that_stand_together_stay_and_hold_nobody_up() {
    let mut tiered = Tiered::new(tiered(16 << 20, 256 << 20));
    let count = 14_000;
    for n in 0..count {
        tiered.set(&format!("short-{n}"), &[n as u8; 350]);
    }
    let (mut random, mut before, mut most) = (fastrand::Rng::with_seed(7), 0, 0);
    for n in 0..30_000 {
        tiered.set(&format!("long-{}", n % 12_000), &value(n));
        tiered.promote(&format!("long-{}", random.usize(..=n.min(11_999))));
        let totals = tiered.shard.store().totals();
        let copies = totals.moves_to_warm + totals.moves_within_lru;
        most = most.max(copies - std::mem::replace(&mut before, copies));
    }
    assert_eq!(tiered.evictions(), (0, 0), "{:?}", tiered.totals());
    assert!((0..count).all(|n| tiered.get(&format!("short-{n}")).is_some()));
    // Eight bytes for each that is gained; the few segments that two writes may need are gained one at a time.
    assert!(most < 5_300, "{most} of 400 bytes were copied for one");
}

/// Values that nobody read were evicted when the writer had come round the files once, though nearly all else on flash was dead.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn values_that_nobody_reads_stay_while_flash_is_nearly_empty() {
    const CHUNKS: usize = 64;
    const COLD: usize = 500;
    const RECORD_BYTES: usize = 1040;
    const HOT: usize = CHUNKS * CHUNK as usize / RECORD_BYTES * 5;
    let mut tiered = Tiered::new(tiered(16 << 20, CHUNKS as u64 * CHUNK));
    let demote = |tiered: &mut Tiered, key: String| {
        tiered.set(&key, &[b'v'; 1000]);
        assert!(tiered.shard.fresh(NOW).demote(key.as_bytes()));
        tiered.work();
    };
    for n in 0..COLD {
        demote(&mut tiered, format!("cold-{n}"));
    }
    for n in 0..HOT {
        demote(&mut tiered, format!("hot-{}", n % 20));
    }
    // Of a chunk that is full of them some go.
    let left = (0..COLD).filter(|n| tiered.place(&format!("cold-{n}")).is_some()).count();
    assert!(left >= COLD * 7 / 10, "{left}");
    let totals = tiered.totals();
    let needed = (COLD + HOT) * RECORD_BYTES;
    assert!(totals.bytes_written < needed as u64 * 5 / 4, "{totals:?} for {needed} bytes");
}
