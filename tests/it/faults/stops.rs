//! Servers that stop under load: every answer is whole or absent, and what is on its way arrives.

use nix::sys::signal::Signal;

use crate::harness::{Client, Server, wait_until};

/// SIGTERM in the middle of large values on their way in: every answer is whole, and none is given for half a value.
#[test]
fn a_terminated_server_answers_no_half_set() {
    const VALUE: usize = 1_000_000;
    let mut server = Server::start(&["-t", "4", "-m", "64"]);
    let clients: Vec<_> = (0..8).map(|_| server.connect()).collect();
    std::thread::scope(|scope| {
        let writers: Vec<_> = clients
            .into_iter()
            .enumerate()
            .map(|(number, mut client)| {
                scope.spawn(move || {
                    let mut set = format!("set key{number} 0 0 {VALUE}\r\n").into_bytes();
                    set.resize(set.len() + VALUE, b'v');
                    set.extend_from_slice(b"\r\n");
                    loop {
                        client.send_lossy(&set);
                        let told = client.read_line_or_end();
                        if told != "STORED" {
                            break told;
                        }
                    }
                })
            })
            .collect();
        wait_until("the load is on", || server.count("cmd_set") > 50);
        server.signal(Signal::SIGTERM);
        assert_eq!(server.wait().code(), Some(0));
        for writer in writers {
            assert_eq!(writer.join().unwrap(), "", "whole or absent");
        }
    });
}

/// The client asks for more while the server stops. A socket that is closed with input unread is reset, and the reply that
/// still waits behind it in the kernel would be lost.
#[test]
fn a_reply_on_its_way_arrives_though_more_is_asked_for() {
    let mut server = Server::start(&["-t", "1"]);
    let mut client = server.connect();
    let value = "v".repeat(900_000);
    client.set("large", &value);
    let reply_len = format!("VALUE large 0 900000\r\n{value}\r\nEND\r\n").len();
    client.send("get large\r\n".repeat(8).as_bytes());
    assert!(client.fill());
    client.send(b"get large\r\n");
    server.signal(Signal::SIGTERM);
    let received = client.read_to_end().len();
    assert!(received >= 8 * reply_len, "{received} bytes of 8 replies of {reply_len}");
    assert_eq!(received % reply_len, 0);
    drop(client);
    assert_eq!(server.wait().code(), Some(0));
}

/// SIGTERM under load: every answer is whole or absent, and the server ends with status 0.
#[test]
fn a_terminated_server_leaves_no_half_answer() {
    const VALUE: usize = 50_000;
    for _ in 0..5 {
        let mut server = Server::start(&["-t", "4"]);
        server.connect().set("key", &"v".repeat(VALUE));
        let clients: Vec<_> = (0..20).map(|_| server.connect()).collect();
        std::thread::scope(|scope| {
            let threads: Vec<_> =
                clients.into_iter().map(|client| scope.spawn(move || whole_answers(client, VALUE))).collect();
            wait_until("the load is on", || server.count("cmd_get") > 500);
            server.signal(Signal::SIGTERM);
            let status = server.wait();
            assert_eq!(status.code(), Some(0), "{status}");
            let halves: Vec<_> = threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect();
            assert!(halves.is_empty(), "cut off after {halves:?} of {} bytes", answer(VALUE).len());
        });
    }
}

fn answer(value: usize) -> String {
    format!("VALUE key 0 {value}\r\n{}\r\nEND\r\n", "v".repeat(value))
}

/// Reads one answer after the other until the server closes; the length of the last if it is not whole.
fn whole_answers(mut client: Client, value: usize) -> Option<usize> {
    let whole = answer(value).into_bytes();
    loop {
        client.send_lossy(b"get key\r\n");
        while client.pending().len() < whole.len() {
            if !client.fill() {
                let rest = client.pending().len();
                return (rest > 0).then_some(rest);
            }
        }
        assert_eq!(client.take(whole.len()), whole);
    }
}
