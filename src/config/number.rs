//! Numbers as C parses them, because memcached parses its command line so: `atoi`, `atof`, checked `strtoul`, and the suffixes of
//! `-I`. Pure functions.
//!
//! Text that is not a number counts as 0, and text after a number is ignored. Only the functions whose name begins with `exact`
//! reject text.

use argh::FromArgValue;

/// The value of an option that memcached parses with `atoi`: an i32, by C's rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Int(pub(super) i32);

/// The value of an option that memcached parses with `atof`: a double, by C's rules for decimal numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Float(pub(super) f64);

/// The value of an option that memcached parses with `strtol(…, 8)`: file permissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Octal(pub(super) u32);

/// A number of bytes, with an optional suffix k, K, m or M. Other suffixes are ignored, so that `2g` is 2 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bytes(pub(super) i64);

impl FromArgValue for Int {
    fn from_arg_value(value: &str) -> Result<Self, String> {
        Ok(Self(atoi(value)))
    }
}

impl FromArgValue for Float {
    fn from_arg_value(value: &str) -> Result<Self, String> {
        Ok(Self(atof(value)))
    }
}

impl FromArgValue for Octal {
    fn from_arg_value(value: &str) -> Result<Self, String> {
        Ok(Self(leading_integer(value, 8) as u32 & 0o777))
    }
}

impl FromArgValue for Bytes {
    fn from_arg_value(value: &str) -> Result<Self, String> {
        let unit = match value.as_bytes().last() {
            Some(b'k' | b'K') => 1 << 10,
            Some(b'm' | b'M') => 1 << 20,
            _ => 1,
        };
        Ok(Self(i64::from(atoi(value)) * unit))
    }
}

/// Returns the integer at the start of `text`; 0 if there is none. A number out of range becomes what glibc makes of it: the
/// lower 32 bits of the nearest 64-bit number.
pub(super) fn atoi(text: &str) -> i32 {
    leading_integer(text, 10) as i32
}

/// Returns the decimal number at the start of `text`; 0 if there is none.
pub(super) fn atof(text: &str) -> f64 {
    let text = text.trim_start();
    let bytes = text.as_bytes();
    let digits_from = |at: usize| bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut end = usize::from(matches!(bytes.first(), Some(b'+' | b'-')));
    end += digits_from(end);
    if bytes.get(end) == Some(&b'.') {
        end += 1 + digits_from(end + 1);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let exponent = digits_from((end + 1 + sign).min(bytes.len()));
        if exponent > 0 {
            end += 1 + sign + exponent;
        }
    }
    text[..end].parse().unwrap_or(0.0)
}

/// Parses a 32-bit integer as memcached's `safe_strtoul` does: digits up to white space or the end of `text`. Text after the
/// white space is ignored. `None` for anything else.
pub(super) fn exact(text: &str) -> Option<u32> {
    digits_only(text)?.parse().ok()
}

/// Parses a 64-bit integer with an optional sign, as memcached's `safe_strtol` does. The digits end as in [`exact`].
pub(super) fn exact_signed(text: &str) -> Option<i64> {
    match text.trim_start().strip_prefix('-') {
        Some(magnitude) if magnitude.starts_with(|first: char| first.is_ascii_digit()) => {
            digits_only(magnitude)?.parse().ok().map(|number: i64| -number)
        }
        Some(_) => None,
        None => digits_only(text)?.parse().ok(),
    }
}

/// Returns the digits at the start of `text`, without a `+` before them. `None` if a byte other than white space follows them.
fn digits_only(text: &str) -> Option<&str> {
    let text = text.trim_start();
    let digits = text.strip_prefix('+').unwrap_or(text);
    let end = digits.bytes().take_while(u8::is_ascii_digit).count();
    let after = digits[end..].bytes().next();
    if after.is_some_and(|byte| !byte.is_ascii_whitespace()) { None } else { Some(&digits[..end]) }
}

/// Parses a finite number, as memcached's `safe_strtod` does. It ends at white space; text after the white space is ignored.
pub(super) fn exact_float(text: &str) -> Option<f64> {
    text.split_whitespace().next()?.parse().ok().filter(|number: &f64| number.is_finite())
}

fn leading_integer(text: &str, radix: u32) -> i64 {
    let text = text.trim_start();
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let mut value = 0i64;
    for digit in digits.chars().map_while(|c| c.to_digit(radix)) {
        value = value.saturating_mul(i64::from(radix));
        value = if negative {
            value.saturating_sub(i64::from(digit))
        } else {
            value.saturating_add(i64::from(digit))
        };
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_parsed_as_in_c() {
        for (text, value) in [
            ("", 0),
            ("abc", 0),
            ("12abc", 12),
            (" \t12", 12),
            ("-1", -1),
            ("+7", 7),
            ("-", 0),
            ("2147483648", i32::MIN),
            ("99999999999999999999", -1),
        ] {
            assert_eq!(atoi(text), value, "{text:?}");
        }
        for (text, value) in [
            ("-7 ", Some(-7)),
            ("+7", Some(7)),
            ("4294967296", Some(1 << 32)),
            ("9223372036854775808", None),
            ("-", None),
            ("-+7", None),
            ("7x", None),
            ("", None),
        ] {
            assert_eq!(exact_signed(text), value, "{text:?}");
        }
        for (text, value) in [
            ("1.25", 1.25),
            ("x", 0.0),
            ("2", 2.0),
            (".5x", 0.5),
            ("1e1z", 10.0),
            ("1e", 1.0),
            ("-", 0.0),
            ("", 0.0),
            ("1.e+", 1.0),
        ] {
            assert!((atof(text) - value).abs() < 1e-9, "{text:?}");
        }
        assert_eq!(exact("12"), Some(12));
        assert_eq!(exact("12 "), Some(12));
        for text in ["", "12x", "x", "-1", "4294967296"] {
            assert_eq!(exact(text), None, "{text:?}");
        }
        assert_eq!(exact_float(" .5 x"), Some(0.5));
        for text in ["", " ", "x", "0.5x", "nan", "inf", "-1e999"] {
            assert_eq!(exact_float(text), None, "{text:?}");
        }
        let bytes = |text| Bytes::from_arg_value(text).map(|bytes| bytes.0);
        assert_eq!(bytes("2k"), Ok(2048));
        assert_eq!(bytes("3M"), Ok(3 << 20));
        assert_eq!(bytes("2g"), Ok(2));
        assert_eq!(bytes("1048576"), Ok(1 << 20));
        assert_eq!(Octal::from_arg_value("777"), Ok(Octal(0o777)));
        assert_eq!(Octal::from_arg_value("9"), Ok(Octal(0)));
    }
}
