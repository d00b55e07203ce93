//! Finds the next text line in the input without searching any byte twice: the session remembers how far it has searched.
//!
//! The module imports nothing of the session except its state.

use super::state::{InputBatch, Session};

/// A line without its line end, and its length in bytes including the line end.
pub(super) struct Line<'i> {
    pub(super) text: &'i [u8],
    pub(super) bytes: usize,
}

impl Session {
    /// Returns the next line of the input without consuming it. `None` if the input does not contain its end; then
    /// `Session::searched` records how many bytes were searched.
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
