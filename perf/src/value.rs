//! Keys and values derived from an object's number, so that a reader can verify every byte.
//!
//! A value is a window of one fixed, pseudo-random text that repeats every [`PATTERN_LEN`] bytes; where the window starts is a
//! hash of object and version. Making a value is a copy and checking it a comparison, both at memory speed and both
//! piece by piece, so no value is ever held as a whole. Two objects share a window once in 262,139.

/// Small enough to stay in a core's second-level cache beside the connections: with 1 MiB, a fifth of the generator's time
/// was cache misses. Prime, so that a shift by a power of two inside a large value is detected.
const PATTERN_LEN: usize = (1 << 18) - 5;

/// The text that values are windows of.
#[derive(Debug)]
pub(crate) struct Pattern {
    bytes: Vec<u8>,
}

/// Position of a value's next byte in the pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct At(usize);

impl Pattern {
    pub(crate) fn new() -> Self {
        let bytes = (0..PATTERN_LEN as u64).map(|i| mix(i) as u8).collect();
        Self { bytes }
    }

    /// The start of version `version` of the value of `object`.
    pub(crate) fn start(object: u64, version: u32) -> At {
        At((mix(object ^ u64::from(version) << 40) % PATTERN_LEN as u64) as usize)
    }

    /// Appends `len` bytes of the value.
    pub(crate) fn append(&self, out: &mut Vec<u8>, mut at: At, mut len: usize) {
        while len > 0 {
            let piece = self.piece(at, len);
            out.extend_from_slice(piece);
            len -= piece.len();
            at = Self::after(at, piece.len());
        }
    }

    /// Whether `bytes` is the text at `at`, and the position after it.
    pub(crate) fn check(&self, mut at: At, mut bytes: &[u8]) -> (bool, At) {
        let mut same = true;
        while !bytes.is_empty() {
            let piece = self.piece(at, bytes.len());
            same &= piece == &bytes[..piece.len()];
            bytes = &bytes[piece.len()..];
            at = Self::after(at, piece.len());
        }
        (same, at)
    }

    fn piece(&self, at: At, len: usize) -> &[u8] {
        &self.bytes[at.0..PATTERN_LEN.min(at.0 + len)]
    }

    fn after(at: At, len: usize) -> At {
        At((at.0 + len) % PATTERN_LEN)
    }
}

/// The finaliser of splitmix64: every bit of the result depends on every bit of `x`.
///
/// Source: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014.
pub(crate) fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// Writes keys of one length: a prefix and the object's number, zero-padded.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    buf: Vec<u8>,
}

/// The shortest key: room for every u32 and one more digit.
pub(crate) const KEY_LEN_MIN: usize = 11;
/// The longest key memcached takes.
pub(crate) const KEY_LEN_MAX: usize = 250;
const DIGITS_MAX: usize = 18;

impl Keys {
    /// # Panics
    /// When `len` is outside [`KEY_LEN_MIN`] to [`KEY_LEN_MAX`]; the flags are checked first.
    pub(crate) fn new(len: usize) -> Self {
        assert!((KEY_LEN_MIN..=KEY_LEN_MAX).contains(&len));
        let mut buf = vec![b'0'; len];
        let prefix = len.saturating_sub(DIGITS_MAX);
        for (i, byte) in buf[..prefix].iter_mut().enumerate() {
            *byte = b"object:"[i % 7];
        }
        Self { buf }
    }

    /// The key of `object`; the bytes are valid until the next call.
    pub(crate) fn key(&mut self, mut object: u64) -> &[u8] {
        let digits = self.buf.len().min(DIGITS_MAX);
        let start = self.buf.len() - digits;
        for byte in self.buf[start..].iter_mut().rev() {
            *byte = b'0' + (object % 10) as u8;
            object /= 10;
        }
        &self.buf
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_checked_whole_and_in_pieces() {
        let pattern = Pattern::new();
        let at = Pattern::start(7, 0);
        let mut value = Vec::new();
        pattern.append(&mut value, at, 3 * PATTERN_LEN + 11);
        assert!(pattern.check(at, &value).0);
        let (left, rest) = value.split_at(PATTERN_LEN / 2);
        let (same, middle) = pattern.check(at, left);
        assert!(same && pattern.check(middle, rest).0);
        assert!(!pattern.check(Pattern::start(7, 1), left).0);
        assert!(!pattern.check(Pattern::start(8, 0), left).0);
        value[PATTERN_LEN + 5] ^= 1;
        assert!(!pattern.check(at, &value).0);
    }

    #[test]
    fn keys_have_their_length_and_differ() {
        let mut keys = Keys::new(30);
        assert_eq!(keys.key(12), b"object:objec000000000000000012");
        assert_eq!(Keys::new(11).key(u64::from(u32::MAX)), b"04294967295");
        assert_eq!(Keys::new(250).key(1).len(), 250);
    }
}
