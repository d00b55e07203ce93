//! The lines of the text protocol that the copy sends and receives. Pure functions.

use crate::limits::{EXPTIME_RELATIVE_MAX, ITEM_SIZE_MAX, KEY_BYTES_MAX};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use std::io::Write as _;

/// A line of `lru_crawler metadump`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Dumped {
    Key(Vec<u8>),
    End,
}

/// Parses `key=KEY exp=…`, whose key is percent-encoded, or `END`; `None` for anything else.
pub(super) fn dumped(line: &[u8]) -> Option<Dumped> {
    if line == b"END" {
        return Some(Dumped::End);
    }
    let word = line.strip_prefix(b"key=")?.split(|&byte| byte == b' ').next()?;
    let key: Vec<u8> = percent_encoding::percent_decode(word).collect();
    (1..=KEY_BYTES_MAX).contains(&key.len()).then_some(Dumped::Key(key))
}

/// True for a key that a line of text cannot carry as it is; the binary protocol allows such keys.
fn needs_base64(key: &[u8]) -> bool {
    key.iter().any(|byte| matches!(byte, b' ' | b'\r' | b'\n' | 0))
}

fn push_base64(out: &mut Vec<u8>, key: &[u8]) {
    let start = out.len();
    out.resize(start + key.len().div_ceil(3) * 4, 0);
    // Fails only if the buffer is too short.
    let _ = BASE64.encode_slice(key, &mut out[start..]);
}

/// Appends the `mg` command that asks for an item's flags, TTL and value. A key that a line cannot carry is sent in base64, and
/// the answer then omits the key.
pub(super) fn push_get(out: &mut Vec<u8>, key: &[u8]) {
    out.extend_from_slice(b"mg ");
    if needs_base64(key) {
        push_base64(out, key);
        out.extend_from_slice(b" b f t v\r\n");
    } else {
        out.extend_from_slice(key);
        out.extend_from_slice(b" k f t v\r\n");
    }
}

/// The first line of the answer to an `mg`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The item was found. Its value follows this line.
    Item(Head),
    Miss,
    /// The server refuses to return the item.
    Refused,
}

/// What the answer says about an item, apart from its key and its value.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) value_bytes: u64,
    flags: u32,
    /// Seconds to live; `None` if it never expires.
    ttl: Option<u32>,
    key_is_binary: bool,
    /// True if the item is stale, or a client has been chosen to replace it.
    pub(super) is_stale: bool,
}

/// Parses the first line of an answer; `None` if no memcached sends such a line. Only spaces end a word, since a key may contain
/// any other byte.
pub(super) fn answer(line: &[u8]) -> Option<Answer> {
    let mut words = line.split(|&byte| byte == b' ').filter(|word| !word.is_empty());
    match words.next()? {
        b"EN" => return Some(Answer::Miss),
        b"CLIENT_ERROR" | b"SERVER_ERROR" => return Some(Answer::Refused),
        b"VA" => {}
        _ => return None,
    }
    let value_bytes = number(words.next()?).filter(|&bytes| bytes <= ITEM_SIZE_MAX as u64)?;
    let (mut flags, mut ttl) = (None, None);
    let (mut key_is_binary, mut is_stale) = (false, false);
    for word in words {
        match word.split_first()? {
            (b'f', digits) => flags = Some(number(digits)?),
            (b't', b"-1") => ttl = Some(None),
            (b't', digits) => ttl = Some(Some(number(digits)?)),
            (b'b', b"") => key_is_binary = true,
            (b'W' | b'X' | b'Z', b"") => is_stale = true,
            _ => {}
        }
    }
    Some(Answer::Item(Head { value_bytes, flags: flags?, ttl: ttl?, key_is_binary, is_stale }))
}

fn number<N: std::str::FromStr>(digits: &[u8]) -> Option<N> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

impl Head {
    /// True if the item expires before it can be stored. It must not be stored then, since a TTL of 0 would mean that it never
    /// expires.
    pub(super) fn has_expired(&self) -> bool {
        self.ttl == Some(0)
    }

    /// Appends the `ms` that stores the item unless its key has an item already; the value must follow. `unix_now` is the Unix
    /// time, seconds.
    pub(super) fn push_set(&self, out: &mut Vec<u8>, key: &[u8], unix_now: u64) {
        let is_encoded = self.key_is_binary || needs_base64(key);
        out.extend_from_slice(b"ms ");
        if is_encoded {
            push_base64(out, key);
        } else {
            out.extend_from_slice(key);
        }
        // Writing to a Vec cannot fail, here and below.
        let _ = write!(out, " {} ME F{}", self.value_bytes, self.flags);
        match self.ttl {
            None => {}
            Some(secs) if secs <= EXPTIME_RELATIVE_MAX => {
                let _ = write!(out, " T{secs}");
            }
            Some(secs) => {
                let _ = write!(out, " T{}", unix_now.saturating_add(secs.into()));
            }
        }
        out.extend_from_slice(if is_encoded { b" b\r\n" } else { b"\r\n" });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dumps_are_read() {
        let line = b"key=a%20b%25 exp=-1 la=1700000000 cas=2 fetch=no cls=1 size=64 flags=0";
        assert_eq!(dumped(line), Some(Dumped::Key(b"a b%".to_vec())));
        assert_eq!(dumped(b"END"), Some(Dumped::End));
        let long = [b"key=".as_slice(), &[b'x'; KEY_BYTES_MAX + 1]].concat();
        for garbage in [b"".as_slice(), b"BUSY", b"key=", b"END ", b"mg a", &long] {
            assert_eq!(dumped(garbage), None, "{}", garbage.escape_ascii());
        }
    }

    fn item(line: &[u8]) -> Head {
        let Some(Answer::Item(head)) = answer(line) else { panic!("{}", line.escape_ascii()) };
        head
    }

    #[test]
    fn answers_are_read() {
        let head = item(b"VA 10 kabc f7 t-1");
        let plain = Head { value_bytes: 10, flags: 7, ttl: None, key_is_binary: false, is_stale: false };
        assert_eq!(head, plain);
        let head = item(b"VA 0 kYWJj b f4294967295 t30 W X");
        assert_eq!(
            (head.flags, head.ttl, head.key_is_binary, head.is_stale),
            (u32::MAX, Some(30), true, true)
        );
        // A copy once ended at the first key that was not UTF-8.
        for key in [b"\xff\xff".as_slice(), b"a\tt5\x0bf9"] {
            let head = item(&[b"VA 3 k", key, b" f1 t-1"].concat());
            assert_eq!((head.value_bytes, head.flags, head.ttl), (3, 1, None));
        }
        assert_eq!(answer(b"EN"), Some(Answer::Miss));
        assert_eq!(answer(b"SERVER_ERROR out of memory"), Some(Answer::Refused));
        for garbage in [
            b"".as_slice(),
            b"VA",
            b"VA x f0 t-1",
            b"VA -1 f0 t-1",
            b"VA 1 t-1",
            b"VA 1 f0",
            b"VA 1 f0 t-2",
            b"VA 1 f4294967296 t-1",
            b"VA 99999999999 f0 t-1",
            b"VALUE a 0 1",
            b"HTTP/1.1 400 Bad Request",
            b"\xff\xfe",
        ] {
            assert_eq!(answer(garbage), None, "{}", garbage.escape_ascii());
        }
    }

    #[test]
    fn items_are_asked_for_and_stored() {
        let mut out = Vec::new();
        push_get(&mut out, b"abc");
        push_get(&mut out, b"a b");
        assert_eq!(out.escape_ascii().to_string(), r"mg abc k f t v\r\nmg YSBi b f t v\r\n");
        let stored = |line: &[u8], key: &[u8]| {
            let mut out = Vec::new();
            item(line).push_set(&mut out, key, 1_000_000_000);
            out.escape_ascii().to_string()
        };
        assert_eq!(stored(b"VA 3 kabc f0 t-1", b"abc"), r"ms abc 3 ME F0\r\n");
        assert_eq!(stored(b"VA 3 kYWJj b f1 t60", b"abc"), r"ms YWJj 3 ME F1 T60 b\r\n");
        assert_eq!(stored(b"VA 3 f1 t2592000", b"a b"), r"ms YSBi 3 ME F1 T2592000 b\r\n");
        // Above 30 days a number is a time, not a period.
        assert_eq!(stored(b"VA 3 kabc f1 t2592001", b"abc"), r"ms abc 3 ME F1 T1002592001\r\n");
        assert!(item(b"VA 3 kabc f1 t0").has_expired());
    }
}
