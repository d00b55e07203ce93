//! Tests of items under every width of an item ref's unit, which depends on `-m`, with lengths around those that decide an item's
//! shape.

use super::*;

const MIB: u64 = 1 << 20;

/// Lengths of values, around those that decide an item's shape: no value, with and without the extension, and large items for
/// each size of segment.
const SIZES: [usize; 12] = [0, 1, 5, 100, 8_000, 8_300, 65_535, 65_536, 262_000, 262_144, 300_000, 1_000_000];
/// How many of these lengths, from the first on, are short.
const SHORT_SIZES: usize = 6;
/// Keys with values of all sizes come first, then those with short ones.
const KEYS_OF_ALL_SIZES: usize = 5 * SIZES.len();
const KEYS: usize = 1_000;

/// A value that no other key or version has.
fn value(key: usize, version: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed((key * 1_000 + version) as u64);
    let sizes = if key < KEYS_OF_ALL_SIZES { SIZES.len() } else { SHORT_SIZES };
    std::iter::repeat_with(|| random.u8(..)).take(SIZES[key % sizes]).collect()
}

fn write_with_cas(shard: &mut Shard, key: &str, value: &[u8], cas: u64) {
    let put = |_: Option<&Item<'_>>| {
        let Edit::Put(put) = put(Value::Data, Timestamp::NEVER) else { unreachable!("it is a put") };
        (Edit::Put(Put { cas: Some(cas), flags: (cas as u32) & 1, ..put }), ())
    };
    shard.fresh(NOW).edit(key.as_bytes(), &mut Data::Bytes(value), put).unwrap();
}

fn write_as_it_comes(shard: &mut Shard, key: &str, value: &[u8]) {
    let mut reservation = shard.fresh(NOW).reserve(key.as_bytes(), value.len(), u32::MAX).unwrap();
    reservation.fill(value);
    let edit = |_: Option<&Item<'_>>| (put(Value::Data, Timestamp::NEVER), ());
    shard.fresh(NOW).edit(key.as_bytes(), &mut Data::Reservation(reservation), edit).unwrap();
}

/// Above -m 32768 units are 32 bytes, but a large item once lay 16 bytes into its extent. So its ref named the extent's head,
/// which was overwritten, and its memory was never freed, or another item's was.
#[test]
#[cfg_attr(miri, ignore = "the heap has no more than there is")]
fn items_of_every_size_come_and_go_at_every_width() {
    for megabytes in [64, 8_192, 8_193, 32_768, 33_000, 65_536, 65_537, 131_073, 262_144, 524_288] {
        let mut shard = alone(options(megabytes * MIB, 1));
        for version in 0..4 {
            for key in 0..KEYS {
                let name = format!("key-{key}");
                let value = value(key, version);
                match (key + version) % 3 {
                    0 => drop(set(&mut shard, &name, &value).unwrap()),
                    1 => write_with_cas(&mut shard, &name, &value, u64::MAX - (key as u64)),
                    _ => write_as_it_comes(&mut shard, &name, &value),
                }
            }
            for key in 0..KEYS {
                let found = get(&mut shard, &format!("key-{key}"));
                assert!(found == Some(value(key, version)), "-m {megabytes}, key-{key}, version {version}");
            }
            assert_eq!(shard.check(NOW), Ok(()), "-m {megabytes}");
        }
        for key in 0..KEYS {
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

/// From 8 GiB on each doubling of the cache once cost every item up to twice the padding.
#[test]
#[cfg_attr(miri, ignore = "the heap has no more than there is")]
fn an_item_costs_the_same_in_a_large_cache() {
    let item_bytes = |megabytes: u64| {
        let mut shard = alone(options(megabytes * MIB, 1));
        let mut padded = 0;
        for bytes in 0..64 {
            set(&mut shard, &format!("key-{bytes:02}"), &vec![b'v'; bytes]).unwrap();
            let segments = shard.store().segments.lock();
            padded = segments.segments.iter().map(|segment| u64::from(segment.used)).sum();
        }
        padded / 64
    };
    let small = item_bytes(1_024);
    for megabytes in [8_192, 8_193, 32_768, 33_000, 65_536] {
        assert_eq!(item_bytes(megabytes), small, "-m {megabytes}");
    }
    let large = item_bytes(262_144);
    assert!(large <= small + 8, "{large}, {small}");
}

/// If `-m` is more than item refs can address with the widest unit, the server refuses to start.
#[test]
#[cfg_attr(miri, ignore = "the heap has no more than there is")]
fn a_limit_beyond_the_widest_unit_is_refused() {
    for bytes in [1 << 40, 1 << 62, u64::MAX] {
        let refused = Store::new(options(bytes, 1), Box::new(Quiet)).unwrap_err();
        assert_eq!(
            refused,
            StartError::AddressSpace { memory_limit: bytes, errno: nix::errno::Errno::ENOMEM }
        );
    }
}
