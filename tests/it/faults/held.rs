//! Memory that slow clients hold: values that are sent to readers who do not read, and values that do not come. Others keep
//! their items, and their sets are stored.

use std::fmt::Write as _;
use std::io::Read as _;
use std::net::TcpStream;
use std::os::fd::AsRawFd;

use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrIn, sockopt};

use crate::harness::{Client, Dialect, Server, TempDir, dialect, wait_until};

/// A client whose machine takes little before it has to read.
pub fn small_reader(server: &Server) -> Client {
    let (family, flags) = (AddressFamily::Inet, SockFlag::SOCK_CLOEXEC);
    let socket = socket::socket(family, SockType::Stream, flags, None).unwrap();
    socket::setsockopt(&socket, sockopt::RcvBuf, &4096).unwrap();
    socket::connect(socket.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, server.port)).unwrap();
    Client::over(TcpStream::from(socket))
}

/// Stores `keys`, each with `bytes` of its number's last digit.
fn fill(client: &mut Client, name: &str, keys: usize, bytes: usize) {
    for number in 0..keys {
        store(client, &format!("{name}-{number}"), &value(number, bytes));
    }
}

fn value(number: usize, bytes: usize) -> String {
    (number % 10).to_string().repeat(bytes)
}

fn store(client: &mut Client, key: &str, value: &str) {
    assert_eq!(client.ask(&format!("set {key} 0 0 {}\r\n{value}", value.len())), "STORED", "{key}");
}

/// Which of the keys are there, without using them.
fn present(client: &mut Client, name: &str, keys: usize) -> Vec<usize> {
    let is_there = |number: &usize| client.ask(&format!("mg {name}-{number} s")) != "EN";
    (0..keys).filter(is_there).collect()
}

/// 12 readers asked for values of 6 KB from all segments and read nothing. Each value in flight held its segment, whose items
/// were evicted and gave nothing: of 10,600 items 1,700 were left after 2,000 sets.
#[test]
fn readers_that_do_not_read_cost_nobody_an_item() {
    const KEYS: usize = 12_000;
    const READERS: usize = 12;
    let server = Server::start(&["-t", "1", "-m", "64"]);
    let mut client = server.connect();
    fill(&mut client, "key", KEYS, 6_000);
    let keys = present(&mut client, "key", KEYS);
    let before = client.count("curr_items");
    let mut readers: Vec<_> = (0..READERS).map(|_| small_reader(&server)).collect();
    for (number, reader) in readers.iter_mut().enumerate() {
        let mut get = String::from("get");
        for place in 0..64 {
            write!(get, " key-{}", keys[(place * keys.len() / 64 + number * 13) % keys.len()]).unwrap();
        }
        reader.send(format!("{get}\r\n").repeat(8).as_bytes());
    }
    wait_until("the readers have been served once", || client.count("get_hits") >= 64 * READERS as u64);
    fill(&mut client, "new", 2_000, 6_000);
    let after = client.count("curr_items");
    assert!(after * 100 > before * 97, "of {before} items {after} are left");
    fill(&mut client, "large", 10, 500_000);
    // They read after all, and get what they asked for, but for what had been evicted when their turn came.
    for reader in &mut readers {
        for _ in 0..8 {
            loop {
                let line = reader.line();
                if line == "END" {
                    break;
                }
                let number: usize = line[10..].split(' ').next().unwrap().parse().unwrap();
                assert_eq!(reader.read_exact(6_002), format!("{}\r\n", value(number, 6_000)).as_bytes());
            }
        }
    }
}

/// 60 clients asked for values of 1 MB and read nothing: once none of them could be evicted any more, each set of a large
/// value was refused. Such values hold a bounded part of memory, and clients that take nothing of them are closed.
#[test]
fn readers_of_large_values_that_do_not_read_are_closed() {
    let server = Server::start(&["-t", "1", "-m", "64"]);
    let mut client = server.connect();
    fill(&mut client, "large", 70, 1_000_000);
    let keys = present(&mut client, "large", 70);
    let mut readers: Vec<_> = keys.iter().map(|_| small_reader(&server)).collect();
    for (key, reader) in keys.iter().zip(&mut readers) {
        reader.send(format!("get large-{key}\r\n").repeat(9).as_bytes());
    }
    wait_until("they have been served", || client.count("get_hits") >= keys.len() as u64);
    let pending = |client: &mut Client| client.stats("stats memory")["pending_bytes"].parse::<u64>().unwrap();
    // Everything is overwritten: what readers hold of the old versions is dead.
    for key in &keys {
        store(&mut client, &format!("large-{key}"), &"n".repeat(1_000_000));
    }
    let held = pending(&mut client);
    assert!(held <= 41 << 20, "{held} bytes are held");
    fill(&mut client, "small", 1_000, 1_000);
    fill(&mut client, "more", 20, 500_000);
    // A client that reads is served as ever.
    assert_eq!(client.get("more-19").map(|value| value.len()), Some(500_000));
    wait_until("they are closed", || pending(&mut client) <= 9 << 20);
    assert_eq!(client.get("more-19").map(|value| value.len()), Some(500_000));
    // Each reply is of one version, or is cut off.
    for (key, reader) in keys.iter().zip(&mut readers) {
        for _ in 0..9 {
            let line = reader.read_line_or_end();
            if line.is_empty() || line == "END" {
                break;
            }
            let Some(value) = reader.read_if_whole(1_000_002) else { break };
            let first = value[0];
            assert!(first == b'n' || first == b'0' + (key % 10) as u8);
            assert!(value[..1_000_000].iter().all(|&byte| byte == first), "large-{key} is of one version");
            assert_eq!(reader.read_line_or_end(), "END");
        }
    }
}

/// A server, and readers that hold old versions of its large values: of 26 values of 900 KB, beside 3,000 of 6 KB.
fn overwritten_in_flight(args: &[&str]) -> (Server, Client, Vec<Client>) {
    let server = Server::start(&[&["-t", "2", "-m", "64", "-U", "0"], args].concat());
    let mut client = server.connect();
    fill(&mut client, "large", 26, 900_000);
    fill(&mut client, "other", 3_000, 6_000);
    let mut readers: Vec<_> = (0..104).map(|_| small_reader(&server)).collect();
    for (number, reader) in readers.iter_mut().enumerate() {
        reader.send(format!("get large-{}\r\n", number % 26).repeat(9).as_bytes());
    }
    let pins = |client: &mut Client| client.stats("stats memory")["pins"].parse::<u64>().unwrap();
    wait_until("they are being served", || pins(&mut client) >= 104);
    for digit in ["n", "m"] {
        for number in 0..26 {
            store(&mut client, &format!("large-{number}"), &digit.repeat(900_000));
        }
    }
    (server, client, readers)
}

/// Versions of large values that readers held and others overwrote counted as used for as long: 22 of 26 new versions were
/// evicted, and with -M 28 of 52 sets were refused.
#[test]
fn old_versions_that_readers_hold_cost_nobody_an_item() {
    for args in [&[][..], &["-M"]] {
        let (server, mut client, readers) = overwritten_in_flight(args);
        let memory =
            |client: &mut Client, name: &str| client.stats("stats memory")[name].parse::<usize>().unwrap();
        let held = memory(&mut client, "held_bytes");
        assert!(held > 16 << 20, "{held} bytes are held");
        assert!(server.resident_bytes() < memory(&mut client, "promised_bytes"));
        assert_eq!(present(&mut client, "large", 26).len(), 26);
        assert_eq!(present(&mut client, "other", 3_000).len(), 3_000);
        assert_eq!(client.count("evictions"), 0);
        wait_until("they are closed", || memory(&mut client, "held_bytes") == 0);
        wait_until("their memory is the kernel's", || {
            server.resident_bytes() < memory(&mut client, "promised_bytes")
        });
        drop(readers);
    }
}

/// Readers that take a byte now and then keep old versions no longer than others.
#[test]
fn old_versions_that_readers_take_slowly_are_let_go() {
    let (_server, mut client, mut readers) = overwritten_in_flight(&[]);
    for reader in &readers {
        reader.stream.set_nonblocking(true).unwrap();
    }
    wait_until("they are closed", || {
        for reader in &mut readers {
            // As much as there is, if that is little.
            let _ = reader.stream.read(&mut [0; 16]);
        }
        let held: u64 = client.stats("stats memory")["held_bytes"].parse().unwrap();
        held <= 8 << 20
    });
}

/// Values of several megabytes were sent in parts as soon as readers held an eighth of memory, and a reader whose value was
/// replaced meanwhile was cut off in the middle of its reply, however fast it read.
#[test]
fn readers_that_read_get_whole_values_while_others_replace_them() {
    const BYTES: usize = 4_000_000;
    let server = Server::start(&["-t", "2", "-m", "64", "-I", "8m"]);
    let mut writer = server.connect();
    let keys: Vec<_> = (0..4).map(|n| format!("large-{n}")).collect();
    for key in &keys {
        store(&mut writer, key, &"0".repeat(BYTES));
    }
    let readers: Vec<_> = (0..6)
        .map(|n| {
            let (mut reader, keys) = (server.connect(), keys.clone());
            std::thread::spawn(move || {
                for round in 0..15 {
                    let value = reader.get(&keys[(n + round) % keys.len()]).expect("a value");
                    let first = value.as_bytes()[0];
                    assert!(value.len() == BYTES && value.bytes().all(|byte| byte == first));
                }
            })
        })
        .collect();
    let mut round = 0;
    while readers.iter().any(|reader| !reader.is_finished()) {
        round += 1;
        store(&mut writer, &keys[round % keys.len()], &(round % 10).to_string().repeat(BYTES));
    }
    for reader in readers {
        reader.join().expect("each reply is whole");
    }
}

/// A value that may not be pinned goes out in parts of 64 KiB. All of them come, in every protocol, and what follows it.
#[test]
fn values_that_may_not_be_pinned_arrive_whole() {
    let server = Server::start(&["-t", "1", "-m", "64"]);
    let mut client = server.connect();
    fill(&mut client, "large", 50, 1_000_000);
    // Fifty that do not read hold all that may be held.
    let mut holders: Vec<_> = (0..50).map(|_| small_reader(&server)).collect();
    for (number, holder) in holders.iter_mut().enumerate() {
        holder.send(format!("get large-{number}\r\n").repeat(9).as_bytes());
    }
    let pins = |client: &mut Client| client.stats("stats memcrsd")["memcrsd_pins"].parse::<u64>().unwrap();
    wait_until("they hold their share", || pins(&mut client) >= 38);
    let expected = value(15, 1_000_000);
    for _ in 0..3 {
        client.send(b"get large-15 large-16 none\r\nmg large-15 v k\r\nmn\r\n");
        for number in [15, 16] {
            assert_eq!(client.line(), format!("VALUE large-{number} 0 1000000"));
            assert!(client.line() == value(number, 1_000_000), "large-{number}");
        }
        assert_eq!(client.line(), "END");
        assert_eq!(client.line(), "VA 1000000 klarge-15");
        assert!(client.line() == expected, "meta");
        assert_eq!(client.line(), "MN");
    }
    let mut packets = server.connect();
    let mut packet = [0_u8; 24];
    (packet[0], packet[3], packet[11]) = (0x80, 8, 8);
    packets.send(&[&packet[..], b"large-15"].concat().repeat(2));
    for _ in 0..2 {
        assert_eq!(packets.read_exact(28)[..2], [0x81, 0]);
        assert!(packets.read_exact(1_000_000) == expected.as_bytes(), "binary");
    }
}

/// 60 clients announced 1 MB each and sent 300 bytes: item memory for all of it was reserved, and of 10,600 items 1,000 were
/// left. Beyond an eighth of memory a value gets room as it comes.
#[test]
fn announced_values_that_do_not_come_cost_an_eighth_of_memory() {
    let server = Server::start(&["-t", "1", "-m", "64"]);
    let mut client = server.connect();
    fill(&mut client, "key", 12_000, 6_000);
    let before = client.count("curr_items");
    let mut uploads: Vec<_> = (0..60).map(|_| server.connect()).collect();
    for (number, upload) in uploads.iter_mut().enumerate() {
        upload.send(format!("set upload-{number} 0 0 1000000\r\n{}", "u".repeat(300)).as_bytes());
    }
    let is_receiving = |client: &mut Client| {
        client
            .stats("stats conns")
            .iter()
            .filter(|(name, state)| name.ends_with(":state") && *state == "conn_nread")
            .count()
    };
    wait_until("they are being received", || is_receiving(&mut client) >= 60);
    fill(&mut client, "new", 1_000, 6_000);
    let after = client.count("curr_items");
    assert!(after * 100 > before * 85, "of {before} items {after} are left");
    // Others' large values are stored meanwhile, and so are these when they come after all.
    fill(&mut client, "large", 5, 500_000);
    for upload in &mut uploads {
        upload.send("u".repeat(1_000_000 - 300).as_bytes());
        upload.send(b"\r\n");
        assert_eq!(upload.line(), "STORED");
    }
}

/// Values of 12 KB that stop half-way once held the segment they were being received into, each another one in the end.
#[test]
fn small_values_that_do_not_come_hold_no_segments() {
    let server = Server::start(&["-t", "1", "-m", "64", "-c", "2048"]);
    let mut client = server.connect();
    fill(&mut client, "key", 12_000, 6_000);
    let before = client.count("curr_items");
    let mut uploads = Vec::new();
    for number in 0..600 {
        let mut upload = server.connect();
        upload.send(format!("set upload-{number} 0 0 12000\r\n{}", "u".repeat(6_000)).as_bytes());
        uploads.push(upload);
        // So that the next one comes to lie in another segment.
        fill(&mut client, &format!("between-{number}"), 20, 6_000);
    }
    fill(&mut client, "new", 2_000, 6_000);
    let after = client.count("curr_items");
    assert!(after * 100 > before * 80, "of {before} items {after} are left");
    fill(&mut client, "large", 5, 500_000);
}

/// A client that does not read its replies was not idle, however long: its command had not ended.
#[test]
fn the_idle_timeout_ends_a_reader_that_does_not_read() {
    let server = Server::start(&["-t", "1", "-o", "idle_timeout=1"]);
    server.connect().set("large", &"v".repeat(1_000_000));
    let mut reader = small_reader(&server);
    reader.send("get large\r\n".repeat(20).as_bytes());
    wait_until("it is closed", || server.count("idle_kicks") == 1);
}

/// Values of 30,000 bytes under `key-0`, `key-1`, …, most of them on flash.
fn values_on_flash() -> (TempDir, Server, Client) {
    let dir = TempDir::new();
    let tier = format!("ext_path={}:64m,ext_recache_rate=0", dir.path().join("flash").display());
    let server = Server::start(&["-t", "1", "-m", "8", "-U", "0", "-o", &tier]);
    let mut client = server.connect();
    fill(&mut client, "key", 1_000, 30_000);
    (dir, server, client)
}

/// Readers of those values, and far more of them than fit what they take.
fn readers_from_flash(server: &Server) -> Vec<Client> {
    let keys: String = (0..200).map(|number| format!(" key-{number}")).collect();
    let reader = |_| {
        let mut reader = small_reader(server);
        reader.send(format!("get{keys}\r\n").repeat(4).as_bytes());
        reader
    };
    (0..20).map(reader).collect()
}

/// All is as it was before those readers came.
fn is_as_before(client: &mut Client) {
    for number in 0..20 {
        assert!(client.get(&format!("key-{number}")) == Some(value(number, 30_000)), "as before");
    }
}

/// Readers who take nothing hold the values that were read for them, up to a bound: others get theirs late or not, and as before
/// when those readers have been closed.
#[test]
fn readers_that_do_not_read_leave_flash_to_others() {
    if dialect() == Dialect::Memcached {
        return;
    }
    let (_dir, server, mut client) = values_on_flash();
    let resident = server.resident_bytes();
    let readers = readers_from_flash(&server);
    wait_until("values are left out", || client.count("get_oom_extstore") > 0);
    for number in 0..20 {
        let found = client.get(&format!("key-{number}"));
        assert!(found.is_none_or(|found| found == value(number, 30_000)), "right or missing");
    }
    assert!(server.resident_bytes() < resident + (32 << 20), "{} then {}", resident, server.resident_bytes());
    wait_until("who holds most is closed", || client.count("curr_connections") <= 20);
    drop(readers);
    is_as_before(&mut client);
}

/// Readers who take a few bytes now and then are not silent, and hold the values that were read for them all the same: while
/// others wait for that memory, they are closed as those are that take nothing.
#[test]
fn readers_that_trickle_leave_flash_to_others() {
    if dialect() == Dialect::Memcached {
        return;
    }
    let (_dir, server, mut client) = values_on_flash();
    let mut readers = readers_from_flash(&server);
    for reader in &readers {
        reader.stream.set_nonblocking(true).unwrap();
    }
    wait_until("values are left out", || client.count("get_oom_extstore") > 0);
    wait_until("who holds most is closed", || {
        for reader in &mut readers {
            // As much as there is, if that is little.
            let _ = reader.stream.read(&mut [0; 16]);
        }
        client.count("curr_connections") <= 20
    });
    drop(readers);
    is_as_before(&mut client);
}
