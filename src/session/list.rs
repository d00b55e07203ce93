//! Long lists, in slices: prefixes, connections, sizes, pages on flash.

use super::{InputBatch, Next, Session, State, Step};
use crate::engine::Shared;
use crate::engine::prefixes::PrefixCounts;
use crate::limits::CACHEDUMP_BYTES_MAX;
use crate::proto::binary::{self, Echo};
use crate::proto::text::reply;
use std::collections::BTreeMap;

/// Entries of a list that are staged together.
const SLICE: usize = 64;

/// A list in progress.
#[derive(Debug)]
pub(super) enum List {
    /// The prefixes after this one.
    Prefixes(Option<Box<[u8]>>),
    /// The same as one value of a packet, which ends at a bound because its length stands in front: the lines so far.
    PrefixPacket(Echo, Option<Box<[u8]>>, Vec<u8>),
    /// The connections from this number on.
    Connections(u32),
    /// The pages of the flash tier from this number on.
    Pages(u64),
    /// Number of items by size; as packets in the binary protocol.
    Sizes(BTreeMap<u64, u64>, Option<Echo>),
}

impl Session {
    /// Starts a list; nothing else runs on the connection until it ends.
    pub(super) fn start_list(&mut self, list: List) {
        self.state = State::List(Box::new(list));
    }

    /// Stages the next slice of the list.
    pub(super) fn list_slice(&mut self, feed: &mut InputBatch<'_, '_>) -> Step {
        let State::List(list) = &mut self.state else { return Step::Done };
        let goes_on = list.stage(feed);
        if goes_on && self.may_look_further(SLICE as u32) {
            return Step::Stop(Next::Resume);
        }
        let State::List(list) = std::mem::take(&mut self.state) else { return Step::Done };
        match *list {
            List::Prefixes(_) | List::Connections(_) | List::Pages(_) | List::Sizes(_, None) => {
                self.push_line(feed, reply::END);
            }
            List::Sizes(_, Some(echo)) => binary::push_stat(&mut feed.out.staged, echo, b"", b""),
            List::PrefixPacket(echo, _, mut lines) => {
                lines.extend_from_slice(reply::END);
                binary::push_stat(&mut feed.out.staged, echo, b"detailed", &lines);
                binary::push_stat(&mut feed.out.staged, echo, b"", b"");
            }
        }
        Step::Done
    }
}

impl List {
    /// Stages the next entries; true if there may be more.
    fn stage(&mut self, feed: &mut InputBatch<'_, '_>) -> bool {
        let out = &mut feed.out.staged;
        match self {
            Self::Prefixes(after) => {
                *after = push_prefixes(feed.executor.shared(), after.as_deref(), out);
                after.is_some()
            }
            Self::PrefixPacket(_, after, lines) => {
                *after = push_prefixes(feed.executor.shared(), after.as_deref(), lines);
                after.is_some() && lines.len() < CACHEDUMP_BYTES_MAX
            }
            Self::Connections(from) => {
                let mut sink = |name: &str, value: &str| reply::stat(out, name.as_bytes(), value.as_bytes());
                let next = feed.executor.report().stats_conns(*from, SLICE, &mut sink);
                *from = next.unwrap_or_default();
                next.is_some()
            }
            Self::Pages(from) => {
                let mut sink = |name: &str, value: &str| reply::stat(out, name.as_bytes(), value.as_bytes());
                let next = feed.executor.report().stats_extstore(*from, SLICE, &mut sink);
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

/// Appends the next prefixes after `after`; returns the last one if there may be more.
fn push_prefixes(shared: &Shared, after: Option<&[u8]>, out: &mut Vec<u8>) -> Option<Box<[u8]>> {
    shared.prefixes.slice(after, SLICE, |prefix, counts| {
        let PrefixCounts { gets, hits, sets, deletes } = counts;
        reply::prefix(out, prefix, [gets, hits, sets, deletes]);
    })
}
