//! Parses the values of `-o` suboptions.

use super::number::{exact, exact_float, exact_signed};
use super::request::{EX_BAD_VALUE, StartupError};

pub(super) fn bad<T>(line: impl Into<String>) -> Result<T, StartupError> {
    Err(StartupError::new(EX_BAD_VALUE, line))
}

/// The mandatory integer value of a name.
pub(super) fn number(name: &str, value: Option<&str>) -> Result<u32, StartupError> {
    parsed(name, value, exact)
}

/// The mandatory integer value of a name whose range has a message of its own.
pub(super) fn integer(name: &str, value: Option<&str>) -> Result<i64, StartupError> {
    parsed(name, value, exact_signed)
}

/// A number in units of `unit` bytes, as bytes.
pub(super) fn bytes(name: &str, value: Option<&str>, unit: u32) -> Result<u32, StartupError> {
    parsed(name, value, |text| exact(text)?.checked_mul(unit))
}

/// A number with a fraction.
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
