//! What one connection has seen acknowledged, every other connection sees immediately, on whatever ring.

use std::process::Command;

use crate::harness::{Client, Server, program};

/// Enough connections for each of four rings to have several.
const CONNECTIONS: usize = 64;
/// Pairs of an acknowledged write and a read on another connection.
const PAIRS: usize = 100_000;

fn connections(server: &Server) -> Vec<Client> {
    (0..CONNECTIONS)
        .map(|_| {
            let mut client = server.connect();
            assert_eq!(client.ask("mn"), "MN");
            client
        })
        .collect()
}

/// Another connection reads each acknowledged write, for every command that writes.
#[test]
fn an_acknowledged_write_is_read_on_every_ring() {
    let server = Server::start_serving("4", &[]);
    let mut clients = connections(&server);
    let mut pairs = 0;
    let mut round = 0;
    while pairs < PAIRS {
        // Covers every distance between writer and reader.
        let writer = round % CONNECTIONS;
        let reader = (writer + 1 + round / CONNECTIONS % (CONNECTIONS - 1)) % CONNECTIONS;
        let key = format!("key{}", round % 100);
        pairs += every_write(&mut clients, writer, reader, &key, round);
        round += 1;
    }
}

/// Writes with every command on `writer`, reading on `reader` after each; returns the number of pairs.
fn every_write(clients: &mut [Client], writer: usize, reader: usize, key: &str, round: usize) -> usize {
    let mut pairs = 0;
    let mut pair = |command: &str, answer: &str, value: Option<&str>| {
        let told = clients[writer].ask(command);
        assert_eq!(told, answer, "{command:?} on connection {writer}, round {round}");
        let seen = clients[reader].get(key);
        assert_eq!(seen.as_deref(), value, "{command:?} on {writer}, read on {reader}, round {round}");
        pairs += 1;
    };
    let number = format!("{round}");
    let len = number.len();
    pair(&format!("set {key} 0 0 {len}\r\n{number}"), "STORED", Some(&number));
    pair(&format!("add {key} 0 0 1\r\nx"), "NOT_STORED", Some(&number));
    let next = format!("{}", round + 1);
    pair(&format!("incr {key} 1"), &next, Some(&next));
    let padded = format!("{number:<width$}", width = next.len());
    pair(&format!("decr {key} 1"), &number, Some(&padded));
    pair(&format!("replace {key} 0 0 {len}\r\n{number}"), "STORED", Some(&number));
    pair(&format!("append {key} 0 0 1\r\n>"), "STORED", Some(&format!("{number}>")));
    pair(&format!("prepend {key} 0 0 1\r\n<"), "STORED", Some(&format!("<{number}>")));
    let cas = cas_of(&mut clients[reader], key);
    let mut pair = |command: &str, answer: &str, value: Option<&str>| {
        assert_eq!(clients[writer].ask(command), answer, "{command:?} on {writer}, round {round}");
        let seen = clients[reader].get(key);
        assert_eq!(seen.as_deref(), value, "{command:?} on {writer}, read on {reader}, round {round}");
        pairs += 1;
    };
    pair(&format!("cas {key} 0 0 3 {cas}\r\ncas"), "STORED", Some("cas"));
    pair(&format!("cas {key} 0 0 3 {cas}\r\nnot"), "EXISTS", Some("cas"));
    pair(&format!("touch {key} 1000"), "TOUCHED", Some("cas"));
    pair(&format!("touch {key} -1"), "TOUCHED", None);
    pair(&format!("add {key} 0 0 3\r\nadd"), "STORED", Some("add"));
    pair(&format!("delete {key}"), "DELETED", None);
    pair(&format!("ms {key} 4\r\nmeta"), "HD", Some("meta"));
    if round.is_multiple_of(16) {
        pair("flush_all", "OK", None);
        pair(&format!("set {key} 0 0 1\r\ny"), "STORED", Some("y"));
    }
    pair(&format!("md {key} q\r\nmn"), "MN", None);
    pairs
}

fn cas_of(client: &mut Client, key: &str) -> u64 {
    client.send(format!("mg {key} c\r\n").as_bytes());
    client.line().strip_prefix("HD c").unwrap().parse().unwrap()
}

/// Counters incremented by every connection concurrently lose nothing.
#[test]
fn concurrent_increments_all_count() {
    const TIMES: u64 = 2_000;
    const WRITERS: u64 = 16;
    let server = Server::start_serving("4", &[]);
    server.connect().set("counter", "0");
    std::thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| {
                let mut client = server.connect();
                client.send("incr counter 1\r\n".repeat(TIMES as usize).as_bytes());
                let mut last = 0;
                for _ in 0..TIMES {
                    let value: u64 = client.line().parse().unwrap();
                    assert!(value > last, "{value} after {last}");
                    last = value;
                }
            });
        }
    });
    assert_eq!(server.connect().get("counter").unwrap(), (TIMES * WRITERS).to_string());
}

/// cas as a lock-free counter: each success is one increment, across all rings.
#[test]
fn each_cas_succeeds_once() {
    const TIMES: u64 = 300;
    const WRITERS: u64 = 8;
    let server = Server::start_serving("4", &[]);
    server.connect().set("counter", "0");
    std::thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| {
                let mut client = server.connect();
                for _ in 0..TIMES {
                    while !cas_increment(&mut client) {}
                }
            });
        }
    });
    assert_eq!(server.connect().get("counter").unwrap(), (TIMES * WRITERS).to_string());
}

fn cas_increment(client: &mut Client) -> bool {
    let head = client.ask("gets counter");
    let cas = head.rsplit(' ').next().unwrap().to_owned();
    let value: u64 = client.line().parse().unwrap();
    assert_eq!(client.line(), "END");
    let next = (value + 1).to_string();
    client.ask(&format!("cas counter 0 0 {} {cas}\r\n{next}", next.len())) == "STORED"
}

/// The conformance tester of libmemcached: 27 text and 27 binary checks.
#[test]
fn memccapable_passes_all_its_checks() {
    for threads in ["1", "4"] {
        let server = Server::start(&["-t", threads]);
        let output = Command::new("memccapable")
            .args(["-h", "127.0.0.1", "-p", &server.port.to_string()])
            .output()
            .expect("memccapable is needed: apt-get install libmemcached-tools");
        let text = String::from_utf8_lossy(&output.stdout);
        let passed = text.matches("[pass]").count();
        let failed: Vec<_> = text.lines().filter(|line| !line.contains("[pass]")).collect();
        assert_eq!(passed, 54, "{} -t {threads}: {failed:#?}", program().display());
    }
}
