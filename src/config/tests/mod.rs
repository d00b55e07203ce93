//! Tests of the command line as a whole: which lines are accepted, with which settings, and which are refused, with which
//! message and status.

mod flash;
mod options;
mod random;
mod suboptions;

use super::*;
use std::time::Duration;

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
    let replicas = |args| match parse_in(args) {
        Ok(Request::Run(config)) => config.replicas,
        other => panic!("{other:?}"),
    };
    assert_eq!(replicas(&["-t", "2"]), 2, "each on a core of its own");
    assert_eq!(replicas(&["-t", "3"]), 1, "they share in any case");
    assert_eq!(replicas(&["-t", "4", "--replicas=4"]), 4, "unless asked for");
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
    assert_eq!(config(&[]).listen, Config::default().listen);
    let listen = &config(&["-B", "binary", "-l", "proto[ascii]:tag[x]:h"]).listen[0];
    assert_eq!((listen.protocol, listen.tag.as_deref()), (Protocol::Ascii, Some("x")));
    assert_eq!(config(&["-S"]).listen[0].protocol, Protocol::Binary);
    assert_eq!(config(&["-S", "-Y", "f"]).listen[0].protocol, Protocol::Ascii);
    assert_eq!(config(&["-Y", "f", "-l", "proto[negotiating]:h"]).listen[0].protocol, Protocol::Ascii);
}

/// The arguments are those that Debian's `systemd-memcached-wrapper` makes of the stock `/etc/memcached.conf`: the lines of the
/// file that begin with a dash, without `-d` and comments, joined by spaces.
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

/// The arguments are those that Debian's wrapper makes of the shipped settings file.
#[test]
fn the_shipped_settings_are_accepted() {
    let lines = include_str!("../../ship/memcrsd.conf").lines();
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
        inline_ascii_response ext_item_size ext_item_age ext_low_ttl ext_recache_rate ext_wbuf_size \
        ext_compact_under ext_drop_under ext_max_sleep ext_max_frag slab_automove_freeratio ext_drop_unread num_napi_ids memory_file client_flags_size io_engine replicas serving_rings pin_rings ring_timeout metrics_port metrics_address";
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

/// An abbreviation of one of memcached's options means the same although memcrsd has more options.
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
