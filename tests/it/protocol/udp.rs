//! UDP: text and binary requests, replies of several datagrams, invalid datagrams.

use std::fs;
use std::io;
use std::net::UdpSocket;
use std::time::Duration;

use crate::harness::{Dialect, Server, TempDir, deadline, dialect, find, wait_until};

/// The id of requests that get a reply.
pub const ID: u16 = 0x1234;

/// Each engine receives datagrams in its own way: the default engine, and epoll.
fn engines() -> &'static [&'static [&'static str]] {
    if dialect() == Dialect::Memcached {
        &[&["-t", "2"]]
    } else {
        &[&["-t", "2"], &["-t", "2", "--io-engine=epoll"]]
    }
}

pub fn start(flags: &[&str]) -> (Server, UdpSocket) {
    let mut all = vec!["-U", "-1"];
    all.extend(flags);
    let server = Server::start(&all);
    let socket = connect(&server);
    (server, socket)
}

/// A client of a server that was started with `-U -1`.
pub fn connect(server: &Server) -> UdpSocket {
    let text = fs::read_to_string(server.dir.path().join("port")).unwrap();
    let port: u16 =
        text.lines().find_map(|line| line.strip_prefix("UDP INET: ")).unwrap().trim().parse().unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(("127.0.0.1", port)).unwrap();
    socket.set_read_timeout(Some(deadline())).unwrap();
    socket
}

pub fn request(id: u16, commands: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    for number in [id, 0, 1, 0] {
        datagram.extend_from_slice(&number.to_be_bytes());
    }
    datagram.extend_from_slice(commands);
    datagram
}

/// The next message: its id, and its reassembled parts.
pub fn message(socket: &UdpSocket) -> (u16, Vec<u8>) {
    let mut message = Vec::new();
    let mut next = 0;
    loop {
        let mut datagram = vec![0; 65536];
        let len = socket.recv(&mut datagram).expect("a reply");
        assert!((8..=1400).contains(&len), "{len} bytes");
        let number = |at: usize| u16::from_be_bytes([datagram[at], datagram[at + 1]]);
        assert_eq!((number(2), number(6)), (next, 0));
        message.extend_from_slice(&datagram[8..len]);
        next += 1;
        if next >= number(4) {
            return (number(0), message);
        }
        assert_eq!(len, 1400, "only the last part is shorter");
    }
}

fn ask(socket: &UdpSocket, commands: &[u8]) -> Vec<u8> {
    socket.send(&request(ID, commands)).unwrap();
    let (id, message) = message(socket);
    assert_eq!(id, ID);
    message
}

#[test]
fn text_commands_are_answered() {
    for flags in engines() {
        text_commands(flags);
    }
}

fn text_commands(flags: &[&str]) {
    let (server, socket) = start(flags);
    assert_eq!(ask(&socket, b"set a 5 0 1\r\n1\r\n"), b"STORED\r\n");
    assert_eq!(ask(&socket, b"get a\r\n"), b"VALUE a 5 1\r\n1\r\nEND\r\n");
    assert_eq!(ask(&socket, b"incr a 41\r\n"), b"42\r\n");
    assert_eq!(ask(&socket, b"nonsense\r\n"), b"ERROR\r\n");
    assert_eq!(ask(&socket, b"quit\r\n"), b"");
    // Several commands in a datagram have a message each.
    assert_eq!(ask(&socket, b"get a\r\nmn\r\nget none\r\n"), b"VALUE a 5 2\r\n42\r\nEND\r\n");
    assert_eq!(message(&socket).1, b"MN\r\n");
    assert_eq!(message(&socket).1, b"END\r\n");
    // Each value of a get has a message of its own, and the last one the end.
    assert_eq!(ask(&socket, b"get a a\r\n"), b"VALUE a 5 2\r\n42\r\n");
    assert_eq!(message(&socket).1, b"VALUE a 5 2\r\n42\r\nEND\r\n");
    let stats = ask(&socket, b"stats\r\n");
    assert!(stats.starts_with(b"STAT pid ") && stats.ends_with(b"\r\nEND\r\n"));
    // Other connections see what was stored by datagram.
    assert_eq!(server.connect().get("a").as_deref(), Some("42"));
    let mut client = server.connect();
    client.send(b"stats conns\r\n");
    let conns = client.read_through(b"END\r\n");
    assert!(find(&conns, b":addr udp:127.0.0.1:").is_some(), "{}", conns.escape_ascii());
}

#[test]
fn binary_packets_are_answered() {
    for flags in engines() {
        binary_packets(flags);
    }
}

fn binary_packets(flags: &[&str]) {
    let (_server, socket) = start(flags);
    let noop = b"\x80\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\0";
    let answer = ask(&socket, noop);
    assert_eq!((answer.len(), &answer[..2], answer[15]), (24, &b"\x81\x0a"[..], 7));
    let set = b"\x80\x01\0\x01\x08\0\0\0\0\0\0\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0av";
    assert_eq!(ask(&socket, set)[..2], *b"\x81\x01");
    assert_eq!(ask(&socket, b"get a\r\n"), b"VALUE a 0 1\r\nv\r\nEND\r\n");
    // A quiet get that misses has no reply; the noop after it has.
    let getq = b"\x80\x09\0\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0z";
    assert_eq!(ask(&socket, &[&getq[..], noop].concat())[..2], *b"\x81\x0a");
    let stats = ask(&socket, b"\x80\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    assert!(stats.len() > 1400);
}

/// The first byte of each datagram determines its protocol, whatever -B says, which used to apply to datagrams too.
#[test]
fn every_datagram_chooses_its_protocol() {
    for protocol in ["ascii", "binary"] {
        let (_server, socket) = start(&["-B", protocol]);
        assert_eq!(ask(&socket, b"mn\r\n"), b"MN\r\n");
        assert_eq!(ask(&socket, &[&b"\x80\x0a"[..], &[0; 22]].concat())[..2], *b"\x81\x0a");
    }
}

/// Long values come in several datagrams, none of which is lost on loopback while the client's buffer has room.
#[test]
fn long_values_come_in_several_datagrams() {
    for flags in engines() {
        long_values(flags);
    }
}

fn long_values(flags: &[&str]) {
    let (server, socket) = start(flags);
    let mut client = server.connect();
    for len in [1300, 1371, 1372, 1373, 5000, 20_000, 60_000] {
        let value: String = (0..len).map(|at| char::from(b'a' + (at % 26) as u8)).collect();
        client.set("long", &value);
        let expected = format!("VALUE long 0 {len}\r\n{value}\r\nEND\r\n");
        assert!(ask(&socket, b"get long\r\n") == expected.as_bytes(), "{len}");
    }
    // Requests may be as long as a datagram can be.
    let value = "x".repeat(60_000);
    let set = format!("set back 0 0 60000\r\n{value}\r\n");
    assert_eq!(ask(&socket, set.as_bytes()), b"STORED\r\n");
    assert_eq!(client.get("back"), Some(value));
}

/// Invalid datagrams are ignored and do not affect the next.
#[test]
fn malformed_datagrams_are_ignored() {
    for flags in engines() {
        malformed_datagrams(&[flags, &["-t", "1"][..]].concat());
    }
}

fn malformed_datagrams(flags: &[&str]) {
    let (server, socket) = start(flags);
    let mut headers: Vec<Vec<u8>> = (0..8).map(|len| vec![0; len]).collect();
    headers.push(request(1, b""));
    headers.push(b"\0\x01\0\0\0\x02\0\0get a\r\n".to_vec());
    headers.push(b"\0\x01\0\0\0\0\0\0get a\r\n".to_vec());
    headers.push(b"\0\x01\0\0\xff\xff\0\0get a\r\n".to_vec());
    // Incomplete or quiet.
    for commands in [
        &b"get a"[..],
        b"set a 0 0 10\r\nabc",
        b"set a 0 0 20000\r\nabc",
        b"set a 0 0 1 noreply\r\n1\r\n",
        b"\x80\x00\x00",
        b"\x80zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz",
        b"xxxxxxx HTTP/1.1\r\n",
    ] {
        headers.push(request(1, commands));
    }
    headers.push(request(1, &[b'x'; 3000]));
    for datagram in &headers {
        socket.send(datagram).unwrap();
    }
    // The next reply is that to the next request; sequence and reserved may be anything.
    socket.send(b"\x12\x34\0\x05\0\x01\0\x09mn\r\n").unwrap();
    assert_eq!(message(&socket), (ID, b"MN\r\n".to_vec()));
    socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let error = socket.recv(&mut [0; 10]).unwrap_err();
    assert!(matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut), "{error}");
    assert_eq!(server.connect().get("a").as_deref(), Some("1"));
}

/// A datagram of 141 bytes requested a value of 1 MB 64 times, and all 64 MB were copied before the bound on replies was
/// checked.
#[test]
fn a_small_datagram_takes_no_large_memory() {
    for flags in engines() {
        let (server, socket) = start(flags);
        server.connect().set("k", &"v".repeat(1_000_000));
        let before = server.peak_resident_bytes();
        for _ in 0..20 {
            socket.send(&request(ID, format!("get{}\r\n", " k".repeat(64)).as_bytes())).unwrap();
        }
        assert_eq!(ask(&socket, b"mn\r\n"), b"MN\r\n");
        let grown = server.peak_resident_bytes() - before;
        assert!(grown < 8 << 20, "{grown} bytes");
    }
}

/// Many concurrent clients, over several rings.
#[test]
fn every_client_gets_its_own_replies() {
    let (server, first) = start(&["-t", "4"]);
    let port = first.peer_addr().unwrap();
    let sockets: Vec<UdpSocket> = (0..32)
        .map(|_| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.connect(port).unwrap();
            socket.set_read_timeout(Some(deadline())).unwrap();
            socket
        })
        .collect();
    for round in 0..20 {
        for (at, socket) in sockets.iter().enumerate() {
            let set = format!("set k{at} 0 0 4\r\n{:04}\r\nget k{at}\r\n", at + round);
            socket.send(&request(at as u16, set.as_bytes())).unwrap();
        }
        for (at, socket) in sockets.iter().enumerate() {
            assert_eq!(message(socket), (at as u16, b"STORED\r\n".to_vec()));
            let expected = format!("VALUE k{at} 0 4\r\n{:04}\r\nEND\r\n", at + round);
            assert_eq!(message(socket), (at as u16, expected.into_bytes()));
        }
    }
    wait_until("everything is there", || server.count("curr_items") == 32);
}

/// Values on flash, whatever asks for them; memcached takes no UDP with flash.
#[test]
fn values_on_flash_are_sent() {
    const KEYS: usize = 1500;
    if dialect() == Dialect::Memcached {
        return;
    }
    let value = |number: usize| format!("{number:09},").repeat(900);
    for flags in engines() {
        let dir = TempDir::new();
        let file = dir.path().join("flash");
        let tier = format!("ext_path={}:64m,ext_page_size=2,ext_wbuf_size=2", file.display());
        let (server, socket) = start(&[flags, &["-m", "8", "-o", &tier][..]].concat());
        let mut client = server.connect();
        for number in 0..KEYS {
            client.set(&format!("key-{number}"), &value(number));
        }
        let before = client.count("get_extstore");
        for number in (0..KEYS).step_by(10) {
            let (wanted, none) = (format!("VALUE key-{number} 0 9000\r\n{}\r\n", value(number)), "END\r\n");
            let answer = ask(&socket, format!("get key-{number} nothing\r\n").as_bytes());
            assert!(answer == none.as_bytes() || answer == [wanted.as_bytes(), none.as_bytes()].concat());
        }
        assert!(client.count("get_extstore") > before + 50);
        assert_eq!(client.count("miss_from_extstore"), 0);
    }
}
