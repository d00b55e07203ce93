//! Connections: limits, idle timeout, fairness, probes, and cost.

use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{setsockopt, sockopt};

use crate::harness::{Client, Dialect, Server, deadline, dialect, show, wait_until};

/// Lets this process hold many connections.
fn raise_descriptors() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
}

/// Half a command or half a packet kept a connection open for ever.
#[test]
fn silent_clients_are_closed_but_not_in_the_middle_of_a_value() {
    let packet = [&b"\x80\x01\0\x01\x08\0\0\0\0\0\0\x0e"[..], &[0; 20], b"kvalue"].concat();
    let long = vec![b'x'; 50_002];
    let server = Server::start(&["-o", "idle_timeout=1"]);
    let spared: [(&[u8], &[u8], &[u8]); 6] = [
        (b"set a 0 0 5\r\nva", b"lue\r\n", b"STORED\r\n"),
        (b"set a 0 0 5\r\n", b"value\r\n", b"STORED\r\n"),
        (b"ms a 5\r\nvalue", b"\r\n", b"HD\r\n"),
        (b"set a x 0 5\r\nva", b"lue\r\n", b"CLIENT_ERROR bad command line format\r\n"),
        (&packet[..33], &packet[33..], b"\x81\x01\0\0"),
        (b"set a 0 0 50000\r\n", &long, b"CLIENT_ERROR bad data chunk\r\n"),
    ];
    let mut spared = spared.map(|(first, rest, answer)| {
        let mut client = server.connect();
        client.send(first);
        (client, rest, answer)
    });
    let mut talker = server.connect();
    let closed: [&[u8]; 7] =
        [b"", b"get a", b"set a 0 0 ", b"mg a v", &packet[..4], &packet[..26], &b"get a ".repeat(500)];
    let mut closed = closed.map(|part| {
        let mut client = server.connect();
        client.send(part);
        client
    });
    let watched = Instant::now();
    while watched.elapsed() < Duration::from_millis(500) {
        assert_eq!(talker.ask("mn"), "MN", "who talks stays");
    }
    for client in &mut closed {
        assert_eq!(client.read_to_end(), b"", "closed without a word");
    }
    assert!(watched.elapsed() > Duration::from_secs(1), "not before its time");
    wait_until("they are counted", || server.count("idle_kicks") >= closed.len() as u64);
    for (client, rest, answer) in &mut spared {
        client.send(rest);
        assert_eq!(show(&client.read_exact(answer.len())), show(answer), "a value may take its time");
    }
}

#[test]
fn without_maxconns_fast_newcomers_wait_for_a_place() {
    if dialect() == Dialect::Memcached {
        return;
    }
    let server = Server::start(&["-t", "2", "-c", "4", "-o", "no_maxconns_fast"]);
    let mut clients: Vec<Client> = (0..4).map(|_| server.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.ask("mn"), "MN");
    }
    assert_eq!(clients[0].count("accepting_conns"), 1);
    let mut waiting = server.connect();
    waiting.send(b"mn\r\n");
    wait_until("the server is full", || clients[0].count("accepting_conns") == 0);
    assert_eq!(clients[0].count("listen_disabled_num"), 1);
    assert_eq!(clients[0].count("curr_connections"), 4);
    drop(clients.pop());
    assert_eq!(waiting.line(), "MN", "its turn has come");
    wait_until("the server accepts", || clients[0].count("accepting_conns") == 1);
    assert!(clients[0].count("time_in_listen_disabled_us") > 0);
}

#[test]
fn with_maxconns_fast_newcomers_are_turned_away_until_there_is_a_place() {
    if dialect() == Dialect::Memcached {
        return;
    }
    let server = Server::start(&["-t", "2", "-c", "4"]);
    let mut clients: Vec<Client> = (0..4).map(|_| server.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.ask("mn"), "MN");
    }
    for _ in 0..10 {
        assert_eq!(server.connect().read_to_end(), b"ERROR Too many open connections\r\n");
    }
    assert_eq!(clients[0].count("rejected_connections"), 10);
    drop(clients.pop());
    wait_until("there is a place", || {
        let mut client = server.connect();
        client.send_lossy(b"mn\r\n");
        client.read_line_or_end() == "MN"
    });
}

/// One client sends without end; on the same ring another one asks and is answered in between, and none of the
/// pipeline's answers is lost.
#[test]
fn a_greedy_client_leaves_the_others_their_turn() {
    const ASKED: usize = 100;
    let server = Server::start(&["-t", "1"]);
    let greedy = server.connect().stream;
    let (sent, received) = thread::scope(|scope| {
        let receiver = scope.spawn(|| io::copy(&mut &greedy, &mut io::sink()).unwrap());
        let polite = scope.spawn(|| {
            let mut polite = server.connect();
            wait_until("the greedy client is stopped in the middle", || polite.count("conn_yields") > 10);
            for _ in 0..ASKED {
                assert_eq!(polite.ask("mn"), "MN");
            }
        });
        let batch = b"get key\r\n".repeat(1000);
        let mut sent = 0;
        while !polite.is_finished() {
            (&greedy).write_all(&batch).unwrap();
            sent += 1000;
        }
        greedy.shutdown(Shutdown::Write).unwrap();
        (sent, receiver.join().unwrap())
    });
    assert_eq!(received, sent * "END\r\n".len() as u64);
}

/// Load balancers and monitors knock all day: nothing is logged, nothing is left.
#[test]
fn probes_leave_nothing_behind() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let before = client.count("curr_connections");
    for number in 0..300 {
        let stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
        match number % 3 {
            0 => {}
            1 => {
                let reset = libc::linger { l_onoff: 1, l_linger: 0 };
                setsockopt(&stream, sockopt::Linger, &reset).unwrap();
            }
            _ => drop((&stream).write_all(b"\r")),
        }
    }
    // On a busy machine some still wait to be accepted when all that have been are gone.
    wait_until("all of them have come", || client.count("total_connections") > 300);
    wait_until("all of them are gone", || client.count("curr_connections") == before);
    assert_eq!(server.stderr(), "");
}

/// `proto[binary]:` spoke text and `proto[ascii]:` took packets: every listener spoke what -B said.
#[test]
fn each_listener_speaks_its_own_protocol() {
    let noop = [&b"\x80\x0a"[..], &[0; 22]].concat();
    let list = "proto[ascii]:127.0.0.1,proto[binary]:127.0.0.1,proto[negotiating]:127.0.0.1";
    for protocol in ["auto", "ascii", "binary"] {
        let server = Server::start(&["-B", protocol, "-l", list]);
        let ports = std::fs::read_to_string(server.dir.path().join("port")).unwrap();
        let ports: Vec<u16> =
            ports.lines().filter_map(|line| line.strip_prefix("TCP INET: ")?.trim().parse().ok()).collect();
        let [first, ascii, binary, negotiating] = ports[..] else { panic!("{ports:?}") };
        let mut client = Client::connect(ascii);
        client.send(&noop);
        client.send(b"\r\nmn\r\n");
        let answer = client.read_through(b"MN\r\n");
        assert!(answer.starts_with(b"CLIENT_ERROR bad command line format\r\n"), "{}", show(&answer));
        let mut client = Client::connect(negotiating);
        assert_eq!(client.ask("mn"), "MN");
        for port in [binary, negotiating] {
            let mut client = Client::connect(port);
            client.send(&noop);
            assert_eq!(client.read_exact(24)[..2], *b"\x81\x0a");
        }
        for (port, is_text) in [(binary, false), (first, protocol != "binary")] {
            let mut client = Client::connect(port);
            client.send_lossy(b"mn                                      \r\n");
            assert_eq!(client.read_line_or_end(), if is_text { "MN" } else { "" }, "{protocol}");
        }
    }
}

/// What an idle connection costs the server in memory of its own, once it has been used. It took 2,151 bytes, mostly a future
/// with room for what seldom happens.
#[test]
fn idle_connections_are_cheap() {
    const CONNECTIONS: usize = 3000;
    const IDLE_BYTES_MAX: usize = 2 << 10;
    if dialect() == Dialect::Memcached {
        return;
    }
    raise_descriptors();
    let server = Server::start(&["-t", "2", "-c", "4000"]);
    let mut asked: Vec<Client> = (0..700).map(|_| server.connect()).collect();
    for client in &mut asked {
        assert_eq!(client.ask("get a"), "END");
    }
    drop(asked);
    wait_until("the first ones are gone", || server.count("curr_connections") <= 1);
    let before = server.resident_bytes();
    let mut clients: Vec<Client> = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        let mut client = server.connect();
        assert_eq!(client.ask("get a"), "END");
        clients.push(client);
    }
    let each = server.resident_bytes().saturating_sub(before) / CONNECTIONS;
    println!("{each} bytes a connection");
    assert!(each < IDLE_BYTES_MAX, "{each} bytes a connection");
    let end = Instant::now() + deadline();
    for client in &mut clients {
        assert_eq!(client.ask("mn"), "MN");
        assert!(Instant::now() < end);
    }
}

/// What is left of a killed server does not keep its successor from the port.
#[test]
fn a_killed_server_can_be_followed_at_once() {
    let mut server = Server::start(&["-t", "4"]);
    let port = server.port.to_string();
    for _ in 0..5 {
        let mut clients: Vec<_> = (0..50).map(|_| server.connect()).collect();
        for client in &mut clients {
            client.set("key", "value");
        }
        server.signal(Signal::SIGKILL);
        server.wait();
        server = Server::start(&["-t", "4", "-p", &port]);
        assert_eq!(server.connect().get("key"), None);
    }
}

/// Whoever connects after a server has been killed is refused, so that its client library takes the node for dead. Once an
/// outstanding operation held the listener, and connects succeeded until the kernel had taken the rings apart.
#[test]
fn the_port_of_a_killed_server_refuses_at_once() {
    if dialect() == Dialect::Memcached {
        return;
    }
    for engine in ["uring", "epoll"] {
        for _ in 0..5 {
            let mut server = Server::start(&["-t", "2", "--io-engine", engine]);
            let mut clients: Vec<_> = (0..20).map(|_| server.connect()).collect();
            for client in &mut clients {
                assert_eq!(client.ask("mn"), "MN");
            }
            let address = (std::net::Ipv4Addr::LOCALHOST, server.port);
            server.signal(Signal::SIGKILL);
            server.wait();
            for _ in 0..20 {
                let refused = TcpStream::connect(address).expect_err("nobody is there");
                assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
            }
            // The successor of a server that has gone binds at the first try.
            std::net::TcpListener::bind(address).expect("a free port");
        }
    }
}

/// With `read_buf_mem_limit` each client that did not read its replies, was in the middle of an upload or watched kept a
/// buffer: from 64 of them on every other one was refused.
#[test]
fn clients_that_wait_keep_no_memory_for_receiving() {
    const HOLDERS: usize = 100;
    // 64 buffers of 16 KiB.
    let server = Server::start(&["-t", "1", "-m", "256", "-o", "read_buf_mem_limit=1"]);
    let mut client = server.connect();
    client.set("long", &"x".repeat(1_000_000));
    let mut holders: Vec<Client> = Vec::new();
    let mut hold = |sent: &[u8]| {
        for _ in 0..HOLDERS {
            let mut holder = server.connect();
            setsockopt(&holder.stream, sockopt::RcvBuf, &4096).unwrap();
            holder.send(sent);
            holders.push(holder);
        }
        for _ in 0..5 {
            let mut late = server.connect();
            assert_eq!(late.ask("mn"), "MN");
            late.send(&b"mn\r\n".repeat(4000));
            assert_eq!(late.read_exact(16_000).len(), 16_000);
        }
    };
    hold(&b"get long\r\n".repeat(16));
    hold(&[&b"get long\r\n".repeat(200)[..], b"get"].concat());
    hold(&[&b"set up 0 0 100000\r\n"[..], &[b'x'; 10_000]].concat());
    hold(b"watch mutations\r\n");
    hold(b"get half");
    assert_eq!(server.count("read_buf_oom"), 0);
    assert_eq!(client.ask("mn"), "MN");
}

/// The last resort when the memory for receiving is all in use: pipelines that are run one command at a time keep their
/// buffers for thousands of turns, and clients that wait for a thousand are refused with a word. The others get every reply.
#[test]
fn without_memory_to_read_into_clients_are_refused_with_a_word() {
    const CLIENTS: usize = 80;
    const COMMANDS: usize = 4 * 4096;
    const REFUSAL: &[u8] = b"SERVER_ERROR out of memory reading request\r\n";
    // 64 buffers of 16 KiB.
    let server = Server::start(&["-t", "1", "-R", "1", "-o", "read_buf_mem_limit=1"]);
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| server.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.ask("mn"), "MN");
    }
    // All commands are there when the first is read.
    kill(server.pid(), Signal::SIGSTOP).unwrap();
    for client in &mut clients {
        client.send(&b"mn\r\n".repeat(COMMANDS));
        client.finish();
    }
    kill(server.pid(), Signal::SIGCONT).unwrap();
    let replies: Vec<_> = clients.iter_mut().map(Client::read_to_end).collect();
    let (served, refused): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| !reply.ends_with(REFUSAL));
    assert!(!refused.is_empty() && served.len() >= CLIENTS / 2, "{} were refused", refused.len());
    assert!(served.iter().all(|reply| **reply == b"MN\r\n".repeat(COMMANDS)));
    assert_eq!(server.count("read_buf_oom"), refused.len() as u64);
    assert_eq!(server.connect().ask("mn"), "MN");
}
