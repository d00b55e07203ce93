//! Tests of the lists for operators: `stats memory`, `latency` and `hotkeys`.

use crate::config::Config;
use crate::fuzzing::Peer;
use std::collections::BTreeMap;

/// Number of feeds. It is large enough that some hundreds are sampled.
const FEEDS: usize = 40_000;

fn stats(peer: &mut Peer, which: &str) -> BTreeMap<String, String> {
    peer.send(format!("stats {which}\r\n").as_bytes());
    let answer = String::from_utf8(peer.answers()).unwrap();
    let lines = answer.strip_suffix("END\r\n").unwrap().lines();
    lines
        .map(|line| {
            let mut words = line.strip_prefix("STAT ").unwrap().split(' ');
            let (name, value) = (words.next().unwrap(), words.next().unwrap());
            assert_eq!(words.next(), None, "{line}");
            (name.to_owned(), value.to_owned())
        })
        .collect()
}

fn number(stats: &BTreeMap<String, String>, name: &str) -> f64 {
    stats[name].parse().unwrap_or_else(|_| panic!("{name} {}", stats[name]))
}

fn send(peer: &mut Peer, request: &[u8]) {
    peer.send(request);
    peer.answers();
}

#[test]
fn the_parts_of_the_memory_are_the_whole() {
    let mut peer = Peer::new(Config::default());
    for item in 0..20_000 {
        let value = "v".repeat(item % 1000);
        send(&mut peer, format!("set key{item} 0 0 {}\r\n{value}\r\n", value.len()).as_bytes());
    }
    let large = "v".repeat(500_000);
    send(&mut peer, format!("set large 0 0 500000\r\n{large}\r\n").as_bytes());
    let found = stats(&mut peer, "memory");
    let parts = ["segments", "large", "index", "ghosts"].map(|name| number(&found, &format!("{name}_bytes")));
    assert!(parts[0] > 9e6 && parts[1] >= 5e5 && parts[2] > 1e5, "{found:?}");
    let used = number(&found, "used_bytes");
    assert_eq!(parts.iter().sum::<f64>().to_bits(), used.to_bits());
    assert_eq!((used + number(&found, "free_bytes")).to_bits(), number(&found, "limit_bytes").to_bits());
    assert_eq!(found["replica:0:index_bytes"], found["index_bytes"]);
    assert_eq!(found["limit_bytes"], "67108864");
    assert!(number(&found, "promised_bytes") > number(&found, "limit_bytes"));
}

#[test]
fn requests_are_timed_by_kind() {
    let mut peer = Peer::new(Config::default());
    let requests: [(&str, &[u8]); 10] = [
        ("set", b"set k 0 0 1\r\n1\r\n"),
        ("get", b"get k\r\n"),
        ("arith", b"incr k 1\r\n"),
        ("touch", b"touch k 0\r\n"),
        ("delete", b"delete k\r\n"),
        ("meta_set", b"ms k 1\r\n1\r\n"),
        ("meta_get", b"mg k v\r\n"),
        ("meta_arith", b"ma k\r\n"),
        ("meta_delete", b"md k\r\n"),
        ("other", b"version\r\n"),
    ];
    for _ in 0..FEEDS / requests.len() {
        for (_, request) in requests {
            send(&mut peer, request);
        }
    }
    let found = stats(&mut peer, "latency");
    assert_eq!(found["sampled_one_in"], "128");
    let mut sampled = 0.0;
    for (kind, _) in requests {
        let of = |name: &str| number(&found, &format!("{kind}:{name}"));
        let times = [of("p50_us"), of("p99_us"), of("p999_us"), of("max_us")];
        assert!(times[0] > 0.0 && times.is_sorted(), "{kind}: {times:?}");
        // Of the 4,000 requests of a kind, 31 are expected to be sampled, give or take 6.
        assert!(of("count") >= 5.0 && of("count") < 100.0, "{kind}: {}", of("count"));
        sampled += of("count");
    }
    // Of all 40,000 requests, 312 are expected.
    assert!(sampled > 200.0 && sampled < 450.0, "{sampled}");
    send(&mut peer, b"stats reset\r\n");
    assert_eq!(stats(&mut peer, "latency")["get:count"], "0");
}

#[test]
fn packets_and_gets_in_one_piece_are_timed_too() {
    let packet = |opcode: u8| [&[0x80, opcode, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1][..], &[0; 12], b"k"].concat();
    let mut peer = Peer::new(Config::default());
    for _ in 0..FEEDS / 4 {
        // These are a get, a delete, and a noop whose key is ignored.
        send(&mut peer, &[packet(0x00), packet(0x04)].concat());
    }
    peer.reconnect();
    let found = stats(&mut peer, "latency");
    assert!(number(&found, "get:count") > 20.0 && found["get:count"] == found["delete:count"], "{found:?}");
    send(&mut peer, b"stats reset\r\n");
    for _ in 0..FEEDS / 4 {
        send(&mut peer, &b"get k\r\n".repeat(16));
    }
    let gets = number(&stats(&mut peer, "latency"), "get:count");
    assert!(gets > 500.0 && gets % 16.0 < 0.5, "each of the 16 is counted: {gets}");
}

#[test]
fn hot_keys_are_found_whatever_asks_for_them() {
    let mut peer = Peer::new(Config::default());
    for feed in 0..4 * FEEDS {
        match feed % 8 {
            0 => send(&mut peer, b"get hot%key\r\n"),
            1 => send(&mut peer, b"mg hot%key v\r\n"),
            2 => send(&mut peer, b"set hot%key 0 0 1\r\n1\r\n"),
            3 => send(&mut peer, b"delete warm\r\n"),
            _ => send(&mut peer, format!("get cold{feed}\r\n").as_bytes()),
        }
    }
    let found = stats(&mut peer, "hotkeys");
    // Of 160,000 keys, 156 are expected to be sampled.
    assert!(number(&found, "sampled_keys") > 80.0, "{found:?}");
    assert_eq!(found["1:key"], "hot%25key");
    assert_eq!(found["2:key"], "warm");
    let share = number(&found, "1:percent");
    assert!(share > 20.0 && share < 55.0, "{share}");
    let cold = found.iter().filter(|(name, key)| name.ends_with(":key") && key.starts_with("cold"));
    assert_eq!(cold.count(), 0, "{found:?}");
    send(&mut peer, b"stats reset\r\n");
    assert_eq!(stats(&mut peer, "hotkeys")["sampled_keys"], "0");
}

#[test]
fn keys_are_not_told_where_dumps_are_off() {
    let mut peer = Peer::new(Config { dump_enabled: false, ..Config::default() });
    peer.send(b"stats hotkeys\r\n");
    assert_eq!(peer.answers(), b"CLIENT_ERROR stats hotkeys not allowed\r\n");
}
