//! The texts of `-h`, `-V` and `-i`, and the table of options that help, getopt and `documents` share. Constants and pure
//! functions.

use super::getopt::{Spec, Takes};
use std::fmt::Write as _;

/// The version of memcached whose behaviour this server has. Clients and tools choose features by it.
pub use crate::limits::MEMCACHED_VERSION;
/// The version of memcrsd, which `-V` and `stats memcrsd` show.
pub const OWN_VERSION: &str = env!("CARGO_PKG_VERSION");

const LICENCE: &str = include_str!("licence.txt");

/// Returns the text of `-V`. Its first line is the same as memcached's, because scripts parse it.
pub(super) fn version() -> String {
    format!("memcached {MEMCACHED_VERSION}\nmemcrsd {OWN_VERSION}\n")
}

/// Returns the text of `-i`: the versions and the licence.
pub(super) fn licence() -> String {
    format!("memcached {MEMCACHED_VERSION}\nmemcrsd {OWN_VERSION}\n\n{LICENCE}")
}

/// Returns the text of `-h`, laid out like memcached's. Without `tls` it does not show the TLS options.
pub(super) fn help(tls: bool) -> String {
    let mut text = format!("memcached {MEMCACHED_VERSION}\n");
    let exists = |spec: &&Spec| !spec.help.is_empty() && (tls || spec.long != "enable-ssl");
    for spec in SPECS.iter().filter(exists) {
        let mut name = match spec.short {
            Some(letter) => format!("-{letter}, --{}", spec.long),
            None => format!("    --{}", spec.long),
        };
        if spec.takes == Takes::Value {
            let _ = write!(name, "=<{}>", spec.value);
        }
        for (line, help) in spec.help.iter().enumerate() {
            let _ = writeln!(text, "{:<25} {help}", if line == 0 { name.as_str() } else { "" });
        }
        if spec.long == "verbose" {
            text.push_str(MORE_VERBOSE);
        }
    }
    for part in extended_texts() {
        if tls || part != EXTENDED_TLS {
            text.push_str(part);
        }
    }
    text
}

/// Returns the help's paragraphs about the names that `-o` takes, in order. The last paragraph lists the names without effect.
pub(super) fn extended_texts() -> [&'static str; 4] {
    [EXTENDED, EXTENDED_FLASH, EXTENDED_TLS, EXTENDED_WITHOUT_EFFECT]
}

const fn flag(short: char, long: &'static str, help: &'static [&'static str]) -> Spec {
    Spec { short: Some(short), long, takes: Takes::Nothing, value: "", help }
}

const fn value(short: char, long: &'static str, value: &'static str, help: &'static [&'static str]) -> Spec {
    Spec { short: Some(short), long, takes: Takes::Value, value, help }
}

/// Returns an option that memcached does not have, with a value and without a letter.
const fn own(long: &'static str, value: &'static str, help: &'static [&'static str]) -> Spec {
    Spec { short: None, long, takes: Takes::Value, value, help }
}

/// All options, in the order of the help. An option without help text exists only to be refused by its name.
pub(super) const SPECS: &[Spec] = &[
    value('p', "port", "num", &["TCP port to listen on (default: 11211; 0: off, -1: any free one)"]),
    value('U', "udp-port", "num", &["UDP port to listen on (default: 0, off)"]),
    value('s', "unix-socket", "file", &["UNIX socket to listen on (disables network support)"]),
    value('a', "unix-mask", "mask", &["access mask for UNIX socket, in octal (default: 700)"]),
    flag('A', "enable-shutdown", &["enable ascii \"shutdown\" command"]),
    value(
        'l',
        "listen",
        "addr",
        &[
            "interface to listen on (default: INADDR_ANY), as",
            "[notls:|btls:|mtls:][proto[ascii|binary|negotiating]:]host[:port];",
            "several with commas or by repeating -l",
        ],
    ),
    flag('d', "daemon", &["run as a daemon"]),
    flag('r', "enable-coredumps", &["maximize core file limit"]),
    value('u', "user", "user", &["assume identity of <username> (only when run as root)"]),
    value(
        'm',
        "memory-limit",
        "num",
        &[
            "memory in megabytes for everything that grows with items:",
            "items, every thread's index, eviction history (default: 64)",
        ],
    ),
    flag('M', "disable-evictions", &["return error on memory exhausted instead of evicting"]),
    value('c', "conn-limit", "num", &["max simultaneous connections (default: 1024)"]),
    flag('k', "lock-memory", &["lock down all paged memory"]),
    Spec {
        short: Some('v'),
        long: "verbose",
        takes: Takes::Ignored,
        value: "",
        help: &["verbose (print errors/warnings while in event loop)"],
    },
    flag('h', "help", &["print this help and exit"]),
    flag('i', "license", &["print the licence and exit"]),
    flag('V', "version", &["print version and exit"]),
    value('P', "pidfile", "file", &["save PID in <file>"]),
    value(
        'f',
        "slab-growth-factor",
        "num",
        &[
            "growth factor of the size classes in statistics",
            "(default: 1.25); items are not rounded up to them",
        ],
    ),
    value(
        'n',
        "slab-min-size",
        "bytes",
        &["smallest size class in statistics", "(key+value+flags, default: 48)"],
    ),
    flag('L', "enable-largepages", &["keep items in huge pages (madvise)"]),
    value(
        'D',
        "delimiter",
        "char",
        &[
            "use <char> as the delimiter between key prefixes and",
            "IDs for stats per prefix, and enable them (default: \":\")",
        ],
    ),
    value(
        't',
        "threads",
        "num",
        &["number of threads, one ring each (default: 4, or the", "number of cores if that is less)"],
    ),
    value(
        'R',
        "max-reqs-per-event",
        "num",
        &["maximum number of requests of one connection before", "others are served (default: 20)"],
    ),
    flag('C', "disable-cas", &["disable use of CAS"]),
    value('b', "listen-backlog", "num", &["set the backlog queue limit (default: 1024)"]),
    value(
        'B',
        "protocol",
        "name",
        &["protocol - one of ascii, binary, or auto (default:", "auto-negotiate)"],
    ),
    value('I', "max-item-size", "num", &["adjusts max item size (default: 1m, min: 1k, max: 1024m)"]),
    flag(
        'S',
        "enable-sasl",
        &[
            "turn on SASL authentication (PLAIN; password file in",
            "the environment variable MEMCACHED_SASL_PWDB)",
        ],
    ),
    flag('F', "disable-flush-all", &["disable flush_all command"]),
    flag('X', "disable-dumping", &["disable stats cachedump and lru_crawler metadump"]),
    flag('W', "disable-watch", &["disable watch commands (live logging)"]),
    value(
        'Y',
        "auth-file",
        "file",
        &["enable ASCII protocol authentication. format:", "user:pass\\nuser2:pass2\\n"],
    ),
    value(
        'e',
        "memory-file",
        "file",
        &[
            "keep the items in <file>, on a tmpfs or DAX: the next",
            "server that is given it has them again, however this",
            "one ends, unless the machine ends with it",
        ],
    ),
    flag('Z', "enable-ssl", &["enable TLS/SSL"]),
    value('o', "extended", "list", &["comma separated list of extended options"]),
    own(
        "io-engine",
        "name",
        &[
            "I/O engine - one of uring, epoll, or auto (default: auto,",
            "which is uring if it is allowed, else epoll)",
        ],
    ),
    own(
        "replicas",
        "num",
        &[
            "number of indexes over all items, each shared by",
            "neighbouring threads (default: one per thread if that",
            "is no more than 4 and the cores, else one per 2 cores,",
            "up to 4; up to 2 with -o ext_path)",
        ],
    ),
    own(
        "serving-rings",
        "num",
        &[
            "number of threads that serve connections; the others",
            "are spares (default: as many as the cores that the",
            "process may use)",
        ],
    ),
    Spec {
        short: None,
        long: "pin-rings",
        takes: Takes::Nothing,
        value: "",
        help: &["keep each thread on a core of its own (default: off)"],
    },
    own(
        "ring-timeout",
        "secs",
        &[
            "abort the process when a ring has been stuck for this",
            "many seconds (default: 60, min: 4, 0: never)",
        ],
    ),
    own(
        "metrics-port",
        "num",
        &["port for Prometheus metrics by HTTP", "(default: 0, off; -1: any free one)"],
    ),
    own("metrics-address", "addr", &["interface for --metrics-port (default: 127.0.0.1)"]),
    own(
        "health",
        "addr",
        &[
            "check that the server at <host:port>, or at the UNIX",
            "socket <file>, answers; exit with 0 if it does, else 1",
        ],
    ),
    own("health-timeout", "secs", &["timeout of --health (default: 2)"]),
    own(
        "copy-from",
        "addr",
        &[
            "bring along the items of the memcached at <host:port>, or",
            "at the UNIX socket <file>, while serving; what clients",
            "write here is never replaced",
        ],
    ),
    own(
        "copy-rate",
        "num",
        &[
            "items a second that --copy-from takes; values over 1 KB",
            "count once for each KB (default: 50000, 0: no limit)",
        ],
    ),
    own(
        "print",
        "what",
        &["print the man page (man) or a shell's completions", "(bash, zsh, fish) and exit"],
    ),
    value('N', "napi-ids", "num", &[]),
];

pub(super) const MORE_VERBOSE: &str = "\
-vv                       very verbose (also print client commands/responses)
-vvv                      extremely verbose (internal state transitions)
";

const EXTENDED: &str = "                          \
most options have a 'no_' prefix to disable
   - maxconns_fast:       immediately close new connections after limit (default: enabled)
   - no_slab_reassign:    refuse the \"slabs reassign\" command
   - no_lru_crawler:      disable the background sweep for expired items
   - no_lru_maintainer:   hide the statistics of the LRU maintainer
   - idle_timeout:        timeout for idle connections in seconds (default: 0, no timeout)
   - slab_chunk_max:      largest size class in statistics, in kilobytes (default: 512)
   - watcher_logbuf_size: size in kilobytes of per-watcher write buffer. (default: 256)
   - read_buf_mem_limit:  megabytes for buffers that requests are read into, shared by
                          the threads; a waiting client has none (default: 0, no limit)
   - track_sizes:         enable dynamic reports for 'stats sizes' command.
   - drop_privileges:     forbid the process all system calls that serving does not take
";

const EXTENDED_FLASH: &str =
    "   - ext_path:            file on flash for values that memory has no room for, and its size
                          (m, g, t or p), ie: ext_path=/mnt/d1/memcrsd:100g; may repeat
   - ext_page_size:       megabytes of such a file that are evicted together (default: 64)
   - ext_wbuf_size:       megabytes that are written together (default: 4)
   - ext_item_size:       items larger than this go to flash (bytes, default: 512)
   - ext_item_age:        items idle for this long go to flash while memory has room
                          (seconds, default: no age limit)
   - ext_recache_rate:    0: values that are read often stay on flash; else they are
                          brought back to memory (default: 2000)
";

const EXTENDED_TLS: &str = "   - ssl_chain_cert:      certificate chain file in PEM format
   - ssl_key:             private key, if not part of the -ssl_chain_cert
   - ssl_verify_mode:     peer certificate verification mode, default is 0(None).
                          valid values are 0(None), 1(Request), 2(Require)
                          or 3(Once)
   - ssl_ca_cert:         PEM format file of acceptable client CA's
   - ssl_min_version:     minimum protocol version to accept (default: tlsv1.2)
                          valid values are 0(tlsv1.0), 1(tlsv1.1), 2(tlsv1.2), or 3(tlsv1.3);
                          1.0 and 1.1 are not supported: 0 and 1 mean 2
   - ssl_keyformat:       format of the private key: 1(PEM, the default) or 2(DER)
   - ssl_session_cache:   count new sessions as ssl_new_sessions (default: off);
                          clients may resume sessions by tickets in any case
";

const EXTENDED_WITHOUT_EFFECT: &str =
    "   Checked and shown in \"stats settings\", but without effect: they tune memcached's
   slab allocator, hash table, LRU and storage threads, which memcrsd lacks.
   - hashpower, no_hashexpand, hash_algorithm, tail_repair_time, slab_sizes,
     slab_automove, slab_automove_ratio, slab_automove_window,
     slab_automove_freeratio, lru_crawler_sleep, lru_crawler_tocrawl,
     hot_lru_pct, warm_lru_pct, hot_max_factor, warm_max_factor, temporary_ttl,
     worker_logbuf_size, no_chunked_items, inline_ascii_resp,
     resp_obj_mem_limit, modern, no_modern, ext_threads, ext_io_depth,
     ext_low_ttl, ext_compact_under, ext_drop_under, ext_max_sleep,
     ext_max_frag, ext_drop_unread,
     ssl_* without -Z; with it ssl_ciphers (warns), ssl_wbuf_size, ssl_kernel_tls
   Refused: proxy_* (the Lua proxy), sock_cookie_id, and -N.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_find_the_version_in_the_first_line() {
        assert_eq!(help(true).lines().next(), Some("memcached 1.6.45"));
        assert_eq!(version().lines().next(), Some("memcached 1.6.45"));
        assert_eq!(version().lines().nth(1), Some(concat!("memcrsd ", env!("CARGO_PKG_VERSION"))));
        assert!(licence().contains("MIT"));
    }

    #[test]
    fn help_names_every_option_and_fits_a_screen() {
        assert!(!help(false).contains("--enable-ssl") && !help(false).contains("ssl_key:"));
        let help = help(true);
        for spec in SPECS.iter().filter(|spec| spec.long != "napi-ids") {
            assert!(help.contains(&format!("--{}", spec.long)), "{}", spec.long);
        }
        for line in help.lines() {
            assert!(line.chars().count() <= 96, "{line}");
        }
    }

    #[test]
    fn spellings_are_unique() {
        for (at, spec) in SPECS.iter().enumerate() {
            for other in &SPECS[at + 1..] {
                assert_ne!(spec.long, other.long);
                assert!(spec.short.is_none() || spec.short != other.short, "{}", spec.long);
            }
        }
    }
}
