//! Finds the next text line in the input, without searching the same bytes twice: the session remembers how far it has
//! searched.
//!
//! Imports nothing of the session but its state.

use super::state::{InputBatch, Session};

/// A line without its line end, and its length in bytes with the line end.
pub(super) struct Line<'i> {
    pub(super) text: &'i [u8],
    pub(super) bytes: usize,
}

impl Session {
    /// The next line of the input, which is not consumed. `None` if its end has not come; then the bytes searched are
    /// remembered in `Session::searched`.
    #[inline]
    pub(super) fn line<'i>(&mut self, feed: &InputBatch<'i, '_>) -> Option<Line<'i>> {
        let rest = feed.rest();
        let Some(end) = memchr::memchr(b'\n', rest.get(self.searched..).unwrap_or_default()) else {
            self.searched = rest.len();
            return None;
        };
        let end = self.searched + end;
        self.searched = 0;
        let text = &rest[..end];
        Some(Line { text: text.strip_suffix(b"\r").unwrap_or(text), bytes: end + 1 })
    }
}
