//! Tests of sessions by scripts of bytes sent and expected. Each script runs line by line, whole, and byte by byte, with
//! values in memory and on flash, and must answer the same. Each run has a server of its own (`fuzzing::Peer`), without
//! rings and sockets.

mod admin;
mod auth;
mod binary;
mod flash;
mod flash_stats;
mod meta;
mod ops;
mod pieces;
mod stalls;
mod text;
mod udp;
mod waits;

use crate::config::Config;
use crate::fuzzing::{Peer, flash::options};

/// The bytes to send, and the bytes that must be the reply.
type Exchange<'a> = (&'a [u8], &'a [u8]);

/// The place of all values when the next bytes are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Values {
    InMemory,
    /// The values are in chunks in memory that wait to be written to flash.
    InBuffers,
    OnFlash,
}

impl Values {
    fn peer(self, config: &Config) -> Peer {
        if self == Self::InMemory {
            Peer::new(config.clone())
        } else {
            Peer::with_flash(config.clone(), options())
        }
    }

    fn send(self, peer: &mut Peer, bytes: &[u8]) {
        if self != Self::InMemory {
            peer.demote_all();
        }
        if self == Self::OnFlash {
            peer.write_all();
        }
        peer.send(bytes);
    }
}

/// Runs `script` line by line, whole, and byte by byte, each time against a server of its own.
fn check(script: &[Exchange<'_>]) {
    check_with(&Config::default(), script);
}

fn check_with(config: &Config, script: &[Exchange<'_>]) {
    for values in [Values::InMemory, Values::InBuffers, Values::OnFlash] {
        check_values(values, config, script);
    }
}

fn check_values(values: Values, config: &Config, script: &[Exchange<'_>]) {
    let mut peer = values.peer(config);
    for (sent, expected) in script {
        values.send(&mut peer, sent);
        assert_same(&peer.answers(), expected, &format!("{values:?}, after {}", sent.escape_ascii()));
    }
    let all: Vec<u8> = script.iter().flat_map(|(sent, _)| sent.iter().copied()).collect();
    let expected: Vec<u8> = script.iter().flat_map(|(_, expected)| expected.iter().copied()).collect();
    let mut peer = values.peer(config);
    values.send(&mut peer, &all);
    assert_same(&peer.answers(), &expected, &format!("{values:?}, sent whole"));
    let mut peer = values.peer(config);
    for byte in &all {
        // The values are moved at the end of each line.
        let moves = if *byte == b'\n' { values } else { Values::InMemory };
        moves.send(&mut peer, &[*byte]);
    }
    assert_same(&peer.answers(), &expected, &format!("{values:?}, sent byte by byte"));
}

#[track_caller]
fn assert_same(answered: &[u8], expected: &[u8], when: &str) {
    let show = |bytes: &[u8]| {
        let shown = bytes.escape_ascii().to_string();
        if shown.len() > 2000 { format!("{}… ({} bytes)", &shown[..2000], bytes.len()) } else { shown }
    };
    assert!(answered == expected, "{when}:\nanswered {}\nexpected {}", show(answered), show(expected));
}
