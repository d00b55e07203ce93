//! Clients that work on keys of their own until the server ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use crate::harness::Client;
use crate::harness::random::Random;

use super::model::{Key, Kind, Span};
use super::operation::{How, Op, Reply};

/// Most operations sent at once.
const BATCH_MAX: usize = 8;
/// Bytes of requests and replies at which nothing more is sent at once, so that neither side waits for the other.
const BATCH_BYTES_MAX: usize = 40_000;
/// A large value grows no further than this, bytes.
const LARGE_BYTES_MAX: usize = 150_000;

/// What the clients of one server share.
#[derive(Debug)]
pub struct World {
    pub pid: Pid,
    /// The signal that ends the server, and after how many replies it is sent.
    pub end: Signal,
    pub end_after: usize,
    pub replies: AtomicUsize,
    /// Those that said that there was no memory.
    pub refusals: AtomicUsize,
    /// The first client flushes now and then.
    pub flushes: bool,
}

/// What outlives the servers.
#[derive(Debug, Default)]
pub struct Known {
    pub flushes_begun: AtomicU64,
    pub flushes_done: AtomicU64,
    /// The highest cas unique that was told.
    pub cas_max: AtomicU64,
}

/// A client and its keys.
#[derive(Debug)]
pub struct Worker {
    number: usize,
    pub keys: Vec<Key>,
    random: Random,
    versions: u64,
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

impl Known {
    /// The span of something that is about to be sent.
    fn begin(&self) -> Span {
        let now = unix_now();
        let flushes_before = self.flushes_done.load(Ordering::SeqCst);
        Span { sent: now, answered: now, flushes_before, flushes_begun: flushes_before }
    }

    fn end(&self, span: Span) -> Span {
        Span { answered: unix_now(), flushes_begun: self.flushes_begun.load(Ordering::SeqCst), ..span }
    }
}

impl World {
    fn count_reply(&self) {
        if self.replies.fetch_add(1, Ordering::SeqCst) + 1 == self.end_after {
            signal::kill(self.pid, self.end).unwrap();
        }
    }
}

impl Worker {
    pub fn new(number: usize, keys: usize, seed: u64, strict: bool) -> Self {
        let kind = |key: usize| match key % 8 {
            0 => Kind::Large,
            1 => Kind::Number,
            _ => Kind::Small,
        };
        let keys = (0..keys).map(|key| Key::new(format!("w{number}k{key}"), kind(key), strict)).collect();
        Self { number, keys, random: Random::new(seed), versions: 0 }
    }

    /// Reads all keys; how many are there.
    pub fn verify(&mut self, port: u16, known: &Known) -> usize {
        let mut client = Client::connect(port);
        let mut found = 0;
        for key in &mut self.keys {
            let (mut request, span) = (Vec::new(), known.begin());
            Op::Get.write(&key.name, &mut request);
            client.send(&request);
            let reply = Reply::read(&mut client).expect("the server serves");
            key.answered(&Op::Get, &reply, known.end(span));
            known.cas_max.fetch_max(reply.cas().unwrap_or(0), Ordering::SeqCst);
            found += usize::from(matches!(reply, Reply::Item { .. }));
        }
        found
    }

    /// Works until the server ends.
    pub fn work(&mut self, mut client: Client, world: &World, known: &Known) {
        loop {
            let is_on = match self.random.below(400) {
                0 | 1 if world.flushes && self.number == 0 => flush(&mut client, world, known),
                0 if self.number < 3 => self.stop_half_way(&mut client, known),
                _ => self.batch(&mut client, world, known),
            };
            if !is_on {
                return;
            }
        }
    }

    /// Sends operations at once and takes their replies; false at the end of the server.
    fn batch(&mut self, client: &mut Client, world: &World, known: &Known) -> bool {
        let mut sent: Vec<(usize, Op)> = Vec::new();
        let (mut request, mut bytes) = (Vec::new(), 0);
        let span = known.begin();
        let wanted = 1 + self.random.below(BATCH_MAX) * self.random.below(2);
        while sent.len() < wanted && bytes < BATCH_BYTES_MAX {
            let key = self.random.below(self.keys.len());
            let op = self.operation(key, sent.len() + 1 < wanted);
            bytes += op.bytes(self.keys[key].item());
            op.write(&self.keys[key].name, &mut request);
            sent.push((key, op));
        }
        if !sent.last().is_some_and(|(_, op)| op.has_reply()) {
            Op::Get.write(&self.keys[0].name, &mut request);
            sent.push((0, Op::Get));
        }
        let half = if self.random.one_in(8) { self.random.below(request.len()) } else { 0 };
        client.send_lossy(&request[..half]);
        client.send_lossy(&request[half..]);
        let mut unanswered = sent.into_iter().peekable();
        let mut quiet = Vec::new();
        while let Some((key, op)) = unanswered.next() {
            if !op.has_reply() {
                quiet.push((key, op));
                continue;
            }
            let Some(reply) = Reply::read(client) else {
                let rest = quiet.into_iter().chain([(key, op)]).chain(unanswered);
                rest.for_each(|(key, op)| self.keys[key].cut_off(&op, known.end(span)));
                return false;
            };
            world.count_reply();
            known.cas_max.fetch_max(reply.cas().unwrap_or(0), Ordering::SeqCst);
            let span = known.end(span);
            for (key, op) in quiet.drain(..) {
                // A refusal would not be told either.
                if world.refusals.load(Ordering::Relaxed) > 0 {
                    self.keys[key].cut_off(&op, span);
                } else {
                    self.keys[key].answered(&op, &Reply::Line("done, since the next is".to_owned()), span);
                }
            }
            if reply.is_refusal() {
                world.refusals.fetch_add(1, Ordering::Relaxed);
                self.keys[key].refused(&op, span);
            } else {
                self.keys[key].answered(&op, &reply, span);
            }
        }
        true
    }

    /// Sends a part of a set, and no more: nothing of it may ever be seen.
    fn stop_half_way(&mut self, client: &mut Client, _known: &Known) -> bool {
        let key = self.random.below(self.keys.len());
        let value = self.value(key);
        let mut request = Vec::new();
        Op::Store { how: How::Set, flags: 0, ttl: 0, value }.write(&self.keys[key].name, &mut request);
        let part = 1 + self.random.below(request.len() - 1);
        client.send_lossy(&request[..part]);
        self.keys[key].tell(format!("{part} of {} bytes of a set", request.len()));
        client.read_to_end();
        false
    }

    fn value(&mut self, key: usize) -> Arc<Vec<u8>> {
        self.versions += 1;
        let len = match self.keys[key].kind {
            Kind::Number => {
                let number = self.random.next() >> self.random.below(64);
                return Arc::new(number.to_string().into_bytes());
            }
            Kind::Small => self.random.below(2000) >> self.random.below(8),
            Kind::Large => 9_000 + (self.random.below(130_000) >> self.random.below(6)),
        };
        Arc::new(stamped(&self.keys[key].name, self.versions, len))
    }

    fn operation(&mut self, key: usize, may_be_quiet: bool) -> Op {
        let (kind, ttl) = (self.keys[key].kind, self.ttl());
        let how = match self.random.below(32) {
            0..4 => return Op::Get,
            4 => return Op::Delete { is_quiet: false },
            5 => return Op::Delete { is_quiet: may_be_quiet },
            6 | 7 => return Op::Touch(ttl),
            8 | 9 => return Op::GetAndTouch(ttl),
            10 => return Op::Invalidate(ttl),
            11 => return Op::Vivify(ttl),
            12..16 if kind == Kind::Number => {
                let by = self.random.next() >> self.random.below(64);
                return Op::Count { is_up: self.random.one_in(2), by };
            }
            12..14 => How::Append,
            14 | 15 => How::Prepend,
            16..18 => How::Add,
            18..20 => How::Replace,
            20..24 => match self.keys[key].item().map(|item| item.cas) {
                Some(Some(cas)) => How::Cas(cas),
                Some(None) => return Op::Get,
                None => How::Cas(1),
            },
            24 if may_be_quiet => How::Quiet,
            24..27 => How::Meta,
            _ => How::Set,
        };
        let flags = if self.random.one_in(2) { 0 } else { self.random.next() as u32 };
        let value = match how {
            How::Append | How::Prepend => self.part(key),
            _ => self.value(key),
        };
        let is_past = how == How::Set && self.random.one_in(12);
        Op::Store { how, flags, ttl: if is_past { -1 } else { ttl }, value }
    }

    /// What is appended or prepended.
    fn part(&mut self, key: usize) -> Arc<Vec<u8>> {
        self.versions += 1;
        let len = self.keys[key].item().map_or(0, |item| item.value.len());
        let part = match self.keys[key].kind {
            Kind::Large if len < LARGE_BYTES_MAX => 20_000,
            _ if len > LARGE_BYTES_MAX => 1,
            _ => 100,
        };
        let part = 1 + self.random.below(part);
        Arc::new(stamped(&self.keys[key].name, self.versions, part))
    }

    /// None, or one that no test outlives.
    fn ttl(&mut self) -> i32 {
        if self.random.one_in(2) { 0 } else { 1000 + self.random.below(100_000) as i32 }
    }
}

/// A value that says all over whose it is.
fn stamped(key: &str, version: u64, len: usize) -> Vec<u8> {
    let stamp = format!("{key}.{version}:");
    stamp.bytes().cycle().take(len).collect()
}

fn flush(client: &mut Client, world: &World, known: &Known) -> bool {
    known.flushes_begun.fetch_add(1, Ordering::SeqCst);
    client.send_lossy(b"flush_all\r\n");
    let Some(reply) = Reply::read(client) else { return false };
    assert_eq!(reply, Reply::Line("OK".to_owned()));
    known.flushes_done.store(known.flushes_begun.load(Ordering::SeqCst), Ordering::SeqCst);
    world.count_reply();
    true
}
