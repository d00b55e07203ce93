//! Every width of an item ref's unit, at its edges.

use super::*;

const MIB: u64 = 1 << 20;

/// Bytes of values around what decides an item's shape: none, flags or not, a large item at each size of segment.
const SIZES: [usize; 12] = [0, 1, 5, 100, 8_000, 8_300, 65_535, 65_536, 262_000, 262_144, 300_000, 1_000_000];

/// A value that no other key or version has.
fn value(key: usize, version: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed((key * 1_000 + version) as u64);
    std::iter::repeat_with(|| random.u8(..)).take(SIZES[key % SIZES.len()]).collect()
}

fn write_with_cas(shard: &mut Shard, key: &str, value: &[u8], cas: u64) {
    let put = |_: Option<&Item<'_>>| {
        let Edit::Put(put) = put(Value::Data, Secs::NEVER) else { unreachable!("it is a put") };
        (Edit::Put(Put { cas: Some(cas), flags: (cas as u32) & 1, ..put }), ())
    };
    shard.fresh(NOW).edit(key.as_bytes(), &mut Data::Bytes(value), put).unwrap();
}

fn write_as_it_comes(shard: &mut Shard, key: &str, value: &[u8]) {
    let mut draft = shard.fresh(NOW).reserve(key.as_bytes(), value.len(), u32::MAX).unwrap();
    draft.fill(value);
    let edit = |_: Option<&Item<'_>>| (put(Value::Data, Secs::NEVER), ());
    shard.fresh(NOW).edit(key.as_bytes(), &mut Data::Draft(draft), edit).unwrap();
}

/// Above -m 32768 units are 32 bytes, and a large item lay 16 bytes into its extent: its ref named the extent's head, which
/// was overwritten, and its memory was never freed, or another item's was.
#[test]
#[cfg_attr(miri, ignore = "the heap has no more than there is")]
fn items_of_every_size_come_and_go_at_every_width() {
    for megabytes in [64, 8_191, 8_192, 8_193, 16_384, 16_385, 32_768, 33_000, 65_536, 65_537, 524_288] {
        let mut shard = alone(options(megabytes * MIB, 1));
        for version in 0..4 {
            for key in 0..5 * SIZES.len() {
                let name = format!("key-{key}");
                let value = value(key, version);
                match (key + version) % 3 {
                    0 => drop(set(&mut shard, &name, &value).unwrap()),
                    1 => write_with_cas(&mut shard, &name, &value, u64::MAX - (key as u64)),
                    _ => write_as_it_comes(&mut shard, &name, &value),
                }
            }
            for key in 0..5 * SIZES.len() {
                let found = get(&mut shard, &format!("key-{key}"));
                assert!(found == Some(value(key, version)), "-m {megabytes}, key-{key}, version {version}");
            }
            assert_eq!(shard.check(NOW), Ok(()), "-m {megabytes}");
        }
        for key in 0..5 * SIZES.len() {
            shard
                .fresh(NOW)
                .edit(format!("key-{key}").as_bytes(), &mut Data::None, |_| (Edit::Remove, ()))
                .unwrap();
        }
        while shard.maintain(NOW) {}
        let (totals, memory) = (shard.store().totals(), shard.store().memory());
        assert_eq!((totals.curr_items, totals.bytes), (0, 0));
        assert!(memory.large == 0 && memory.segments_in_use <= 2, "-m {megabytes}: {memory:?}");
        // The memory of one version and a little: what was overwritten has been used again.
        assert!(memory.large_free < 24 * MIB, "-m {megabytes}: {memory:?}");
    }
}

/// Where no unit reaches, the server says so at its start.
#[test]
#[cfg_attr(miri, ignore = "the heap has no more than there is")]
fn a_limit_beyond_the_widest_unit_is_refused() {
    for bytes in [1 << 40, 1 << 62, u64::MAX] {
        let refused = Store::new(options(bytes, 1), Box::new(Quiet)).unwrap_err();
        assert_eq!(refused.errno, nix::errno::Errno::ENOMEM);
    }
}
