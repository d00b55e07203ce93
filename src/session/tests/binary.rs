//! Tests of the binary protocol. Source: protocol-binary.txt, and memcached 1.6.45 itself.

use super::{assert_same, check_with};
use crate::config::{Config, Protocol};
use crate::fuzzing::Peer;

/// Returns a request packet with these fields.
fn packet(opcode: u8, cas: u64, extras: &[u8], key: &[u8], value: &[u8]) -> Vec<u8> {
    build(0x80, opcode, 0, cas, (extras, key, value))
}

/// Returns a reply packet with these fields.
fn reply(opcode: u8, status: u16, cas: u64, extras: &[u8], key: &[u8], value: &[u8]) -> Vec<u8> {
    build(0x81, opcode, status, cas, (extras, key, value))
}

fn build(
    magic: u8,
    opcode: u8,
    status: u16,
    cas: u64,
    (extras, key, value): (&[u8], &[u8], &[u8]),
) -> Vec<u8> {
    let mut bytes = vec![magic, opcode];
    bytes.extend_from_slice(&(key.len() as u16).to_be_bytes());
    bytes.extend_from_slice(&[extras.len() as u8, 0]);
    bytes.extend_from_slice(&status.to_be_bytes());
    bytes.extend_from_slice(&((extras.len() + key.len() + value.len()) as u32).to_be_bytes());
    bytes.extend_from_slice(&[1, 2, 3, opcode]);
    bytes.extend_from_slice(&cas.to_be_bytes());
    for part in [extras, key, value] {
        bytes.extend_from_slice(part);
    }
    bytes
}

fn counter(delta: u64, initial: u64, exptime: u32) -> Vec<u8> {
    [&delta.to_be_bytes()[..], &initial.to_be_bytes(), &exptime.to_be_bytes()].concat()
}

const FLAGS_5: &[u8] = &[0, 0, 0, 5];
const SET_5: &[u8] = &[0, 0, 0, 5, 0, 0, 0, 0];
const EXISTS: &[u8] = b"Data exists for key.";
const NOT_FOUND: &[u8] = b"Not found";

/// Runs `script` as [`super::check`] does, but compares replies in which every cas other than 0 is replaced by 1.
fn run(script: &[(Vec<u8>, Vec<u8>)]) {
    let all: Vec<u8> = script.iter().flat_map(|(sent, _)| sent.clone()).collect();
    let expected: Vec<u8> = script.iter().flat_map(|(_, expected)| expected.clone()).collect();
    for piece in [all.len(), 1] {
        let mut peer = Peer::new(Config::default());
        for bytes in all.chunks(piece) {
            peer.send(bytes);
        }
        assert_same(&without_cas(peer.answers()), &expected, "in pieces");
    }
    let mut peer = Peer::new(Config::default());
    for (sent, expected) in script {
        peer.send(sent);
        assert_same(&without_cas(peer.answers()), expected, &format!("after {}", sent.escape_ascii()));
    }
}

fn without_cas(mut replies: Vec<u8>) -> Vec<u8> {
    let mut at = 0;
    while at + 24 <= replies.len() {
        let body = u32::from_be_bytes(replies[at + 8..at + 12].try_into().unwrap());
        let some = u64::from(cas_of(&replies[at..]) != 0);
        replies[at + 16..at + 24].copy_from_slice(&some.to_be_bytes());
        at += 24 + body as usize;
    }
    replies
}

fn cas_of(reply: &[u8]) -> u64 {
    u64::from_be_bytes(reply[16..24].try_into().unwrap())
}

#[test]
fn storage() {
    run(&[
        (packet(0x00, 0, b"", b"a", b""), reply(0x00, 1, 0, b"", b"", NOT_FOUND)),
        (packet(0x0c, 0, b"", b"a", b""), reply(0x0c, 1, 0, b"", b"a", b"")),
        (packet(0x09, 0, b"", b"a", b""), vec![]),
        (packet(0x03, 0, SET_5, b"a", b"x"), reply(0x03, 1, 0, b"", b"", NOT_FOUND)),
        (packet(0x0e, 0, b"", b"a", b"x"), reply(0x0e, 5, 0, b"", b"", b"Not stored.")),
        (packet(0x01, 0, SET_5, b"a", b"x"), reply(0x01, 0, 1, b"", b"", b"")),
        (packet(0x02, 0, SET_5, b"a", b"x"), reply(0x02, 2, 0, b"", b"", EXISTS)),
        (packet(0x00, 0, b"", b"a", b""), reply(0x00, 0, 1, FLAGS_5, b"", b"x")),
        (packet(0x0d, 0, b"", b"a", b""), reply(0x0d, 0, 1, FLAGS_5, b"a", b"x")),
        (packet(0x11, 0, SET_5, b"a", b"y"), vec![]),
        (packet(0x0e, 0, b"", b"a", b"!"), reply(0x0e, 0, 1, b"", b"", b"")),
        (packet(0x1a, 0, b"", b"a", b"?"), vec![]),
        (packet(0x00, 0, b"", b"a", b""), reply(0x00, 0, 1, FLAGS_5, b"", b"?y!")),
        (packet(0x04, 0, b"", b"a", b""), reply(0x04, 0, 0, b"", b"", b"")),
        (packet(0x14, 0, b"", b"a", b""), reply(0x14, 1, 0, b"", b"", NOT_FOUND)),
    ]);
}

#[test]
fn a_cas_in_the_header_is_compared() {
    let mut peer = Peer::new(Config::default());
    let mut exchange = |sent: Vec<u8>| {
        peer.send(&sent);
        let answer = peer.answers();
        (u16::from_be_bytes([answer[6], answer[7]]), cas_of(&answer))
    };
    let (_, first) = exchange(packet(0x01, 0, SET_5, b"a", b"x"));
    assert_eq!(exchange(packet(0x01, first + 1, SET_5, b"a", b"y")).0, 2);
    let (status, second) = exchange(packet(0x02, first, SET_5, b"a", b"y"));
    assert_eq!(status, 0);
    assert!(second > first);
    assert_eq!(exchange(packet(0x0e, first, b"", b"a", b"!")).0, 2);
    assert_eq!(exchange(packet(0x05, first, &counter(1, 0, 0), b"a", b"")).0, 2);
    assert_eq!(exchange(packet(0x04, first, b"", b"a", b"")).0, 2);
    let (status, third) = exchange(packet(0x0f, second, b"", b"a", b"!"));
    assert_eq!(status, 0);
    assert_eq!(exchange(packet(0x01, third, SET_5, b"missing", b"y")).0, 1);
    assert_eq!(exchange(packet(0x04, third, b"", b"a", b"")).0, 0);
}

#[test]
fn counting() {
    let refused = b"Non-numeric server-side value for incr or decr";
    run(&[
        (packet(0x05, 0, &counter(1, 7, u32::MAX), b"n", b""), reply(0x05, 1, 0, b"", b"", NOT_FOUND)),
        (packet(0x05, 0, &counter(1, 7, 0), b"n", b""), reply(0x05, 0, 1, b"", b"", &7u64.to_be_bytes())),
        (packet(0x05, 0, &counter(3, 7, 0), b"n", b""), reply(0x05, 0, 1, b"", b"", &10u64.to_be_bytes())),
        (packet(0x16, 0, &counter(30, 7, 0), b"n", b""), vec![]),
        (packet(0x00, 0, b"", b"n", b""), reply(0x00, 0, 1, &[0; 4], b"", b"0 ")),
        (packet(0x11, 0, SET_5, b"n", b"x"), vec![]),
        (packet(0x06, 0, &counter(3, 7, 0), b"n", b""), reply(0x06, 6, 0, b"", b"", refused)),
    ]);
}

#[test]
fn touching() {
    run(&[
        (packet(0x1c, 0, &[0, 0, 0, 9], b"a", b""), reply(0x1c, 1, 0, b"", b"", NOT_FOUND)),
        (packet(0x1e, 0, &[0, 0, 0, 9], b"a", b""), vec![]),
        (packet(0x01, 0, SET_5, b"a", b"x"), reply(0x01, 0, 1, b"", b"", b"")),
        (packet(0x1c, 0, &[0, 0, 0, 9], b"a", b""), reply(0x1c, 0, 1, FLAGS_5, b"", b"")),
        (packet(0x1d, 0, &[0, 0, 0, 9], b"a", b""), reply(0x1d, 0, 1, FLAGS_5, b"", b"x")),
        (packet(0x24, 0, &[0, 0, 0, 9], b"a", b""), reply(0x24, 0, 1, FLAGS_5, b"a", b"x")),
        (packet(0x23, 0, &[0, 0, 0, 9], b"b", b""), reply(0x23, 1, 0, b"", b"b", b"")),
    ]);
}

#[test]
fn the_rest() {
    run(&[
        (packet(0x0a, 0, b"", b"", b""), reply(0x0a, 0, 0, b"", b"", b"")),
        (packet(0x0b, 0, b"", b"", b""), reply(0x0b, 0, 0, b"", b"", b"1.6.45")),
        (packet(0x08, 0, b"", b"", b""), reply(0x08, 0, 0, b"", b"", b"")),
        (packet(0x18, 0, &[0; 4], b"", b""), vec![]),
        (packet(0x1b, 0, b"", b"", b""), reply(0x1b, 0x81, 0, b"", b"", b"Unknown command")),
        // The body of an unknown command is skipped.
        (packet(0x40, 0, b"ex", b"key", b"value"), reply(0x40, 0x81, 0, b"", b"", b"Unknown command")),
        (packet(0x20, 0, b"", b"", b""), reply(0x20, 0x81, 0, b"", b"", b"Unknown command")),
        (packet(0x21, 0, b"", b"PLAIN", b"\0u\0p"), reply(0x21, 0x81, 0, b"", b"", b"Unknown command")),
        (packet(0x10, 0, b"", b"reset", b""), reply(0x10, 0, 0, b"", b"", b"")),
        (packet(0x10, 0, b"", b"nonsense", b""), reply(0x10, 1, 0, b"", b"", NOT_FOUND)),
    ]);
    let config = Config { flush_enabled: false, ..Config::default() };
    check_with(
        &config,
        &[(&packet(0x18, 0, b"", b"", b""), &reply(0x18, 0x20, 0, b"", b"", b"Auth failure."))],
    );
}

#[test]
fn packets_that_close() {
    let invalid = |opcode| reply(opcode, 4, 0, b"", b"", b"Invalid arguments");
    let mut torn = packet(0x00, 0, b"", b"a", b"");
    torn[11] = 0;
    for (sent, answer) in [
        (packet(0x07, 0, b"", b"", b""), reply(0x07, 0, 0, b"", b"", b"")),
        (packet(0x17, 0, b"", b"", b""), vec![]),
        (packet(0x00, 0, b"x", b"a", b""), invalid(0x00)),
        (packet(0x00, 0, b"", b"", b""), invalid(0x00)),
        (packet(0x00, 0, b"", b"a", b"x"), invalid(0x00)),
        (packet(0x01, 0, b"", b"a", b"x"), invalid(0x01)),
        (packet(0x05, 0, &[0; 19], b"a", b""), invalid(0x05)),
        (packet(0x00, 0, b"", &[b'k'; 251], b""), invalid(0x00)),
        (torn, reply(0x00, 0x81, 0, b"", b"", b"Unknown command")),
        (packet(0x00, 0, b"", &[b'k'; 16_361], b""), vec![]),
    ] {
        for piece in [1, sent.len()] {
            let mut peer = Peer::new(Config::default());
            for bytes in sent.chunks(piece) {
                peer.send(bytes);
            }
            assert!(peer.is_closed(), "{}", sent.escape_ascii());
            assert_eq!(peer.answers(), answer);
        }
    }
    // The first byte is not that of a request: on a connection whose first packet was binary, and on a listener for binary only.
    let mut peer = Peer::new(Config::default());
    peer.send(&packet(0x0a, 0, b"", b"", b""));
    peer.send(b"get a\r\n                          ");
    assert!(peer.is_closed());
    let mut peer = Peer::new(Config { protocol: Protocol::Binary, ..Config::default() });
    peer.send(b"version\r\n");
    assert!(!peer.is_closed());
    peer.send(&[b' '; 24]);
    assert!(peer.is_closed());
    assert_eq!(peer.answers(), b"");
}

#[test]
fn large_values() {
    for bytes in [4097, 8192, 300_000] {
        let value = vec![b'v'; bytes];
        run(&[
            (packet(0x01, 0, SET_5, b"a", &value), reply(0x01, 0, 1, b"", b"", b"")),
            (packet(0x0c, 0, b"", b"a", b""), reply(0x0c, 0, 1, FLAGS_5, b"a", &value)),
            (packet(0x0a, 0, b"", b"", b""), reply(0x0a, 0, 0, b"", b"", b"")),
        ]);
    }
    let over = vec![b'v'; 1 << 20];
    run(&[
        (packet(0x01, 0, SET_5, b"a", b"x"), reply(0x01, 0, 1, b"", b"", b"")),
        (packet(0x12, 0, SET_5, b"a", &over), reply(0x12, 3, 0, b"", b"", b"Too large.")),
        (packet(0x09, 0, b"", b"a", b""), reply(0x09, 0, 1, FLAGS_5, b"", b"x")),
        (packet(0x01, 0, SET_5, b"a", &over), reply(0x01, 3, 0, b"", b"", b"Too large.")),
        (packet(0x09, 0, b"", b"a", b""), vec![]),
    ]);
}
