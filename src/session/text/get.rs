//! Gets in the text protocol: of one key, several in a row, and lines of any length, whose keys are answered as they arrive.
//!
//! The functions are methods of [`Session`]. The progress of a long line is in its `State::Keys`.

use crate::command::Touched;
use crate::engine::Hit;
use crate::escape;
use crate::limits::{KEY_BYTES_MAX, LEADING_SPACES_MAX, LINE_BYTES_MAX};
use crate::output::Output;
use crate::proto::text::{self, LINE_END, Words, reply};
use crate::session::line::Line;
use crate::session::lookahead::KEYS_TOGETHER_MAX;
use crate::session::progress::Next;
use crate::session::staging::touch_and_stage;
use crate::session::state::{InputBatch, Keys, Session, State, Step};
use crate::store::{Hash, Item, Retry, Stub};

impl Session {
    /// Runs a get, gets, gat or gats whose whole line is in the input. `Err` if the same line must be run again later.
    pub(super) fn get(
        &mut self,
        feed: &mut InputBatch<'_, '_>,
        line: &Line<'_>,
        get: &text::Get<'_>,
    ) -> Result<Step, Retry> {
        let keys = Keys { with_cas: get.with_cas, touch: get.touch, bad: false };
        if line.text.len() > KEY_BYTES_MAX && line.text.len() <= LINE_BYTES_MAX && has_bad_key(get.keys) {
            feed.at += line.bytes;
            self.drop_hits(feed, keys, get.keys)?;
            self.push_line(feed, reply::BAD_FORMAT);
            return Ok(Step::Done);
        }
        // The keys are at the end of the line.
        let key_bytes = get.keys.rest().len();
        feed.at += line.text.len() - key_bytes;
        let words = &line.text[line.text.len() - key_bytes..];
        Ok(self.keys(feed, keys, words, line.bytes - line.text.len()))
    }

    /// Answers a get of one key and the gets of one key that follow it in the input, at most [`KEYS_TOGETHER_MAX`] in all. `key` and
    /// `line_bytes` are those of the first get.
    #[inline]
    pub(super) fn gets(&mut self, feed: &mut InputBatch<'_, '_>, key: &[u8], line_bytes: usize) -> Step {
        self.searched = 0;
        let rest = feed.rest();
        let Some((second, second_bytes)) = text::single_get(&rest[line_bytes..]) else {
            feed.at += line_bytes;
            let hash = feed.executor.hash(key);
            stage_get(feed, hash, key);
            return Step::Done;
        };
        let mut keys = [key; KEYS_TOGETHER_MAX];
        let mut lines = [line_bytes; KEYS_TOGETHER_MAX];
        (keys[1], lines[1]) = (second, second_bytes);
        let (mut count, mut end) = (2, line_bytes + second_bytes);
        while count < KEYS_TOGETHER_MAX.min(feed.budget as usize)
            && let Some((key, line_bytes)) = text::single_get(&rest[end..])
        {
            (keys[count], lines[count]) = (key, line_bytes);
            count += 1;
            end += line_bytes;
        }
        let mut hashes = [Hash::default(); KEYS_TOGETHER_MAX];
        feed.executor.prefetch(&keys[..count], &mut hashes);
        for (place, ((key, line_bytes), hash)) in
            keys.into_iter().zip(lines).zip(hashes).take(count).enumerate()
        {
            // The caller counts the last get.
            if place > 0 {
                if feed.budget <= 1 || feed.out.is_full() {
                    break;
                }
                feed.budget -= 1;
            }
            feed.at += line_bytes;
            stage_get(feed, hash, key);
        }
        Step::Done
    }

    /// Handles a line whose end has not been received. A line longer than [`LINE_BYTES_MAX`] closes the connection, unless it is
    /// a get, whose keys are answered as they arrive.
    pub(super) fn unfinished_line(&mut self, feed: &mut InputBatch<'_, '_>) -> Step {
        let rest = feed.rest();
        if rest.len() <= LINE_BYTES_MAX {
            return Step::Need;
        }
        self.searched = 0;
        let spaces = rest.iter().take_while(|&&byte| byte == b' ').count();
        let words = &rest[spaces..];
        let (name, with_cas): (&[u8], _) = if words.starts_with(b"get ") {
            (b"get ", false)
        } else if words.starts_with(b"gets ") {
            (b"gets ", true)
        } else {
            return Step::Stop(Next::Reject);
        };
        if spaces > LEADING_SPACES_MAX {
            return Step::Stop(Next::Reject);
        }
        if spaces > 0 {
            // memcached lets such a line be long as well, although the space at its start makes it an invalid command.
            self.push_line(feed, reply::ERROR);
            feed.at += spaces + name.len();
            return self.text_keys(feed, Keys { with_cas, touch: None, bad: true });
        }
        feed.at += name.len();
        self.text_keys(feed, Keys { with_cas, touch: None, bad: false })
    }

    /// Answers the keys of a get's line that are in the input. If the line's end has not been received, the state becomes
    /// `State::Keys`, for the keys that are still to be received.
    pub(in crate::session) fn text_keys(&mut self, feed: &mut InputBatch<'_, '_>, keys: Keys) -> Step {
        if let Some(line) = self.line(feed) {
            return self.keys(feed, keys, line.text, line.bytes - line.text.len());
        }
        self.searched = 0;
        self.state = State::Keys(keys);
        let rest = feed.rest();
        // The last word may be incomplete, and so may be a line end.
        let whole = memchr::memrchr(b' ', rest).map_or(0, |space| space + 1);
        if keys.bad {
            feed.at += rest.len();
            return Step::Need;
        }
        if rest.len() - whole > KEY_BYTES_MAX + 1 {
            return self.skip_keys(feed, keys, reply::BAD_FORMAT);
        }
        match self.serve_keys(feed, keys, &rest[..whole]) {
            Ok(()) => Step::Need,
            Err(step) => step,
        }
    }

    /// Answers the last keys of a line, then ends the get. `words` is the line without the keys answered so far, and
    /// `line_end_bytes` the length of the line end after it.
    #[inline]
    fn keys(
        &mut self,
        feed: &mut InputBatch<'_, '_>,
        keys: Keys,
        words: &[u8],
        line_end_bytes: usize,
    ) -> Step {
        if keys.bad {
            feed.at += words.len() + line_end_bytes;
            self.state = State::Command;
            return Step::Done;
        }
        if let Err(step) = self.serve_keys(feed, keys, words) {
            return step;
        }
        feed.at += line_end_bytes;
        self.state = State::Command;
        feed.out.staged.extend_from_slice(reply::END);
        if self.verbose {
            self.trace_reply(reply::END);
        }
        Step::Done
    }

    /// Answers and consumes the keys in `words`, which are the next bytes of the input. `Err` says how the step ends if it must
    /// stop before the last key.
    #[inline]
    fn serve_keys(&mut self, feed: &mut InputBatch<'_, '_>, keys: Keys, words: &[u8]) -> Result<(), Step> {
        let mut words = Words::of(words);
        let mut left = words.rest().len();
        loop {
            let mut batch: [&[u8]; KEYS_TOGETHER_MAX] = [b""; KEYS_TOGETHER_MAX];
            let mut bytes_behind = [0; KEYS_TOGETHER_MAX];
            let mut hashes = [Hash::default(); KEYS_TOGETHER_MAX];
            let mut count = 0;
            while count < KEYS_TOGETHER_MAX
                && let Some(key) = words.next()
            {
                (batch[count], bytes_behind[count]) = (key, words.rest().len());
                count += 1;
            }
            feed.executor.prefetch(&batch[..count], &mut hashes);
            for ((&key, behind), hash) in batch[..count].iter().zip(bytes_behind).zip(hashes) {
                if key.len() > KEY_BYTES_MAX {
                    return Err(self.skip_keys(feed, keys, reply::BAD_FORMAT));
                }
                match self.serve_key(feed, keys, hash, key) {
                    Ok(Touched::Touched | Touched::NotFound) => {}
                    Ok(Touched::NoMemory) => return Err(self.skip_keys(feed, keys, reply::NO_MEMORY)),
                    Err(retry) => {
                        self.state = State::Keys(keys);
                        return Err(Step::Stop(retry.into()));
                    }
                }
                feed.at += left - behind;
                left = behind;
                if left > 0 && feed.out.is_full() {
                    self.state = State::Keys(keys);
                    return Err(Step::Stop(Next::Resume));
                }
            }
            if count < KEYS_TOGETHER_MAX {
                feed.at += left;
                return Ok(());
            }
        }
    }

    /// Answers one key. A hit always returns [`Touched::Touched`], even if the get sets no expiry.
    #[inline]
    fn serve_key(
        &self,
        feed: &mut InputBatch<'_, '_>,
        keys: Keys,
        hash: Hash,
        key: &[u8],
    ) -> Result<Touched, Retry> {
        let cas_enabled = feed.executor.shared().config.cas_enabled;
        let cas = |item: &Item<'_>| keys.with_cas.then(|| if cas_enabled { item.cas() } else { 0 });
        let touched = if let Some(exptime) = keys.touch {
            touch_and_stage(feed, key, exptime, |out, item, stub| stage_value(out, item, stub, cas(item)))?
        } else if let Some(Hit { item, stub }) = feed.executor.get_hashed(hash, key) {
            stage_value(feed.out, &item, stub, cas(&item));
            Touched::Touched
        } else {
            Touched::NotFound
        };
        if touched == Touched::Touched && self.verbose {
            tracing::debug!(target: "wire", ">{} sending key {}", self.id, escape::for_log(key));
        }
        Ok(touched)
    }

    /// Looks up the keys before the first one that is too long, and drops their replies. As in memcached, these keys count as
    /// used and are touched.
    fn drop_hits(&self, feed: &mut InputBatch<'_, '_>, keys: Keys, words: Words<'_>) -> Result<(), Retry> {
        let mark = feed.out.mark();
        for key in words.into_iter().take_while(|key| key.len() <= KEY_BYTES_MAX) {
            let hash = feed.executor.hash(key);
            let holes = feed.out.holes();
            self.serve_key(feed, keys, hash, key)?;
            feed.executor.aborted(feed.out.holes() - holes);
            feed.out.rewind(mark);
        }
        Ok(())
    }

    /// Stages the error `why`, and makes the session skip the remainder of the line.
    fn skip_keys(&mut self, feed: &mut InputBatch<'_, '_>, keys: Keys, why: &'static [u8]) -> Step {
        self.push_line(feed, why);
        self.state = State::Keys(Keys { bad: true, ..keys });
        Step::Done
    }
}

/// Stages the whole reply to a get of one key, including `END`.
#[inline]
fn stage_get(feed: &mut InputBatch<'_, '_>, hash: Hash, key: &[u8]) {
    let Some(Hit { item, stub }) = feed.executor.get_hashed(hash, key) else {
        return feed.out.staged.extend_from_slice(reply::END);
    };
    if let Some(stub) = stub {
        stage_stub(feed.out, &item, stub, None);
        return feed.out.staged.extend_from_slice(reply::END);
    }
    let value = item.value();
    reply::value_head(&mut feed.out.staged, item.key(), item.flags(), value.len(), None);
    feed.out.push_value(&item, value);
    feed.out.staged.extend_from_slice(reply::VALUE_END);
}

/// Stages one hit, with `cas` if there is one. A short value is copied; a long one is pinned and sent from item memory.
#[inline]
fn stage_value(out: &mut Output, item: &Item<'_>, stub: Option<Stub>, cas: Option<u64>) {
    if let Some(stub) = stub {
        return stage_stub(out, item, stub, cas);
    }
    let value = item.value();
    reply::value_head(&mut out.staged, item.key(), item.flags(), value.len(), cas);
    out.push_value(item, value);
    out.staged.extend_from_slice(LINE_END);
}

/// Stages one hit whose value is on flash, with a hole for the value. If the value cannot be read, the reply is sent without the
/// hit.
#[cold]
fn stage_stub(out: &mut Output, item: &Item<'_>, stub: Stub, cas: Option<u64>) {
    let (from, key) = (out.staged.len(), item.key());
    reply::value_head(&mut out.staged, key, item.flags(), stub.place.value_bytes(), cas);
    let at = out.staged.len();
    out.staged.extend_from_slice(LINE_END);
    out.push_hole(key, stub, from, at, Vec::new());
}

/// True if one of the keys is longer than the protocol allows.
fn has_bad_key(keys: Words<'_>) -> bool {
    keys.into_iter().any(|key| key.len() > KEY_BYTES_MAX)
}
