//! `-o ext_*`: which lists are refused, by memcached as well.

use super::{as_root, run, text};
use crate::harness::{Client, Dialect, Server, TempDir, dialect, program, reference};
use std::ops::Range;
use std::path::Path;

/// Refused lists, with what follows them; the exit status, and all of standard error. FILE is a path that can be written to.
const REFUSED: &[(&str, i32, &str)] = &[
    ("ext_path", 1, "missing argument to ext_path, ie: ext_path=/d/file:5G"),
    ("ext_path=", 1, "failed to parse ext_path argument"),
    (
        "ext_path=FILE",
        1,
        "must supply size to ext_path, ie: ext_path=/f/e:64m (M|G|T|P supported)\nfailed to parse ext_path argument",
    ),
    (
        "ext_path=FILE:64k",
        1,
        "must supply size to ext_path, ie: ext_path=/f/e:64m (m|g|t|p supported)\nfailed to parse ext_path argument",
    ),
    ("ext_path=FILE:64m:x", 1, "Unknown extstore bucket: x\nfailed to parse ext_path argument"),
    ("ext_item_size", 1, "Missing ext_item_size argument"),
    ("ext_item_age=-1", 1, "could not parse argument to ext_item_age"),
    ("ext_max_frag=x", 1, "could not parse argument to ext_max_frag"),
    ("slab_automove_freeratio", 1, "Missing slab_automove_freeratio argument"),
    ("ext_bogus=1", 1, "Illegal suboption \"ext_bogus=1\""),
    ("ext_path=FILE:63m -I 33m", 64, "Cannot set item size limit higher than 1/2 of memory max."),
    (
        "ext_path=FILE:63m,hot_lru_pct=79,warm_lru_pct=79 -U 7 -I 5m",
        64,
        "-I (item_size_max: 5242880) cannot be larger than ext_wbuf_size: 4194304",
    ),
    (
        "ext_path=FILE:63m,hot_lru_pct=79,warm_lru_pct=79 -p 99999",
        64,
        "supplied ext_path has zero size, cannot use",
    ),
    ("ext_path=FILE:64m,ext_page_size=6 -p 99999", 64, "ERROR: Invalid port number 99999."),
    (
        "ext_path=FILE:64m,ext_page_size=6 -l h:x",
        1,
        "Failed to initialize external storage: page_size must be divisible by wbuf_size",
    ),
    (
        "ext_path=FILE:64m,ext_page_size=3,ext_wbuf_size=3",
        1,
        "Failed to initialize external storage: page_size and wbuf_size must be divisible by 1024*1024*2",
    ),
    (
        "ext_path=FILE:131070m,ext_page_size=2,ext_wbuf_size=2",
        1,
        "Failed to initialize external storage: page_count must total to < 65536. Increase page_size or lower path sizes",
    ),
];

/// Lists that memcached crashes on or misreads.
const REFUSED_HERE: &[(&str, i32, &str)] = &[
    ("ext_path=FILE:64m,ext_page_size=0", 64, "ext_page_size must be greater than 0"),
    ("ext_path=FILE:64m,ext_page_size=4096", 1, "could not parse argument to ext_page_size"),
    ("ext_path=FILE:64m,ext_path=FILE:64m", 1, "Failed to initialize external storage: FILE is given twice"),
];

fn is_refused(program: &Path, (line, status, said): (&str, i32, &str)) {
    let dir = TempDir::new();
    let file = dir.path().join("flash").to_str().unwrap().to_owned();
    let line = line.replace("FILE", &file);
    let words: Vec<&str> = ["-o"].into_iter().chain(line.split(' ')).collect();
    let output = run(program, &as_root(&words));
    let expected = (Some(status), format!("{}\n", said.replace("FILE", &file)));
    assert_eq!((output.status.code(), text(&output.stderr)), expected, "{} {line}", program.display());
}

#[test]
fn what_is_refused_is_refused_by_memcached_with_the_same_words() {
    for program in [Some(program()), reference()].into_iter().flatten() {
        for row in REFUSED {
            is_refused(program, *row);
        }
    }
}

#[test]
fn what_memcached_takes_by_mistake_is_refused() {
    if dialect() == Dialect::Memcached {
        return;
    }
    for row in REFUSED_HERE {
        is_refused(program(), *row);
    }
}

/// The names of a list, in order.
fn names(server: &Server, command: &str) -> Vec<String> {
    let mut client = server.connect();
    client.send(format!("{command}\r\n").as_bytes());
    let lines = text(&client.read_through(b"END\r\n"));
    let names = lines.lines().filter_map(|line| line.strip_prefix("STAT ")?.split(' ').next());
    names.map(str::to_owned).collect()
}

fn with_flash(program: &Path) -> Server {
    let dir = TempDir::new();
    let path = format!("ext_path={}/flash:256m", dir.path().display());
    Server::start_program(program, &["-o", &path], dir)
}

#[test]
fn statistics_have_memcacheds_names_in_its_order() {
    let Some(memcached) = reference() else { return };
    let (ours, theirs) = (with_flash(program()), with_flash(memcached));
    for command in ["stats", "stats extstore"] {
        assert_eq!(names(&ours, command), names(&theirs, command), "{command}");
    }
    let settings = names(&theirs, "stats settings").into_iter().filter(|name| !name.starts_with("proxy_"));
    let settings: Vec<String> = settings.collect();
    assert_eq!(names(&ours, "stats settings")[..settings.len()], settings);
}

/// Stores values under the keys of `items`; returns the first line of the watcher that reports a moved value.
fn moved(client: &mut Client, watcher: &mut Client, items: Range<usize>) -> Option<String> {
    let value = "v".repeat(50_000);
    items.for_each(|item| client.set(&format!("key{item}"), &value));
    while matches!(watcher.try_fill(), Ok(true)) {}
    let lines = text(watcher.pending());
    let mut whole = lines.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    whole.find(|line| line.contains("type=extwrite")).map(str::to_owned)
}

/// memcached says so too, if the thread of its own that moves values comes round to it before all memory is taken: on a busy
/// machine it moves none.
#[test]
fn watchers_are_told_of_values_that_are_moved() {
    const TOGETHER: usize = 100;
    const TRIES: usize = 40;
    for program in [Some(program()), reference()].into_iter().flatten() {
        let server = with_flash(program);
        let (mut watcher, mut client) = (server.connect(), server.connect());
        assert_eq!(watcher.ask("watch evictions"), "OK");
        watcher.stream.set_nonblocking(true).unwrap();
        let batches = (0..TRIES).map(|batch| batch * TOGETHER..(batch + 1) * TOGETHER);
        let mut lines = batches.filter_map(|items| moved(&mut client, &mut watcher, items));
        let Some(line) = lines.next() else {
            assert!(reference() == Some(program), "4,000 values of 50 KB in 64 MB, and none is moved");
            continue;
        };
        let words: Vec<(&str, &str)> =
            line.trim_end().split(' ').filter_map(|word| word.split_once('=')).collect();
        let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
        assert_eq!(names.join(" "), "ts gid type key fetch ttl la clsid bucket", "{line}");
        assert!(words[3].1.starts_with("key"), "{line}");
        assert_eq!((words[4].1, words[5].1, words[8].1), ("no", "-1", "0"), "{line}");
    }
}
