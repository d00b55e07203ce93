//! Tests of the names that `-o` takes, and of the words of errors in them.

use super::*;

#[test]
fn every_suboption_is_accepted() {
    type Check = fn(&Config) -> bool;
    let cases: &[(&str, Check)] = &[
        ("no_maxconns_fast", |c| !c.maxconns_fast),
        ("no_maxconns_fast,maxconns_fast", |c| c.maxconns_fast),
        ("hashpower=12", |c| c.hashpower_init == 12),
        ("hashpower=32,", |c| c.hashpower_init == 32),
        ("no_hashexpand", |_| true),
        ("no_slab_reassign", |c| !c.slab_reassign),
        ("no_slab_reassign,slab_reassign", |c| c.slab_reassign),
        ("slab_automove", |c| c.slab_automove == 1),
        ("slab_automove=2", |c| c.slab_automove == 2),
        ("no_slab_automove", |c| c.slab_automove == 0),
        ("slab_automove_ratio=1", |c| (c.slab_automove_ratio - 1.0).abs() < 1e-9),
        ("slab_automove_window=3", |c| c.slab_automove_window == 3),
        ("slab_automove_freeratio=0.1", |_| true),
        ("tail_repair_time=10", |c| c.tail_repair_time == 10),
        ("hash_algorithm=xxh3", |c| c.hash_algorithm == "xxh3"),
        ("no_lru_crawler", |c| !c.lru_crawler),
        ("no_lru_crawler,lru_crawler", |c| c.lru_crawler),
        ("lru_crawler_sleep=1000000", |c| c.lru_crawler_sleep == 1_000_000),
        ("lru_crawler_tocrawl=7", |c| c.lru_crawler_tocrawl == 7),
        ("no_lru_maintainer", |c| !c.lru_maintainer_thread && !c.lru_segmented),
        ("no_lru_maintainer,lru_maintainer", |c| c.lru_maintainer_thread),
        ("hot_lru_pct=1,warm_lru_pct=79", |c| c.hot_lru_pct == 1 && c.warm_lru_pct == 79),
        ("hot_max_factor=0.5,warm_max_factor=3", |c| c.hot_max_factor > 0.4 && c.warm_max_factor > 2.5),
        ("temporary_ttl=30", |c| c.temp_lru && c.temporary_ttl == 30),
        ("idle_timeout=30", |c| c.idle_timeout == 30),
        ("idle_timeout=x", |c| c.idle_timeout == 0),
        ("watcher_logbuf_size=1,worker_logbuf_size=2", |c| c.logger_buf_size == 2048),
        ("slab_sizes=100-200-300", |c| c.slab_sizes == [100, 200, 300]),
        ("slab_chunk_max=1024", |c| c.slab_chunk_size_max == 1 << 20),
        ("track_sizes", |c| c.track_sizes),
        ("no_chunked_items,inline_ascii_resp,no_inline_ascii_resp", |_| true),
        ("modern", |_| true),
        ("modern=1", |_| true),
        ("no_modern", |c| {
            c.slab_chunk_size_max == 1 << 20 && c.hash_algorithm == "jenkins" && !c.maxconns_fast
        }),
        ("drop_privileges", |c| c.drop_privileges),
        ("drop_privileges,no_drop_privileges", |c| !c.drop_privileges),
        ("resp_obj_mem_limit=3", |c| c.warnings.len() == 1),
        ("read_buf_mem_limit=3", |c| c.read_buf_mem_limit == 3 << 20),
        ("ssl_chain_cert=c,ssl_key=k,ssl_ca_cert=a,ssl_ciphers=x", |c| c.ssl.ca_cert.as_deref() == Some("a")),
        ("ssl_verify_mode=3", |c| c.ssl.verify_mode == VerifyMode::Once),
        ("ssl_keyformat=2,ssl_wbuf_size=8", |c| c.ssl.keyformat == 2 && c.ssl.wbuf_bytes == 8192),
        ("ssl_session_cache,ssl_kernel_tls", |c| c.ssl.session_cache && c.ssl.kernel_tls),
        ("ssl_min_version=3", |c| c.ssl.min_version == 3),
        ("''", |_| true),
    ];
    for (list, holds) in cases {
        let list = if *list == "''" { "" } else { list };
        assert!(holds(&config(&["-o", list])), "{list}");
    }
    let two = config(&["-o", "idle_timeout=1", "-o", "track_sizes,idle_timeout=2"]);
    assert!(two.track_sizes && two.idle_timeout == 2, "-o accumulates");
    let relaxed = parse_words(&["-o", "relaxed_privileges"]);
    assert_eq!(relaxed.is_ok(), cfg!(feature = "debug"));
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn suboption_errors_are_worded_as_by_memcached() {
    let cases: &[(&str, u8, &str)] = &[
        ("bogus=3", 1, "Illegal suboption \"bogus=3\""),
        ("modern,,modern", 1, "Illegal suboption \"\""),
        ("hashpower", 1, "Missing numeric argument for hashpower"),
        ("hashpower=11", 1, "Initial hashtable multiplier of 11 is too low"),
        (
            "hashpower=33",
            1,
            "Initial hashtable multiplier of 33 is too high\nChoose a value based on \"STAT hash_power_level\" \
             from a running instance",
        ),
        ("slab_automove=3", 1, "slab_automove must be between 0 and 2"),
        ("slab_automove_ratio", 1, "Missing slab_automove_ratio argument"),
        ("slab_automove_ratio=0", 1, "slab_automove_ratio must be > 0 and < 1"),
        ("slab_automove_window", 1, "Missing slab_automove_window argument"),
        ("slab_automove_window=2", 1, "slab_automove_window must be > 2 and < 1800"),
        ("slab_automove_window=1801", 1, "slab_automove_window must be > 2 and < 1800"),
        ("tail_repair_time", 1, "Missing numeric argument for tail_repair_time"),
        ("tail_repair_time=9", 1, "Cannot set tail_repair_time to less than 10 seconds"),
        ("hash_algorithm", 1, "Missing hash_algorithm argument"),
        ("hash_algorithm=x", 1, "Unknown hash_algorithm option (jenkins, murmur3, xxh3)"),
        ("lru_crawler_sleep", 1, "Missing lru_crawler_sleep value"),
        ("lru_crawler_sleep=1000001", 1, "LRU crawler sleep must be between 0 and 1 second"),
        ("lru_crawler_tocrawl", 1, "Missing lru_crawler_tocrawl value"),
        ("lru_crawler_tocrawl=x", 1, "lru_crawler_tocrawl takes a numeric 32bit value"),
        ("hot_lru_pct", 1, "Missing hot_lru_pct argument"),
        ("hot_lru_pct=80", 1, "hot_lru_pct must be > 1 and < 80"),
        ("warm_lru_pct=0", 1, "warm_lru_pct must be > 1 and < 80"),
        ("warm_lru_pct=61", 64, "hot_lru_pct + warm_lru_pct cannot be more than 80% combined"),
        ("hot_max_factor=0", 1, "hot_max_factor must be > 0"),
        ("warm_max_factor", 1, "Missing warm_max_factor argument"),
        ("temporary_ttl", 1, "Missing temporary_ttl argument"),
        ("temporary_ttl=5,no_lru_maintainer", 64, "temporary_ttl requires lru_maintainer to be enabled"),
        ("idle_timeout", 1, "Missing numeric argument for idle_timeout"),
        ("watcher_logbuf_size", 1, "Missing watcher_logbuf_size argument"),
        ("watcher_logbuf_size=x", 1, "could not parse argument to watcher_logbuf_size"),
        ("worker_logbuf_size=-1", 1, "could not parse argument to worker_logbuf_size"),
        ("read_buf_mem_limit=1x", 1, "could not parse argument to read_buf_mem_limit"),
        ("slab_sizes", 1, "Missing slab_sizes argument"),
        ("slab_sizes=100-50", 64, "slab size 50 cannot be lower than or equal to a previous class size"),
        ("slab_sizes=100-102", 64, "slab size 102 must be at least 8 bytes larger than previous class"),
        ("slab_sizes=0", 64, "slab size 0 is out of valid range"),
        ("slab_sizes=", 64, "slab size 0 is out of valid range"),
        ("slab_sizes=100-99999999", 64, "slab size 99999999 is out of valid range"),
        ("slab_chunk_max", 1, "Missing slab_chunk_max argument"),
        ("slab_chunk_max=0", 1, "slab_chunk_max must be >= 0"),
        ("slab_chunk_max=4294967296", 1, "slab_chunk_max must be >= 0"),
        ("slab_chunk_max=512x", 1, "could not parse argument to slab_chunk_max"),
        ("slab_chunk_max=", 1, "could not parse argument to slab_chunk_max"),
        ("slab_chunk_max=1025", 1, "slab_chunk_max must be specified in kilobytes."),
        (
            "slab_chunk_max=300",
            64,
            "-I (item_size_max: 1048576) must be evenly divisible by slab_chunk_max (bytes: 307200)",
        ),
        ("sock_cookie_id=3", 1, "sock_cookie_id is not supported: this server marks no sockets"),
        ("ssl_chain_cert", 1, "Missing ssl_chain_cert argument"),
        ("ssl_key", 1, "Missing ssl_key argument"),
        ("ssl_verify_mode=4", 1, "Invalid ssl_verify_mode. Use help to see valid options."),
        ("ssl_verify_mode=-1", 1, "Invalid ssl_verify_mode. Use help to see valid options."),
        ("ssl_min_version=-1", 1, "Invalid ssl_min_version. Use help to see valid options."),
        ("ssl_verify_mode=x", 1, "could not parse argument to ssl_verify_mode"),
        ("ssl_min_version=4", 1, "Invalid ssl_min_version. Use help to see valid options."),
        ("ssl_keyformat=x", 1, "could not parse argument to ssl_keyformat"),
        ("ssl_wbuf_size=x", 1, "could not parse argument to ssl_wbuf_size"),
        ("proxy_config=x", 1, "proxy_config is not supported: this server has no proxy"),
    ];
    for (list, status, message) in cases {
        let refusal = parse_words(&["-o", list]).expect_err(list);
        assert_eq!((refusal.lines.join("\n").as_str(), refusal.status), (*message, *status), "{list}");
    }
    let alone = parse_words(&["-I", "1536k", "-o", "slab_chunk_max=768"]).expect_err("no page divides so");
    assert_eq!(
        alone.lines,
        ["slab_chunk_max (bytes: 786432) must divide evenly into 1048576 (slab_page_size)"]
    );
}
