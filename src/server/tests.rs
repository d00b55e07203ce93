//! Tests of the edge inside the test's process: real rings, real sockets, real sessions, and the server's clock and counters
//! at hand.

use super::{Ports, Server, Storage};
use crate::auth::Users;
use crate::config::{Config, Endpoint, ListenSpec, ListenTls, Protocol};
use crate::engine::counters::Counts;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

struct Running {
    server: Server,
    address: SocketAddr,
}

impl Running {
    fn start(rings: usize, adjust: impl FnOnce(&mut Config)) -> Self {
        let endpoint = Endpoint::Tcp { host: Some("127.0.0.1".to_owned()), port: 0 };
        let listen_spec = ListenSpec { endpoint, protocol: Protocol::Auto, tls: ListenTls::Off, tag: None };
        let mut config = Config {
            listen: vec![listen_spec],
            num_threads: rings,
            serving_rings: Some(rings),
            ..Config::default()
        };
        adjust(&mut config);
        let ports = Ports::bind(&config).expect("a free port");
        let address = ports.addresses()[0];
        let storage = Storage::open(&config, None, Vec::new()).expect("memory");
        let server = ports.start(storage, config.maxconns, Users::default(), None).expect("a server");
        Self { server, address }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("a listener");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        stream
    }

    fn counts(&self) -> Counts {
        self.server.shared().sums().ring
    }

    fn stop(self) {
        self.server.stop();
    }

    /// Waits until `condition` holds.
    fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !condition(self) {
            assert!(Instant::now() < deadline, "never: {what}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn send(mut stream: &TcpStream, request: impl AsRef<[u8]>) {
    stream.write_all(request.as_ref()).expect("a write");
}

fn ask(stream: &TcpStream, request: &str) -> String {
    send(stream, request);
    line(stream)
}

fn line(mut stream: &TcpStream) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while byte != *b"\n" {
        stream.read_exact(&mut byte).expect("a reply");
        line.push(byte[0]);
    }
    String::from_utf8(line).expect("text")
}

fn set(stream: &TcpStream, key: &str, value: &[u8]) {
    send(stream, format!("set {key} 0 0 {}\r\n", value.len()));
    send(stream, value);
    assert_eq!(ask(stream, "\r\n"), "STORED\r\n");
}

fn is_closed(mut stream: &TcpStream) -> bool {
    loop {
        match stream.read(&mut [0; 1]) {
            Ok(count) => return count == 0,
            // This thread has probed: the kernel takes that ring down on its time.
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
}

#[test]
fn commands_are_answered_however_they_are_cut() {
    let running = Running::start(2, |_| {});
    let client = running.connect();
    assert_eq!(ask(&client, "mn\r\n"), "MN\r\n");
    // Byte by byte: each read ends within a command.
    for byte in "mn\r\nms a 1\r\nb\r".bytes() {
        send(&client, [byte]);
        std::thread::yield_now();
    }
    assert_eq!(line(&client), "MN\r\n");
    assert_eq!(ask(&client, "\n"), "HD\r\n");
    // A pipeline longer than a read buffer, cut wherever a read ends.
    let (mut pipeline, mut expected) = (String::new(), String::new());
    for n in 0..20_000 {
        write!(pipeline, "mg a v O{n}\r\n").expect("memory");
        write!(expected, "VA 1 O{n}\r\nb\r\n").expect("memory");
    }
    let writer = client.try_clone().expect("a handle");
    let writing = std::thread::spawn(move || send(&writer, pipeline));
    let mut replies = vec![0; expected.len()];
    (&client).read_exact(&mut replies).expect("replies");
    assert!(replies == expected.as_bytes());
    writing.join().expect("written");
    // A command longer than several read buffers.
    let long = format!("get{} a\r\n", " missing".repeat(12_500));
    assert_eq!(ask(&client, &long), "VALUE a 0 1\r\n");
    assert_eq!((line(&client), line(&client)), ("b\r\n".to_owned(), "END\r\n".to_owned()));
    running.stop();
}

#[test]
fn replies_larger_than_an_output_come_in_parts() {
    let running = Running::start(1, |_| {});
    let client = running.connect();
    set(&client, "x", &[b'x'; 3000]);
    let mut lines = BufReader::new(client.try_clone().expect("a handle"));
    send(&client, format!("get{}\r\nmn\r\n", " x".repeat(1600)));
    let mut values = 0;
    loop {
        let mut line = String::new();
        lines.read_line(&mut line).expect("a line");
        match line.trim_end() {
            "END" => break,
            "VALUE x 0 3000" => values += 1,
            value => assert!(value.len() == 3000 && value.bytes().all(|byte| byte == b'x')),
        }
    }
    assert_eq!(values, 1600);
    let mut line = String::new();
    lines.read_line(&mut line).expect("a line");
    assert_eq!(line, "MN\r\n");
    running.stop();
}

/// A client that asks for hundreds of megabytes and reads nothing costs only what its socket holds; the others are served.
#[test]
fn a_client_that_never_reads_holds_up_nobody_and_is_cut_at_the_end() {
    let running = Running::start(1, |_| {});
    let greedy = running.connect();
    set(&greedy, "x", &vec![b'x'; 1_000_000]);
    send(&greedy, "mg x v\r\n".repeat(200));
    let client = running.connect();
    for _ in 0..100 {
        assert_eq!(ask(&client, "mn\r\n"), "MN\r\n");
    }
    let shared = std::sync::Arc::clone(running.server.shared());
    running.stop();
    // The stop waited for the reply as long as it may, and then closed both.
    assert_eq!(shared.sums().ring.closed_connections, 2);
}

#[test]
fn large_values_are_received_into_item_memory() {
    let running = Running::start(1, |config| config.item_size_max = 8 << 20);
    let client = running.connect();
    for bytes in [1, 10_000, 16_384, 16_385, 3_000_000] {
        let value: Vec<u8> = (0..bytes).map(|n| b'a' + (n % 26) as u8).collect();
        set(&client, "large", &value);
        assert_eq!(ask(&client, "mg large v\r\n"), format!("VA {bytes}\r\n"));
        let mut stored = vec![0; bytes];
        (&client).read_exact(&mut stored).expect("the value");
        assert!(stored == value);
        assert_eq!(line(&client), "\r\n");
    }
    // A client that leaves in the middle of a value is just a client that leaves.
    send(&client, "set large 0 0 1000000\r\nabc");
    drop(client);
    running.until("the end", |running| running.counts().closed_connections == 1);
    assert_eq!(ask(&running.connect(), "mg large s\r\n"), "HD s3000000\r\n");
    running.stop();
}

#[test]
fn a_half_closed_client_gets_its_replies() {
    let running = Running::start(1, |_| {});
    let client = running.connect();
    send(&client, "mn\r\nmg a\r\nmg b");
    client.shutdown(Shutdown::Write).expect("half a connection");
    let mut replies = String::new();
    (&client).read_to_string(&mut replies).expect("replies, then the end");
    assert_eq!(replies, "MN\r\nEN\r\n");
    let client = running.connect();
    assert_eq!(ask(&client, "mn\r\nquit\r\nmn\r\n"), "MN\r\n");
    assert!(is_closed(&client));
    running.stop();
}

#[test]
fn connections_spread_evenly_over_rings() {
    let running = Running::start(4, |_| {});
    let clients: Vec<_> = (0..16).map(|_| running.connect()).collect();
    for client in &clients {
        assert_eq!(ask(client, "mn\r\n"), "MN\r\n");
    }
    for ring in 0..4 {
        let count = running.server.shared().ring_counters(ring).ring.read().total_connections;
        assert!((3..=5).contains(&count), "ring {ring} has {count} of 16");
    }
    drop(clients);
    running.until("all closed", |running| running.counts().closed_connections == 16);
    running.stop();
}

/// The test moves the server's clock instead of waiting for the idle timeout.
#[test]
fn silent_clients_are_closed_after_the_idle_timeout_but_not_in_a_value() {
    let running = Running::start(1, |config| config.idle_timeout = 5);
    let (idle, half, busy) = (running.connect(), running.connect(), running.connect());
    assert_eq!(ask(&idle, "mn\r\n"), "MN\r\n");
    assert_eq!(ask(&half, "mn\r\nmg unfin"), "MN\r\n");
    assert_eq!(ask(&busy, "mn\r\nset a 0 0 3\r\nx"), "MN\r\n");
    running.server.shared().clock.shift(10);
    assert!(is_closed(&idle));
    assert!(is_closed(&half));
    assert_eq!(ask(&busy, "yz\r\n"), "STORED\r\n");
    assert_eq!(running.counts().idle_kicks, 2);
    running.stop();
}

#[test]
fn idle_clients_release_their_buffers_and_wake_up() {
    let running = Running::start(1, |_| {});
    let clients: Vec<_> = (0..40).map(|_| running.connect()).collect();
    for client in &clients {
        assert_eq!(ask(client, "mn\r\nmg unfinished"), "MN\r\n");
    }
    let held = |running: &Running| running.server.shared().held().0;
    running.until("the sweep has seen them", |running| held(running) > 0);
    for client in &clients {
        assert_eq!(ask(client, "\r\n"), "EN\r\n");
    }
    running.until("all is released", |running| held(running) == 0);
    for client in &clients {
        assert_eq!(ask(client, "mn\r\n"), "MN\r\n");
    }
    running.stop();
}

/// More busy clients than registered buffers are all served.
#[test]
fn nine_hundred_clients_talk_at_once() {
    let running = Running::start(1, |_| {});
    let clients: Vec<_> = (0..900).map(|_| running.connect()).collect();
    for round in 0..5 {
        for client in &clients {
            send(client, format!("mg a{round}\r\nmn\r\n"));
        }
        for client in &clients {
            assert_eq!((line(client), line(client)), ("EN\r\n".to_owned(), "MN\r\n".to_owned()));
        }
    }
    running.stop();
}

#[test]
fn watchers_are_sent_lines_until_they_leave() {
    let running = Running::start(1, |_| {});
    let (watcher, client) = (running.connect(), running.connect());
    assert_eq!(ask(&watcher, "watch fetchers\r\n"), "OK\r\n");
    for n in 0..20 {
        assert_eq!(ask(&client, &format!("mg key{n}\r\n")), "EN\r\n");
        let seen = line(&watcher);
        assert!(seen.contains(&format!("key=key{n} ")), "{seen}");
    }
    send(&watcher, "what a watcher sends is discarded\r\n");
    drop(watcher);
    running.until("the end", |running| running.counts().closed_connections == 1);
    running.stop();
}

#[test]
fn the_end_closes_everybody() {
    let running = Running::start(3, |_| {});
    let clients: Vec<_> = (0..12).map(|_| running.connect()).collect();
    for client in &clients {
        assert_eq!(ask(client, "mn\r\n"), "MN\r\n");
    }
    let watcher = running.connect();
    assert_eq!(ask(&watcher, "watch fetchers\r\n"), "OK\r\n");
    let shared = std::sync::Arc::clone(running.server.shared());
    let address = running.address;
    running.stop();
    assert!(clients.iter().all(is_closed));
    assert_eq!(shared.sums().ring.closed_connections, 13);
    assert!(TcpStream::connect(address).is_err());
}
