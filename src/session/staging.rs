//! How replies are staged, in all protocols: lines, error packets, and replies about an item that was touched. Methods of the
//! session, and functions over an [`InputBatch`], which borrows the connection's output.
//!
//! The module imports nothing of the session except its state.

use super::state::{DeferredReply, InputBatch, Session};
use crate::command::{Exptime, Replies, Stored, Touched};
use crate::escape;
use crate::output::Output;
use crate::proto::binary::{self, Echo, Status};
use crate::proto::text::reply;
use crate::store::{Item, Retry, Stub};

impl Session {
    /// Stages a reply line, and logs it with -vv.
    pub(super) fn push_line(&self, feed: &mut InputBatch<'_, '_>, line: &'static [u8]) {
        feed.out.staged.extend_from_slice(line);
        if self.verbose {
            self.trace_reply(line);
        }
    }

    /// Stages a reply line unless the command is quiet. With -vv logs the line in either case.
    pub(super) fn push_reply(&self, feed: &mut InputBatch<'_, '_>, replies: Replies, line: &'static [u8]) {
        if !replies.quiet() {
            self.push_line(feed, line);
        } else if self.verbose {
            tracing::debug!(target: "wire", ">{} NOREPLY {}", self.id, escape::for_log(line.trim_ascii_end()));
        }
    }

    /// Logs a reply line without its line end.
    pub(super) fn trace_reply(&self, line: &[u8]) {
        tracing::debug!(target: "wire", ">{} {}", self.id, escape::for_log(line.trim_ascii_end()));
    }
}

/// Returns the reply to send when a refused value has been skipped; no reply for a quiet command.
pub(super) fn deferred_reply(line: &'static [u8], replies: Replies) -> DeferredReply {
    if replies.quiet() { DeferredReply::Nothing } else { DeferredReply::Line(line) }
}

/// Returns the error line for a value that is too large or for which there is no memory.
pub(super) fn refusal(why: Stored) -> &'static [u8] {
    if why == Stored::TooLarge { reply::TOO_LARGE } else { reply::NO_MEMORY_STORING }
}

/// Stages an error packet, whose body is the text of `status`.
pub(super) fn refuse_packet(feed: &mut InputBatch<'_, '_>, echo: Echo, status: Status) {
    binary::push_reply(&mut feed.out.staged, echo, status, status.text(), 0);
}

/// Touches an item and stages its reply with `stage`. The store may decide the edit several times and so run `stage` again; only
/// the last reply stays. If the item is not touched in the end, the output is as it was before.
pub(super) fn touch_and_stage(
    feed: &mut InputBatch<'_, '_>,
    key: &[u8],
    exptime: Exptime,
    stage: impl Fn(&mut Output, &Item<'_>, Option<Stub>),
) -> Result<Touched, Retry> {
    let mark = feed.out.mark();
    let touched = feed.executor.touch(key, exptime, |item, stub| {
        feed.out.rewind(mark);
        stage(feed.out, item, stub);
    });
    if touched != Ok(Touched::Touched) {
        feed.out.rewind(mark);
    }
    touched
}
