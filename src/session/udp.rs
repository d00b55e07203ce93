//! A client over UDP: a session of its own serves each datagram, and the replies are cut into datagrams.
//!
//! An [`Exchange`] is one datagram being served. It belongs to a task of the ring whose socket received it (`server::udp`).
//!
//! The sender of a datagram may forge its address and needs no reply. So the cost of a datagram is bounded by its length: values
//! are counted and not copied before their reply is cut, dumps examine a bounded number of items, and no memory is reserved for a
//! value that is not in the datagram.
//!
//! The module makes sessions and feeds them, so it is above `feed`.

use super::progress::Next;
use super::state::Session;
use crate::config::Protocol;
use crate::engine::Engine;
use crate::limits::{DATAGRAM_DUMP_ITEMS_MAX, DATAGRAM_REPLY_BYTES_MAX};
use crate::output::{Cursor, Hole, Output, Receiver};
use crate::proto::udp::{self, Gap, Messages, PART_BYTES_MAX};
use crate::store::Wanted;

/// Datagrams to send, all of them in one buffer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Datagrams {
    /// The bytes of all datagrams, one after the other.
    pub bytes: Vec<u8>,
    /// The offset in `bytes` at which each datagram ends.
    pub ends: Vec<usize>,
}

impl Datagrams {
    /// Removes all datagrams. Their memory is reused for the next ones.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

/// What the caller must do after a step of an [`Exchange`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Call [`Exchange::step`] again.
    Go,
    /// Read the value that [`Exchange::take_wanted`] names, as for [`Next::Load`], then call [`Exchange::step`] again.
    Load,
    /// Fill the holes ([`Exchange::take_holes`]) if there are any, then cut and send the replies: all commands have run.
    Send,
}

/// A datagram that is being served. Call [`Exchange::step`] until it returns [`Then::Send`], fill the holes, then get the replies
/// from [`Exchange::cut`].
#[derive(Debug)]
pub struct Exchange {
    request: u16,
    session: Session,
    /// Number of bytes of the datagram that have been consumed, including its frame.
    at: usize,
    replies: Output,
    /// Length of the largest value in `replies`, bytes.
    largest_value: usize,
    /// True if the datagram is a `quit`. Over a stream `quit` has no reply; here the reply is a datagram with an empty payload.
    is_goodbye: bool,
    gaps: Vec<Gap>,
    messages: Messages,
    /// How much of `replies` [`Exchange::cut`] has cut.
    cut: Cursor,
    /// Bytes of the message being cut that are still to be cut. `sequence` is the number of its next datagram, and `total` the
    /// number of all its datagrams.
    left: usize,
    sequence: u16,
    total: u16,
}

impl Session {
    /// Makes the session of one datagram. It detects the protocol from the first byte, whatever `-B` says. `id` is the descriptor
    /// of the socket.
    fn for_datagram(engine: &Engine, id: u32) -> Self {
        let datagram = Some(DATAGRAM_DUMP_ITEMS_MAX);
        Self { datagram, is_special: true, refuses_stalls: true, ..Self::new(engine, id, Protocol::Auto) }
    }
}

impl Exchange {
    /// Begins to serve the request in `datagram`; `None` if there is no request that may be answered. `id` is the number of the
    /// socket in logs.
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

    /// Runs some of the commands in `datagram`, which must be the datagram that was given to [`Exchange::new`].
    ///
    /// An incomplete command at the end of `datagram` is ignored. A `watch` ends the exchange, because watching needs a
    /// connection. Replies that are too long are dropped.
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

    /// Records the positions in the replies of the values that are not copied, for `Messages`.
    fn note_gaps(&mut self) {
        self.gaps = self.replies.values().map(|(at, bytes)| Gap { at, bytes }).collect();
    }

    /// Takes the key and the place of the value that must be read from flash after [`Then::Load`]. `None` at other times.
    pub fn take_wanted(&mut self) -> Option<Box<Wanted>> {
        self.session.take_wanted()
    }

    /// True if values have to be read from flash for the replies before [`Exchange::cut`].
    pub fn has_holes(&self) -> bool {
        self.replies.has_holes()
    }

    /// Takes the holes of the replies, which the caller must fill: see [`Output::take_holes`].
    pub fn take_holes(&mut self) -> Vec<Hole> {
        self.replies.take_holes()
    }

    /// Gives the holes back with the values that could be read. A reply whose value could not be read becomes a miss.
    pub fn fill(&mut self, holes: Vec<Hole>) {
        self.replies.fill(holes);
        self.note_gaps();
    }

    /// Cuts datagrams from the replies and appends them to `answers`, until `answers` contains `count` datagrams or all replies
    /// are cut.
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

    /// Begins the next message; false if there is none. A message that needs more datagrams than a frame can count is skipped.
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
