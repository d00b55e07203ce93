//! A list of differences between what the store keeps account of and what a recount finds (`check`), for tests, the simulation
//! and the fuzzers. The list belongs to the recount that fills it.

use std::fmt::{Debug, Display};

/// How many differences an error message shows; the others are only counted.
const FAULTS_SHOWN: usize = 12;

/// The differences that a recount has found, one text for each.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<String>);

impl Faults {
    pub(super) fn push(&mut self, fault: impl Display) {
        self.0.push(fault.to_string());
    }

    /// Adds the text of `fault` if `holds` is false.
    pub(super) fn unless(&mut self, holds: bool, fault: impl FnOnce() -> String) {
        if !holds {
            self.0.push(fault());
        }
    }

    /// Adds a difference if `kept`, a value from the store's accounts, is not `counted`, its recount; `what` names the value.
    #[expect(clippy::needless_pass_by_value, reason = "most are numbers")]
    pub(super) fn compare<T: PartialEq + Debug>(&mut self, what: impl Display, kept: T, counted: T) {
        self.unless(kept == counted, || format!("{what}: the books say {kept:?}, counted {counted:?}"));
    }

    /// `Ok` if there is no difference. Else a text with a line for each of the first [`FAULTS_SHOWN`], and the number of the
    /// others.
    pub(super) fn into_result(self) -> Result<(), String> {
        if self.0.is_empty() {
            return Ok(());
        }
        let more = self.0.len().saturating_sub(FAULTS_SHOWN);
        let shown = self.0[..self.0.len() - more].join("\n");
        Err(if more > 0 { format!("{shown}\nand {more} more") } else { shown })
    }
}
