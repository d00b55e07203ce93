//! A flash device that has stopped answering: reads end in time as misses, and the tier is left alone until it answers again.

use std::time::{Duration, Instant};

use memcrsd::limits::{FLASH_DATAGRAMS_MAX, FLASH_READ_TIMEOUT};
use nix::sys::ptrace;
use nix::unistd::Pid;

use super::flash::{READ, Tiered, ends_unharmed, is_skipped, lines, value};
use super::injector::{ALWAYS, Fate, FaultInjector};
use crate::harness::debugger::{seize, threads};
use crate::harness::{Client, Server, wait_until};
use crate::protocol::udp::{connect, message, request};

/// A device that has stopped answering, until this is dropped; the calls of both engines.
enum Hang {
    Uring(FaultInjector),
    /// The threads that read stand still.
    Epoll(Vec<Pid>),
}

impl Hang {
    fn of(server: &Server, engine: &str) -> Self {
        if engine == "uring" {
            let injector = FaultInjector::of(server);
            injector.order(&[READ], None, Fate::IsLate(Duration::from_mins(1)), ALWAYS);
            return Self::Uring(injector);
        }
        let readers = threads(server, |name| name.starts_with("reader-"));
        assert!(!readers.is_empty());
        for &thread in &readers {
            seize(thread);
        }
        Self::Epoll(readers)
    }
}

impl Drop for Hang {
    /// The device answers again; if not also what it has been asked so far, then that is a minute late.
    fn drop(&mut self) {
        match self {
            Self::Uring(injector) => injector.lift(),
            Self::Epoll(readers) => {
                for &thread in readers.iter() {
                    let detached = ptrace::detach(thread, None);
                    assert!(std::thread::panicking() || detached.is_ok());
                }
            }
        }
    }
}

fn number_of(key: &str) -> usize {
    key.strip_prefix("key-").unwrap().parse().unwrap()
}

/// Keys of which the values are on flash, the oldest first: those of the last chunk are still in memory as well.
fn all_on_flash(client: &mut Client) -> Vec<String> {
    wait_until("all has been written that is to be", || client.count("extstore_io_queue") == 0);
    client.send(b"lru_crawler metadump all\r\n");
    let dump = String::from_utf8(client.read_through(b"END\r\n")).unwrap();
    let stubs = dump.lines().filter(|line| line.contains("ext_page="));
    let key = |line: &str| line.strip_prefix("key=").unwrap().split(' ').next().unwrap().to_owned();
    let mut keys: Vec<_> = stubs.map(key).collect();
    keys.sort_by_key(|key| number_of(key));
    keys
}

/// Readers of a device that had stopped answering waited for ever, and then all others who came for something on flash.
#[test]
fn a_device_that_hangs_is_a_miss_in_time_and_then_done_without() {
    if is_skipped() {
        return;
    }
    for engine in ["uring", "epoll"] {
        let tiered = Tiered::start(engine);
        let server = &tiered.server;
        let mut client = server.connect();
        let mut keys = all_on_flash(&mut client);
        keys.truncate(700);
        assert_eq!(keys.len(), 700);
        let before = server.resident_bytes();
        let hang = Hang::of(server, engine);
        let mut clients: Vec<_> = (0..6).map(|_| server.connect()).collect();
        for (asks, keys) in clients.iter_mut().zip(keys.chunks(50)) {
            asks.send(format!("get {}\r\n", keys.join(" ")).as_bytes());
        }
        client.set("other", "value");
        assert_eq!(client.get("other").as_deref(), Some("value"));
        for asks in &mut clients {
            assert_eq!(asks.line(), "END");
        }
        assert_eq!(client.count("miss_from_extstore"), 300);
        assert_eq!(lines(server, "no answer within"), 1, "{}", server.stderr());
        // All that may be on their way are, so nobody else waits.
        let since = Instant::now();
        for key in &keys[300..400] {
            assert_eq!(client.get(key), None);
        }
        assert!(since.elapsed() < 20 * FLASH_READ_TIMEOUT, "{:?}", since.elapsed());
        let mut left = keys[400..].iter().flat_map(|key| std::iter::repeat_n(key, 20));
        wait_until("it is taken out of use", || {
            // A key that is asked for more than once is a miss anyhow.
            assert_eq!(client.get(left.next().unwrap()), None);
            lines(server, "the device does not answer: nothing is moved there any more") == 1
        });
        assert_eq!(client.stats("stats memcrsd")["memcrsd_flash_out_of_use"], "1");
        let grown = server.resident_bytes().saturating_sub(before);
        assert!(grown < 8 << 20, "{grown} bytes");
        drop(hang);
        ends_unharmed(tiered);
    }
}

/// What was on a device that hung is there again once it answers; what was asked for meanwhile has gone.
#[test]
fn a_device_that_answers_again_is_read_again() {
    if is_skipped() {
        return;
    }
    let tiered = Tiered::start("epoll");
    let mut client = tiered.server.connect();
    let keys = all_on_flash(&mut client);
    let hang = Hang::of(&tiered.server, "epoll");
    assert_eq!(client.get(&keys[0]), None);
    drop(hang);
    for key in &keys[1..100] {
        assert_eq!(client.get(key), Some(value(number_of(key))));
    }
    assert_eq!(client.count("miss_from_extstore"), 1);
    ends_unharmed(tiered);
}

/// One client that asked for a value on a device that hung held up all others of its socket, four seconds for each datagram.
#[test]
fn a_datagram_that_waits_for_flash_holds_up_no_other() {
    const ASIDE: u16 = FLASH_DATAGRAMS_MAX as u16;
    if is_skipped() {
        return;
    }
    for engine in ["uring", "epoll"] {
        let tiered = Tiered::start_under(&[], &["--io-engine", engine, "-U", "-1"]);
        let (server, socket) = (&tiered.server, connect(&tiered.server));
        let mut client = server.connect();
        let keys = all_on_flash(&mut client);
        client.set("other", "value");
        let hang = Hang::of(server, engine);
        let ask = |id: u16, commands: &str| {
            socket.send(&request(id, commands.as_bytes())).unwrap();
        };
        let miss = || b"END\r\n".to_vec();
        for id in 0..ASIDE {
            ask(id, &format!("get {}\r\n", keys[usize::from(id)]));
        }
        // More than may wait: it is a miss, and no answer to what must have the value.
        ask(ASIDE, &format!("get {}\r\n", keys[usize::from(ASIDE)]));
        ask(ASIDE + 1, &format!("append {} 0 0 1\r\nx\r\n", keys[0]));
        ask(ASIDE + 2, "get other\r\n");
        assert_eq!(message(&socket), (ASIDE, miss()));
        assert_eq!(message(&socket), (ASIDE + 2, b"VALUE other 0 5\r\nvalue\r\nEND\r\n".to_vec()));
        assert_eq!(client.count("get_oom_extstore"), 1);
        let mut answered: Vec<_> = (0..ASIDE).map(|_| message(&socket)).collect();
        answered.sort();
        assert_eq!(answered, (0..ASIDE).map(|id| (id, miss())).collect::<Vec<_>>());
        assert_eq!(client.count("miss_from_extstore"), u64::from(ASIDE));
        drop(hang);
        let key = &keys[50];
        ask(20, &format!("append {key} 0 0 1\r\nx\r\n"));
        assert_eq!(message(&socket), (20, b"STORED\r\n".to_vec()));
        let whole = format!("{}x", value(number_of(key)));
        ask(21, &format!("get {key}\r\n"));
        let (id, reply) = message(&socket);
        assert!(id == 21 && String::from_utf8(reply).unwrap().contains(&whole));
        ends_unharmed(tiered);
    }
}
