//! README and the manual against the tree: tests, files and pages they name exist, links lead somewhere, and README stays
//! a front door.
//!
//! Each rule is a function over a text, so that it can be shown to fail.

use std::fs;
use std::path::Path;
use std::time::Duration;

use memcrsd::limits;

use super::{ROOT, files};

const PAGES: &str = "src/manual";

/// README is read in one go; what is longer belongs on a page of the manual.
const README_LINES_MAX: usize = 150;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).unwrap()
}

/// Names of the manual's pages, without their ending.
fn pages() -> Vec<String> {
    let entries = fs::read_dir(Path::new(ROOT).join(PAGES)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut pages: Vec<_> = names.filter_map(|name| name.strip_suffix(".md").map(str::to_owned)).collect();
    pages.sort();
    pages
}

/// Every text for users: its path below the root, and its content.
fn texts() -> Vec<(String, String)> {
    let mut paths =
        vec!["README.md".to_owned(), ".github/CONTRIBUTING.md".to_owned(), ".github/SECURITY.md".to_owned()];
    paths.extend(pages().iter().map(|page| format!("{PAGES}/{page}.md")));
    paths.into_iter().map(|path| (path.clone(), read(&path))).collect()
}

/// Code spans of a text, fenced blocks left out.
fn code_spans(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    let prose = text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    });
    prose.flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// Names like `abuse::a_test` that no file of that module has. `log::tests::a_test` may stand in `log.rs` or in `tests.rs`.
fn missing_tests(text: &str, files: &[(String, String)]) -> Vec<String> {
    let is_path = |name: &&str| {
        name.contains("::")
            && name.chars().all(|char| char.is_ascii_lowercase() || "_:0123456789".contains(char))
    };
    let exists = |name: &str| {
        let mut parts = name.rsplit("::");
        let test = format!("fn {}(", parts.next().unwrap_or_default());
        let inline = parts.clone().next() == Some("tests");
        let modules: Vec<_> = parts.take(1 + usize::from(inline)).collect();
        files.iter().any(|(path, text)| {
            let path = path.trim_end_matches(".rs").trim_end_matches("/mod");
            modules.contains(&path.rsplit('/').next().unwrap_or_default()) && text.contains(&test)
        })
    };
    code_spans(text).filter(is_path).filter(|name| !exists(name)).map(str::to_owned).collect()
}

/// Names like `src/ship/seccomp.json` of files that are not there.
fn missing_files(text: &str) -> Vec<String> {
    const FOLDERS: &[&str] = &["src/", "uring/", "tests/", "fuzz/", "perf/", ".ci/", ".github/"];
    let is_path = |name: &&str| {
        FOLDERS.iter().any(|folder| name.starts_with(folder))
            && name.chars().all(|char| char.is_ascii_alphanumeric() || "_-./".contains(char))
    };
    let exists = |name: &str| Path::new(ROOT).join(name).exists();
    code_spans(text).filter(is_path).filter(|name| !exists(name)).map(str::to_owned).collect()
}

/// The anchor that a heading gets: lower case, blanks become hyphens, other signs go.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept.trim().chars().filter(|char| char.is_alphanumeric() || " -_".contains(*char));
    kept.map(|char| if char == ' ' { '-' } else { char }).collect()
}

fn has_anchor(text: &str, wanted: &str) -> bool {
    text.lines()
        .filter_map(|line| line.strip_prefix('#'))
        .any(|heading| anchor(heading.trim_start_matches('#')) == wanted)
}

/// Targets of links, written in place (`](target)`) or at the foot (`[name]: target`).
fn link_targets(text: &str) -> Vec<&str> {
    let inline = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
    let at_foot = text.lines().filter(|line| line.starts_with('['));
    let at_foot = at_foot.filter_map(|line| line.split_once("]: ")).map(|(_, target)| target);
    inline.chain(at_foot).collect()
}

/// Links to files or headings that are not there.
fn dead_links(path: &str, text: &str) -> Vec<String> {
    let folder = Path::new(ROOT).join(path);
    let folder = folder.parent().unwrap();
    let leads_somewhere = |target: &&str| {
        let (file, heading) = target.split_once('#').unwrap_or((target, ""));
        let linked = if file.is_empty() {
            Some(text.to_owned())
        } else {
            let path = folder.join(file);
            if path.is_dir() { Some(String::new()) } else { fs::read_to_string(path).ok() }
        };
        linked.is_some_and(|linked| heading.is_empty() || has_anchor(&linked, heading))
    };
    let within = link_targets(text).into_iter().filter(|target| !target.contains("://"));
    within.filter(|target| !leads_somewhere(target)).map(|target| format!("{path}: {target}")).collect()
}

fn no_text_has(broken: impl Fn(&str, &str) -> Vec<String>) {
    let found: Vec<_> = texts().iter().flat_map(|(path, text)| broken(path, text)).collect();
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn tests_that_are_named_exist() {
    let files = files();
    no_text_has(|_, text| missing_tests(text, &files));
    assert_eq!(missing_tests("| a | `manual::no_such_test` |", &files), ["manual::no_such_test"]);
}

#[test]
fn files_that_are_named_exist() {
    no_text_has(|_, text| missing_files(text));
    assert_eq!(missing_files("see `src/no_such_file.rs`"), ["src/no_such_file.rs"]);
    assert_eq!(missing_files("```\n`src/no_such_file.rs`\n```"), Vec::<String>::new());
}

#[test]
fn links_lead_somewhere() {
    no_text_has(dead_links);
    let broken = ["[a](no-such-file.md)", "[a](README.md#no-such-heading)", "[a]: no-such-file.md"];
    for text in broken {
        assert_eq!(dead_links("README.md", text).len(), 1, "{text}");
    }
}

/// A page that is neither part of `cargo doc` nor linked from README would be found by nobody.
#[test]
fn every_page_is_in_the_manual_and_in_readme() {
    let (manual, readme) = (read("src/manual/mod.rs"), read("README.md"));
    for page in pages() {
        assert!(manual.contains(&format!("{page} \"{page}.md\"")), "{page} is not in src/manual/mod.rs");
        assert!(manual.contains(&format!("[{page}]: crate::manual::{page}")), "{page} cannot be linked to");
        assert!(readme.contains(&format!("({PAGES}/{page}.md)")), "README does not link {page}");
    }
}

#[test]
fn readme_is_a_front_door() {
    assert!(read("README.md").lines().count() <= README_LINES_MAX, "move something to {PAGES}");
}

/// The bounds of `limits.rs` as the manual's page writes them: the start of a row, and what its bound contains.
fn bounds() -> Vec<(&'static str, String)> {
    let count = |number: u64| match number {
        0..1000 => number.to_string(),
        _ => format!("{},{:03}", number / 1000, number % 1000),
    };
    let bytes = |number: usize| format!("{} bytes", count(number as u64));
    let kib = |number: usize| format!("{} KiB", number / 1024);
    let (secs, gb) =
        (|time: Duration| format!("{} s", time.as_secs()), |bytes: u64| format!("{} GB", bytes >> 30));
    vec![
        ("key", bytes(limits::KEY_BYTES_MAX)),
        ("value", gb(limits::ITEM_SIZE_MAX as u64)),
        ("command line", bytes(limits::LINE_BYTES_MAX)),
        ("command line", format!("{} spaces", limits::LEADING_SPACES_MAX)),
        ("meta command", format!("{} words", limits::META_TOKENS_MAX)),
        ("opaque of a meta command", bytes(limits::OPAQUE_BYTES_MAX)),
        ("binary header, extras and key", kib(limits::PACKET_HEAD_BYTES_MAX)),
        ("body of a binary packet", gb(limits::PACKET_BODY_BYTES_MAX.into())),
        ("staged replies of one connection", kib(limits::OUTPUT_BYTES_MAX)),
        ("staged replies of one connection", format!("{} values", limits::OUTPUT_PIECES_MAX)),
        ("values on flash behind replies of one connection", format!("{} values", limits::OUTPUT_HOLES_MAX)),
        (
            "values on flash behind replies of one connection",
            format!("{} MB", limits::OUTPUT_HOLES_BYTES_MAX >> 20),
        ),
        ("values on flash that one command has read, `incr` for one", limits::LOADS_MAX.to_string()),
        (
            "values that were read from flash and not taken by their clients",
            format!("a {}th of `-m`", limits::LOADED_PART),
        ),
        ("`stats cachedump`", format!("{} MB", limits::CACHEDUMP_BYTES_MAX >> 20)),
        ("`detail dump` of the binary protocol", format!("{} MB", limits::CACHEDUMP_BYTES_MAX >> 20)),
        ("prefixes counted by `stats detail`", count(limits::PREFIXES_MAX as u64)),
        ("one datagram of a reply", bytes(limits::DATAGRAM_BYTES_MAX)),
        (
            "replies to one datagram",
            format!("{:.1} MB", limits::DATAGRAM_REPLY_BYTES_MAX as f64 / f64::from(1 << 20)),
        ),
        ("replies to one datagram", format!("{},000 items", limits::DATAGRAM_DUMP_ITEMS_MAX / 1024)),
        ("watchers", limits::WATCHERS_MAX.to_string()),
        ("users in the file of `-Y`", limits::ASCII_USERS_MAX.to_string()),
        ("users in the file of `-Y`", bytes(limits::ASCII_LINE_BYTES_MAX)),
        ("user and password of a text login", bytes(limits::LOGIN_BYTES_MAX as usize)),
        ("user and password in SASL", bytes(limits::SASL_BYTES_MAX)),
        ("metrics port", format!("{} connections", limits::METRICS_CONNECTIONS_MAX)),
        ("metrics port", kib(limits::METRICS_REQUEST_BYTES_MAX)),
        ("metrics port", secs(limits::METRICS_REQUEST_TIMEOUT)),
        ("metrics port", secs(limits::METRICS_CONNECTION_TIMEOUT)),
        ("`-t`", count(limits::THREADS_MAX as u64)),
        ("`ext_wbuf_size`", format!("{} MB", limits::FLASH_CHUNK_BYTES_MAX >> 20)),
        ("reads from flash of one ring", format!("{} MB", limits::FLASH_READ_BYTES_MAX >> 20)),
        ("reads from flash of one ring", limits::FLASH_READS_MAX.to_string()),
        ("datagrams of one UDP socket that wait for flash", limits::FLASH_DATAGRAMS_MAX.to_string()),
        ("one read from flash", secs(limits::FLASH_READ_TIMEOUT)),
        ("pages of all `ext_path`", count(limits::FLASH_PAGES_MAX)),
        ("keys that `--copy-from` asks for together", limits::COPY_KEYS_MAX.to_string()),
        ("keys that `--copy-from` asks for together", kib(limits::COPY_REQUEST_BYTES_MAX)),
        ("lag between rings", count(limits::LOG_ENTRIES as u64)),
    ]
}

/// Rows of a page's tables whose first cell is `name`, by their second cell.
fn bound_of<'a>(page: &'a str, name: &str) -> Option<&'a str> {
    let mut rows = page.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | "));
    rows.find_map(|(first, rest)| (first == name).then(|| rest.split(" | ").next().unwrap_or_default()))
}

fn wrong_bounds(page: &str) -> Vec<String> {
    let is_stated =
        |name: &str, bound: &String| bound_of(page, name).is_some_and(|cell| cell.contains(bound.as_str()));
    let wrong = bounds().into_iter().filter(|(name, bound)| !is_stated(name, bound));
    wrong.map(|(name, bound)| format!("{name}: {bound}")).collect()
}

#[test]
fn the_limits_page_states_the_bounds_of_the_code() {
    assert_eq!(wrong_bounds(&read("src/manual/limits.md")), Vec::<String>::new());
    assert!(wrong_bounds("| key | 251 bytes | an error |").contains(&"key: 250 bytes".to_owned()));
}
