//! Stuck rings: detected, logged, counted, and in the end fatal to the process.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;

use crate::harness::debugger::{ring_thread, seize, wait};
use crate::harness::{Client, Dialect, Server, dialect, find, show, wait_until};

/// Deltas that the replication log holds.
const LOG_ENTRIES: usize = 16 * 1024;

/// A thread of the server that does not run until this is dropped. It is this thread that holds it.
struct Held(Pid);

impl Held {
    fn ring(server: &Server, ring: usize) -> Self {
        let id = ring_thread(server, ring);
        seize(id);
        Self(id)
    }

    /// Waits for the thread's end: until then its process is not gone.
    fn wait_exit(self) {
        while !matches!(wait(self.0), WaitStatus::Exited(..) | WaitStatus::Signaled(..)) {}
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // One that has ended is held no more.
        let _ = ptrace::detach(self.0, None);
    }
}

/// The one of `clients` that is answered first, hence is not on a ring that is held.
fn who_is_answered(clients: &mut [Client]) -> usize {
    for client in &mut *clients {
        client.stream.set_nonblocking(true).unwrap();
        client.send(b"mn\r\n");
    }
    let mut answered = None;
    wait_until("one of them is answered", || {
        answered = clients.iter_mut().position(|client| {
            let _ = client.try_fill();
            find(client.pending(), b"MN\r\n").is_some()
        });
        answered.is_some()
    });
    for client in &mut *clients {
        client.stream.set_nonblocking(false).unwrap();
    }
    let first = answered.unwrap();
    clients[first].line();
    first
}

/// Starts a server of two rings with clients on both, and holds ring 1; the last client is on ring 0.
fn half_stuck(flags: &[&str]) -> (Server, Held, Vec<Client>) {
    let server = Server::start(&[&["-t", "2"], flags].concat());
    let mut clients: Vec<_> = (0..6).map(|_| server.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.ask("mn"), "MN");
    }
    let held = Held::ring(&server, 1);
    let free = who_is_answered(&mut clients);
    let last = clients.len() - 1;
    clients.swap(free, last);
    (server, held, clients)
}

/// A number of `stats memcrsd`.
fn own_count(client: &mut Client, name: &str) -> u64 {
    client.stats("stats memcrsd")[name].parse().unwrap()
}

/// The other ring serves on, and the one that was stuck has lost nothing.
#[test]
fn a_stuck_ring_is_told_of_and_counted_and_may_come_back() {
    if dialect() == Dialect::Memcached {
        return;
    }
    let (server, held, mut clients) = half_stuck(&["--ring-timeout=0"]);
    let mut free = clients.pop().unwrap();
    free.set("key", "value");
    wait_until("the ring is missed", || own_count(&mut free, "memcrsd_stuck_rings") == 1);
    assert_eq!(own_count(&mut free, "memcrsd_ring_stalls"), 1);
    let said = server.stderr();
    assert!(said.starts_with("ring 1 has made no progress for 10 s: its connections wait"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    drop(held);
    wait_until("it is back", || own_count(&mut free, "memcrsd_stuck_rings") == 0);
    assert!(server.stderr().lines().nth(1).unwrap().starts_with("ring 1 makes progress again after "));
    for client in &mut clients {
        // What was asked while the ring was held.
        assert_eq!(client.line(), "MN");
        assert_eq!(client.get("key").as_deref(), Some("value"));
    }
}

/// Each ring once went by the second that it had seen itself. One that was late, here because it is held while the second
/// ends, still served a key that another ring had called gone.
#[test]
fn a_ring_that_is_late_does_not_serve_what_another_called_gone() {
    if dialect() == Dialect::Memcached {
        return;
    }
    let server = Server::start(&["-t", "2"]);
    let mut clients: Vec<_> = (0..6).map(|_| server.connect()).collect();
    assert_eq!(clients[0].ask("set key 0 3 5\r\nvalue"), "STORED");
    for client in &mut clients {
        assert_eq!(client.get("key").as_deref(), Some("value"));
    }
    let held = Held::ring(&server, 1);
    let free = who_is_answered(&mut clients);
    let mut free = clients.swap_remove(free);
    for client in &mut clients {
        client.stream.set_nonblocking(true).unwrap();
        // Changes and removes nothing, whether the key is there or not.
        client.send(b"cas key 0 1 1 1\r\nx\r\n");
    }
    wait_until("the key has expired", || free.ask("cas key 0 1 1 1\r\nx") == "NOT_FOUND");
    // By then those on the other ring have been answered.
    clients.retain_mut(|client| {
        let _ = client.try_fill();
        client.pending().is_empty()
    });
    assert!(!clients.is_empty(), "some are on ring 1");
    drop(held);
    for client in &mut clients {
        client.stream.set_nonblocking(false).unwrap();
        assert_eq!(client.line(), "MN");
        assert_eq!(client.line(), "NOT_FOUND");
    }
}

/// Fills the log, which ring 1 does not read, up to a few deltas.
fn fill_log(client: &mut Client) {
    for _ in 0..LOG_ENTRIES / 1024 {
        client.send("set filler 0 0 1 noreply\r\nx\r\n".repeat(1023).as_bytes());
    }
    assert_eq!(client.ask("mn"), "MN");
}

/// Sets more keys than there is room for, and waits until the first has been refused.
fn set_until_refused(client: &mut Client) {
    for n in 0..=LOG_ENTRIES {
        let told = client.ask(&format!("set last-{n} 0 0 1\r\nx"));
        if told != "STORED" {
            assert_eq!(told, "SERVER_ERROR out of memory storing object");
            return;
        }
    }
    panic!("more writes than the log has room for");
}

/// A refused write slept on its ring's thread, and all that ring's other connections waited: 2.5 s, up to 9.9 s for a read.
#[test]
fn while_a_write_waits_others_are_served() {
    if dialect() == Dialect::Memcached {
        return;
    }
    let (_server, _held, mut clients) = half_stuck(&["--ring-timeout=0"]);
    let mut writer = clients.pop().unwrap();
    let free = who_is_answered(&mut clients);
    let mut reader = clients.remove(free);
    // It was asked twice.
    assert_eq!(reader.line(), "MN");
    reader.set("key", "value");
    fill_log(&mut writer);
    // Enough to fill the log once they have been read.
    writer.send("set last 0 0 1\r\nx\r\n".repeat(2048).as_bytes());
    let mut stored = 0;
    writer.stream.set_nonblocking(true).unwrap();
    let mut replies = Vec::new();
    wait_until("some are stored and one waits", || {
        // Until a read of another connection comes between two looks with nothing new: then the write is waiting.
        let before = stored;
        let _ = writer.try_fill();
        let all = writer.pending().len();
        replies.extend(writer.take(all));
        stored = replies.windows(8).filter(|end| end == b"STORED\r\n").count();
        assert_eq!(reader.get("key").as_deref(), Some("value"));
        stored > 0 && stored == before
    });
    assert!(stored < 2048 && find(&replies, b"SERVER_ERROR").is_none(), "{}", show(&replies));
    for _ in 0..50 {
        assert_eq!(reader.get("key").as_deref(), Some("value"));
    }
    let _ = writer.try_fill();
    assert_eq!(show(writer.pending()), "", "the write still waits");
}

/// Each refused write waited anew, a set twice: these would have taken a quarter of an hour.
#[test]
fn after_one_wait_writes_are_refused_until_the_ring_moves() {
    if dialect() == Dialect::Memcached {
        return;
    }
    let (_server, held, mut clients) = half_stuck(&["--ring-timeout=0"]);
    let mut free = clients.pop().unwrap();
    free.set("key", "value");
    fill_log(&mut free);
    set_until_refused(&mut free);
    for _ in 0..500 {
        assert_eq!(free.ask("set key 0 0 1\r\nx"), "SERVER_ERROR out of memory storing object");
    }
    assert_eq!(free.get("key").as_deref(), Some("value"));
    drop(held);
    wait_until("writes are taken again", || free.ask("set key 0 0 1\r\ny") == "STORED");
}

/// In a full store it is memory that writes wait for, since a stuck ring may be reading what was evicted. The first
/// refusal came after two waits of seconds, and so did each that followed.
#[test]
fn in_a_full_store_writes_wait_once_as_well() {
    if dialect() == Dialect::Memcached {
        return;
    }
    let (_server, held, mut clients) = half_stuck(&["--ring-timeout=0", "-m", "8"]);
    let mut free = clients.pop().unwrap();
    let value = "v".repeat(4000);
    let mut refused = 0;
    for n in 0..6000 {
        let told = free.ask(&format!("set key-{n} 0 0 4000\r\n{value}"));
        if told != "STORED" {
            assert_eq!(told, "SERVER_ERROR out of memory storing object");
            refused += 1;
        }
    }
    assert!(refused > 1000, "{refused}");
    drop(held);
    wait_until("writes are taken again", || free.ask("set key 0 0 1\r\ny") == "STORED");
}

/// The stuck ring had the fewest connections, so it was given every newcomer. Later the kernel left half of them with that ring's
/// listener, where nobody accepted them.
#[test]
fn newcomers_are_given_to_rings_that_turn() {
    if dialect() == Dialect::Memcached {
        return;
    }
    let (server, _held, mut clients) = half_stuck(&["--ring-timeout=0"]);
    let mut free = clients.pop().unwrap();
    // It gets no connections after three ticks, and is reported after ten.
    wait_until("the ring is missed", || own_count(&mut free, "memcrsd_stuck_rings") == 1);
    let mut newcomers: Vec<_> = (0..256).map(|_| server.connect()).collect();
    for client in &mut newcomers {
        client.stream.set_nonblocking(true).unwrap();
        client.send(b"mn\r\n");
    }
    wait_until("all are served", || {
        let is_served = |client: &mut Client| {
            let _ = client.try_fill();
            find(client.pending(), b"MN\r\n").is_some()
        };
        newcomers.iter_mut().map(is_served).filter(|is_served| *is_served).count() == 256
    });
}

/// A spare ring serves when the only serving ring is stuck.
#[test]
fn newcomers_are_given_to_a_spare_ring_if_need_be() {
    if dialect() == Dialect::Memcached {
        return;
    }
    let server = Server::start(&["-t", "2", "--serving-rings=1", "--ring-timeout=0"]);
    let _held = Held::ring(&server, 0);
    wait_until("a newcomer is served", || {
        let mut client = server.connect();
        client.stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        client.send(b"mn\r\n");
        let _ = client.try_fill();
        find(client.pending(), b"MN\r\n").is_some()
    });
}

/// Writers wait for the stuck ring no longer than they must, and say what they could not do.
#[test]
fn with_the_log_full_writes_are_refused_and_reads_go_on() {
    if dialect() == Dialect::Memcached {
        return;
    }
    let (server, held, mut clients) = half_stuck(&["--ring-timeout=0"]);
    let mut free = clients.pop().unwrap();
    free.set("key", "value");
    free.set("number", "1");
    fill_log(&mut free);
    set_until_refused(&mut free);
    assert_eq!(free.get("key").as_deref(), Some("value"));
    for command in ["delete key", "incr number 1", "touch key 9", "gat 9 key", "mg key T9", "flush_all"] {
        assert_eq!(free.ask(command), "SERVER_ERROR out of memory", "{command}");
    }
    assert_eq!(free.ask("delete none"), "NOT_FOUND");
    assert_eq!(free.get("key").as_deref(), Some("value"));
    drop(held);
    wait_until("writes are taken again", || free.ask("set last 0 0 1\r\ny") == "STORED");
    for client in &mut clients {
        assert_eq!(client.line(), "MN");
        assert_eq!(client.get("last").as_deref(), Some("y"));
    }
    assert_eq!(free.ask("flush_all"), "OK");
    for client in &mut clients {
        assert_eq!(client.get("key"), None);
    }
    drop(server);
}

#[test]
fn a_ring_that_stays_stuck_ends_the_process() {
    if dialect() == Dialect::Memcached {
        return;
    }
    let (mut server, held, _clients) = half_stuck(&["--ring-timeout=4"]);
    held.wait_exit();
    assert_eq!(server.wait().signal(), Some(Signal::SIGABRT as i32));
    let said = server.stderr();
    assert!(said.contains("ring 1 has made no progress for 4 s: aborting"), "{said}");
}

#[test]
fn a_server_with_a_stuck_ring_can_be_stopped() {
    let (mut server, held, _clients) = half_stuck(&[]);
    server.signal(Signal::SIGTERM);
    held.wait_exit();
    assert!(server.wait().success());
}

/// A process that was stopped as a whole is not stuck.
#[test]
fn a_stopped_and_continued_server_is_not_stuck() {
    if dialect() == Dialect::Memcached {
        return;
    }
    let mut server = Server::start(&["-t", "2", "--ring-timeout=6"]);
    let mut client = server.connect();
    assert_eq!(client.ask("mn"), "MN");
    server.signal(Signal::SIGSTOP);
    std::thread::sleep(Duration::from_secs(8));
    server.signal(Signal::SIGCONT);
    let uptime = client.count("uptime");
    wait_until("it has gone on", || client.count("uptime") >= uptime + 3);
    assert!(!server.stderr().contains("giving up"), "{}", server.stderr());
}
