//! Tests of the classic text protocol. Source: protocol.txt, and memcached 1.6.45 itself.

use super::{check, check_with};
use crate::clock::Timestamp;
use crate::config::Config;
use crate::fuzzing::Peer;

const BAD_FORMAT: &[u8] = b"CLIENT_ERROR bad command line format\r\n";

#[test]
fn storage_commands_and_their_conditions() {
    check(&[
        (b"set a 5 0 3\r\nfoo\r\n", b"STORED\r\n"),
        (b"get a\r\n", b"VALUE a 5 3\r\nfoo\r\nEND\r\n"),
        (b"add a 0 0 1\r\nx\r\n", b"NOT_STORED\r\n"),
        (b"add b 0 0 1\r\nx\r\n", b"STORED\r\n"),
        (b"replace c 0 0 1\r\nx\r\n", b"NOT_STORED\r\n"),
        (b"replace b 0 0 2\r\nyy\r\n", b"STORED\r\n"),
        (b"append a 9 9 1\r\n!\r\n", b"STORED\r\n"),
        (b"prepend a 9 9 1\r\n?\r\n", b"STORED\r\n"),
        (b"append c 0 0 1\r\n!\r\n", b"NOT_STORED\r\n"),
        (b"prepend c 0 0 1\r\n!\r\n", b"NOT_STORED\r\n"),
        (b"get a b c a\r\n", b"VALUE a 5 5\r\n?foo!\r\nVALUE b 0 2\r\nyy\r\nVALUE a 5 5\r\n?foo!\r\nEND\r\n"),
        (b"set e 0 0 0\r\n\r\n", b"STORED\r\n"),
        (b"get e\r\n", b"VALUE e 0 0\r\n\r\nEND\r\n"),
        (b"set f 4294967295 0 1\r\nx\r\n", b"STORED\r\n"),
        (b"set g 4294967296 0 1\r\nx\r\n", b"STORED\r\n"),
        (b"set h +5 +0 1\r\nx\r\n", b"STORED\r\n"),
        (b"get f g h\r\n", b"VALUE f 4294967295 1\r\nx\r\nVALUE g 0 1\r\nx\r\nVALUE h 5 1\r\nx\r\nEND\r\n"),
    ]);
}

#[test]
fn cas_compares_with_what_gets_shows() {
    let mut peer = Peer::new(Config::default());
    peer.send(b"set a 0 0 1\r\nx\r\n");
    peer.send(b"gets a\r\n");
    let answers = String::from_utf8(peer.answers()).unwrap();
    let cas: u64 = answers.split_whitespace().nth(5).unwrap().parse().unwrap();
    for (unique, expected) in [(cas + 1, "EXISTS"), (0, "EXISTS"), (cas, "STORED"), (cas, "EXISTS")] {
        peer.send(format!("cas a 0 0 1 {unique}\r\ny\r\n").as_bytes());
        assert_eq!(peer.answers(), format!("{expected}\r\n").as_bytes());
    }
    peer.send(b"cas missing 0 0 1 1\r\ny\r\n");
    assert_eq!(peer.answers(), b"NOT_FOUND\r\n");
    let sums = peer.shared().sums();
    let classes = sums.all_classes();
    assert_eq!((classes.cas_hits, classes.cas_badval, sums.ring.cas_misses), (1, 3, 1));
}

#[test]
fn malformed_storage_lines() {
    check(&[
        // The length is not known, so the next line is taken for a command.
        (b"set a 0 0\r\n", BAD_FORMAT),
        (b"set a 0 0 x\r\nversion\r\n", b"CLIENT_ERROR bad command line format\r\nVERSION 1.6.45\r\n"),
        (b"set a 0 0 -1\r\n", BAD_FORMAT),
        (b"set a 0 0 2147483646\r\n", BAD_FORMAT),
        // The length is known, so the data block is skipped.
        (b"set a x 0 1\r\nx\r\n", BAD_FORMAT),
        (b"set a -1 0 1\r\nx\r\n", BAD_FORMAT),
        (b"set a 0 5.5 1\r\nx\r\n", BAD_FORMAT),
        (b"cas a 0 0 1\r\nx\r\n", BAD_FORMAT),
        (b"cas a 0 0 1 x noreply\r\nx\r\n", b""),
        // Exactly as many bytes as announced are taken.
        (
            b"set a 0 0 1\r\nxyz\r\n",
            b"CLIENT_ERROR bad data chunk\r\nCLIENT_ERROR bad command line format\r\n",
        ),
        (b"set a 0 0 1 noreply\r\nxyz\r\n", BAD_FORMAT),
        (b"get a\r\n", b"END\r\n"),
    ]);
    let long = [&b"set "[..], &[b'k'; 251], b" 0 0 1\r\nx\r\nget a\r\n"].concat();
    check(&[(&long, b"CLIENT_ERROR bad command line format\r\nEND\r\n")]);
}

#[test]
fn noreply_is_the_last_word() {
    check(&[
        (b"set k 0 0 1 foo noreply\r\nx\r\n", b""),
        (b"set k 0 0 noreply\r\n", BAD_FORMAT),
        (b"set k 0 0 x noreply\r\n", BAD_FORMAT),
        (b"set k 0 0 1 NOREPLY\r\nx\r\n", b"STORED\r\n"),
        (b"set k 0 0 1 noreply foo\r\nx\r\n", b"STORED\r\n"),
        (b"incr k noreply\r\n", b""),
        (b"incr k 1 noreply\r\n", b""),
        (b"verbosity noreply\r\n", b""),
        (b"touch k 0 noreply\r\n", b""),
        (b"delete k noreply\r\n", b""),
        (b"flush_all noreply\r\n", b""),
        (b"flush_all x noreply\r\n", b""),
        (b"nonsense noreply\r\n", b""),
        (b"version noreply\r\n", b"VERSION 1.6.45\r\n"),
        (b"get noreply\r\n", b"END\r\n"),
        // Words after the twenty-third are not examined.
        (b"set k 0 0 1 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 noreply\r\nx\r\n", b""),
        (b"set k 0 0 1 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 noreply\r\nx\r\n", b"STORED\r\n"),
    ]);
}

#[test]
fn delete_touch_and_gat() {
    check(&[
        (b"delete a\r\n", b"NOT_FOUND\r\n"),
        (b"set a 0 0 1\r\nx\r\n", b"STORED\r\n"),
        (b"delete a 0\r\n", b"DELETED\r\n"),
        (b"set a 0 0 1\r\nx\r\n", b"STORED\r\n"),
        (b"touch a 10\r\n", b"TOUCHED\r\n"),
        (b"touch b 10\r\n", b"NOT_FOUND\r\n"),
        (b"touch a x\r\n", b"CLIENT_ERROR invalid exptime argument\r\n"),
        (b"gat 10 a b\r\n", b"VALUE a 0 1\r\nx\r\nEND\r\n"),
        (b"gat x a\r\n", b"CLIENT_ERROR invalid exptime argument\r\n"),
        (b"gat -1 a\r\n", b"VALUE a 0 1\r\nx\r\nEND\r\n"),
        (b"get a\r\n", b"END\r\n"),
        (b"delete\r\n", BAD_FORMAT),
        (b"touch a\r\n", BAD_FORMAT),
        (b"gat 1\r\n", BAD_FORMAT),
    ]);
}

#[test]
fn counting() {
    check(&[
        (b"incr n 1\r\n", b"NOT_FOUND\r\n"),
        (b"set n 7 0 3\r\n100\r\n", b"STORED\r\n"),
        (b"decr n 1\r\n", b"99\r\n"),
        (b"get n\r\n", b"VALUE n 7 3\r\n99 \r\nEND\r\n"),
        (b"incr n 901\r\n", b"1000\r\n"),
        (b"get n\r\n", b"VALUE n 7 4\r\n1000\r\nEND\r\n"),
        (b"decr n 5000\r\n", b"0\r\n"),
        (b"set n 0 0 20\r\n18446744073709551615\r\n", b"STORED\r\n"),
        (b"incr n 1\r\n", b"0\r\n"),
        (b"incr n -1\r\n", b"CLIENT_ERROR invalid numeric delta argument\r\n"),
        (b"incr n 18446744073709551616\r\n", b"CLIENT_ERROR invalid numeric delta argument\r\n"),
        (b"incr n\r\n", BAD_FORMAT),
        (b"set t 0 0 3\r\nabc\r\n", b"STORED\r\n"),
        (b"incr t 1\r\n", b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"),
        // A number with other text after it keeps the length of the whole value.
        (b"set l 0 0 30\r\n12 345678901234567890123456789\r\n", b"STORED\r\n"),
        (b"incr l 8\r\n", b"20\r\n"),
        (b"get l\r\n", b"VALUE l 0 30\r\n20                            \r\nEND\r\n"),
    ]);
}

#[test]
fn lines() {
    check(&[
        (b"\r\n", BAD_FORMAT),
        (b"\n", BAD_FORMAT),
        (b"ab\n", BAD_FORMAT),
        (b" get a\r\n", b"ERROR\r\n"),
        (b"GET a\r\n", b"ERROR\r\n"),
        (b"get   a   b  \r\n", b"END\r\n"),
        (b"get\r\n", BAD_FORMAT),
        (b"get \r\n", BAD_FORMAT),
        (b"get a\n", b"END\r\n"),
        (b"set t\tb 0 0 1\r\nx\r\n", b"STORED\r\n"),
        (b"get t\tb\r\n", b"VALUE t\tb 0 1\r\nx\r\nEND\r\n"),
        (b"nonsense a b\r\n", b"ERROR\r\n"),
        (b"verbosity\r\n", BAD_FORMAT),
        (b"verbosity 1 2 3\r\n", b"OK\r\n"),
        (b"verbosity 0\r\n", b"OK\r\n"),
        (b"mn anything\r\n", b"MN\r\n"),
    ]);
}

#[test]
fn lines_that_close() {
    for line in [&b"quit\r\n"[..], b"quit now\r\n", b"GET / HTTP/1.1\r\n", &[b'x'; 2049]] {
        let mut peer = Peer::new(Config::default());
        peer.send(line);
        assert!(peer.is_closed(), "{}", line.escape_ascii());
        assert_eq!(peer.answers(), b"");
    }
    let mut peer = Peer::new(Config::default());
    peer.send(&[b'x'; 2048]);
    assert!(!peer.is_closed());
}

#[test]
fn keys_that_are_too_long() {
    let long = [b'k'; 251];
    check(&[
        (&[b"get ", &long[..], b"\r\n"].concat(), BAD_FORMAT),
        (&[b"delete ", &long[..], b"\r\n"].concat(), BAD_FORMAT),
        (&[b"touch ", &long[..], b" 0\r\n"].concat(), BAD_FORMAT),
        (&[b"incr ", &long[..], b" 1\r\n"].concat(), BAD_FORMAT),
        (b"set a 0 0 1\r\nx\r\n", b"STORED\r\n"),
        (&[b"get a ", &long[..], b" a\r\n"].concat(), BAD_FORMAT),
        (&[b"get ", &long[..250], b"\r\n"].concat(), b"END\r\n"),
    ]);
}

#[test]
fn a_get_may_be_longer_than_any_line() {
    let mut line = b"get ".to_vec();
    for n in 0..5000 {
        line.extend_from_slice(format!("missing{n} ").as_bytes());
    }
    line.extend_from_slice(b"a\r\n");
    check(&[
        (b"set a 0 0 1\r\nx\r\n", b"STORED\r\n"),
        (&line, b"VALUE a 0 1\r\nx\r\nEND\r\n"),
        (b"get a\r\n", b"VALUE a 0 1\r\nx\r\nEND\r\n"),
    ]);
    // A bad key ends the get, and the keys after it are skipped.
    line.truncate(line.len() - 2);
    line.extend_from_slice(&[b' '; 3]);
    line.extend_from_slice(&[b'k'; 300]);
    line.extend_from_slice(b" a\r\n");
    check(&[
        (b"set a 0 0 1\r\nx\r\n", b"STORED\r\n"),
        (&line, b"VALUE a 0 1\r\nx\r\nCLIENT_ERROR bad command line format\r\n"),
        (b"get a\r\n", b"VALUE a 0 1\r\nx\r\nEND\r\n"),
    ]);
}

#[test]
fn large_values() {
    for bytes in [4096, 4097, 8191, 8192, 8193, 100_000, 1_048_516] {
        let value = vec![b'v'; bytes];
        let set = [format!("set a 0 0 {bytes}\r\n").as_bytes(), &value, b"\r\n"].concat();
        let got = [format!("VALUE a 0 {bytes}\r\n").as_bytes(), &value, b"\r\nEND\r\n"].concat();
        let mut torn = set.clone();
        torn.truncate(set.len() - 2);
        torn.extend_from_slice(b"xx");
        check(&[
            (&set, b"STORED\r\n"),
            (b"get a\r\n", &got),
            (&torn, b"CLIENT_ERROR bad data chunk\r\n"),
            (b"get a\r\n", &got),
        ]);
    }
}

#[test]
fn values_over_the_limit() {
    let value = vec![b'v'; 1_048_517];
    let block = [&value[..], b"\r\n"].concat();
    let line = |line: &str| [line.as_bytes(), &block].concat();
    let too_large = b"SERVER_ERROR object too large for cache\r\n";
    check(&[
        (b"set a 0 0 1\r\nx\r\n", b"STORED\r\n"),
        (&line("add a 0 0 1048517\r\n"), too_large),
        (b"get a\r\n", b"VALUE a 0 1\r\nx\r\nEND\r\n"),
        (&line("set a 0 0 1048517\r\n"), too_large),
        (b"get a\r\n", b"END\r\n"),
        (&line("set a 0 0 1048517 noreply\r\n"), b""),
        // The client flags take four bytes.
        (&[b"set a 1 0 1048512\r\n", &value[..1_048_512], b"\r\n"].concat(), b"STORED\r\n"),
        (&[b"set a 1 0 1048513\r\n", &value[..1_048_513], b"\r\n"].concat(), too_large),
    ]);
}

#[test]
fn expiry() {
    let mut peer = Peer::new(Config::default());
    peer.set_now(Timestamp(100));
    peer.send(
        b"set a 0 10 1\r\nx\r\nset n 0 -1 1\r\nx\r\nset p 0 2592001 1\r\nx\r\nset w 0 2147483648 1\r\nx\r\n",
    );
    assert_eq!(peer.answers(), b"STORED\r\nSTORED\r\nSTORED\r\nSTORED\r\n");
    peer.send(b"get a n p w\r\n");
    assert_eq!(peer.answers(), b"VALUE a 0 1\r\nx\r\nEND\r\n");
    peer.set_now(Timestamp(109));
    peer.send(b"get a\r\n");
    assert_eq!(peer.answers(), b"VALUE a 0 1\r\nx\r\nEND\r\n");
    peer.set_now(Timestamp(110));
    peer.send(b"get a\r\n");
    assert_eq!(peer.answers(), b"END\r\n");
    let counts = peer.shared().sums().ring;
    assert_eq!((counts.get_misses, counts.get_expired), (4, 4));
}

#[test]
fn flush() {
    let mut peer = Peer::new(Config::default());
    peer.send(b"set a 0 0 1\r\nx\r\nflush_all\r\nget a\r\nset a 0 0 1\r\ny\r\nget a\r\n");
    assert_eq!(peer.answers(), b"STORED\r\nOK\r\nEND\r\nSTORED\r\nVALUE a 0 1\r\ny\r\nEND\r\n");
    peer.send(b"flush_all 10\r\nget a\r\n");
    assert_eq!(peer.answers(), b"OK\r\nVALUE a 0 1\r\ny\r\nEND\r\n");
    peer.set_now(Timestamp(111));
    peer.send(b"get a\r\n");
    assert_eq!(peer.answers(), b"END\r\n");
    peer.send(b"flush_all x\r\nflush_all 0 1 2\r\n");
    assert_eq!(peer.answers(), b"CLIENT_ERROR invalid exptime argument\r\nOK\r\n");
    assert_eq!(peer.shared().sums().ring.cmd_flush, 4);
    let config = Config { flush_enabled: false, ..Config::default() };
    check_with(
        &config,
        &[(b"flush_all\r\n", b"CLIENT_ERROR flush_all not allowed\r\n"), (b"flush_all noreply\r\n", b"")],
    );
}

#[test]
fn counters_count_as_memcacheds() {
    let mut peer = Peer::new(Config::default());
    peer.send(b"set a 0 0 1\r\nx\r\nget a a b\r\ngat 0 a b\r\ntouch a 0\r\ntouch b 0\r\ndelete b\r\nadd a 0 0 1\r\nx\r\n");
    peer.send(b"set a 0 0 1\r\nxyz\r\nset n 0 0 1\r\n1\r\nincr n 1\r\ndecr n 1\r\nincr b 1\r\ndecr b 1\r\ndelete a\r\n");
    let sums = peer.shared().sums();
    let (ring, class) = (sums.ring, sums.all_classes());
    assert_eq!((class.get_hits, ring.get_misses), (2, 1));
    assert_eq!((class.touch_hits, ring.touch_misses), (2, 2));
    assert_eq!(class.cmd_set, 4);
    assert_eq!((class.delete_hits, ring.delete_misses), (1, 1));
    assert_eq!((class.incr_hits, ring.incr_misses, class.decr_hits, ring.decr_misses), (1, 1, 1, 1));
    peer.send(b"stats reset\r\n");
    let sums = peer.shared().sums();
    assert_eq!((sums.ring.get_misses, sums.all_classes().get_hits), (0, 0));
}

/// A large value among many small items: room for it is made over several calls of `feed`, which do not consume the command.
#[test]
fn a_large_value_waits_for_its_room() {
    let small: Vec<u8> =
        (0..200_000).flat_map(|n| format!("set small-{n} 0 0 1 noreply\r\nx\r\n").into_bytes()).collect();
    let value = vec![b'v'; 400_000];
    let packet = [
        &b"\x80\x01\x00\x01\x08\x00\x00\x00"[..],
        &(9 + value.len() as u32).to_be_bytes(),
        &[0; 20],
        b"l",
        &value,
    ]
    .concat();
    let stored = [&b"\x81\x01"[..], &[0; 14]].concat();
    let with = |head: &[u8]| [head, &value, b"\r\n"].concat();
    for (sent, expected) in [
        (with(b"set l 7 0 400000\r\n"), &b"STORED\r\n"[..]),
        (with(b"ms l 400000 T0 Oq\r\n"), b"HD Oq\r\n"),
        (packet, &stored),
    ] {
        let mut peer = Peer::new(Config { maxbytes: 8 << 20, ..Config::default() });
        peer.send(&small);
        peer.reconnect();
        let before = peer.shared().sums().ring;
        peer.send(&sent[..5_000]);
        assert!(peer.answers().is_empty());
        peer.send(&sent[5_000..]);
        let answers = peer.answers();
        assert!(answers.starts_with(expected), "{}", answers.escape_ascii());
        assert_eq!(peer.shared().sums().ring.store_no_memory, before.store_no_memory);
        peer.reconnect();
        peer.send(b"get l\r\n");
        let answers = peer.answers();
        assert!(answers.windows(value.len()).any(|window| window == value), "{}", answers.len());
        peer.send(b"stats\r\n");
        let stats = String::from_utf8(peer.answers()).unwrap();
        assert!(!stats.contains("STAT evictions 0\r"), "{stats}");
    }
}
