//! Tests of flash devices that fail, and of devices with values of an earlier process.

use super::super::disk::{At, Disk};
use super::*;

/// Values of chunks that cannot be written are missing, not wrong; after some failures no more values are moved to flash.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn a_device_that_fails_is_taken_out_of_use() {
    let mut tiered = Tiered::new(tiered(2 << 20, 16 << 20));
    tiered.device.trouble = Trouble::Writes;
    let count = 6000;
    for n in 0..count {
        tiered.set(&format!("key-{n}"), &value(n));
    }
    let totals = tiered.totals();
    assert!(totals.is_out_of_use && totals.write_errors == 8 && totals.lost > 0, "{totals:?}");
    let live = (0..count).filter(|&n| {
        let got = tiered.get(&format!("key-{n}"));
        assert!(got.as_ref().is_none_or(|got| *got == value(n)));
        got.is_some()
    });
    assert_eq!(live.count() as u64, tiered.shard.store().totals().curr_items);
    // One failure now and then is no reason.
    let mut tiered = Tiered::new(self::tiered(2 << 20, 16 << 20));
    for n in 0..count {
        tiered.device.trouble = if n % 500 == 499 { Trouble::Writes } else { Trouble::None };
        tiered.set(&format!("key-{n}"), &value(n));
    }
    assert!(!tiered.totals().is_out_of_use);
}

/// Chunks that cannot be read back are given up; their stubs miss.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn a_chunk_that_cannot_be_read_is_given_up() {
    let mut tiered = Tiered::new(tiered(2 << 20, 2 << 20));
    tiered.device.trouble = Trouble::Reads;
    for n in 0..8000 {
        tiered.set(&format!("key-{n}"), &value(n));
    }
    assert!(tiered.totals().read_errors > 0);
    tiered.device.trouble = Trouble::None;
    for n in 0..8000 {
        let got = tiered.get(&format!("key-{n}"));
        assert!(got.is_none_or(|got| got == value(n)), "{n}");
    }
}

/// The next process finds the values on the device. Values that had not been written when this one was killed are gone; so are
/// all if the device is another one.
#[test]
#[cfg_attr(miri, ignore = "Miri maps no files")]
fn a_restart_keeps_what_is_on_flash() {
    let disk = Disk::new();
    let options = || tiered(4 << 20, 16 << 20);
    let count = 6000;
    let mut before = Tiered::over(&disk.start(options(), At::seconds_later(0)), MemoryDevice::default());
    for n in 0..count {
        before.set(&format!("key-{n}"), &value(n));
    }
    for n in (0..count).step_by(7) {
        let remove = |_: Option<&Item<'_>>| (Edit::Remove, ());
        before.shard.fresh(NOW).edit(format!("key-{n}").as_bytes(), &mut Data::None, remove).unwrap();
    }
    let is_deleted = |n: usize| n.is_multiple_of(7);
    let on_flash = before.totals().objects_used;
    assert!(on_flash > 2000);
    // Killed: two chunks at most are in memory.
    let Tiered { shard, device } = before;
    drop(shard);
    let mut killed = Tiered::over(&disk.start(options(), At::seconds_later(1)), device);
    let lost = on_flash - killed.totals().objects_used;
    assert!(lost > 0 && lost < 2 * CHUNK / 600, "{lost} lost");
    let mut missing = 0;
    for n in 0..count {
        match killed.get(&format!("key-{n}")) {
            Some(got) => assert!(!is_deleted(n) && got == value(n), "{n}"),
            None => missing += u64::from(!is_deleted(n)),
        }
    }
    assert_eq!(missing, lost);
    // It goes on, and stops cleanly.
    for n in 0..count {
        killed.set(&format!("key-{n}"), &value(n + 1));
    }
    killed.flash().seal();
    killed.work();
    let on_flash = killed.totals().objects_used;
    let Tiered { shard, device } = killed;
    drop(shard);
    let mut stopped = Tiered::over(&disk.start(options(), At::seconds_later(2)), device);
    assert_eq!(stopped.totals().objects_used, on_flash);
    for n in 0..count {
        assert_eq!(stopped.get(&format!("key-{n}")), Some(value(n + 1)), "{n}");
    }
    // Other files, and none.
    drop(stopped);
    let mut other =
        Tiered::over(&disk.start(tiered(4 << 20, 8 << 20), At::seconds_later(3)), MemoryDevice::default());
    assert_eq!(other.totals().objects_used, 0);
    let in_memory =
        (0..count).filter(|n| other.get(&format!("key-{n}")) == Some(value(n + 1))).count() as u64;
    assert_eq!(in_memory, other.shard.store().totals().curr_items);
    assert!(in_memory > 500);
    drop(other);
    let untiered = disk.start(Options { flash: None, ..options() }, At::seconds_later(4));
    assert_eq!(untiered.totals().curr_items, in_memory);
    drop(untiered);
    let again = disk.start(options(), At::seconds_later(5));
    assert_eq!(again.flash_totals().map(|totals| totals.objects_used), Some(0));
}
