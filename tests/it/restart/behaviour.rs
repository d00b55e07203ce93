//! What survives a restart: items with all that belongs to them, flushes, and the order of cas uniques.

use std::collections::BTreeMap;

use nix::sys::signal::Signal;

use crate::harness::{Client, Server, wait_until};

use super::memory::{Place, end, restored, shown, told};

/// The ways to end a server. Only the last one gives it no chance.
const ENDS: [Signal; 4] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGUSR1, Signal::SIGKILL];

fn ttl(client: &mut Client, key: &str) -> i64 {
    client.ask(&format!("mg {key} t")).strip_prefix("HD t").unwrap().parse().unwrap()
}

/// Items of all kinds: their keys, and what is shown of them.
fn fill(server: &Server) -> BTreeMap<String, String> {
    let mut client = server.connect();
    let mut keys = Vec::new();
    for (number, len) in [0, 1, 7, 8, 100, 1000, 4096, 8192, 20_000, 100_000, 1_000_000].iter().enumerate() {
        let (key, value) = (format!("size:{len}"), "v".repeat(*len));
        let flags = if number % 2 == 0 { 0 } else { 4_000_000_000_u32 + number as u32 };
        assert_eq!(client.ask(&format!("set {key} {flags} {} {len}\r\n{value}", 1000 * number)), "STORED");
        keys.push(key);
    }
    client.set("counted", "10");
    assert_eq!(client.ask("decr counted 1"), "9");
    client.set("appended", "a");
    assert_eq!(client.ask("append appended 0 0 2\r\nbc"), "STORED");
    assert_eq!(client.ask("ms YmluYXJ5IGtleQ== 1 b\r\nx"), "HD");
    keys.extend(["counted", "appended", "YmluYXJ5IGtleQ== b"].map(str::to_owned));
    keys.iter().map(|key| (key.clone(), shown(&mut client, key))).collect()
}

#[test]
fn items_are_there_again_however_the_server_ends() {
    let Some(place) = Place::new() else { return };
    let mut server = place.start(&[]);
    assert!(told(&server).ends_with("/memory is new, starting with a clean cache"), "{}", told(&server));
    let items = fill(&server);
    let cas = server.connect().ask("ms last 1 c\r\nx");
    for (number, signal) in ENDS.into_iter().enumerate() {
        end(server, signal);
        // Within the same second, and with other rings.
        server = place.start(&["-t", &(number + 1).to_string()]);
        let mut client = server.connect();
        for (key, item) in &items {
            let found = shown(&mut client, key);
            assert!(found == *item, "after {signal}, {key}: {found:.200} instead of {item:.200}");
        }
        assert_eq!(ttl(&mut client, "size:0"), -1);
        assert!((9_900..=10_000).contains(&ttl(&mut client, "size:1000000")));
        assert_eq!(server.count("curr_items"), items.len() as u64 + 1);
        assert_eq!(restored(&server), (items.len() as u64 + 1, "restored".to_owned()));
        let line = told(&server);
        assert!(line.starts_with(&format!("[restart] restored {} items, 1.", items.len() + 1)), "{line}");
        // Counters begin anew, and so does the uptime.
        assert_eq!(server.count("cmd_set"), 0);
        assert!(server.count("uptime") < 100);
    }
    let next = server.connect().ask("ms next 1 c\r\nx");
    let number = |reply: &str| reply.strip_prefix("HD c").unwrap().parse::<u64>().unwrap();
    assert!(number(&next) > number(&cas), "{next} after {cas}");
}

#[test]
fn what_was_overwritten_or_deleted_stays_so() {
    let Some(place) = Place::new() else { return };
    let server = place.start(&[]);
    let mut client = server.connect();
    let large = "l".repeat(300_000);
    for key in ["overwritten", "deleted", "expired", "touched", "shrunk"] {
        client.set(key, &large);
    }
    client.set("overwritten", "new");
    assert_eq!(client.ask("delete deleted"), "DELETED");
    assert_eq!(client.ask("touch expired -1"), "TOUCHED");
    assert_eq!(client.ask("touch touched 5000"), "TOUCHED");
    assert_eq!(client.ask("ms shrunk 1\r\n1"), "HD");
    end(server, Signal::SIGKILL);
    let server = place.start(&[]);
    let mut client = server.connect();
    let found = ["overwritten", "deleted", "expired", "shrunk"].map(|key| client.get(key));
    assert_eq!(found, [Some("new".to_owned()), None, None, Some("1".to_owned())]);
    assert_eq!(client.get("touched"), Some(large));
    assert!((4_900..=5_000).contains(&ttl(&mut client, "touched")));
    assert_eq!(server.count("curr_items"), 3);
}

#[test]
fn marks_and_use_are_kept() {
    let Some(place) = Place::new() else { return };
    let server = place.start(&[]);
    let mut client = server.connect();
    for key in ["stale", "won", "fetched", "unfetched"] {
        client.set(key, "1");
    }
    assert_eq!(client.ask("md stale I T300"), "HD");
    assert_eq!(client.ask("md won I T300"), "HD");
    assert!(client.ask("mg won f").contains(" W"), "the first to see it stale wins");
    client.get("fetched").unwrap();
    let before = ["won", "fetched", "unfetched"].map(|key| client.ask(&format!("mg {key} f h")));
    end(server, Signal::SIGKILL);
    let server = place.start(&[]);
    let mut client = server.connect();
    let after = ["won", "fetched", "unfetched"].map(|key| client.ask(&format!("mg {key} f h")));
    // The get above is the first of the one that had not been fetched.
    assert_eq!(after, [before[0].clone(), before[1].clone(), "HD f0 h1".to_owned()]);
    assert_eq!(before[2], "HD f0 h0");
    let stale = client.ask("mg stale f");
    assert!(stale.contains(" X") && stale.contains(" W"), "{stale}");
}

#[test]
fn a_flush_stays_one() {
    let Some(place) = Place::new() else { return };
    let server = place.start(&[]);
    let mut client = server.connect();
    client.set("before", "1");
    client.set("large", &"l".repeat(100_000));
    assert_eq!(client.ask("flush_all"), "OK");
    client.set("after", "2");
    end(server, Signal::SIGKILL);
    let server = place.start(&[]);
    let mut client = server.connect();
    assert_eq!((client.get("before"), client.get("large")), (None, None));
    assert_eq!(client.get("after").as_deref(), Some("2"));
    assert_eq!(server.count("curr_items"), 1);
}

#[test]
fn a_flush_that_is_due_later_comes() {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let Some(place) = Place::new() else { return };
        let server = place.start(&[]);
        let mut client = server.connect();
        client.set("a", "1");
        assert_eq!(client.ask("flush_all 2"), "OK");
        end(server, signal);
        let server = place.start(&[]);
        let mut client = server.connect();
        wait_until("the flush comes", || client.get("a").is_none());
        client.set("a", "2");
        assert_eq!(client.get("a").as_deref(), Some("2"));
    }
}

#[test]
fn what_expires_while_the_server_is_away_is_gone() {
    let Some(place) = Place::new() else { return };
    let server = place.start(&[]);
    let mut client = server.connect();
    assert_eq!(client.ask("set short 0 1 1\r\n1"), "STORED");
    assert_eq!(client.ask("set long 0 1000 1\r\n1"), "STORED");
    end(server, Signal::SIGKILL);
    let server = place.start(&[]);
    let mut client = server.connect();
    wait_until("the item expires", || client.get("short").is_none());
    end(server, Signal::SIGKILL);
    let server = place.start(&[]);
    let mut client = server.connect();
    assert_eq!(client.get("short"), None);
    assert_eq!(client.get("long").as_deref(), Some("1"));
}

#[test]
fn a_value_that_was_being_received_is_not_there() {
    let Some(place) = Place::new() else { return };
    let server = place.start(&[]);
    let mut client = server.connect();
    client.set("large", "old");
    client.send(b"set large 0 0 500000\r\n");
    client.send(&vec![b'x'; 400_000]);
    let mut other = server.connect();
    wait_until("the value is received", || other.stats("stats memcrsd")["memcrsd_drafts"] == "1");
    end(server, Signal::SIGKILL);
    let server = place.start(&[]);
    assert_eq!(server.connect().get("large").as_deref(), Some("old"));
    assert_eq!(server.count("curr_items"), 1);
    // Its memory is not lost.
    let mut client = server.connect();
    (0..40).for_each(|number| client.set(&format!("l{}", number % 8), &"n".repeat(900_000)));
    assert_eq!(client.get("l7").map(|value| value.len()), Some(900_000));
}

/// What may differ from start to start does, and the items stay; the memory limit at run time is no reason either.
#[test]
fn other_settings_are_free() {
    let Some(place) = Place::new() else { return };
    let server = place.start(&[]);
    server.connect().set("a", "1");
    assert_eq!(server.connect().ask("cache_memlimit 8"), "OK");
    end(server, Signal::SIGKILL);
    for flags in [
        &["-M"][..],
        &["-C"],
        &["-t", "4", "--replicas=2"],
        &["-f", "1.5", "-n", "100"],
        &["-c", "10", "-o", "no_lru_crawler"],
        &["-L"],
        &[],
    ] {
        let server = place.start(flags);
        assert_eq!(server.connect().get("a").as_deref(), Some("1"), "{flags:?}");
        assert_eq!(server.count("limit_maxbytes"), 16 << 20);
        let mut client = server.connect();
        let reply = client.ask("cache_memlimit 100000000");
        assert_eq!(reply, "MEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust");
        end(server, Signal::SIGKILL);
    }
}

/// A cache that has been filled and restarted evicts, compacts and serves as before.
#[test]
fn a_full_cache_goes_on() {
    let Some(place) = Place::new() else { return };
    let mut server = place.start(&[]);
    let value = "v".repeat(700);
    for round in 0..3 {
        let mut client = server.connect();
        for number in 0..40_000 {
            client.send(format!("ms r{round}:{number} 700 q\r\n{value}\r\n").as_bytes());
        }
        assert_eq!(client.ask("mn"), "MN");
        let items = server.count("curr_items");
        assert!(server.count("evictions") > 10_000);
        end(server, Signal::SIGKILL);
        server = place.start(&[]);
        assert_eq!(restored(&server).0, items);
        assert_eq!(server.count("curr_items"), items);
        let mut client = server.connect();
        assert_eq!(client.get(&format!("r{round}:39999")).as_deref(), Some(value.as_str()));
        let memory = client.stats("stats memory");
        let bytes = |name: &str| memory[name].parse::<u64>().unwrap();
        assert!(bytes("used_bytes") <= bytes("limit_bytes"), "{memory:?}");
        assert!(server.resident_bytes() as u64 <= bytes("promised_bytes"), "{memory:?}");
    }
}
