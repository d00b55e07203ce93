//! The edge with a toy in place of engine and store: real rings, real sockets, small commands that ask for everything a
//! session can ask for.

use super::core::{Conversation, Core, Draft, End, Event, Origin};
use super::{Crew, Listeners, listen, stop};
use crate::clock::Secs;
use crate::config::{Config, Endpoint, ListenSpec, ListenTls, Protocol};
use crate::output::Output;
use crate::session::udp::Exchange;
use crate::session::{Next, Owed, Progress};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What all rings of a test see.
#[derive(Default)]
struct Board {
    now: AtomicU32,
    events: Mutex<Vec<Event>>,
    catch_ups: AtomicUsize,
    maintained: AtomicUsize,
}

impl Board {
    fn count(&self, wanted: Event) -> usize {
        self.events.lock().expect("no poison").iter().filter(|event| **event == wanted).count()
    }
}

struct ToyCore {
    board: Arc<Board>,
    ring: usize,
}

impl Core for ToyCore {
    type Talk = Toy;
    fn talk(self: &Rc<Self>, origin: &Origin) -> Toy {
        assert!(origin.id > 2);
        Toy { core: Rc::clone(self), draft: None, rest: 0, is_watching: false }
    }
    fn tick(&self) -> Secs {
        Secs(self.board.now.load(Ordering::Relaxed))
    }
    fn datagram(&self, _id: u32, _datagram: &[u8]) -> Option<Exchange> {
        None
    }
    fn step(&self, _exchange: &mut Exchange, _datagram: &[u8]) -> bool {
        false
    }
    fn catch_up(&self) {
        self.board.catch_ups.fetch_add(1, Ordering::Relaxed);
    }
    fn is_short_of_drafts(&self) -> bool {
        false
    }
    fn slowest(&self) -> Option<u64> {
        None
    }
    fn maintain(&self) -> bool {
        self.board.maintained.fetch_add(1, Ordering::Relaxed) % 3 != 2
    }
    fn count(&self, event: Event) {
        self.board.events.lock().expect("no poison").push(event);
    }
}

/// Lines: `echo TEXT`, `ring`, `big N` (N bytes), `spin N` (N resumes), `put N` (receives N bytes, tells their sum),
/// `watch`, `quit`.
struct Toy {
    core: Rc<ToyCore>,
    draft: Option<Value>,
    /// Of `big` or `spin`.
    rest: usize,
    is_watching: bool,
}

struct Value {
    bytes: Vec<u8>,
    filled: usize,
}

#[expect(unsafe_code, reason = "a double of item memory")]
// SAFETY: heap memory of a vector that does not grow while it is lent.
unsafe impl uring::Receive for Value {
    fn spare(&mut self) -> (*mut u8, usize) {
        let rest = &mut self.bytes[self.filled..];
        (rest.as_mut_ptr(), rest.len())
    }
}

impl Draft for Value {
    fn advance(&mut self, count: usize) {
        self.filled += count;
    }
}

impl Conversation for Toy {
    type Draft = Value;

    fn ended(&mut self, _end: End) {}

    fn feed(&mut self, input: &[u8], out: &mut Output) -> Progress {
        let mut consumed = 0;
        loop {
            if let Some(value) = &mut self.draft {
                let rest = &input[consumed..];
                let count = rest.len().min(value.bytes.len() - value.filled);
                value.bytes[value.filled..value.filled + count].copy_from_slice(&rest[..count]);
                value.filled += count;
                consumed += count;
                if value.filled < value.bytes.len() {
                    return Progress { consumed, next: Next::Receive };
                }
                let sum: u64 = value.bytes.iter().map(|&byte| u64::from(byte)).sum();
                out.staged.extend_from_slice(format!("sum {sum}\n").as_bytes());
                self.draft = None;
            }
            while self.rest > 0 {
                let count = self.rest.min(5000);
                out.staged.resize(out.staged.len() + count, b'x');
                self.rest -= count;
                if out.is_full() {
                    return Progress { consumed, next: Next::Resume };
                }
            }
            let rest = &input[consumed..];
            let Some(end) = rest.iter().position(|&byte| byte == b'\n') else {
                return Progress { consumed, next: Next::Read };
            };
            let line = String::from_utf8_lossy(&rest[..end]).into_owned();
            consumed += end + 1;
            let (command, argument) = line.split_once(' ').unwrap_or((&line, ""));
            let number = || argument.parse().expect("a number");
            match command {
                "echo" => out.staged.extend_from_slice(format!("{argument}\n").as_bytes()),
                "ring" => out.staged.extend_from_slice(format!("{}\n", self.core.ring).as_bytes()),
                "big" => self.rest = number(),
                "spin" => return Progress { consumed, next: Next::Resume },
                "put" => self.draft = Some(Value { bytes: vec![0; number()], filled: 0 }),
                "watch" => {
                    self.is_watching = true;
                    return Progress { consumed, next: Next::Watch };
                }
                "quit" => return Progress { consumed, next: Next::Close },
                other => panic!("not a command: {other}"),
            }
        }
    }

    fn owes(&self) -> Owed {
        if self.draft.is_some() { Owed::Value } else { Owed::Nothing }
    }

    fn refuse_stalls(&mut self) {}

    fn lend_draft(&mut self) -> Option<Value> {
        self.draft.take()
    }

    fn return_draft(&mut self, draft: Value) {
        self.draft = Some(draft);
    }

    fn wake_with(&self, _wake: Box<dyn Fn() + Send>) {}

    fn pump(&mut self, out: &mut Output) {
        assert!(self.is_watching);
        out.staged.extend_from_slice(b"tick\n");
    }
}

/// A toy server, and what it has noted.
struct Toys {
    board: Arc<Board>,
    address: SocketAddr,
    wakers: Arc<[uring::Waker<super::Message>]>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Toys {
    fn start(rings: usize, adjust: impl FnOnce(&mut Config)) -> Self {
        let endpoint = Endpoint::Tcp { host: Some("127.0.0.1".to_owned()), port: 0 };
        let listen_spec = ListenSpec { endpoint, protocol: Protocol::Auto, tls: ListenTls::Off, tag: None };
        let mut config = Config { listen: vec![listen_spec], ..Config::default() };
        adjust(&mut config);
        let Listeners { by_ring, addresses, .. } = listen(&config, rings).expect("a free port");
        let (wakers, mailboxes): (Vec<_>, Vec<_>) = (0..rings).map(|_| uring::mailbox()).unzip();
        let wakers: Arc<[_]> = wakers.into();
        let board = Arc::new(Board::default());
        let support = uring::probe().expect("tests need io_uring");
        let crew = Crew {
            support,
            config: &config,
            connections_max: config.maxconns,
            wakers: &wakers,
            epoch: Instant::now(),
            certificates: None,
            pulses: &super::watchdog::Pulses::new(rings),
        };
        let make = |ring| {
            let board = Arc::clone(&board);
            move || ToyCore { board, ring }
        };
        let (threads, _) = crew.start(mailboxes, by_ring, make).expect("rings");
        Self { board, address: addresses[0], wakers, threads }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("a listener");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        stream
    }

    fn stop(self) -> Duration {
        let since = Instant::now();
        stop(&self.wakers, &self.threads);
        since.elapsed()
    }

    /// Waits until `condition` holds.
    fn until(&self, what: &str, condition: impl Fn(&Board) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !condition(&self.board) {
            assert!(Instant::now() < deadline, "never: {what}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn ask(stream: &TcpStream, request: &str) -> String {
    (&mut &*stream).write_all(request.as_bytes()).expect("a write");
    line(stream)
}

fn line(mut stream: &TcpStream) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while byte != *b"\n" {
        stream.read_exact(&mut byte).expect("an answer");
        line.push(byte[0]);
    }
    String::from_utf8(line).expect("text")
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
    let toys = Toys::start(2, |_| {});
    let client = toys.connect();
    assert_eq!(ask(&client, "echo one\n"), "one\n");
    // Byte by byte: each read ends within a command.
    for byte in "echo two\necho thr".bytes() {
        (&client).write_all(&[byte]).expect("a write");
        std::thread::yield_now();
    }
    assert_eq!(line(&client), "two\n");
    assert_eq!(ask(&client, "ee\n"), "three\n");
    // A pipeline longer than a read buffer, cut wherever a read ends.
    let numbers: Vec<_> = (0..20_000).map(|n| n.to_string()).collect();
    let pipeline = format!("echo {}\n", numbers.join("\necho "));
    let expected = numbers.join("\n") + "\n";
    let writer = { client.try_clone().expect("a handle") };
    let writing = std::thread::spawn(move || (&writer).write_all(pipeline.as_bytes()).expect("a write"));
    let mut answer = vec![0; expected.len()];
    (&client).read_exact(&mut answer).expect("answers");
    assert!(answer == expected.as_bytes());
    writing.join().expect("written");
    // A command longer than several read buffers.
    let long = "y".repeat(100_000);
    assert_eq!(ask(&client, &format!("echo {long}\n")), format!("{long}\n"));
    assert_eq!(ask(&client, "echo after\n"), "after\n");
    assert!(toys.stop() < Duration::from_secs(1));
}

#[test]
fn outputs_larger_than_the_bound_come_in_turns() {
    let toys = Toys::start(1, |_| {});
    let client = toys.connect();
    (&client).write_all(b"big 5000000\necho end\n").expect("a write");
    let mut answer = vec![0; 5_000_000];
    (&client).read_exact(&mut answer).expect("an answer");
    assert!(answer.iter().all(|&byte| byte == b'x'));
    assert_eq!(line(&client), "end\n");
    // Resuming with nothing to send lets others in.
    (&client).write_all("spin\n".repeat(3000).as_bytes()).expect("a write");
    assert_eq!(ask(&toys.connect(), "echo other\n"), "other\n");
    assert_eq!(ask(&client, "echo end\n"), "end\n");
    toys.stop();
}

/// Tens of megabytes are asked for and not read: the server sends what the sockets hold, then serves others.
#[test]
fn a_client_that_never_reads_holds_up_nobody_and_is_cut_at_the_end() {
    let toys = Toys::start(1, |_| {});
    let greedy = toys.connect();
    for _ in 0..4 {
        (&greedy).write_all(b"big 50000000\n").expect("a write");
    }
    let client = toys.connect();
    for _ in 0..100 {
        assert_eq!(ask(&client, "echo here\n"), "here\n");
    }
    let stopped = toys.stop();
    assert!(stopped > Duration::from_millis(100), "its reply was given time: {stopped:?}");
    assert!(stopped < Duration::from_secs(1), "{stopped:?}");
}

#[test]
fn large_values_are_received_into_their_place() {
    let toys = Toys::start(1, |_| {});
    let client = toys.connect();
    for bytes in [1, 10_000, 16_384, 16_385, 3_000_000] {
        let value = vec![3; bytes];
        (&client).write_all(format!("put {bytes}\n").as_bytes()).expect("a write");
        (&client).write_all(&value).expect("a write");
        assert_eq!(ask(&client, "echo next\n"), format!("sum {}\n", bytes * 3));
        assert_eq!(line(&client), "next\n");
    }
    // A client that goes in the middle of a value is just a client that goes.
    (&client).write_all(b"put 1000000\nabc").expect("a write");
    drop(client);
    toys.until("the end", |board| board.count(Event::Closed(End::Normal)) == 1);
    toys.stop();
}

#[test]
fn a_half_closed_client_gets_its_answers() {
    let toys = Toys::start(1, |_| {});
    let client = toys.connect();
    (&client).write_all(b"echo one\necho two\necho thr").expect("a write");
    client.shutdown(Shutdown::Write).expect("half a connection");
    let mut answer = String::new();
    (&client).read_to_string(&mut answer).expect("an answer, then the end");
    assert_eq!(answer, "one\ntwo\n");
    let client = toys.connect();
    assert_eq!(ask(&client, "echo bye\nquit\necho never\n"), "bye\n");
    assert!(is_closed(&client));
    toys.stop();
}

#[test]
fn connections_spread_evenly_over_rings() {
    let toys = Toys::start(4, |_| {});
    let clients: Vec<_> = (0..16)
        .map(|_| {
            let client = toys.connect();
            let ring: usize = ask(&client, "ring\n").trim().parse().expect("a number");
            (client, ring)
        })
        .collect();
    for ring in 0..4 {
        let count = clients.iter().filter(|(_, on)| *on == ring).count();
        assert!((3..=5).contains(&count), "ring {ring} has {count} of 16");
    }
    drop(clients);
    toys.until("all closed", |board| board.count(Event::Closed(End::Normal)) == 16);
    toys.stop();
}

#[test]
fn one_client_too_many_is_refused_in_words() {
    let toys = Toys::start(2, |config| config.maxconns = 3);
    let mut clients: Vec<_> = (0..3).map(|_| toys.connect()).collect();
    for client in &clients {
        assert_eq!(ask(client, "echo in\n"), "in\n");
    }
    let refused = toys.connect();
    assert_eq!(line(&refused), "ERROR Too many open connections\r\n");
    assert!(is_closed(&refused));
    assert_eq!(toys.board.count(Event::Rejected), 1);
    clients.pop();
    toys.until("a place is free", |board| board.count(Event::Closed(End::Normal)) == 1);
    // The place is given back just after the event.
    let deadline = Instant::now() + Duration::from_secs(5);
    while {
        let client = toys.connect();
        let _ = (&client).write_all(b"echo again\n");
        line(&client) != "again\n"
    } {
        assert!(Instant::now() < deadline);
    }
    toys.stop();
}

#[test]
fn without_maxconns_fast_one_too_many_waits_for_a_place() {
    let toys = Toys::start(1, |config| {
        config.maxconns = 1;
        config.maxconns_fast = false;
    });
    let first = toys.connect();
    assert_eq!(ask(&first, "echo in\n"), "in\n");
    let second = toys.connect();
    (&second).write_all(b"echo later\n").expect("a write");
    toys.until("the server is full", |board| board.count(Event::Full) == 1);
    drop(first);
    assert_eq!(line(&second), "later\n");
    let events = toys.board.events.lock().expect("no poison").clone();
    assert!(events.iter().any(|event| matches!(event, Event::FullNoMore { rested_us: 10_000.. })));
    toys.stop();
}

#[test]
fn silent_clients_are_closed_after_the_idle_timeout_but_not_in_a_value() {
    let toys = Toys::start(1, |config| config.idle_timeout = 5);
    let (idle, half, busy) = (toys.connect(), toys.connect(), toys.connect());
    assert_eq!(ask(&idle, "echo in\n"), "in\n");
    assert_eq!(ask(&half, "echo in\necho unfin"), "in\n");
    assert_eq!(ask(&busy, "echo in\nput 3\n\u{1}"), "in\n");
    // The test's clock: the server asks it every second.
    toys.board.now.store(6, Ordering::Relaxed);
    assert!(is_closed(&idle));
    assert!(is_closed(&half));
    assert_eq!(ask(&busy, "\u{1}\u{1}"), "sum 3\n");
    assert_eq!(toys.board.count(Event::Closed(End::Idle)), 2);
    toys.stop();
}

/// They give back what memory they can, and are served as before; background work is looked for once a second then.
#[test]
fn idle_clients_give_memory_back_and_wake_up() {
    let toys = Toys::start(1, |_| {});
    let clients: Vec<_> = (0..40).map(|_| toys.connect()).collect();
    for client in &clients {
        assert_eq!(ask(client, "echo in\n"), "in\n");
    }
    toys.board.now.store(10, Ordering::Relaxed);
    let seen = toys.board.maintained.load(Ordering::Relaxed);
    toys.until("two seconds", |board| board.maintained.load(Ordering::Relaxed) > seen + 60);
    for (number, client) in clients.iter().enumerate() {
        assert_eq!(ask(client, &format!("echo {number}\n")), format!("{number}\n"));
    }
    toys.stop();
}

/// Four times as many busy clients as registered buffers.
#[test]
fn a_thousand_clients_talk_at_once() {
    let toys = Toys::start(1, |_| {});
    let clients: Vec<_> = (0..900).map(|_| toys.connect()).collect();
    for round in 0..5 {
        for client in &clients {
            (&mut &*client).write_all(format!("echo {round}\n").as_bytes()).expect("a write");
        }
        for client in &clients {
            assert_eq!(line(client), format!("{round}\n"));
        }
    }
    assert!(toys.stop() < Duration::from_secs(1));
}

#[test]
fn watchers_hear_of_wakes_until_they_go() {
    let toys = Toys::start(1, |_| {});
    let watcher = toys.connect();
    assert_eq!(ask(&watcher, "watch\n"), "tick\n");
    let mut lines = BufReader::new(watcher.try_clone().expect("a handle"));
    for _ in 0..20 {
        toys.wakers[0].wake();
        let mut tick = String::new();
        lines.read_line(&mut tick).expect("a line");
        assert_eq!(tick, "tick\n");
    }
    assert!(toys.board.catch_ups.load(Ordering::Relaxed) > 0);
    (&watcher).write_all(b"what a watcher says is not heard\n").expect("a write");
    drop(lines);
    drop(watcher);
    toys.until("the end", |board| {
        board.events.lock().expect("no poison").iter().any(|e| matches!(e, Event::Closed(_)))
    });
    toys.stop();
}

#[test]
fn the_end_closes_everybody() {
    let toys = Toys::start(3, |_| {});
    let clients: Vec<_> = (0..12).map(|_| toys.connect()).collect();
    for client in &clients {
        assert_eq!(ask(client, "echo in\n"), "in\n");
    }
    let watcher = toys.connect();
    assert_eq!(ask(&watcher, "watch\n"), "tick\n");
    let board = Arc::clone(&toys.board);
    let address = toys.address;
    let stopped = toys.stop();
    assert!(stopped < Duration::from_millis(400), "{stopped:?}");
    assert!(clients.iter().all(is_closed));
    assert_eq!(board.count(Event::Closed(End::Stopped)), 13);
    assert!(TcpStream::connect(address).is_err());
}
