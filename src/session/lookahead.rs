//! Lookahead: prefetches the index entries and items that the next commands in the input will access. It stages nothing and
//! changes nothing.
//!
//! A lookup misses the CPU caches three or four times in sequence, which takes longer than everything else in a small command. In
//! a pipeline the misses can overlap, because all keys are known when the first command runs. Parsing the keys twice costs a
//! tenth of what it saves (`just micro`).
//!
//! The module imports nothing of the session except its state.

use super::state::{Dialect, InputBatch, Session};
use crate::proto::{binary, text};
use crate::store::Hash;

/// Most keys that are prefetched together.
pub(super) const KEYS_TOGETHER_MAX: usize = 16;

impl Session {
    /// Prefetches for the next commands in the input. Does nothing if they have been prefetched already, or if there is only one
    /// command.
    #[inline]
    pub(super) fn look_ahead(&self, feed: &mut InputBatch<'_, '_>) {
        if feed.at < feed.looked {
            return;
        }
        let peek = if self.dialect == Dialect::Binary { binary::peek } else { text::peek };
        let rest = feed.rest();
        if let Some((key, bytes)) = peek(rest)
            && bytes < rest.len()
        {
            look_further(feed, key, bytes, peek);
        }
    }
}

/// A function that returns the key of the command at the start of the input, and the length in bytes of that command with its
/// value. `None` if either is not clear.
type Peek = fn(&[u8]) -> Option<(&[u8], usize)>;

/// Prefetches for up to [`KEYS_TOGETHER_MAX`] commands: the command with `key`, whose length is `bytes`, and those that follow
/// it. Sets `feed.looked` to the end of the last one.
fn look_further<'f>(feed: &mut InputBatch<'f, '_>, key: &'f [u8], bytes: usize, peek: Peek) {
    let rest = feed.rest();
    let mut keys = [key; KEYS_TOGETHER_MAX];
    let (mut count, mut end) = (1, bytes);
    while count < KEYS_TOGETHER_MAX
        && let Some(behind) = rest.get(end..)
        && let Some((key, bytes)) = peek(behind)
    {
        keys[count] = key;
        count += 1;
        end += bytes;
    }
    feed.looked = feed.at + end;
    feed.executor.prefetch(&keys[..count], &mut [Hash::default(); KEYS_TOGETHER_MAX]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_peeked(peek: Peek, command: &[u8], key: &[u8]) {
        let pipeline = [command, b"get next\r\n"].concat();
        let shown = command.escape_ascii();
        assert_eq!(peek(&pipeline), Some((key, command.len())), "{shown}");
    }

    #[test]
    fn text_commands_are_measured_with_their_blocks() {
        for (command, key) in [
            (&b"get a\r\n"[..], &b"a"[..]),
            (b"get some keys\n", b"some"),
            (b"set b 0 0 4\r\nget \r\n", b"b"),
            (b"append b 0 0 4 noreply\r\nget \r\n", b"b"),
            (b"mg c v t\r\n", b"c"),
            (b"ms d 2 T0 Oset\r\nhi\r\n", b"d"),
            (b"incr e 5\r\n", b"e"),
        ] {
            assert_peeked(text::peek, command, key);
        }
        for none in [&b"get a"[..], b"mn\r\n", b"set b 0 0 x\r\n", b"cas b 0 0 1 7\r\n1\r\n", b"\r\n", b""] {
            assert_eq!(text::peek(none), None, "{}", none.escape_ascii());
        }
    }

    #[test]
    fn packets_are_measured_with_their_values() {
        let mut packet = vec![0x80, 1, 0, 3, 8, 0, 0, 0, 0, 0, 0, 16];
        packet.extend_from_slice(&[0; 12]);
        packet.extend_from_slice(b"flagstimkeyvalue");
        assert_peeked(binary::peek, &packet, b"key");
        assert_eq!(binary::peek(&packet[..34]), None);
        assert_eq!(binary::peek(b"get key\r\n and so on to the length of a header"), None);
    }
}
