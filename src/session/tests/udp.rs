//! Tests of datagrams: which datagrams are requests, and what is replied to them.

use crate::config::Config;
use crate::fuzzing::{self, Peer};
use crate::session::udp::Datagrams;

/// Sends `commands` in one datagram, and returns the messages of the reply.
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
    let cases: [(&[u8], &[&str]); 15] = [
        (b"set a 0 0 1\r\n1\r\n", &["STORED\\r\\n"]),
        (b"lru_crawler mgdump 1\r\nmn\r\n", &["OK\\r\\n", "mg a\\r\\n", "EN\\r\\n", "MN\\r\\n"]),
        (b"stats cachedump 1 1\r\n", &["ITEM a [1 b; 0 s]\\r\\nEND\\r\\n"]),
        (b"set b 0 0 1 noreply\r\n2\r\n", &[]),
        (b"get a\r\n", &["VALUE a 0 1\\r\\n1\\r\\nEND\\r\\n"]),
        (b"get a b\r\n", &["VALUE a 0 1\\r\\n1\\r\\n", "VALUE b 0 1\\r\\n2\\r\\nEND\\r\\n"]),
        (b"get c\r\nmn\r\nmg a v\r\n", &["END\\r\\n", "MN\\r\\n", "VA 1\\r\\n1\\r\\n"]),
        (b"get a\r\nget", &["VALUE a 0 1\\r\\n1\\r\\nEND\\r\\n"]),
        (b"get a", &[]),
        (b"set a 0 0 9\r\nabc", &[]),
        (b"set a 0 0 9000\r\nabc", &[]),
        (b"quit\r\n", &[""]),
        (b"watch\r\n", &["OK\\r\\n"]),
        (b"\x80\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0\x07", &[]),
        (b"", &[]),
    ];
    for (commands, expected) in cases {
        let answers = ask(&mut peer, commands);
        assert_eq!(answers, expected, "{}", commands.escape_ascii());
    }
    assert_eq!(ask(&mut peer, b"get a\r\n"), ["VALUE a 0 1\\r\\n1\\r\\nEND\\r\\n"], "nothing lingers");
    let packet = b"\x80\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\0";
    assert_eq!(ask(&mut peer, packet).len(), 1);
    assert_eq!(ask(&mut peer, &[&packet[..], packet].concat()).len(), 2);
    let stat = b"\x80\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\0";
    assert_eq!(ask(&mut peer, stat).len(), 1);
    assert_eq!(ask(&mut peer, b"stats\r\nstats settings\r\n").len(), 2);
}

/// A datagram that asks 64 times for a value of 1 MB gets no reply. The values are counted before any of them is copied, and a
/// reply is cut from where they are in memory.
#[test]
fn values_are_counted_before_they_are_copied() {
    let mut peer = Peer::new(Config::default());
    let value = "v".repeat(1_000_000);
    peer.send(format!("set k 0 0 {}\r\n{value}\r\n", value.len()).as_bytes());
    assert_eq!(peer.answers(), b"STORED\r\n");
    assert_eq!(ask(&mut peer, format!("get{}\r\n", " k".repeat(64)).as_bytes()), [""; 0]);
    let hit = format!("VALUE k 0 1000000\\r\\n{value}\\r\\n");
    let answers = ask(&mut peer, b"get k k\r\nmg k v\r\n");
    assert_eq!(answers.len(), 3);
    assert!(answers[0] == hit && answers[1] == format!("{hit}END\\r\\n"));
    assert!(answers[2] == format!("VA 1000000\\r\\n{value}\\r\\n"));
}

/// A cachedump in a datagram examines a bounded number of items, in slices, also with another command after it, and ends with
/// `END`.
#[test]
fn dumps_look_at_some_items_in_slices_and_end() {
    let mut peer = Peer::new(Config::default());
    for at in 0..100_000 {
        peer.send(format!("set {at} 0 0 1 noreply\r\nv\r\n").as_bytes());
    }
    let request = b"\0\x07\0\0\0\x01\0\0stats cachedump 2 0\r\nstats cachedump 1 0\r\nmn\r\n";
    let mut exchange = peer.exchange(request).unwrap();
    let mut steps = 0;
    while peer.step(&mut exchange, request) {
        steps += 1;
    }
    assert!((10..2000).contains(&steps), "{steps}");
    let mut answers = Datagrams::default();
    exchange.cut(&mut answers, usize::MAX);
    let items = answers.bytes.windows(5).filter(|window| window == b"ITEM ").count();
    assert!(items <= 1000, "all the looking was done for the other class: {items}");
    assert!(answers.bytes.ends_with(b"MN\r\n"));
}

/// A datagram that begins a large set evicts no items, because the value cannot follow.
#[test]
fn a_datagram_makes_no_room_for_a_value_that_is_not_in_it() {
    let mut peer = Peer::new(Config { maxbytes: 8 << 20, ..Config::default() });
    let value = "v".repeat(1000);
    let mut count = |command: &str| {
        peer.send(command.as_bytes());
        String::from_utf8(peer.answers()).unwrap()
    };
    for at in 0..9000 {
        count(&format!("set {at} 0 0 1000 noreply\r\n{value}\r\n"));
    }
    let items =
        |stats: String| stats.lines().find(|line| line.starts_with("STAT curr_items ")).map(str::to_owned);
    let before = items(count("stats\r\n"));
    for _ in 0..10 {
        assert_eq!(ask(&mut peer, b"set big 0 0 900000\r\nabc"), [""; 0]);
    }
    peer.send(b"stats\r\n");
    assert_eq!(items(String::from_utf8(peer.answers()).unwrap()), before);
}

/// A request with a forged sender address makes a server send its reply to another server. If that replied, the two would answer
/// each other for ever.
#[test]
fn two_servers_do_not_answer_each_other() {
    let commands = [
        "get a\r\n",
        "get k k\r\n",
        "mg k v\r\n",
        "incr n 1\r\n",
        "nonsense\r\n",
        "set k 0 0 5\r\nget a\r\n",
        "stats\r\n",
        "version\r\n",
        "lru_crawler metadump all\r\n",
        "lru_crawler mgdump all\r\n",
        "stats cachedump 1 0\r\n",
        "\u{1}\u{2}\r\n\r\n",
        "refresh_certs\r\n",
        "verbosity\r\n",
        "quit\r\n",
        "watch\r\n",
        "me k\r\n",
        "set k 0 0 9999999\r\n",
    ];
    let mut peers = [Peer::new(Config::default()), Peer::new(Config::default())];
    for peer in &mut peers {
        peer.send(b"set k 0 0 7\r\nget a\r\n\r\nset n 0 0 1\r\n1\r\n");
        peer.answers();
    }
    for command in commands {
        let mut datagrams = vec![[b"\0\x01\0\0\0\x01\0\0", command.as_bytes()].concat()];
        for round in 0.. {
            assert!(round < 4, "{command:?} goes to and fro");
            let mut next = Vec::new();
            for datagram in &datagrams {
                let answers = peers[round % 2].datagram(datagram);
                let mut from = 0;
                for end in answers.ends {
                    next.push(answers.bytes[from..end].to_vec());
                    from = end;
                }
            }
            if next.is_empty() {
                break;
            }
            datagrams = next;
        }
    }
}
