//! Times requests in sampled inputs and records the times in the ring's histograms (`engine::latency`).
//!
//! The cost for every request is two branches: timed and untimed requests run the same code, because a second copy would
//! keep the compiler from inlining the first.
//!
//! Imports nothing of the session but its state.

use super::state::{Dialect, InputBatch, Session, State, Step};
use crate::clock::Stopwatch;
use crate::engine::latency::Kind;
use crate::proto::binary::{self, Parsed};
use crate::proto::text::{self, Verb};

/// The start of a step that is being timed.
#[derive(Clone, Copy)]
pub(super) struct Timing {
    kind: Kind,
    /// The feed's command budget when the step began; the difference at the end says how many requests the step has run.
    budget: u32,
    watch: Stopwatch,
}

impl Session {
    /// Starts timing if the input is one that is sampled and the next step may complete a request; `None` otherwise.
    #[cold]
    #[inline(never)]
    pub(super) fn begin_timing(&self, feed: &InputBatch<'_, '_>) -> Option<Timing> {
        let kind = self.kind(feed.rest())?;
        Some(Timing { kind, budget: feed.budget, watch: Stopwatch::start() })
    }

    /// Records the time of the step, if it was timed and has completed a request.
    #[cold]
    #[inline(never)]
    pub(super) fn end_timing(&self, feed: &InputBatch<'_, '_>, timing: Option<Timing>, step: &Step) {
        let Some(Timing { kind, budget, watch }) = timing else { return };
        let time = watch.elapsed();
        // A request that is rejected or incomplete leaves the session in another state.
        if matches!(step, Step::Done) && matches!(self.state, State::Command) {
            // Several gets are served at a time; the caller counts the last one.
            feed.executor.record(kind, time, budget - feed.budget + 1);
        }
    }

    /// Kind of the request that the next step may complete; `None` if that step is not timed.
    fn kind(&self, rest: &[u8]) -> Option<Kind> {
        match &self.state {
            State::Command if self.dialect == Dialect::Text => text_kind(rest),
            State::Receive(_) if self.dialect == Dialect::Text => text_kind(&self.head),
            State::Command => binary_kind(rest),
            State::Receive(_) => binary_kind(&self.head),
            State::Keys(_) => Some(Kind::Get),
            _ => None,
        }
    }
}

fn text_kind(rest: &[u8]) -> Option<Kind> {
    let end = memchr::memchr(b'\n', rest)?;
    let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
    Some(match text::parse(line, end + 1 - line.len()) {
        text::Command::Get(get) if get.touch.is_some() => Kind::Touch,
        text::Command::Get(_) => Kind::Get,
        text::Command::Store(_) => Kind::Set,
        text::Command::Delete(..) => Kind::Delete,
        text::Command::Arith(..) => Kind::Arith,
        text::Command::Touch(..) => Kind::Touch,
        text::Command::Meta(Verb::Get) => Kind::MetaGet,
        text::Command::Meta(Verb::Set) => Kind::MetaSet,
        text::Command::Meta(Verb::Delete) => Kind::MetaDelete,
        text::Command::Meta(Verb::Arith) => Kind::MetaArith,
        _ => Kind::Other,
    })
}

fn binary_kind(rest: &[u8]) -> Option<Kind> {
    let Parsed::Packet(packet) = binary::parse(rest) else { return None };
    Some(match packet.command {
        binary::Command::Get { touch: Some(_), .. } | binary::Command::Touch(..) => Kind::Touch,
        binary::Command::Get { .. } => Kind::Get,
        binary::Command::Store(_) => Kind::Set,
        binary::Command::Delete(..) => Kind::Delete,
        binary::Command::Arith(_) => Kind::Arith,
        _ => Kind::Other,
    })
}
