//! `--copy-from`: from memcached, from another memcrsd, and from scripted servers that stop, lie, or wait for what clients do.

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::thread;

use crate::harness::{Client, Server, TempDir, program, reference, wait_until};

/// The line about the end of the copy, once there is one.
fn outcome(server: &Server) -> String {
    let ends = |line: &&str| line.starts_with("copied from ") || line.starts_with("stopped copying from ");
    let mut found = None;
    wait_until("the copy ends", || {
        found = server.stderr().lines().find(ends).map(str::to_owned);
        found.is_some()
    });
    found.unwrap()
}

/// What stands after the time in the line about the end.
fn result(server: &Server) -> String {
    outcome(server).split_once(" s: ").unwrap().1.to_owned()
}

/// What `stats memcrsd` says of the copy: its state, items, and the rest by name.
fn state(client: &mut Client) -> Vec<String> {
    let stats = client.stats("stats memcrsd");
    let of_copy = stats.iter().filter_map(|(name, value)| Some((name.strip_prefix("memcrsd_copy_")?, value)));
    let mut lines: Vec<_> = of_copy.map(|(name, value)| format!("{name} {value}")).collect();
    lines.sort_by_key(|line| (!line.starts_with("state"), !line.starts_with("items"), line.clone()));
    lines
}

fn start_copy(from: u16, flags: &[&str]) -> Server {
    let from = format!("127.0.0.1:{from}");
    Server::start(&[&["--copy-from", &from], flags].concat())
}

/// A binary set of `key`.
fn packet(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, 1, 0, key.len() as u8, 8, 0, 0, 0];
    packet.extend(((8 + key.len() + value.len()) as u32).to_be_bytes());
    packet.extend([0; 12]);
    packet.extend([0, 0, 0, 5, 0, 0, 0, 0]);
    packet.extend(key);
    packet.extend(value);
    packet
}

/// What `mg` tells of an item; its TTL is left out, since it runs.
fn told(client: &mut Client, key: &str) -> String {
    let head = client.ask(&format!("mg {key} s f k v"));
    if head == "EN" {
        return head;
    }
    let bytes: usize = head.split(' ').nth(1).unwrap().parse().unwrap();
    let value = client.read_exact(bytes + 2);
    format!("{head} {}", value.escape_ascii())
}

fn ttl(client: &mut Client, key: &str) -> i64 {
    client.ask(&format!("mg {key} t")).strip_prefix("HD t").unwrap().parse().unwrap()
}

/// Keys as `mg` takes them, of items of all kinds that are then in the server.
fn fill(server: &Server) -> Vec<String> {
    let mut client = server.connect();
    let mut keys: Vec<_> =
        ["plain", "empty", "flags", "100%", "k=v&%20", "\u{fc}", "ttl", "far", "big", "YWJj b"]
            .map(str::to_owned)
            .into();
    for (key, flags, value) in [
        ("plain", "", "value"),
        ("empty", "", ""),
        ("flags", "F4294967295", "\r\nEND\r\n"),
        ("100%", "", "1"),
        ("k=v&%20", "", "2"),
        ("\u{fc}", "", "3"),
        ("ttl", "T1000", "4"),
        ("far", "T2000000000", "5"),
        ("YWJj", "b F3", "binary"),
        ("c3RhbGU=", "b I", "x"),
        ("big", "F1", &"0123456789".repeat(100_000)),
    ] {
        let reply = client.ask(&format!("ms {key} {} {flags}\r\n{value}", value.len()));
        assert_eq!(reply, "HD", "{key}");
    }
    // A key that only the binary protocol takes as it is; in base64 for mg.
    let mut binary = server.connect();
    binary.send(&packet(b"a b", b"spaced"));
    assert_eq!(binary.read_exact(24)[..8], [0x81, 1, 0, 0, 0, 0, 0, 0]);
    keys.push("YSBi b".to_owned());
    for number in 0..2000 {
        let key = format!("many:{number}");
        client.send(format!("ms {key} 4 q T{}\r\n{number:04}\r\n", 5000 + number).as_bytes());
        keys.push(key);
    }
    assert_eq!(client.ask("mn"), "MN");
    keys
}

fn copies_all_from(program: &Path) {
    let source = Server::start_program(program, &["-m", "64", "-t", "2"], TempDir::new());
    let keys = fill(&source);
    let copy = start_copy(source.port, &["--copy-rate", "0", "-t", "2"]);
    let (mut from, mut to) = (source.connect(), copy.connect());
    let end = result(&copy);
    assert!(end.starts_with(&format!("{} items, 1.0 MB of values", keys.len() + 1)), "{end}");
    for key in &keys {
        let expected = told(&mut from, key).replace("ka b ", "kYSBi b ");
        let found = told(&mut to, key);
        assert!(found == expected, "{key}: {found:.200} instead of {expected:.200}");
    }
    assert!((900..=1000).contains(&ttl(&mut to, "ttl")));
    assert!((ttl(&mut to, "far") - ttl(&mut from, "far")).abs() < 60, "an absolute time");
    assert_eq!(ttl(&mut to, "plain"), -1);
    assert!((5000..7000).contains(&ttl(&mut to, "many:1999")));
}

#[test]
fn items_of_memcached_are_copied() {
    if let Some(memcached) = reference() {
        copies_all_from(memcached);
    }
}

#[test]
fn items_of_memcrsd_are_copied() {
    copies_all_from(program());
}

/// A scripted server: the connection for items, then the one for keys.
struct Script {
    listener: TcpListener,
}

impl Script {
    fn new() -> Self {
        Self { listener: TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap() }
    }

    fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }

    fn accept(&self) -> Client {
        Client::over(self.listener.accept().unwrap().0)
    }

    /// Lists `keys`; the connection on which they are then asked for.
    fn list(&self, keys: &[&str]) -> Client {
        let mut items = self.accept();
        assert_eq!(items.line(), "stats");
        items.send(format!("STAT pid 1\r\nSTAT curr_items {}\r\nEND\r\n", keys.len()).as_bytes());
        let mut dump = self.accept();
        assert_eq!(dump.line(), "lru_crawler metadump hash");
        dump.send(b"OK\r\n");
        for key in keys {
            dump.send(format!("key={key} exp=-1 la=1 cas=1 fetch=no cls=1 size=60 flags=0\n").as_bytes());
        }
        dump.send(b"END\r\n");
        for key in keys {
            assert_eq!(items.line(), format!("mg {key} k f t v"));
        }
        items
    }
}

/// Whatever a client has done to a key while the copy ran is newer than what the copy brings, also if it has left nothing.
#[test]
fn what_clients_write_wins() {
    let script = Script::new();
    let copy = start_copy(script.port(), &["-t", "2"]);
    let keys = [
        "set", "deleted", "absent", "flagged", "added", "counted", "touched", "refused", "expired", "large",
        "read", "missed",
    ];
    let mut items = script.list(&keys);
    let (mut client, mut other) = (copy.connect(), copy.connect());
    client.set("set", "mine");
    client.set("deleted", "mine");
    assert_eq!(other.ask("delete deleted"), "DELETED");
    assert_eq!(other.ask("delete absent"), "NOT_FOUND");
    assert_eq!(other.ask("md flagged"), "NF");
    assert_eq!(other.ask("add added 0 0 4\r\nmine"), "STORED");
    assert_eq!(other.ask("ma counted N0 J7 v"), "VA 1");
    assert_eq!(other.line(), "7");
    assert_eq!(other.ask("touch touched 0"), "NOT_FOUND");
    let over = format!("set refused 0 0 {}\r\n{}", 2 << 20, "x".repeat(2 << 20));
    assert_eq!(other.ask(&over), "SERVER_ERROR object too large for cache");
    assert_eq!(other.ask("set expired 0 -1 4\r\nmine"), "STORED");
    client.set("large", "mine");
    assert_eq!(client.get("read"), None);
    assert_eq!(other.ask("mg missed v"), "EN");
    let large = "o".repeat(500_000);
    for key in keys {
        let value = if key == "large" { &large } else { "old" };
        items.send(format!("VA {} k{key} f1 t-1\r\n{value}\r\n", value.len()).as_bytes());
    }
    assert_eq!(result(&copy), "2 items, 0.0 MB of values; left out: 10 written here meanwhile");
    let found = keys.map(|key| client.get(key).unwrap_or_default());
    assert_eq!(found, ["mine", "", "", "", "mine", "7", "", "", "", "mine", "old", "old"]);
}

/// A value that is on its way when its key is deleted is not stored, nor is one that nobody has deleted refused.
#[test]
fn what_clients_write_in_the_middle_of_a_value_wins() {
    let script = Script::new();
    let copy = start_copy(script.port(), &[]);
    let mut items = script.list(&["a", "b"]);
    let mut client = copy.connect();
    let half = "v".repeat(200_000);
    items.send(format!("VA 400000 ka f0 t-1\r\n{half}").as_bytes());
    wait_until("the value is being received", || client.stats("stats memory")["drafts"] == "1");
    assert_eq!(client.ask("delete a"), "NOT_FOUND");
    items.send(format!("{half}\r\nVA 400000 kb f0 t-1\r\n{half}{half}\r\n").as_bytes());
    assert_eq!(result(&copy), "1 items, 0.4 MB of values; left out: 1 written here meanwhile");
    assert_eq!(client.get("a"), None);
    assert_eq!(client.get("b").map(|value| value.len()), Some(400_000));
    assert_eq!(client.stats("stats memory")["drafts"], "0");
}

/// After the copy, too, nothing of it is left that would refuse or remember.
#[test]
fn a_flush_ends_the_copy() {
    let script = Script::new();
    let copy = start_copy(script.port(), &[]);
    let keys: Vec<String> = (0..300).map(|number| format!("k{number}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let mut client = copy.connect();
    let ghosts = client.stats("stats memory")["ghosts_bytes"].clone();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut items = script.accept();
            assert_eq!(items.line(), "stats");
            items.send(b"STAT curr_items 300\r\nEND\r\n");
            let mut dump = script.accept();
            dump.line();
            for key in &keys {
                dump.send(format!("key={key} exp=-1\n").as_bytes());
            }
            for key in &keys[..256] {
                assert_eq!(items.line(), format!("mg {key} k f t v"));
            }
            assert_eq!(copy.connect().ask("flush_all"), "OK");
            for key in &keys[..256] {
                items.send(format!("VA 1 k{key} f0 t-1\r\n1\r\n").as_bytes());
            }
            dump.send(b"END\r\n");
            assert!(outcome(&copy).contains("flush_all has been called here"), "{}", outcome(&copy));
        });
    });
    assert_eq!(client.count("curr_items"), 0);
    assert_ne!(client.stats("stats memory")["ghosts_bytes"], ghosts, "what is remembered is accounted for");
    client.set("k1", "1");
    assert_eq!(client.get("k1").as_deref(), Some("1"));
}

#[test]
fn what_cannot_be_stored_is_left_out() {
    let script = Script::new();
    let copy = start_copy(script.port(), &["-I", "512k"]);
    let mut items = script.list(&["gone", "big", "stale", "ending", "refused", "fine"]);
    let mut client = copy.connect();
    assert_eq!(state(&mut client)[..2], ["state running", "items 0"]);
    let value = "v".repeat(700_000);
    items.send(b"EN\r\n");
    items.send(format!("VA 700000 kbig f0 t-1\r\n{value}\r\n").as_bytes());
    items.send(b"VA 1 kstale f0 t-1 W X\r\n1\r\nVA 1 kending f0 t0\r\n1\r\n");
    items.send(b"SERVER_ERROR out of memory writing get response\r\n");
    items.send(b"VA 1 kfine f9 t-1\r\n1\r\n");
    assert_eq!(
        result(&copy),
        "1 items, 0.0 MB of values; left out: 2 gone from there, 1 stale, 1 too large, 1 refused there"
    );
    assert_eq!(told(&mut client, "fine"), "VA 1 s1 f9 kfine 1\\r\\n");
    assert_eq!(client.count("curr_items"), 1);
    let left_out = ["gone 2", "refused 1", "stale 1", "superseded 0", "too_large 1", "value_bytes 1"];
    let mut expected = vec!["state done", "items 1", "items_expected 6"];
    expected.extend(left_out);
    assert_eq!(state(&mut client), expected);
}

/// With -M the copy stops when memory is full, and takes nothing away.
#[test]
fn a_full_server_ends_the_copy() {
    let source = Server::start(&["-m", "32"]);
    let mut client = source.connect();
    let value = "v".repeat(5000);
    for number in 0..4000 {
        client.send(format!("ms {number} 5000 q\r\n{value}\r\n").as_bytes());
    }
    assert_eq!(client.ask("mn"), "MN");
    let copy = start_copy(source.port, &["-M", "-m", "8", "--copy-rate", "0"]);
    let mut client = copy.connect();
    client.set("mine", "1");
    assert!(outcome(&copy).contains("this server has no memory left"), "{}", outcome(&copy));
    assert_eq!(client.get("mine").as_deref(), Some("1"));
    assert!(client.count("curr_items") > 1000);
}

/// One clear line for whatever the other side does, and the server serves.
#[test]
fn a_copy_that_fails_says_why() {
    const STATS: &str = "STAT curr_items 2\r\nEND\r\n";
    const KEYS: &str = "OK\r\nkey=a exp=-1\nkey=b exp=-1\nEND\r\n";
    // What is answered to stats, to the dump, and to mg.
    let cases = [
        ("", "", "", "it closed the connection"),
        ("HTTP/1.1 400 Bad Request\r\n", "", "", "it answered \"HTTP/1.1 400 Bad Request\""),
        ("\x15\x03\x01\x00\x02\x02\x16", "", "", "it wants TLS"),
        ("CLIENT_ERROR unauthenticated\r\n", "", "", "it asks for a login"),
        ("ERROR\r\n", "", "", "it does not know stats"),
        ("\x1b[2J\x07\r\n", "", "", "it answered \"\\x1b[2J\\x07\""),
        (STATS, "", "", "it closed the connection"),
        (
            STATS,
            "ERROR metadump not allowed\r\n",
            "",
            "it does not list its keys: ERROR metadump not allowed",
        ),
        (STATS, "key=\n", "", "it answered \"key=\""),
        (STATS, KEYS, "", "it closed the connection"),
        (STATS, KEYS, "ERROR\r\n", "it does not know mg"),
        (STATS, KEYS, "VA 1 ka f0 t-1\r\n1\r\nVA 5 kb", "it answered \"VA 5 kb\""),
        (
            STATS,
            KEYS,
            "VA 1 ka f0 t-1\r\n1\r\nVA 5 kb f0 t-1\r\n12",
            "it closed the connection in the middle of a value",
        ),
        (STATS, KEYS, "VA 1 ka f0 t-1\r\n12345", "a value is longer than it said"),
        (STATS, KEYS, "VA 9999999999 ka f0 t-1\r\n", "it answered \"VA 9999999999"),
    ];
    for (stats, keys, items, expected) in cases {
        let script = Script::new();
        let copy = start_copy(script.port(), &["-t", "1"]);
        let mut asked = script.accept();
        asked.line();
        asked.send_lossy(stats.as_bytes());
        if stats == STATS {
            let mut dump = script.accept();
            dump.line();
            dump.send_lossy(keys.as_bytes());
            if keys == KEYS {
                asked.line();
                asked.line();
                asked.send_lossy(items.as_bytes());
            }
            drop(dump);
        }
        asked.finish();
        let line = outcome(&copy);
        assert!(
            line.starts_with("stopped copying from 127.0.0.1:") && line.contains(expected),
            "{expected}: {line}"
        );
        let mut client = copy.connect();
        assert_eq!(client.get("b"), None, "half a value is none");
        client.set("b", "1");
        assert_eq!(client.get("b").as_deref(), Some("1"));
    }
}

#[test]
fn a_server_that_is_not_there_is_one_line() {
    let port = Script::new().port();
    let copy = start_copy(port, &[]);
    assert!(outcome(&copy).contains("Connection refused; 0 items"), "{}", outcome(&copy));
    assert_eq!(state(&mut copy.connect())[..2], ["state failed", "items 0"]);
    assert_eq!(copy.connect().ask("version"), "VERSION 1.6.45");
}

/// The copy needs no login here, whatever clients need, and takes no place of theirs.
#[test]
fn the_copy_needs_no_login() {
    let source = Server::start(&[]);
    source.connect().set("a", "1");
    for flags in [&["-Y", "users"][..], &["-B", "binary"], &["-c", "1"], &["-R", "1"]] {
        let dir = TempDir::new();
        let users = dir.path().join("users");
        fs::File::create(&users).unwrap().write_all(b"luser:lpass\n").unwrap();
        let users = users.display().to_string();
        let from = format!("127.0.0.1:{}", source.port);
        let flags: Vec<_> = flags.iter().map(|&flag| if flag == "users" { &*users } else { flag }).collect();
        let copy = Server::start_program(program(), &[&["--copy-from", &from], &*flags].concat(), dir);
        assert_eq!(result(&copy), "1 items, 0.0 MB of values", "{flags:?}");
    }
}

/// At 100 items a second 30 items take longer than without a limit: no clock is needed to see that it is kept, since the
/// copy itself says how long it took.
#[test]
fn the_rate_is_kept() {
    let source = Server::start(&[]);
    let mut client = source.connect();
    assert!(state(&mut client).is_empty(), "nothing is copied");
    (0..30).for_each(|number| client.set(&format!("k{number}"), "1"));
    client.set("large", &"v".repeat(20 << 10));
    let copy = start_copy(source.port, &["--copy-rate", "100"]);
    let line = outcome(&copy);
    let secs: f64 = line.split(" in ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(secs >= 0.4, "{line}");
}
