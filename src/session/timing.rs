//! Times requests in sampled inputs and records the times in the ring's histograms (`engine::latency`).
//!
//! The cost for every request is two branches. Timed and untimed requests run the same code, because a second copy would keep the
//! compiler from inlining the first.
//!
//! The module imports nothing of the session except its state.

use super::state::{Dialect, InputBatch, Session, State, Step};
use crate::clock::Stopwatch;
use crate::engine::latency::Kind;
use crate::proto::binary::{self, Parsed};
use crate::proto::text::{self, Verb};

/// A step that is being timed, from its start.
#[derive(Clone, Copy)]
pub(super) struct Timing {
    kind: Kind,
    /// The feed's budget of commands when the step began. Its difference from the budget at the end is the number of requests run
    /// so far.
    budget: u32,
    watch: Stopwatch,
}

impl Session {
    /// Starts timing the next step. `None` if that step cannot complete a request. Call this only for a sampled input.
    #[cold]
    #[inline(never)]
    pub(super) fn begin_timing(&self, feed: &InputBatch<'_, '_>) -> Option<Timing> {
        let kind = self.kind(feed.rest())?;
        Some(Timing { kind, budget: feed.budget, watch: Stopwatch::start() })
    }

    /// Records the time of the step, if the step was timed and has completed a request.
    #[cold]
    #[inline(never)]
    pub(super) fn end_timing(&self, feed: &InputBatch<'_, '_>, timing: Option<Timing>, step: &Step) {
        let Some(Timing { kind, budget, watch }) = timing else { return };
        let time = watch.elapsed();
        // A request that has been rejected or is incomplete leaves the session in another state.
        if matches!(step, Step::Done) && matches!(self.state, State::Command) {
            // A step may run several gets. The caller takes the last one from the budget afterwards, so it is added here.
            feed.executor.record(kind, time, budget - feed.budget + 1);
        }
    }

    /// Returns the kind of the request that the next step may complete; `None` if that step is not timed.
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
