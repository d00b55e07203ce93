//! Tests of values on flash: the replies to commands for them, what happens when they cannot be read, and how many are read for
//! one send.

use super::assert_same;
use crate::clock::Timestamp;
use crate::config::Config;
use crate::fuzzing::Peer;
use crate::fuzzing::flash::{Trouble, options};
use crate::store::{FlashOptions, Source};

fn tiered() -> Peer {
    Peer::with_flash(Config::default(), options())
}

/// Stores under `key` a value of `bytes` bytes that repeats the key. Returns the value.
fn set(peer: &mut Peer, key: &str, bytes: usize) -> String {
    let value: String = key.chars().cycle().take(bytes).collect();
    peer.send(format!("set {key} 0 0 {bytes} noreply\r\n{value}\r\n").as_bytes());
    value
}

/// Returns the value of the statistic `name` in `stats`.
fn stat(peer: &mut Peer, name: &str) -> u64 {
    let counters = peer.shared().sums().ring;
    match name {
        "get_extstore" => counters.get_extstore,
        "miss_from_extstore" => counters.miss_from_extstore,
        "badcrc_from_extstore" => counters.badcrc_from_extstore,
        "recache_from_extstore" => counters.recache_from_extstore,
        name => panic!("no {name}"),
    }
}

fn packet(opcode: u8, extras: &[u8], key: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, opcode, 0, key.len() as u8, extras.len() as u8, 0, 0, 0];
    packet.extend_from_slice(&((extras.len() + key.len()) as u32).to_be_bytes());
    packet.extend_from_slice(&[7, 7, 7, 7, 0, 0, 0, 0, 0, 0, 0, 0]);
    packet.extend_from_slice(extras);
    packet.extend_from_slice(key);
    packet
}

/// Returns every command that reads `k`, each with another command after it.
fn readers() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = [
        "get k\r\n",
        "gets k\r\n",
        "get j k j\r\n",
        "gat 0 k\r\n",
        "gats 0 j k\r\n",
        "mg k v\r\n",
        "mg k v q\r\nmn\r\n",
        "mg k v k O9 f s c t\r\n",
        "mg k v q k O9\r\n",
        "mg k v T60\r\n",
        "mg k v N60 R30\r\n",
        "mg aw== b v k\r\n",
    ]
    .map(|line| [line.as_bytes(), b"version\r\n"].concat())
    .into();
    for (opcode, extras) in [(0, 0), (9, 0), (0x0c, 0), (0x0d, 0), (0x1d, 4), (0x1e, 4), (0x23, 4), (0x24, 4)]
    {
        all.push([packet(opcode, &vec![0; extras], b"k"), packet(0x0b, b"", b"")].concat());
    }
    all
}

/// A command that asks for a value which cannot be read, for whatever reason, answers as if the key were absent. Afterwards the
/// key is absent.
#[test]
fn what_cannot_be_read_is_a_miss() {
    for reader in readers() {
        let is_binary = reader[0] == 0x80;
        // An mg with N creates a missing item. When the value turns out to be lost, it is too late for that.
        let creates = reader.starts_with(b"mg k v N");
        let mut without = Peer::new(Config::default());
        set(&mut without, "j", 10);
        if is_binary {
            without.reconnect();
        }
        without.send(&reader);
        let mut expected = without.answers();
        if creates {
            expected = b"EN\r\nVERSION 1.6.45\r\n".to_vec();
        }
        for fault in ["failed", "flipped", "torn", "unwritten"] {
            let mut peer = tiered();
            set(&mut peer, "j", 10);
            set(&mut peer, "k", 5000);
            if is_binary {
                peer.reconnect();
            }
            assert!(peer.demote(b"k"));
            let place = peer.place(b"k").unwrap();
            let flash = peer.flash();
            let when = format!("{} {fault}", reader.escape_ascii());
            peer.device_mut().trouble = match fault {
                "torn" => Trouble::Tears,
                "unwritten" => Trouble::Writes,
                _ => Trouble::None,
            };
            peer.write_all();
            match fault {
                "failed" => peer.device_mut().trouble = Trouble::Reads,
                "flipped" => assert!(peer.device_mut().flip(&flash, b"k", place)),
                // The value is in its buffer until the ring takes the stubs back.
                "unwritten" => peer.maintain(),
                _ => {}
            }
            peer.send(&reader);
            let answers = peer.answers();
            if fault == "unwritten" && creates {
                assert!(answers.starts_with(b"VA 0 W\r\n"), "{when}");
                continue;
            }
            assert_same(&answers, &expected, &when);
            assert_eq!(peer.place(b"k"), None, "{when}");
            let (misses, bad) =
                (stat(&mut peer, "miss_from_extstore"), stat(&mut peer, "badcrc_from_extstore"));
            let expected = match fault {
                "unwritten" => (0, 0),
                "flipped" => (1, 1),
                _ => (1, 0),
            };
            let torn_in_the_value = fault == "torn" && bad == 1;
            assert!((misses, bad) == expected || torn_in_the_value, "{when}: {misses} {bad}");
        }
    }
}

/// A command that needs the old value finds the item gone.
#[test]
fn what_cannot_be_read_cannot_be_changed() {
    for (command, expected) in [
        ("incr k 1\r\n", "NOT_FOUND\r\n"),
        ("decr k 1\r\n", "NOT_FOUND\r\n"),
        ("ma k N0 J5 v\r\n", "VA 1\r\n5\r\n"),
        ("ma k q\r\nmn\r\n", "NF\r\nMN\r\n"),
        ("append k 0 0 1\r\n1\r\n", "NOT_STORED\r\n"),
        ("prepend k 0 0 1\r\n1\r\n", "NOT_STORED\r\n"),
        ("ms k 1 MA\r\n1\r\n", "NS\r\n"),
        ("ms k 1 MP N0\r\n1\r\nget k\r\n", "HD\r\nVALUE k 0 1\r\n1\r\nEND\r\n"),
    ] {
        let mut peer = tiered();
        peer.send(b"set k 0 0 2 noreply\r\n10\r\n");
        assert!(peer.demote(b"k"));
        peer.write_all();
        peer.device_mut().trouble = Trouble::Reads;
        peer.send(command.as_bytes());
        assert_same(&peer.answers(), expected.as_bytes(), command);
        assert_eq!(stat(&mut peer, "miss_from_extstore"), 1);
    }
}

/// A command that does not need the value on flash does not read it.
#[test]
fn only_what_needs_the_value_reads_it() {
    let mut peer = tiered();
    let value = "v".repeat(5000);
    peer.send(format!("ms k 5000 E5 q\r\n{value}\r\n").as_bytes());
    assert!(peer.demote(b"k"));
    peer.write_all();
    peer.device_mut().trouble = Trouble::Reads;
    for (command, expected) in [
        ("touch k 0\r\n", "TOUCHED\r\n"),
        ("mg k s f\r\n", "HD s5000 f0\r\n"),
        ("mg k v C5\r\n", "HD\r\n"),
        ("mg k T0 s\r\n", "HD s5000\r\n"),
        ("add k 0 0 1\r\n1\r\n", "NOT_STORED\r\n"),
        ("cas k 0 0 1 77\r\n1\r\n", "EXISTS\r\n"),
        ("ms k 1 C77\r\n1\r\n", "EX\r\n"),
        ("ms k 1 MA C77\r\n1\r\n", "EX\r\n"),
        ("lru_crawler mgdump all\r\n", "OK\r\nmg k\r\nEN\r\n"),
        ("md k I\r\n", "HD\r\n"),
        ("mg k s\r\n", "HD s5000 X W\r\n"),
        ("md k\r\n", "HD\r\n"),
        ("get k\r\n", "END\r\n"),
    ] {
        peer.send(command.as_bytes());
        assert_same(&peer.answers(), expected.as_bytes(), command);
    }
    assert_eq!(stat(&mut peer, "get_extstore"), 0);
}

/// A value comes back to memory when it is read twice, not too long apart, and stays the same.
#[test]
fn what_is_read_twice_comes_back() {
    let mut peer = tiered();
    set(&mut peer, "k", 5000);
    peer.set_now(Timestamp(10_000));
    assert!(peer.demote(b"k"));
    for (reads, is_back) in [(1, false), (2, true)] {
        peer.send(b"get k\r\n");
        assert_eq!(peer.place(b"k").is_none(), is_back, "{reads}");
    }
    assert_eq!((stat(&mut peer, "get_extstore"), stat(&mut peer, "recache_from_extstore")), (2, 1));
    // Without ext_recache_rate the value stays on flash.
    peer.flash().set_promotes(false);
    assert!(peer.demote(b"k"));
    for _ in 0..9 {
        peer.send(b"get k\r\n");
    }
    assert!(peer.place(b"k").is_some());
}

/// Long and short values, in memory and on flash, are read for one line and for one pipeline.
#[test]
fn many_values_are_read_at_once() {
    let mut peer = tiered();
    let mut without = Peer::new(Config::default());
    let mut names = String::new();
    for n in 0..200 {
        let (key, bytes) = (format!("key{n}"), [3, 5000, 900, 40_000][n % 4]);
        set(&mut peer, &key, bytes);
        set(&mut without, &key, bytes);
        if n % 3 != 0 {
            assert!(peer.demote(key.as_bytes()));
        }
        if n == 50 {
            peer.write_all();
        }
        names.extend([" ", &key]);
    }
    let line = format!("get{names}\r\n");
    let gets: String = (0..200).map(|n| format!("get key{n}\r\n")).collect();
    let mixed: String = (0..200).map(|n| format!("mg key{n} v k\r\ngets key{n} x key0\r\nmn\r\n")).collect();
    for bytes in [&line, &gets, &mixed, &format!("{line}{gets}{mixed}")] {
        for holds_short in [false, true] {
            peer.set_holds_short(holds_short);
            peer.send(bytes.as_bytes());
            without.send(bytes.as_bytes());
            assert_same(&peer.answers(), &without.answers(), "many values");
        }
    }
    assert!(stat(&mut peer, "get_extstore") > 100);
}

/// All values of a multiget are read together, even if they do not fit into one output.
#[test]
fn all_values_of_a_multiget_are_read_at_once() {
    let mut peer = tiered();
    let (mut line, mut expected) = ("get".to_owned(), String::new());
    for n in 0..100 {
        let key = format!("key{n}");
        let value = set(&mut peer, &key, 4096);
        assert!(peer.demote(key.as_bytes()));
        line.extend([" ", &key]);
        expected += format!("VALUE {key} 0 4096\r\n{value}\r\n").as_str();
    }
    line += "\r\n";
    expected += "END\r\n";
    peer.flash().set_promotes(false);
    for (holds_short, at_once) in [(false, 16), (true, 100)] {
        peer.set_holds_short(holds_short);
        peer.send(line.as_bytes());
        assert_same(&peer.answers(), expected.as_bytes(), "a multiget");
        assert_eq!(peer.reads_at_once(), at_once, "much room: {holds_short}");
    }
}

/// Values that cannot be read are left out of a reply, and the others keep their order.
#[test]
fn misses_among_hits_are_left_out() {
    let mut peer = tiered();
    let mut expected = Vec::new();
    for n in 0..60 {
        let key = format!("k{n}");
        let value = set(&mut peer, &key, if n % 2 == 0 { 5000 } else { 100 });
        assert!(n % 5 == 0 || peer.demote(key.as_bytes()));
        if n == 30 {
            peer.write_all();
        }
        let place = peer.place(key.as_bytes());
        expected.push((key, value, place));
    }
    let flash = peer.flash();
    let mut line = "get".to_owned();
    let mut answer = String::new();
    for (n, (key, value, place)) in expected.iter().enumerate() {
        line.extend([" ", key]);
        let is_lost =
            n % 3 == 0 && place.is_some_and(|place| peer.device_mut().flip(&flash, key.as_bytes(), place));
        if !is_lost {
            answer += format!("VALUE {key} 0 {}\r\n{value}\r\n", value.len()).as_str();
        }
    }
    answer += "END\r\nMN\r\n";
    peer.send(format!("{line}\r\nmn\r\n").as_bytes());
    assert_same(&peer.answers(), answer.as_bytes(), "a line with misses");
    assert!(stat(&mut peer, "badcrc_from_extstore") > 3);
}

/// Frees the chunk of `k` and fills it with other values. `k` has been read, so its value is written again elsewhere.
fn use_its_chunk_again(peer: &mut Peer) {
    let (before, flash) = (peer.place(b"k").unwrap(), peer.flash());
    for n in 0..100 {
        if matches!(flash.read(before, b"k"), Source::Gone) {
            break;
        }
        peer.aside(|peer| {
            set(peer, &format!("filler{n}"), 3000);
        });
        assert!(peer.demote(format!("filler{n}").as_bytes()));
        peer.write_all();
        peer.maintain();
    }
    assert!(matches!(flash.read(before, b"k"), Source::Gone));
    assert!(peer.place(b"k").is_some_and(|place| place != before), "it has been written once more");
}

/// A value whose chunk is used again between the lookup and the read is found in its new place, on flash or in memory.
#[test]
fn what_has_been_moved_meanwhile_is_found() {
    let is_elsewhere: fn(&mut Peer) = use_its_chunk_again;
    let is_back: fn(&mut Peer) = |peer| {
        let (place, flash) = (peer.place(b"k").unwrap(), peer.flash());
        flash.set_promotes(true);
        peer.aside(|peer| peer.send(b"append k 0 0 0\r\n\r\nms k 0 MA E7 q\r\n\r\n"));
        assert_eq!(peer.place(b"k"), None);
        assert!(peer.device_mut().flip(&flash, b"k", place));
    };
    let is_replaced: fn(&mut Peer) = |peer| {
        let (place, flash) = (peer.place(b"k").unwrap(), peer.flash());
        peer.aside(|peer| {
            let value = "x".repeat(5000);
            peer.send(format!("ms k 5000 E8 q\r\n{value}\r\n").as_bytes());
        });
        assert!(peer.device_mut().flip(&flash, b"k", place));
    };
    let tier = FlashOptions { files: vec![16 << 20], promotes: false, ..options() };
    for (meanwhile, is_found) in [(is_elsewhere, true), (is_back, true), (is_replaced, false)] {
        for get in ["get k\r\n", "gets k\r\n", "mg k v c f\r\n"] {
            let mut peer = Peer::with_flash(Config::default(), tier.clone());
            let value = "k".repeat(5000);
            peer.send(format!("ms k 5000 E7 q\r\n{value}\r\nmg k v\r\n").as_bytes());
            assert!(peer.demote(b"k"));
            peer.write_all();
            peer.send(get.as_bytes());
            peer.answers();
            peer.send(get.as_bytes());
            let expected = peer.answers();
            peer.set_meanwhile(meanwhile);
            peer.send(get.as_bytes());
            let answers = peer.answers();
            if is_found {
                assert_same(&answers, &expected, get);
            } else {
                assert_same(&answers, if get == "mg k v c f\r\n" { b"EN\r\n" } else { b"END\r\n" }, get);
            }
            assert_eq!(stat(&mut peer, "miss_from_extstore"), u64::from(!is_found), "{get}");
            peer.send(b"mg k s\r\n");
            assert_same(&peer.answers(), b"HD s5000\r\n", "it is there, whatever it is");
        }
    }
}

/// A command that needs a value finds it in whatever place it has been moved to meanwhile.
#[test]
fn a_command_finds_what_has_been_moved_meanwhile() {
    let tier = FlashOptions { files: vec![16 << 20], promotes: false, ..options() };
    let mut peer = Peer::with_flash(Config::default(), tier);
    peer.send(b"set k 0 0 2 noreply\r\n10\r\n");
    assert!(peer.demote(b"k"));
    peer.write_all();
    peer.send(b"get k\r\nget k\r\n");
    peer.answers();
    peer.set_meanwhile(use_its_chunk_again);
    peer.send(b"incr k 1\r\n");
    assert_same(&peer.answers(), b"11\r\n", "incr");
    assert_eq!(stat(&mut peer, "miss_from_extstore"), 0);
}

/// A value that is moved away as often as it comes back makes its command fail. The connection stays open.
#[test]
fn a_command_reads_a_bounded_number_of_values() {
    let mut peer = tiered();
    peer.send(b"set n 0 0 2 noreply\r\n10\r\n");
    assert!(peer.demote(b"n"));
    peer.demotes_again(b"n");
    peer.send(b"incr n 1\r\nappend n 0 0 1\r\n0\r\nma n\r\nmn\r\n");
    let no_memory = "SERVER_ERROR out of memory\r\n";
    assert_same(
        &peer.answers(),
        format!("{no_memory}NOT_STORED\r\n{no_memory}MN\r\n").as_bytes(),
        "moved away",
    );
    peer.demotes_again(b"");
    for n in 11..20 {
        peer.demote(b"n");
        peer.send(b"incr n 1\r\n");
        assert_same(&peer.answers(), format!("{n}\r\n").as_bytes(), "later commands");
    }
}

/// Replies to datagrams get their values from flash before they are cut.
#[test]
fn datagrams_show_values_on_flash() {
    let mut peer = Peer::with_flash(Config::default(), FlashOptions { promotes: false, ..options() });
    let value = set(&mut peer, "k", 5000);
    peer.send(b"set n 0 0 2 noreply\r\n10\r\n");
    peer.demote_all();
    peer.write_all();
    let ask = |peer: &mut Peer, commands: &str| {
        let answers = peer.datagram(&[b"\0\x07\0\0\0\x01\0\0", commands.as_bytes()].concat());
        let (mut from, mut text) = (0, String::new());
        for end in answers.ends {
            text += std::str::from_utf8(&answers.bytes[from + 8..end]).unwrap();
            from = end;
        }
        text
    };
    let hit = format!("VALUE k 0 5000\r\n{value}\r\n");
    assert_eq!(
        ask(&mut peer, "get k n\r\nmg n v\r\n"),
        format!("{hit}VALUE n 0 2\r\n10\r\nEND\r\nVA 2\r\n10\r\n")
    );
    assert_eq!(
        ask(&mut peer, "get k\r\nincr n 5\r\nget k n\r\n"),
        format!("{hit}END\r\n15\r\n{hit}VALUE n 0 2\r\n15\r\nEND\r\n")
    );
    // Counted before they are read.
    let reads = stat(&mut peer, "get_extstore");
    assert_eq!(ask(&mut peer, &format!("get{}\r\n", " k".repeat(700))), "");
    assert_eq!(stat(&mut peer, "get_extstore"), reads);
    peer.device_mut().trouble = Trouble::Reads;
    assert_eq!(ask(&mut peer, "mn\r\nget k x\r\nmg k v\r\nmn\r\n"), "MN\r\nEND\r\nEN\r\nMN\r\n");
}
