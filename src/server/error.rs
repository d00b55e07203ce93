//! [`StartError`]: why the server cannot start. A plain value.

use std::fmt;

/// Why the server cannot start, as one line for the operator. The exit status is then 71.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartError {
    message: String,
}

impl StartError {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for StartError {}

impl From<uring::StartError> for StartError {
    fn from(error: uring::StartError) -> Self {
        Self::new(error.to_string())
    }
}
