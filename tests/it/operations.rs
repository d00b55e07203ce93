//! What operators look at: memory, times, hot keys.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Instant;

use crate::harness::{Client, Server, deadline, wait_until};

/// The answer to a command of the stats family.
fn stats(client: &mut Client, command: &str) -> BTreeMap<String, String> {
    client.send(format!("{command}\r\n").as_bytes());
    let reply = String::from_utf8(client.read_through(b"END\r\n")).unwrap();
    let pairs = reply.lines().filter_map(|line| line.strip_prefix("STAT ")?.split_once(' '));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn number(stats: &BTreeMap<String, String>, name: &str) -> u64 {
    stats[name].parse().unwrap_or_else(|_| panic!("{name} {}", stats[name]))
}

/// Sets `count` keys without waiting for each.
fn fill(client: &mut Client, count: usize, value_bytes: usize) {
    let value = "v".repeat(value_bytes);
    for first in (0..count).step_by(100) {
        let batch: String = (first..first + 100)
            .map(|key| format!("set key{key} 0 0 {value_bytes} noreply\r\n{value}\r\n"))
            .collect();
        client.send(batch.as_bytes());
        assert_eq!(client.ask("mn"), "MN");
    }
}

#[test]
fn memory_adds_up_and_is_what_the_kernel_sees() {
    let server = Server::start(&["-m", "64", "-t", "2"]);
    let mut client = server.connect();
    fill(&mut client, 30_000, 1000);
    // What connections hold is looked up once a second.
    wait_until("the read buffers are counted", || {
        number(&stats(&mut client, "stats memory"), "read_buffers_bytes") > 0
    });
    let found = stats(&mut client, "stats memory");
    let of = |name: &str| number(&found, name);
    let parts = ["segments_bytes", "large_bytes", "index_bytes", "ghosts_bytes"].map(of);
    assert_eq!(parts.iter().sum::<u64>(), of("used_bytes"));
    assert_eq!(of("used_bytes") + of("free_bytes"), of("limit_bytes"));
    assert_eq!(of("ring:0:index_bytes") + of("ring:1:index_bytes"), of("index_bytes"));
    assert_eq!(of("segments_in_use") * of("segment_bytes"), of("segments_bytes"));
    assert!(of("used_bytes") > 30_000_000, "{found:?}");
    let resident = server.resident_bytes() as u64;
    assert!(of("resident_bytes").abs_diff(resident) < 4 << 20, "{} {resident}", of("resident_bytes"));
    // The items were written, so their memory is there; the last segment may be half empty.
    assert!(resident > of("used_bytes") * 9 / 10, "{resident} {found:?}");
    assert!(resident < of("promised_bytes"), "{resident} {found:?}");
}

/// A connection that reads nothing holds its replies, and they are counted.
#[test]
fn what_connections_hold_is_counted() {
    let server = Server::start(&["-t", "1"]);
    let mut client = server.connect();
    client.set("k", &"v".repeat(4000));
    let held = |client: &mut Client| number(&stats(client, "stats memory"), "connections_bytes");
    let mut slow = server.connect();
    let gets = b"get k\r\n".repeat(16);
    slow.stream.set_nonblocking(true).unwrap();
    let end = Instant::now() + deadline();
    // Asks until the server's replies fill all buffers between.
    while held(&mut client) < 60_000 {
        assert!(Instant::now() < end, "{}", held(&mut client));
        let _ = slow.stream.write(&gets);
    }
    drop(slow);
    wait_until("it is gone", || held(&mut client) < 60_000);
}

#[test]
fn times_and_hot_keys_are_told() {
    let server = Server::start(&["-t", "2"]);
    let mut client = server.connect();
    client.set("hot", "v");
    let end = Instant::now() + deadline();
    loop {
        for _ in 0..200 {
            assert_eq!(client.get("hot").as_deref(), Some("v"));
            assert_eq!(client.get("cold"), None);
            assert_eq!(client.get("hot").as_deref(), Some("v"));
        }
        let (times, keys) = (stats(&mut client, "stats latency"), stats(&mut client, "stats hotkeys"));
        if number(&times, "get:count") >= 20 && number(&keys, "sampled_keys") >= 20 {
            let times = ["p50", "p99", "p999", "max"]
                .map(|at| times[&format!("get:{at}_us")].parse::<f64>().unwrap());
            assert!(times[0] > 0.0 && times.is_sorted(), "{times:?}");
            assert_eq!(keys["1:key"], "hot");
            let share: f64 = keys["1:percent"].parse().unwrap();
            assert!(share > 25.0, "{keys:?}");
            break;
        }
        assert!(Instant::now() < end, "{times:?} {keys:?}");
    }
}
