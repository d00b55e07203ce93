//! Scripts of bytes sent and expected. Each runs line by line, whole, and byte by byte, and must answer the same.

mod admin;
mod auth;
mod binary;
mod flash_stats;
mod meta;
mod ops;
mod pieces;
mod stalls;
mod text;
mod udp;
mod waits;

use crate::config::Config;
use crate::fuzzing::Peer;

/// Sent, and what must come back.
type Exchange<'a> = (&'a [u8], &'a [u8]);

/// Runs `script` in three ways against servers of their own.
fn check(script: &[Exchange<'_>]) {
    check_with(&Config::default(), script);
}

fn check_with(config: &Config, script: &[Exchange<'_>]) {
    let mut peer = Peer::new(config.clone());
    for (sent, expected) in script {
        peer.send(sent);
        assert_same(&peer.answers(), expected, &format!("after {}", sent.escape_ascii()));
    }
    let all: Vec<u8> = script.iter().flat_map(|(sent, _)| sent.iter().copied()).collect();
    let expected: Vec<u8> = script.iter().flat_map(|(_, expected)| expected.iter().copied()).collect();
    let mut peer = Peer::new(config.clone());
    peer.send(&all);
    assert_same(&peer.answers(), &expected, "sent whole");
    let mut peer = Peer::new(config.clone());
    for byte in &all {
        peer.send(&[*byte]);
    }
    assert_same(&peer.answers(), &expected, "sent byte by byte");
}

#[track_caller]
fn assert_same(answered: &[u8], expected: &[u8], when: &str) {
    let show = |bytes: &[u8]| {
        let shown = bytes.escape_ascii().to_string();
        if shown.len() > 2000 { format!("{}… ({} bytes)", &shown[..2000], bytes.len()) } else { shown }
    };
    assert!(answered == expected, "{when}:\nanswered {}\nexpected {}", show(answered), show(expected));
}
