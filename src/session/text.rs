//! The classic text commands on a connection.

use super::lookahead::BATCH;
use super::{Block, BodySource, DeferredReply, InputBatch, Next, Session, State, Step, drops_old};
use crate::command::{
    Arith, ArithResult, Deleted, Direction, Exptime, Flushed, Replies, StorageRequest, Stored, Touched,
};
use crate::escape;
use crate::limits::{KEY_BYTES_MAX, LEADING_SPACES_MAX, LINE_BYTES_MAX};
use crate::logging;
use crate::output::Output;
use crate::proto::text::{self, Command, LINE_END, Verb, Words, reply};
use crate::store::{Data, Hash, Item, Retry};

/// How the keys of a get are answered, while its line is worked through.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keys {
    with_cas: bool,
    touch: Option<Exptime>,
    /// A key was bad: the rest of the line is skipped.
    bad: bool,
}

/// A line without its end, and how long it is with it.
pub(super) struct Line<'i> {
    pub(super) text: &'i [u8],
    pub(super) bytes: usize,
}

impl Session {
    /// Runs the command line at the front of the input.
    pub(super) fn text(&mut self, feed: &mut InputBatch<'_, '_>) -> Result<Step, Retry> {
        if let Some((key, line_bytes)) = text::single_get(feed.rest())
            && !self.verbose
        {
            return Ok(self.gets(feed, key, line_bytes));
        }
        self.look_ahead(feed);
        let Some(line) = self.line(feed) else { return Ok(self.unfinished_line(feed)) };
        if self.verbose {
            tracing::debug!(target: "wire", "<{} {}", self.id, escape::for_log(line.text));
        }
        match text::parse(line.text, line.bytes - line.text.len()) {
            Command::Get(get) => {
                let keys = Keys { with_cas: get.with_cas, touch: get.touch, bad: false };
                if line.text.len() > KEY_BYTES_MAX
                    && line.text.len() <= LINE_BYTES_MAX
                    && has_bad_key(get.keys)
                {
                    feed.at += line.bytes;
                    self.drop_hits(feed, keys, get.keys)?;
                    self.push_line(feed, reply::BAD_FORMAT);
                    return Ok(Step::Done);
                }
                // The keys are the end of the line.
                feed.at += line.text.len() - get.keys.rest().len();
                let words = &line.text[line.text.len() - get.keys.rest().len()..];
                Ok(self.keys(feed, keys, words, line.bytes - line.text.len()))
            }
            Command::Store(block) => self.block(feed, &line, &block),
            Command::Meta(verb) => self.meta(feed, &line, verb),
            command => {
                feed.at += line.bytes;
                self.simple(feed, command)
            }
        }
    }

    /// Answers a get of one key, and the gets of one key behind it that are in the input too.
    #[inline]
    fn gets(&mut self, feed: &mut InputBatch<'_, '_>, key: &[u8], line_bytes: usize) -> Step {
        self.searched = 0;
        let rest = feed.rest();
        let Some((second, second_bytes)) = text::single_get(&rest[line_bytes..]) else {
            feed.at += line_bytes;
            let hash = feed.executor.hash(key);
            stage_get(feed, hash, key);
            return Step::Done;
        };
        let mut keys = [key; BATCH];
        let mut lines = [line_bytes; BATCH];
        (keys[1], lines[1]) = (second, second_bytes);
        let (mut count, mut end) = (2, line_bytes + second_bytes);
        while count < BATCH.min(feed.budget as usize)
            && let Some((key, line_bytes)) = text::single_get(&rest[end..])
        {
            (keys[count], lines[count]) = (key, line_bytes);
            count += 1;
            end += line_bytes;
        }
        let mut hashes = [Hash::default(); BATCH];
        feed.executor.prefetch(&keys[..count], &mut hashes);
        for (place, ((key, line_bytes), hash)) in
            keys.into_iter().zip(lines).zip(hashes).take(count).enumerate()
        {
            // The last one is counted by the caller.
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

    /// The next line, if it is all there.
    #[inline]
    fn line<'i>(&mut self, feed: &InputBatch<'i, '_>) -> Option<Line<'i>> {
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

    /// A line whose end has not come. Only a get may be longer than [`LINE_BYTES_MAX`]; its keys are answered as they come.
    fn unfinished_line(&mut self, feed: &mut InputBatch<'_, '_>) -> Step {
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
            // It may be long all the same, though a space in front makes it no command.
            self.push_line(feed, reply::ERROR);
            feed.at += spaces + name.len();
            return self.text_keys(feed, Keys { with_cas, touch: None, bad: true });
        }
        feed.at += name.len();
        self.text_keys(feed, Keys { with_cas, touch: None, bad: false })
    }

    /// Goes on with a get's line.
    pub(super) fn text_keys(&mut self, feed: &mut InputBatch<'_, '_>, keys: Keys) -> Step {
        if let Some(line) = self.line(feed) {
            return self.keys(feed, keys, line.text, line.bytes - line.text.len());
        }
        self.searched = 0;
        self.state = State::Keys(keys);
        let rest = feed.rest();
        // The last word may go on; so may a line end.
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

    /// Answers the keys that end a line, and its end.
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

    /// Answers `words`, the next bytes of the input, and uses them up; `Err` if it stops before their end.
    #[inline]
    fn serve_keys(&mut self, feed: &mut InputBatch<'_, '_>, keys: Keys, words: &[u8]) -> Result<(), Step> {
        let mut words = Words::of(words);
        let mut left = words.rest().len();
        loop {
            let mut batch: [&[u8]; BATCH] = [b""; BATCH];
            let mut bytes_behind = [0; BATCH];
            let mut hashes = [Hash::default(); BATCH];
            let mut count = 0;
            while count < BATCH
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
            if count < BATCH {
                feed.at += left;
                return Ok(());
            }
        }
    }

    /// Answers a key; one that is not to be touched counts as touched if it is there.
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
            touch_and_stage(feed, key, exptime, |out, item| stage_value(out, item, cas(item)))?
        } else if let Some(item) = feed.executor.get_hashed(hash, key) {
            stage_value(feed.out, &item, cas(&item));
            Touched::Touched
        } else {
            Touched::NotFound
        };
        if touched == Touched::Touched && self.verbose {
            tracing::debug!(target: "wire", ">{} sending key {}", self.id, escape::for_log(key));
        }
        Ok(touched)
    }

    /// Looks up what stands in front of a bad key and drops the answers: those keys have been used, touched and counted.
    fn drop_hits(&self, feed: &mut InputBatch<'_, '_>, keys: Keys, words: Words<'_>) -> Result<(), Retry> {
        let mark = feed.out.mark();
        for key in words.into_iter().take_while(|key| key.len() <= KEY_BYTES_MAX) {
            let hash = feed.executor.hash(key);
            self.serve_key(feed, keys, hash, key)?;
            feed.out.rewind(mark);
        }
        Ok(())
    }

    /// Says why a key cannot be answered, and skips the rest of the line.
    fn skip_keys(&mut self, feed: &mut InputBatch<'_, '_>, keys: Keys, why: &'static [u8]) -> Step {
        self.push_line(feed, why);
        self.state = State::Keys(Keys { bad: true, ..keys });
        Step::Done
    }

    /// Runs a storage command.
    fn block(
        &mut self,
        feed: &mut InputBatch<'_, '_>,
        line: &Line<'_>,
        block: &text::Block<'_>,
    ) -> Result<Step, Retry> {
        let block_bytes = block.value_bytes + LINE_END.len();
        let store = match &block.store {
            Ok(store) => store,
            Err(refused) => {
                feed.at += line.bytes;
                self.discard_body(block_bytes, deferred_reply(refused, block.replies));
                return Ok(Step::Done);
            }
        };
        let head = &feed.rest()[..line.bytes];
        match self.body_source(feed, store, block.value_bytes, Block { head, bytes: block_bytes })? {
            BodySource::Here(here) => {
                feed.at += line.bytes + block_bytes;
                let (value, end) = here.split_at(block.value_bytes);
                self.store(feed, store, block, (&mut Data::Bytes(value), end))?;
            }
            BodySource::Need => return Ok(Step::Need),
            BodySource::Receiving => {}
            BodySource::Refused(why) => {
                feed.executor.refuse_store(store, why, drops_old(store))?;
                feed.at += line.bytes;
                self.discard_body(block_bytes, deferred_reply(refusal(why), block.replies));
            }
        }
        Ok(Step::Done)
    }

    /// The value whose command is in `self.head` has come.
    pub(super) fn text_received(&mut self, feed: &mut InputBatch<'_, '_>) -> Result<Step, Retry> {
        let Some(end) = feed.rest().get(..LINE_END.len()) else { return Ok(Step::Need) };
        let State::Receive(Some(reservation)) = std::mem::take(&mut self.state) else {
            return Ok(Step::Stop(Next::Reject));
        };
        feed.at += LINE_END.len();
        let mut data = Data::Reservation(reservation);
        let head = std::mem::take(&mut self.head);
        let line = head.strip_suffix(b"\n").unwrap_or(&head);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let done = match text::parse(line, head.len() - line.len()) {
            Command::Store(block @ text::Block { store: Ok(store), .. }) => {
                self.store(feed, &store, &block, (&mut data, end))
            }
            Command::Meta(Verb::Set) => self.meta_received(feed, line, (&mut data, end)),
            // The head was a storage command when its value was announced.
            _ => return Ok(Step::Stop(Next::Reject)),
        };
        self.head = head;
        self.received(done, data)
    }

    /// Ends a command whose value has been received; or keeps the value for when it is tried again.
    pub(super) fn received(&mut self, done: Result<(), Retry>, data: Data<'_>) -> Result<Step, Retry> {
        if done.is_err()
            && let Data::Reservation(reservation) = data
        {
            self.state = State::Receive(Some(reservation));
        }
        done.map(|()| Step::Done)
    }

    /// Stores a value that is there, and answers. `end` is what stands where its line end must.
    fn store(
        &mut self,
        feed: &mut InputBatch<'_, '_>,
        store: &StorageRequest<'_>,
        block: &text::Block<'_>,
        (data, end): (&mut Data<'_>, &[u8]),
    ) -> Result<(), Retry> {
        let line = if end == LINE_END {
            match feed.executor.store(store, block.value_bytes, data)? {
                Stored::Stored(_) => reply::STORED,
                Stored::NotStored => reply::NOT_STORED,
                Stored::Exists => reply::EXISTS,
                Stored::NotFound => reply::NOT_FOUND,
                why @ (Stored::NoMemory | Stored::TooLarge) => {
                    feed.executor.refuse_store(store, why, drops_old(store))?;
                    refusal(why)
                }
            }
        } else {
            feed.executor.count_set(store, block.value_bytes);
            reply::BAD_CHUNK
        };
        self.push_reply(feed, block.replies, line);
        Ok(())
    }

    /// Runs a command that is all on its line.
    fn simple(&mut self, feed: &mut InputBatch<'_, '_>, command: Command<'_>) -> Result<Step, Retry> {
        match command {
            Command::Delete(key, replies) => {
                let line = match feed.executor.delete(key, None)? {
                    Deleted::Deleted => reply::DELETED,
                    Deleted::NoMemory => reply::NO_MEMORY,
                    Deleted::NotFound | Deleted::Exists => reply::NOT_FOUND,
                };
                self.push_reply(feed, replies, line);
            }
            Command::Arith(key, direction, delta, replies) => {
                self.count(feed, (key, direction, delta), replies)?;
            }
            Command::Touch(key, exptime, replies) => {
                let line = match feed.executor.touch(key, exptime, |_| ())? {
                    Touched::Touched => reply::TOUCHED,
                    Touched::NotFound => reply::NOT_FOUND,
                    Touched::NoMemory => reply::NO_MEMORY,
                };
                self.push_reply(feed, replies, line);
            }
            Command::Flush(exptime, replies) => {
                let line = match exptime {
                    None => {
                        feed.executor.count_flush();
                        if feed.executor.shared().config.flush_enabled {
                            reply::BAD_EXPTIME
                        } else {
                            reply::FLUSH_NOT_ALLOWED
                        }
                    }
                    Some(exptime) => match feed.executor.flush(exptime)? {
                        Flushed::Done => reply::OK,
                        Flushed::NotAllowed => reply::FLUSH_NOT_ALLOWED,
                        Flushed::NoMemory => reply::NO_MEMORY,
                    },
                };
                self.push_reply(feed, replies, line);
            }
            Command::Verbosity(level, replies) => {
                feed.executor.shared().set_verbosity(level);
                logging::set_verbosity(feed.executor.shared().verbosity());
                self.push_reply(feed, replies, reply::OK);
            }
            Command::Refused(line, replies) => self.push_reply(feed, replies, line),
            Command::Quit => return Ok(Step::Stop(Next::Close)),
            Command::Http => return Ok(Step::Stop(Next::Reject)),
            Command::Version => reply::version(&mut feed.out.staged),
            Command::Noop => self.push_line(feed, reply::MN),
            Command::Admin(admin, words) => return Ok(self.admin(feed, admin, words)),
            Command::Meta(_) | Command::Get(_) | Command::Store(_) => self.push_line(feed, reply::ERROR),
        }
        Ok(Step::Done)
    }

    fn count(
        &self,
        feed: &mut InputBatch<'_, '_>,
        (key, direction, delta): (&[u8], Direction, u64),
        replies: Replies,
    ) -> Result<(), Retry> {
        let count = Arith {
            key,
            direction,
            delta,
            compare: 0,
            cas: None,
            touch: None,
            create: None,
            key_is_binary: false,
        };
        let line = match feed.executor.count(&count)? {
            ArithResult::Number { number, .. } => {
                if !replies.quiet() {
                    reply::number_line(&mut feed.out.staged, number);
                }
                return Ok(());
            }
            ArithResult::NotFound | ArithResult::Exists => reply::NOT_FOUND,
            ArithResult::NotNumeric => reply::NOT_NUMERIC,
            ArithResult::NoMemory | ArithResult::NoMemoryToCreate => reply::NO_MEMORY,
        };
        self.push_reply(feed, replies, line);
        Ok(())
    }

    /// Stages a reply line.
    pub(super) fn push_line(&self, feed: &mut InputBatch<'_, '_>, line: &'static [u8]) {
        feed.out.staged.extend_from_slice(line);
        if self.verbose {
            self.trace_reply(line);
        }
    }

    /// Stages a reply line if replies are wanted.
    fn push_reply(&self, feed: &mut InputBatch<'_, '_>, replies: Replies, line: &'static [u8]) {
        if !replies.quiet() {
            self.push_line(feed, line);
        } else if self.verbose {
            tracing::debug!(target: "wire", ">{} NOREPLY {}", self.id, escape::for_log(line.trim_ascii_end()));
        }
    }

    fn trace_reply(&self, line: &[u8]) {
        tracing::debug!(target: "wire", ">{} {}", self.id, escape::for_log(line.trim_ascii_end()));
    }
}

/// The answer that waits for the end of a refused value.
fn deferred_reply(line: &'static [u8], replies: Replies) -> DeferredReply {
    if replies.quiet() { DeferredReply::Nothing } else { DeferredReply::Line(line) }
}

/// The line for a store that failed for want of room.
pub(super) fn refusal(why: Stored) -> &'static [u8] {
    if why == Stored::TooLarge { reply::TOO_LARGE } else { reply::NO_MEMORY_STORING }
}

/// Stages the whole answer to a get of one key.
#[inline]
fn stage_get(feed: &mut InputBatch<'_, '_>, hash: Hash, key: &[u8]) {
    let Some(item) = feed.executor.get_hashed(hash, key) else {
        return feed.out.staged.extend_from_slice(reply::END);
    };
    let value = item.value();
    reply::value_head(&mut feed.out.staged, item.key(), item.flags(), value.len(), None);
    feed.out.push_value(&item, value);
    feed.out.staged.extend_from_slice(reply::VALUE_END);
}

/// Touches an item and stages it; nothing is staged unless it was touched.
pub(super) fn touch_and_stage(
    feed: &mut InputBatch<'_, '_>,
    key: &[u8],
    exptime: Exptime,
    stage: impl Fn(&mut Output, &Item<'_>),
) -> Result<Touched, Retry> {
    let mark = feed.out.mark();
    let touched = feed.executor.touch(key, exptime, |item| {
        feed.out.rewind(mark);
        stage(feed.out, item);
    });
    if touched != Ok(Touched::Touched) {
        feed.out.rewind(mark);
    }
    touched
}

/// Stages one hit: a short value is copied, a long one sent from where it is.
#[inline]
fn stage_value(out: &mut Output, item: &Item<'_>, cas: Option<u64>) {
    let value = item.value();
    reply::value_head(&mut out.staged, item.key(), item.flags(), value.len(), cas);
    out.push_value(item, value);
    out.staged.extend_from_slice(LINE_END);
}

fn has_bad_key(keys: Words<'_>) -> bool {
    keys.into_iter().any(|key| key.len() > KEY_BYTES_MAX)
}
