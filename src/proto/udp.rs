//! Framing of datagrams: a request is one datagram, a reply as many as it needs. Pure functions, and a position in the replies
//! ([`Messages`]), which belongs to one exchange.
//!
//! ```text
//!   byte  0 1         2 3        4 5         6 7        8 ..
//!         request id  sequence   datagrams   reserved   text or packets     all numbers big endian
//! ```
//!
//! The reply to each request is a message of its own with the request's id. A message is split into datagrams numbered from 0.
//! Values need not be copied for that: see [`Gap`].
//!
//! Source: protocol.txt, "UDP protocol"; memcached 1.6.45 for which bytes are one reply.

use super::binary::{HEADER_BYTES, MAGIC_REPLY};
use super::text::LINE_END;
use crate::limits::DATAGRAM_BYTES_MAX;

/// Length of the frame at the start of each datagram, bytes.
pub const FRAME_BYTES: usize = 8;
/// Most bytes of replies in one datagram: its length without the frame.
pub const PART_BYTES_MAX: usize = DATAGRAM_BYTES_MAX - FRAME_BYTES;
/// The opcode of stat, the only command of the binary protocol whose reply consists of several packets.
const OPCODE_STAT: u8 = 0x10;

/// Splits a datagram into the request's id and its commands. `None` if the datagram must be ignored: it is truncated, has no
/// commands, is one of several datagrams of a request, or is a server's reply.
pub fn request(datagram: &[u8]) -> Option<(u16, &[u8])> {
    let (frame, commands) = datagram.split_first_chunk::<FRAME_BYTES>()?;
    let [id_high, id_low, _, _, total_high, total_low, _, _] = *frame;
    let total = u16::from_be_bytes([total_high, total_low]);
    (total == 1 && !is_reply(*commands.first()?)).then(|| (u16::from_be_bytes([id_high, id_low]), commands))
}

/// True if a payload that starts with `first` is a server's reply. Text replies start with a capital or a digit, and commands do
/// not. Replies must not be answered, or one sender with a forged address could make two servers answer each other for ever.
fn is_reply(first: u8) -> bool {
    first == MAGIC_REPLY || first.is_ascii_uppercase() || first.is_ascii_digit()
}

/// The header at the start of each datagram: request id, number of the datagram, number of datagrams, and two zero bytes.
pub type Frame = [u8; FRAME_BYTES];

/// Returns the frame of datagram `sequence`, counted from 0, of `total` datagrams in the reply to request `id`.
pub fn frame(id: u16, sequence: u16, total: u16) -> Frame {
    let mut frame = [0; FRAME_BYTES];
    for (field, value) in frame.chunks_exact_mut(2).zip([id, sequence, total]) {
        field.copy_from_slice(&value.to_be_bytes());
    }
    frame
}

/// Returns the number of datagrams that a message of `bytes` bytes takes; `None` if there are more than a frame can count.
pub fn datagrams(bytes: usize) -> Option<u16> {
    u16::try_from(bytes.div_ceil(PART_BYTES_MAX)).ok()
}

/// The place of a value that is not copied into the replies, but sent from item memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The offset in the copied bytes at which the value belongs.
    pub at: usize,
    /// Length of the value that belongs in the gap, bytes.
    pub bytes: usize,
}

/// Splits replies into messages: one message for each reply to a request.
#[derive(Debug, Default)]
pub struct Messages {
    /// Number of copied bytes in the messages so far. The next message begins at this offset.
    at: usize,
    /// Number of gaps in the messages so far.
    gap: usize,
}

impl Messages {
    /// Returns the length of the next message in bytes, and advances to the message after it; `None` after the last message.
    /// `copied` and `gaps` together are all replies.
    pub fn next_bytes(&mut self, copied: &[u8], gaps: &[Gap]) -> Option<usize> {
        let replies = Replies { copied, at: self.at, gaps: &gaps[self.gap..] };
        let behind = behind_reply(replies)?;
        let copied_bytes = behind.at - self.at;
        let passed = gaps.len() - behind.gaps.len();
        let left_out: usize = gaps[self.gap..passed].iter().map(|gap| gap.bytes).sum();
        (self.at, self.gap) = (behind.at, passed);
        Some(copied_bytes + left_out)
    }
}

/// The replies that begin at offset `at` of the copied bytes.
#[derive(Clone, Copy)]
struct Replies<'r> {
    copied: &'r [u8],
    at: usize,
    /// The gaps at or after `at`.
    gaps: &'r [Gap],
}

impl<'r> Replies<'r> {
    /// Returns the copied bytes from offset `at` on.
    fn text(self) -> &'r [u8] {
        &self.copied[self.at..]
    }

    /// Returns the replies that follow the next `bytes` bytes. A gap is always passed as a whole.
    fn behind(mut self, mut bytes: usize) -> Self {
        while let Some((gap, further)) = self.gaps.split_first()
            && gap.at - self.at < bytes
        {
            bytes -= (gap.at - self.at).min(bytes);
            self.at = gap.at;
            bytes = bytes.saturating_sub(gap.bytes);
            self.gaps = further;
        }
        self.at = self.at.saturating_add(bytes).min(self.copied.len());
        self
    }

    fn behind_line(self) -> Self {
        self.behind(line_bytes(self.text()))
    }
}

/// Returns the replies that follow the first one; `None` if there is no reply.
fn behind_reply(replies: Replies<'_>) -> Option<Replies<'_>> {
    let is_binary = *replies.text().first()? == MAGIC_REPLY;
    Some(if is_binary { behind_packets(replies) } else { behind_text(replies) })
}

const VALUE: &[u8] = b"VALUE ";
const END: &[u8] = b"END\r\n";

/// Returns the replies that follow the first packet. A list of statistics counts as one reply: all its packets up to the last
/// one, which has no key.
fn behind_packets(mut replies: Replies<'_>) -> Replies<'_> {
    loop {
        let Some(header) = replies.text().first_chunk::<HEADER_BYTES>() else {
            return replies.behind(replies.text().len());
        };
        let body_bytes = u32::from_be_bytes([header[8], header[9], header[10], header[11]]) as usize;
        replies = replies.behind(HEADER_BYTES + body_bytes);
        let ends_statistics = header[2] == 0 && header[3] == 0;
        if header[1] != OPCODE_STAT || ends_statistics || replies.text().is_empty() {
            return replies;
        }
    }
}

/// Returns the replies that follow the first line and the value that the line announces. An `END` after a list of statistics or
/// after a value belongs to the same reply.
fn behind_text(replies: Replies<'_>) -> Replies<'_> {
    let mut behind = behind_item(replies);
    if replies.text().starts_with(VALUE) {
        return behind_end(behind);
    }
    let is_listed = |text: &[u8]| LISTED.iter().any(|name| text.starts_with(name));
    if !is_listed(replies.text()) {
        return behind;
    }
    while is_listed(behind.text()) {
        behind = behind.behind_line();
    }
    behind_end(behind)
}

/// Passes an `END` line if it comes next.
fn behind_end(replies: Replies<'_>) -> Replies<'_> {
    if replies.text().starts_with(END) { replies.behind(END.len()) } else { replies }
}

/// The starts of the lines that may form a list. Consecutive lines of these kinds belong to one reply.
const LISTED: [&[u8]; 3] = [b"STAT ", b"ITEM ", b"PREFIX "];

/// Returns the replies that follow the first line and, if the line announces a value, that value.
fn behind_item(replies: Replies<'_>) -> Replies<'_> {
    let line_bytes = line_bytes(replies.text());
    let mut words = replies.text()[..line_bytes].trim_ascii_end().split(|&byte| byte == b' ');
    let announced = match words.next() {
        Some(b"VALUE") => words.nth(2),
        Some(b"VA") => words.next(),
        _ => None,
    };
    match announced.and_then(crate::number::unsigned) {
        Some(value_bytes) => {
            replies.behind((value_bytes as usize).saturating_add(line_bytes + LINE_END.len()))
        }
        None => replies.behind(line_bytes),
    }
}

/// Returns the length of the first line, with its line end; that of all bytes if there is no line end.
fn line_bytes(replies: &[u8]) -> usize {
    memchr::memchr(b'\n', replies).map_or(replies.len(), |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the messages of `replies`, in which runs of the byte `x` are gaps.
    fn messages(replies: &[u8]) -> Vec<Vec<u8>> {
        let mut messages = Messages::default();
        let mut cut = Vec::new();
        let mut rest = replies;
        let copied: Vec<u8> = replies.iter().copied().filter(|&byte| byte != b'x').collect();
        let mut gaps: Vec<Gap> = Vec::new();
        let mut at = 0;
        for run in replies.chunk_by(|one, other| (*one == b'x') == (*other == b'x')) {
            if run[0] == b'x' {
                gaps.push(Gap { at, bytes: run.len() });
            } else {
                at += run.len();
            }
        }
        while let Some(bytes) = messages.next_bytes(&copied, &gaps) {
            let (message, behind) = rest.split_at(bytes);
            cut.push(message.to_vec());
            rest = behind;
        }
        assert_eq!(rest, b"");
        cut
    }

    #[test]
    fn requests_are_single_non_empty_datagrams() {
        assert_eq!(request(b"\x01\x02\x00\x05\x00\x01\x09\x09mn\r\n"), Some((0x102, &b"mn\r\n"[..])));
        for none in
            [&b""[..], b"\x01\x02\x00", b"\0\0\0\0\0\x01\0\0", b"\0\0\0\0\0\x02\0\0mn", b"\0\0\0\0\0\0\0\0mn"]
        {
            assert_eq!(request(none), None);
        }
    }

    #[test]
    fn replies_are_not_requests() {
        for reply in ["END", "ERROR", "STORED", "VALUE a 0 1\r\n1", "HD", "42", "0", "STAT pid 1", "\u{81}"] {
            let datagram = [&b"\0\0\0\0\0\x01\0\0"[..], reply.as_bytes(), b"\r\n"].concat();
            let is_request = request(&datagram).is_some();
            // The last reply is two bytes in UTF-8, and no packet begins with the first of them.
            assert_eq!(is_request, reply == "\u{81}", "{reply}");
        }
        assert_eq!(request(b"\0\0\0\0\0\x01\0\0\x81\x0a"), None);
    }

    #[test]
    fn each_reply_is_a_message() {
        let cases: [&[&[u8]]; 12] = [
            &[b"STORED\r\n"],
            &[b"VALUE a 0 1\r\n1\r\nEND\r\n"],
            &[b"VALUE a 0 9\r\nxxxxxxxxx\r\nEND\r\n", b"HD\r\n"],
            &[b"VALUE a 0 4\r\nxxxx\r\n", b"VALUE b 0 2\r\nxx\r\nEND\r\n", b"VA 1\r\nx\r\n"],
            &[b"VA 4 f0\r\nxxxx\r\n", b"\x81\0\0\0\0\0\0\x01\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0x", b"MN\r\n"],
            &[b"VALUE a 0 6\r\nEND\r\n!\r\n", b"VALUE b 0 1 9\r\n2\r\nEND\r\n"],
            &[b"END\r\n", b"END\r\n", b"VALUE a 0 0\r\n\r\nEND\r\n"],
            &[b"VA 4 f0 s4\r\nMN\r\n\r\n", b"HD\r\n", b"MN\r\n"],
            &[b"STAT a 1\r\nSTAT b 2\r\nEND\r\n", b"RESET\r\n", b"STAT c 1\r\nEND\r\n"],
            &[b"5\r\n", b"ERROR\r\n"],
            &[b"\x81\x10\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\0\0\0\0\0ab\x81\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", b"\x81\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"],
            &[b"\x81\0\0\0\0\0\0\x01\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0x", b"\x81\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"],
        ];
        for expected in cases {
            assert_eq!(messages(&expected.concat()), expected, "{}", expected.concat().escape_ascii());
        }
    }

    #[test]
    fn datagrams_are_counted() {
        for (bytes, count) in [(0, 0), (1, 1), (1392, 1), (1393, 2), (65_535 * 1392, 65_535)] {
            assert_eq!(datagrams(bytes), Some(count), "{bytes}");
        }
        assert_eq!(datagrams(65_535 * 1392 + 1), None);
        assert_eq!(frame(0x107, 2, 0x304), [1, 7, 0, 2, 3, 4, 0, 0]);
    }
}
