//! Slow, greedy, broken and numerous clients: the server stays within its memory, serves its other clients and keeps its
//! promises.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use nix::sys::socket::{self, sockopt};

use crate::harness::{Client, Server, wait_until};

const MIB: usize = 1 << 20;

/// Closes a connection with a reset.
pub(super) fn reset(client: Client) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    socket::setsockopt(&client.stream, sockopt::Linger, &linger).unwrap();
    drop(client);
}

/// The server still answers, promptly.
pub(super) fn is_well(server: &Server) {
    let start = Instant::now();
    let mut client = server.connect();
    client.set("well", "yes");
    assert_eq!(client.get("well").as_deref(), Some("yes"));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?} for a set and a get", start.elapsed());
}

#[test]
fn a_writer_of_single_bytes_does_not_stall_others() {
    let server = Server::start(&["-t", "2"]);
    let mut slow: Vec<_> = (0..20).map(|_| server.connect()).collect();
    let command = b"set slow 0 0 40\r\n0123456789012345678901234567890123456789\r\n";
    for byte in command {
        for client in &mut slow {
            client.send(&[*byte]);
        }
        is_well(&server);
    }
    for client in &mut slow {
        assert_eq!(client.line(), "STORED");
    }
}

/// Readers that ask for far more than they take: what they are owed is not copied for them without end.
#[test]
fn slow_readers_of_large_values_do_not_grow_the_server() {
    let server = Server::start(&["-t", "2", "-m", "64"]);
    let mut writer = server.connect();
    writer.send(b"set large 0 0 1000000\r\n");
    writer.send(&vec![b'x'; 1_000_000]);
    writer.send(b"\r\n");
    assert_eq!(writer.line(), "STORED");
    let before = server.resident_bytes();
    let mut readers: Vec<_> = (0..50).map(|_| server.connect()).collect();
    // 100 MB are owed to each of 50 readers.
    for reader in &mut readers {
        reader.send("get large\r\n".repeat(100).as_bytes());
    }
    let mut grown = 0;
    for _ in 0..20 {
        is_well(&server);
        grown = grown.max(server.resident_bytes().saturating_sub(before));
    }
    // Each holds what is staged for it, and no copy of what is not.
    assert!(grown < 10 * MIB, "grew by {} MiB for readers that do not read", grown / MIB);
    // One of them reads after all, and gets all of it.
    let reader = &mut readers[0];
    for _ in 0..100 {
        assert_eq!(reader.line(), "VALUE large 0 1000000");
        let value = reader.read_exact(1_000_002);
        assert!(value[..1_000_000].iter().all(|&byte| byte == b'x'));
        assert_eq!(reader.line(), "END");
    }
}

/// A client may die anywhere in a large set: the old value stays, and nothing is lost for good.
#[test]
fn a_client_killed_at_any_stage_of_a_large_set_changes_nothing() {
    const LEN: usize = 1_000_000;
    let server = Server::start(&["-t", "2", "-m", "64"]);
    server.connect().set("key", "old");
    let mut command = format!("set key 0 0 {LEN}\r\n").into_bytes();
    command.resize(command.len() + LEN, b'n');
    let stages = [1, 4, 10, 20, 21, 22, 100, 2048, 16_384, 16_385, 65_536, 500_000, LEN, command.len()];
    for repeat in 0..12 {
        for stage in stages {
            let mut client = server.connect();
            client.send_lossy(&command[..stage]);
            if repeat % 2 == 0 { reset(client) } else { drop(client) }
        }
    }
    let mut client = server.connect();
    assert_eq!(client.get("key").as_deref(), Some("old"));
    // 168 values of 1 MB were begun in 64 MB: their room is there again.
    wait_until("abandoned connections are gone", || server.count("curr_connections") <= 4);
    assert_eq!(server.count("curr_items"), 1);
    command.extend_from_slice(b"\r\n");
    for _ in 0..100 {
        client.send(&command);
        assert_eq!(client.line(), "STORED");
    }
    is_well(&server);
}

#[test]
fn a_pipeline_of_100_000_commands_is_answered_in_order() {
    const COUNT: usize = 100_000;
    let server = Server::start(&["-t", "4"]);
    let client = server.connect();
    let mut writer = client.stream.try_clone().unwrap();
    let mut client = client;
    client.set("n", "0");
    std::thread::scope(|scope| {
        scope.spawn(move || writer.write_all("incr n 1\r\n".repeat(COUNT).as_bytes()).unwrap());
        for number in 1..=COUNT {
            assert_eq!(client.line(), number.to_string());
        }
    });
}

/// All is sent before anything is read: the server stops reading when its answers are not taken, or holds them,
/// but neither loses one nor mixes them up.
#[test]
fn a_pipeline_whose_answers_are_read_late_is_answered_in_full() {
    const COUNT: usize = 20_000;
    let server = Server::start(&["-t", "1"]);
    let mut client = server.connect();
    client.set("key", &"v".repeat(1000));
    let mut writer = client.stream.try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        for number in 0..COUNT {
            writer.write_all(format!("mg key v O{number}\r\n").as_bytes()).unwrap();
        }
    });
    is_well(&server);
    for number in 0..COUNT {
        assert_eq!(client.line(), format!("VA 1000 O{number}"));
        client.read_exact(1002);
    }
    sender.join().unwrap();
}

#[test]
fn a_multiget_of_10_000_keys_is_answered_in_full() {
    const COUNT: usize = 10_000;
    let server = Server::start(&["-t", "4"]);
    let mut client = server.connect();
    let mut sets = String::new();
    let mut get = "get".to_owned();
    for number in 0..COUNT {
        write!(sets, "set multi:{number} 0 0 5 noreply\r\n{number:05}\r\n").unwrap();
        write!(get, " multi:{number} none:{number}").unwrap();
    }
    client.send(sets.as_bytes());
    client.send(get.as_bytes());
    client.send(b"\r\n");
    for number in 0..COUNT {
        assert_eq!(client.line(), format!("VALUE multi:{number} 0 5"));
        assert_eq!(client.line(), format!("{number:05}"));
    }
    assert_eq!(client.line(), "END");
}

#[test]
fn a_storm_of_2000_connections_is_served() {
    let server = Server::start(&["-t", "4", "-c", "4096"]);
    let mut clients: Vec<_> = (0..2000).map(|_| server.connect()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(format!("set storm:{number} 0 0 1\r\n1\r\nget storm:{number}\r\n").as_bytes());
    }
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.line(), "STORED", "connection {number}");
        assert_eq!(client.line(), format!("VALUE storm:{number} 0 1"));
        assert_eq!(client.line(), "1");
        assert_eq!(client.line(), "END");
    }
    assert!(server.count("curr_connections") >= 2000);
    // Half say goodbye, half are cut off.
    for (number, client) in clients.into_iter().enumerate() {
        if number % 2 == 0 { drop(client) } else { reset(client) }
    }
    wait_until("they are gone", || server.count("curr_connections") < 10);
    is_well(&server);
}

/// One after the other: no descriptor, no place and no memory is left behind.
#[test]
fn ten_thousand_connections_in_turn_leave_nothing() {
    const COUNT: usize = 10_000;
    let server = Server::start(&["-t", "2", "-c", "64"]);
    let mut old = server.connect();
    assert_eq!(old.ask("mn"), "MN");
    let mut before = 0;
    for number in 0..COUNT {
        let mut client = server.connect();
        // Asked, asked and cut off, cut off at once.
        match number % 3 {
            0 => assert_eq!(client.ask("mn"), "MN"),
            1 => {
                client.send(b"get key\r\n");
                assert_eq!(client.line(), "END");
                reset(client);
            }
            _ => reset(client),
        }
        if number == COUNT / 10 {
            before = server.resident_bytes();
        }
    }
    wait_until("they are gone", || server.count("curr_connections") <= 3);
    let grown = server.resident_bytes().saturating_sub(before);
    assert!(grown < 4 * MIB, "grew by {grown} bytes over {COUNT} connections");
    assert_eq!(old.ask("mn"), "MN");
    is_well(&server);
}

/// The longest that is allowed works, one byte more gets its error, and the connection goes on with the next command.
#[test]
fn at_and_over_each_limit_the_next_command_is_served() {
    let server = Server::start(&["-t", "1", "-I", "64k", "-o", "slab_chunk_max=32"]);
    let mut client = server.connect();
    let (key, over) = ("k".repeat(250), "k".repeat(251));
    assert_eq!(client.ask(&format!("set {key} 0 0 1\r\nx")), "STORED");
    assert_eq!(client.get(&key).as_deref(), Some("x"));
    assert_eq!(client.ask(&format!("get {over}")), "CLIENT_ERROR bad command line format");
    assert_eq!(client.ask(&format!("mg {over} v")), "CLIENT_ERROR bad command line format");
    let mut longest = 0;
    for bytes in 65_400..65_537 {
        let told = client.ask(&format!("set size 0 0 {bytes}\r\n{}", "v".repeat(bytes)));
        match told.as_str() {
            "STORED" => longest = bytes,
            "SERVER_ERROR object too large for cache" => {
                assert_eq!(client.get("size"), None, "what it would have replaced is gone");
            }
            other => panic!("{bytes} bytes: {other}"),
        }
    }
    // 48 bytes of memcached's item head, the key, the line end, and their zeros.
    assert!((65_460..65_500).contains(&longest), "{longest}");
    assert_eq!(client.ask(&format!("set size 0 0 {longest}\r\n{}", "v".repeat(longest))), "STORED");
    assert_eq!(client.get("size").map(|value| value.len()), Some(longest));
    // A line of 2,048 bytes is read; a longer one ends the connection.
    let opaque = "x".repeat(2048 - "mn ".len());
    client.send(format!("mn {opaque}\r\n").as_bytes());
    assert_eq!(client.ask("mn"), "MN");
    assert_eq!(client.line(), "MN");
    client.send_lossy(format!("delete {}", "y".repeat(20_000)).as_bytes());
    let told = String::from_utf8(client.read_to_end()).unwrap();
    assert!(told.is_empty() || told.ends_with("\r\n"), "{told}");
    is_well(&server);
}

/// -c: who comes when all places are taken is told so; when places are free again, the next is served.
#[test]
fn connections_over_the_limit_are_refused_with_a_word() {
    const LIMIT: usize = 100;
    let server = Server::start(&["-t", "2", "-c", "100"]);
    let mut served = Vec::new();
    let mut refused = 0;
    for _ in 0..LIMIT + 40 {
        let mut client = server.connect();
        client.send_lossy(b"mn\r\n");
        let line = client.read_line_or_end();
        if line == "MN" {
            served.push(client);
        } else {
            assert!(line == "ERROR Too many open connections" || line.is_empty(), "{line}");
            refused += 1;
        }
    }
    assert!(served.len() <= LIMIT, "{} served with -c {LIMIT}", served.len());
    assert!(served.len() >= LIMIT / 2, "only {} served with -c {LIMIT}", served.len());
    assert!(refused >= 40, "{refused} refused");
    for client in &mut served {
        assert_eq!(client.ask("mn"), "MN");
    }
    served.truncate(10);
    wait_until("places are free again", || {
        let mut client = server.connect();
        client.send_lossy(b"mn\r\n");
        client.read_line_or_end() == "MN"
    });
    assert!(server.count("rejected_connections") >= 40);
}

/// A client that resets while the server is sending to it.
#[test]
fn resets_amid_large_answers_do_no_harm() {
    let server = Server::start(&["-t", "4"]);
    let mut client = server.connect();
    client.set("large", &"x".repeat(1_000_000));
    for _ in 0..100 {
        let mut client = server.connect();
        client.send("get large\r\n".repeat(20).as_bytes());
        let mut some = [0; 1000];
        client.stream.read_exact(&mut some).unwrap();
        reset(client);
    }
    is_well(&server);
    wait_until("they are gone", || server.count("curr_connections") < 10);
    // What was pinned for them can be overwritten again and again.
    for _ in 0..200 {
        client.set("large", &"y".repeat(1_000_000));
    }
}

/// With -M what does not fit is refused, what needs no more than it frees is not, no refusal takes the old value, and
/// deleting makes room.
#[test]
fn a_full_server_without_eviction_says_so() {
    let server = Server::start(&["-t", "2", "-m", "64", "-M"]);
    let mut client = server.connect();
    let value = "x".repeat(100_000);
    client.set("full:number", "0");
    let mut stored = 0;
    let refusal = loop {
        let told = client.ask(&format!("set full:{stored} 0 0 100000\r\n{value}"));
        if told != "STORED" {
            break told;
        }
        stored += 1;
        assert!(stored < 1000, "100 MB in 64 MB");
    };
    assert_eq!(refusal, "SERVER_ERROR out of memory storing object");
    assert!(stored > 300, "only {stored} values of 100 kB in 64 MB");
    for number in 0..stored {
        assert_eq!(client.get(&format!("full:{number}")).map(|value| value.len()), Some(100_000), "{number}");
    }
    // A set, a datum that is received as it comes, a counter, a mark.
    for number in 0..20 {
        assert_eq!(client.ask(&format!("set full:{number} 0 0 100000\r\n{value}")), "STORED");
    }
    assert_eq!(client.ask("ma full:number"), "HD");
    assert_eq!(client.ask("incr full:number 1"), "2");
    assert_eq!(client.ask("md full:1 I"), "HD");
    for (bytes, refusal) in [
        (300_000, "SERVER_ERROR out of memory storing object"),
        (2_000_000, "SERVER_ERROR object too large for cache"),
    ] {
        let longer = "y".repeat(bytes);
        assert_eq!(client.ask(&format!("set full:0 0 0 {bytes}\r\n{longer}")), refusal);
        assert_eq!(client.ask(&format!("ms full:0 {bytes}\r\n{longer}")), refusal);
        assert_eq!(client.get("full:0").map(|value| value.len()), Some(100_000));
    }
    assert!(server.count("store_no_memory") >= 3);
    assert_eq!(server.count("evictions"), 0);
    for number in 1..stored {
        assert_eq!(client.ask(&format!("delete full:{number}")), "DELETED");
    }
    for number in 0..stored / 2 {
        assert_eq!(client.ask(&format!("set again:{number} 0 0 100000\r\n{value}")), "STORED");
    }
}

/// Ten times as much as fits: everything is accepted, the newest is there, memory stays within bounds.
#[test]
fn an_overfilled_server_evicts_and_stays_in_its_memory() {
    let server = Server::start(&["-t", "4", "-m", "64"]);
    let mut client = server.connect();
    let value = "e".repeat(10_000);
    let writer = &mut client;
    for batch in 0..64 {
        let mut sets = String::new();
        for number in 0..1000 {
            write!(sets, "set evict:{batch}:{number} 0 0 10000 noreply\r\n{value}\r\n").unwrap();
        }
        writer.send(sets.as_bytes());
        assert_eq!(writer.ask("mn"), "MN");
    }
    assert_eq!(client.get("evict:63:999").map(|value| value.len()), Some(10_000));
    assert!(server.count("evictions") > 40_000, "{} evictions", server.count("evictions"));
    let resident = server.resident_bytes();
    // As promised: 1.08 times -m, 8 MB, and 2.5 MB for each ring.
    let most = 64 * MIB / 100 * 108 + 8_000_000 + 4 * 2_500_000;
    assert!(resident < most, "{resident} bytes resident with -m 64");
}
