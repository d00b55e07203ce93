//! Tests of values for which there is no memory, or which have to give up their memory: their commands are refused, and the
//! commands after them are understood.

use super::assert_same;
use crate::config::Config;
use crate::fuzzing::Peer;

const BYTES: usize = 900_000;
const STORING: &[u8] = b"SERVER_ERROR out of memory storing object\r\n";

fn packet(opcode: u8, value_bytes: usize) -> Vec<u8> {
    let extras: &[u8] = if opcode == 0x0e { &[] } else { &[0; 8] };
    let mut packet = vec![0x80, opcode, 0, 1, extras.len() as u8, 0, 0, 0];
    packet.extend_from_slice(&((extras.len() + 1 + value_bytes) as u32).to_be_bytes());
    packet.extend_from_slice(&[0; 12]);
    [&packet[..], extras, b"k"].concat()
}

fn status_2(opcode: u8) -> Vec<u8> {
    let text = b"Out of memory allocating item";
    let mut reply = vec![0x81, opcode, 0, 0, 0, 0, 0, 0x82, 0, 0, 0, text.len() as u8];
    reply.resize(24, 0);
    [&reply[..], text].concat()
}

/// The head of a command with a large value, the bytes sent before the head, the bytes sent after the value, and all replies if
/// there is no memory for the value.
type Conversation = (Vec<u8>, &'static [u8], &'static [u8], Vec<u8>);

fn conversations() -> Vec<Conversation> {
    const OLD: &[u8] = b"set k 0 0 3 noreply\r\nold\r\n";
    let text = |head: &str, answer: &[u8]| {
        let head = head.replace('N', &BYTES.to_string()).into_bytes();
        (head, OLD, &b"\r\nget k\r\n"[..], answer.to_vec())
    };
    let gone = [STORING, b"END\r\n"].concat();
    let there = [STORING, b"VALUE k 0 3\r\nold\r\nEND\r\n"].concat();
    let get: &[u8] = &[0x80, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let noop = [&[0x81, 0x0a][..], &[0; 22]].concat();
    let binary = |opcode| (packet(opcode, BYTES), &b""[..], get, [status_2(opcode), noop.clone()].concat());
    vec![
        text("set k 0 0 N\r\n", &gone),
        text("set k 0 0 N noreply\r\n", b"END\r\n"),
        text("append k 0 0 N\r\n", &there),
        text("replace k 0 0 N\r\n", &there),
        text("ms k N\r\n", &gone),
        text("ms k N q\r\n", &gone),
        binary(0x01),
        binary(0x11),
        binary(0x0e),
    ]
}

/// A client that stops in the middle of its value stays connected when others need the value's memory. The value is refused once
/// all of it has been received.
#[test]
fn a_value_that_is_given_up_is_refused_when_it_has_come() {
    for (head, before, behind, answers) in conversations() {
        for given_up_at in [0, 20_000, BYTES / 2, BYTES - 1, BYTES] {
            let mut peer = Peer::new(Config::default());
            peer.send(before);
            peer.send(&head);
            let value = vec![b'v'; BYTES];
            peer.send(&value[..given_up_at]);
            peer.give_up_value();
            let when = format!("{} at {given_up_at}", head.escape_ascii());
            if head[0] == 0x80 && given_up_at == BYTES {
                // The value was complete when it was to be given up.
                continue;
            }
            assert_same(&peer.answers(), b"", &when);
            for piece in value[given_up_at..].chunks(100_000) {
                peer.send(piece);
            }
            peer.send(behind);
            assert_same(&peer.answers(), &answers, &when);
        }
    }
}

/// A value is refused while other clients hold all the memory that unfinished values may hold, and send nothing more.
#[test]
fn a_value_that_gets_no_memory_is_refused() {
    for (head, before, behind, answers) in conversations() {
        let mut peer = Peer::new(Config { maxbytes: 8 << 20, ..Config::default() });
        peer.send(before);
        // One of the two values is in item memory, the other in a buffer.
        behind_holders(&mut peer, 2, &mut |peer| {
            peer.send(&head);
            peer.send(&vec![b'v'; BYTES]);
            peer.send(behind);
            assert_same(&peer.answers(), &answers, &head.escape_ascii().to_string());
        });
    }
}

/// Runs `then` while `holders` other clients have stopped in the middle of a value.
fn behind_holders(peer: &mut Peer, holders: usize, then: &mut dyn FnMut(&mut Peer)) {
    if holders == 0 {
        return peer.aside(then);
    }
    peer.aside(|peer| {
        peer.send(format!("set holder-{holders} 0 0 900000\r\n").as_bytes());
        peer.send(&vec![b'h'; 800_000]);
        behind_holders(peer, holders - 1, then);
    });
}
