//! Tests of administration: `stats`, dumps, watching, settings. Source: protocol.txt, and memcached 1.6.45 itself.

use super::{Values, check, check_values, check_with};
use crate::clock::Timestamp;
use crate::config::Config;
use crate::engine::Stop;
use crate::engine::connections::{Address, Connection};
use crate::fuzzing::Peer;
use std::sync::Arc;

const BAD_FORMAT: &[u8] = b"CLIENT_ERROR bad command line format\r\n";

fn text(peer: &mut Peer, sent: &str) -> String {
    peer.send(sent.as_bytes());
    String::from_utf8(peer.answers()).unwrap()
}

#[test]
fn families_that_steer_nothing() {
    check(&[
        (b"cache_memlimit 5\r\n", b"MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m\r\n"),
        (b"cache_memlimit x\r\n", b"ERROR\r\n"),
        (b"cache_memlimit 2000000000\r\n", b"MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes\r\n"),
        (b"cache_memlimit 32\r\n", b"OK\r\n"),
        (b"cache_memlimit 32 noreply\r\n", b""),
        (b"lru tune 10 25 0.1 2.0\r\n", b"OK\r\n"),
        (b"lru tune 50 55 0.1 2.0\r\n", b"ERROR hot and warm pcts must not exceed 80\r\n"),
        (b"lru tune 10 25 0 2.0\r\n", b"ERROR hot/warm age factors must be greater than 0\r\n"),
        (b"lru tune 10 25 x 2.0\r\n", b"ERROR\r\n"),
        (b"lru mode flat\r\n", b"OK\r\n"),
        (b"lru m s\r\n", b"OK\r\n"),
        (b"lru mode x\r\n", b"ERROR\r\n"),
        (b"lru temp_ttl -1\r\n", b"OK\r\n"),
        (b"lru\r\n", b"ERROR\r\n"),
        (b"lru_crawler enable\r\n", b"ERROR failed to start lru crawler thread\r\n"),
        (b"lru_crawler sleep 5\r\n", b"OK\r\n"),
        (b"lru_crawler sleep 1000001\r\n", b"CLIENT_ERROR sleep must be one second or less\r\n"),
        (b"lru_crawler tocrawl x\r\n", BAD_FORMAT),
        (b"lru_crawler crawl 0\r\n", b"BADCLASS invalid class id\r\n"),
        (b"lru_crawler crawl 1,64\r\n", b"BADCLASS invalid class id\r\n"),
        (b"lru_crawler crawl 1,63\r\n", b"OK\r\n"),
        (b"lru_crawler crawl all\r\n", b"OK\r\n"),
        (b"lru_crawler\r\n", b"ERROR\r\n"),
        (b"lru_crawler disable\r\n", b"OK\r\n"),
        (b"lru_crawler crawl all\r\n", b"CLIENT_ERROR lru crawler disabled\r\n"),
        (b"lru_crawler metadump all\r\n", b"CLIENT_ERROR lru crawler disabled\r\n"),
        (b"lru_crawler enable\r\n", b"OK\r\n"),
        (b"slabs reassign 1 1\r\n", b"SAME src and dst class are identical\r\n"),
        (b"slabs reassign 99 1\r\n", b"BADCLASS invalid src or dst class id\r\n"),
        (b"slabs reassign -1 1\r\n", b"BADCLASS invalid src or dst class id\r\n"),
        (b"slabs reassign 2 1\r\n", b"NOSPARE source class has no spare pages\r\n"),
        (b"slabs reassign x 1\r\n", BAD_FORMAT),
        (b"slabs automove 2\r\n", b"OK\r\n"),
        (b"slabs automove 3\r\n", b"ERROR\r\n"),
        (b"slabs auto 0\r\n", b"OK\r\n"),
        (b"slabs automove window 2\r\n", b"CLIENT_ERROR automove window too low or too high\r\n"),
        (b"slabs automove ratio 0.5\r\n", b"OK\r\n"),
        (b"slabs\r\n", b"ERROR\r\n"),
        (b"extstore item_size 1\r\n", b"OK\r\n"),
        (b"extstore foo 1\r\n", b"ERROR\r\n"),
        (b"refresh_certs\r\n", b"Error TLS not enabled\r\n"),
        (b"stats foo\r\n", b"ERROR\r\n"),
        (b"stats sizes\r\n", b"STAT sizes_status disabled\r\nEND\r\n"),
        (b"stats sizes_enable\r\n", b"ERROR\r\n"),
        (b"stats r\r\n", b"RESET\r\n"),
    ]);
}

#[test]
fn there_are_no_pages_without_a_tier() {
    check_values(Values::InMemory, &Config::default(), &[(b"stats extstore\r\n", b"END\r\n")]);
}

#[test]
fn shutdown() {
    check(&[(b"shutdown\r\n", b"SERVER_ERROR: shutdown not enabled\r\n")]);
    let config = Config { shutdown_command: true, ..Config::default() };
    for (command, stop) in [("shutdown\r\n", Stop::Now), ("shutdown graceful\r\n", Stop::Graceful)] {
        let mut peer = Peer::new(config.clone());
        assert_eq!(text(&mut peer, "shutdown fast\r\n"), "CLIENT_ERROR invalid shutdown mode\r\n");
        assert_eq!(peer.shared().stop_requested(), None);
        assert_eq!(text(&mut peer, command), "");
        assert!(peer.is_closed());
        assert_eq!(peer.shared().stop_requested(), Some(stop));
    }
}

#[test]
fn detail_counts_by_prefix() {
    check(&[
        (b"get a:1\r\n", b"END\r\n"),
        (b"stats detail on\r\n", b"OK\r\n"),
        (b"set a:1 0 0 1\r\nx\r\n", b"STORED\r\n"),
        (b"get a:1 a:2 noprefix\r\n", b"VALUE a:1 0 1\r\nx\r\nEND\r\n"),
        (b"delete b:1\r\n", b"NOT_FOUND\r\n"),
        (
            b"stats detail dump\r\n",
            b"PREFIX a get 2 hit 1 set 1 del 0\r\nPREFIX b get 0 hit 0 set 0 del 1\r\nEND\r\n",
        ),
        (b"stats detail off\r\n", b"OK\r\n"),
        (b"get a:1\r\n", b"VALUE a:1 0 1\r\nx\r\nEND\r\n"),
        (b"stats reset\r\n", b"RESET\r\n"),
        (b"stats detail dump\r\n", b"END\r\n"),
        (b"stats detail\r\n", b"CLIENT_ERROR usage: stats detail on|off|dump\r\n"),
    ]);
    let config = Config { dump_enabled: false, ..Config::default() };
    check_with(
        &config,
        &[
            (b"stats detail on\r\n", b"CLIENT_ERROR stats detail not allowed\r\n"),
            (b"stats cachedump 1 0\r\n", b"CLIENT_ERROR stats cachedump not allowed\r\n"),
            (b"lru_crawler metadump all\r\n", b"ERROR metadump not allowed\r\n"),
        ],
    );
}

#[test]
fn dumps_go_on_until_all_items_are_seen() {
    let mut peer = Peer::new(Config::default());
    assert_eq!(text(&mut peer, "lru_crawler metadump all\r\n"), "OK\r\nEND\r\n");
    let count = 3000;
    for n in 0..count {
        text(&mut peer, &format!("set key:{n} {n} 0 3\r\nfoo\r\n"));
    }
    text(&mut peer, "set gone 0 -1 1\r\nx\r\nget key:7\r\n");
    let dump = text(&mut peer, "lru_crawler metadump all\r\nversion\r\n");
    let mut lines: Vec<_> = dump.lines().collect();
    assert_eq!((lines.remove(0), lines.pop(), lines.pop()), ("OK", Some("VERSION 1.6.45"), Some("END")));
    assert_eq!(lines.len(), count);
    let unix = peer.shared().clock.unix(Timestamp(100));
    let seven = lines.iter().find(|line| line.starts_with("key=key%3A7 ")).unwrap();
    assert!(seven.starts_with(&format!("key=key%3A7 exp=-1 la={unix} cas=")), "{seven}");
    assert!(seven.ends_with(" fetch=yes cls=1 size=71 flags=7 "), "{seven}");
    let keys = text(&mut peer, "lru_crawler mgdump 1\r\n");
    assert!(keys.starts_with("OK\r\nmg key:"), "{keys}");
    assert!(keys.ends_with("\r\nEN\r\n"));
    assert_eq!(keys.lines().count(), count + 2);
    assert_eq!(text(&mut peer, "lru_crawler mgdump 5\r\n"), "OK\r\nEN\r\n");
    assert_eq!(text(&mut peer, "lru_crawler mgdump 64\r\n"), "BADCLASS invalid class id\r\n");
    let cachedump = text(&mut peer, "stats cachedump 1 2\r\n");
    assert_eq!(cachedump.lines().count(), 3);
    assert!(cachedump.contains(" [3 b; 0 s]\r\n"), "{cachedump}");
    assert_eq!(text(&mut peer, "stats cachedump 1 0\r\n").lines().count(), count + 1);
    assert_eq!(
        text(&mut peer, "version\r\nlru_crawler mgdump all\r\n"),
        "VERSION 1.6.45\r\nERROR cannot pipeline other commands before mgdump\r\n"
    );
}

#[test]
fn cachedump_arguments() {
    check(&[
        (b"stats cachedump 1\r\n", b"CLIENT_ERROR bad command line\r\n"),
        (b"stats cachedump 64 1\r\n", b"CLIENT_ERROR Illegal slab id\r\n"),
        (b"stats cachedump 0 1\r\n", b"END\r\n"),
        (b"stats cachedump 1 x\r\n", BAD_FORMAT),
        (b"stats c 1 0\r\n", b"END\r\n"),
    ]);
}

#[test]
fn sizes_are_counted_if_they_are_tracked() {
    let config = Config { track_sizes: true, ..Config::default() };
    check_with(
        &config,
        &[
            (b"set a 0 0 1\r\nx\r\n", b"STORED\r\n"),
            (b"set b 0 0 1\r\nx\r\n", b"STORED\r\n"),
            (b"set c 0 0 5\r\nxxxxx\r\n", b"STORED\r\n"),
            (b"stats sizes\r\n", b"STAT 64 2\r\nSTAT 96 1\r\nEND\r\n"),
        ],
    );
}

#[test]
fn general_statistics_have_memcacheds_names_in_its_order() {
    const NAMES: &str = "pid uptime time version libevent pointer_size rusage_user rusage_system max_connections \
        curr_connections total_connections rejected_connections connection_structures response_obj_oom \
        response_obj_count response_obj_bytes read_buf_count read_buf_bytes read_buf_bytes_free read_buf_oom \
        reserved_fds cmd_get cmd_set cmd_flush cmd_touch cmd_meta get_hits get_misses get_expired get_flushed \
        delete_misses delete_hits incr_misses incr_hits decr_misses decr_hits cas_misses cas_hits cas_badval \
        touch_hits touch_misses store_too_large store_no_memory auth_cmds auth_errors bytes_read bytes_written \
        limit_maxbytes accepting_conns listen_disabled_num time_in_listen_disabled_us threads conn_yields \
        hash_power_level hash_bytes hash_is_expanding slab_reassign_rescues slab_reassign_chunk_rescues \
        slab_reassign_inline_reclaim slab_reassign_busy_items slab_reassign_busy_deletes \
        slab_reassign_busy_nomem slab_reassign_last_busy_status slab_reassign_running slabs_moved \
        lru_crawler_running lru_crawler_starts lru_maintainer_juggles malloc_fails log_worker_dropped \
        log_worker_written log_watcher_skipped log_watcher_sent log_watchers unexpected_napi_ids \
        round_robin_fallback bytes curr_items total_items slab_global_page_pool expired_unfetched \
        evicted_unfetched evicted_active evictions reclaimed crawler_reclaimed crawler_items_checked \
        lrutail_reflocked moves_to_cold moves_to_warm moves_within_lru direct_reclaims lru_bumps_dropped";
    const OWN: &str = "memcrsd_version memcrsd_segments_bytes memcrsd_large_bytes memcrsd_index_bytes memcrsd_ghost_bytes \
        memcrsd_log_bytes memcrsd_segments_in_use memcrsd_segments_free memcrsd_pins memcrsd_drafts \
        memcrsd_stuck_rings memcrsd_ring_stalls memcrsd_restored_items memcrsd_restored_bytes memcrsd_restore_ms \
        memcrsd_restore_result";
    let mut peer = Peer::new(Config::default());
    text(&mut peer, "set a 0 0 1\r\nx\r\nget a\r\n");
    let stats = text(&mut peer, "stats\r\n");
    let names: Vec<_> =
        stats.lines().filter_map(|line| line.strip_prefix("STAT ")?.split(' ').next()).collect();
    assert_eq!(names, NAMES.split_whitespace().collect::<Vec<_>>());
    let own = text(&mut peer, "stats memcrsd\r\n");
    let names: Vec<_> =
        own.lines().filter_map(|line| line.strip_prefix("STAT ")?.split(' ').next()).collect();
    assert_eq!(names, OWN.split_whitespace().collect::<Vec<_>>());
    assert!(stats.contains("STAT get_hits 1\r\n"));
    assert!(stats.contains("STAT curr_items 1\r\n"));
    assert!(stats.ends_with("END\r\n"));
    for line in stats.lines().filter(|line| *line != "END") {
        assert_eq!(line.split(' ').count(), 3, "{line}");
    }
}

#[test]
fn settings() {
    let mut peer = Peer::new(Config::default());
    let settings = text(&mut peer, "stats  settings\r\n");
    for line in [
        "maxbytes 67108864",
        "maxconns 1024",
        "inter NULL",
        "evictions on",
        "umask 700",
        "growth_factor 1.25",
        "stat_key_prefix :",
        "cas_enabled yes",
        "binding_protocol auto-negotiate",
        "slab_automove_ratio 0.80",
        "hot_max_factor 0.20",
        "client_flags_size 4",
    ] {
        assert!(settings.contains(&format!("STAT {line}\r\n")), "{line}");
    }
    assert_eq!(text(&mut peer, "stats se\r\n"), settings);
    text(
        &mut peer,
        "lru tune 10 25 0.5 1.5\r\nlru temp_ttl 9\r\nslabs automove 0\r\nlru_crawler sleep 7\r\n",
    );
    text(&mut peer, "lru_crawler disable\r\nstats detail on\r\ncache_memlimit 100\r\nflush_all\r\n");
    let settings = text(&mut peer, "stats settings\r\n");
    for line in [
        "maxbytes 104857600",
        "oldest 99",
        "detail_enabled yes",
        "slab_automove 0",
        "lru_crawler no",
        "lru_crawler_sleep 7",
        "hot_lru_pct 10",
        "warm_max_factor 1.50",
        "temp_lru yes",
        "temporary_ttl 9",
    ] {
        assert!(settings.contains(&format!("STAT {line}\r\n")), "{line}: {settings}");
    }
}

#[test]
fn items_slabs_and_connections() {
    let mut peer = Peer::new(Config::default());
    assert_eq!(text(&mut peer, "stats items\r\n"), "END\r\n");
    text(&mut peer, "set a 0 0 1\r\nx\r\nget a\r\n");
    let items = text(&mut peer, "stats items\r\n");
    assert!(items.starts_with("STAT items:1:number 1\r\n"), "{items}");
    assert!(items.contains("STAT items:1:mem_requested 61\r\n"), "{items}");
    let slabs = text(&mut peer, "stats slabs\r\n");
    for line in ["1:chunk_size 96", "1:total_pages 1", "1:used_chunks 1", "1:get_hits 1", "active_slabs 1"] {
        assert!(slabs.contains(&format!("STAT {line}\r\n")), "{line}: {slabs}");
    }
    let address = |port: u16| Address::Tcp(([127, 0, 0, 1], port).into());
    let connections = &peer.shared().connections;
    connections.insert(26, Arc::new(Connection::new(address(11211), None, Timestamp(2))));
    connections.insert(30, Arc::new(Connection::new(address(5555), Some(address(11211)), Timestamp(98))));
    connections.insert(31, Arc::new(Connection::new(Address::UnixPeer, None, Timestamp(98))));
    connections.remove(31);
    assert_eq!(
        text(&mut peer, "stats conns\r\n"),
        "STAT 26:addr tcp:127.0.0.1:11211\r\nSTAT 26:state conn_listening\r\nSTAT 26:secs_since_last_cmd 98\r\n\
         STAT 30:addr tcp:127.0.0.1:5555\r\nSTAT 30:listen_addr tcp:127.0.0.1:11211\r\n\
         STAT 30:state conn_read\r\nSTAT 30:secs_since_last_cmd 2\r\nEND\r\n"
    );
}

#[test]
fn watchers_see_what_they_asked_for() {
    let mut peer = Peer::new(Config::default());
    assert_eq!(text(&mut peer, "watch nonsense\r\n"), "ERROR\r\n");
    assert_eq!(text(&mut peer, "watch fetchers mut deletions\r\nget ignored\r\n"), "OK\r\n");
    peer.aside(|other| {
        text(other, "set a 0 60 1\r\nx\r\nget a b%\r\nadd a 0 0 1\r\ny\r\ndelete a\r\nincr n 1\r\n");
    });
    peer.pump();
    let lines = String::from_utf8(peer.answers()).unwrap();
    let shown: Vec<_> = lines.lines().map(|line| line.split_once("type=").unwrap().1).collect();
    assert_eq!(
        shown,
        [
            "item_get key=a status=not_found clsid=0 cfd=32 size=0",
            "item_store key=a status=stored cmd=set ttl=60 clsid=1 cfd=32 size=1",
            "item_get key=a status=found clsid=1 cfd=32 size=1",
            "item_get key=b%25 status=not_found clsid=0 cfd=32 size=0",
            "item_get key=a status=found clsid=1 cfd=32 size=1",
            "item_store key=a status=not_stored cmd=add ttl=0 clsid=1 cfd=32 size=1",
            "item_get key=a status=found clsid=1 cfd=32 size=1",
            "deleted key=a cmd=delete clsid=1 size=1",
            "item_get key=n status=not_found clsid=0 cfd=32 size=0",
        ]
    );
    assert!(lines.starts_with("ts="));
    assert!(lines.contains(" gid=1 type="));
    peer.reconnect();
    assert_eq!(peer.shared().watch.streams(), 0, "a watcher that hangs up is forgotten");
    assert_eq!(
        text(&mut peer, "version\r\nwatch\r\n"),
        "VERSION 1.6.45\r\nERROR cannot pipeline other commands before watch\r\n"
    );
}

#[test]
fn a_slow_watcher_is_told_what_it_lost() {
    let config = Config { logger_watcher_buf_size: 150, ..Config::default() };
    let mut peer = Peer::new(config);
    text(&mut peer, "watch\r\n");
    peer.aside(|other| {
        text(other, "get a b c d\r\n");
    });
    peer.pump();
    let lines = String::from_utf8(peer.answers()).unwrap();
    assert_eq!(lines.lines().count(), 2);
    assert!(lines.ends_with("\nskipped=3\n"), "{lines}");
}
