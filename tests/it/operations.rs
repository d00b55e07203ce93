//! What operators look at: memory, times, hot keys, the question for health.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::process::{Command, Output};
use std::time::Instant;

use crate::harness::{Client, Server, TempDir, deadline, program, wait_until};

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

/// Asks for health as a container's probe does; what it says on both outputs, and its status.
fn health(target: &str, more: &[&str]) -> (String, Option<i32>) {
    let Output { status, stdout, stderr } =
        Command::new(program()).args(["--health", target]).args(more).output().unwrap();
    let said = String::from_utf8([stdout, stderr].concat()).unwrap();
    (said, status.code())
}

/// Asks a server at `port`; what it says about it.
fn health_of(port: u16) -> (String, Option<i32>) {
    let target = format!("127.0.0.1:{port}");
    // Tests share the machine: what is slow is not ill.
    let (said, status) = health(&target, &["--health-timeout", "30"]);
    (said.strip_prefix(&format!("{target}: ")).unwrap_or_else(|| panic!("{said}")).to_owned(), status)
}

#[test]
fn health_is_told_in_a_line_and_a_status() {
    let server = Server::start(&[]);
    assert_eq!(health_of(server.port), ("healthy, version 1.6.45\n".to_owned(), Some(0)));
    let port = server.port;
    drop(server);
    assert_eq!(health_of(port), ("unhealthy, Connection refused\n".to_owned(), Some(1)));
    let binary = Server::start(&["-B", "binary"]);
    assert_eq!(health_of(binary.port), ("healthy, speaks the binary protocol\n".to_owned(), Some(0)));
    let full = Server::start(&["-c", "1"]);
    let client = full.connect();
    wait_until("the client is in", || full_of(&client));
    assert_eq!(health_of(full.port).1, Some(1));
}

/// Whether the server has taken the client in.
fn full_of(client: &Client) -> bool {
    let mut stream = client.stream.try_clone().unwrap();
    stream.write_all(b"mn\r\n").unwrap();
    stream.read(&mut [0; 16]).unwrap() > 0
}

#[test]
fn health_of_servers_that_want_a_login() {
    let dir = TempDir::new();
    let users = dir.path().join("users");
    std::fs::write(&users, "joe:secret\n").unwrap();
    let users = users.display().to_string();
    let ascii = Server::start(&["-Y", &users]);
    assert_eq!(health_of(ascii.port), ("healthy, asks for a login\n".to_owned(), Some(0)));
    let sasl = Server::start_with(program(), &["-S"], TempDir::new(), &[("MEMCACHED_SASL_PWDB", &users)]);
    assert_eq!(health_of(sasl.port), ("healthy, speaks the binary protocol\n".to_owned(), Some(0)));
}

#[test]
fn health_over_a_unix_socket() {
    let dir = TempDir::new();
    let path = dir.path().join("socket").display().to_string();
    let mut command = crate::harness::command(program(), &dir);
    let mut child = command.args(["-s", &path, "-t", "1"]).spawn().unwrap();
    wait_until("the socket is there", || std::os::unix::net::UnixStream::connect(&path).is_ok());
    let answer = health(&path, &["--health-timeout", "30"]);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(answer, (format!("{path}: healthy, version 1.6.45\n"), Some(0)));
}
