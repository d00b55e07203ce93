//! How long a start takes that restores ten million items: `cargo test --release --lib restoring_ten -- --ignored --nocapture`.

use super::disk::{At, Disk};
use super::*;

const ITEMS: u64 = 10_000_000;

fn resident_bytes() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let kilobytes = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    (kilobytes("RssAnon:") << 10, kilobytes("RssShmem:") << 10)
}

#[test]
#[ignore = "takes gigabytes and a minute"]
fn restoring_ten_million_items() {
    let disk = Disk::new();
    let memory_limit = 2_300 << 20;
    {
        let store = disk.start(options(memory_limit, 1), At::seconds_later(0));
        let mut shard = store.shard(0);
        for n in 0..ITEMS {
            set(&mut shard, &format!("key-of-thirty-bytes-{n:010}"), &[b'v'; 100]).unwrap();
        }
        assert_eq!(store.totals().curr_items, ITEMS);
    }
    for (rings, seconds) in [1, 2, 4, 1, 2, 4].into_iter().zip(1..) {
        let (before, _) = resident_bytes();
        let store = disk.start(options(memory_limit, rings), At::seconds_later(seconds));
        let restored = store.restored().unwrap();
        let (anonymous, shared) = resident_bytes();
        println!(
            "-t {rings}: {:.2} s for {} items; RSS {} MB of the file, {} MB besides, of which indexes {} MB",
            restored.elapsed.as_secs_f64(),
            restored.items,
            shared >> 20,
            (anonymous - before.min(anonymous)) >> 20,
            store.memory().index >> 20
        );
        assert_eq!(store.totals().curr_items, ITEMS);
    }
}
