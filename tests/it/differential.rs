//! The server under test and Debian's memcached get the same generated commands; their answers are compared.
//!
//! Well-formed commands must be answered byte for byte alike, but for cas numbers, which are drawn differently, and
//! seconds, which may tick between the two. Broken ones run on connections of their own, half-closed behind the
//! command, so that neither side waits; where 1.6.45 treats them differently from 1.6.18, [`RULES`] says how.
//! A failure prints the seed and the shortest list of commands found that still fails.

use crate::generate::{Part, Protocol, Step, step};
use crate::harness::{Client, Dialect, Server, TempDir, dialect, find, reference, show};
use crate::random::{Random, seed};

/// A difference between 1.6.18 and 1.6.45 that is intended.
struct Rule {
    name: &'static str,
    /// Whether it explains the request and the answers of 1.6.18 and of the server under test.
    explains: fn(&[u8], &[u8], &[u8]) -> bool,
}

const RULES: &[Rule] = &[
    Rule {
        name: "errors have other words, and the data of a refused store is swallowed",
        explains: |_, old, new| errors(old) > 0 && errors(new) > 0 && results(old) == results(new),
    },
    Rule {
        name: "an unknown command that ends in noreply is silent, as is a refused one",
        explains: |request, old, new| {
            request.split(|&byte| byte == b'\n').any(|line| line.trim_ascii().ends_with(b" noreply"))
                && results(old) == results(new)
                && errors(new) < errors(old)
        },
    },
    Rule {
        name: "words behind the last one a command takes are ignored",
        explains: |request, old, new| words(request) > 2 && errors(old) > 0 && errors(new) < errors(old),
    },
    Rule {
        name: "numbers are digits, at most 11 or 22 of them, and a lone minus sign is 0",
        explains: |request, old, new| {
            let line = lines(request).next().unwrap_or_default();
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            line.iter().any(|byte| b"+-\t\0x\r\x0b\x0c".contains(byte))
                && (errors(new) > 0 || errors(old) > 0)
        },
    },
    Rule {
        name: "noreply is noreply even where a key should be",
        explains: |request, _, new| {
            let line = lines(request).next().unwrap_or_default();
            words(line) == 2 && line.trim_ascii().ends_with(b" noreply") && new.is_empty()
        },
    },
    Rule {
        name: "gat without a key is refused",
        explains: |request, old, new| {
            find(request, b"gat").is_some() && errors(new) > 0 && errors(old) < errors(new)
        },
    },
    Rule {
        name: "a space in front of a command makes it unknown",
        explains: |request, _, new| request.first() == Some(&b' ') && errors(new) > 0,
    },
    Rule { name: "NUL is an ordinary byte of a line", explains: |request, _, _| request.contains(&0) },
    Rule {
        name: "meta flags that 1.6.18 does not know, or knows in fewer commands",
        explains: |request, old, new| request.starts_with(b"m") && (errors(old) > 0 || errors(new) > 0),
    },
    Rule {
        name: "q silences a ma that makes its item",
        explains: |request, old, new| {
            request.starts_with(b"ma ")
                && find(request, b" q").is_some()
                && old.len() > new.len()
                && new.is_empty()
        },
    },
    Rule {
        name: "flags of a store wrap at 2^32",
        explains: |request, old, new| words(request) >= 5 && errors(old) > errors(new),
    },
];

/// The same for packets.
const BINARY_RULES: &[Rule] = &[
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
            // What stands behind the key of a gat is garbage to memcached.
            let gat = matches!(request[1], 0x1c..=0x1e | 0x23 | 0x24);
            (gat || request.len() > 24 + body as usize) && new.starts_with(old)
        },
    },
    Rule {
        name: "a body of more than 1 GiB is refused",
        explains: |request, _, new| {
            request.get(8).is_some_and(|&byte| byte >= 0x40) && new.len() > 24 && new[7] == 4
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

/// Whether a rule explains the difference; its name is printed.
fn explained(step: &Step, request: &[u8], old: &[u8], new: &[u8]) -> bool {
    if !step.broken || dialect() == Dialect::V18 {
        return false;
    }
    let rules = if request.first() == Some(&0x80) { BINARY_RULES } else { RULES };
    let rule = rules.iter().find(|rule| (rule.explains)(request, old, new));
    if let Some(rule) = rule {
        println!("{}: {}", show(&request[..request.len().min(60)]), rule.name);
    }
    rule.is_some()
}

fn lines(answer: &[u8]) -> impl Iterator<Item = &[u8]> {
    answer.split(|&byte| byte == b'\n').filter(|line| !line.is_empty())
}

fn is_error(line: &[u8]) -> bool {
    line.starts_with(b"ERROR") || line.starts_with(b"CLIENT_ERROR")
}

fn errors(answer: &[u8]) -> usize {
    lines(answer).filter(|line| is_error(line)).count()
}

fn results(answer: &[u8]) -> Vec<&[u8]> {
    lines(answer).filter(|line| !is_error(line)).collect()
}

fn words(request: &[u8]) -> usize {
    let line = lines(request).next().unwrap_or_default();
    line.split(|&byte| byte == b' ').filter(|word| !word.is_empty()).count()
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

    /// The cas number of a key, 1 when it has none.
    fn cas(&mut self, key: &[u8]) -> u64 {
        self.text.send(&[b"mg ", key, b" c u\r\n"].concat());
        let line = self.text.line();
        line.strip_prefix("HD c").and_then(|rest| rest.split(' ').next()?.parse().ok()).unwrap_or(1)
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

    /// What a step is answered, up to a fence or, when it is broken, up to the end of the stream.
    fn answer(&mut self, step: &Step) -> Vec<u8> {
        let mut request = self.request(step);
        if step.broken {
            let mut client = self.server.connect();
            client.send_lossy(&request);
            client.finish();
            return client.read_to_end();
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

/// Whether two answers are the same, cas numbers and seconds aside.
fn same(step: &Step, old: &[u8], new: &[u8]) -> bool {
    if old == new {
        return true;
    }
    if old.len() == new.len() && step.protocol == Protocol::Binary {
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
        (Some((b't', old)), Some((b't', new))) | (Some((b'l', old)), Some((b'l', new)))
            if number(old).is_some() =>
        {
            // What is over shows as a number below 2^32, how much is the clock's business.
            let past = |number: u64| number > 1 << 31;
            number(old)
                .zip(number(new))
                .is_some_and(|(old, new)| old.abs_diff(new) <= 2 || (past(old) && past(new)))
        }
        // Whether a use before a change of the item still counts depends on whether that was done in place.
        (Some((b'h', old)), Some((b'h', new))) => {
            dialect() == Dialect::V45 && old.len() == 1 && new.len() == 1
        }
        (Some((b'c', old)), Some((b'c', new))) => {
            number(old).is_some_and(|cas| cas > 0) && number(new).is_some_and(|cas| cas > 0)
        }
        _ => step.shows_cas && number(old).is_some() && number(new).is_some(),
    }
}

/// Binary answers with every cas that is not 0 set to 1.
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

/// Runs the steps on two fresh servers; the first difference that no rule explains, with the step's number.
fn run(steps: &[Step]) -> Result<(), (usize, String)> {
    // An item that memcached's background threads hold while incr runs is not padded: without them all is determined.
    let quiet = ["-t", "1", "-o", "no_lru_crawler,no_lru_maintainer"];
    let mut old = Side::new(Server::start_program(reference(), &quiet, TempDir::new()));
    let mut new = Side::new(Server::start(if dialect() == Dialect::V18 { &quiet } else { &["-t", "4"] }));
    for (index, step) in steps.iter().enumerate() {
        let (before, after) = (old.answer(step), new.answer(step));
        if same(step, &before, &after) {
            continue;
        }
        let request = new.request(step);
        if !explained(step, &request, &before, &after) {
            let (request, before, after) = (show(&request), show(&before), show(&after));
            return Err((index, format!("{request}\n  memcached: {before}\n  under test: {after}")));
        }
        // What was done on one side only is undone.
        for side in [&mut old, &mut new] {
            side.text.send(b"flush_all\r\n");
            side.text.line();
        }
    }
    Ok(())
}

/// Leaves out what is not needed to fail.
fn shrink(mut steps: Vec<Step>, mut reason: String) -> (Vec<Step>, String) {
    let mut size = steps.len() / 2;
    let mut runs = 0;
    while size > 0 && runs < 100 {
        let mut at = 0;
        while at + size < steps.len() && runs < 100 {
            let mut fewer = steps.clone();
            fewer.drain(at..at + size);
            runs += 1;
            match run(&fewer) {
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

/// What the conversations of a plain test run are drawn from.
const SEED: u64 = 1;

fn compare(protocol: Protocol, broken: bool, count: usize) {
    // The same conversations every time, so that a change is judged by itself; `just differential` draws new ones.
    let seed = if std::env::var_os("MEMCRSD_TEST_SEED").is_some() { seed() } else { SEED };
    println!("MEMCRSD_TEST_SEED={seed}");
    let count = std::env::var("MEMCRSD_DIFFERENTIAL_STEPS").map_or(count, |text| text.parse().unwrap());
    let mut random = Random::new(seed);
    let mut steps: Vec<_> = (0..count).map(|_| step(&mut random, protocol, broken)).collect();
    if let Err((index, reason)) = run(&steps) {
        steps.truncate(index + 1);
        let (steps, reason) = shrink(steps, reason);
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
