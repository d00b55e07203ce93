//! Ways to show bytes that clients choose in lists, dumps, watchers' lines and logs. Pure functions.
//!
//! A key of the text protocol contains no space and no line feed, but a key in base64 or of the binary protocol may contain any
//! byte. Shown unescaped, such a key could end its line and forge the next one. So all code that shows a key does it through this
//! module; `tests/it/tree/tidy/mod.rs` lists where the keys of items are used.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use std::fmt::Display;

/// The bytes that are percent-encoded: all but letters, digits, `-`, `.`, `_` and `~`.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Shows `bytes` percent-encoded, as in memcached's dumps and watchers' lines.
pub fn percent(bytes: &[u8]) -> impl Display {
    percent_encode(bytes, ENCODED)
}

/// Shows `bytes` with Rust's escapes, as log lines do.
pub fn for_log(bytes: &[u8]) -> impl Display {
    bytes.escape_ascii()
}

/// Returns `key` unchanged, or `None` if it contains a space or a line feed, which would end a word or a line.
#[inline]
pub fn word(key: &[u8]) -> Option<&[u8]> {
    memchr::memchr2(b' ', b'\n', key).is_none().then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_ends_a_word_is_no_word() {
        for byte in 0..=u8::MAX {
            let key = [b'a', byte, b'b'];
            assert_eq!(word(&key).is_none(), byte == b' ' || byte == b'\n', "{byte}");
            let shown = percent(&key).to_string();
            assert!(shown.bytes().all(|byte| byte.is_ascii_graphic()), "{shown}");
            assert!(for_log(&key).to_string().bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()));
        }
    }
}
