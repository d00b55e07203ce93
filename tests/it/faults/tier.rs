//! Slow, greedy, broken and numerous clients of a server whose values are on flash: the same promises as without.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::thread;

use super::abuse::{is_well, reset};
use super::flash::{KEYS, Tiered, VALUE_BYTES, ends_unharmed, is_skipped, right, value};
use crate::harness::{Client, Server, TempDir, wait_until};

const ENGINES: [&str; 2] = ["uring", "epoll"];

fn key(number: usize) -> String {
    format!("key-{number}")
}

/// Reads a reply of `get` for a key that has its value, or `END` at once for one that has not; true for a value.
fn is_answered_right(client: &mut Client, number: usize) -> bool {
    let head = client.line();
    if head == "END" {
        return false;
    }
    assert_eq!(head, format!("VALUE {} 0 {VALUE_BYTES}", key(number)));
    assert_eq!(client.line(), value(number));
    assert_eq!(client.line(), "END");
    true
}

/// Whoever goes away while values are being read for him leaves nothing behind, wherever he was.
#[test]
fn resets_amid_reads_do_no_harm() {
    if is_skipped() {
        return;
    }
    for engine in ENGINES {
        let tiered = Tiered::start(engine);
        let keys: String = (0..100).map(|number| format!(" {}", key(number * 20))).collect();
        for round in 0..100 {
            let mut client = tiered.server.connect();
            client.send(format!("get{keys}\r\n").repeat(1 + round % 5).as_bytes());
            if round % 3 > 0 {
                client.stream.read_exact(&mut vec![0; round * 1000 + 1]).unwrap();
            }
            if round % 2 == 0 { reset(client) } else { drop(client) }
        }
        let mut client = tiered.server.connect();
        wait_until("they are gone", || client.count("curr_connections") < 5);
        assert!(right(&mut client) > KEYS * 9 / 10);
        ends_unharmed(tiered);
    }
}

/// A client may die anywhere in a set that replaces a value on flash: the old value stays where it is.
#[test]
fn a_client_killed_in_a_set_leaves_the_value_on_flash() {
    if is_skipped() {
        return;
    }
    let tiered = Tiered::start("uring");
    let mut client = tiered.server.connect();
    for stage in [1, 14, 15, 16, 17, 18, 100, 4096, 16_384, 65_536, 500_000] {
        for number in 0..20 {
            let mut command = format!("set {} 0 0 500000\r\n", key(number)).into_bytes();
            command.resize(command.len() + 500_000, b'n');
            let mut killed = tiered.server.connect();
            killed.send_lossy(&command[..stage]);
            if number % 2 == 0 { reset(killed) } else { drop(killed) }
        }
    }
    wait_until("they are gone", || client.count("curr_connections") < 5);
    let found = (0..20).filter_map(|number| client.get(&key(number)).map(|found| found == value(number)));
    let found: Vec<_> = found.collect();
    assert!(found.len() > 15 && found.iter().all(|&is_old| is_old), "{found:?}");
    ends_unharmed(tiered);
}

/// All is sent before anything is read: replies that wait for flash and replies that do not keep their order.
#[test]
fn a_pipeline_over_flash_whose_answers_are_read_late_is_answered_in_order() {
    const COUNT: usize = 10_000;
    if is_skipped() {
        return;
    }
    for engine in ENGINES {
        let tiered = Tiered::start(engine);
        let mut client = tiered.server.connect();
        client.set("n", "0");
        let mut writer = client.stream.try_clone().unwrap();
        let sender = thread::spawn(move || {
            for number in 0..COUNT {
                let key = key(number * 7 % KEYS);
                writer.write_all(format!("mg {key} v O{number}\r\nincr n 1\r\n").as_bytes()).unwrap();
            }
        });
        is_well(&tiered.server);
        let mut hits = 0;
        for number in 0..COUNT {
            let head = client.line();
            if head != "EN" {
                assert_eq!(head, format!("VA {VALUE_BYTES} O{number}"));
                assert_eq!(client.line(), value(number * 7 % KEYS));
                hits += 1;
            }
            assert_eq!(client.line(), (number + 1).to_string());
        }
        sender.join().unwrap();
        assert!(hits > COUNT * 9 / 10, "{hits} hits");
        ends_unharmed(tiered);
    }
}

/// One command for all keys, some of them twice, some that are not there.
#[test]
fn a_multiget_of_all_keys_is_answered_in_full() {
    if is_skipped() {
        return;
    }
    let tiered = Tiered::start("uring");
    let mut client = tiered.server.connect();
    let there = right(&mut client);
    let mut get = "get".to_owned();
    for number in 0..KEYS {
        write!(get, " {0} none-{number} {0}", key(number)).unwrap();
    }
    client.send(format!("{get}\r\n").as_bytes());
    let mut found = 0;
    loop {
        let line = client.line();
        let Some(rest) = line.strip_prefix("VALUE key-") else {
            assert_eq!(line, "END");
            break;
        };
        let (number, rest) = rest.split_once(' ').unwrap();
        assert_eq!(rest, format!("0 {VALUE_BYTES}"));
        assert_eq!(client.line(), value(number.parse().unwrap()));
        found += 1;
    }
    assert_eq!(found, 2 * there);
    ends_unharmed(tiered);
}

/// Commands that come a byte at a time, each for a value on flash; others are served between the bytes.
#[test]
fn readers_of_single_bytes_get_their_values() {
    if is_skipped() {
        return;
    }
    let tiered = Tiered::start("uring");
    let mut slow: Vec<_> = (0..20).map(|_| tiered.server.connect()).collect();
    let commands: Vec<_> = (0..20).map(|number| format!("get {:9}\r\n", key(number * 100))).collect();
    for at in 0..commands[0].len() {
        for (client, command) in slow.iter_mut().zip(&commands) {
            client.send(&command.as_bytes()[at..=at]);
        }
        is_well(&tiered.server);
    }
    let hits = slow
        .iter_mut()
        .enumerate()
        .filter_map(|(at, client)| is_answered_right(client, at * 100).then_some(()));
    assert!(hits.count() > 15);
    ends_unharmed(tiered);
}

/// Many clients at once, each with its own values, six times as much as memory and flash hold: the newest are there, no value is
/// another's, and memory stays within its bound.
#[test]
fn an_overfilled_tier_stays_in_its_memory() {
    const BYTES: usize = 20_000;
    const WRITERS: usize = 8;
    if is_skipped() {
        return;
    }
    let dir = TempDir::new();
    let tier = format!("ext_path={}:64m,ext_page_size=4", dir.path().join("flash").display());
    let server = Server::start(&["-t", "4", "-m", "16", "-U", "0", "-o", &tier]);
    let body = |writer: usize, number: usize| format!("{writer}:{number:07},").repeat(BYTES / 10);
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let server = &server;
            scope.spawn(move || {
                let mut client = server.connect();
                for number in 0..3000 {
                    client.set(&format!("over-{writer}-{}", number % 1000), &body(writer, number));
                    let back = number - number % 17;
                    if let Some(found) = client.get(&format!("over-{writer}-{}", back % 1000)) {
                        assert!(found == body(writer, back), "{writer}: {back}");
                    }
                }
                assert!(
                    client
                        .get(&format!("over-{writer}-999"))
                        .is_some_and(|found| found == body(writer, 2999))
                );
            });
        }
    });
    assert!(server.count("extstore_page_evictions") > 0, "flash has been full");
    let promised: usize = server.connect().stats("stats memory")["promised_bytes"].parse().unwrap();
    let resident = server.peak_resident_bytes();
    assert!(resident < promised, "{resident} bytes resident, {promised} promised");
}
