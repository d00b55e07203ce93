//! The framing of datagrams: a request in one, a reply in as many as it takes.
//!
//! ```text
//!   byte  0 1         2 3        4 5         6 7        8 ..
//!         request id  sequence   datagrams   reserved   text or packets     all numbers big endian
//! ```
//!
//! A request is one datagram. Each reply to it is a message of its own with the request's id, cut into datagrams that
//! are counted from 0.
//!
//! Source: protocol.txt, "UDP protocol"; memcached 1.6.45 for what counts as one reply.

use super::binary::{HEADER_BYTES, MAGIC_REPLY};
use super::text::LINE_END;

/// Bytes in front of each datagram's part.
pub const FRAME_BYTES: usize = 8;
/// Longest datagram of a reply, bytes: it fits any usual path without being cut.
pub const DATAGRAM_BYTES_MAX: usize = 1400;
/// Most of a reply that one datagram carries, bytes.
const PART_BYTES_MAX: usize = DATAGRAM_BYTES_MAX - FRAME_BYTES;
/// The binary command whose replies are several packets.
const OPCODE_STAT: u8 = 0x10;
/// Datagrams that a frame can count.
const PARTS_MAX: usize = u16::MAX as usize;

/// The id and the commands of a request; `None` if it is none that is served: cut off, empty, or one of several
/// datagrams.
pub fn request(datagram: &[u8]) -> Option<(u16, &[u8])> {
    let (frame, commands) = datagram.split_first_chunk::<FRAME_BYTES>()?;
    let [id_high, id_low, _, _, total_high, total_low, _, _] = *frame;
    let total = u16::from_be_bytes([total_high, total_low]);
    (total == 1 && !commands.is_empty()).then(|| (u16::from_be_bytes([id_high, id_low]), commands))
}

/// The frame and the part of one datagram.
pub type Datagram<'r> = ([u8; FRAME_BYTES], &'r [u8]);

/// The datagrams that answer the request `id` with `replies`, each reply a message. One that needs more datagrams than
/// can be counted is left out.
pub fn answer(id: u16, replies: &[u8]) -> impl Iterator<Item = Datagram<'_>> {
    let mut rest = replies;
    let mut end = End::Alone;
    let messages = std::iter::from_fn(move || {
        let (reply, behind) = rest.split_at_checked(reply_bytes(rest, end)?)?;
        rest = behind;
        end = if reply.starts_with(VALUE) && !reply.ends_with(END) { End::Apart } else { End::Alone };
        Some(reply)
    });
    messages.flat_map(move |reply| {
        let total = reply.len().div_ceil(PART_BYTES_MAX);
        let parts = if total <= PARTS_MAX { reply } else { &[] }.chunks(PART_BYTES_MAX);
        parts.enumerate().map(move |(sequence, part)| (frame(id, sequence as u16, total as u16), part))
    })
}

/// The datagram that says that there is no reply.
pub fn nothing(id: u16) -> Datagram<'static> {
    (frame(id, 0, 0), b"")
}

fn frame(id: u16, sequence: u16, total: u16) -> [u8; FRAME_BYTES] {
    let mut frame = [0; FRAME_BYTES];
    for (field, value) in frame.chunks_exact_mut(2).zip([id, sequence, total]) {
        field.copy_from_slice(&value.to_be_bytes());
    }
    frame
}

/// Length of the first reply in `replies`, at least 1 and at most all of it; `None` if there is none.
fn reply_bytes(replies: &[u8], end: End) -> Option<usize> {
    let is_binary = *replies.first()? == MAGIC_REPLY;
    Some(if is_binary { packets_bytes(replies) } else { text_bytes(replies, end) })
}

const VALUE: &[u8] = b"VALUE ";
const END: &[u8] = b"END\r\n";

/// Where the end of a get stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// With the only value.
    Alone,
    /// In a message of its own, behind several.
    Apart,
}

/// A packet; of statistics, all packets up to the one without a key, which ends them.
fn packets_bytes(replies: &[u8]) -> usize {
    let mut end = 0;
    loop {
        let Some(header) = replies[end..].first_chunk::<HEADER_BYTES>() else { return replies.len() };
        let body_bytes = u32::from_be_bytes([header[8], header[9], header[10], header[11]]) as usize;
        end += HEADER_BYTES + body_bytes;
        if end >= replies.len() {
            return replies.len();
        }
        let ends_statistics = header[2] == 0 && header[3] == 0;
        if header[1] != OPCODE_STAT || ends_statistics {
            return end;
        }
    }
}

/// A line, with its value if it announces one. A list of statistics goes with its end, and so does a lone value.
fn text_bytes(replies: &[u8], place: End) -> usize {
    let end = item_bytes(replies);
    let behind = &replies[end..];
    if replies.starts_with(VALUE) {
        return if behind.starts_with(END) && place == End::Alone { end + END.len() } else { end };
    }
    if !LISTED.iter().any(|name| replies.starts_with(name)) {
        return end;
    }
    let mut end = end;
    while LISTED.iter().any(|name| replies[end..].starts_with(name)) {
        end += line_bytes(&replies[end..]);
    }
    if replies[end..].starts_with(END) { end + END.len() } else { end }
}

/// Lines that belong to the line in front of them.
const LISTED: [&[u8]; 3] = [b"STAT ", b"ITEM ", b"PREFIX "];

/// A line with its value.
fn item_bytes(replies: &[u8]) -> usize {
    let line_bytes = line_bytes(replies);
    let mut words = replies[..line_bytes].trim_ascii_end().split(|&byte| byte == b' ');
    let announced = match words.next() {
        Some(b"VALUE") => words.nth(2),
        Some(b"VA") => words.next(),
        _ => None,
    };
    match announced.and_then(crate::number::unsigned) {
        Some(value_bytes) => (line_bytes + value_bytes as usize + LINE_END.len()).min(replies.len()),
        None => line_bytes,
    }
}

fn line_bytes(replies: &[u8]) -> usize {
    memchr::memchr(b'\n', replies).map_or(replies.len(), |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(replies: &[u8]) -> Vec<Vec<u8>> {
        let mut messages: Vec<Vec<u8>> = Vec::new();
        for (frame, part) in answer(0x107, replies) {
            assert!(frame.len() + part.len() <= DATAGRAM_BYTES_MAX);
            assert_eq!(frame[..2], [1, 7]);
            if frame[2..4] == [0, 0] {
                messages.push(Vec::new());
            }
            messages.last_mut().unwrap().extend_from_slice(part);
        }
        messages
    }

    #[test]
    fn requests_are_single_datagrams_with_something_in_them() {
        assert_eq!(request(b"\x01\x02\x00\x05\x00\x01\x09\x09mn\r\n"), Some((0x102, &b"mn\r\n"[..])));
        for none in
            [&b""[..], b"\x01\x02\x00", b"\0\0\0\0\0\x01\0\0", b"\0\0\0\0\0\x02\0\0mn", b"\0\0\0\0\0\0\0\0mn"]
        {
            assert_eq!(request(none), None);
        }
    }

    #[test]
    fn each_reply_is_a_message() {
        let cases: [&[&[u8]]; 9] = [
            &[b"STORED\r\n"],
            &[b"VALUE a 0 1\r\n1\r\nEND\r\n"],
            &[b"VALUE a 0 6\r\nEND\r\n!\r\n", b"VALUE b 0 1 9\r\n2\r\n", b"END\r\n"],
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
    fn long_replies_are_cut_and_counted() {
        for len in [1391, 1392, 1393, 100_000] {
            let reply = vec![b'x'; len];
            let total = len.div_ceil(1392) as u16;
            let frames: Vec<_> = answer(7, &reply).map(|(frame, _)| frame).collect();
            let expected: Vec<_> = (0..total).map(|sequence| frame(7, sequence, total)).collect();
            assert_eq!(frames, expected);
            assert_eq!(messages(&reply), [reply]);
        }
        assert_eq!(answer(7, &vec![b'x'; PARTS_MAX * PART_BYTES_MAX + 1]).count(), 0);
        assert_eq!(answer(7, b"").count(), 0);
        assert_eq!(nothing(0x107), ([1, 7, 0, 0, 0, 0, 0, 0], &b""[..]));
    }
}
