//! The command line as a whole: which lines are accepted, with which settings, and which are refused, with which message
//! and status.

use super::*;

fn environment() -> Environment {
    Environment {
        program: "memcached".to_owned(),
        cores: 8,
        large_pages: true,
        tls: true,
        sasl_pwdb: None,
        port_file: None,
    }
}

fn parse_words(args: &[&str]) -> Result<Request, StartupError> {
    let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
    parse(&args, &environment())
}

fn config(args: &[&str]) -> Config {
    match parse_words(args) {
        Ok(Request::Run(config)) => *config,
        other => panic!("{args:?}: {other:?}"),
    }
}

/// Splits a line as a shell does; `''` is an empty word.
fn words(line: &str) -> Vec<&str> {
    line.split(' ').map(|word| if word == "''" { "" } else { word }).collect()
}

#[test]
fn defaults_match_memcached() {
    assert_eq!(config(&[]), Config::default());
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn every_short_option_is_accepted() {
    type Check = fn(&Config) -> bool;
    let cases: &[(&str, Check)] = &[
        ("-p 11212", |c| c.tcpport == Some(11212)),
        ("-p 0", |c| c.tcpport.is_none() && c.listen.is_empty()),
        ("-p abc", |c| c.tcpport.is_none()),
        ("-p -1", |c| c.tcpport == Some(0)),
        ("-p 1 -p 2", |c| c.tcpport == Some(2)),
        ("-U 5", |c| c.udpport == Some(5) && c.tcpport == Some(5)),
        ("-U 5 -p 6", |c| c.udpport == Some(5) && c.tcpport == Some(6)),
        ("-U 0", |c| c.udpport.is_none() && c.tcpport == Some(11211)),
        ("-U -1 -p 6", |c| c.udpport == Some(0)),
        ("-s /tmp/s -a 0777", |c| c.access == 0o777 && c.listen.len() == 1),
        ("-a 9", |c| c.access == 0),
        ("-A", |c| c.shutdown_command),
        ("-l ::1 -l h:7,*", |c| c.inter.as_deref() == Some("::1,h:7,*") && c.listen.len() == 3),
        ("-l 127.0.0.1 -l 127.0.0", |c| c.inter.as_deref() == Some("127.0.0.1")),
        ("-l a;b", |c| c.listen.len() == 2 && c.num_threads_per_udp == 4),
        ("-l a,b", |c| c.num_threads_per_udp == 1),
        ("-d", |c| c.daemonize),
        ("-r", |c| c.core_dumps),
        ("-u memcache", |c| c.user.as_deref() == Some("memcache")),
        ("-m 100", |c| c.maxbytes == 100 << 20),
        ("-m 2", |c| c.maxbytes == 2 << 20),
        ("-M", |c| !c.evictions),
        ("-c 1", |c| c.maxconns == 1),
        ("-k", |c| c.lock_memory),
        ("-v", |c| c.verbosity == 1),
        ("-vvv -v --verbose=7", |c| c.verbosity == 5),
        ("-P /run/x", |c| c.pid_file.as_deref() == Some("/run/x")),
        ("-f 1.08", |c| (c.factor - 1.08).abs() < 1e-9),
        ("-n 480", |c| c.chunk_size == 480),
        ("-L", |c| c.large_pages && c.warnings.is_empty()),
        ("--io-engine=epoll", |c| c.io_engine == IoEngine::Epoll),
        ("--io-engine epoll --io-engine uring", |c| c.io_engine == IoEngine::Uring),
        ("--io auto", |c| c.io_engine == IoEngine::Auto),
        ("-t 3", |c| c.replicas == 3),
        ("-t 16", |c| c.replicas == 4),
        ("-t 16 --replicas=2", |c| c.replicas == 2),
        ("--replicas 16 -t 16", |c| c.replicas == 16),
        ("--pin-rings", |c| c.pin_rings),
        ("--ring-timeout=0", |c| c.ring_timeout_secs == 0),
        ("--ring-timeout 5", |c| c.ring_timeout_secs == 5),
        ("--metrics-port=9150", |c| c.metrics_port == Some(9150) && c.metrics_address == "127.0.0.1"),
        ("--metrics-port -1 --metrics-address ::", |c| {
            c.metrics_port == Some(0) && c.metrics_address == "::"
        }),
        ("--metrics-port=7 --metrics-port=0", |c| c.metrics_port.is_none()),
        ("--memory-l 100", |c| c.maxbytes == 100 << 20),
        ("--copy-from 10.0.0.1:11211", |c| c.copy_from.is_some() && c.copy_rate == COPY_RATE),
        ("--copy-from /run/a.sock --copy-rate=0", |c| c.copy_from.is_some() && c.copy_rate == 0),
        // A stray word, which is not the first.
        ("-v top", |c| c.verbosity == 1),
        ("-D ,x", |c| c.prefix_delimiter == b',' && c.detail_enabled),
        ("-t 1", |c| c.num_threads == 1),
        ("-t 65", |c| c.num_threads == 65 && c.warnings.len() == 2),
        ("-R 1", |c| c.reqs_per_event == 1),
        ("-C", |c| !c.cas_enabled),
        ("-b 10", |c| c.backlog == 10),
        ("-b abc", |c| c.backlog == 0),
        ("-B auto", |c| c.protocol == Protocol::Auto),
        ("-B ascii", |c| c.protocol == Protocol::Ascii),
        ("-B binary", |c| c.protocol == Protocol::Binary),
        ("-I 8m", |c| c.item_size_max == 8 << 20),
        ("-I 512K", |c| c.item_size_max == 512 << 10),
        ("-I 1024m -m 2048", |c| c.item_size_max == 1 << 30),
        ("-S", |c| c.sasl && c.protocol == Protocol::Binary),
        ("-S -B binary", |c| c.protocol == Protocol::Binary),
        ("-F", |c| !c.flush_enabled),
        ("-X", |c| !c.dump_enabled),
        ("-W", |c| !c.watch_enabled),
        ("-Y /etc/users", |c| c.auth_file.is_some() && c.protocol == Protocol::Ascii),
        ("-e /mnt/items", |c| c.memory_file.as_deref() == Some("/mnt/items") && c.warnings.is_empty()),
        ("-Z", |c| c.ssl_enabled && c.listen[0].tls == ListenTls::On),
        ("-Z -l notls:h -U 7", |c| c.listen.iter().all(|listener| listener.tls == ListenTls::Off)),
        ("memcached -m 64", |c| c.maxbytes == 64 << 20),
    ];
    for (line, holds) in cases {
        assert!(holds(&config(&words(line))), "{line}");
    }
}

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
fn option_errors_are_worded_as_by_memcached() {
    let cases: &[(&str, u8, &str)] = &[
        ("-q", 1, "memcached: invalid option -- 'q'\nIllegal argument \"?\""),
        ("-p", 1, "memcached: option requires an argument -- 'p'\nIllegal argument \"?\""),
        ("-p 65536", 64, "ERROR: Invalid port number 65536."),
        ("-U 99999", 64, "ERROR: Invalid port number 99999."),
        ("-p -2", 64, "ERROR: Invalid port number -2."),
        ("-m 0", 64, "Cannot set item size limit higher than 1/2 of memory max."),
        ("-m 1", 64, "Cannot set item size limit higher than 1/2 of memory max."),
        ("-m abc", 64, "Cannot set item size limit higher than 1/2 of memory max."),
        ("-m -5", 64, "Cannot set item size limit higher than 1/2 of memory max."),
        ("-c 0", 1, "Maximum connections must be greater than 0"),
        ("-c -1", 1, "Maximum connections must be greater than 0"),
        ("-f 1", 1, "Factor must be greater than 1"),
        ("-f x", 1, "Factor must be greater than 1"),
        ("-n 0", 1, "Chunk size must be greater than 0"),
        ("-D ''", 1, "No delimiter specified"),
        ("-t 0", 1, "Number of threads must be greater than 0"),
        ("-t 0 -h", 1, "Number of threads must be greater than 0"),
        ("-t 0 -q", 1, "Number of threads must be greater than 0"),
        ("-t 0 -t 4", 1, "Number of threads must be greater than 0"),
        ("-t 1025", 1, "Number of threads cannot be greater than 1024"),
        ("-R 0", 1, "Number of requests per event must be greater than 0"),
        (
            "-B foo",
            64,
            "Invalid value for binding protocol: foo\n -- should be one of auto, binary, or ascii",
        ),
        (
            "--io-engine=kqueue",
            64,
            "Invalid value for I/O engine: kqueue\n -- should be one of auto, uring, or epoll",
        ),
        ("-t 4 --replicas=0", 1, "Number of replicas must be greater than 0"),
        ("-t 4 --replicas=5", 1, "Number of replicas cannot be greater than the number of threads, 4"),
        ("--ring-timeout=3", 1, "Ring timeout must be 0 or at least 4 seconds"),
        ("--ring-timeout=-1", 1, "Ring timeout must be 0 or at least 4 seconds"),
        ("--metrics-port=65536", 64, "ERROR: Invalid port number 65536."),
        (
            "--health 11211",
            1,
            "Invalid address for --health: 11211\n -- should be host:port, or the path of a UNIX socket",
        ),
        (
            "--health h:1 --health-timeout 0",
            1,
            "--health-timeout must be greater than 0 and at most 3600 seconds",
        ),
        ("--print=pdf", 1, "Invalid document for --print: pdf\n -- should be one of man, bash, zsh, fish"),
        ("-I 1023", 64, "Item max size cannot be less than 1024 bytes."),
        ("-I 2g", 64, "Item max size cannot be less than 1024 bytes."),
        ("-I 1025m -m 4000", 64, "Cannot set item size limit higher than a gigabyte."),
        ("-I 33m", 64, "Cannot set item size limit higher than 1/2 of memory max."),
        ("-I 4k", 64, "slab_chunk_max (bytes: 524288) cannot be larger than -I (item_size_max 4096)"),
        (
            "-I 600k",
            64,
            "-I (item_size_max: 614400) must be evenly divisible by slab_chunk_max (bytes: 524288)",
        ),
        ("-S -B auto", 64, "ERROR: You cannot allow the ASCII protocol while using SASL."),
        ("-B ascii -S", 64, "ERROR: You cannot allow the ASCII protocol while using SASL."),
        ("-S -U 7", 64, "ERROR: Cannot enable UDP while using binary SASL authentication."),
        (
            "-Y f -B binary",
            64,
            "ERROR: You cannot allow the BINARY protocol while using ascii authentication tokens.",
        ),
        ("-Y f -U 7", 64, "Cannot use UDP with ascii authentication enabled (-U 0 to disable)"),
        ("-Z -p 0", 64, "ERROR: You cannot enable SSL without a TCP port."),
        ("-N 2", 64, "-N is not supported: this server does not assign connections by NAPI id."),
        (
            "-l h:x",
            71,
            "Invalid port number: \"x\"\nfailed to listen on one of interface(s) h:x: Invalid argument",
        ),
    ];
    for (line, status, message) in cases {
        let refusal = parse_words(&words(line)).expect_err(line);
        assert_eq!((refusal.lines.join("\n").as_str(), refusal.status), (*message, *status), "{line}");
    }
}

/// The binary protocol would get around the login of -Y, so nothing may speak it.
#[test]
fn a_text_login_refuses_other_protocols() {
    for (line, status, message) in [
        (
            "-Y f -B auto",
            64,
            "ERROR: You cannot allow the BINARY protocol while using ascii authentication tokens.",
        ),
        (
            "-Y f -l h,proto[binary]:g",
            71,
            "Cannot use binary protocol when ascii authentication enabled\n\
             failed to listen on one of interface(s) h,proto[binary]:g: Invalid argument",
        ),
    ] {
        let refusal = parse_words(&words(line)).expect_err(line);
        assert_eq!((refusal.lines.join("\n").as_str(), refusal.status), (message, status), "{line}");
    }
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
        ("ssl_verify_mode=x", 1, "could not parse argument to ssl_verify_mode"),
        ("ssl_min_version=4", 1, "Invalid ssl_min_version. Use help to see valid options."),
        ("ssl_keyformat=x", 1, "could not parse argument to ssl_keyformat"),
        ("ssl_wbuf_size=x", 1, "could not parse argument to ssl_wbuf_size"),
        ("ext_path=/x:1G", 1, "ext_path is not supported: this server has no external storage"),
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

#[test]
fn help_version_and_licence_are_printed() {
    for (option, first) in
        [("-h", "memcached 1.6.45"), ("-V", "memcached 1.6.45"), ("-i", "memcached 1.6.45")]
    {
        let Ok(Request::Print(text)) = parse_words(&["-v", option, "-q"]) else { panic!("{option}") };
        assert_eq!(text.lines().next(), Some(first));
    }
}

#[test]
fn machine_and_environment_count() {
    let lesser = Environment { cores: 2, large_pages: false, tls: false, ..environment() };
    let parse_in = |args: &[&str]| {
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        parse(&args, &lesser)
    };
    let threads = |args| match parse_in(args) {
        Ok(Request::Run(config)) => config.num_threads,
        other => panic!("{other:?}"),
    };
    assert_eq!(threads(&[]), 2, "no more rings than cores");
    assert_eq!(threads(&["-t", "6"]), 6, "unless asked for");
    assert_eq!(parse_in(&["-L"]), Err(StartupError::new(1, "Cannot enable large pages on this system")));
    assert_eq!(parse_in(&["-Z"]), Err(StartupError::new(64, "This server is not built with TLS support.")));
}

#[test]
fn listeners_follow_from_the_settings() {
    let tcp = |host: Option<&str>, port| Endpoint::Tcp { host: host.map(str::to_owned), port };
    let endpoints = |args: &[&str]| -> Vec<Endpoint> {
        config(args).listen.into_iter().map(|listener| listener.endpoint).collect()
    };
    assert_eq!(endpoints(&[]), [tcp(None, 11211)]);
    assert_eq!(endpoints(&["-l", "h,[::1]:7"]), [tcp(Some("h"), 11211), tcp(Some("::1"), 7)]);
    let udp = Endpoint::Udp { host: None, port: 9 };
    assert_eq!(endpoints(&["-U", "9", "-p", "8"]), [tcp(None, 8), udp]);
    let unix = Endpoint::Unix { path: "/tmp/s".to_owned(), mode: 0o700 };
    assert_eq!(endpoints(&["-s", "/tmp/s", "-U", "9"]), [unix]);
    let listen = &config(&["-B", "binary", "-l", "proto[ascii]:tag[x]:h"]).listen[0];
    assert_eq!((listen.protocol, listen.tag.as_deref()), (Protocol::Ascii, Some("x")));
    assert_eq!(config(&["-S"]).listen[0].protocol, Protocol::Binary);
    assert_eq!(config(&["-S", "-Y", "f"]).listen[0].protocol, Protocol::Ascii);
    assert_eq!(config(&["-Y", "f", "-l", "proto[negotiating]:h"]).listen[0].protocol, Protocol::Ascii);
}

/// What Debian's `systemd-memcached-wrapper` makes of the stock `/etc/memcached.conf`: the file's lines that begin
/// with a dash, without `-d` and comments, joined by spaces.
#[test]
fn debians_stock_configuration_is_accepted() {
    let stock = "-d\nlogfile /var/log/memcached.log\n# -v\n-m 64\n-p 11211\n-u memcache\n-l 127.0.0.1\n# -c 1024\n\
                 -P /var/run/memcached/memcached.pid\n";
    let kept: Vec<&str> = stock
        .lines()
        .map(|line| line.split('#').next().unwrap_or("").trim())
        .filter(|line| line.starts_with('-') && !line.starts_with("-d") && !line.starts_with("-h"))
        .collect();
    let config = config(&words(&kept.join(" ")));
    assert_eq!(config.user.as_deref(), Some("memcache"));
    assert_eq!(config.inter.as_deref(), Some("127.0.0.1"));
    assert_eq!(config.pid_file.as_deref(), Some("/var/run/memcached/memcached.pid"));
    assert!(!config.daemonize && config.maxbytes == 64 << 20);
}

/// The shipped settings file, as the wrapper reads it.
#[test]
fn the_shipped_settings_are_accepted() {
    let lines = include_str!("../ship/memcrsd.conf").lines();
    let kept: Vec<&str> = lines.filter(|line| line.starts_with('-')).collect();
    let config = config(&words(&kept.join(" ")));
    assert_eq!((config.tcpport, config.maxconns, config.maxbytes), (Some(11211), 1024, 64 << 20));
    assert_eq!(config.inter.as_deref(), Some("127.0.0.1,::1"));
    assert!(config.user.is_none() && !config.daemonize, "systemd sees to both");
}

#[test]
fn stats_settings_match_memcached_in_names_and_order() {
    let config = config(&["-m", "100", "-D", "#", "-a", "0770", "-Y", "/etc/users"]);
    let lines: Vec<_> = settings(&config, &RuntimeSettings::new(&config)).collect();
    let names: Vec<&str> = lines.iter().map(|&(name, _)| name).collect();
    let expected = "maxbytes maxconns tcpport udpport inter verbosity oldest evictions domain_socket umask \
        shutdown_command growth_factor chunk_size num_threads num_threads_per_udp stat_key_prefix detail_enabled \
        reqs_per_event cas_enabled tcp_backlog binding_protocol auth_enabled_sasl auth_enabled_ascii item_size_max \
        maxconns_fast hashpower_init slab_reassign slab_automove slab_automove_ratio slab_automove_window \
        slab_chunk_max lru_crawler lru_crawler_sleep lru_crawler_tocrawl tail_repair_time flush_enabled dump_enabled \
        hash_algorithm lru_maintainer_thread lru_segmented hot_lru_pct warm_lru_pct hot_max_factor warm_max_factor \
        temp_lru temporary_ttl idle_timeout watcher_logbuf_size worker_logbuf_size read_buf_mem_limit track_sizes \
        inline_ascii_response num_napi_ids memory_file client_flags_size io_engine replicas pin_rings ring_timeout metrics_port metrics_address";
    let tls = names.iter().filter(|name| name.starts_with("ssl_")).count();
    assert_eq!(tls, if HAS_TLS { 11 } else { 0 });
    let plain: Vec<&str> = names.into_iter().filter(|name| !name.starts_with("ssl_")).collect();
    assert_eq!(plain, expected.split_whitespace().collect::<Vec<_>>());
    for (name, value) in [
        ("maxbytes", "104857600"),
        ("inter", "NULL"),
        ("evictions", "on"),
        ("umask", "770"),
        ("growth_factor", "1.25"),
        ("stat_key_prefix", "#"),
        ("detail_enabled", "yes"),
        ("binding_protocol", "ascii"),
        ("auth_enabled_ascii", "/etc/users"),
        ("slab_automove_ratio", "0.80"),
        ("memory_file", "(null)"),
    ] {
        assert!(lines.contains(&(name, value.to_owned())), "{name} {value}");
    }
}

/// Parts of random words, besides the options themselves.
#[rustfmt::skip]
const PIECES: &[&str] = &[
    "-1", "0", "1", "2", "8", "12", "79", "1024", "11211", "65535", "65536", "2147483647", "99999999999", "-", "--",
    "=", ",", ":", ";", "[", "]", "[::1]", "*", "h", "é", "k", "m", "M", ".", "e", "1e9", "nan", "inf", " ", "",
    "binary", "tag[x]:", "tag_", "notls:", "proto[ascii]:", "slab_sizes=", "100-200", "hashpower=", "no_modern",
    "slab_chunk_max=", "temporary_ttl=", "hot_lru_pct=", "ssl_min_version=", "idle_timeout=",
];

fn random_word(random: &mut fastrand::Rng) -> String {
    let spec = &help::SPECS[random.usize(..help::SPECS.len())];
    let mut word = match (random.u8(..4), spec.short) {
        (0, Some(short)) => format!("-{short}"),
        (1, _) => format!("--{}", spec.long),
        (2, _) => format!("--{}=", spec.long),
        _ => String::new(),
    };
    for _ in 0..random.usize(..3) {
        word.push_str(PIECES[random.usize(..PIECES.len())]);
    }
    word
}

fn holds_together(config: &Config) -> bool {
    (1..=1024).contains(&config.num_threads)
        && config.maxconns > 0
        && config.reqs_per_event > 0
        && config.factor > 1.0
        && config.chunk_size > 0
        && (1024..=1 << 30).contains(&config.item_size_max)
        && config.item_size_max <= config.maxbytes / 2
        && config.slab_chunk_size_max > 0
        && config.hot_lru_pct + config.warm_lru_pct <= 80
        && !(config.sasl && config.auth_file.is_none() && config.protocol != Protocol::Binary)
        && !(config.auth_file.is_some() && config.protocol != Protocol::Ascii)
        && !(config.auth_file.is_some() && config.protocol != Protocol::Ascii)
        && !(config.socketpath.is_some() && config.listen.len() != 1)
}

/// True for a refusal worded like memcached's, not like argh's.
fn is_in_words(refusal: &StartupError) -> bool {
    let of_argh = |line: &String| line.contains("rror parsing") || line.contains("nrecognized argument");
    [1, 64, 71].contains(&refusal.status)
        && !refusal.lines.is_empty()
        && !refusal.lines.iter().any(|line| line.is_empty() || of_argh(line))
}

/// Any command line gives either a refusal with a message, or a consistent configuration.
#[test]
fn no_command_line_gives_an_inconsistent_configuration() {
    let seed = crate::fuzzing::seed(1);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut started = 0;
    for _ in 0..20_000 {
        let args: Vec<String> = (0..random.usize(..6)).map(|_| random_word(&mut random)).collect();
        match parse(&args, &environment()) {
            Err(refusal) => assert!(is_in_words(&refusal), "seed {seed}: {args:?}: {refusal:?}"),
            Ok(Request::Print(text)) => assert!(text.starts_with("memcached 1.6.45\n")),
            Ok(Request::Probe(probe)) => assert!(!probe.timeout.is_zero()),
            Ok(Request::Top(_)) => {}
            Ok(Request::Run(config)) => {
                assert!(holds_together(&config), "seed {seed}: {args:?}: {config:?}");
                started += 1;
            }
        }
    }
    assert!(started > 1_000, "seed {seed}: only {started} of 20000 lines start");
}

#[test]
fn health_takes_an_address_or_a_path() {
    let probe = |line: &str| match parse_words(&words(line)) {
        Ok(Request::Probe(probe)) => probe,
        other => panic!("{line}: {other:?}"),
    };
    let tcp = |host: &str, port| ProbeTarget::Tcp { host: host.to_owned(), port };
    for (line, target) in [
        ("--health 127.0.0.1:11211", tcp("127.0.0.1", 11211)),
        ("--health=[::1]:7", tcp("::1", 7)),
        ("--health cache.example:7", tcp("cache.example", 7)),
        ("--health /run/m.sock", ProbeTarget::Unix("/run/m.sock".to_owned())),
        ("--health unix:./m:7", ProbeTarget::Unix("./m:7".to_owned())),
        ("-p 7 -m 64 --health h:1 --health h:2", tcp("h", 2)),
    ] {
        assert_eq!(probe(line), Probe { target, timeout: Duration::from_secs(2) }, "{line}");
    }
    assert_eq!(probe("--health h:1 --health-timeout 0.5").timeout, Duration::from_millis(500));
}

/// An abbreviation of a memcached option keeps its meaning beside the options memcrsd adds.
#[test]
fn abbreviations_keep_memcacheds_meaning() {
    for line in ["--h", "--he", "--hel"] {
        assert!(
            matches!(parse_words(&[line]), Ok(Request::Print(text)) if text.contains("--port")),
            "{line}"
        );
    }
    let refusal = parse_words(&["--me"]).unwrap_err();
    let possible = "memcached: option '--me' is ambiguous; possibilities: '--memory-limit' '--memory-file'";
    assert_eq!(refusal.lines[0], possible);
}

#[test]
fn top_takes_one_address() {
    let tcp = |host: &str, port| ProbeTarget::Tcp { host: host.to_owned(), port };
    for (words, target) in [
        (&["top"][..], tcp("127.0.0.1", 11211)),
        (&["top", "cache:1"], tcp("cache", 1)),
        (&["top", "[::1]:11211"], tcp("::1", 11211)),
        (&["top", "/run/a.sock"], ProbeTarget::Unix("/run/a.sock".to_owned())),
    ] {
        assert_eq!(parse_words(words), Ok(Request::Top(target)), "{words:?}");
    }
    let bad_copies = [&["--copy-from", "cache"][..], &["--copy-rate", "-1"]];
    for words in
        [&["top", "cache"][..], &["top", "cache:1", "cache:2"], &["top", "-v"]].into_iter().chain(bad_copies)
    {
        assert!(matches!(parse_words(words), Err(StartupError { status: EX_BAD_VALUE, .. })), "{words:?}");
    }
}
