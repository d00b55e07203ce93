//! The server under test and memcached get the same generated commands; their answers are compared.
//!
//! Well-formed commands must get the same bytes, except for cas numbers, which are assigned differently, and seconds, which
//! may tick in between. Broken ones run on connections of their own, half-closed after the command, so that neither side
//! waits; [`RULES`] lists the intended differences.
//! A failure prints the seed and the shortest list of commands found that still fails. `MEMCRSD_DIFFERENTIAL_ALL=1`
//! lists every difference instead.

use super::generate::{Part, Protocol, Step, step};
use crate::harness::random::Random;
use crate::harness::{Client, Dialect, Server, TempDir, dialect, find, reference, show};
use memcrsd::fuzzing::seed;
use std::path::Path;

/// An intended difference.
struct Rule {
    name: &'static str,
    /// True if it explains the replies of memcached and of the server under test to the request.
    explains: fn(&[u8], &[u8], &[u8]) -> bool,
}

const RULES: &[Rule] = &[
    Rule {
        name: "delete with three words or more is refused, which memccapable insists on",
        explains: |request, _, new| {
            find(request, b"delete ").is_some() && find(new, b"Usage: delete").is_some()
        },
    },
    Rule {
        name: "a key too long in a multiget is answered by one line end",
        explains: |_, old, new| {
            find(old, b"format\r\n\r\n").is_some_and(|at| [&old[..at + 6], &old[at + 8..]].concat() == new)
        },
    },
    Rule {
        name: "an unknown command has one body (memcached takes it twice)",
        explains: |request, old, new| {
            let known = matches!(request[1], 0..=0x1a | 0x1c..=0x1e | 0x20..=0x24);
            !known && new.starts_with(old)
        },
    },
    Rule {
        name: "what was answered before garbage is sent (memcached drops it)",
        explains: |request, old, new| {
            let body = request.get(8..12).map_or(0, |body| u32::from_be_bytes(body.try_into().unwrap()));
            // To memcached the bytes after the key of a gat are garbage.
            let gat = matches!(request[1], 0x1c..=0x1e | 0x23 | 0x24);
            (gat || request.len() > 24 + body as usize) && new.starts_with(old)
        },
    },
    Rule {
        name: "lengths that contradict each other are refused before all of them has come",
        explains: |request, old, new| {
            let Some(header) = request.first_chunk::<24>() else { return false };
            let body = u32::from_be_bytes([header[8], header[9], header[10], header[11]]);
            let head = u32::from(u16::from_be_bytes([header[2], header[3]])) + u32::from(header[4]);
            old.is_empty() && (head > body || head > 250) && new.len() > 24 && new[..2] == [0x81, header[1]]
        },
    },
];

/// The first byte of a connection chooses its protocol.
fn speaks_packets(request: &[u8]) -> bool {
    request.first() == Some(&0x80)
}

/// True if this many seconds may pass while the test runs.
fn is_soon(secs: u64) -> bool {
    (1..60).contains(&secs)
}

/// The two servers assign these numbers differently.
fn may_be_a_cas(number: u64) -> bool {
    (1..1_000_000).contains(&number)
}

/// True if a request may behave differently on each server: it sets an expiry that comes during the test, or compares with
/// a number that may be a cas.
fn is_ambiguous(request: &[u8]) -> bool {
    if speaks_packets(request) {
        is_ambiguous_packet(request)
    } else {
        request.split(|&b| b == b'\n').any(is_ambiguous_line)
    }
}

fn is_ambiguous_line(line: &[u8]) -> bool {
    // The number at the start of a word, whatever surrounds its digits.
    let number = |word: &[u8]| -> Option<u64> {
        let from = word.iter().position(u8::is_ascii_digit)?;
        let digits = word[from..].split(|byte| !byte.is_ascii_digit()).next()?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    };
    let words: Vec<_> = line.split(|&byte| byte == b' ').filter(|word| !word.is_empty()).collect();
    let soon = |at: usize| words.get(at).and_then(|word| number(word)).is_some_and(is_soon);
    let cas = |at: usize| words.get(at).and_then(|word| number(word)).is_some_and(may_be_a_cas);
    match words.first() {
        Some(&(b"set" | b"add" | b"replace" | b"append" | b"prepend" | b"cas")) => soon(3) || cas(5),
        Some(&(b"gat" | b"gats" | b"flush_all")) => soon(1),
        Some(&b"touch") => soon(2),
        Some(&(b"mg" | b"ms" | b"md" | b"ma")) => (2..words.len()).any(|at| match words[at][0] {
            b'T' | b'N' => soon(at),
            b'C' => cas(at),
            _ => false,
        }),
        _ => false,
    }
}

fn is_ambiguous_packet(packet: &[u8]) -> bool {
    if packet.get(16..24).is_some_and(|cas| may_be_a_cas(u64::from_be_bytes(cas.try_into().unwrap()))) {
        return true;
    }
    let at = match packet.get(1) {
        Some(0x1c..=0x1e | 0x23 | 0x24) => 24,
        Some(0x01..=0x03 | 0x11..=0x13) => 28,
        Some(0x05 | 0x06 | 0x15 | 0x16) => 40,
        _ => return false,
    };
    let exptime = packet.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    exptime.is_some_and(|bytes| is_soon(u32::from_be_bytes(bytes).into()))
}

/// True if differences are listed and the run continues.
fn lists_all() -> bool {
    std::env::var_os("MEMCRSD_DIFFERENTIAL_ALL").is_some()
}

/// True if a rule explains the difference; prints its name.
fn explained(step: &Step, request: &[u8], old: &[u8], new: &[u8]) -> bool {
    if !step.broken || dialect() == Dialect::Memcached {
        return false;
    }
    let rule = RULES.iter().find(|rule| (rule.explains)(request, old, new));
    if let Some(rule) = rule {
        println!("{}: {}", show(&request[..request.len().min(60)]), rule.name);
    }
    rule.is_some()
}

/// One of the two servers with its long-lived connections.
struct Side {
    server: Server,
    text: Client,
    binary: Client,
}

impl Side {
    fn new(server: Server) -> Self {
        let (text, binary) = (server.connect(), server.connect());
        Self { server, text, binary }
    }

    /// The cas of a key, 1 if it is absent.
    fn cas(&mut self, key: &[u8]) -> u64 {
        self.text.send(&[b"mg ", key, b" c u\r\n"].concat());
        let line = self.text.line();
        line.strip_prefix("HD c").and_then(|rest| rest.split(' ').next()?.parse().ok()).unwrap_or(1)
    }

    fn value(&mut self, key: &[u8]) -> Vec<u8> {
        self.text.send(&[b"get ", key, b"\r\n"].concat());
        let answer = self.text.read_through(b"END\r\n");
        let from = find(&answer, b"\r\n").map_or(0, |end| end + 2);
        answer[from..].strip_suffix(b"\r\nEND\r\n").unwrap_or_default().to_vec()
    }

    fn request(&mut self, step: &Step) -> Vec<u8> {
        let mut request = Vec::new();
        for part in &step.parts {
            match part {
                Part::Bytes(bytes) => request.extend_from_slice(bytes),
                Part::Cas(key) => request.extend_from_slice(self.cas(key).to_string().as_bytes()),
                Part::Cas8(key) => request.extend_from_slice(&self.cas(key).to_be_bytes()),
            }
        }
        request
    }

    /// The reply to `request`, which may be broken, on a connection of its own.
    fn answer_alone(&self, request: &[u8]) -> Vec<u8> {
        let mut client = self.server.connect();
        client.send_lossy(request);
        client.finish();
        client.read_to_end()
    }

    /// The reply to a step, up to a fence, or to the end of the stream if it is broken.
    fn answer(&mut self, step: &Step) -> Vec<u8> {
        let mut request = self.request(step);
        if step.broken {
            return self.answer_alone(&request);
        }
        match step.protocol {
            Protocol::Text => {
                request.extend_from_slice(b"mn\r\n");
                self.text.send(&request);
                let mut answer = self.text.read_through(b"MN\r\n");
                answer.truncate(answer.len() - 4);
                answer
            }
            Protocol::Binary => {
                const FENCE: &[u8] = b"\x81\x0a\0\0\0\0\0\0\0\0\0\0FENC\0\0\0\0\0\0\0\0";
                request.extend_from_slice(b"\x80\x0a\0\0\0\0\0\0\0\0\0\0FENC\0\0\0\0\0\0\0\0");
                self.binary.send(&request);
                let mut answer = self.binary.read_through(FENCE);
                answer.truncate(answer.len() - FENCE.len());
                answer
            }
        }
    }
}

/// True if memcached's reply to an incr depends on memory beyond the item: it searches there for a minus sign after a
/// number from 2^63, and for a number after white space.
fn reads_on(step: &Step, (old, before): (&mut Side, &[u8]), (new, after): (&mut Side, &[u8])) -> bool {
    let refused = |answer| find(answer, b"on-numeric").is_some();
    match (refused(before), refused(after)) {
        (true, false) => {
            // Only the digits: a counter created by memcached ends in uninitialized memory.
            let value = String::from_utf8_lossy(&old.value(&step.key)).into_owned();
            let digits = value.trim_start().split(|c: char| !c.is_ascii_digit()).next();
            digits.and_then(|digits| digits.parse::<u64>().ok()).is_some_and(|number| number >> 63 == 1)
        }
        (false, true) => new.value(&step.key).trim_ascii().is_empty(),
        _ => false,
    }
}

/// True if two replies are equal apart from cas numbers and seconds.
fn same(step: &Step, old: &[u8], new: &[u8]) -> bool {
    if old == new {
        return true;
    }
    if old.len() == new.len() && new.first() == Some(&0x81) {
        return mask_packets(old) == mask_packets(new);
    }
    let old: Vec<_> = old.split(|&byte| byte == b' ' || byte == b'\r').collect();
    let new: Vec<_> = new.split(|&byte| byte == b' ' || byte == b'\r').collect();
    old.len() == new.len() && old.iter().zip(&new).all(|(old, new)| same_word(step, old, new))
}

fn same_word(step: &Step, old: &[u8], new: &[u8]) -> bool {
    if old == new {
        return true;
    }
    let number = |word: &[u8]| std::str::from_utf8(word).ok()?.parse::<u64>().ok();
    match (old.split_first(), new.split_first()) {
        // memcached records an access once a minute.
        (Some((b'l', old)), Some((b'l', new))) => {
            number(old).zip(number(new)).is_some_and(|(old, new)| new <= old + 2)
        }
        (Some((b't', old)), Some((b't', new))) if number(old).is_some() => {
            // A time in the past shows as a number below 2^32, which depends on the clock.
            let past = |number: u64| number > 1 << 31;
            number(old)
                .zip(number(new))
                .is_some_and(|(old, new)| old.abs_diff(new) <= 2 || (past(old) && past(new)))
        }
        (Some((b'c', old)), Some((b'c', new))) => {
            number(old).is_some_and(|cas| cas > 0) && number(new).is_some_and(|cas| cas > 0)
        }
        _ => step.shows_cas && number(old).is_some() && number(new).is_some(),
    }
}

/// Binary replies with every cas other than 0 set to 1.
fn mask_packets(answer: &[u8]) -> Vec<u8> {
    let mut masked = answer.to_vec();
    let mut at = 0;
    while let Some(header) = masked[at..].first_chunk_mut::<24>() {
        if header[16..].iter().any(|&byte| byte != 0) {
            header[16..].copy_from_slice(&1_u64.to_be_bytes());
        }
        at += 24 + u32::from_be_bytes([header[8], header[9], header[10], header[11]]) as usize;
        if at > masked.len() {
            break;
        }
    }
    masked
}

/// Runs the steps on two fresh servers; returns the first difference that no rule explains, with the step's number.
fn run(reference: &Path, steps: &[Step]) -> Result<(), (usize, String)> {
    // incr does not pad an item that memcached's background threads hold; without them it is deterministic.
    let quiet = ["-t", "1", "-o", "no_lru_crawler,no_lru_maintainer"];
    let mut old = Side::new(Server::start_program(reference, &quiet, TempDir::new()));
    let mut new =
        Side::new(Server::start(if dialect() == Dialect::Memcached { &quiet } else { &["-t", "4"] }));
    for (index, step) in steps.iter().enumerate() {
        let request = new.request(step);
        if step.broken && is_ambiguous(&request) {
            continue;
        }
        let (before, after) = (old.answer(step), new.answer(step));
        if same(step, &before, &after) {
            continue;
        }
        if !explained(step, &request, &before, &after)
            && !reads_on(step, (&mut old, &before), (&mut new, &after))
        {
            let (request, before, after) = (show(&request), show(&before), show(&after));
            let reason = format!("{request}\n  memcached: {before}\n  under test: {after}");
            if !lists_all() {
                return Err((index, reason));
            }
            println!("{reason}");
        }
        // Undo what was done on one side only.
        for side in [&mut old, &mut new] {
            side.text.send(b"flush_all\r\n");
            side.text.line();
        }
    }
    Ok(())
}

/// Removes steps that the failure does not need.
fn shrink(reference: &Path, mut steps: Vec<Step>, mut reason: String) -> (Vec<Step>, String) {
    let mut size = steps.len() / 2;
    let mut runs = 0;
    while size > 0 && runs < 100 {
        let mut at = 0;
        while at + size < steps.len() && runs < 100 {
            let mut fewer = steps.clone();
            fewer.drain(at..at + size);
            runs += 1;
            match run(reference, &fewer) {
                Err((index, shorter)) => {
                    fewer.truncate(index + 1);
                    (steps, reason) = (fewer, shorter);
                }
                Ok(()) => at += size,
            }
        }
        size /= 2;
    }
    (steps, reason)
}

/// Seeds of a plain test run.
const SEEDS: [u64; 3] = [1, 2, 3];

/// `just differential` draws a new seed.
fn compare(protocol: Protocol, broken: bool, count: usize) {
    let Some(reference) = reference() else { return };
    if std::env::var_os("MEMCRSD_TEST_SEED").is_some() {
        return compare_seed(reference, seed(0), protocol, broken, count);
    }
    for seed in SEEDS {
        compare_seed(reference, seed, protocol, broken, count);
    }
}

fn compare_seed(reference: &Path, seed: u64, protocol: Protocol, broken: bool, count: usize) {
    let count = std::env::var("MEMCRSD_DIFFERENTIAL_STEPS").map_or(count, |text| text.parse().unwrap());
    let mut random = Random::new(seed);
    let mut steps: Vec<_> = (0..count).map(|_| step(&mut random, protocol, broken)).collect();
    if let Err((index, reason)) = run(reference, &steps) {
        steps.truncate(index + 1);
        let (steps, reason) = shrink(reference, steps, reason);
        let list: Vec<_> = steps.iter().map(ToString::to_string).collect();
        panic!("MEMCRSD_TEST_SEED={seed}\n{reason}\nafter\n  {}", list.join("\n  "));
    }
}

#[test]
fn text_and_meta_commands_are_answered_as_memcached_does() {
    compare(Protocol::Text, false, 8000);
}

#[test]
fn binary_packets_are_answered_as_memcached_does() {
    compare(Protocol::Binary, false, 8000);
}

#[test]
fn broken_lines_are_answered_as_memcached_does() {
    compare(Protocol::Text, true, 4000);
}

#[test]
fn broken_packets_are_answered_as_memcached_does() {
    compare(Protocol::Binary, true, 3000);
}

#[test]
fn the_comparison_notices_a_difference() {
    let step = Step::text(b"get a\r\n", b"a");
    assert!(same(&step, b"END\r\n", b"END\r\n"));
    assert!(!same(&step, b"END\r\n", b"EN\r\n"));
    assert!(!same(&step, b"VALUE a 0 1\r\n1\r\nEND\r\n", b"VALUE a 0 1\r\n2\r\nEND\r\n"));
    assert!(find(b"abc", b"bc") == Some(1));
}
