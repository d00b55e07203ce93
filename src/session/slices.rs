//! Runs dumps and lists on a session, one slice in each step. Until the end no other command runs on the connection.
//!
//! The progress is in the session's `State::Dump` or `State::List`; what a slice contains is the business of `dump` and `list`.
//! The module imports `dump`, `list`, the state, and `staging`.

use super::dump::{Dump, Form};
use super::list::{List, SLICE};
use super::progress::Next;
use super::state::{InputBatch, Session, State, Step};
use crate::engine::ClassSet;
use crate::proto::binary;
use crate::proto::text::reply;

impl Session {
    /// Starts a dump. Until it ends, no other command runs on the connection.
    pub(super) fn start_dump(&mut self, classes: ClassSet, form: Form) {
        self.state = State::Dump(Box::new(Dump::new(classes, form)));
    }

    /// Stages the next slice of the dump. At the dump's end, stages the end line or starts the list of sizes.
    pub(super) fn dump(&mut self, feed: &mut InputBatch<'_, '_>) -> Step {
        let State::Dump(dump) = &mut self.state else { return Step::Done };
        let looked_at = dump.stage(&mut feed.executor, &mut feed.out.staged);
        if let Some(looked_at) = looked_at
            && self.may_look_further(looked_at)
        {
            return Step::Stop(Next::Resume);
        }
        let State::Dump(dump) = std::mem::take(&mut self.state) else { return Step::Done };
        let end = match dump.form {
            Form::Keys => reply::EN,
            Form::Sizes(sizes, packets) => {
                self.start_list(List::Sizes(sizes, packets));
                return self.list_slice(feed);
            }
            Form::Everything | Form::Cachedump { .. } => reply::END,
        };
        self.push_line(feed, end);
        Step::Done
    }

    /// Starts a list. Until it ends, no other command runs on the connection.
    pub(super) fn start_list(&mut self, list: List) {
        self.state = State::List(Box::new(list));
    }

    /// Stages the next slice of the list. At the list's end, stages the end line or packet as well.
    pub(super) fn list_slice(&mut self, feed: &mut InputBatch<'_, '_>) -> Step {
        let State::List(list) = &mut self.state else { return Step::Done };
        let goes_on = list.stage(&feed.executor, &mut feed.out.staged);
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

    /// True if the dump or list may continue. The session of a datagram first subtracts `items` from the number of items that it
    /// may still examine; that of a connection has no such limit.
    fn may_look_further(&mut self, items: u32) -> bool {
        let Some(left) = &mut self.datagram else { return true };
        *left = left.saturating_sub(items);
        *left > 0
    }
}
