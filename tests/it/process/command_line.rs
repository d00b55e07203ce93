//! Command lines: those that are refused, with memcached's status and message, and those that start a server.

use nix::sys::signal::Signal;
use nix::unistd::geteuid;

use super::{as_root, run, text};
use crate::harness::{Dialect, Server, dialect, program};

fn words(line: &str) -> Vec<&str> {
    line.split(' ').map(|word| if word == "''" { "" } else { word }).collect()
}

/// Refused command lines: exit status, and a line of standard error. Source: memcached 1.6.45, `main`.
const REFUSED: &[(&str, i32, &str)] = &[
    ("-q", 1, "Illegal argument \"?\""),
    ("-p", 1, "Illegal argument \"?\""),
    ("--no-such-option", 1, "Illegal argument \"?\""),
    ("-p 65536", 64, "ERROR: Invalid port number 65536."),
    ("-m 0", 64, "Cannot set item size limit higher than 1/2 of memory max."),
    ("-m 1", 64, "Cannot set item size limit higher than 1/2 of memory max."),
    ("-m abc", 64, "Cannot set item size limit higher than 1/2 of memory max."),
    ("-c 0", 1, "Maximum connections must be greater than 0"),
    ("-f 1", 1, "Factor must be greater than 1"),
    ("-n 0", 1, "Chunk size must be greater than 0"),
    ("-D ''", 1, "No delimiter specified"),
    ("-t 0", 1, "Number of threads must be greater than 0"),
    ("-R 0", 1, "Number of requests per event must be greater than 0"),
    ("-B foo", 64, " -- should be one of auto, binary, or ascii"),
    ("-I 1023", 64, "Item max size cannot be less than 1024 bytes."),
    ("-I 2g", 64, "Item max size cannot be less than 1024 bytes."),
    ("-I 1025m -m 4096", 64, "Cannot set item size limit higher than a gigabyte."),
    ("-I 33m", 64, "Cannot set item size limit higher than 1/2 of memory max."),
    ("-S -B auto", 64, "ERROR: You cannot allow the ASCII protocol while using SASL."),
    ("-S -B ascii", 64, "ERROR: You cannot allow the ASCII protocol while using SASL."),
    ("-S -U 11211", 64, "ERROR: Cannot enable UDP while using binary SASL authentication."),
    ("-S", 1, "Error initializing sasl."),
    (
        "-Y /no/such/file",
        1,
        "Could not open authfile [/no/such/file] for reading, error No such file or directory",
    ),
    ("-Y /etc/hosts", 1, "Authfile [/etc/hosts] has a malformed entry. Should be 'user:password'"),
    (
        "-Y /etc/hosts -B binary",
        64,
        "ERROR: You cannot allow the BINARY protocol while using ascii authentication tokens.",
    ),
    (
        "-Y /etc/hosts -B auto",
        64,
        "ERROR: You cannot allow the BINARY protocol while using ascii authentication tokens.",
    ),
    ("-Y /etc/hosts -U 7", 64, "Cannot use UDP with ascii authentication enabled (-U 0 to disable)"),
    (
        "-l 192.0.2.1",
        71,
        "failed to listen on one of interface(s) 192.0.2.1: Cannot assign requested address",
    ),
    ("-l 127.0.0.1:x", 71, "Invalid port number: \"x\""),
    (
        "-c 2147483647",
        71,
        "failed to set rlimit for open files. Try starting as root or requesting smaller maxconns value.",
    ),
    ("-s /no/such/directory/socket", 71, "failed to listen on UNIX socket: /no/such/directory/socket"),
    ("-o bogus", 1, "Illegal suboption \"bogus\""),
    ("-o hashpower=11", 1, "Initial hashtable multiplier of 11 is too low"),
    ("-o slab_automove=3", 1, "slab_automove must be between 0 and 2"),
    ("-o slab_automove_window=2", 1, "slab_automove_window must be > 2 and < 1800"),
    ("-o tail_repair_time=9", 1, "Cannot set tail_repair_time to less than 10 seconds"),
    ("-o hash_algorithm=md5", 1, "Unknown hash_algorithm option (jenkins, murmur3, xxh3)"),
    ("-o lru_crawler_sleep=1000001", 1, "LRU crawler sleep must be between 0 and 1 second"),
    ("-o hot_lru_pct=80", 1, "hot_lru_pct must be > 1 and < 80"),
    ("-o warm_lru_pct=61", 64, "hot_lru_pct + warm_lru_pct cannot be more than 80% combined"),
    ("-o hot_max_factor=0", 1, "hot_max_factor must be > 0"),
    ("-o temporary_ttl=5,no_lru_maintainer", 64, "temporary_ttl requires lru_maintainer to be enabled"),
    ("-o idle_timeout", 1, "Missing numeric argument for idle_timeout"),
    ("-o watcher_logbuf_size=x", 1, "could not parse argument to watcher_logbuf_size"),
    ("-o slab_sizes=100-50", 64, "slab size 50 cannot be lower than or equal to a previous class size"),
];

#[test]
fn refused_command_lines_give_memcacheds_status_and_message() {
    if dialect() == Dialect::Memcached {
        return;
    }
    for (line, status, message) in REFUSED {
        let output = run(program(), &as_root(&words(line)));
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(*status), "{line}: {said}");
        let is_there = said.lines().any(|said| said == *message || said.starts_with(&format!("{message}: ")));
        assert!(is_there, "{line} should say {message:?}, said:\n{said}");
        assert_eq!(text(&output.stdout), "", "{line}");
    }
}

#[test]
fn root_names_a_user_that_exists() {
    if !geteuid().is_root() {
        return;
    }
    let output = run(program(), &["-p", "-1"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(text(&output.stderr).contains("must add '-u root' to start as root"), "{output:?}");
    let output = run(program(), &["-p", "-1", "-u", "no-such-user"]);
    assert_eq!(output.status.code(), Some(67));
    assert!(text(&output.stderr).contains("can't find the user no-such-user to switch to"), "{output:?}");
}

#[test]
fn help_licence_and_version_are_printed_even_by_root() {
    for (flag, start) in [("-h", "memcached 1.6."), ("-i", "memcached 1.6."), ("-V", "memcached 1.6.")] {
        let output = run(program(), &[flag]);
        assert_eq!(output.status.code(), Some(0), "{flag}");
        assert!(text(&output.stdout).starts_with(start), "{flag}: {output:?}");
        assert_eq!(text(&output.stderr), "", "{flag}");
    }
}

/// Each of these command lines starts a server that answers, and stops on request.
#[test]
fn accepted_command_lines_start_serve_and_stop() {
    if dialect() == Dialect::Memcached {
        return;
    }
    let lines = [
        "",
        "memcached",
        "-U 0",
        "-A",
        "-a 777",
        "-r",
        "-m 2",
        "-m 100 -M",
        "-c 1",
        "-k -m 8",
        "-v",
        "-vv",
        "-vvv",
        "-f 1.08 -n 480",
        "-L",
        "-D ,",
        "-t 1",
        "-R 1",
        "-C",
        "-b 10",
        "-b abc",
        "-B auto",
        "-B ascii",
        "-I 8m",
        "-I 1024m -m 2048",
        "-F -X -W",
        "-l localhost",
        "--listen=127.0.0.1 --threads=2 --memory-limit=64 --conn-limit=100",
        "-o no_maxconns_fast,hashpower=12,no_hashexpand,slab_reassign,slab_automove=2,slab_automove_ratio=0.5",
        "-o no_modern",
        "-o modern,track_sizes,no_lru_crawler,no_lru_maintainer",
        "-o tail_repair_time=10,hash_algorithm=jenkins,lru_crawler_sleep=1,lru_crawler_tocrawl=1",
        "-o hot_lru_pct=1,warm_lru_pct=2,hot_max_factor=0.1,warm_max_factor=1,temporary_ttl=9,idle_timeout=9",
        "-o watcher_logbuf_size=1,worker_logbuf_size=1,read_buf_mem_limit=9,slab_sizes=100-200,slab_chunk_max=512",
        "-o no_chunked_items,inline_ascii_resp,no_inline_ascii_resp,resp_obj_mem_limit=1,no_drop_privileges",
    ];
    for line in lines {
        let flags: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
        let mut server = Server::start(&flags);
        assert!(server.connect().ask("version").starts_with("VERSION 1.6."), "{line}");
        server.signal(Signal::SIGTERM);
        assert_eq!(server.wait().code(), Some(0), "{line}");
    }
}

/// -vv lists the size classes first.
#[test]
fn the_size_classes_are_in_the_log() {
    let server = Server::start(&["-vv"]);
    let said = server.stderr();
    assert!(said.contains("slab class   1: chunk size        96 perslab   10922\n"), "{said}");
    assert!(said.contains("slab class  39: chunk size    524288 perslab       2\n"), "{said}");
    assert!(!Server::start(&["-v"]).stderr().contains("slab class"));
}
