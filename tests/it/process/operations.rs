//! Observability: `stats memory|latency|hotkeys`, the metrics port, the health check.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Command, Output};
use std::time::Instant;

use crate::harness::{Client, Server, TempDir, deadline, program, wait_until};

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

/// The threads `ring-N` of `server`, with the cores that they may use.
fn cores_of_rings(server: &Server) -> BTreeMap<String, String> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
    let rings = tasks.filter_map(|task| {
        let status = std::fs::read_to_string(task.unwrap().path().join("status")).ok()?;
        let of =
            |name| status.lines().find_map(|line| line.strip_prefix(name)).map(|text| text.trim().to_owned());
        Some((of("Name:")?, of("Cpus_allowed_list:")?)).filter(|(name, _)| name.starts_with("ring-"))
    });
    rings.collect()
}

#[test]
fn rings_are_pinned_if_asked() {
    let free = cores_of_rings(&Server::start(&["-t", "3"]));
    assert!(free.len() == 3 && free.values().all(|cores| *cores == free["ring-0"]), "{free:?}");
    let pinned = cores_of_rings(&Server::start(&["-t", "3", "--pin-rings"]));
    let numbers: Vec<usize> = pinned.values().map(|core| core.parse().expect("one core")).collect();
    assert_eq!(numbers.len(), 3);
    if free["ring-0"] == "0-1" {
        assert_eq!(numbers, [0, 0, 1]);
    }
}

#[test]
fn memory_adds_up_and_matches_the_kernel() {
    let server = Server::start(&["-m", "64", "-t", "2"]);
    let mut client = server.connect();
    fill(&mut client, 30_000, 1000);
    // Memory of connections is updated once a second.
    wait_until("the read buffers are counted", || {
        number(&client.stats("stats memory"), "read_buffers_bytes") > 0
    });
    let found = client.stats("stats memory");
    let of = |name: &str| number(&found, name);
    let parts = ["segments_bytes", "large_bytes", "index_bytes", "ghosts_bytes"].map(of);
    assert_eq!(parts.iter().sum::<u64>(), of("used_bytes"));
    assert_eq!(of("used_bytes") + of("free_bytes"), of("limit_bytes"));
    assert_eq!(of("replica:0:index_bytes") + of("replica:1:index_bytes"), of("index_bytes"));
    assert_eq!(of("segments_in_use") * of("segment_bytes"), of("segments_bytes"));
    assert!(of("used_bytes") > 30_000_000, "{found:?}");
    let resident = server.resident_bytes() as u64;
    assert!(of("resident_bytes").abs_diff(resident) < 4 << 20, "{} {resident}", of("resident_bytes"));
    // The items were written, so their memory is resident; the last segment may be half empty.
    assert!(resident > of("used_bytes") * 9 / 10, "{resident} {found:?}");
    assert!(resident < of("promised_bytes"), "{resident} {found:?}");
}

/// The unread replies of a connection are counted.
#[test]
fn buffers_of_connections_are_counted() {
    let server = Server::start(&["-t", "1"]);
    let mut client = server.connect();
    client.set("k", &"v".repeat(4000));
    let held = |client: &mut Client| number(&client.stats("stats memory"), "connections_bytes");
    let mut slow = server.connect();
    let gets = b"get k\r\n".repeat(16);
    slow.stream.set_nonblocking(true).unwrap();
    let end = Instant::now() + deadline();
    // Sends requests until the replies fill all buffers in between.
    while held(&mut client) < 60_000 {
        assert!(Instant::now() < end, "{}", held(&mut client));
        let _ = slow.stream.write(&gets);
    }
    drop(slow);
    wait_until("it is gone", || held(&mut client) < 60_000);
}

#[test]
fn latency_and_hot_keys_are_reported() {
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
        let (times, keys) = (client.stats("stats latency"), client.stats("stats hotkeys"));
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

/// A server with metrics, and their address.
fn with_metrics(flags: &[&str]) -> (Server, SocketAddr) {
    let server = Server::start(&[&["--metrics-port", "-1"], flags].concat());
    let text = std::fs::read_to_string(server.dir.path().join("port")).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], format!("TCP INET: {}", server.port), "memcached's lines come first");
    let port = lines.last().unwrap().strip_prefix("METRICS INET: ").unwrap().parse().unwrap();
    (server, (Ipv4Addr::LOCALHOST, port).into())
}

fn dial(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, deadline()).unwrap();
    stream.set_read_timeout(Some(deadline())).unwrap();
    stream
}

/// Head and body of a reply.
fn request(address: SocketAddr, request: &str) -> (String, String) {
    let mut stream = dial(address);
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    (head.to_owned(), body.to_owned())
}

fn get(address: SocketAddr, path: &str) -> (String, String) {
    request(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n"))
}

/// The samples of a page by name and labels; each must follow its metric's HELP and TYPE.
fn samples(page: &str) -> BTreeMap<String, f64> {
    let mut metric = String::new();
    let mut samples = BTreeMap::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            metric = String::from(rest.split(' ').next().unwrap());
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (named, kind) = rest.split_once(' ').unwrap();
            assert_eq!(named, metric);
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
        } else {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(name.starts_with(&metric), "{line} below {metric}");
            let again = samples.insert(name.to_owned(), value.parse().unwrap());
            assert_eq!(again, None, "{name} twice");
        }
    }
    samples
}

#[test]
fn metrics_match_the_statistics() {
    let (server, address) = with_metrics(&["-t", "2"]);
    let mut client = server.connect();
    for key in ["a", "b", "c"] {
        client.set(key, "1");
        client.get(key);
    }
    client.get("none");
    assert_eq!(client.ask("incr a 1"), "2");
    assert_eq!(client.ask("touch none 1"), "NOT_FOUND");
    let general = client.stats("stats");
    let (head, body) = get(address, "/metrics");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("\r\ncontent-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    let found = samples(&body);
    let class_items: f64 = found
        .iter()
        .filter(|(name, _)| name.starts_with("memcached_slab_current_items{"))
        .map(|(_, of)| of)
        .sum();
    assert_eq!(class_items as u64, 3);
    for (metric, name) in [
        ("memcached_current_items", "curr_items"),
        ("memcached_items_total", "total_items"),
        ("memcached_current_bytes", "bytes"),
        ("memcached_limit_bytes", "limit_maxbytes"),
        ("memcached_current_connections", "curr_connections"),
        ("memcached_connections_total", "total_connections"),
        ("memcached_read_bytes_total", "bytes_read"),
        ("memcached_max_connections", "max_connections"),
        ("memcached_commands_total{command=\"get\",status=\"hit\"}", "get_hits"),
        ("memcached_commands_total{command=\"get\",status=\"miss\"}", "get_misses"),
        ("memcached_commands_total{command=\"incr\",status=\"hit\"}", "incr_hits"),
        ("memcached_commands_total{command=\"touch\",status=\"miss\"}", "touch_misses"),
        ("memcached_commands_total{command=\"set\",status=\"hit\"}", "cmd_set"),
        ("memcrsd_memory_bytes{part=\"index\"}", "hash_bytes"),
        ("memcrsd_rings", "threads"),
    ] {
        assert_eq!(found[metric] as u64, number(&general, name), "{metric}");
    }
    assert_eq!(found["memcached_up"] as u64, 1);
    assert_eq!(found["memcached_version{version=\"1.6.45\"}"] as u64, 1);
    let buckets = |le: &str| found[&format!("memcrsd_request_seconds_bucket{{command=\"get\",le=\"{le}\"}}")];
    assert!(buckets("0.000000255") <= buckets("+Inf"));
    assert_eq!(buckets("+Inf").to_bits(), found["memcrsd_request_seconds_count{command=\"get\"}"].to_bits());
    let (settings, port) = (client.stats("stats settings"), address.port());
    assert_eq!((&*settings["metrics_port"], &*settings["metrics_address"]), ("-1", "127.0.0.1"), "{port}");
}

/// What the rings say of their load adds up to what the server counts.
#[test]
fn rings_report_their_load() {
    let (server, address) = with_metrics(&["-t", "2"]);
    let mut clients: Vec<_> = (0..8).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.set("a", "1");
        client.get("a");
        client.get("none");
        assert_eq!(client.ask("incr a 1"), "2");
        assert_eq!(client.ask("delete none"), "NOT_FOUND");
    }
    let rings = clients[0].stats("stats rings");
    let sum = |what: &str| (0..2).map(|ring| number(&rings, &format!("{ring}:{what}"))).sum::<u64>();
    assert_eq!((sum("connections"), sum("requests")), (8, 40));
    assert!(sum("bytes_read") >= 8 * 40 && sum("bytes_written") >= 8 * 20, "{rings:?}");
    let busy = |ring: usize| rings[&format!("{ring}:cpu_seconds")].parse::<f64>().unwrap();
    assert!(busy(0) > 0.0 && busy(1) > 0.0, "{rings:?}");
    let found = samples(&get(address, "/metrics").1);
    let series = |name: &str| (0..2).map(|ring| found[&format!("{name}{{ring=\"{ring}\"}}")]).sum::<f64>();
    assert_eq!(series("memcrsd_ring_requests_total") as u64, 40);
    assert_eq!(series("memcrsd_ring_connections") as u64, 8);
    assert_eq!(found["memcrsd_stuck_rings"] as u64, 0);
}

#[test]
fn other_http_requests_get_an_error() {
    let (_server, address) = with_metrics(&[]);
    for (path, status) in [("/", "200 OK"), ("/nothing", "404 Not Found"), ("/metrics?x=1", "200 OK")] {
        let (head, _) = get(address, path);
        assert!(head.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{path}: {head}");
    }
    let (head, _) = request(address, "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 405 "), "{head}");
    let (head, body) = request(address, "HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 ") && body.is_empty(), "{head}");
    let (head, _) = request(address, "GET /metrics HTTP/1.0\r\n\r\n");
    assert!(head.starts_with("HTTP/1.0 200 "), "{head}");
    let (head, _) = request(address, "set a 0 0 1\r\n\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    let long = format!("GET /metrics HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    let mut stream = dial(address);
    // The server may close before all is sent.
    let _ = stream.write_all(long.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", answer.escape_ascii());
}

/// Silent clients occupy all connections of the metrics port, but not for long; the cache is not affected.
#[test]
fn slow_metrics_clients_are_closed() {
    let (server, address) = with_metrics(&[]);
    let mut silent: Vec<_> = (0..40).map(|_| dial(address)).collect();
    for stream in &mut silent {
        let _ = stream.write(b"GET /met");
    }
    let mut client = server.connect();
    assert_eq!(client.ask("version"), "VERSION 1.6.45");
    let (head, _) = get(address, "/metrics");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    for stream in &mut silent {
        // A reply or none, then the end.
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP/1.1 200"));
    }
}

#[test]
fn a_taken_metrics_port_is_refused() {
    let (_server, address) = with_metrics(&[]);
    let port = address.port().to_string();
    let dir = TempDir::new();
    let mut command = crate::harness::command(program(), &dir);
    let status = command.args(["-l", "127.0.0.1", "-p", "-1", "--metrics-port", &port]).status().unwrap();
    assert_eq!(status.code(), Some(71));
    let said = std::fs::read_to_string(dir.path().join("stderr")).unwrap();
    let line = format!("failed to listen for metrics on 127.0.0.1 port {port}: Address already in use\n");
    assert_eq!(said, line);
}

/// Runs a health check as a container's probe does; returns both outputs and the status.
fn health(target: &str, more: &[&str]) -> (String, Option<i32>) {
    let Output { status, stdout, stderr } =
        Command::new(program()).args(["--health", target]).args(more).output().unwrap();
    let said = String::from_utf8([stdout, stderr].concat()).unwrap();
    (said, status.code())
}

/// Checks the server at `port`; returns the line about it.
fn health_of(port: u16) -> (String, Option<i32>) {
    let target = format!("127.0.0.1:{port}");
    // Tests share the machine, so a slow reply is no failure.
    let (said, status) = health(&target, &["--health-timeout", "30"]);
    (said.strip_prefix(&format!("{target}: ")).unwrap_or_else(|| panic!("{said}")).to_owned(), status)
}

#[test]
fn health_is_a_line_and_a_status() {
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

/// True if the server has accepted the client.
fn full_of(client: &Client) -> bool {
    let mut stream = client.stream.try_clone().unwrap();
    stream.write_all(b"mn\r\n").unwrap();
    stream.read(&mut [0; 16]).unwrap() > 0
}

#[test]
fn servers_that_want_a_login_are_healthy() {
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
fn health_works_over_a_unix_socket() {
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
