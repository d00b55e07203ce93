//! Tests of long values on their way to flash, which are copied a part at a time, and of what others do meanwhile.

use super::super::disk::{At, Disk};
use super::*;
use crate::limits::FLASH_PART_BYTES;

const LONG: usize = 50_000;
/// Parts of a long value.
const PARTS: usize = 5;

fn long(n: usize) -> Vec<u8> {
    (0..LONG).map(|at| (at * 7 + n) as u8).collect()
}

fn long_tier() -> Options {
    Options { item_size_max: CHUNK - 1000, ..tiered(16 << 20, 64 << 20) }
}

/// A store in which the value of `long` is on its way to flash, and another one is there.
fn under_way() -> Tiered {
    let mut tiered = Tiered::new(long_tier());
    tiered.set("first", &value(1));
    assert!(tiered.shard.fresh(NOW).demote(b"first"));
    tiered.set("long", &long(1));
    assert!(tiered.shard.fresh(NOW).demote_part(Some(b"long")));
    assert!(tiered.shard.fresh(NOW).demote_part(None));
    tiered
}

impl Tiered {
    /// Copies the rest of the value that is on its way to flash; returns how many parts that took.
    fn copy_rest(&mut self) -> usize {
        let mut parts = 1;
        while self.shard.fresh(NOW).demote_part(None) {
            parts += 1;
        }
        parts
    }

    fn delete(&mut self, key: &str) {
        let remove = |_: Option<&Item<'_>>| (Edit::Remove, ());
        self.shard.fresh(NOW).edit(key.as_bytes(), &mut Data::None, remove).unwrap();
    }

    fn has_only_first(&self) -> bool {
        self.totals().objects_written == 1
    }
}

/// A value of 8 MB was once copied as a whole under the writer lock, and nobody could write meanwhile.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn a_transaction_copies_a_part_of_a_long_value() {
    let mut options = Options { item_size_max: 2 << 20, ..tiered(64 << 20, 64 << 20) };
    let flash = options.flash.as_mut().unwrap();
    (flash.page_bytes, flash.chunk_bytes, flash.part_bytes) = (4 << 20, 4 << 20, FLASH_PART_BYTES);
    flash.item_age = 10;
    let mut tiered = Tiered::new(options);
    let values: Vec<Vec<u8>> = (0..10).map(|n| vec![n; (1 << 20) + usize::from(n)]).collect();
    for (n, value) in values.iter().enumerate() {
        tiered.set(&format!("long-{n}"), value);
    }
    let now = Timestamp(NOW.0 + 20);
    let copied = |tiered: &mut Tiered| {
        let moved = tiered.totals().bytes_used as usize;
        let txn = tiered.shard.write_txn();
        moved + txn.segments.transfer.as_ref().map_or(0, |transfer| transfer.copied)
    };
    let mut turns = 0;
    while tiered.totals().objects_used < 10 {
        let before = copied(&mut tiered);
        tiered.shard.maintain(now);
        let part = copied(&mut tiered) - before;
        assert!(part <= FLASH_PART_BYTES + 100, "{part} bytes");
        let flash = tiered.flash();
        tiered.device.work(&flash);
        turns += 1;
        assert!(turns < 400);
    }
    assert!(turns >= 160, "{turns}");
    for (n, value) in values.iter().enumerate() {
        assert_eq!(tiered.get(&format!("long-{n}")).as_ref(), Some(value));
    }
}

#[test]
fn a_value_stays_in_memory_until_all_of_it_is_copied() {
    let mut tiered = under_way();
    assert_eq!((tiered.place("long"), tiered.get("long")), (None, Some(long(1))));
    assert!(tiered.has_only_first());
    // Another one waits for its turn.
    tiered.set("other", &long(2));
    assert_eq!(tiered.totals().objects_used, 2, "a ring that has time goes on with it");
    assert!(tiered.place("long").is_some());
    assert!(tiered.shard.fresh(NOW).demote(b"other"));
    assert_eq!((tiered.get("long"), tiered.get("other")), (Some(long(1)), Some(long(2))));
    tiered.flash().seal();
    tiered.work();
    assert_eq!((tiered.get("long"), tiered.get("other")), (Some(long(1)), Some(long(2))));
    assert_eq!((tiered.copy_rest(), tiered.totals().objects_written), (1, 3));
}

/// If an item is removed while its value is being copied, nothing is moved: its memory may already hold another item, which must
/// not get the place on flash that was meant for the first.
#[test]
fn an_item_that_goes_meanwhile_is_not_moved() {
    let deleted: fn(&mut Tiered) = |tiered| tiered.delete("long");
    let flushed: fn(&mut Tiered) = |tiered| tiered.shard.fresh(NOW).flush().unwrap();
    let overwritten: fn(&mut Tiered) = |tiered| assert!(set(&mut tiered.shard, "long", b"short").is_ok());
    for end in [deleted, flushed, overwritten] {
        for n in 2..5 {
            let mut tiered = under_way();
            end(&mut tiered);
            if n > 2 {
                // Its memory is free.
                tiered.delete("long");
                tiered.work();
            }
            set(&mut tiered.shard, "long", &long(n)).unwrap();
            assert_eq!(tiered.copy_rest(), 1);
            assert_eq!((tiered.place("long"), tiered.get("long")), (None, Some(long(n))));
            assert!(tiered.has_only_first());
            assert!(tiered.shard.fresh(NOW).demote(b"long"), "its room in the chunk is used again");
            assert_eq!(tiered.get("long"), Some(long(n)));
            tiered.flash().seal();
            tiered.work();
            assert_eq!(tiered.get("long"), Some(long(n)));
            assert_eq!(tiered.totals().objects_written, 2);
        }
    }
}

#[test]
fn what_changes_of_an_item_meanwhile_is_its_stubs() {
    let mut tiered = under_way();
    let touch = |_: Option<&Item<'_>>| {
        let amend = UpdateMetadata { exptime: Some(Timestamp(900)), stale: Some(true), won: Some(true) };
        (Edit::UpdateMetadata(amend), ())
    };
    tiered.shard.fresh(NOW).edit(b"long", &mut Data::None, touch).unwrap();
    assert_eq!(tiered.copy_rest(), PARTS - 2);
    let mut fresh = tiered.shard.fresh(NOW);
    let Lookup::Hit(item) = fresh.find(b"long") else { panic!("it is gone") };
    assert!(item.is_stub());
    assert_eq!((item.exptime(), item.stale(), item.won()), (Timestamp(900), true, true));
}

#[test]
fn what_expires_meanwhile_is_not_moved() {
    let mut tiered = under_way();
    tiered.delete("long");
    let mut fresh = tiered.shard.fresh(NOW);
    let expires = |_: Option<&Item<'_>>| (put(Value::Data, Timestamp(NOW.0 + 5)), ());
    fresh.edit(b"long", &mut Data::Bytes(&long(1)), expires).unwrap();
    assert!(fresh.demote_part(Some(b"long")));
    drop(fresh);
    let mut later = tiered.shard.fresh(Timestamp(NOW.0 + 6));
    while later.demote_part(None) {}
    drop(later);
    assert!(tiered.has_only_first());
}

/// The value stays in memory if its chunk is sealed meanwhile, as at the end of the process, or the device is taken out of use.
#[test]
fn a_chunk_that_goes_meanwhile_leaves_the_value_in_memory() {
    let sealed: fn(&mut Tiered) = |tiered| tiered.flash().seal();
    let written: fn(&mut Tiered) = |tiered| {
        let flash = tiered.flash();
        flash.seal();
        tiered.device.work(&flash);
    };
    let failed: fn(&mut Tiered) = |tiered| {
        let flash = tiered.flash();
        flash.seal();
        tiered.device.trouble = Trouble::Writes;
        tiered.device.work(&flash);
        tiered.device.trouble = Trouble::None;
    };
    for end in [sealed, written, failed] {
        for parts_left in [PARTS - 2, 1] {
            let mut tiered = under_way();
            for _ in parts_left..PARTS - 2 {
                assert!(tiered.shard.fresh(NOW).demote_part(None));
            }
            end(&mut tiered);
            assert_eq!(tiered.copy_rest(), 1);
            assert_eq!((tiered.place("long"), tiered.get("long")), (None, Some(long(1))));
            assert!(tiered.has_only_first());
            assert!(tiered.shard.fresh(NOW).demote(b"long"));
            tiered.flash().seal();
            tiered.work();
            assert_eq!(tiered.get("long"), Some(long(1)));
        }
    }
    let mut tiered = under_way();
    assert!(tiered.flash().take_out_of_use());
    assert_eq!(tiered.copy_rest(), 1);
    assert!(!tiered.shard.fresh(NOW).demote(b"long"));
    assert_eq!(tiered.get("long"), Some(long(1)));
    assert!(tiered.has_only_first());
}

/// A chunk without a record was once written all the same, with a length of 0.
#[test]
fn a_chunk_without_values_is_not_written() {
    let mut tiered = Tiered::new(Options { item_size_max: 2 * CHUNK, ..long_tier() });
    tiered.set("long", &long(1));
    // Longer than a chunk, with what stands in front of it.
    tiered.set("longest", &vec![7; CHUNK as usize - 8]);
    for _ in 0..2 {
        assert!(!tiered.shard.fresh(NOW).demote(b"longest"));
        assert_eq!(tiered.totals().pages_used, 0);
    }
    assert!(tiered.shard.fresh(NOW).demote_part(Some(b"long")));
    let flash = tiered.flash();
    flash.seal();
    assert!(!tiered.device.work(&flash));
    assert_eq!(tiered.copy_rest(), PARTS - 1, "the chunk is still open");
    flash.seal();
    assert!(tiered.device.work(&flash));
    assert_eq!(tiered.get("long"), Some(long(1)));
}

/// The item whose value is on its way when the device is taken out of use is the next to be evicted.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn the_evictor_goes_on_without_the_device() {
    let mut options = Options { item_size_max: 3 * CHUNK, ..tiered(16 << 20, 64 << 20) };
    let flash = options.flash.as_mut().unwrap();
    (flash.page_bytes, flash.chunk_bytes) = (16 * CHUNK, 4 * CHUNK);
    let mut tiered = Tiered::new(options);
    let longer = |n: usize| long(n).repeat(3);
    let mut count = 0;
    while !tiered.shard.write_txn().has_transfer() {
        set(&mut tiered.shard, &format!("long-{count}"), &longer(count)).unwrap();
        count += 1;
        assert!(count < 200);
    }
    tiered.flash().take_out_of_use();
    let moved = tiered.totals().objects_used;
    for _ in 0..100 {
        set(&mut tiered.shard, &format!("long-{count}"), &longer(count)).unwrap();
        count += 1;
    }
    assert!(tiered.shard.store().totals().evictions > 50);
    assert!(tiered.totals().objects_used <= moved);
    for n in 0..count {
        let found = tiered.get(&format!("long-{n}"));
        assert!(found.is_none_or(|found| found == longer(n)), "{n}");
    }
}

/// Values that were read are written once more when their chunk has to go, however long they are; if the copy fails, they are
/// evicted.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn a_full_device_keeps_long_values_that_are_read() {
    for spoils in [false, true] {
        let mut options = Options { item_size_max: CHUNK - 1000, ..tiered(8 << 20, 4 << 20) };
        options.flash.as_mut().unwrap().part_bytes = 1000;
        let mut tiered = Tiered::new(options);
        // Large items: shorter ones would stay in segments, and never need to go to flash.
        let sized = |n: usize| -> Vec<u8> { long(n)[..13_200 + n * 37 % 11_800].to_vec() };
        let (mut spoilt, mut are_hot) = (0, false);
        for n in 0..3000 {
            set(&mut tiered.shard, &format!("key-{n}"), &sized(n)).unwrap();
            if spoils {
                let flash = tiered.flash();
                tiered.device.work(&flash);
                for _ in 0..4 {
                    let mut txn = tiered.shard.write_txn();
                    txn.empty_chunks(1);
                    if txn.segments.transfer.as_ref().is_some_and(|it| it.leaving.is_some()) && n % 2 == 0 {
                        flash.seal();
                        spoilt += 1;
                    }
                }
            }
            tiered.work();
            are_hot |= tiered.place("key-0").is_some();
            if are_hot && n % 20 == 0 {
                // Of a chunk, half may be written once more.
                for hot in (0..50).step_by(5) {
                    let found = tiered.get(&format!("key-{hot}"));
                    assert!(found.is_none_or(|found| found == sized(hot)), "{hot} after {n}");
                }
            }
        }
        let totals = tiered.totals();
        assert!(totals.objects_evicted > 200 && totals.rescued > 20, "{totals:?}");
        assert_eq!(spoilt > 0, spoils);
        let found = (0..3000).filter(|n| {
            let found = tiered.get(&format!("key-{n}"));
            found.is_some_and(|found| found == sized(*n))
        });
        assert_eq!(found.count() as u64, tiered.shard.store().totals().curr_items);
    }
}

/// The process is killed with a value half-way: it is in memory, and whole.
#[test]
#[cfg_attr(miri, ignore = "Miri maps no files")]
fn a_restart_finds_what_was_under_way_in_memory() {
    let disk = Disk::new();
    let mut before = Tiered::over(&disk.start(long_tier(), At::seconds_later(0)), MemoryDevice::default());
    before.set("first", &long(0));
    assert!(before.shard.fresh(NOW).demote(b"first"));
    before.set("long", &long(1));
    assert!(before.shard.fresh(NOW).demote_part(Some(b"long")));
    let flash = before.flash();
    flash.seal();
    before.device.work(&flash);
    let Tiered { shard, device } = before;
    drop(shard);
    let mut killed = Tiered::over(&disk.start(long_tier(), At::seconds_later(1)), device);
    assert_eq!((killed.place("long"), killed.get("long")), (None, Some(long(1))));
    assert!(killed.place("first").is_some());
    assert_eq!(killed.get("first"), Some(long(0)));
    assert_eq!(killed.copy_rest(), 1);
}
