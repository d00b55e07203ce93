//! What is reported about connections: `stats conns`, the lines of watchers, the log of -vv.

use std::thread;

use nix::sys::signal::Signal;

use crate::harness::{Client, Dialect, Server, dialect, find, show, wait_until};

/// A client in the middle of a small value was shown as one that is silent.
#[test]
fn clients_in_the_middle_of_a_value_are_shown_so() {
    let server = Server::start(&[]);
    for (sent, state) in [
        (&b"set a 0 0 5\r\nva"[..], "conn_nread"),
        (b"set a 0 0 50000\r\nva", "conn_nread"),
        (b"set a x 0 5\r\nva", "conn_swallow"),
        (b"set a 0 0 ", "conn_read"),
    ] {
        let mut client = server.connect();
        client.send(sent);
        let own = format!(":addr tcp:{}", client.stream.local_addr().unwrap());
        wait_until(state, || {
            let mut other = server.connect();
            other.send(b"stats conns\r\n");
            let text = String::from_utf8(other.read_through(b"END\r\n")).unwrap();
            let line = text.lines().find(|line| line.ends_with(&own));
            let id = line.and_then(|line| line.strip_prefix("STAT ")?.split(':').next());
            id.is_some_and(|id| text.contains(&format!("STAT {id}:state {state}\r\n")))
        });
    }
}

/// -vv, which people read and scripts grep.
#[test]
fn connections_are_told_of_with_two_v() {
    let mut server = Server::start(&["-vv", "-t", "2"]);
    let mut client = server.connect();
    assert_eq!(client.ask("mn"), "MN");
    client.send(b"quit\r\n");
    assert_eq!(client.read_to_end(), b"");
    let lines = [
        "server listening (auto-negotiate)",
        "new auto-negotiating client connection",
        "Client using the ascii protocol",
        "connection closed.",
    ];
    for line in lines {
        wait_until(line, || server.stderr().lines().any(|said| said.ends_with(line)));
    }
    server.signal(Signal::SIGTERM);
    server.wait();
    let said = server.stderr();
    for line in lines {
        assert_eq!(said.lines().filter(|said| said.ends_with(line)).count(), 1, "{line}: {said}");
    }
}

/// What a listener speaks, whatever others do.
#[test]
fn each_listener_is_told_of_with_its_protocol() {
    if dialect() == Dialect::Memcached {
        return;
    }
    let server = Server::start(&["-vv", "-t", "2", "-l", "proto[ascii]:127.0.0.1"]);
    let ports = std::fs::read_to_string(server.dir.path().join("port")).unwrap();
    let last = ports.lines().filter_map(|line| line.strip_prefix("TCP INET: ")).next_back().unwrap();
    assert_eq!(Client::connect(last.parse().unwrap()).ask("mn"), "MN");
    for line in [
        "server listening (auto-negotiate)",
        "server listening (ascii)",
        "new ascii client connection.",
        "connection closed.",
    ] {
        wait_until(line, || server.stderr().lines().any(|said| said.ends_with(line)));
    }
}

/// Lines were sent once a second from a buffer of 256 KiB: a watcher of 20,000 gets a second lost 85 % of them.
#[test]
fn a_watcher_that_reads_loses_no_line() {
    const GETS: usize = 40_000;
    let server = Server::start(&["-t", "1"]);
    let mut watcher = server.connect();
    assert_eq!(watcher.ask("watch fetchers"), "OK");
    let mut client = server.connect();
    let writing = thread::spawn(move || {
        for _ in 0..GETS / 20 {
            client.send(&b"get a\r\n".repeat(20));
            client.read_exact(b"END\r\n".len() * 20);
        }
    });
    for at in 0..GETS {
        let line = watcher.read_through(b"\n");
        assert!(
            find(&line, b" type=item_get key=a status=not_found ").is_some(),
            "line {at}: {}",
            show(&line)
        );
    }
    writing.join().unwrap();
    assert_eq!(server.stat("log_watcher_skipped"), "0");
}

#[test]
fn connections_are_listed() {
    let server = Server::start(&["-t", "4"]);
    let mut client = server.connect();
    let own = client.stream.local_addr().unwrap();
    client.send(b"stats conns\r\n");
    let text = String::from_utf8(client.read_through(b"END\r\n")).unwrap();
    let port = server.port;
    assert_eq!(text.matches(":state conn_listening").count(), 1, "{text}");
    assert!(text.contains(&format!(":addr tcp:127.0.0.1:{port}\r\n")), "{text}");
    let line = text.lines().find(|line| line.ends_with(&format!(":addr tcp:{own}"))).expect("its own line");
    let id = line.strip_prefix("STAT ").unwrap().split(':').next().unwrap();
    assert!(text.contains(&format!("STAT {id}:listen_addr tcp:127.0.0.1:{port}\r\n")), "{text}");
    assert!(text.contains(&format!("STAT {id}:secs_since_last_cmd 0\r\n")), "{text}");
    let mut watcher = server.connect();
    assert_eq!(watcher.ask("watch connevents"), "OK");
    let other = server.connect();
    let own = other.stream.local_addr().unwrap().port();
    let opened = watcher.read_through(b"\n");
    let opened = String::from_utf8(opened).unwrap();
    assert!(
        opened.contains(&format!("type=conn_new rip=127.0.0.1 rport={own} transport=tcp cfd=")),
        "{opened}"
    );
    drop(other);
    let closed = String::from_utf8(watcher.read_through(b"\n")).unwrap();
    assert!(closed.contains(&format!("rport={own} transport=tcp reason=normal")), "{closed}");
}

/// A client that hung up was reported as an error, and one that was closed for what it sent as normal.
#[test]
fn connections_end_with_their_reason() {
    let server = Server::start(&[]);
    let mut watcher = server.connect();
    assert_eq!(watcher.ask("watch connevents"), "OK");
    let header = |opcode: u8| [&[0x80, opcode][..], &[0; 22]].concat();
    let cases: [(Vec<u8>, &str); 10] = [
        (b"quit\r\n".to_vec(), "normal"),
        (header(7), "normal"),
        (b"mn\r\n".to_vec(), "normal"),
        (b"get a".to_vec(), "normal"),
        (b"set a 0 0 10\r\nabc".to_vec(), "normal"),
        (b"set a 0 0 100000\r\nabc".to_vec(), "normal"),
        (b"set a x 0 10\r\nabc".to_vec(), "normal"),
        (vec![b'x'; 3000], "error"),
        (b"x HTTP/1.1\r\n".to_vec(), "error"),
        ([&header(10)[..], &[b'x'; 24]].concat(), "error"),
    ];
    for (sent, reason) in cases {
        let mut client = server.connect();
        let port = client.stream.local_addr().unwrap().port();
        client.send(&sent);
        if reason == "normal" {
            client.finish();
            client.read_to_end();
        }
        let end = format!(" type=conn_close rip=127.0.0.1 rport={port} transport=tcp reason=");
        let line = loop {
            let line = String::from_utf8(watcher.read_through(b"\n")).unwrap();
            if line.contains(&end) {
                break line;
            }
        };
        assert!(line.contains(&format!("{end}{reason} cfd=")), "{}: {line}", show(&sent));
    }
}
