//! Tests of the flash tier's statistics and of `extstore`. Nobody writes the chunks in these tests: values move as long as there
//! are chunks in memory.

use super::check;
use crate::config::{Config, Flash, FlashPath};
use crate::fuzzing::Peer;

/// Length of the values that move to flash, bytes.
const VALUE_BYTES: usize = 20_000;

/// Returns the settings of a server with 8 MB of memory and 16 MB of flash in pages of 4 MB.
fn config() -> Config {
    let mut config = Config { maxbytes: 8 << 20, item_size_max: 1 << 20, ..Config::default() };
    config.ext.item_age = 7;
    config.flash = Some(Flash {
        paths: vec![FlashPath { path: "/f".to_owned(), bytes: 16 << 20 }],
        page_bytes: 4 << 20,
        wbuf_bytes: 2 << 20,
        item_size: config.ext.item_size,
        item_age: config.ext.item_age,
        recache_rate: config.ext.recache_rate,
    });
    config
}

fn ask(peer: &mut Peer, request: &str) -> String {
    peer.send(request.as_bytes());
    String::from_utf8(peer.answers()).unwrap()
}

/// Runs `stats` for the list `which`, and returns its names and values.
fn stats(peer: &mut Peer, which: &str) -> Vec<(String, String)> {
    let answer = ask(peer, &format!("stats {which}\r\n"));
    let lines = answer.strip_suffix("END\r\n").unwrap().lines();
    let stat = |line: &str| {
        let (name, value) = line.strip_prefix("STAT ").unwrap().split_once(' ').unwrap();
        (name.to_owned(), value.to_owned())
    };
    lines.map(stat).collect()
}

fn number(stats: &[(String, String)], name: &str) -> u64 {
    let (_, value) = stats.iter().find(|(known, _)| known == name).unwrap_or_else(|| panic!("{name}"));
    value.parse().unwrap_or_else(|_| panic!("{name} {value}"))
}

/// Returns a server with more values than its memory holds.
fn filled() -> Peer {
    let mut peer = Peer::new(config());
    let value = "v".repeat(VALUE_BYTES);
    for item in 0..1000 {
        let stored = ask(&mut peer, &format!("set key{item} 5 0 {VALUE_BYTES}\r\n{value}\r\n"));
        assert_eq!(stored, "STORED\r\n");
    }
    peer
}

#[test]
fn statistics_have_memcacheds_names_and_places() {
    let mut peer = Peer::new(config());
    let names: Vec<String> = stats(&mut peer, "").into_iter().map(|(name, _)| name).collect();
    let after = |name: &str, count: usize| {
        let at = names.iter().position(|known| known == name).unwrap();
        names[at + 1..=at + count].join(" ")
    };
    assert_eq!(
        after("get_flushed", 7),
        "get_extstore get_aborted_extstore get_oom_extstore recache_from_extstore miss_from_extstore \
         badcrc_from_extstore delete_misses"
    );
    let flash = "memory_pressure compact_lost compact_rescues compact_resc_cold compact_resc_old compact_skipped \
        page_allocs page_evictions page_reclaims pages_free pages_used objects_evicted objects_read objects_written \
        objects_used bytes_evicted bytes_written bytes_read bytes_used bytes_fragmented limit_maxbytes io_queue";
    let flash: Vec<String> = flash.split_whitespace().map(|name| format!("extstore_{name}")).collect();
    assert_eq!(after("log_watchers", flash.len()), flash.join(" "));
    let own = stats(&mut peer, "memcrsd");
    assert_eq!(
        (number(&own, "memcrsd_flash_write_errors"), number(&own, "memcrsd_flash_out_of_use")),
        (0, 0)
    );
    assert_eq!(number(&stats(&mut peer, "latency"), "flash_read:count"), 0);
    // Without a tier there are no such lines.
    let mut peer = Peer::new(Config::default());
    for which in ["", "memcrsd", "latency"] {
        let found = stats(&mut peer, which);
        assert!(
            !found.iter().any(|(name, _)| name.contains("extstore") || name.contains("flash")),
            "{found:?}"
        );
    }
    assert_eq!(ask(&mut peer, "stats extstore\r\n"), "END\r\n");
}

#[test]
fn moved_values_are_counted() {
    let mut peer = filled();
    let found = stats(&mut peer, "");
    let of = |name: &str| number(&found, name);
    let moved = of("extstore_objects_written");
    // The values fill three chunks of 2 MB, which nobody writes.
    assert!((200..=314).contains(&moved), "{moved}");
    assert_eq!((of("extstore_objects_used"), of("extstore_page_allocs")), (moved, 2));
    assert!(of("extstore_bytes_used") >= moved * VALUE_BYTES as u64, "{found:?}");
    assert_eq!((of("extstore_pages_used"), of("extstore_pages_free")), (2, 2));
    assert_eq!(of("extstore_limit_maxbytes"), 16 << 20);
    assert_eq!(of("extstore_bytes_fragmented") + of("extstore_bytes_used"), 8 << 20);
    assert_eq!(of("curr_items") + of("evictions"), 1000);
    let pages = stats(&mut peer, "extstore");
    assert_eq!((pages.len(), number(&pages, "0:version"), number(&pages, "1:version")), (16, 1, 2));
    assert_eq!(number(&pages, "0:bytes") + number(&pages, "1:bytes"), of("extstore_bytes_used"));
    let rest = ["0:bucket", "0:free_bucket", "2:version", "2:bytes", "3:version", "3:bytes"];
    assert!(rest.into_iter().all(|name| number(&pages, name) == 0), "{pages:?}");
    // `stats reset` does not change totals, as in memcached.
    ask(&mut peer, "stats reset\r\n");
    assert_eq!(number(&stats(&mut peer, ""), "extstore_objects_written"), moved);
}

#[test]
fn dumps_show_the_values_themselves() {
    let mut peer = filled();
    let dump = ask(&mut peer, "lru_crawler metadump all\r\n");
    let (on_flash, in_memory): (Vec<&str>, Vec<&str>) =
        dump.lines().filter(|line| line.starts_with("key=")).partition(|line| line.contains("ext_page="));
    assert!(on_flash.len() >= 200 && in_memory.len() >= 100, "{} {}", on_flash.len(), in_memory.len());
    // The header of an item in memcached, and a key of 4 to 6 bytes.
    let size = |line: &str| -> usize {
        let (_, rest) = line.split_once(" size=").unwrap();
        rest.split(' ').next().unwrap().parse().unwrap()
    };
    for line in on_flash.iter().chain(&in_memory) {
        assert!((VALUE_BYTES + 60..VALUE_BYTES + 72).contains(&size(line)), "{line}");
    }
    assert!(in_memory.iter().all(|line| line.ends_with(" flags=5 ")), "{:?}", in_memory[0]);
    let first = on_flash.iter().find(|line| line.starts_with("key=key0 ")).unwrap();
    assert!(first.ends_with(" flags=5 ext_page=0 ext_offset=0 "), "{first}");
    let me = ask(&mut peer, "me key0\r\n");
    assert!(size(me.trim_end()) > VALUE_BYTES, "{me}");
    let keys = ask(&mut peer, "lru_crawler mgdump all\r\n");
    assert!(keys.contains("mg key0\r\n"));
}

#[test]
fn the_tier_follows_what_is_tuned() {
    let mut peer = Peer::new(config());
    let tuned = |peer: &mut Peer| {
        let flash = peer.store().flash().unwrap();
        (flash.item_bytes_min(), flash.item_age(), flash.promotes())
    };
    assert_eq!(tuned(&mut peer), (512, 7, true));
    for (request, expected) in [
        ("item_size 1000", (1000, 7, true)),
        ("item_age 3", (1000, 3, true)),
        ("recache_rate 0", (1000, 3, false)),
        ("recache_rate 5", (1000, 3, true)),
        ("low_ttl 9", (1000, 3, true)),
    ] {
        assert_eq!(ask(&mut peer, &format!("extstore {request}\r\n")), "OK\r\n", "{request}");
        assert_eq!(tuned(&mut peer), expected, "{request}");
    }
    assert_eq!(ask(&mut peer, "extstore item_size x\r\n"), "ERROR\r\n");
    assert_eq!(tuned(&mut peer), (1000, 3, true));
}

/// Without a flash tier the settings are shown as well.
#[test]
fn what_is_tuned_is_shown() {
    let mut peer = Peer::new(Config::default());
    for (request, name, shown) in [
        ("extstore item_size 1000", "ext_item_size", "1000"),
        // In memcached's order, this is the first name with that beginning.
        ("extstore i 78", "ext_item_size", "78"),
        ("extstore item_age 5 6 7 8", "ext_item_age", "5"),
        ("extstore low_ttl 1", "ext_low_ttl", "1"),
        ("extstore recache_rate 2", "ext_recache_rate", "2"),
        ("extstore c 3", "ext_compact_under", "3"),
        ("extstore drop_under 4", "ext_drop_under", "4"),
        ("extstore max_sleep 5", "ext_max_sleep", "5"),
        ("extstore max_f 0.5", "ext_max_frag", "0.50"),
        ("extstore drop_un 7", "ext_drop_under", "7"),
        ("extstore drop_unread 7", "ext_drop_unread", "yes"),
        ("extstore drop_unread 0", "ext_drop_unread", "no"),
        ("slabs automove freeratio 0.2", "slab_automove_freeratio", "0.200"),
    ] {
        assert_eq!(ask(&mut peer, &format!("{request}\r\n")), "OK\r\n", "{request}");
        let found = stats(&mut peer, "settings");
        assert!(found.contains(&(name.to_owned(), shown.to_owned())), "{request}: {found:?}");
    }
}

#[test]
fn what_cannot_be_tuned_is_refused() {
    check(&[
        (b"extstore free_memchunks 1 2\r\n", b"OK\r\n"),
        (b"extstore f 63 0\r\n", b"OK\r\n"),
        (b"extstore free_memchunks 1\r\n", b"ERROR\r\n"),
        (b"extstore free 70 1\r\n", b"ERROR\r\n"),
        (b"extstore\r\n", b"ERROR\r\n"),
        (b"extstore item_age\r\n", b"ERROR\r\n"),
        (b"extstore low_ttl -1\r\n", b"ERROR\r\n"),
        (b"extstore recache_rate 1.5\r\n", b"ERROR\r\n"),
        (b"extstore max_sleep 4294967296\r\n", b"ERROR\r\n"),
        (b"extstore compact_under 12x\r\n", b"ERROR\r\n"),
        (b"extstore max_frag abc\r\n", b"ERROR\r\n"),
        (b"extstore max_frag nan\r\n", b"ERROR\r\n"),
        (b"extstore item_sizes 1\r\n", b"ERROR\r\n"),
        (b"extstore item_size 1 noreply\r\n", b""),
        (b"extstore zzz 1 noreply\r\n", b""),
    ]);
}

/// Gets whose replies are dropped because of a bad key at the end of the line never begin their reads from flash. They are
/// counted as in memcached.
#[test]
fn reads_of_dropped_answers_are_aborted() {
    let mut peer = Peer::with_flash(Config::default(), crate::fuzzing::flash::options());
    for key in ["a", "b", "c"] {
        assert_eq!(ask(&mut peer, &format!("set {key} 0 0 5\r\nvalue\r\n")), "STORED\r\n");
    }
    assert!(peer.demote(b"a") && peer.demote(b"b"));
    let counts = |peer: &mut Peer| {
        let stats = stats(peer, "");
        ["get_extstore", "get_aborted_extstore", "get_hits", "miss_from_extstore"]
            .map(|name| number(&stats, name))
    };
    let bad = "CLIENT_ERROR bad command line format\r\n";
    let long = "l".repeat(251);
    assert!(ask(&mut peer, &format!("get a c b {long}\r\n")).starts_with(bad));
    assert_eq!(counts(&mut peer), [2, 2, 3, 0]);
    assert!(ask(&mut peer, &format!("gat 100 a {long}\r\n")).starts_with(bad));
    let [reads, aborted, _, misses] = counts(&mut peer);
    assert_eq!([reads, aborted, misses], [3, 3, 0]);
    assert_eq!(ask(&mut peer, "get a\r\n"), "VALUE a 0 5\r\nvalue\r\nEND\r\n");
    let [reads, aborted, _, misses] = counts(&mut peer);
    assert_eq!([reads, aborted, misses], [4, 3, 0]);
}
