//! Target: a memory file in which anything may have been changed. A start on it refuses the file, empties it or restores it. If
//! it restores items, all sums of the store are right.

use crate::classes::Classes;
use crate::clock::Timestamp;
use crate::store::{
    self, Data, Edit, Host, Item, Lookup, MemoryFile, Occasion, Options, Put, RestoreOutcome, Shard, Store,
    Value, Walk,
};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, OnceLock};

const MEMORY_LIMIT: u64 = 1 << 20;
const ADDRESS_SPACE: u64 = 4 << 20;
const ITEM_SIZE_MAX: u64 = 256 << 10;
const NOW: Timestamp = Timestamp(2);
const PAGE_BYTES: usize = 4096;

struct Alone;

impl Host for Alone {
    fn wake(&self, _ring: usize) {}
}

fn options(rings: usize) -> Options {
    Options {
        memory_limit: MEMORY_LIMIT,
        item_size_max: ITEM_SIZE_MAX,
        evict: true,
        rings,
        replicas: rings,
        classes: Classes::new(1.25, 48, 128 << 10),
        seed: Some(7),
        log_entries: Some(1 << 14),
        address_space: Some(ADDRESS_SPACE),
        memory_file: None,
        flash: None,
    }
}

/// Opens a store on `file`, like a process that starts `seconds` after the first one. `None` if the file is refused.
fn start(file: &File, rings: usize, seconds: u64) -> Option<Arc<Store>> {
    let occasion = Occasion {
        memory_limit: MEMORY_LIMIT,
        item_size_max: ITEM_SIZE_MAX,
        boot_id: [1; 16],
        unix_now: 1_000_000 + seconds,
        address_space: Some(ADDRESS_SPACE),
    };
    let file = file.try_clone().expect("a descriptor");
    let memory_file = Some(MemoryFile::open(file, &occasion).ok()?);
    let store = Store::new(Options { memory_file, ..options(rings) }, Box::new(Alone));
    Some(store.expect("there is memory for a megabyte"))
}

fn set(shard: &mut Shard, now: Timestamp, key: &[u8], value: &[u8], exptime: Timestamp) {
    for _ in 0..1_000 {
        let put = |_: Option<&Item<'_>>| {
            let (flags, value, key_is_binary) = (u32::from(key[0] & 1), Value::Data, false);
            (Edit::Put(Put { flags, exptime, value, cas: None, stale: false, won: false, key_is_binary }), ())
        };
        if shard.fresh(now).edit(key, &mut Data::Bytes(value), put).is_ok() {
            return;
        }
    }
}

/// The bytes of a memory file with items of all kinds, as a killed process leaves it. Made once, at the first call.
fn template() -> &'static Vec<u8> {
    static TEMPLATE: OnceLock<Vec<u8>> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let file = blank();
        let mut shard = start(&file, 1, 0).expect("a new file").shard(0);
        for n in 0..600_u32 {
            let key = format!("{}-{n}", "key".repeat(n as usize % 5 + 1));
            let exptime = if n % 3 == 0 { Timestamp(n % 50 + 3) } else { Timestamp::NEVER };
            set(&mut shard, NOW, key.as_bytes(), &vec![b'v'; (n as usize * 7) % 900], exptime);
            if n % 50 == 0 {
                set(&mut shard, NOW, format!("large-{n}").as_bytes(), &vec![b'l'; 20_000], exptime);
            }
            if n % 7 == 0 {
                let remove = |_: Option<&Item<'_>>| (Edit::Remove, ());
                shard
                    .fresh(NOW)
                    .edit(key.as_bytes(), &mut Data::None, remove)
                    .expect("nothing is in its way");
            }
        }
        let mut bytes = vec![0; file.metadata().expect("a file").len() as usize];
        file.read_exact_at(&mut bytes, 0).expect("a file in memory");
        bytes
    })
}

fn blank() -> File {
    File::from(memfd_create("memory-file", MFdFlags::MFD_CLOEXEC).expect("a file in memory"))
}

/// Changes some bytes of the file. Each 8 bytes of `data` are one change: the part of the file, the place in that part, and up
/// to four new bytes.
fn spoil(bytes: &mut [u8], data: &[u8]) {
    let sections = store::memory_file_sections(MEMORY_LIMIT, ADDRESS_SPACE);
    for change in data.as_chunks::<8>().0 {
        let [part, low, middle, high, new @ ..] = *change;
        let place = usize::from(low) | usize::from(middle) << 8 | usize::from(high) << 16;
        let section = &sections[usize::from(part & 3)];
        let at = section.start + place % (section.len() - new.len());
        // Half of the changes are to a single byte.
        let length = if part & 0x10 == 0 { 1 } else { new.len() };
        bytes[at..at + length].copy_from_slice(&new[..length]);
    }
}

/// Target: a start on a damaged memory file makes a store whose sums are right, with restored items or without any. The first
/// byte of `data` says how the file is mended, cut and opened; the others are changes to it.
///
/// # Panics
/// A sum of the store is wrong, or the next start finds another number of items.
pub fn memory_file(data: &[u8]) {
    let Some((&how, changes)) = data.split_first() else { return };
    let mut bytes = template().clone();
    spoil(&mut bytes, changes);
    if how & 1 == 0 {
        store::mend_memory_file(&mut bytes, MEMORY_LIMIT, ADDRESS_SPACE);
    }
    if how & 6 == 6 {
        let length = bytes.len() * usize::from(how >> 3) / 32;
        bytes.truncate(length);
    }
    let file = blank();
    file.set_len(bytes.len() as u64).expect("a file in memory");
    for (at, page) in bytes.chunks(PAGE_BYTES).enumerate() {
        if page.iter().any(|&byte| byte != 0) {
            file.write_all_at(page, (at * PAGE_BYTES) as u64).expect("a file in memory");
        }
    }
    let rings = usize::from(how >> 6) + 1;
    let Some(store) = start(&file, rings, u64::from(how & 0x20)) else { return };
    let now = store.now();
    let mut shards: Vec<Shard> = (0..rings).map(|ring| store.shard(ring)).collect();
    for shard in &mut shards {
        assert_eq!(shard.check(now), Ok(()), "{:?}", store.restored());
    }
    let restored = store.restored().expect("there is a file");
    let items = match restored.outcome {
        RestoreOutcome::Restored => restored.items,
        RestoreOutcome::New | RestoreOutcome::Rejected(_) => 0,
    };
    assert_eq!(count(&mut shards[0], now), items);
    shards.truncate(1);
    drop(shards);
    drop(store);
    go_on(&file, u64::from(how & 0x20), items);
}

/// Checks that every item can be found by its key, and returns the number of items.
fn count(shard: &mut Shard, now: Timestamp) -> u64 {
    let mut keys = Vec::new();
    let mut walk = Walk::default();
    let mut fresh = shard.fresh(now);
    while fresh.walk(&mut walk, |item| keys.push(item.key().to_vec())) {}
    for key in &keys {
        assert!(matches!(fresh.find(key), Lookup::Hit(_)), "{} cannot be found", key.escape_ascii());
    }
    keys.len() as u64
}

/// Checks that the next process finds exactly `items` items in `file`, and that its store works.
fn go_on(file: &File, seconds: u64, items: u64) {
    let store = start(file, 1, seconds).expect("it is ours");
    let now = store.now();
    let mut shard = store.shard(0);
    assert_eq!(shard.check(now), Ok(()));
    assert_eq!(store.totals().curr_items, items, "another start finds the same");
    for n in 0..200_u32 {
        set(&mut shard, now, format!("key-{n}").as_bytes(), &vec![b'n'; n as usize * 90], Timestamp::NEVER);
    }
    assert_eq!(shard.check(now), Ok(()));
}
