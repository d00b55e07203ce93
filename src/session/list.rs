//! Lists that may be long, one slice at a time: key prefixes, connections, item sizes, pages on flash.
//!
//! A [`List`] is the progress of one session's list, and is part of its `State::List`. It knows what is listed and the output,
//! but no session: `slices` calls it once for each slice. The module imports no other module of the session.

use crate::engine::prefixes::PrefixCounts;
use crate::engine::{Executor, Shared};
use crate::limits::CACHEDUMP_BYTES_MAX;
use crate::proto::binary::{self, Echo};
use crate::proto::text::reply;
use std::collections::BTreeMap;

/// Number of entries of a list that are staged in one step. Other connections then have their turn.
pub(super) const SLICE: usize = 64;

/// A list in progress: which list it is, and how far it has come.
#[derive(Debug)]
pub(super) enum List {
    /// `stats detail dump`: the prefixes that follow this one; all prefixes if `None`.
    Prefixes(Option<Box<[u8]>>),
    /// `stats detail dump` in the binary protocol, which is one packet: the last prefix appended (`None` at the start), and the
    /// lines so far. The lines are collected before they are staged, because the packet's header contains their length.
    PrefixPacket(Echo, Option<Box<[u8]>>, Vec<u8>),
    /// `stats conns`: the connections whose number is this or higher.
    Connections(u32),
    /// `stats extstore`: the pages of the flash tier whose number is this or higher.
    Pages(u64),
    /// `stats sizes`: the sizes that are still to be sent, each with its number of items. They are sent as packets of the binary
    /// protocol if there is an [`Echo`], otherwise as lines.
    Sizes(BTreeMap<u64, u64>, Option<Echo>),
}

impl List {
    /// Stages the next [`SLICE`] entries, or collects them for a `PrefixPacket`. False if this was the last slice: no entry is
    /// left, or the packet is full.
    pub(super) fn stage(&mut self, executor: &Executor<'_>, out: &mut Vec<u8>) -> bool {
        match self {
            Self::Prefixes(after) => {
                *after = push_prefixes(executor.shared(), after.as_deref(), out);
                after.is_some()
            }
            Self::PrefixPacket(_, after, lines) => {
                *after = push_prefixes(executor.shared(), after.as_deref(), lines);
                after.is_some() && lines.len() < CACHEDUMP_BYTES_MAX
            }
            Self::Connections(from) => {
                let mut sink = |name: &str, value: &str| reply::stat(out, name.as_bytes(), value.as_bytes());
                let next = executor.report().stats_conns(*from, SLICE, &mut sink);
                *from = next.unwrap_or_default();
                next.is_some()
            }
            Self::Pages(from) => {
                let mut sink = |name: &str, value: &str| reply::stat(out, name.as_bytes(), value.as_bytes());
                let next = executor.report().stats_extstore(*from, SLICE, &mut sink);
                *from = next.unwrap_or_default();
                next.is_some()
            }
            Self::Sizes(sizes, packets) => {
                for _ in 0..SLICE {
                    let Some((size, count)) = sizes.pop_first() else { return false };
                    let (size, count) = (size.to_string(), count.to_string());
                    match *packets {
                        None => reply::stat(out, size.as_bytes(), count.as_bytes()),
                        Some(echo) => binary::push_stat(out, echo, size.as_bytes(), count.as_bytes()),
                    }
                }
                true
            }
        }
    }
}

/// Appends lines for the next [`SLICE`] prefixes that follow `after`. Returns the last of them, or `None` if the list has ended.
fn push_prefixes(shared: &Shared, after: Option<&[u8]>, out: &mut Vec<u8>) -> Option<Box<[u8]>> {
    shared.prefixes.slice(after, SLICE, |prefix, counts| {
        let PrefixCounts { gets, hits, sets, deletes } = counts;
        reply::prefix(out, prefix, [gets, hits, sets, deletes]);
    })
}
