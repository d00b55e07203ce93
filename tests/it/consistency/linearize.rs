//! Linearizability: could a single copy of a key have produced its concurrent history?
//!
//! Many connections, spread over all rings, work on a few hot keys. The times before each request and after its reply are
//! recorded. A history is linearizable if its operations have an order that respects these times and in which every reply
//! is that of a plain register. The search is Wing and Gong's with Lowe's cache of visited states ("Testing for linearizability", 2017).

use std::collections::HashSet;
use std::sync::Barrier;
use std::time::Instant;

use crate::harness::random::Random;
use crate::harness::{Client, Dialect, Server, TempDir, dialect, wait_until};

/// An operation with the value it writes. Values are unique, so a value identifies its write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Get,
    Set(u64),
    Add(u64),
    Replace(u64),
    /// Write the second if the first is the current cas.
    Cas(u64, u64),
    Incr(u64),
    Decr(u64),
    Delete,
    Flush,
}

/// A reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Response {
    /// To a read: the value and its cas.
    Read(u64, u64),
    /// To incr or decr.
    Value(u64),
    Missing,
    Done,
    NotStored,
    Exists,
}

#[derive(Clone, Copy, Debug)]
struct Event {
    ask: Op,
    told: Response,
    /// Nanoseconds since the start of the round.
    sent: u64,
    answered: u64,
}

/// Content of the register: a value, and its cas once a read has shown it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Item {
    value: u64,
    cas: Option<u64>,
}

fn item(value: u64) -> Item {
    Item { value, cas: None }
}

/// The register would have replied differently.
struct Otherwise;

/// The register after `ask`, if it could have replied `told`.
///
/// A known cas comes from a completed read, so an item that no read has shown has another one.
fn step(state: Option<Item>, ask: Op, told: Response) -> Result<Option<Item>, Otherwise> {
    let (next, answer) = match (ask, state) {
        (Op::Get, Some(Item { value, cas })) => {
            let Response::Read(_, shown) = told else { return Err(Otherwise) };
            let cas = cas.unwrap_or(shown);
            (Some(Item { value, cas: Some(cas) }), Response::Read(value, cas))
        }
        (Op::Get | Op::Replace(_) | Op::Incr(_) | Op::Decr(_) | Op::Delete | Op::Cas(..), None) => {
            let answer = if matches!(ask, Op::Replace(_)) { Response::NotStored } else { Response::Missing };
            (None, answer)
        }
        (Op::Set(new), _) | (Op::Add(new), None) | (Op::Replace(new), Some(_)) => {
            (Some(item(new)), Response::Done)
        }
        (Op::Add(_), Some(_)) => (state, Response::NotStored),
        (Op::Cas(old, new), Some(Item { cas, .. })) if cas == Some(old) => (Some(item(new)), Response::Done),
        (Op::Cas(..), Some(_)) => (state, Response::Exists),
        (Op::Incr(by), Some(Item { value, .. })) => {
            let sum = value.wrapping_add(by);
            (Some(item(sum)), Response::Value(sum))
        }
        (Op::Decr(by), Some(Item { value, .. })) => {
            let rest = value.saturating_sub(by);
            (Some(item(rest)), Response::Value(rest))
        }
        (Op::Delete, Some(_)) | (Op::Flush, _) => (None, Response::Done),
    };
    if answer == told { Ok(next) } else { Err(Otherwise) }
}

/// True if `events`, starting from `state`, have an order that explains every reply.
fn linearizable(events: &[Event], state: Option<Item>) -> bool {
    let mut order: Vec<usize> = (0..events.len()).collect();
    order.sort_by_key(|&index| events[index].sent);
    let mut seen = HashSet::new();
    let words = events.len().div_ceil(64);
    // Depth first, with the choices still open at each depth.
    let mut stack = vec![(vec![0_u64; words], state, 0)];
    while let Some((done, state, from)) = stack.pop() {
        let is_done = |index: usize| done[index / 64] >> (index % 64) & 1 == 1;
        let open = || order.iter().copied().filter(|&index| !is_done(index));
        let Some(horizon) = open().map(|index| events[index].answered).min() else { return true };
        // An operation may be next if no open operation was answered before it was sent.
        let candidates = open().take_while(|&index| events[index].sent <= horizon);
        for (nth, index) in candidates.enumerate().skip(from) {
            let Ok(next) = step(state, events[index].ask, events[index].told) else { continue };
            let mut after = done.clone();
            after[index / 64] |= 1 << (index % 64);
            if seen.insert((after.clone(), next)) {
                stack.push((done, state, nth + 1));
                stack.push((after, next, 0));
                break;
            }
        }
    }
    false
}

struct Worker {
    client: Client,
    random: Random,
    /// Makes this worker's values unique.
    next_value: u64,
    /// The cas of each key in the last `gets`.
    last: Vec<Option<u64>>,
}

impl Worker {
    fn value(&mut self) -> u64 {
        self.next_value += 1 << 20;
        self.next_value
    }

    fn choose(&mut self, key: usize) -> Op {
        match self.random.below(20) {
            0..=5 => Op::Get,
            6..=8 => Op::Set(self.value()),
            9 => Op::Add(self.value()),
            10 => Op::Replace(self.value()),
            11..=13 => match self.last[key] {
                Some(cas) => Op::Cas(cas, self.value()),
                None => Op::Get,
            },
            14..=16 => Op::Incr(1),
            17 => Op::Decr(1),
            _ => Op::Delete,
        }
    }

    fn perform(&mut self, ask: Op, key: usize) -> Response {
        let name = format!("hot{key}");
        let store = |command: &str, value: u64, cas: &str| {
            let text = value.to_string();
            format!("{command} {name} 0 0 {}{cas}\r\n{text}", text.len())
        };
        let command = match ask {
            Op::Get => return self.gets(&name, key),
            Op::Set(value) => store("set", value, ""),
            Op::Add(value) => store("add", value, ""),
            Op::Replace(value) => store("replace", value, ""),
            Op::Cas(cas, value) => store("cas", value, &format!(" {cas}")),
            Op::Incr(by) => format!("incr {name} {by}"),
            Op::Decr(by) => format!("decr {name} {by}"),
            Op::Delete => format!("delete {name}"),
            Op::Flush => "flush_all".to_owned(),
        };
        match self.client.ask(&command).as_str() {
            "STORED" | "DELETED" | "OK" => Response::Done,
            "NOT_STORED" => Response::NotStored,
            "NOT_FOUND" => Response::Missing,
            "EXISTS" => Response::Exists,
            number => Response::Value(number.parse().unwrap_or_else(|_| panic!("{command:?}: {number}"))),
        }
    }

    fn gets(&mut self, name: &str, key: usize) -> Response {
        let head = self.client.ask(&format!("gets {name}"));
        if head == "END" {
            self.last[key] = None;
            return Response::Missing;
        }
        let cas = head.rsplit(' ').next().unwrap().parse().unwrap();
        let value = self.client.line().trim_end().parse().unwrap();
        assert_eq!(self.client.line(), "END");
        self.last[key] = Some(cas);
        Response::Read(value, cas)
    }
}

const WORKERS: usize = 8;
const KEYS: usize = 3;

/// One round of all workers concurrently; returns a history for each key.
fn round(workers: &mut [Worker], operations: usize) -> Vec<Vec<Event>> {
    let barrier = Barrier::new(workers.len());
    let start = Instant::now();
    let mut histories = vec![Vec::new(); KEYS];
    let parts: Vec<Vec<(usize, Event)>> = std::thread::scope(|scope| {
        let barrier = &barrier;
        let threads: Vec<_> = workers
            .iter_mut()
            .map(|worker| {
                scope.spawn(move || {
                    barrier.wait();
                    (0..operations).map(|_| one(worker, start)).collect()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for (key, event) in parts.into_iter().flatten() {
        if event.ask == Op::Flush {
            for history in &mut histories {
                history.push(event);
            }
        } else {
            histories[key].push(event);
        }
    }
    histories
}

fn one(worker: &mut Worker, start: Instant) -> (usize, Event) {
    let key = worker.random.below(KEYS);
    // memcached's flush_all is not atomic: about one round in a thousand is not linearizable.
    let flush = worker.random.one_in(100) && dialect() == Dialect::Memcrsd;
    let ask = if flush { Op::Flush } else { worker.choose(key) };
    let sent = start.elapsed().as_nanos() as u64;
    let told = worker.perform(ask, key);
    (key, Event { ask, told, sent, answered: start.elapsed().as_nanos() as u64 })
}

/// Rounds of 8 connections by 30 operations; more with `MEMCRSD_LINEARIZE_ROUNDS`.
#[test]
fn histories_over_all_rings_are_linearizable() {
    check_histories("4", &["--replicas=4"], rounds());
}

/// As many rounds in all, with every ring on the one replica, and with fewer and fewer on each.
#[test]
fn histories_over_shared_replicas_are_linearizable() {
    if dialect() == Dialect::Memcrsd {
        for replicas in ["--replicas=1", "--replicas=2", "--replicas=4", "--replicas=16"] {
            check_histories("16", &[replicas], rounds().div_ceil(4));
        }
    }
}

/// Every round begins with its keys on flash: they are read, brought back and overwritten by all at once.
#[test]
fn histories_of_values_on_flash_are_linearizable() {
    if dialect() == Dialect::Memcrsd {
        let dir = TempDir::new();
        let tier = format!(
            "ext_path={}:1g,ext_page_size=2,ext_wbuf_size=2,ext_item_size=0",
            dir.path().join("flash").display()
        );
        for threads in ["1", "4"] {
            let flags = ["-m", "4", "-U", "0", "-o", &tier];
            let server = check_histories_after(threads, &flags, rounds().div_ceil(4), push_out);
            assert!(server.count("get_extstore") > 10, "values were on flash");
        }
    }
}

/// Fills memory with other values, so that the keys go to flash: as many as there is room for in the chunks that wait for the
/// device, which has caught up before. One that is evicted all the same is set again.
fn push_out(observer: &mut Client) {
    wait_until("the device has caught up", || observer.count("extstore_io_queue") == 0);
    let filler = "f".repeat(1000);
    for number in 0..4000 {
        observer.send(format!("set filler{number} 0 0 1000 noreply\r\n{filler}\r\n").as_bytes());
    }
    for key in 0..KEYS {
        let name = format!("hot{key}");
        if observer.ask(&format!("mg {name} u")) == "EN" {
            observer.set(&name, &format!("{key}"));
        }
    }
}

fn rounds() -> u32 {
    std::env::var("MEMCRSD_LINEARIZE_ROUNDS").map_or(200, |text| text.parse().unwrap())
}

fn check_histories(threads: &str, flags: &[&str], rounds: u32) {
    check_histories_after(threads, flags, rounds, |_| ());
}

/// `prepare` is called when the keys have been set. A round in which something was evicted is not checked: with a flash tier a key
/// may be, while the device is behind.
fn check_histories_after(
    threads: &str,
    flags: &[&str],
    rounds: u32,
    prepare: impl Fn(&mut Client),
) -> Server {
    let seed = memcrsd::fuzzing::seed(1);
    let server = Server::start_serving(threads, flags);
    let mut random = Random::new(seed);
    let mut checked = 0;
    for number in 0..rounds {
        // New connections each round, so on other rings.
        let mut workers: Vec<_> = (0..WORKERS)
            .map(|index| Worker {
                client: server.connect(),
                random: Random::new(random.next()),
                next_value: 1_000_000 + index as u64 * 1000,
                last: vec![None; KEYS],
            })
            .collect();
        let mut observer = server.connect();
        for key in 0..KEYS {
            // A key that was used a lot would stay in memory.
            observer.ask(&format!("delete hot{key}"));
            observer.set(&format!("hot{key}"), &format!("{key}"));
        }
        prepare(&mut observer);
        let evictions = observer.count("evictions");
        let histories = round(&mut workers, 30);
        if observer.count("evictions") != evictions {
            continue;
        }
        checked += 1;
        for (key, history) in histories.iter().enumerate() {
            assert!(
                linearizable(history, Some(item(key as u64))),
                "{flags:?}, round {number}, key hot{key}, seed {seed}: no order explains {history:#?}"
            );
        }
    }
    assert!(checked > 0, "{flags:?}, seed {seed}: something was evicted in each round");
    server
}

fn event(ask: Op, told: Response, sent: u64, answered: u64) -> Event {
    Event { ask, told, sent, answered }
}

#[test]
fn the_checker_accepts_overlapping_operations() {
    // The read overlaps the write, so old and new are both right.
    for seen in [1, 2] {
        let history =
            [event(Op::Set(2), Response::Done, 0, 10), event(Op::Get, Response::Read(seen, 9), 5, 6)];
        assert!(linearizable(&history, Some(item(1))));
    }
}

#[test]
fn the_checker_refuses_a_stale_read() {
    let history = [event(Op::Set(2), Response::Done, 0, 10), event(Op::Get, Response::Read(1, 9), 11, 12)];
    assert!(!linearizable(&history, Some(item(1))));
}

#[test]
fn the_checker_refuses_two_successes_of_one_cas() {
    let read = event(Op::Get, Response::Read(1, 9), 0, 1);
    let history =
        [read, event(Op::Cas(9, 2), Response::Done, 2, 10), event(Op::Cas(9, 3), Response::Done, 2, 10)];
    assert!(!linearizable(&history, Some(item(1))));
}

#[test]
fn the_checker_refuses_reads_that_go_back_and_forth() {
    let history = [
        event(Op::Set(2), Response::Done, 0, 100),
        event(Op::Get, Response::Read(2, 10), 1, 2),
        event(Op::Get, Response::Read(1, 9), 3, 4),
    ];
    assert!(!linearizable(&history, Some(item(1))));
}

#[test]
fn the_checker_refuses_a_lost_increment() {
    let history =
        [event(Op::Incr(1), Response::Value(2), 0, 10), event(Op::Incr(1), Response::Value(2), 0, 10)];
    assert!(!linearizable(&history, Some(item(1))));
}

/// A real history with one reply changed must be rejected.
#[test]
fn the_checker_refuses_a_corrupted_recording() {
    let server = Server::start_serving("4", &[]);
    let mut random = Random::new(7);
    let mut worker = Worker {
        client: server.connect(),
        random: Random::new(random.next()),
        next_value: 1_000_000,
        last: vec![None; KEYS],
    };
    for key in 0..KEYS {
        worker.client.set(&format!("hot{key}"), &key.to_string());
    }
    let mut history = round(std::slice::from_mut(&mut worker), 200).remove(0);
    assert!(linearizable(&history, Some(item(0))));
    let read = history.iter().position(|event| matches!(event.told, Response::Read(..))).unwrap();
    history[read].told = Response::Read(42, 42);
    assert!(!linearizable(&history, Some(item(0))));
}
