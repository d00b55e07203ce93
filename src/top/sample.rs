//! A [`Sample`]: what a server reported at one time, names and values, uninterpreted.

use std::collections::HashMap;
use std::time::Instant;

/// Names and values of one list of `stats`.
pub(super) type List = HashMap<String, String>;

/// What the server reported at one time; a list that the server does not know is empty.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) at: Instant,
    pub(super) general: List,
    pub(super) memory: List,
    pub(super) latency: List,
    pub(super) rings: List,
    pub(super) hotkeys: List,
    pub(super) settings: List,
    pub(super) memcrsd: List,
}
