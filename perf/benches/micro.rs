//! The cost of the parts of a request, without the kernel: parsers, sessions, the store with its log.
//!
//! `just micro [FILTER]`. A session runs as on a connection; "sending" drops what it has staged. Keys are visited in a fixed
//! random order, so that lookups miss the CPU caches as they do in a server.

use divan::Bencher;
use divan::counter::ItemsCount;
use memcrsd::clock::Timestamp;
use memcrsd::config::{Config, Protocol};
use memcrsd::engine::Engine;
use memcrsd::fuzzing;
use memcrsd::output::Output;
use memcrsd::proto::{binary, meta, text};
use memcrsd::session::{Next, Session};
use memcrsd::store::{Data, Edit, Item, Lookup, Put, Shard, Value};
use std::hint::black_box;

const KEYS: usize = 100_000;
const VALUE: [u8; 100] = [b'v'; 100];
const NOW: Timestamp = Timestamp(100);
/// Prepared inputs; a power of two.
const FEEDS: usize = 4096;
/// Writes of one sample; below the lag that the log allows.
const WRITES: usize = 1024;

fn main() {
    divan::main();
}

/// Configuration of a server with memory for all keys.
fn config() -> Config {
    Config { maxbytes: 1 << 30, ..Config::default() }
}

fn key(n: usize) -> String {
    format!("key-of-thirty-bytes-{:010}", n.wrapping_mul(40_503) % KEYS)
}

/// A connection to a server that holds all keys.
struct Client {
    engine: Engine,
    session: Session,
    out: Output,
}

impl Client {
    fn new() -> Self {
        let mut engine = fuzzing::engine(config());
        let mut session = Session::new(&engine, 30, Protocol::Auto);
        let mut out = Output::default();
        for n in 0..KEYS {
            let progress = session.feed(&mut engine, set(n).as_bytes(), &mut out);
            assert_eq!(progress.next, Next::Read);
            out.staged.clear();
        }
        let session = Session::new(&engine, 31, Protocol::Auto);
        Self { engine, session, out }
    }

    fn serve(&mut self, input: &[u8]) -> usize {
        let mut used = 0;
        while used < input.len() {
            used += self.session.feed(&mut self.engine, &input[used..], &mut self.out).consumed;
            black_box(&self.out.staged);
            self.out.staged.clear();
        }
        used
    }
}

fn set(n: usize) -> String {
    format!("set {} 0 0 100\r\n{}\r\n", key(n), VALUE.escape_ascii())
}

/// A binary get, or a set of a value of 100 bytes.
fn packet(opcode: u8, n: usize) -> Vec<u8> {
    let key = key(n);
    let (extras, value): (&[u8], &[u8]) = if opcode == 1 { (&[0; 8], &VALUE) } else { (&[], &[]) };
    let body_bytes = (extras.len() + key.len() + value.len()) as u32;
    let mut packet = vec![0x80, opcode, 0, key.len() as u8, extras.len() as u8, 0, 0, 0];
    packet.extend_from_slice(&body_bytes.to_be_bytes());
    packet.extend_from_slice(&[0; 12]);
    [&packet[..], extras, key.as_bytes(), value].concat()
}

/// Feeds `depth` commands at a time.
fn session(bencher: Bencher<'_, '_>, depth: usize, command: impl Fn(usize) -> Vec<u8>) {
    let feeds: Vec<Vec<u8>> =
        (0..FEEDS).map(|feed| (0..depth).flat_map(|place| command(feed * depth + place)).collect()).collect();
    let mut client = Client::new();
    let mut at = 0;
    bencher.counter(ItemsCount::new(depth)).bench_local(|| {
        at = (at + 1) % FEEDS;
        client.serve(&feeds[at])
    });
}

const DEPTHS: [usize; 2] = [1, 16];

#[divan::bench(args = DEPTHS)]
fn get_text(bencher: Bencher<'_, '_>, depth: usize) {
    session(bencher, depth, |n| format!("get {}\r\n", key(n)).into_bytes());
}

#[divan::bench(args = DEPTHS)]
fn get_meta(bencher: Bencher<'_, '_>, depth: usize) {
    session(bencher, depth, |n| format!("mg {} k v\r\n", key(n)).into_bytes());
}

#[divan::bench(args = DEPTHS)]
fn get_binary(bencher: Bencher<'_, '_>, depth: usize) {
    session(bencher, depth, |n| packet(0, n));
}

#[divan::bench(args = DEPTHS)]
fn set_text(bencher: Bencher<'_, '_>, depth: usize) {
    session(bencher, depth, |n| set(n).into_bytes());
}

#[divan::bench(args = DEPTHS)]
fn set_binary(bencher: Bencher<'_, '_>, depth: usize) {
    session(bencher, depth, |n| packet(1, n));
}

#[divan::bench(args = DEPTHS)]
fn touch(bencher: Bencher<'_, '_>, depth: usize) {
    session(bencher, depth, |n| format!("touch {} 0\r\n", key(n)).into_bytes());
}

/// One multiget is one input; an item is a key.
#[divan::bench]
fn multiget_of_100(bencher: Bencher<'_, '_>) {
    let feeds: Vec<String> = (0..FEEDS / 16)
        .map(|feed| {
            let keys: Vec<String> = (0..100).map(|place| key(feed * 100 + place)).collect();
            format!("get {}\r\n", keys.join(" "))
        })
        .collect();
    let mut client = Client::new();
    let mut at = 0;
    bencher.counter(ItemsCount::new(100_usize)).bench_local(|| {
        at = (at + 1) % feeds.len();
        client.serve(feeds[at].as_bytes())
    });
}

#[divan::bench]
fn parse_text_get(bencher: Bencher<'_, '_>) {
    let line = format!("get {}\r\n", key(1));
    bencher.bench(|| text::single_get(black_box(line.as_bytes())).map(|(_, bytes)| bytes));
}

#[divan::bench]
fn parse_text_set(bencher: Bencher<'_, '_>) {
    let line = format!("set {} 0 0 100", key(1));
    bencher.bench(|| matches!(text::parse(black_box(line.as_bytes()), 2), text::Command::Store(_)));
}

#[divan::bench]
fn parse_meta_get(bencher: Bencher<'_, '_>) {
    let line = format!("mg {} k v", key(1));
    bencher.bench(|| {
        let mut buffer = meta::KeyBuffer::default();
        let line = meta::line(text::Verb::Get, black_box(line.as_bytes()));
        line.is_some_and(|line| line.request(text::Verb::Get, &mut buffer).is_ok())
    });
}

#[divan::bench]
fn parse_binary_set(bencher: Bencher<'_, '_>) {
    let packet = packet(1, 1);
    bencher.bench(|| matches!(binary::parse(black_box(&packet)), binary::Parsed::Packet(_)));
}

#[divan::bench]
fn push_value_head(bencher: Bencher<'_, '_>) {
    let (key, mut out) = (key(1), Vec::with_capacity(256));
    bencher.bench_local(|| {
        out.clear();
        text::reply::value_head(&mut out, black_box(key.as_bytes()), 0, 100, None);
        out.len()
    });
}

fn put(shard: &mut Shard, n: usize) {
    let edit = |_: Option<&Item<'_>>| {
        let put = Put {
            flags: 0,
            exptime: Timestamp::NEVER,
            value: Value::Data,
            cas: None,
            stale: false,
            won: false,
            key_is_binary: false,
        };
        (Edit::Put(put), ())
    };
    shard.fresh(NOW).edit(key(n).as_bytes(), &mut Data::Bytes(&VALUE), edit).expect("room");
}

/// A lookup in the store alone.
#[divan::bench]
fn store_find(bencher: Bencher<'_, '_>) {
    let mut shard = fuzzing::store(&config(), 1).shard(0);
    (0..KEYS).for_each(|n| put(&mut shard, n));
    let keys: Vec<String> = (0..FEEDS).map(key).collect();
    let mut at = 0;
    bencher.bench_local(|| {
        at = (at + 1) % FEEDS;
        matches!(shard.fresh(NOW).find(keys[at].as_bytes()), Lookup::Hit(_))
    });
}

/// The whole cost of a write: the set on one ring, and its replay on every other.
#[divan::bench(args = [1, 2, 4, 8])]
fn store_set_and_replay(bencher: Bencher<'_, '_>, rings: usize) {
    let store = fuzzing::store(&config(), rings);
    let mut shards: Vec<Shard> = (0..rings).map(|ring| store.shard(ring)).collect();
    let mut next = 0;
    let mut write = || {
        for _ in 0..WRITES {
            put(&mut shards[0], next);
            next += 1;
        }
        for shard in &mut shards[1..] {
            shard.fresh(NOW);
        }
    };
    (0..KEYS / WRITES).for_each(|_| write());
    bencher.counter(ItemsCount::new(WRITES)).bench_local(write);
}
