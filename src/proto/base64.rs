//! Keys in base64, decoded as memcached decodes them. Pure functions.
//!
//! memcached's decoder skips bytes that are not digits, ignores the bits of a digit that belong to no byte, and ends at the first
//! group of four digits with padding, wherever the padding stands in it. So `YR==`, `YWI=YWI=` and `Y-Q==` are keys.
//!
//! Source: memcached 1.6.45, base64.c.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Number of digits in a group. A group stands for three bytes.
const GROUP: usize = 4;

/// Returns the six bits of a digit: 0 for the padding `=`, `None` for a byte that is not a digit.
fn digit(byte: u8) -> Option<u32> {
    Some(u32::from(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        b'=' => 0,
        _ => return None,
    }))
}

/// Decodes `text` into `out` and returns the number of decoded bytes. Bytes that are not digits are skipped. `None` if the digits
/// do not form whole groups, or if `out` is too short.
pub fn decode(text: &[u8], out: &mut [u8]) -> Option<usize> {
    let digits = text.iter().filter(|&&byte| digit(byte).is_some()).count();
    if digits == 0 || digits % GROUP != 0 || digits / GROUP * 3 > out.len() {
        return None;
    }
    let (mut bytes, mut bits, mut place, mut padding) = (0, 0, 0, 0);
    for &byte in text {
        let Some(six) = digit(byte) else { continue };
        bits = bits << 6 | six;
        padding += usize::from(byte == b'=');
        place += 1;
        if place < GROUP {
            continue;
        }
        let [_, three @ ..] = u32::to_be_bytes(bits);
        out.get_mut(bytes..bytes + 3)?.copy_from_slice(&three);
        match padding {
            0 => bytes += 3,
            1 | 2 => return Some(bytes + 3 - padding),
            _ => return None,
        }
        (bits, place) = (0, 0);
    }
    Some(bytes)
}

/// Encodes `bytes` into `out` and returns the number of digits written. `None` if `out` is too short.
pub fn encode(bytes: &[u8], out: &mut [u8]) -> Option<usize> {
    STANDARD.encode_slice(bytes, out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regular_text_is_decoded_as_everybody_does() {
        let mut random = fastrand::Rng::with_seed(1);
        for bytes in 1..180 {
            let plain: Vec<u8> = (0..bytes).map(|_| random.u8(..)).collect();
            let (mut text, mut back) = ([0; 260], [0; 186]);
            let digits = encode(&plain, &mut text).expect("room");
            let decoded = decode(&text[..digits], &mut back).expect("base64");
            assert_eq!(&back[..decoded], plain);
        }
    }

    /// Each key was tried on memcached 1.6.45, which shows the keys that it accepts in regular base64.
    #[test]
    fn irregular_text_is_decoded_as_memcached_does() {
        for (text, key) in [
            (&b"YR=="[..], Some(&b"a"[..])),
            (b"YWJ=", Some(b"ab")),
            (b"YWI=YWI=", Some(b"ab")),
            (b"YQ==xxxx", Some(b"a")),
            (b"YWI=abcd", Some(b"ab")),
            (b"YW-I=", Some(b"ab")),
            (b"YQ==\xff", Some(b"a")),
            (b"Zm9v\x01", Some(b"foo")),
            (b"=abc", Some(b"\x01\xa6")),
            (b"a=bc", Some(b"h\x06")),
            (b"Y==Q", Some(b"\x60")),
            (b"Zm9vabc=Zm9v~~~~", Some(b"fooi\xb7")),
            (b"YQ==x", None),
            (b"Y===", None),
            (b"====", None),
            (b"Zm9v====", None),
            (b"Zm9vYg===", None),
            (b"YQ", None),
            (b"abc", None),
            (b"~~~~", None),
            (b"", None),
        ] {
            let mut out = [0; 186];
            let decoded = decode(text, &mut out).map(|bytes| &out[..bytes]);
            assert_eq!(decoded, key, "{}", text.escape_ascii());
        }
        assert_eq!(decode(b"AAAAAAAA", &mut [0; 5]), None);
    }
}
