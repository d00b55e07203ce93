//! Decimal numbers in requests and values: the two grammars that memcached parses, and a writer. Pure functions.

/// Most characters of a 32-bit number, its sign included.
const DIGITS_32_MAX: usize = 11;
/// Most characters of a 64-bit number. A longer token is not a number, even if it has leading zeros.
const DIGITS_64_MAX: usize = 22;

/// Number of digits from which a number may exceed 2^64. Such a number is parsed with a check for overflow.
const OVERFLOW_DIGITS: usize = 20;

/// Parses an unsigned 64-bit number: a token of digits only, at most 22 of them. An empty token is 0, as in memcached's
/// tokenizer.
#[inline]
pub fn unsigned(token: &[u8]) -> Option<u64> {
    if token.len() > DIGITS_64_MAX { None } else { digits(token) }
}

/// Parses an unsigned 32-bit number: a token of digits only, at most 11 of them. An empty token is 0.
#[inline]
pub fn unsigned_32(token: &[u8]) -> Option<u32> {
    if token.len() > DIGITS_32_MAX { None } else { u32::try_from(digits(token)?).ok() }
}

/// Parses a signed 32-bit number: digits with an optional `-` in front, at most 11 characters. No digits are 0.
#[inline]
pub fn signed_32(token: &[u8]) -> Option<i32> {
    if token.len() > DIGITS_32_MAX {
        return None;
    }
    let number = match token.strip_prefix(b"-") {
        Some(magnitude) => -(digits(magnitude)? as i64),
        None => digits(token)? as i64,
    };
    i32::try_from(number).ok()
}

/// Parses a number as C's `strtoul` does: an optional sign, then at least one digit. `None` if there is none, or for an overflow.
/// A negative number wraps, and is rejected if the result is 2^63 or more, as in memcached.
///
/// White space before the number is skipped. White space or a NUL after the digits ends the number, whatever follows. Source:
/// memcached's util.c, `safe_strtoull`, which parses stored numbers too.
#[inline]
pub fn c_unsigned(token: &[u8]) -> Option<u64> {
    match c_number(token)? {
        (false, magnitude) => Some(magnitude),
        (true, magnitude) => Some(magnitude.wrapping_neg()).filter(|&number| number >> 63 == 0),
    }
}

/// Parses a number as C's `strtol` does, otherwise like [`c_unsigned`].
#[inline]
pub fn c_signed(token: &[u8]) -> Option<i64> {
    match c_number(token)? {
        (false, magnitude) => i64::try_from(magnitude).ok(),
        (true, magnitude) => 0i64.checked_sub_unsigned(magnitude),
    }
}

/// Splits a number into its sign (true for minus) and its magnitude. `None` if `token` is not a number.
#[inline]
fn c_number(token: &[u8]) -> Option<(bool, u64)> {
    match token {
        // Most flags and expiries are 0.
        [b'0'] => Some((false, 0)),
        [b'0'..=b'9', ..] if token.len() < OVERFLOW_DIGITS => {
            digits(token).map(|number| (false, number)).or_else(|| odd_number(token))
        }
        _ => odd_number(token),
    }
}

/// Does what [`c_number`] does, for a token that is long or has other bytes than digits. Reads each byte at most once, because
/// the token may be a value that a client stored.
#[cold]
fn odd_number(token: &[u8]) -> Option<(bool, u64)> {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let token = &token[token.iter().take_while(|byte| is_space(byte)).count()..];
    let (negative, token) = match token {
        [b'-', magnitude @ ..] => (true, magnitude),
        [b'+', magnitude @ ..] | magnitude => (false, magnitude),
    };
    let mut number = 0u64;
    for (at, byte) in token.iter().enumerate() {
        match byte {
            b'0'..=b'9' => number = number.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?,
            _ if at > 0 && (*byte == 0 || is_space(byte)) => return Some((negative, number)),
            _ => return None,
        }
    }
    (!token.is_empty()).then_some((negative, number))
}

/// Appends `number` to `out` in decimal.
pub fn push(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Parses a number that consists of digits only. `None` if there is another byte or an overflow; an empty token is 0.
fn digits(token: &[u8]) -> Option<u64> {
    let mut number = 0u64;
    if token.len() < OVERFLOW_DIGITS {
        // Too short to overflow.
        for &byte in token {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                return None;
            }
            number = number * 10 + u64::from(digit);
        }
        return Some(number);
    }
    for &byte in token {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokenizer_numbers_are_parsed() {
        assert_eq!(unsigned(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(unsigned(b"18446744073709551616"), None);
        assert_eq!(unsigned(b"0000000000000000000001"), Some(1));
        assert_eq!(unsigned(b"00000000000000000000001"), None);
        assert_eq!(unsigned(b"+5"), None);
        assert_eq!(unsigned(b"-1"), None);
        assert_eq!(unsigned_32(b"4294967295"), Some(u32::MAX));
        assert_eq!(unsigned_32(b"4294967296"), None);
        assert_eq!(unsigned_32(b"00000000001"), Some(1));
        assert_eq!(unsigned_32(b"000000000001"), None);
        assert_eq!(signed_32(b"-"), Some(0));
        assert_eq!(signed_32(b"-2147483648"), Some(i32::MIN));
        assert_eq!(signed_32(b"2147483648"), None);
        assert_eq!(signed_32(b"1a"), None);
        assert_eq!(signed_32(b"000000000001"), None);
    }

    #[test]
    fn c_numbers_are_parsed() {
        assert_eq!(c_unsigned(b"+5"), Some(5));
        assert_eq!(c_unsigned(b"0x10"), None);
        assert_eq!(c_unsigned(b"5.5"), None);
        assert_eq!(c_unsigned(b"-1"), None);
        assert_eq!(c_unsigned(b"-0"), Some(0));
        assert_eq!(c_unsigned(b"-18446744073709551615"), Some(1));
        assert_eq!(c_unsigned(b""), None);
        assert_eq!(c_unsigned(b"\t7\rx"), Some(7));
        assert_eq!(c_unsigned(b"7\0x"), Some(7));
        assert_eq!(c_unsigned(b"7\x01"), None);
        assert_eq!(c_unsigned(b"\t"), None);
        assert_eq!(c_signed(b"\x0b-7\x0c"), Some(-7));
        assert_eq!(c_signed(b"-1"), Some(-1));
        assert_eq!(c_signed(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(c_signed(b"9223372036854775808"), None);
        assert_eq!(c_signed(b"-"), None);
    }

    #[test]
    fn stored_numbers_are_parsed() {
        for (value, number) in [
            (&b"1 x"[..], Some(1)),
            (b"1\t2", Some(1)),
            (b"12\r\n", Some(12)),
            (b"  +7", Some(7)),
            (b"7\0junk", Some(7)),
            (b"-1", None),
            (b"-00", Some(0)),
            (b"-18446744073709551615", Some(1)),
            (b"+-1", None),
            (b"", None),
            (b" ", None),
            (b"1x", None),
            (b"18446744073709551616", None),
        ] {
            assert_eq!(c_unsigned(value), number, "{:?}", value.escape_ascii().to_string());
        }
    }
}
