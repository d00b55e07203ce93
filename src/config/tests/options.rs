//! Tests of the options of one letter, and of the words of errors in them.

use super::*;
use crate::limits::COPY_RATE;

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
        ("-t 4 -o ext_path=f:64m", |c| c.replicas == 2),
        ("-t 1 -o ext_path=f:64m", |c| c.replicas == 1),
        ("-t 4 --replicas=4 -o ext_path=f:64m", |c| c.replicas == 4),
        ("-t 4", |c| c.serving_rings.is_none()),
        ("-t 4 --serving-rings=3", |c| c.serving_rings == Some(3)),
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
        // `top` is a stray word unless it is the first word.
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
        ("--serving-rings=0", 1, "Number of serving rings must be greater than 0"),
        (
            "-t 2 --serving-rings=3",
            1,
            "Number of serving rings cannot be greater than the number of threads, 2",
        ),
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

/// The binary protocol would bypass the login of -Y, so no listener may speak it.
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
