//! Tests of the flash tier over a device in memory: that values are where they should be and right, and that the books are right.

mod device;
mod idle;
mod parts;
mod spared;

use super::*;
use crate::fuzzing::flash::{MemoryDevice, Trouble};
use std::collections::HashMap;

const CHUNK: u64 = 64 << 10;

/// Options of a store with a tier.
pub(in crate::store) fn tiered(memory_limit: u64, flash_bytes: u64) -> Options {
    let flash = FlashOptions {
        files: vec![flash_bytes],
        page_bytes: 4 * CHUNK,
        chunk_bytes: CHUNK,
        item_bytes_min: 512,
        item_age: u32::MAX,
        promotes: true,
        part_bytes: 10_000,
    };
    Options { flash: Some(flash), ..options(memory_limit, 1) }
}

/// A store with a tier, and what it should hold.
struct Tiered {
    shard: Checked,
    device: MemoryDevice,
}

impl Tiered {
    fn new(options: Options) -> Self {
        Self::over(&store(options), MemoryDevice::default())
    }

    fn over(store: &Arc<Store>, device: MemoryDevice) -> Self {
        Self { shard: shard(store, 0), device }
    }

    fn flash(&self) -> Arc<Flash> {
        Arc::clone(self.shard.store().flash().unwrap())
    }

    fn totals(&self) -> FlashTotals {
        self.shard.store().flash_totals().unwrap()
    }

    fn set(&mut self, key: &str, value: &[u8]) {
        set(&mut self.shard, key, value).unwrap();
        self.work();
    }

    /// Does all work that the tier's thread and the rings have to do.
    fn work(&mut self) {
        let flash = self.flash();
        for _ in 0..1000 {
            self.device.work(&flash);
            if !self.shard.maintain(NOW) {
                return;
            }
        }
        panic!("it does not come to rest");
    }

    /// The value of `key`, from memory or flash.
    fn get(&mut self, key: &str) -> Option<Vec<u8>> {
        let place = match self.shard.fresh(NOW).find(key.as_bytes()) {
            Lookup::Hit(item) => match item.place() {
                None => return Some(item.value().to_vec()),
                Some(place) => {
                    item.record_access(NOW);
                    place
                }
            },
            _ => return None,
        };
        let flash = self.flash();
        self.device.load(&flash, key.as_bytes(), place).ok().map(|value| value.to_vec())
    }

    fn place(&mut self, key: &str) -> Option<Place> {
        match self.shard.fresh(NOW).find(key.as_bytes()) {
            Lookup::Hit(item) => item.place(),
            _ => None,
        }
    }
}

fn value(n: usize) -> Vec<u8> {
    let length = 600 + n * 37 % 3000;
    (0..length).map(|at| (n + at) as u8).collect()
}

#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn what_memory_has_no_room_for_is_on_flash() {
    let mut tiered = Tiered::new(tiered(4 << 20, 64 << 20));
    let count = 8000;
    for n in 0..count {
        tiered.set(&format!("key-{n}"), &value(n));
    }
    let totals = tiered.totals();
    assert!(totals.objects_used > 4000, "{totals:?}");
    assert_eq!(tiered.shard.store().totals().curr_items, count as u64);
    assert_eq!(tiered.shard.store().totals().evictions, 0);
    for n in 0..count {
        assert_eq!(tiered.get(&format!("key-{n}")), Some(value(n)), "{n}");
    }
}

/// Short items were once evicted by the thousand, beside longer ones for which there was room on flash.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn short_items_stay_while_longer_ones_can_make_room() {
    let mut tiered = Tiered::new(tiered(4 << 20, 64 << 20));
    let count = 4000;
    for n in 0..count {
        tiered.set(&format!("short-{n}"), &value(n)[..60]);
        tiered.set(&format!("key-{n}"), &value(n));
    }
    assert!(tiered.totals().objects_used > 2000, "{:?}", tiered.totals());
    assert_eq!(tiered.shard.store().totals().evictions, 0);
    // They may not take all of memory, though.
    for n in count..20 * count {
        tiered.set(&format!("short-{n}"), &value(n)[..60]);
    }
    assert!(tiered.shard.store().totals().evictions > 0);
    let kept = (0..count).filter(|n| tiered.get(&format!("key-{n}")).is_some()).count();
    assert!(kept > count / 2, "{kept}");
}

/// The oldest chunk makes room for the newest; what was read since it was written is written once more.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn a_full_device_keeps_what_is_read() {
    let mut tiered = Tiered::new(tiered(2 << 20, 4 << 20));
    let count = 12_000;
    for n in 0..count {
        tiered.set(&format!("key-{n}"), &value(n));
        if n >= 500 && n % 20 == 0 {
            for hot in 0..20 {
                assert_eq!(tiered.get(&format!("key-{hot}")), Some(value(hot)), "{hot} after {n}");
            }
        }
    }
    let totals = tiered.totals();
    assert!(totals.objects_evicted > 5000 && totals.rescued > 0 && totals.pages_evicted > 0, "{totals:?}");
    assert!(totals.dropped_unread > 5000 && totals.pages_evicted <= totals.pages_reclaimed, "{totals:?}");
    let mut found = 0;
    for n in 0..count {
        match tiered.get(&format!("key-{n}")) {
            Some(got) => {
                assert_eq!(got, value(n));
                found += 1;
            }
            None => assert!(n >= 20, "{n} was hot"),
        }
    }
    // Nothing that is named is gone.
    assert_eq!(found, tiered.shard.store().totals().curr_items);
    assert!(totals.bytes_used <= 4 << 20);
}

#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn overwrites_and_deletes_free_their_chunks() {
    let mut tiered = Tiered::new(tiered(2 << 20, 8 << 20));
    let mut model = HashMap::new();
    let mut random = fastrand::Rng::with_seed(3);
    for n in 0..30_000 {
        let key = format!("key-{}", random.usize(..3000));
        if random.u8(..4) == 0 {
            let remove = |_: Option<&Item<'_>>| (Edit::Remove, ());
            tiered.shard.fresh(NOW).edit(key.as_bytes(), &mut Data::None, remove).unwrap();
            model.remove(&key);
        } else {
            tiered.set(&key, &value(n));
            model.insert(key, n);
        }
    }
    let evicted = tiered.totals().objects_evicted + tiered.shard.store().totals().evictions;
    let mut missing = 0;
    for n in 0..3000 {
        let key = format!("key-{n}");
        match (model.get(&key), tiered.get(&key)) {
            (Some(&n), Some(got)) => assert_eq!(got, value(n)),
            (Some(_), None) => missing += 1,
            (None, got) => assert_eq!(got, None),
        }
    }
    assert!(missing <= evicted, "{missing} missing, {evicted} evicted");
}

#[test]
fn a_stub_keeps_what_its_item_had_and_gives_it_back() {
    let mut tiered = Tiered::new(tiered(2 << 20, 16 << 20));
    let flags = |_: Option<&Item<'_>>| {
        let put = Put {
            flags: 77,
            exptime: Timestamp(900),
            value: Value::Data,
            cas: None,
            stale: true,
            won: true,
            key_is_binary: true,
        };
        (Edit::Put(put), ())
    };
    let cas = tiered.shard.fresh(NOW).edit(b"one", &mut Data::Bytes(&value(5)), flags).unwrap().cas;
    let mut n = 0;
    while tiered.place("one").is_none() {
        tiered.set(&format!("key-{n}"), &value(n));
        n += 1;
    }
    for _ in 0..2 {
        let place = tiered.place("one");
        let mut fresh = tiered.shard.fresh(NOW);
        let Lookup::Hit(item) = fresh.find(b"one") else { panic!("it is gone") };
        let seen = (item.flags(), item.exptime(), item.cas(), item.stale(), item.won(), item.key_is_binary());
        assert_eq!(seen, (77, Timestamp(900), cas, true, true, true));
        assert_eq!(item.value_bytes(), value(5).len());
        drop(fresh);
        let Some(place) = place else { break };
        let flash = tiered.flash();
        let read = tiered.device.load(&flash, b"one", place).unwrap();
        let promoted = at_last(|| tiered.shard.fresh(NOW).promote(b"one", place, &read));
        assert_eq!(promoted, Ok(true));
        assert_eq!(tiered.shard.fresh(NOW).promote(b"one", place, &read), Ok(false));
    }
    assert_eq!((tiered.place("one"), tiered.get("one")), (None, Some(value(5))));
}

/// An append needs the old value and says so; an edit that only changes marks does not need it.
#[test]
fn an_edit_says_what_it_lacks() {
    let mut tiered = Tiered::new(tiered(2 << 20, 16 << 20));
    let mut n = 0;
    while tiered.place("key-0").is_none() {
        tiered.set(&format!("key-{n}"), &value(n));
        n += 1;
    }
    let place = tiered.place("key-0").unwrap();
    let mut edit = |edit: Edit, data: &[u8]| {
        let mut edit = Some(edit);
        let mut fresh = tiered.shard.fresh(NOW);
        let once = |_: Option<&Item<'_>>| (edit.take().unwrap(), ());
        let done = fresh.edit(b"key-0", &mut Data::Bytes(data), once).map(|_| ());
        drop(fresh);
        (done, tiered.shard.take_wanted())
    };
    let wanted = Some(Wanted { key: (*b"key-0").into(), place });
    let load = Err(EditError::Retry(Retry::Load));
    assert_eq!(edit(put(Value::OldThenData, Timestamp::NEVER), b"x"), (load, wanted.clone()));
    assert_eq!(edit(put(Value::DataThenOld, Timestamp::NEVER), b"x"), (load, wanted.clone()));
    assert_eq!(edit(Edit::Load, b""), (load, wanted));
    // A new version with the old value: it stays where it is.
    assert_eq!(edit(put(Value::Old, Timestamp(500)), b""), (Ok(()), None));
    assert_eq!(tiered.place("key-0"), Some(place));
    assert_eq!(tiered.get("key-0"), Some(value(0)));
    assert_eq!(tiered.shard.fresh(NOW).lose(b"key-0", place), Ok(true));
    assert_eq!(tiered.shard.fresh(NOW).lose(b"key-0", place), Ok(false));
    assert_eq!(tiered.get("key-0"), None);
}

#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn a_flush_empties_the_device() {
    let mut tiered = Tiered::new(tiered(2 << 20, 4 << 20));
    for round in 0..5 {
        for n in 0..3000 {
            tiered.set(&format!("key-{n}"), &value(n + round));
        }
        assert!(tiered.totals().objects_used > 500);
        tiered.shard.fresh(NOW).flush().unwrap();
        assert_eq!((tiered.totals().objects_used, tiered.totals().bytes_used), (0, 0));
        assert_eq!(tiered.get("key-7"), None);
        // But for the chunk that is open, and those that are being written.
        tiered.work();
        assert!(tiered.totals().pages_used <= 1, "{:?}", tiered.totals());
    }
}

/// Values for whose stubs there was no memory were once copied to chunks again and again, and chunks without a value were
/// written.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn what_gets_no_stub_is_not_written() {
    let mut options = Options { item_size_max: CHUNK - 1000, ..tiered(16 << 20, 64 << 20) };
    options.flash.as_mut().unwrap().item_age = 10;
    let mut tiered = Tiered::new(options);
    for n in 0..200 {
        tiered.set(&format!("large-{n}"), &vec![n as u8; 50_000]);
    }
    assert_eq!(tiered.totals().objects_written, 0);
    // Not a byte of what is in use above it is tolerated.
    tiered.shard.write_txn().segments.limit = 1 << 20;
    let now = Timestamp(NOW.0 + 20);
    for _ in 0..100 {
        tiered.shard.maintain(now);
        let flash = tiered.flash();
        tiered.device.work(&flash);
    }
    let totals = tiered.totals();
    assert_eq!(totals.objects_written, totals.objects_used, "{totals:?}");
    let is_right = |tiered: &mut Tiered, n: usize| {
        tiered.get(&format!("large-{n}")).is_none_or(|value| value == vec![n as u8; 50_000])
    };
    assert!((0..200).all(|n| is_right(&mut tiered, n)));
}

/// With -M what was accepted stays: when the device is full, no more values are moved to it.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn nothing_leaves_a_device_without_eviction() {
    let mut options = Options { evict: false, ..tiered(8 << 20, 2 << 20) };
    options.flash.as_mut().unwrap().item_age = 10;
    let mut tiered = Tiered::new(options);
    let mut count = 0;
    while set(&mut tiered.shard, &format!("key-{count}"), &value(count)).is_ok() {
        count += 1;
    }
    let now = Timestamp(NOW.0 + 20);
    for _ in 0..300 {
        tiered.shard.maintain(now);
        let flash = tiered.flash();
        tiered.device.work(&flash);
    }
    let totals = tiered.totals();
    assert!(totals.bytes_used > 1 << 20 && totals.objects_evicted == 0, "{totals:?}");
    for n in 0..count {
        assert_eq!(tiered.get(&format!("key-{n}")), Some(value(n)), "{n}");
    }
}

/// Large items go too, and those of every size between.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn values_of_all_sizes_go_to_flash() {
    let mut tiered = Tiered::new(Options { item_size_max: CHUNK - 1000, ..tiered(8 << 20, 64 << 20) });
    let sized = |n: usize| -> Vec<u8> { (0..n * 211 % 60_000).map(|at| (at * 7 + n) as u8).collect() };
    for n in 0..1500 {
        tiered.set(&format!("key-{n}"), &sized(n));
    }
    assert!(tiered.totals().objects_used > 500);
    for n in 0..1500 {
        assert_eq!(tiered.get(&format!("key-{n}")), Some(sized(n)), "{n}");
    }
}
