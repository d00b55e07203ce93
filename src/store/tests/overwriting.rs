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

/// The fields of an item that a copy has to have as well; `None` if the key has no item.
fn fields(shard: &mut Shard, key: &str) -> Option<(Vec<u8>, String)> {
    match shard.fresh(NOW).find(key.as_bytes()) {
        Lookup::Hit(item) => Some((item.value().to_vec(), format!("{:?} {}", item.fields(), item.fetched()))),
        _ => None,
    }
}

/// Cleaning a segment copies its live items as they are, except that a header which was written before its fields were known
/// loses the ones that it does not need.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn cleaning_keeps_every_field() {
    let mut shard = alone(options(8 << 20, 1));
    let mut keys = Vec::new();
    for (flags, cas, bytes, uses) in
        [(0, None, 0, 0), (7, None, 1_000, 1), (u32::MAX, Some(u64::MAX), 3, 3), (0, Some(1 << 48), 9, 2)]
    {
        let (exptime, is_odd) = (Timestamp(9_000 + uses), uses % 2 == 1);
        let key = format!("kept-{uses}");
        let new = Put {
            flags,
            exptime,
            value: Value::Data,
            cas,
            stale: is_odd,
            won: !is_odd,
            key_is_binary: is_odd,
        };
        let mut new = Some(new);
        let decide = |_: Option<&Item<'_>>| (new.take().map_or(Edit::Keep, Edit::Put), ());
        shard.fresh(NOW).edit(key.as_bytes(), &mut Data::Bytes(&vec![b'k'; bytes]), decide).unwrap();
        for _ in 0..uses {
            let mut fresh = shard.fresh(NOW);
            let Lookup::Hit(item) = fresh.find(key.as_bytes()) else { panic!("{key} is there") };
            item.record_access(Timestamp(NOW.0 + uses));
        }
        keys.push(key);
    }
    let mut reservation = shard.fresh(NOW).reserve(b"received", 20, 0).unwrap();
    reservation.fill(&[b'r'; 20]);
    let edit = |_: Option<&Item<'_>>| (put(Value::Data, Timestamp::NEVER), ());
    shard.fresh(NOW).edit(b"received", &mut Data::Reservation(reservation), edit).unwrap();
    keys.push("received".to_owned());
    let before: Vec<_> = keys.iter().map(|key| fields(&mut shard, key)).collect();
    let lengths = |shard: &mut Shard| -> Vec<usize> {
        let length = |key: &String| match shard.fresh(NOW).find(key.as_bytes()) {
            Lookup::Hit(item) => item.layout().bytes(),
            _ => 0,
        };
        keys.iter().map(length).collect()
    };
    let mut long = lengths(&mut shard);
    let mut random = fastrand::Rng::with_seed(3);
    for _ in 0..200_000 {
        set(&mut shard, &format!("other-{}", random.u32(..45_000)), &[b'o'; 100]).unwrap();
    }
    assert!(shard.store().totals().moves_within_lru > 30_000, "segments are cleaned");
    assert_eq!(shard.store().totals().evictions, 0);
    let after: Vec<_> = keys.iter().map(|key| fields(&mut shard, key)).collect();
    assert_eq!(before, after);
    long[4] -= 12;
    assert_eq!(lengths(&mut shard), long);
}
