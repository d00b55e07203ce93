//! Tests of a restart: a process ends in any way, and the next one goes on with its memory file.

use super::disk::{At, Disk, UNIX_NOW};
use super::*;
use crate::store::region::file_space::LEFT;
use std::fs::File;

fn outcome(store: &Store) -> RestoreOutcome {
    store.restored().unwrap().outcome.clone()
}

/// Everything that can be found in the store: by key, the value and the CAS unique.
fn contents(shard: &mut Shard, now: Timestamp) -> std::collections::BTreeMap<Vec<u8>, (Vec<u8>, u64)> {
    let mut found = std::collections::BTreeMap::new();
    let mut walk = Walk::default();
    let mut fresh = shard.fresh(now);
    while fresh.walk(&mut walk, |item| {
        found.insert(item.key().to_vec(), (item.value().to_vec(), item.cas()));
    }) {}
    found
}

fn small() -> Options {
    options(4 << 20, 1)
}

#[test]
#[cfg_attr(miri, ignore = "Miri maps no files")]
fn what_was_stored_is_there_for_the_next_process() {
    let disk = Disk::new();
    let before = {
        let store = disk.start(small(), At::seconds_later(0));
        assert_eq!(outcome(&store), RestoreOutcome::New);
        let mut shard = shard(&store, 0);
        for n in 0..5_000 {
            set(&mut shard, &format!("key-{n}"), format!("value-{n}").as_bytes()).unwrap();
        }
        for n in 0..20 {
            set(&mut shard, &format!("large-{n}"), &vec![n; 20_000 + 1_000 * usize::from(n)]).unwrap();
        }
        for n in (0..5_000).step_by(3) {
            shard
                .fresh(NOW)
                .edit(format!("key-{n}").as_bytes(), &mut Data::None, |_| (Edit::Remove, ()))
                .unwrap();
        }
        contents(&mut shard, NOW)
    };
    assert!(before.len() > 3_000);
    for (rings, replicas) in [(1, 1), (4, 4), (4, 2), (3, 1)] {
        let store = disk.start(Options { replicas, ..options(4 << 20, rings) }, At::seconds_later(1));
        assert_eq!(outcome(&store), RestoreOutcome::Restored);
        let restored = store.restored().unwrap();
        assert_eq!(restored.items, before.len() as u64);
        let mut shards: Vec<Checked> = (0..rings).map(|ring| shard(&store, ring)).collect();
        for shard in &mut shards {
            assert_eq!(shard.check(NOW), Ok(()));
            assert!(contents(shard, NOW) == before);
        }
        let totals = store.totals();
        assert_eq!((totals.curr_items, totals.total_items), (before.len() as u64, 0));
        let next = set(&mut shards[0], "key-1", b"value-1").unwrap();
        assert!(before.values().all(|(_, cas)| *cas < next));
        let same = |_: Option<&Item<'_>>| {
            (
                Edit::Put(Put {
                    flags: 0,
                    exptime: Timestamp::NEVER,
                    value: Value::Data,
                    cas: Some(before[&b"key-1"[..]].1),
                    stale: false,
                    won: false,
                    key_is_binary: false,
                }),
                (),
            )
        };
        for shard in &mut shards[1..] {
            shard.fresh(NOW);
        }
        shards[0].fresh(NOW).edit(b"key-1", &mut Data::Bytes(b"value-1"), same).unwrap();
        for shard in &mut shards[1..] {
            shard.fresh(NOW);
        }
    }
}

/// A file with a few items, left behind by a process that was stopped cleanly if `is_clean`, else killed.
fn left_behind(is_clean: bool) -> Disk {
    let disk = Disk::new();
    let store = disk.start(small(), At::seconds_later(0));
    let mut shard = shard(&store, 0);
    for n in 0..100 {
        set(&mut shard, &format!("key-{n}"), b"value").unwrap();
    }
    set(&mut shard, "large", &vec![b'l'; 50_000]).unwrap();
    if is_clean {
        shard.is_spoiled = true;
        store.close_cleanly().unwrap();
    }
    disk
}

fn assert_rejected(disk: &Disk, options: Options, at: At, why: &str) {
    let store = disk.start(options, at);
    match outcome(&store) {
        RestoreOutcome::Rejected(fault) => assert!(fault.contains(why), "{fault}, not {why}"),
        other => panic!("{other:?}, not {why}"),
    }
    let mut shard = shard(&store, 0);
    assert_eq!(store.totals().curr_items, 0);
    set(&mut shard, "key", b"value").unwrap();
}

#[test]
#[cfg_attr(miri, ignore = "Miri maps no files")]
fn a_file_that_does_not_fit_is_emptied_and_used() {
    let later = At::seconds_later(9);
    assert_rejected(&left_behind(false), options(5 << 20, 1), later, "-m was 4 MB, and is 5");
    assert_rejected(
        &left_behind(false),
        Options { item_size_max: 4096, ..small() },
        later,
        "-I was 1048576 bytes",
    );
    let rebooted = At { boot: 2, ..later };
    assert_rejected(&left_behind(false), small(), rebooted, "not been stopped cleanly");
    let bytes = left_behind(false).bytes();
    assert_rejected(&Disk::with(&bytes[..bytes.len() - 4096]), small(), later, "bytes long");
    assert_rejected(&Disk::with(&bytes[..4096]), small(), later, "bytes long");
    let longer = [&bytes[..], &[0; 4096]].concat();
    assert_rejected(&Disk::with(&longer), small(), later, "bytes long");
    let spoiled = |at: usize| {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1;
        Disk::with(&bytes)
    };
    assert_rejected(&spoiled(8), small(), later, "layout version");
    assert_rejected(&spoiled(48), small(), later, "superblock is damaged");
    // The last byte of the last second, of the reserved CAS uniques, of the flushes and of the due flush.
    for word in 12..=15 {
        let mut bytes = bytes.clone();
        bytes[word * 8 + 7] = 0xb7;
        assert_rejected(&Disk::with(&bytes), small(), later, "superblock is out of range");
    }
    // The header of segment 1.
    assert_rejected(&spoiled(4096 + 32 + 8), small(), later, "header of segment 1 is damaged");
}

#[test]
#[cfg_attr(miri, ignore = "Miri maps no files")]
fn a_clean_stop_outlives_the_machine() {
    let disk = left_behind(true);
    let rebooted = At { boot: 2, ..At::seconds_later(9) };
    for _ in 0..2 {
        let store = disk.start(small(), rebooted);
        assert_eq!((outcome(&store), store.totals().curr_items), (RestoreOutcome::Restored, 101));
    }
}

#[test]
#[cfg_attr(miri, ignore = "Miri maps no files")]
fn what_is_not_ours_is_left_alone() {
    for bytes in [&b"something else"[..], &vec![b'x'; 100_000], &[0; 10_000]] {
        let disk = Disk::new();
        disk.file.set_len(bytes.len() as u64).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&disk.file, bytes, 0).unwrap();
        let error = disk.open(&small(), At::seconds_later(0)).unwrap_err();
        assert!(matches!(error, MemoryFileError::Foreign), "{error}");
        assert!(disk.bytes() == bytes);
    }
    let device = File::open("/dev/null").unwrap();
    let occasion = Occasion {
        memory_limit: 4 << 20,
        item_size_max: 1 << 20,
        boot_id: [1; 16],
        unix_now: 7,
        address_space: None,
    };
    assert!(matches!(MemoryFile::open(device, &occasion), Err(MemoryFileError::NotAFile)));
}

/// Over restarts time goes on by the wall clock, and never back: what has expired does not come back.
#[test]
#[cfg_attr(miri, ignore = "Miri maps no files")]
fn expiry_goes_on_by_the_clock_and_never_back() {
    let disk = Disk::new();
    {
        let store = disk.start(small(), At::seconds_later(0));
        let mut shard = shard(&store, 0);
        for at in [50, 100, 200] {
            set_at(&mut shard, NOW, &format!("at-{at}"), b"value", Timestamp(at)).unwrap();
        }
        set(&mut shard, "never", b"value").unwrap();
        shard.fresh(Timestamp(60));
    }
    for (unix_now, now, items) in
        [(UNIX_NOW - 1_000, 60, 3), (UNIX_NOW - 950, 110, 2), (UNIX_NOW + 10, 1_070, 1)]
    {
        let at = At { unix_now, boot: 1 };
        let memory_file = disk.open(&small(), at).unwrap();
        assert_eq!(memory_file.now(), Timestamp(now));
        assert_eq!(memory_file.unix_start() + u64::from(now), unix_now);
        let store = disk.start(small(), at);
        assert_eq!((store.totals().curr_items, store.now()), (items, Timestamp(now)));
        let mut shard = shard(&store, 0);
        assert_eq!(shard.check(Timestamp(now)), Ok(()));
        assert_eq!(get(&mut shard, "never").as_deref(), Some(&b"value"[..]));
    }
}

#[test]
#[cfg_attr(miri, ignore = "Miri maps no files")]
fn a_flush_stays_a_flush() {
    let disk = left_behind(false);
    {
        let store = disk.start(small(), At::seconds_later(1));
        let mut shard = shard(&store, 0);
        // Begun before the flush, published after it.
        let mut reservation = shard.fresh(NOW).reserve(b"received", 6_000, u32::MAX).unwrap();
        let mut large = shard.fresh(NOW).reserve(b"received-large", 60_000, u32::MAX).unwrap();
        shard.fresh(NOW).flush().unwrap();
        assert_eq!(shard.check(NOW), Ok(()));
        set(&mut shard, "new", b"value").unwrap();
        reservation.fill(&[b'r'; 6_000]);
        large.fill(&vec![b'l'; 60_000]);
        for (key, reservation) in [("received", reservation), ("received-large", large)] {
            let edit = |_: Option<&Item<'_>>| (put(Value::Data, Timestamp::NEVER), ());
            shard.fresh(NOW).edit(key.as_bytes(), &mut Data::Reservation(reservation), edit).unwrap();
        }
        assert_eq!(shard.check(NOW), Ok(()));
    }
    {
        let store = disk.start(small(), At::seconds_later(2));
        let mut shard = shard(&store, 0);
        assert_eq!(store.totals().curr_items, 3);
        assert_eq!(get(&mut shard, "received").as_deref(), Some(&[b'r'; 6_000][..]));
        assert_eq!(get(&mut shard, "received-large").as_deref(), Some(&vec![b'l'; 60_000][..]));
        shard.fresh(Timestamp(4)).flush_at(Timestamp(30));
    }
    {
        let store = disk.start(small(), At::seconds_later(3));
        assert_eq!(store.totals().curr_items, 3, "it is not due yet");
        let mut shard = shard(&store, 0);
        assert_eq!(shard.check(Timestamp(5)), Ok(()));
        shard.fresh(Timestamp(30));
        assert_eq!(store.totals().curr_items, 0);
        set(&mut shard, "newer", b"value").unwrap();
        shard.fresh(Timestamp(30)).flush_at(Timestamp(100));
    }
    let store = disk.start(small(), At::seconds_later(110));
    assert_eq!(store.totals().curr_items, 0, "it was due while nobody was there");
    let mut shard = shard(&store, 0);
    set(&mut shard, "newest", b"value").unwrap();
    assert_eq!(shard.check(Timestamp(112)), Ok(()));
}

/// After a restart, queues, hits and last accesses are as they were, so that the next victims are the same.
#[test]
#[cfg_attr(miri, ignore = "Miri maps no files")]
fn the_order_of_eviction_survives() {
    let value = vec![b'v'; 900];
    let run = |restarts: bool| {
        let disk = Disk::new();
        let mut seconds = 0;
        let mut store = disk.start(small(), At::seconds_later(0));
        let mut holder = Some(shard(&store, 0));
        for round in 0..6 {
            let shard = holder.as_mut().unwrap();
            for n in 0..1_500 {
                set(shard, &format!("key-{round}-{n}"), &value).unwrap();
                if n % 3 == 0
                    && let Lookup::Hit(item) = shard.fresh(NOW).find(format!("key-{round}-{n}").as_bytes())
                {
                    item.record_access(NOW);
                }
                if n % 100 == 0 {
                    set(shard, &format!("large-{round}-{n}"), &vec![b'l'; 30_000]).unwrap();
                }
            }
            if restarts {
                drop(holder.take());
                drop(store);
                seconds += 1;
                store = disk.start(small(), At::seconds_later(seconds));
                holder = Some(super::shard(&store, 0));
                assert_eq!(holder.as_mut().unwrap().check(NOW), Ok(()));
            }
        }
        let mut shard = holder.unwrap();
        contents(&mut shard, NOW).into_keys().collect::<std::collections::BTreeSet<_>>()
    };
    let (with, without) = (run(true), run(false));
    let same = with.intersection(&without).count();
    assert!(same * 10 > without.len() * 8, "{same} of {} and {}", with.len(), without.len());
}

/// If each start opened new segments, it would leave two with unused tails, which nobody frees without eviction.
#[test]
#[cfg_attr(miri, ignore = "Miri maps no files")]
fn many_starts_leave_no_tails() {
    let disk = Disk::new();
    for seconds in 0..200 {
        let store = disk.start(Options { evict: false, ..small() }, At::seconds_later(seconds));
        let mut shard = shard(&store, 0);
        set(&mut shard, &format!("key-{seconds}"), b"value").unwrap();
        assert_eq!(store.totals().curr_items, seconds + 1);
        assert!(store.memory().segments_in_use <= 2);
    }
}

/// After a restart the limit is -m again, whatever it was changed to. If more is in use, all of it is served at first, and goes
/// little by little.
#[test]
#[cfg_attr(miri, ignore = "Miri maps no files")]
fn a_limit_that_was_changed_is_minus_m_again() {
    for (limit, evict) in [(6 << 20, true), (6 << 20, false), (2 << 20, true), (2 << 20, false)] {
        let disk = Disk::new();
        let before = {
            let store = disk.start(Options { evict, ..small() }, At::seconds_later(0));
            let mut shard = shard(&store, 0);
            assert!(store.set_memory_limit(limit));
            for n in 0..20_000 {
                let _ = set(&mut shard, &format!("key-{n}"), &[b'v'; 400]);
            }
            contents(&mut shard, NOW)
        };
        let store = disk.start(Options { evict, ..small() }, At::seconds_later(1));
        let mut shard = shard(&store, 0);
        assert!(contents(&mut shard, NOW) == before);
        for _ in 0..10_000 {
            shard.maintain(NOW);
        }
        let memory = store.memory();
        assert_eq!(memory.limit, 4 << 20);
        if evict {
            assert!(used(&memory) <= 4 << 20, "{memory:?}");
        } else {
            assert!(contents(&mut shard, NOW) == before);
        }
    }
}

/// A file system that runs full once would have killed the process with SIGBUS. Its store goes on with less memory.
#[test]
#[cfg_attr(miri, ignore = "Miri maps no files")]
fn a_full_file_system_lowers_the_limit() {
    for evict in [true, false] {
        let disk = Disk::new();
        let store = disk.start(Options { evict, ..small() }, At::seconds_later(0));
        let mut shard = shard(&store, 0);
        for n in 0..20_000 {
            let _ = set(&mut shard, &format!("key-{n}"), &[b'v'; 200]);
        }
        let items = store.totals().curr_items;
        // Whatever is given back from here on is somebody else's.
        LEFT.set(Some(0));
        let mut refused = 0;
        for n in 0..200 {
            let large = set(&mut shard, &format!("large-{n}"), &vec![b'l'; 100_000]);
            refused += u64::from(large == Err(EditError::OutOfMemory));
            let small = set(&mut shard, "key-1", &[b's'; 200]);
            assert!(!evict || small.is_ok(), "{n}: {small:?}");
        }
        assert!(refused > 0 && (!evict || store.memory_limit() < 4 << 20));
        // What has memory is kept: every refused claim once took a segment's worth off the limit, down to the least there is.
        assert!(store.memory_limit() > 3 << 20, "{}", store.memory_limit());
        assert!(store.totals().curr_items > items / 2, "{items}: {:?}", store.totals());
        assert_eq!(shard.check(NOW), Ok(()));
        LEFT.set(None);
        assert!(store.set_memory_limit(4 << 20));
        let later = Timestamp(NOW.0 + 2);
        for n in 0..20_000 {
            let small = set_at(&mut shard, later, &format!("key-{n}"), &[b'v'; 200], Timestamp::NEVER);
            assert!(!evict || small.is_ok());
        }
        if evict {
            set_at(&mut shard, later, "large", &vec![b'l'; 100_000], Timestamp::NEVER).unwrap();
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "Miri maps no files")]
fn a_start_without_room_is_refused() {
    let disk = Disk::new();
    LEFT.set(Some(3 << 20));
    let options = small();
    let memory_file = Some(disk.open(&options, At::seconds_later(0)).unwrap());
    let refused = Store::new(Options { memory_file, ..options }, Box::new(Quiet));
    LEFT.set(None);
    let error = refused.unwrap_err();
    assert!(matches!(error, StartError::MemoryFileRoom { errno: nix::errno::Errno::ENOSPC, .. }), "{error}");
    assert!(error.to_string().contains("make room on its file system"), "{error}");
    drop(disk.start(small(), At::seconds_later(1)));
}

/// If others have taken memory of the file system meanwhile, the next start goes on with less, and serves what it has restored.
#[test]
#[cfg_attr(miri, ignore = "Miri maps no files")]
fn a_restart_without_room_serves_what_is_there() {
    let disk = left_behind(false);
    LEFT.set(Some(1 << 20));
    let store = disk.start(small(), At::seconds_later(1));
    LEFT.set(None);
    assert_eq!((outcome(&store), store.totals().curr_items), (RestoreOutcome::Restored, 101));
    assert!(store.memory_limit() < 4 << 20);
    let mut shard = shard(&store, 0);
    assert_eq!(shard.check(NOW), Ok(()));
    assert!(get(&mut shard, "key-7").is_some());
}
