//! Lists that may be long, one slice at a time: key prefixes, connections, item sizes, pages on flash.
//!
//! A [`List`] is the progress of one session's list, kept in its `State::List`. It knows what is listed and the output, and
//! no session: `slices` calls it once per slice. Imports no other module of the session.

use crate::engine::prefixes::PrefixCounts;
use crate::engine::{Executor, Shared};
use crate::limits::CACHEDUMP_BYTES_MAX;
use crate::proto::binary::{self, Echo};
use crate::proto::text::reply;
use std::collections::BTreeMap;

/// Entries of a list that are staged in one step, after which other connections have their turn.
pub(super) const SLICE: usize = 64;

/// A list in progress: which one, and how far it has come.
#[derive(Debug)]
pub(super) enum List {
    /// `stats detail dump`: the prefixes after the given one; `None` at the start.
    Prefixes(Option<Box<[u8]>>),
    /// `stats detail dump` in the binary protocol, one packet: the last prefix appended, and the lines so far. The lines are
    /// collected before they are staged, because the packet's header contains their length.
    PrefixPacket(Echo, Option<Box<[u8]>>, Vec<u8>),
    /// `stats conns`: the connections with the given number and higher.
    Connections(u32),
    /// `stats extstore`: the pages of the flash tier with the given number and higher.
    Pages(u64),
    /// `stats sizes`: the sizes not yet sent, each with its number of items. Sent as packets if there is an [`Echo`] (binary
    /// protocol).
    Sizes(BTreeMap<u64, u64>, Option<Echo>),
}

impl List {
    /// Stages the next [`SLICE`] entries, or collects them for a `PrefixPacket`. False if no entry is left or the packet is
    /// full.
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

/// Appends a line for each of the next prefixes after `after`. Returns the last prefix, or `None` if the list has ended.
fn push_prefixes(shared: &Shared, after: Option<&[u8]>, out: &mut Vec<u8>) -> Option<Box<[u8]>> {
    shared.prefixes.slice(after, SLICE, |prefix, counts| {
        let PrefixCounts { gets, hits, sets, deletes } = counts;
        reply::prefix(out, prefix, [gets, hits, sets, deletes]);
    })
}
