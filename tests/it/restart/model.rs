//! What a client knows of a key that nobody else writes: the states it may be in.
//!
//! As long as all is answered there is one state, besides that an item may have been evicted. An operation cut off by the
//! end of the server may have been done or not, which makes two; the next read tells which. A read that finds anything else
//! is a fault: something acknowledged was undone, or an operation was done in part.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::harness::show;

use super::operation::{Op, Reply};

/// Seconds by which two clocks of seconds, a coarse one among them, may differ.
const CLOCK_SECS: u64 = 3;
/// Operations of a key that a fault is shown with.
const TOLD_MAX: usize = 12;

/// What a key is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Small,
    Number,
    /// Longer than what a segment of a small cache holds.
    Large,
}

/// When something was done: seconds and flushes, before it was sent and after it was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Unix times.
    pub sent: u64,
    pub answered: u64,
    /// Flushes that had been answered when it was sent: none of them concerns it.
    pub flushes_before: u64,
    /// Flushes that had been sent when it was answered: all later ones do.
    pub flushes_begun: u64,
}

/// An item as a client knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub value: Arc<Vec<u8>>,
    pub flags: u32,
    /// Earliest and latest Unix time of its expiry; `None` is never.
    pub expires: Option<(u64, u64)>,
    /// As far as a reply has told it.
    pub cas: Option<u64>,
    pub stale: bool,
    pub won: bool,
    pub written: Span,
}

/// What is under a key.
pub type State = Option<Item>;

impl Item {
    pub fn new(value: Arc<Vec<u8>>, flags: u32, ttl: i32, at: Span) -> Self {
        Self { value, flags, expires: expiry(ttl, at), cas: None, stale: false, won: false, written: at }
    }

    fn is_flushed(&self, at: Span) -> bool {
        at.flushes_before > self.written.flushes_begun
    }

    fn may_be_flushed(&self, at: Span) -> bool {
        at.flushes_begun > self.written.flushes_before
    }

    pub fn expires_in(&self, ttl: i64, at: Span) -> bool {
        match (self.expires, u64::try_from(ttl)) {
            (None, told) => told.is_err(),
            (Some((from, to)), Ok(ttl)) => {
                at.sent + ttl <= to + CLOCK_SECS && at.answered + ttl + CLOCK_SECS >= from
            }
            (Some(_), Err(_)) => false,
        }
    }
}

/// The expiry that `ttl` asks for.
pub fn expiry(ttl: i32, at: Span) -> Option<(u64, u64)> {
    (ttl != 0).then(|| (at.sent + ttl as u64, at.answered + ttl as u64))
}

/// A key.
#[derive(Debug)]
pub struct Key {
    pub name: String,
    pub kind: Kind,
    states: Vec<State>,
    told: VecDeque<String>,
    /// Nothing is evicted.
    strict: bool,
}

impl Key {
    pub fn new(name: String, kind: Kind, strict: bool) -> Self {
        Self { name, kind, states: vec![None], told: VecDeque::new(), strict }
    }

    /// The item, if it is known.
    pub fn item(&self) -> Option<&Item> {
        self.states.first()?.as_ref()
    }

    /// True if there was an item when it was last looked at.
    pub fn is_there(&self) -> bool {
        self.states.iter().any(Option::is_some)
    }

    /// The states that an operation may meet.
    fn before(&self, at: Span) -> Vec<State> {
        let mut states: Vec<_> = self
            .states
            .iter()
            .filter(|state| !state.as_ref().is_some_and(|item| item.is_flushed(at)))
            .cloned()
            .collect();
        let may_go = |item: &Item| !self.strict || item.may_be_flushed(at);
        if !states.contains(&None) && self.states.iter().flatten().any(may_go) {
            states.push(None);
        }
        states
    }

    /// `op` was answered with `reply`.
    ///
    /// # Panics
    /// In no state would it have been.
    pub fn answered(&mut self, op: &Op, reply: &Reply, at: Span) {
        let before = self.before(at);
        let mut after: Vec<State> = Vec::new();
        for state in &before {
            if let Some(next) = op.explains(reply, state.as_ref(), at)
                && !after.contains(&next)
            {
                after.push(next);
            }
        }
        self.tell(format!("{op} -> {reply}"));
        assert!(!after.is_empty(), "{}", self.fault(&before));
        self.states = after;
    }

    /// `op` was sent and not answered.
    pub fn cut_off(&mut self, op: &Op, at: Span) {
        let mut states = self.before(at);
        for state in states.clone() {
            for next in op.outcomes(state.as_ref(), at) {
                if !states.contains(&next) {
                    states.push(next);
                }
            }
        }
        self.states = states;
        self.tell(format!("{op} -> cut off"));
    }

    /// There was no memory for `op`: it has done nothing, or it has dropped what it would have replaced.
    pub fn refused(&mut self, op: &Op, at: Span) {
        self.states = self.before(at);
        if !self.states.contains(&None) {
            self.states.push(None);
        }
        self.tell(format!("{op} -> refused"));
    }

    pub fn tell(&mut self, line: String) {
        if self.told.len() == TOLD_MAX {
            self.told.pop_front();
        }
        self.told.push_back(line);
    }

    fn fault(&self, before: &[State]) -> String {
        let show_state = |state: &State| match state {
            None => "  nothing".to_owned(),
            Some(item) => {
                let Item { value, flags, expires, cas, stale, won, written } = item;
                let (value, len) = (show(&value[..value.len().min(60)]), value.len());
                format!(
                    "  {value} ({len} bytes) f{flags} expires {expires:?} cas {cas:?} stale {stale} won {won}, {written:?}"
                )
            }
        };
        let states: Vec<_> = before.iter().map(show_state).collect();
        let told: Vec<_> = self.told.iter().map(String::as_str).collect();
        format!(
            "{} cannot be so. It may have been\n{}\nLast operations, the last one is at fault:\n  {}",
            self.name,
            states.join("\n"),
            told.join("\n  ")
        )
    }
}
