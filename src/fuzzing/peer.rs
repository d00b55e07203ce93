//! A client of a session, together with the server behind it: an engine on a store, without rings and sockets. A [`Peer`]
//! owns all of it.

use super::flash::MemoryDevice;
use crate::clock::{Clock, Timestamp};
use crate::config::Config;
use crate::engine::{Engine, Shared, flash_options};
use crate::limits::RESERVATION_WAIT_MAX;
use crate::output::Output;
use crate::session::udp::{Datagrams, Exchange, Then};
use crate::session::{Next, Session};
use crate::store::{FlashOptions, Host, Options, Store};
use std::sync::Arc;

/// The host of a store with one ring, which has no other ring to wake.
struct Alone;

impl Host for Alone {
    fn wake(&self, _ring: usize) {}
}

/// A store as the server opens it for `config`, for this number of rings, but without the server.
///
/// # Panics
/// There is no address space.
pub fn store(config: &Config, rings: usize) -> Arc<Store> {
    store_with(config, rings, flash_options(config))
}

pub(super) fn store_with(config: &Config, rings: usize, flash: Option<FlashOptions>) -> Arc<Store> {
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

/// Makes an engine on a new store, as in a server with one ring. Its clock is set to second 100.
///
/// # Panics
/// Address space for the store cannot be reserved.
pub fn engine(config: Config) -> Engine {
    let store = store(&config, 1);
    engine_on(config, &store)
}

fn engine_on(config: Config, store: &Arc<Store>) -> Engine {
    let engine = Engine::new(Shared::new(config, Clock::start(), 1), store.shard(0), 0);
    engine.advance(Timestamp(100));
    engine
}

/// A client, together with the session and the server that serve it, on one thread and without I/O.
#[derive(Debug)]
pub struct Peer {
    pub(super) engine: Engine,
    session: Session,
    /// Bytes that the client has sent and the session has not consumed yet.
    carry: Vec<u8>,
    pub(super) out: Output,
    /// Replies that the test has not taken yet.
    answers: Vec<u8>,
    closed: bool,
    /// The device of the flash tier; unused if the server has no tier.
    pub(super) device: MemoryDevice,
    /// See [`Peer::reads_at_once`].
    pub(super) reads_at_once: usize,
    /// See [`Peer::demotes_again`].
    pub(super) demoted_again: Box<[u8]>,
    /// See [`Peer::set_meanwhile`].
    pub(super) meanwhile: Option<fn(&mut Self)>,
}

impl Peer {
    /// A client with a server of its own, which has one ring.
    pub fn new(config: Config) -> Self {
        let store = store(&config, 1);
        Self::on_store(config, &store)
    }

    pub(super) fn on_store(config: Config, store: &Arc<Store>) -> Self {
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
            reads_at_once: 0,
            demoted_again: Box::default(),
            meanwhile: None,
        }
    }

    /// The state that the rings of this client's server share.
    pub fn shared(&self) -> &Arc<Shared> {
        self.engine.shared()
    }

    /// The store of this client's server.
    pub fn store(&mut self) -> &Arc<Store> {
        self.engine.shard_mut().store()
    }

    pub(super) fn check(&mut self, now: Timestamp) -> Result<(), String> {
        self.engine.shard_mut().check(now)
    }

    /// Sends a datagram to the server, and returns all datagrams of the answer.
    pub fn datagram(&mut self, datagram: &[u8]) -> Datagrams {
        let mut answers = Datagrams::default();
        let Some(mut exchange) = self.exchange(datagram) else { return answers };
        while self.step(&mut exchange, datagram) {}
        exchange.cut(&mut answers, usize::MAX);
        answers
    }

    /// Begins to serve a datagram; `None` if the server ignores it.
    pub fn exchange(&self, datagram: &[u8]) -> Option<Exchange> {
        Exchange::new(&self.engine, 33, datagram)
    }

    /// Does the next step of serving a datagram. False once the replies are complete.
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

    /// Closes the connection and opens another one to the same server.
    pub fn reconnect(&mut self) {
        self.session = self.new_session(31);
        self.carry.clear();
        self.closed = false;
    }

    /// Sets the time of the server's store.
    pub fn set_now(&mut self, now: Timestamp) {
        self.engine.advance(now);
    }

    /// Sends `bytes` in one piece and runs the session on them. A large value is received into its reservation, as the kernel
    /// would do it.
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
                // No other value gives memory back, so the whole wait is skipped.
                Next::Wait => self.session.note_waited(RESERVATION_WAIT_MAX),
                Next::Read | Next::Resume | Next::Watch => {}
            }
            if !matches!(progress.next, Next::Resume | Next::Wait | Next::Load) {
                break;
            }
        }
    }

    /// Makes the session give up the memory of the value being received, as if other values needed it.
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

    /// Adds the log lines that have come for this client, which is a watcher, to its replies.
    pub fn pump(&mut self) {
        self.session.pump(&mut self.engine, &mut self.out);
        self.collect();
    }

    /// Runs `other` with this peer as another client of the same server: with a session and replies of its own.
    pub fn aside(&mut self, other: impl FnOnce(&mut Self)) {
        let aside = self.new_session(32);
        let session = std::mem::replace(&mut self.session, aside);
        let (answers, carry) = (std::mem::take(&mut self.answers), std::mem::take(&mut self.carry));
        other(self);
        self.session = session;
        (self.answers, self.carry) = (answers, carry);
    }

    /// Takes the replies received since the last call.
    pub fn answers(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.answers)
    }

    /// True if the server has closed the connection.
    pub fn is_closed(&self) -> bool {
        self.closed
    }
}
