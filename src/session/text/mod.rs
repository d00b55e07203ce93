//! The classic text commands on a session, and the entry for all text lines. Methods of [`Session`].
//!
//! `feed` runs the module. It runs `meta` and `admin`, and may import these, `lookahead`, `body`, `line`, `staging` and the
//! state.

mod get;

use super::body::{Block, BodySource, drops_old};
use super::line::Line;
use super::progress::Next;
use super::staging::{deferred_reply, refusal};
use super::state::{InputBatch, Session, State, Step};
use crate::command::{
    Arith, ArithResult, Deleted, Direction, Flushed, Replies, StorageRequest, Stored, Touched,
};
use crate::escape;
use crate::logging;
use crate::proto::text::{self, Command, LINE_END, Verb, reply};
use crate::store::{Data, Retry};

impl Session {
    /// Runs the command line at the front of the input. `Err` if the same line must be run again later.
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
            Command::Get(get) => self.get(feed, &line, &get),
            Command::Store(block) => self.block(feed, &line, &block),
            Command::Meta(verb) => self.meta(feed, &line, verb),
            command => {
                feed.at += line.bytes;
                self.simple(feed, command)
            }
        }
    }

    /// Runs a storage command if its value has been received. If not, waits for the value, begins to receive it into a
    /// reservation, or skips it.
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

    /// Runs the storage command in `self.head`, whose value has been received, once the line end after the value has been
    /// received too.
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
            // The head was that of a storage command when its value was announced.
            _ => return Ok(Step::Stop(Next::Reject)),
        };
        self.head = head;
        self.received(done, data)
    }

    /// Stores a value that has been received completely, and stages the reply. `end` is the two bytes after the value. If they
    /// are not a line end, nothing is stored.
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

    /// Runs a command that has no value and whose line has already been consumed.
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
                let line = match feed.executor.touch(key, exptime, |_, _| ())? {
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

    /// Runs incr or decr and stages its reply.
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
        let line = match feed.executor.arith(&count)? {
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
}
