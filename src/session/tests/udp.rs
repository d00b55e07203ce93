//! Datagrams: which are requests, and what comes back.

use crate::config::Config;
use crate::fuzzing::{self, Peer};

/// The messages that answer `commands`.
fn ask(peer: &mut Peer, commands: &[u8]) -> Vec<String> {
    let mut request = b"\x12\x34\0\x07\0\x01\x09\x09".to_vec();
    request.extend_from_slice(commands);
    fuzzing::udp(&request);
    let answers = peer.datagram(&request);
    let mut from = 0;
    let mut messages: Vec<String> = Vec::new();
    for end in answers.ends {
        let datagram = &answers.bytes[from..end];
        assert_eq!(datagram[..2], [0x12, 0x34]);
        if datagram[2..4] == [0, 0] {
            messages.push(String::new());
        }
        let part = datagram[8..].escape_ascii().to_string();
        messages.last_mut().unwrap().push_str(&part);
        from = end;
    }
    messages
}

#[test]
fn a_datagram_is_a_conversation() {
    let mut peer = Peer::new(Config::default());
    let cases: [(&[u8], &[&str]); 14] = [
        (b"set a 0 0 1\r\n1\r\n", &["STORED\\r\\n"]),
        (b"set b 0 0 1 noreply\r\n2\r\n", &[]),
        (b"get a\r\n", &["VALUE a 0 1\\r\\n1\\r\\nEND\\r\\n"]),
        (b"get a b\r\n", &["VALUE a 0 1\\r\\n1\\r\\n", "VALUE b 0 1\\r\\n2\\r\\n", "END\\r\\n"]),
        (b"get c\r\nmn\r\nmg a v\r\n", &["END\\r\\n", "MN\\r\\n", "VA 1\\r\\n1\\r\\n"]),
        (b"get a\r\nget", &["VALUE a 0 1\\r\\n1\\r\\nEND\\r\\n"]),
        (b"get a", &[]),
        (b"set a 0 0 9\r\nabc", &[]),
        (b"set a 0 0 9000\r\nabc", &[]),
        (b"quit\r\n", &[""]),
        (b"watch\r\n", &["OK\\r\\n"]),
        (b"lru_crawler metadump all\r\n", &["OK\\r\\n"]),
        (b"\x80\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0\x07", &[]),
        (b"", &[]),
    ];
    for (commands, expected) in cases {
        let answers = ask(&mut peer, commands);
        if commands.starts_with(b"lru_crawler") {
            // As much of the dump as one turn yields.
            assert_eq!(answers.first().map(String::as_str), expected.first().copied());
        } else {
            assert_eq!(answers, expected, "{}", commands.escape_ascii());
        }
    }
    assert_eq!(ask(&mut peer, b"get a\r\n"), ["VALUE a 0 1\\r\\n1\\r\\nEND\\r\\n"], "nothing lingers");
    let packet = b"\x80\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\0";
    assert_eq!(ask(&mut peer, packet).len(), 1);
    assert_eq!(ask(&mut peer, &[&packet[..], packet].concat()).len(), 2);
    let stat = b"\x80\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\0";
    assert_eq!(ask(&mut peer, stat).len(), 1);
    assert_eq!(ask(&mut peer, b"stats\r\nstats settings\r\n").len(), 2);
}
