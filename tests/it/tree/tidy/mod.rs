//! House rules that a compiler does not check: which module imports which, where `unsafe`, `async` and sockets may be used,
//! how long a file may be, that each has a header.
//!
//! Each rule is a function over a path and a text, so that it can be shown to fail.

mod circles;
mod manual;
mod order;

use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Longest a file may be without its tests, lines.
const LINES_MAX: usize = 450;

/// Longer files, with their length and why. The list and the numbers may only shrink.
const LONG_FILES: &[(&str, usize)] = &[];

/// Which modules of ours a module may import besides itself. Layers import downwards only.
const IMPORTS: &[(&str, &[&str])] = &[
    ("main", &["config", "logging", "process", "server", "top"]),
    ("top", &["config", "server"]),
    ("lib", &[]),
    (
        "server",
        &[
            "auth", "classes", "clock", "config", "engine", "limits", "logging", "output", "process",
            "session", "store", "tls",
        ],
    ),
    (
        "session",
        &[
            "auth", "clock", "command", "config", "engine", "escape", "limits", "logging", "number",
            "output", "proto", "store", "tls",
        ],
    ),
    (
        "engine",
        &[
            "auth", "classes", "clock", "command", "config", "escape", "limits", "logging", "number",
            "store", "tls",
        ],
    ),
    ("proto", &["command", "escape", "limits", "number"]),
    ("store", &["classes", "clock", "limits"]),
    ("output", &["limits", "store"]),
    ("process", &["auth", "config", "limits", "logging", "tls"]),
    ("tls", &["config", "limits", "logging"]),
    ("auth", &["limits", "logging"]),
    ("config", &["limits"]),
    ("classes", &["limits"]),
    ("clock", &["limits"]),
    ("command", &["limits"]),
    ("escape", &["limits"]),
    ("limits", &[]),
    ("logging", &["limits"]),
    ("manual", &[]),
    ("number", &["limits"]),
    (
        "fuzzing",
        &["classes", "clock", "command", "config", "engine", "limits", "output", "proto", "session", "store"],
    ),
];

/// How often the word `unsafe` may stand in the code of a file. It goes up only with a reason.
const UNSAFE: &[(&str, usize)] = &[
    ("src/server/conn/lend.rs", 2),
    ("src/store/reservation/mod.rs", 6),
    ("src/store/index/fill.rs", 1),
    ("src/store/index/mod.rs", 6),
    ("src/store/item/head.rs", 6),
    ("src/store/item/mod.rs", 7),
    ("src/store/item/write.rs", 17),
    ("src/store/evict/copy.rs", 1),
    ("src/store/loom_tests.rs", 2),
    ("src/store/pin.rs", 2),
    ("src/store/prefetch.rs", 1),
    ("src/store/region/mod.rs", 6),
    ("src/store/region/heap.rs", 5),
    ("src/store/region/mapped.rs", 10),
    ("src/store/memory_file/headers.rs", 1),
    ("src/store/replica.rs", 2),
    ("src/store/restore/walk.rs", 2),
    ("src/store/arena.rs", 1),
    ("src/store/write_txn.rs", 5),
    ("tests/it/faults/injector.rs", 6),
    ("tests/it/faults/kernel.rs", 2),
    ("uring/src/aligned.rs", 2),
    ("uring/src/background/file.rs", 3),
    ("uring/src/buf.rs", 4),
    ("uring/src/completion/datagram.rs", 4),
    ("uring/src/completion/driver/mod.rs", 1),
    ("uring/src/completion/file.rs", 1),
    ("uring/src/completion/handle/mod.rs", 3),
    ("uring/src/completion/operation.rs", 2),
    ("uring/src/completion/queue.rs", 4),
    ("uring/src/completion/receive.rs", 1),
    ("uring/src/completion/send.rs", 2),
    ("uring/src/completion/timers.rs", 1),
    ("uring/src/completion/trial.rs", 1),
    ("uring/src/completion/wait.rs", 2),
    ("uring/src/disk.rs", 1),
    ("uring/src/mapping.rs", 3),
    ("uring/src/memory.rs", 4),
    ("uring/src/provided.rs", 4),
    ("uring/src/readiness/datagram.rs", 1),
    ("uring/src/readiness/socket.rs", 5),
    ("uring/src/readiness/watched.rs", 1),
    ("uring/src/sys.rs", 5),
    ("uring/tests/loopback/main.rs", 1),
    ("uring/tests/loopback/sends.rs", 2),
    ("uring/tests/loopback/streams.rs", 2),
];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if !path.ends_with("target") {
                sources(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Every source file: its path below the root, and its text.
fn files() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for dir in ["src", "uring", "perf", "tests", "fuzz"] {
        sources(&Path::new(ROOT).join(dir), &mut found);
    }
    found.sort();
    found
        .iter()
        .map(|path| {
            let name = path.strip_prefix(ROOT).unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect()
}

/// The part of a file in front of its tests.
fn without_tests(text: &str) -> &str {
    let end = text.match_indices("#[cfg(test)]\n").map(|(at, _)| at).find(|&at| {
        let module = text[at..].lines().find(|line| line.starts_with("mod ")).unwrap_or_default();
        module.ends_with('{')
    });
    &text[..end.unwrap_or(text.len())]
}

/// Lines of code, comments and strings taken out.
fn code(text: &str) -> impl Iterator<Item = (usize, String)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, bare(line)))
}

fn bare(line: &str) -> String {
    let mut out = String::new();
    let mut chars = line.chars().peekable();
    let mut in_string = false;
    while let Some(char) = chars.next() {
        match char {
            '\\' if in_string => {
                chars.next();
            }
            '"' => in_string = !in_string,
            '/' if !in_string && chars.peek() == Some(&'/') => break,
            _ if in_string => {}
            _ => out.push(char),
        }
    }
    out
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|char: char| !char.is_alphanumeric() && char != '_').filter(|word| !word.is_empty())
}

/// The module a file of the main package belongs to.
fn module(path: &str) -> Option<&str> {
    let path = path.strip_prefix("src/")?;
    path.split('/').next().map(|first| first.trim_end_matches(".rs"))
}

fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs") || path.starts_with("tests/")
}

fn opens_with_a_header(path: &str, text: &str) -> Option<String> {
    (!text.starts_with("//!")).then(|| format!("{path}: does not open with //!"))
}

fn is_not_too_long(path: &str, text: &str) -> Option<String> {
    let lines = without_tests(text).lines().count();
    let listed = LONG_FILES.iter().find(|(long, _)| *long == path);
    match listed {
        Some((_, max)) if lines > *max => Some(format!("{path}: {lines} lines, more than its {max}")),
        Some(_) if lines <= LINES_MAX => Some(format!("{path}: {lines} lines, no exception any more")),
        None if lines > LINES_MAX => Some(format!("{path}: {lines} lines, more than {LINES_MAX}")),
        _ => None,
    }
}

fn imports_downwards(path: &str, text: &str) -> Option<String> {
    let module = module(path)?;
    if is_test(path) {
        return None;
    }
    let allowed = IMPORTS.iter().find(|(name, _)| *name == module);
    let Some((_, allowed)) = allowed else { return Some(format!("{path}: no line in the table of imports")) };
    code(without_tests(text)).find_map(|(number, line)| {
        let imported = line.split("crate::").skip(1).chain(line.split("memcrsd::").skip(1));
        let wrong = imported.filter_map(|rest| words(rest).next()).find(|name| {
            // A name that is no module of ours stands in the crate's root.
            *name != module && IMPORTS.iter().any(|(known, _)| known == name) && !allowed.contains(name)
        });
        wrong.map(|name| format!("{path}:{number}: {module} may not import {name}"))
    })
}

/// Only the edge waits, and only the edge has sockets.
fn keeps_the_edge_outside(path: &str, text: &str) -> Option<String> {
    const SOCKETS: &[&str] =
        &["async", "await", "TcpStream", "TcpListener", "UdpSocket", "UnixStream", "UnixListener", "tokio"];
    const WAITS: &[&str] = &["sleep", "yield_now", "spin_loop"];
    if !path.starts_with("src/") || matches!(module(path), Some("server" | "top")) || is_test(path) {
        return None;
    }
    code(without_tests(text)).find_map(|(number, line)| {
        let is_of_the_edge = |word: &str| SOCKETS.contains(&word) || WAITS.contains(&word) || word == "uring";
        let word = words(&line).find(|word| is_of_the_edge(word))?;
        Some(format!("{path}:{number}: {word} outside server/ and uring/"))
    })
}

/// The ring crate knows nothing of memcached, and only it knows tokio-uring.
fn keeps_the_ring_apart(path: &str, text: &str) -> Option<String> {
    let (forbidden, why): (&[&str], _) = if path.starts_with("uring/src/") {
        (&["memcrsd"], "uring knows nothing of memcached")
    } else if path.starts_with("src/") || path.starts_with("perf/src/") {
        (&["tokio_uring", "io_uring"], "only uring knows the driver")
    } else {
        return None;
    };
    code(text).find_map(|(number, line)| {
        let word = words(&line).find(|word| forbidden.contains(word))?;
        Some(format!("{path}:{number}: {word}: {why}"))
    })
}

fn unsafe_count(text: &str) -> usize {
    code(text).map(|(_, line)| words(&line).filter(|word| *word == "unsafe").count()).sum()
}

fn has_the_unsafe_it_says(path: &str, text: &str) -> Option<String> {
    let said = UNSAFE.iter().find(|(name, _)| *name == path).map_or(0, |(_, count)| *count);
    let found = unsafe_count(text);
    (found > said).then(|| format!("{path}: {found} times unsafe, the table says {said}"))
}

/// How often a file outside the store uses the key of an item: each use is shown as `crate::escape` says, or never shown.
const KEYS_USED: &[(&str, usize)] = &[
    ("src/engine/observe.rs", 1),
    ("src/engine/shared.rs", 2),
    ("src/fuzzing/memory_file.rs", 1),
    ("src/fuzzing/peer_flash.rs", 1),
    ("src/output/mod.rs", 1),
    ("src/session/dump.rs", 3),
    ("src/session/meta.rs", 2),
    ("src/session/text/get.rs", 3),
];

fn uses_the_keys_it_says(path: &str, text: &str) -> Option<String> {
    if !path.starts_with("src/") || path.starts_with("src/store/") || is_test(path) {
        return None;
    }
    let said = KEYS_USED.iter().find(|(name, _)| *name == path).map_or(0, |(_, count)| *count);
    let lines = code(without_tests(text));
    let found: usize = lines.map(|(_, line)| line.matches("item.key()").count()).sum();
    (found > said).then(|| format!("{path}: uses the key of an item {found} times, the table says {said}"))
}

fn leaves_nothing_for_later(path: &str, text: &str) -> Option<String> {
    let notes =
        [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("INTERFACE ", "SKETCH")];
    text.lines().enumerate().find_map(|(index, line)| {
        let note = notes.iter().find(|note| line.contains(*note))?;
        Some(format!("{path}:{}: {note}", index + 1))
    })
}

fn is_plain_text(path: &str, text: &str) -> Option<String> {
    text.lines().enumerate().find_map(|(index, line)| {
        let number = index + 1;
        if !bare(line).is_ascii() {
            return Some(format!("{path}:{number}: code is ASCII"));
        }
        if line.contains('\t') || line.ends_with(' ') {
            return Some(format!("{path}:{number}: a tab, or a space at the end of the line"));
        }
        None
    })
}

type Check = fn(&str, &str) -> Option<String>;

fn all_files_pass(check: Check) {
    let broken: Vec<_> = files().iter().filter_map(|(path, text)| check(path, text)).collect();
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[test]
fn every_file_opens_with_a_header() {
    all_files_pass(opens_with_a_header);
}

#[test]
fn no_file_is_too_long() {
    all_files_pass(is_not_too_long);
}

#[test]
fn layers_import_downwards() {
    all_files_pass(imports_downwards);
}

#[test]
fn async_and_sockets_stay_at_the_edge() {
    all_files_pass(keeps_the_edge_outside);
}

#[test]
fn the_ring_crate_stands_apart() {
    all_files_pass(keeps_the_ring_apart);
}

#[test]
fn unsafe_is_where_the_table_says() {
    all_files_pass(has_the_unsafe_it_says);
    for (path, _) in UNSAFE {
        assert!(Path::new(ROOT).join(path).exists(), "{path} is in the table of unsafe and not in the tree");
    }
}

#[test]
fn keys_are_used_where_the_table_says() {
    all_files_pass(uses_the_keys_it_says);
}

#[test]
fn nothing_is_left_for_later() {
    all_files_pass(leaves_nothing_for_later);
}

#[test]
fn code_is_plain_text() {
    all_files_pass(is_plain_text);
}

/// Each rule, broken once.
#[test]
fn the_rules_can_be_broken() {
    let broken = |check: Check, path: &str, text: &str| {
        assert!(check(path, text).is_some(), "{path}: {text:?} passes");
    };
    broken(opens_with_a_header, "src/a.rs", "fn main() {}\n");
    broken(is_not_too_long, "src/a.rs", &"//!\n".repeat(LINES_MAX + 1));
    broken(imports_downwards, "src/proto/text/mod.rs", "use crate::store::Store;\n");
    broken(imports_downwards, "src/store/log.rs", "fn f() -> crate::proto::Parsed {}\n");
    broken(imports_downwards, "src/main.rs", "use memcrsd::store::Store;\n");
    broken(imports_downwards, "src/unheard.rs", "//!\n");
    broken(keeps_the_edge_outside, "src/session/mod.rs", "pub async fn f() {}\n");
    broken(keeps_the_edge_outside, "src/store/shard.rs", "std::thread::sleep(time);\n");
    broken(keeps_the_edge_outside, "src/engine/mod.rs", "use std::net::TcpStream;\n");
    broken(keeps_the_ring_apart, "uring/src/lib.rs", "use memcrsd::limits;\n");
    broken(keeps_the_ring_apart, "src/server/ring.rs", "use tokio_uring::start;\n");
    broken(has_the_unsafe_it_says, "src/session/mod.rs", "unsafe { f() }\n");
    broken(uses_the_keys_it_says, "src/session/stats.rs", "out.extend_from_slice(item.key());\n");
    broken(leaves_nothing_for_later, "src/a.rs", concat!("// TO", "DO: later\n"));
    broken(is_plain_text, "src/a.rs", "let x = 1; \n");
    broken(is_plain_text, "src/a.rs", "let \u{e4} = 1;\n");
}

#[test]
fn the_rules_leave_right_code_alone() {
    let text = "//! A header: async, unsafe and tokio in words.\n\nfn f() {}\n\n#[cfg(test)]\nmod tests {\n    use crate::store;\n}\n";
    let checks: [Check; 9] = [
        opens_with_a_header,
        is_not_too_long,
        imports_downwards,
        keeps_the_edge_outside,
        keeps_the_ring_apart,
        has_the_unsafe_it_says,
        uses_the_keys_it_says,
        leaves_nothing_for_later,
        is_plain_text,
    ];
    for check in checks {
        assert_eq!(check("src/proto/text/mod.rs", text), None);
    }
}
