//! Keys that try to forge a line wherever keys are shown, and lists whose length clients choose.

use std::fmt::Write as _;

use crate::harness::{Client, Server, wait_until};

/// What no line may be.
const FORGED: &str = "FORGED";

/// Keys of the binary protocol, all of whose bytes are free; the last are harmless.
const KEYS: [&[u8]; 7] = [
    b"\r\nFORGED\r\n",
    b"prefix\r\nFORGED\r\n:key",
    b"a\nFORGED\nb",
    b"word FORGED",
    b"%0AFORGED\"\\\r:\r",
    b"a:b",
    b"plain",
];

fn packet(opcode: u8, extras: &[u8], key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, opcode, 0, key.len() as u8, extras.len() as u8, 0, 0, 0];
    packet.extend_from_slice(&((extras.len() + key.len() + value.len()) as u32).to_be_bytes());
    packet.extend_from_slice(&[0; 12]);
    [&packet[..], extras, key, value].concat()
}

fn base64(key: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in key.chunks(3) {
        let bits =
            three.iter().fold(0_u32, |bits, &byte| bits << 8 | u32::from(byte)) << (8 * (3 - three.len()));
        for place in 0..4 {
            let digit = char::from(DIGITS[(bits >> (18 - 6 * place) & 63) as usize]);
            out.push(if place <= three.len() { digit } else { '=' });
        }
    }
    out
}

/// Stores, reads, misses and deletes the keys, by packets and by meta commands.
fn use_keys(server: &Server) {
    let mut packets = server.connect();
    for key in KEYS {
        let missed = [b"none".as_slice(), key].concat();
        packets.send(&packet(0x01, &[0; 8], key, b"1"));
        packets.send(&packet(0x00, &[], key, b""));
        packets.send(&packet(0x00, &[], &missed, b""));
        packets.send(&packet(0x01, &[0; 8], &missed, b"1"));
        packets.send(&packet(0x04, &[], &missed, b""));
    }
    packets.finish();
    packets.read_to_end();
    let mut meta = server.connect();
    for key in KEYS {
        let key = base64(&[key, b"meta"].concat());
        assert_eq!(meta.ask(&format!("ms {key} 1 b\r\n1")), "HD");
    }
}

/// All that is answered to `command` on a connection of its own.
fn all(server: &Server, command: &str) -> String {
    let mut client = server.connect();
    client.send(command.as_bytes());
    client.finish();
    String::from_utf8_lossy(&client.read_to_end()).into_owned()
}

#[track_caller]
fn assert_unforged(shown: &str, where_: &str) {
    for line in shown.split(['\r', '\n']) {
        assert_ne!(line.trim(), FORGED, "{where_}: {shown}");
    }
}

/// A key in base64 that decoded to `\r\nEND\r\n` stood in `stats cachedump` as it was, and what followed it was read as the
/// reply to the next command; prefixes of such keys likewise in `stats detail dump`.
#[test]
fn no_key_forges_a_line() {
    let server = Server::start(&["-vv", "-t", "1", "-D", ":"]);
    let streams = ["fetchers", "mutations", "deletions", "evictions", "connevents"];
    let mut watchers: Vec<Client> = Vec::new();
    for stream in streams {
        let mut watcher = server.connect();
        assert_eq!(watcher.ask(&format!("watch {stream}")), "OK");
        watchers.push(watcher);
    }
    use_keys(&server);
    for (watcher, stream) in watchers.iter_mut().zip(streams).take(3) {
        let enough = |text: &str| text.matches("FORGED").count() >= 5;
        wait_until("the watchers' lines have come", || {
            enough(&String::from_utf8_lossy(watcher.pending())) || !watcher.fill()
        });
        let lines = String::from_utf8_lossy(watcher.pending()).into_owned();
        assert!(enough(&lines), "{stream}: {lines}");
        assert_unforged(&lines, stream);
    }
    for list in
        ["stats cachedump 1 0", "stats cachedump 2 0", "stats detail dump", "stats conns", "stats items"]
    {
        assert_unforged(&all(&server, &format!("{list}\r\n")), list);
    }
    let dump = all(&server, "lru_crawler metadump all\r\n");
    assert_eq!(dump.matches("key=").count(), 2 * KEYS.len(), "{dump}");
    assert_unforged(&dump, "metadump");
    let dump = all(&server, "lru_crawler mgdump all\r\n");
    assert_unforged(&dump, "mgdump");
    for key in KEYS {
        let word = base64(key);
        // What is dumped finds the item again.
        if key.iter().any(|byte| b" \n".contains(byte)) {
            assert!(dump.contains(&format!("mg {word} b\r\n")), "{dump}");
        }
        for command in [format!("me {word} b"), format!("mg {word} b k v O1")] {
            let reply = all(&server, &format!("{command}\r\n"));
            assert!(reply.starts_with("ME ") || reply.starts_with("VA 1 "), "{command}: {reply}");
            assert_unforged(&reply, &command);
        }
    }
    let cachedump = all(&server, "stats cachedump 1 0\r\n");
    assert!(cachedump.contains("ITEM a:b [1 b; 0 s]\r\n"), "{cachedump}");
    let details = all(&server, "stats detail dump\r\n");
    assert!(details.contains("PREFIX a get "), "{details}");
    wait_until("the log has come", || server.stderr().contains("mgdump"));
    assert_unforged(&server.stderr(), "-vv");
}

/// The keys asked for most are sampled, so they are asked for often.
#[test]
fn no_hot_key_forges_a_line() {
    let server = Server::start(&["-t", "1"]);
    let mut client = server.connect();
    let command = packet(0x00, &[], KEYS[0], b"");
    wait_until("the key is hot", || {
        for _ in 0..2000 {
            client.send(&command);
            client.read_exact(24 + "Not found".len());
        }
        server.connect().stats("stats hotkeys").contains_key("1:key")
    });
    assert_unforged(&all(&server, "stats hotkeys\r\n"), "hotkeys");
}

/// Every key with a new prefix took memory outside of all budgets: 68 MB for 300,000 of them. memcached counts 65,536.
#[test]
fn prefixes_are_bounded() {
    const MANY: usize = 65_536;
    let server = Server::start(&["-t", "2", "-D", ":"]);
    let mut client = server.connect();
    let mut ask = |from: usize, to: usize| {
        let mut gets = String::new();
        for number in from..to {
            let _ = write!(gets, "get {number:0>240}:k\r\n");
        }
        gets.push_str("mn\r\n");
        let mut writer = client.stream.try_clone().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || std::io::Write::write_all(&mut writer, gets.as_bytes()).unwrap());
            client.read_through(b"MN\r\n");
        });
    };
    ask(0, MANY);
    let before = server.resident_bytes();
    ask(MANY - 1, 2 * MANY);
    let grown = server.resident_bytes().saturating_sub(before);
    assert!(grown < 4 << 20, "grew by {grown} bytes for prefixes over the bound");
    let dump = all(&server, "stats detail dump\r\n");
    assert_eq!(dump.matches("PREFIX ").count(), MANY);
    let known = format!("PREFIX {:0>240} get 2 hit 0 set 0 del 0\r\n", MANY - 1);
    assert!(dump.contains(&known) && dump.ends_with("END\r\n"));
    // A packet says its length first: its text ends at a bound.
    let mut packets = server.connect();
    packets.send(&packet(0x10, &[], b"detail dump", b""));
    packets.finish();
    let answer = packets.read_to_end();
    assert!((2 << 20..3 << 20).contains(&answer.len()), "{} bytes", answer.len());
}

/// The list of all connections was one reply, built in one go.
#[test]
fn every_connection_is_listed() {
    let server = Server::start(&["-t", "2"]);
    let clients: Vec<_> = (0..300).map(|_| server.connect()).collect();
    wait_until("all are there", || server.count("curr_connections") > clients.len() as u64);
    let list = server.connect().stats("stats conns");
    let states = list.keys().filter(|name| name.ends_with(":state")).count();
    assert!(states > clients.len(), "{states} of {}", clients.len());
    let ports: Vec<_> = clients.iter().map(|client| client.stream.local_addr().unwrap()).collect();
    let shown: std::collections::BTreeSet<_> = list.values().cloned().collect();
    for port in ports {
        assert!(shown.contains(&format!("tcp:{port}")), "{port} is missing");
    }
}
