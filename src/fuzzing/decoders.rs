//! Targets that feed arbitrary bytes to the code that reads them first: the command line, the parsers, and sessions. Each
//! builds what it needs and drops it.

use super::peer::Peer;
use crate::config::{self, Config, Environment};
use crate::limits::LINE_BYTES_MAX;
use crate::proto::meta::KeyBuffer;
use crate::proto::text::{Command, Verb};
use crate::session::udp::Datagrams;

/// Target: any command line is rejected with a message, or accepted with settings within their bounds. Panics if not.
pub fn arguments(data: &[u8]) {
    let words: Vec<String> = String::from_utf8_lossy(data).split('\n').map(str::to_owned).collect();
    let environment = Environment {
        program: "memcached".to_owned(),
        cores: 4,
        large_pages: false,
        tls: true,
        sasl_pwdb: None,
        port_file: None,
    };
    match config::parse(&words, &environment) {
        Ok(config::Request::Run(config)) => {
            assert!((1..=1024).contains(&config.num_threads) && config.maxconns > 0);
            assert!(config.item_size_max <= config.maxbytes && config.reqs_per_event > 0);
            assert!(config.factor > 1.0);
            let _ = crate::engine::classes(&config);
        }
        Ok(config::Request::Print(text)) => assert!(!text.is_empty()),
        Ok(config::Request::Probe(_) | config::Request::Top(_)) => {}
        Err(refusal) => {
            assert!(refusal.status != 0 && refusal.lines.iter().all(|line| !line.ends_with('\n')));
        }
    }
}

/// Target: the text parser does not panic on any line.
pub fn text(data: &[u8]) {
    for line in data.split(|&byte| byte == b'\n') {
        if let Command::Get(get) = crate::proto::text::parse(line, 2) {
            assert!(get.keys.into_iter().all(|key| !key.is_empty() && !key.contains(&b' ')));
        }
    }
}

/// Target: the meta parser does not panic on any line.
pub fn meta(data: &[u8]) {
    for line in data.split(|&byte| byte == b'\n') {
        for verb in [Verb::Get, Verb::Set, Verb::Delete, Verb::Arith, Verb::Debug] {
            let Some(line) = crate::proto::meta::line(verb, line) else { continue };
            let mut buffer = KeyBuffer::default();
            let _ = line.debug_key(&mut buffer);
            if let Ok((key, request)) = line.request(verb, &mut buffer) {
                assert!(!key.is_empty());
                let _ = (request.store(key), request.arith(key));
            }
        }
    }
}

/// Target: the binary parser does not panic on any bytes, and needs no bytes after a packet's head.
pub fn binary(data: &[u8]) {
    use crate::proto::binary::{Parsed, parse};
    if let Parsed::Packet(packet) = parse(data) {
        assert!(matches!(parse(&data[..packet.head_bytes.min(data.len())]), Parsed::Packet(_)));
    }
}

/// Target: the answer to any datagram is nothing, or datagrams that can be put together to whole replies.
pub fn udp(data: &[u8]) {
    let mut peer = Peer::new(Config::default());
    for datagram in data.chunks(3000) {
        check(&peer.datagram(datagram));
    }
}

/// Checks that the datagrams of each message are all there and numbered in order.
fn check(answers: &Datagrams) {
    use crate::limits::DATAGRAM_BYTES_MAX;
    use crate::proto::udp::FRAME_BYTES;
    let mut from = 0;
    let mut last = (0, 0);
    for &end in &answers.ends {
        let datagram = &answers.bytes[from..end];
        assert!((FRAME_BYTES..=DATAGRAM_BYTES_MAX).contains(&datagram.len()));
        let number = |at: usize| u16::from_be_bytes([datagram[at], datagram[at + 1]]);
        let (sequence, total) = (number(2), number(4));
        assert!(sequence == 0 || last == (sequence - 1, total), "counted from 0 without a gap");
        assert!(sequence < total || total == 0 && datagram.len() == FRAME_BYTES);
        assert!(last.0 + 1 >= last.1 || sequence > 0, "a message comes whole");
        last = (sequence, total);
        from = end;
    }
    assert!(last.0 + 1 >= last.1);
}

/// Target: the replies to arbitrary bytes do not depend on the pieces in which the bytes arrive. The first byte says how many
/// of the next bytes are lengths of pieces.
pub fn session(data: &[u8]) {
    let Some((&count, data)) = data.split_first() else { return };
    let (lengths, data) = data.split_at(usize::from(count).min(data.len()));
    let mut whole = Peer::new(Config::default());
    whole.send(data);
    let mut pieces = Peer::new(Config::default());
    let mut rest = data;
    for &length in lengths {
        let (piece, behind) = rest.split_at((usize::from(length) * 16 + 1).min(rest.len()));
        pieces.send(piece);
        rest = behind;
    }
    pieces.send(rest);
    let (whole_answers, pieces_answers) = (whole.answers(), pieces.answers());
    // General statistics include the CPU time, which is never the same twice; dumps and watchers refuse to start while
    // replies are unsent.
    for marks in [&b"rusage_"[..], b"cannot pipeline"] {
        for answers in [&whole_answers, &pieces_answers] {
            if memchr::memmem::find(answers, marks).is_some() {
                return;
            }
        }
    }
    // Whether a very long line closes the connection depends on how much of it has arrived, as in memcached.
    let long_line = data.split(|&byte| byte == b'\n').any(|line| line.len() > LINE_BYTES_MAX);
    if long_line && pieces.is_closed() {
        return assert!(whole_answers.starts_with(&pieces_answers));
    }
    assert_eq!(whole_answers.escape_ascii().to_string(), pieces_answers.escape_ascii().to_string());
    assert_eq!(whole.is_closed(), pieces.is_closed());
}
