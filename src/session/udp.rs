//! A client of datagrams: each is a conversation of its own, whose replies are datagrams again.
//!
//! The sender of a datagram may forge its address and needs no reply, so the cost of a datagram is bounded by its
//! length: values are counted and never copied before their reply is cut, dumps look at a bounded number of items, and
//! no memory is reserved for a value that is not there.
//!
//! Makes sessions and feeds them: above `feed`.

use super::progress::Next;
use super::state::Session;
use crate::config::Protocol;
use crate::engine::Engine;
use crate::limits::{DATAGRAM_DUMP_ITEMS_MAX, DATAGRAM_REPLY_BYTES_MAX};
use crate::output::{Cursor, Hole, Output, Receiver};
use crate::proto::udp::{self, Gap, Messages, PART_BYTES_MAX};
use crate::store::Wanted;

/// Datagrams, one behind the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Datagrams {
    /// Their bytes.
    pub bytes: Vec<u8>,
    /// Where each ends.
    pub ends: Vec<usize>,
}

impl Datagrams {
    /// Forgets them.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

/// What is to be done after a step of an [`Exchange`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The next step.
    Go,
    /// The next step, after [`Next::Load`].
    Load,
    /// The replies are complete but for [`Exchange::take_holes`].
    Send,
}

/// A request and its replies: run with [`Exchange::step`], filled with [`Exchange::fill`], then cut with [`Exchange::cut`].
#[derive(Debug)]
pub struct Exchange {
    request: u16,
    session: Session,
    /// Bytes of the datagram that are used up.
    at: usize,
    replies: Output,
    /// The largest value in `replies`, bytes.
    largest_value: usize,
    /// The client has said quit and nothing else.
    is_goodbye: bool,
    gaps: Vec<Gap>,
    messages: Messages,
    /// How much of `replies` has been cut.
    cut: Cursor,
    /// Of the message that is being cut: bytes left, the number of its next datagram, and how many it takes.
    left: usize,
    sequence: u16,
    total: u16,
}

impl Session {
    /// The session of one datagram, which speaks what it begins with whatever `-B` says; `id` is the number of its socket.
    fn for_datagram(engine: &Engine, id: u32) -> Self {
        let datagram = Some(DATAGRAM_DUMP_ITEMS_MAX);
        Self { datagram, is_special: true, refuses_stalls: true, ..Self::new(engine, id, Protocol::Auto) }
    }
}

impl Exchange {
    /// Begins to serve the request in `datagram`, if there is one. `id` is the socket's number in logs.
    pub fn new(engine: &Engine, id: u32, datagram: &[u8]) -> Option<Self> {
        let (request, commands) = udp::request(datagram)?;
        Some(Self {
            request,
            session: Session::for_datagram(engine, id),
            at: datagram.len() - commands.len(),
            replies: Output::default(),
            largest_value: 0,
            is_goodbye: false,
            gaps: Vec::new(),
            messages: Messages::default(),
            cut: Cursor::default(),
            left: 0,
            sequence: 0,
            total: 0,
        })
    }

    /// Runs some of the commands in `datagram`, which is the one it began with.
    ///
    /// What is unfinished at its end is passed over in silence. Watching needs a connection: it is ended.
    pub fn step(&mut self, engine: &mut Engine, datagram: &[u8]) -> Then {
        let mut out = Output::for_receiver(Receiver::Datagrams);
        let progress = self.session.feed(engine, &datagram[self.at..], &mut out);
        self.at += progress.consumed;
        self.largest_value = self.largest_value.max(out.longest_value());
        self.replies.append(out);
        if self.replies.len() - self.largest_value > DATAGRAM_REPLY_BYTES_MAX {
            self.replies.clear();
            return Then::Send;
        }
        match progress.next {
            Next::Resume => return Then::Go,
            Next::Load => return Then::Load,
            _ => {}
        }
        let is_quit = datagram[udp::FRAME_BYTES..].starts_with(b"quit");
        self.is_goodbye = progress.next == Next::Close && is_quit && self.replies.is_empty();
        self.note_gaps();
        Then::Send
    }

    fn note_gaps(&mut self) {
        self.gaps = self.replies.values().map(|(at, bytes)| Gap { at, bytes }).collect();
    }

    /// The value that is to be read after [`Then::Load`].
    pub fn take_wanted(&mut self) -> Option<Box<Wanted>> {
        self.session.take_wanted()
    }

    /// True if the replies lack values.
    pub fn has_holes(&self) -> bool {
        self.replies.has_holes()
    }

    /// Takes the values that the replies lack: see [`Output::take_holes`].
    pub fn take_holes(&mut self) -> Vec<Hole> {
        self.replies.take_holes()
    }

    /// Gives them back.
    pub fn fill(&mut self, holes: Vec<Hole>) {
        self.replies.fill(holes);
        self.note_gaps();
    }

    /// Appends the next replies to `answers`, until there are `count` datagrams in it or none is left.
    pub fn cut(&mut self, answers: &mut Datagrams, count: usize) {
        while answers.ends.len() < count && (self.left > 0 || self.next_message()) {
            let part_bytes = self.left.min(PART_BYTES_MAX);
            answers.bytes.extend_from_slice(&udp::frame(self.request, self.sequence, self.total));
            self.replies.read(&mut self.cut, part_bytes, |piece| answers.bytes.extend_from_slice(piece));
            answers.ends.push(answers.bytes.len());
            self.left -= part_bytes;
            self.sequence = self.sequence.wrapping_add(1);
        }
        if answers.ends.len() < count && std::mem::take(&mut self.is_goodbye) {
            answers.bytes.extend_from_slice(&udp::frame(self.request, 0, 0));
            answers.ends.push(answers.bytes.len());
        }
    }

    /// Goes on to the next message, past those of which the datagrams cannot be counted; false if there is none.
    fn next_message(&mut self) -> bool {
        while let Some(bytes) = self.messages.next_bytes(&self.replies.staged, &self.gaps) {
            if let Some(total) = udp::datagrams(bytes) {
                (self.left, self.sequence, self.total) = (bytes, 0, total);
                return true;
            }
            self.replies.read(&mut self.cut, bytes, |_| {});
        }
        false
    }
}
