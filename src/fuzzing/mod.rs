//! Bodies of the fuzz targets, and what they share with tests and benchmarks: an engine without a server, and a client of
//! a session.
//!
//! Each target takes arbitrary bytes and panics if a promise is broken.

pub mod flash;
mod memory_file;
mod model;
pub mod rings;
mod seed;
mod storage;
mod tier;

pub use memory_file::memory_file;
pub use model::model;
pub use seed::seed;
pub use storage::storage;
pub use tier::tier;

use crate::clock::{Clock, Timestamp};
use crate::config::{self, Config, Environment};
use crate::engine::{Engine, Shared, flash_options};
use crate::limits::{LINE_BYTES_MAX, RESERVATION_WAIT_MAX};
use crate::output::Output;
use crate::proto::meta::KeyBuffer;
use crate::proto::text::{Command, Verb};
use crate::session::udp::{Datagrams, Exchange, Then};
use crate::session::{Next, Session};
use crate::store::{FlashOptions, Host, Options, Store};
use flash::MemoryDevice;
use std::sync::Arc;

/// A host without other rings.
struct Alone;

impl Host for Alone {
    fn wake(&self, _ring: usize) {}
}

/// A store as the server opens it for `config`, without a server.
///
/// # Panics
/// There is no address space.
pub fn store(config: &Config, rings: usize) -> Arc<Store> {
    store_with(config, rings, flash_options(config))
}

fn store_with(config: &Config, rings: usize, flash: Option<FlashOptions>) -> Arc<Store> {
    let options = Options {
        memory_limit: config.maxbytes,
        item_size_max: config.item_size_max,
        evict: config.evictions,
        rings,
        replicas: rings,
        classes: crate::engine::classes(config),
        seed: Some(7),
        log_entries: None,
        address_space: None,
        memory_file: None,
        flash,
    };
    Store::new(options, Box::new(Alone)).expect("address space")
}

/// The engine of a server of one ring, 100 seconds after its start.
///
/// # Panics
/// There is no address space.
pub fn engine(config: Config) -> Engine {
    let store = store(&config, 1);
    engine_on(config, &store)
}

fn engine_on(config: Config, store: &Arc<Store>) -> Engine {
    let engine = Engine::new(Shared::new(config, Clock::start(), 1), store.shard(0), 0);
    engine.advance(Timestamp(100));
    engine
}

/// A client connected to a session.
#[derive(Debug)]
pub struct Peer {
    engine: Engine,
    session: Session,
    /// Sent, not yet consumed.
    carry: Vec<u8>,
    out: Output,
    /// Replies not yet taken.
    answers: Vec<u8>,
    closed: bool,
    /// Of the flash tier, if there is one.
    device: MemoryDevice,
    /// See [`Peer::stows_again`].
    stowed_again: Box<[u8]>,
    /// See [`Peer::set_meanwhile`].
    meanwhile: Option<fn(&mut Self)>,
}

impl Peer {
    /// A client with a server of its own.
    pub fn new(config: Config) -> Self {
        let store = store(&config, 1);
        Self::on_store(config, &store)
    }

    fn on_store(config: Config, store: &Arc<Store>) -> Self {
        let engine = engine_on(config, store);
        let session = Session::new(&engine, 30, engine.shared().config.protocol);
        Self {
            engine,
            session,
            carry: Vec::new(),
            out: Output::default(),
            answers: Vec::new(),
            closed: false,
            device: MemoryDevice::default(),
            stowed_again: Box::default(),
            meanwhile: None,
        }
    }

    /// What all rings share.
    pub fn shared(&self) -> &Arc<Shared> {
        self.engine.shared()
    }

    /// The store of its server.
    pub fn store(&mut self) -> &Arc<Store> {
        self.engine.shard_mut().store()
    }

    fn check(&mut self, now: Timestamp) -> Result<(), String> {
        self.engine.shard_mut().check(now)
    }

    /// Sends a datagram to the same server.
    pub fn datagram(&mut self, datagram: &[u8]) -> Datagrams {
        let mut answers = Datagrams::default();
        let Some(mut exchange) = self.exchange(datagram) else { return answers };
        while self.step(&mut exchange, datagram) {}
        exchange.cut(&mut answers, usize::MAX);
        answers
    }

    /// Starts serving a datagram.
    pub fn exchange(&self, datagram: &[u8]) -> Option<Exchange> {
        Exchange::new(&self.engine, 33, datagram)
    }

    /// Continues serving it; false if it has been served.
    pub fn step(&mut self, exchange: &mut Exchange, datagram: &[u8]) -> bool {
        match exchange.step(&mut self.engine, datagram) {
            Then::Go => return true,
            Then::Load => {
                self.load_wanted(exchange.take_wanted());
                return true;
            }
            Then::Send => {}
        }
        self.fill_exchange(exchange);
        false
    }

    fn new_session(&self, id: u32) -> Session {
        Session::new(&self.engine, id, self.shared().config.protocol)
    }

    /// Disconnects and connects again.
    pub fn reconnect(&mut self) {
        self.session = self.new_session(31);
        self.carry.clear();
        self.closed = false;
    }

    /// Moves the clock.
    pub fn set_now(&mut self, now: Timestamp) {
        self.engine.advance(now);
    }

    /// Sends `bytes` in one piece. Large values are received into their reservations, as from the kernel.
    pub fn send(&mut self, bytes: &[u8]) {
        if self.closed {
            return;
        }
        let mut bytes = bytes;
        if self.carry.is_empty()
            && let Some(mut reservation) = self.session.lend_reservation()
        {
            bytes = &bytes[reservation.fill(bytes)..];
            self.session.return_reservation(reservation);
        }
        self.carry.extend_from_slice(bytes);
        loop {
            let progress = self.session.feed(&mut self.engine, &self.carry, &mut self.out);
            assert!(progress.consumed <= self.carry.len());
            self.carry.drain(..progress.consumed);
            self.collect();
            match progress.next {
                Next::Close | Next::Reject => self.closed = true,
                Next::Receive => {
                    assert!(self.carry.is_empty(), "a reservation is filled before more is asked for");
                }
                Next::Stall => panic!("there is no ring to wait for"),
                Next::Load => {
                    let wanted = self.session.take_wanted();
                    self.load_wanted(wanted);
                }
                // Nobody gives any back meanwhile.
                Next::Wait => self.session.note_waited(RESERVATION_WAIT_MAX),
                Next::Read | Next::Resume | Next::Watch => {}
            }
            if !matches!(progress.next, Next::Resume | Next::Wait | Next::Load) {
                break;
            }
        }
    }

    /// Others need the memory of the value that is being received.
    pub fn give_up_value(&mut self) {
        self.session.give_up_value();
    }

    fn collect(&mut self) {
        let mut out = std::mem::take(&mut self.out);
        self.fill(&mut out);
        self.out = out;
        self.out.pieces().for_each(|piece| self.answers.extend_from_slice(piece));
        self.out.clear();
    }

    /// Receives a watcher's lines.
    pub fn pump(&mut self) {
        self.session.pump(&mut self.engine, &mut self.out);
        self.collect();
    }

    /// Another client of the same server, with its own session; `other` runs with it as the current one.
    pub fn aside(&mut self, other: impl FnOnce(&mut Self)) {
        let aside = self.new_session(32);
        let session = std::mem::replace(&mut self.session, aside);
        let (answers, carry) = (std::mem::take(&mut self.answers), std::mem::take(&mut self.carry));
        other(self);
        self.session = session;
        (self.answers, self.carry) = (answers, carry);
    }

    /// Takes the replies.
    pub fn answers(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.answers)
    }

    /// True if the server has closed the connection.
    pub fn is_closed(&self) -> bool {
        self.closed
    }
}

/// Any command line is rejected with a message, or accepted with settings within their bounds.
pub fn arguments(data: &[u8]) {
    let words: Vec<String> = String::from_utf8_lossy(data).split('\n').map(str::to_owned).collect();
    let environment = Environment {
        program: "memcached".to_owned(),
        cores: 4,
        large_pages: false,
        tls: true,
        sasl_pwdb: None,
        port_file: None,
    };
    match config::parse(&words, &environment) {
        Ok(config::Request::Run(config)) => {
            assert!((1..=1024).contains(&config.num_threads) && config.maxconns > 0);
            assert!(config.item_size_max <= config.maxbytes && config.reqs_per_event > 0);
            assert!(config.factor > 1.0);
            let _ = crate::engine::classes(&config);
        }
        Ok(config::Request::Print(text)) => assert!(!text.is_empty()),
        Ok(config::Request::Probe(_) | config::Request::Top(_)) => {}
        Err(refusal) => {
            assert!(refusal.status != 0 && refusal.lines.iter().all(|line| !line.ends_with('\n')));
        }
    }
}

/// The text parser survives any line.
pub fn text(data: &[u8]) {
    for line in data.split(|&byte| byte == b'\n') {
        if let Command::Get(get) = crate::proto::text::parse(line, 2) {
            assert!(get.keys.into_iter().all(|key| !key.is_empty() && !key.contains(&b' ')));
        }
    }
}

/// The meta parser survives any line.
pub fn meta(data: &[u8]) {
    for line in data.split(|&byte| byte == b'\n') {
        for verb in [Verb::Get, Verb::Set, Verb::Delete, Verb::Arith, Verb::Debug] {
            let Some(line) = crate::proto::meta::line(verb, line) else { continue };
            let mut buffer = KeyBuffer::default();
            let _ = line.debug_key(&mut buffer);
            if let Ok((key, request)) = line.request(verb, &mut buffer) {
                assert!(!key.is_empty());
                let _ = (request.store(key), request.count(key));
            }
        }
    }
}

/// The binary parser survives any bytes, and never reads beyond the packet's head.
pub fn binary(data: &[u8]) {
    use crate::proto::binary::{Parsed, parse};
    if let Parsed::Packet(packet) = parse(data) {
        assert!(matches!(parse(&data[..packet.head_bytes.min(data.len())]), Parsed::Packet(_)));
    }
}

/// The reply to any datagram is datagrams that can be reassembled, or nothing.
pub fn udp(data: &[u8]) {
    let mut peer = Peer::new(Config::default());
    for datagram in data.chunks(3000) {
        check(&peer.datagram(datagram));
    }
}

/// Checks that messages are complete and their datagrams numbered.
fn check(answers: &Datagrams) {
    use crate::limits::DATAGRAM_BYTES_MAX;
    use crate::proto::udp::FRAME_BYTES;
    let mut from = 0;
    let mut last = (0, 0);
    for &end in &answers.ends {
        let datagram = &answers.bytes[from..end];
        assert!((FRAME_BYTES..=DATAGRAM_BYTES_MAX).contains(&datagram.len()));
        let number = |at: usize| u16::from_be_bytes([datagram[at], datagram[at + 1]]);
        let (sequence, total) = (number(2), number(4));
        assert!(sequence == 0 || last == (sequence - 1, total), "counted from 0 without a gap");
        assert!(sequence < total || total == 0 && datagram.len() == FRAME_BYTES);
        assert!(last.0 + 1 >= last.1 || sequence > 0, "a message comes whole");
        last = (sequence, total);
        from = end;
    }
    assert!(last.0 + 1 >= last.1);
}

/// Replies to arbitrary bytes do not depend on how they are split. The first byte is the number of piece lengths that
/// follow it.
pub fn session(data: &[u8]) {
    let Some((&count, data)) = data.split_first() else { return };
    let (lengths, data) = data.split_at(usize::from(count).min(data.len()));
    let mut whole = Peer::new(Config::default());
    whole.send(data);
    let mut pieces = Peer::new(Config::default());
    let mut rest = data;
    for &length in lengths {
        let (piece, behind) = rest.split_at((usize::from(length) * 16 + 1).min(rest.len()));
        pieces.send(piece);
        rest = behind;
    }
    pieces.send(rest);
    let (whole_answers, pieces_answers) = (whole.answers(), pieces.answers());
    // General statistics include the CPU time, which is never the same twice; dumps and watchers refuse to start while
    // replies are unsent.
    for marks in [&b"rusage_"[..], b"cannot pipeline"] {
        for answers in [&whole_answers, &pieces_answers] {
            if memchr::memmem::find(answers, marks).is_some() {
                return;
            }
        }
    }
    // Whether a very long line closes the connection depends on how much of it has arrived, as in memcached.
    let long_line = data.split(|&byte| byte == b'\n').any(|line| line.len() > LINE_BYTES_MAX);
    if long_line && pieces.is_closed() {
        return assert!(whole_answers.starts_with(&pieces_answers));
    }
    assert_eq!(whole_answers.escape_ascii().to_string(), pieces_answers.escape_ascii().to_string());
    assert_eq!(whole.is_closed(), pieces.is_closed());
}
