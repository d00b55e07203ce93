//! io_uring operations that fail or complete partially, one kind at a time. `kernel` does the same to the system calls of
//! the epoll engine; clients see the same.

use std::net::UdpSocket;
use std::os::unix::process::ExitStatusExt;
use std::time::Instant;

use nix::sys::signal::Signal;
use rustix::io_uring::IoringOp;

use super::injector::{ALWAYS, Fate, FaultInjector, Operation, Socket};
use super::kernel::{EXHAUSTED, FAILING, ends_well, is_calm, is_told_of_seldom};
use crate::harness::{Client, Dialect, Server, dialect, wait_until};
use crate::protocol::udp;

/// Reading into a buffer of the ring's.
const READ: Operation = Operation::read();
/// Receiving a large value into its place.
const RECEIVE: Operation = Operation::receive();
/// Waiting for bytes without a buffer.
const POLL: Operation = Operation::any(IoringOp::PollAdd);
const SEND: Operation = Operation::any(IoringOp::Send);
/// Sending a reply whose values lie in the store, or a datagram.
const GATHER: Operation = Operation::any(IoringOp::Sendmsg);
const RECEIVE_DATAGRAM: Operation = Operation::any(IoringOp::Recvmsg);

/// What a kernel without memory says, and what it says of a connection that is broken.
const BREAKING: [i32; 4] = [libc::ENOBUFS, libc::ENOMEM, libc::ECONNRESET, libc::EPIPE];

/// Too long for one read, or for the replies that are staged, bytes.
const LARGE: usize = 900_000;

/// Tries after which it is judged whether the server rests between them.
const TRIES: u32 = 30;

const FLAGS: &[&str] = &["-t", "1", "--io-engine=uring"];

/// A server whose only ring has a double of the kernel below it.
fn start() -> Option<(Server, FaultInjector)> {
    if dialect() == Dialect::Memcached {
        return None;
    }
    let server = Server::start(FLAGS);
    let double = FaultInjector::of(&server);
    Some((server, double))
}

/// The same with a port for datagrams, and a socket to send them from.
fn start_with_datagrams() -> Option<(Server, UdpSocket, FaultInjector)> {
    if dialect() == Dialect::Memcached {
        return None;
    }
    let (server, socket) = udp::start(FLAGS);
    let double = FaultInjector::of(&server);
    Some((server, socket, double))
}

/// A client that has been served: the accept that takes the next one is under way.
fn served(server: &Server) -> Client {
    let mut client = server.connect();
    assert_eq!(client.ask("mn"), "MN");
    client
}

/// What always fails is tried again a hundred times a second, twice each time, not more: the server rests in between. (A
/// ring that is followed is too slow to be seen spinning by its processor time.)
fn rests(double: &FaultInjector) {
    let (before, since) = (double.met(), Instant::now());
    wait_until("it has been tried again", || double.met() >= before + TRIES);
    let tries = u128::from(double.met() - before);
    assert!(tries <= since.elapsed().as_millis() / 5 + 2, "{tries} in {:?}", since.elapsed());
}

fn large() -> String {
    (0..LARGE / 10).map(|number| format!("{number:010}")).collect()
}

fn ends_unharmed(server: Server, double: FaultInjector, mut others: Client) {
    others.set("after", "value");
    assert_eq!(others.get("after").as_deref(), Some("value"));
    drop(double);
    is_calm(&server);
    assert_eq!(server.stderr(), "");
    ends_well(server);
}

/// New connections wait, which is logged once; open ones are served; accepting resumes when the fault ends.
#[test]
fn while_nobody_can_be_accepted_newcomers_wait() {
    if dialect() == Dialect::Memcached {
        return;
    }
    for (errno, words) in EXHAUSTED {
        let Some((server, double)) = start() else { return };
        let mut old = served(&server);
        // Nobody can be turned away in words either.
        double.order_call(libc::SYS_accept4, errno, ALWAYS);
        let mut waiting: Vec<_> = (0..5).map(|_| server.connect()).collect();
        for client in &mut waiting {
            client.send(b"mn\r\n");
        }
        wait_until("it does not accept", || old.count("accepting_conns") == 0);
        let before = old.count("listen_disabled_num");
        wait_until("it tries again", || old.count("listen_disabled_num") > before);
        rests(&double);
        is_told_of_seldom(&server, words);
        double.lift();
        for client in &mut waiting {
            assert_eq!(client.line(), "MN");
        }
        wait_until("it accepts", || old.count("accepting_conns") == 1);
        assert!(old.count("time_in_listen_disabled_us") > 0);
        assert_eq!(old.count("rejected_connections"), 0);
        drop(double);
        ends_well(server);
    }
}

/// What befell one client, or interrupted the wait for one, keeps no other from being accepted, and nobody speaks of it.
#[test]
fn accepting_goes_on_past_what_concerns_one_client() {
    for errno in [libc::ECONNABORTED, libc::EINTR, libc::EAGAIN] {
        let Some((server, double)) = start() else { return };
        let mut old = served(&server);
        double.order_call(libc::SYS_accept4, errno, 50);
        served(&server);
        assert_eq!(double.met(), 50);
        assert_eq!(old.count("listen_disabled_num"), 0);
        ends_unharmed(server, double, old);
    }
}

#[test]
fn accepting_that_always_fails_is_told_of_seldom_and_does_not_spin() {
    for (errno, words) in FAILING {
        let Some((server, double)) = start() else { return };
        let mut old = served(&server);
        double.order_call(libc::SYS_accept4, errno, ALWAYS);
        let mut waiting = server.connect();
        wait_until("it is told of", || !server.stderr().is_empty());
        rests(&double);
        is_told_of_seldom(&server, words);
        assert_eq!(old.ask("mn"), "MN");
        double.lift();
        assert_eq!(waiting.ask("mn"), "MN");
        drop(double);
        ends_well(server);
    }
}

#[test]
fn who_cannot_be_read_from_is_closed_and_nobody_else() {
    for errno in [libc::ENOMEM, libc::ECONNRESET, libc::EPIPE] {
        let Some((server, double)) = start() else { return };
        let (mut victim, other) = (served(&server), served(&server));
        let socket = Socket::of(&mut victim);
        double.order(&[READ], Some(&socket), Fate::Fails(errno), 1);
        // A receive may be under way.
        victim.send_lossy(b"mn\r\n");
        assert!([&b""[..], b"MN\r\n"].contains(&&victim.read_to_end()[..]));
        assert_eq!(double.met(), 1);
        ends_unharmed(server, double, other);
    }
}

/// A receive that finds no buffer waits without one, and reads into memory of the heap.
#[test]
fn without_a_free_buffer_clients_are_served() {
    let Some((server, double)) = start() else { return };
    let (mut client, mut other) = (served(&server), served(&server));
    let socket = Socket::of(&mut client);
    let value = large();
    for times in [1, 2, 5, ALWAYS] {
        double.order(&[READ], Some(&socket), Fate::Fails(libc::ENOBUFS), times);
        for len in [3, 3_000, 20_000] {
            client.set("key", &value[..len]);
            assert!(client.get("key").as_deref() == Some(&value[..len]));
            assert_eq!(other.ask("mn"), "MN");
        }
    }
    assert!(double.met() > 8);
    ends_unharmed(server, double, other);
}

/// A kernel that knows no multishot receives, which only shows when one is submitted.
#[test]
fn without_multishot_receives_clients_are_served() {
    let Some((server, double)) = start() else { return };
    let (mut client, other) = (served(&server), served(&server));
    let again_and_again = Operation::read_again_and_again();
    double.order(&[again_and_again], Some(&Socket::of(&mut client)), Fate::Fails(libc::EINVAL), ALWAYS);
    for number in 0..50 {
        assert_eq!(client.ask(&format!("mn {number}")), "MN");
    }
    ends_unharmed(server, double, other);
}

#[test]
fn who_cannot_be_waited_for_is_closed_and_nobody_else() {
    let Some((server, double)) = start() else { return };
    let (mut victim, other) = (served(&server), served(&server));
    let socket = Socket::of(&mut victim);
    double.order(&[READ], Some(&socket), Fate::Fails(libc::ENOBUFS), ALWAYS);
    double.order(&[POLL], Some(&socket), Fate::Fails(libc::ENOMEM), 1);
    victim.send_lossy(b"mn\r\n");
    assert!([&b""[..], b"MN\r\n"].contains(&&victim.read_to_end()[..]));
    ends_unharmed(server, double, other);
}

#[test]
fn a_value_that_cannot_be_received_is_not_stored() {
    let value = large();
    for errno in BREAKING {
        let Some((server, double)) = start() else { return };
        let (mut victim, mut other) = (served(&server), served(&server));
        other.set("key", "old");
        let socket = Socket::of(&mut victim);
        double.order(&[RECEIVE], Some(&socket), Fate::Fails(errno), 1);
        victim.send_lossy(format!("set key 0 0 {LARGE}\r\n{value}\r\n").as_bytes());
        assert_eq!(victim.read_to_end(), b"");
        assert_eq!(other.get("key").as_deref(), Some("old"));
        ends_unharmed(server, double, other);
    }
}

#[test]
fn who_cannot_be_sent_to_is_closed_and_nobody_else() {
    for errno in BREAKING {
        let Some((server, double)) = start() else { return };
        let mut other = served(&server);
        other.set("key", &large());
        for (operation, request) in [(SEND, "mn\r\n"), (GATHER, "get key\r\n")] {
            let mut victim = served(&server);
            let socket = Socket::of(&mut victim);
            double.order(&[operation], Some(&socket), Fate::Fails(errno), 1);
            victim.send_lossy(request.as_bytes());
            assert_eq!(victim.read_to_end(), b"", "no part of a reply");
        }
        assert_eq!(double.met(), 2);
        assert_eq!(other.get("key").map(|value| value.len()), Some(LARGE));
        ends_unharmed(server, double, other);
    }
}

/// Nothing comes behind the part of a reply that could be sent.
#[test]
fn a_reply_that_breaks_off_is_the_last() {
    const PART: u32 = 100_000;
    let Some((server, double)) = start() else { return };
    let (mut victim, mut other) = (served(&server), served(&server));
    let value = large();
    other.set("key", &value);
    let socket = Socket::of(&mut victim);
    double.order(&[GATHER], Some(&socket), Fate::IsCut(PART), 2);
    double.order(&[GATHER], Some(&socket), Fate::Fails(libc::ENOBUFS), 1);
    victim.send_lossy(b"get key\r\nmn\r\n");
    let whole = format!("VALUE key 0 {LARGE}\r\n{value}\r\nEND\r\nMN\r\n");
    let reply = victim.read_to_end();
    // The first piece is the line in front of the value.
    let first = whole.find('\n').unwrap() + 1;
    assert!(reply == whole.as_bytes()[..first + PART as usize], "{} bytes", reply.len());
    ends_unharmed(server, double, other);
}

#[test]
fn what_is_interrupted_is_done_again() {
    let Some((server, double)) = start() else { return };
    let (mut client, mut other) = (served(&server), served(&server));
    let socket = Socket::of(&mut client);
    let value = large();
    for operations in [&[READ][..], &[RECEIVE], &[SEND], &[GATHER]] {
        let before = double.met();
        double.order(operations, Some(&socket), Fate::Fails(libc::EINTR), 10);
        wait_until("all of them have failed", || {
            client.set("key", &value);
            assert_eq!(other.ask("mn"), "MN");
            assert!(client.get("key").as_deref() == Some(&value));
            double.met() == before + 10
        });
    }
    ends_unharmed(server, double, other);
}

#[test]
fn operations_that_fall_short_are_gone_on_with() {
    let Some((server, double)) = start() else { return };
    let (mut client, other) = (served(&server), served(&server));
    let socket = Socket::of(&mut client);
    for (most, len) in [(1, 3_000), (17, 20_000), (10_000, LARGE)] {
        double.lift();
        double.order(&[READ, RECEIVE, SEND, GATHER], Some(&socket), Fate::IsCut(most), ALWAYS);
        let values = [&large()[..len], "small", &large()[LARGE - len..]];
        for (key, value) in ["a", "b", "c"].into_iter().zip(values) {
            client.set(key, value);
        }
        client.send(b"get a b c\r\n");
        for (key, value) in ["a", "b", "c"].into_iter().zip(values) {
            assert_eq!(client.line(), format!("VALUE {key} 0 {}", value.len()));
            assert!(client.read_exact(value.len()) == value.as_bytes());
            assert_eq!(client.line(), "");
        }
        assert_eq!(client.line(), "END");
    }
    ends_unharmed(server, double, other);
}

/// Replies that a kernel without memory does not take are neither lost nor mixed up.
#[test]
fn while_nothing_can_be_submitted_replies_wait() {
    for errno in [libc::EAGAIN, libc::EBUSY, libc::EINTR] {
        let Some((server, double)) = start() else { return };
        let mut clients: Vec<_> = (0..100).map(|_| served(&server)).collect();
        for _ in 0..3 {
            let before = double.met();
            double.order_call(libc::SYS_io_uring_enter, errno, 20);
            for (number, client) in clients.iter_mut().enumerate() {
                client.send(format!("mg key-{number} k\r\nmn\r\n").as_bytes());
            }
            for (number, client) in clients.iter_mut().enumerate() {
                assert_eq!(client.line(), format!("EN kkey-{number}"));
                assert_eq!(client.line(), "MN");
            }
            assert_eq!(double.met(), before + 20);
        }
        let other = clients.pop().unwrap();
        ends_unharmed(server, double, other);
    }
}

/// Whoever waits for a completion that the kernel has dropped would wait for ever.
#[test]
fn completions_that_the_kernel_has_lost_end_the_process() {
    let Some((mut server, double)) = start() else { return };
    served(&server);
    double.order_call(libc::SYS_io_uring_enter, libc::EBADR, 1);
    assert_eq!(server.wait().signal(), Some(Signal::SIGABRT as i32));
    assert!(server.stderr().contains("has lost completions of io_uring: giving up"), "{}", server.stderr());
}

/// What has come waits in the kernel meanwhile.
#[test]
fn datagrams_that_cannot_be_received_are_answered_later() {
    for errno in [libc::ENOBUFS, libc::ENOMEM, libc::EINTR] {
        let Some((server, socket, double)) = start_with_datagrams() else { return };
        let other = served(&server);
        double.order(&[RECEIVE_DATAGRAM], None, Fate::Fails(errno), ALWAYS);
        // A receive may be under way.
        socket.send(&udp::request(udp::ID, b"mn\r\n")).unwrap();
        socket.send(&udp::request(udp::ID, b"mn\r\n")).unwrap();
        wait_until("it has been tried again", || double.met() > 10);
        rests(&double);
        double.lift();
        for _ in 0..2 {
            assert_eq!(udp::message(&socket), (udp::ID, b"MN\r\n".to_vec()));
        }
        ends_unharmed(server, double, other);
    }
}

#[test]
fn a_datagram_that_cannot_be_sent_is_lost_and_no_other() {
    for errno in [libc::ENOBUFS, libc::ENOMEM, libc::EPERM] {
        let Some((server, socket, double)) = start_with_datagrams() else { return };
        let other = served(&server);
        double.order(&[GATHER], None, Fate::Fails(errno), 1);
        for id in [1, 2, 3] {
            socket.send(&udp::request(id, b"mn\r\n")).unwrap();
        }
        for id in [2, 3] {
            assert_eq!(udp::message(&socket), (id, b"MN\r\n".to_vec()));
        }
        ends_unharmed(server, double, other);
    }
}
