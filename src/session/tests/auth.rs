//! Tests of logins, in the text protocol (-Y) and by SASL (-S).

use crate::auth::Users;
use crate::config::{Config, Protocol};
use crate::fuzzing::Peer;

fn guarded(config: Config) -> Peer {
    let mut peer = Peer::new(config);
    peer.shared().set_users(Users::sasl(b"joe:secret"));
    peer.reconnect();
    peer
}

#[test]
fn text_logs_in_with_a_set() {
    let config = Config { auth_file: Some("users".into()), protocol: Protocol::Ascii, ..Config::default() };
    for piece in [1, 1000] {
        let mut peer = guarded(config.clone());
        let sent = b"get foo\r\nset a 0 0 20000\r\nset a 0 0 3\r\njoe\r\nset a 0 0 3\r\nabcde\
            set a 0 0 9\r\njoe wrong\r\nset a b c 10 d\r\njoe secret\r\nget a\r\n";
        for bytes in sent.chunks(piece) {
            peer.send(bytes);
        }
        assert_eq!(
            String::from_utf8(peer.answers()).unwrap(),
            "CLIENT_ERROR unauthenticated\r\nCLIENT_ERROR auth token too long\r\n\
             CLIENT_ERROR bad authentication token format\r\nCLIENT_ERROR bad command line termination\r\n\
             CLIENT_ERROR authentication failure\r\nSTORED\r\nEND\r\n"
        );
        let counts = peer.shared().sums().ring;
        assert_eq!((counts.auth_cmds, counts.auth_errors), (2, 1));
    }
    let mut peer = guarded(config);
    peer.send(b"mn\r\n");
    assert!(peer.is_closed());
}

/// The password is everything after the first space. A parser that skips a second space and ignores the text after a third
/// refuses a password with a space, and accepts `secret anything` for `secret`.
#[test]
fn a_password_is_all_behind_the_first_blank() {
    let config = Config { auth_file: Some("users".into()), protocol: Protocol::Ascii, ..Config::default() };
    let answer = |head: &str, token: &str| {
        let mut peer = Peer::new(config.clone());
        peer.shared().set_users(Users::ascii(b"joe:secret\nann: b c\nbob:\n").unwrap());
        peer.reconnect();
        peer.send(format!("{head} {}\r\n{token}\r\n", token.len()).as_bytes());
        String::from_utf8(peer.answers()).unwrap().lines().next().map(str::to_owned)
    };
    for token in ["joe secret", "ann  b c", "bob "] {
        assert_eq!(answer("set a 0 0", token).as_deref(), Some("STORED"), "{token:?}");
    }
    for token in ["joe  secret", "joe secret ", " joe secret", "joe secret x", "ann b", "ann b c", "bob  "] {
        let failed = Some("CLIENT_ERROR authentication failure");
        assert_eq!(answer("set a 0 0", token).as_deref(), failed, "{token:?}");
    }
    for head in [" set a 0 0", "set a 0", "set a 0 0 4294967296", "set a 0 0 000000000010"] {
        let refused = Some("CLIENT_ERROR unauthenticated");
        assert_eq!(answer(head, "joe secret").as_deref(), refused, "{head:?}");
    }
}

#[test]
fn binary_logs_in_with_sasl() {
    let config = Config { sasl: true, protocol: Protocol::Binary, ..Config::default() };
    let packet = |opcode: u8, key: &[u8], value: &[u8]| {
        let body = (key.len() + value.len()) as u8;
        let head =
            [0x80, opcode, 0, key.len() as u8, 0, 0, 0, 0, 0, 0, 0, body, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        [&head[..], key, value].concat()
    };
    let mut peer = guarded(config);
    let mut exchange = |sent: Vec<u8>| {
        peer.send(&sent);
        let answer = peer.answers();
        (answer[7], String::from_utf8(answer[24..].to_vec()).unwrap(), peer.is_closed())
    };
    assert_eq!(exchange(packet(0x20, b"", b"")), (0, "PLAIN".into(), false));
    assert_eq!(exchange(packet(0x0b, b"", b"")).0, 0);
    assert_eq!(exchange(packet(0x21, b"PLAIN", b"\0joe\0wrong")), (0x20, "Auth failure.".into(), false));
    assert_eq!(exchange(packet(0x21, b"CRAM-MD5", b"")), (0x20, "Auth failure.".into(), false));
    assert_eq!(exchange(packet(0x21, &[b'x'; 33], b"")), (4, "Invalid arguments".into(), false));
    assert_eq!(exchange(packet(0x21, b"PLAIN", b"\0joe\0secret")), (0, "Authenticated".into(), false));
    assert_eq!(exchange(packet(0x0a, b"", b"")).0, 0);
    peer.reconnect();
    peer.send(&packet(0x0a, b"", b""));
    assert_eq!(peer.answers()[7], 0x20);
    assert!(peer.is_closed());
}
