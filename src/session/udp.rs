//! A client of datagrams: each is a conversation of its own, whose replies are datagrams again.

use super::{Next, Session};
use crate::engine::Engine;
use crate::output::Output;
use crate::proto::udp;

/// Most that one request may be answered with beside a largest item, bytes: a bound on what a forged sender address can
/// make the server send.
const REPLY_BYTES_MAX: usize = 1 << 20;

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

    fn push(&mut self, (frame, part): udp::Datagram<'_>) {
        self.bytes.extend_from_slice(&frame);
        self.bytes.extend_from_slice(part);
        self.ends.push(self.bytes.len());
    }
}

/// Serves the request in `datagram`, appending its replies to `answers`. `id` is the socket's number in logs.
///
/// What is no request, and what is unfinished at its end, is passed over in silence. Watching and dumps of all keys need a
/// connection: they are ended.
pub fn serve(engine: &mut Engine, id: u32, datagram: &[u8], answers: &mut Datagrams) {
    let Some((request, mut commands)) = udp::request(datagram) else { return };
    let mut session = Session::new(engine, id);
    let mut out = Output::default();
    let mut replies = Vec::new();
    let bytes_max = engine.shared().config.item_size_max as usize + REPLY_BYTES_MAX;
    let is_over = loop {
        let progress = session.feed(engine, commands, &mut out);
        commands = &commands[progress.consumed..];
        out.pieces().for_each(|piece| replies.extend_from_slice(piece));
        out.clear();
        match progress.next {
            // A dump goes on without input.
            Next::Resume if commands.is_empty() || replies.len() > bytes_max => break false,
            Next::Resume => {}
            Next::Close => break true,
            Next::Read | Next::Receive | Next::Watch => break false,
        }
    };
    if replies.len() <= bytes_max {
        udp::answer(request, &replies).for_each(|datagram| answers.push(datagram));
    }
    if is_over && replies.is_empty() && datagram[udp::FRAME_BYTES..].starts_with(b"quit") {
        answers.push(udp::nothing(request));
    }
}
