//! Parsers for the values of `-o` suboptions, with memcached's messages for bad values. Pure functions.

use super::number::{exact, exact_float, exact_signed};
use super::request::{EX_BAD_VALUE, StartupError};

/// Returns an error with this one line and exit status 1.
pub(super) fn bad<T>(line: impl Into<String>) -> Result<T, StartupError> {
    Err(StartupError::new(EX_BAD_VALUE, line))
}

/// Parses the value of the option `name` as an unsigned 32-bit integer. `Err` if there is no value or it is not such a number.
pub(super) fn number(name: &str, value: Option<&str>) -> Result<u32, StartupError> {
    parsed(name, value, exact)
}

/// Parses the value of the option `name` as a signed integer. `Err` if there is no value or it is not a number. The caller checks
/// the range, because each option has its own message for that.
pub(super) fn integer(name: &str, value: Option<&str>) -> Result<i64, StartupError> {
    parsed(name, value, exact_signed)
}

/// Parses the value of the option `name`, a number of units of `unit` bytes, and returns the number of bytes. `Err` if there is
/// no value, it is not a number, or the result exceeds 32 bits.
pub(super) fn bytes(name: &str, value: Option<&str>, unit: u32) -> Result<u32, StartupError> {
    parsed(name, value, |text| exact(text)?.checked_mul(unit))
}

/// Parses the value of the option `name` as a number with a fraction. `Err` if there is no value or it is not a number.
pub(super) fn ratio(name: &str, value: Option<&str>) -> Result<f64, StartupError> {
    parsed(name, value, exact_float)
}

fn parsed<T>(
    name: &str,
    value: Option<&str>,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, StartupError> {
    match value.map(parse) {
        None => bad(format!("Missing {name} argument")),
        Some(None) => bad(format!("could not parse argument to {name}")),
        Some(Some(number)) => Ok(number),
    }
}
