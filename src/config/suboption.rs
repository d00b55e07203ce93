//! Parses the values of `-o` suboptions, with memcached's messages for bad ones. Pure functions.

use super::number::{exact, exact_float, exact_signed};
use super::request::{EX_BAD_VALUE, StartupError};

/// The refusal `line`, with exit status 1.
pub(super) fn bad<T>(line: impl Into<String>) -> Result<T, StartupError> {
    Err(StartupError::new(EX_BAD_VALUE, line))
}

/// Parses the integer after `name=`, which must be there.
pub(super) fn number(name: &str, value: Option<&str>) -> Result<u32, StartupError> {
    parsed(name, value, exact)
}

/// Parses the integer after `name=`, which must be there. Its range is checked by the caller, who has a message for that.
pub(super) fn integer(name: &str, value: Option<&str>) -> Result<i64, StartupError> {
    parsed(name, value, exact_signed)
}

/// Parses a number in units of `unit` bytes; returns bytes.
pub(super) fn bytes(name: &str, value: Option<&str>, unit: u32) -> Result<u32, StartupError> {
    parsed(name, value, |text| exact(text)?.checked_mul(unit))
}

/// Parses a number with a fraction.
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
