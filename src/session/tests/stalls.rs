//! Tests of commands that cannot run because another ring has not replayed the log: they stay unconsumed in the input, and run or
//! are refused later.

use crate::clock::{Clock, Timestamp};
use crate::config::Config;
use crate::engine::{Engine, Shared};
use crate::fuzzing;
use crate::output::Output;
use crate::session::{Next, Progress, Session, udp};
use crate::store::{Data, Edit, Put, Shard, Value};

/// A session on one ring, and another ring that makes no progress.
struct Halves {
    engine: Engine,
    stuck: Shard,
    session: Session,
    out: Output,
}

impl Halves {
    fn new() -> Self {
        let config = Config::default();
        let store = fuzzing::store(&config, 2);
        let stuck = store.shard(1);
        let shared = Shared::new(config.clone(), Clock::start(), 2);
        let engine = Engine::new(shared, store.shard(0), 0);
        engine.advance(Timestamp(100));
        let session = Session::new(&engine, 30, config.protocol);
        Self { engine, stuck, session, out: Output::default() }
    }

    /// Writes until the log is full.
    fn fill_log(&mut self) {
        let put = || Put {
            flags: 0,
            exptime: Timestamp::NEVER,
            value: Value::Empty,
            cas: None,
            stale: false,
            won: false,
            key_is_binary: false,
        };
        let mut fresh = self.engine.shard_mut().fresh(Timestamp(100));
        while fresh.edit(b"filler", &mut Data::None, |_| (Edit::Put(put()), ())).is_ok() {}
    }

    fn free_log(&mut self) {
        self.stuck.fresh(Timestamp(100));
    }

    /// Feeds `input`, and feeds the unconsumed bytes again while the session asks to be resumed. Returns the bytes that are
    /// unconsumed in the end, and what the session asks for then.
    fn feed<'i>(&mut self, mut input: &'i [u8]) -> (&'i [u8], Next) {
        loop {
            let Progress { consumed, next } = self.session.feed(&mut self.engine, input, &mut self.out);
            input = &input[consumed..];
            if next != Next::Resume {
                return (input, next);
            }
        }
    }

    fn take_replies(&mut self) -> Vec<u8> {
        let replies = self.out.pieces().collect::<Vec<_>>().concat();
        self.out.clear();
        replies
    }
}

fn packet(opcode: u8, extras: &[u8], key: &[u8], value: &[u8]) -> Vec<u8> {
    let body_bytes = (extras.len() + key.len() + value.len()) as u32;
    let mut packet = vec![0x80, opcode, 0, key.len() as u8, extras.len() as u8, 0, 0, 0];
    packet.extend_from_slice(&body_bytes.to_be_bytes());
    packet.extend_from_slice(&[0; 12]);
    [&packet[..], extras, key, value].concat()
}

/// Returns commands, each with its reply if it runs and its reply if it is refused. The keys `n` (a number) and `k` must be
/// stored before.
fn commands() -> Vec<(Vec<u8>, &'static [u8], &'static [u8])> {
    const STORING: &[u8] = b"SERVER_ERROR out of memory storing object\r\n";
    const OTHER: &[u8] = b"SERVER_ERROR out of memory\r\n";
    let big = |front: &str| [front.as_bytes(), &vec![b'v'; 20_000], b"\r\n"].concat();
    vec![
        (b"set a 0 0 1\r\nx\r\n".to_vec(), b"STORED\r\n", STORING),
        (big("set a 0 0 20000\r\n"), b"STORED\r\n", STORING),
        (big("ms a 20000\r\n"), b"HD\r\n", STORING),
        (big("set a 0 0 20000 noreply\r\n"), b"", b""),
        (b"append k 0 0 1\r\nx\r\n".to_vec(), b"STORED\r\n", b"NOT_STORED\r\n"),
        (b"delete k\r\n".to_vec(), b"DELETED\r\n", OTHER),
        (b"incr n 1\r\n".to_vec(), b"2\r\n", OTHER),
        (b"touch k 100\r\n".to_vec(), b"TOUCHED\r\n", OTHER),
        (b"gat 100 k\r\n".to_vec(), b"VALUE k 0 1\r\nv\r\nEND\r\n", OTHER),
        (b"gat 100 none k n\r\n".to_vec(), b"VALUE k 0 1\r\nv\r\nVALUE n 0 1\r\n1\r\nEND\r\n", OTHER),
        (b"flush_all\r\n".to_vec(), b"OK\r\n", OTHER),
        (b"mg k v T100\r\n".to_vec(), b"VA 1\r\nv\r\n", OTHER),
        (b"mg new v N100\r\n".to_vec(), b"VA 0 W\r\n\r\n", OTHER),
        (b"ms a 1\r\nx\r\n".to_vec(), b"HD\r\n", STORING),
        (b"md k\r\n".to_vec(), b"HD\r\n", OTHER),
        (b"ma n\r\n".to_vec(), b"HD\r\n", OTHER),
        (
            b"ma new N0 J5 v\r\n".to_vec(),
            b"VA 1\r\n5\r\n",
            b"SERVER_ERROR Out of memory allocating new item\r\n",
        ),
    ]
}

/// A write that must wait for another ring ends the feed before the write. It must not sleep on its own ring's thread, where it
/// would delay all other connections.
#[test]
fn commands_that_must_wait_stop_in_front_of_themselves() {
    for (sent, reply, refusal) in commands() {
        let shown = sent[..sent.len().min(30)].escape_ascii().to_string();
        for is_refused in [false, true] {
            let mut halves = Halves::new();
            halves.feed(b"set k 0 0 1 noreply\r\nv\r\nset n 0 0 1 noreply\r\n1\r\n");
            halves.fill_log();
            // The command before it is answered.
            let all = [b"mn\r\n", &sent[..], b"get k\r\n"].concat();
            let (rest, next) = halves.feed(&all);
            assert_eq!((next, &halves.take_replies()[..]), (Next::Stall, &b"MN\r\n"[..]), "{shown}");
            let (again, next) = halves.feed(rest);
            assert_eq!(
                (next, again.len(), halves.take_replies().len()),
                (Next::Stall, rest.len(), 0),
                "{shown}"
            );
            if is_refused {
                halves.session.refuse_stalls();
            } else {
                halves.free_log();
            }
            let (rest, next) = halves.feed(again);
            let replies = halves.take_replies();
            let expected = if is_refused { refusal } else { reply };
            assert_eq!((next, rest), (Next::Read, &b""[..]), "{shown}");
            let replies = replies.strip_prefix(expected);
            let replies = replies.unwrap_or_else(|| panic!("{shown}, {is_refused}"));
            if is_refused {
                assert_eq!(
                    replies, b"VALUE k 0 1\r\nv\r\nEND\r\n",
                    "{shown}: what is refused changes nothing"
                );
            }
        }
    }
}

/// A command that changes nothing does not wait for other rings.
#[test]
fn commands_that_change_nothing_run() {
    let mut halves = Halves::new();
    halves.feed(b"set k 0 0 1 noreply\r\nv\r\n");
    halves.fill_log();
    let sent = b"add k 0 0 1\r\nx\r\ndelete none\r\nincr none 1\r\nincr k 1\r\ntouch none 5\r\nmg none v T5\r\nmd none\r\n";
    assert_eq!(halves.feed(sent), (&b""[..], Next::Read));
    let expected = b"NOT_STORED\r\nNOT_FOUND\r\nNOT_FOUND\r\n\
        CLIENT_ERROR cannot increment or decrement non-numeric value\r\nNOT_FOUND\r\nEN\r\nNF\r\n";
    assert_eq!(halves.take_replies().escape_ascii().to_string(), expected.escape_ascii().to_string());
}

#[test]
fn packets_that_must_wait_stop_in_front_of_themselves() {
    let big = vec![b'v'; 20_000];
    for (sent, status) in [
        (packet(0x01, &[0; 8], b"a", b"x"), 0),
        (packet(0x01, &[0; 8], b"a", &big), 0),
        (packet(0x04, b"", b"k", b""), 0),
        (packet(0x05, &[0; 20], b"n", b""), 0),
        (packet(0x08, b"", b"", b""), 0),
        (packet(0x1c, &[0; 4], b"k", b""), 0),
        (packet(0x1d, &[0; 4], b"k", b""), 0),
    ] {
        for is_refused in [false, true] {
            let mut halves = Halves::new();
            let sets = [packet(0x01, &[0; 8], b"k", b"v"), packet(0x01, &[0; 8], b"n", b"1")].concat();
            halves.feed(&sets);
            halves.take_replies();
            halves.fill_log();
            let (rest, next) = halves.feed(&sent);
            assert_eq!((next, halves.take_replies().len()), (Next::Stall, 0), "{}", sent[1]);
            if is_refused {
                halves.session.refuse_stalls();
            } else {
                halves.free_log();
            }
            assert_eq!(halves.feed(rest), (&b""[..], Next::Read));
            let replies = halves.take_replies();
            let expected = if is_refused { 0x82 } else { status };
            assert_eq!(replies[6..8], [0, expected], "{}", sent[1]);
        }
    }
}

/// Commands in datagrams are refused instead of waiting for other rings.
#[test]
fn datagrams_are_refused_at_once() {
    let mut halves = Halves::new();
    halves.fill_log();
    let datagram = b"\x00\x01\x00\x00\x00\x01\x00\x00set a 0 0 1\r\nx\r\n";
    let mut exchange = udp::Exchange::new(&halves.engine, 5, datagram).unwrap();
    assert_eq!(exchange.step(&mut halves.engine, datagram), udp::Then::Send);
    let mut answers = udp::Datagrams::default();
    exchange.cut(&mut answers, 10);
    assert_eq!(&answers.bytes[8..], b"SERVER_ERROR out of memory storing object\r\n");
}
