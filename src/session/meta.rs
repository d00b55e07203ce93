//! The meta commands on a session: runs them, and stages their replies. Methods of [`Session`] and functions over one
//! [`InputBatch`].
//!
//! `text` reads the lines and runs the module. It may import `body`, `line`, `staging` and the state.

use super::body::{Block, BodySource};
use super::line::Line;
use super::staging::refusal;
use super::state::{DeferredReply, InputBatch, Session, Step};
use crate::clock::Timestamp;
use crate::command::{ArithResult, Deleted, Replies, StorageRequest, Stored};
use crate::engine::{MetaDelete, MetaGet, MetaGetResult, MetaHit};
use crate::number;
use crate::output::Output;
use crate::proto::meta::{self, KeyBuffer, Request};
use crate::proto::text::{LINE_END, Verb, Words, reply};
use crate::store::{Data, Item, Retry, Stub};

impl Session {
    /// Runs a meta command. `Err` if the same line must be run again later.
    pub(super) fn meta(
        &mut self,
        feed: &mut InputBatch<'_, '_>,
        line: &Line<'_>,
        verb: Verb,
    ) -> Result<Step, Retry> {
        let Some(meta) = meta::line(verb, line.text) else {
            feed.at += line.bytes;
            self.push_line(feed, reply::BAD_FORMAT);
            return Ok(Step::Done);
        };
        let mut buffer = KeyBuffer::default();
        if verb == Verb::Debug {
            feed.at += line.bytes;
            match meta.debug_key(&mut buffer) {
                Ok(key) => self.meta_debug(feed, key),
                Err(error) => self.push_line(feed, error),
            }
            return Ok(Step::Done);
        }
        let (key, request) = match meta.request(verb, &mut buffer) {
            Ok(parsed) => parsed,
            Err(error) => {
                feed.at += line.bytes;
                if verb == Verb::Set {
                    self.discard_body(meta.value_bytes + LINE_END.len(), DeferredReply::Line(error));
                } else {
                    self.push_line(feed, error);
                }
                return Ok(Step::Done);
            }
        };
        if verb == Verb::Set {
            return self.meta_set(feed, line, key, &request, meta.value_bytes);
        }
        feed.at += line.bytes;
        match verb {
            Verb::Get => meta_get(feed, key, &request)?,
            Verb::Delete => meta_delete(feed, key, &request)?,
            _ => self.meta_count(feed, key, &request)?,
        }
        Ok(Step::Done)
    }

    /// Runs an `me`: stages a line with the item's metadata, or `EN` if there is no item.
    fn meta_debug(&self, feed: &mut InputBatch<'_, '_>, key: &[u8]) {
        let (now, shared) = (feed.executor.now(), feed.executor.shared());
        let Some((item, class)) = feed.executor.inspect(key) else { return self.push_line(feed, reply::EN) };
        let out = &mut feed.out.staged;
        out.extend_from_slice(b"ME ");
        meta::push_key_text(out, item.key(), item.key_is_binary());
        match ttl(item.exptime(), now) {
            None => out.extend_from_slice(b" exp=-1"),
            Some(secs) => push_field(out, b" exp=", u64::from(secs)),
        }
        push_field(out, b" la=", u64::from(now.0.saturating_sub(item.last_access().0)));
        push_field(out, b" cas=", if shared.config.cas_enabled { item.cas() } else { 0 });
        out.extend_from_slice(if item.fetched() { b" fetch=yes" } else { b" fetch=no" });
        push_field(out, b" cls=", u64::from(class));
        push_field(out, b" size=", shared.item_bytes(&item));
        out.extend_from_slice(LINE_END);
    }

    /// Runs an `ms` if its value has been received. If not, waits for the value, begins to receive it into a reservation, or
    /// skips it.
    fn meta_set(
        &mut self,
        feed: &mut InputBatch<'_, '_>,
        line: &Line<'_>,
        key: &[u8],
        request: &Request<'_>,
        value_bytes: usize,
    ) -> Result<Step, Retry> {
        let block_bytes = value_bytes + LINE_END.len();
        let store = match request.store(key) {
            Ok(store) => store,
            Err(error) => {
                feed.at += line.bytes;
                self.discard_body(block_bytes, DeferredReply::Line(error));
                return Ok(Step::Done);
            }
        };
        let head = &feed.rest()[..line.bytes];
        match self.body_source(feed, &store, value_bytes, Block { head, bytes: block_bytes })? {
            BodySource::Here(here) => {
                feed.at += line.bytes + block_bytes;
                let (value, end) = here.split_at(value_bytes);
                self.meta_store(feed, &store, request, (value_bytes, &mut Data::Bytes(value), end))?;
            }
            BodySource::Need => return Ok(Step::Need),
            BodySource::Receiving => {}
            BodySource::Refused(why) => {
                feed.executor.refuse_store(&store, why, true)?;
                feed.at += line.bytes;
                self.discard_body(block_bytes, DeferredReply::Line(refusal(why)));
            }
        }
        Ok(Step::Done)
    }

    /// Runs the `ms` whose value has been received. `line` is its command line without the line end.
    pub(super) fn meta_received(
        &self,
        feed: &mut InputBatch<'_, '_>,
        line: &[u8],
        (data, end): (&mut Data<'_>, &[u8]),
    ) -> Result<(), Retry> {
        let mut buffer = KeyBuffer::default();
        let Some(meta) = meta::line(Verb::Set, line) else { return Ok(()) };
        let Ok((key, request)) = meta.request(Verb::Set, &mut buffer) else { return Ok(()) };
        let Ok(store) = request.store(key) else { return Ok(()) };
        self.meta_store(feed, &store, &request, (meta.value_bytes, data, end))
    }

    /// Stores a value that has been received completely, and stages the reply. `end` is the two bytes after the value. If they
    /// are not a line end, nothing is stored.
    fn meta_store(
        &self,
        feed: &mut InputBatch<'_, '_>,
        store: &StorageRequest<'_>,
        request: &Request<'_>,
        (value_bytes, data, end): (usize, &mut Data<'_>, &[u8]),
    ) -> Result<(), Retry> {
        if end != LINE_END {
            feed.executor.count_set(store, value_bytes);
            self.push_line(feed, reply::BAD_CHUNK);
            return Ok(());
        }
        let stored = feed.executor.store(store, value_bytes, data)?;
        let (code, cas, bytes) = match stored {
            Stored::Stored(_) if request.replies.quiet() => return Ok(()),
            Stored::Stored(written) => (b"HD", written.cas, written.value_bytes),
            Stored::NotStored => (b"NS", 0, value_bytes),
            Stored::Exists => (b"EX", 0, value_bytes),
            Stored::NotFound => (b"NF", 0, value_bytes),
            Stored::NoMemory | Stored::TooLarge => {
                feed.executor.refuse_store(store, stored, true)?;
                self.push_line(feed, refusal(stored));
                return Ok(());
            }
        };
        let out = &mut feed.out.staged;
        out.extend_from_slice(code);
        for flag in request.flags {
            match flag[0] {
                b'O' => meta::push_flag(out, flag),
                b'k' => meta::push_key(out, store.key, request.key_is_binary),
                b'c' => meta::push_number(out, b'c', cas),
                b's' => meta::push_number(out, b's', bytes),
                _ => {}
            }
        }
        out.extend_from_slice(LINE_END);
        Ok(())
    }

    /// Runs an `ma` and stages its reply.
    fn meta_count(
        &self,
        feed: &mut InputBatch<'_, '_>,
        key: &[u8],
        request: &Request<'_>,
    ) -> Result<(), Retry> {
        let count = match request.arith(key) {
            Ok(count) => count,
            Err(error) => {
                self.push_line(feed, error);
                return Ok(());
            }
        };
        match feed.executor.arith(&count)? {
            ArithResult::Number { .. } if request.replies.quiet() => {}
            counted @ ArithResult::Number { .. } => push_counted(feed, key, request, counted),
            ArithResult::NotFound => code_line(feed, *b"NF", request, key),
            ArithResult::Exists => code_line(feed, *b"EX", request, key),
            ArithResult::NotNumeric => self.push_line(feed, reply::NOT_NUMERIC),
            ArithResult::NoMemory => self.push_line(feed, reply::NO_MEMORY),
            ArithResult::NoMemoryToCreate => self.push_line(feed, reply::NO_MEMORY_CREATING),
        }
        Ok(())
    }
}

/// Stages the reply to an `ma` that has changed or created a number.
fn push_counted(feed: &mut InputBatch<'_, '_>, key: &[u8], request: &Request<'_>, counted: ArithResult) {
    let ArithResult::Number { number, cas, created, ttl } = counted else { return };
    let mut ttl_now = if created { None } else { ttl };
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(number).as_bytes();
    let (executor, out) = (&feed.executor, &mut feed.out.staged);
    push_head(out, request.value, digits.len());
    for flag in request.flags {
        match flag[0] {
            b'c' => meta::push_number(out, b'c', cas),
            b't' => meta::push_ttl(out, ttl_now),
            b'T' => {
                ttl_now =
                    request.touch.and_then(|exptime| self::ttl(executor.deadline(exptime), executor.now()));
            }
            b'N' if created => {
                ttl_now =
                    request.vivify.and_then(|exptime| self::ttl(executor.deadline(exptime), executor.now()));
            }
            b'O' => meta::push_flag(out, flag),
            b'k' => meta::push_key(out, key, request.key_is_binary),
            _ => {}
        }
    }
    out.extend_from_slice(LINE_END);
    if request.value {
        out.extend_from_slice(digits);
        out.extend_from_slice(LINE_END);
    }
}

/// Runs an `mg` and stages its reply.
fn meta_get(feed: &mut InputBatch<'_, '_>, key: &[u8], request: &Request<'_>) -> Result<(), Retry> {
    let fetch = MetaGet {
        key,
        touch: request.touch,
        vivify: request.vivify.map(|exptime| request.expiry_of_created(exptime)),
        recache: request.recache,
        recache_sees_touch: request.recache_sees_touch,
        cas: request.cas,
        no_bump: request.no_bump,
    };
    let now = feed.executor.now();
    let touched = request.touch.map(|exptime| feed.executor.deadline(exptime));
    let vivified = request.vivify.map(|exptime| feed.executor.deadline(exptime));
    let out = &mut *feed.out;
    let mark = out.mark();
    let fetched = feed.executor.fetch(&fetch, |seen, item| {
        out.rewind(mark);
        // A client that already has this version gets no value.
        let value = request.value && request.compare != Some(seen.cas);
        push_head(&mut out.staged, value, seen.value_bytes);
        let expiries = Expiries { touched, vivified, now };
        push_flags(&mut out.staged, request, (key, item), seen, expiries);
        if !value {
            return;
        }
        if let Some(stub) = seen.stub {
            return push_stub(out, request, key, (stub, mark.staged()));
        }
        if let Some(item) = item {
            out.push_value(item, item.value());
        }
        out.staged.extend_from_slice(LINE_END);
    });
    if !matches!(fetched, Ok(MetaGetResult::Hit)) {
        out.rewind(mark);
    }
    match fetched? {
        MetaGetResult::Miss if !request.replies.quiet() => code_line(feed, *b"EN", request, key),
        MetaGetResult::NoMemory => out.staged.extend_from_slice(reply::NO_MEMORY),
        MetaGetResult::Hit | MetaGetResult::Miss => {}
    }
    Ok(())
}

/// Ends the reply of an `mg` whose value is on flash, with a hole for the value. The reply begins at offset `from` of `out`. If
/// the value cannot be read, the reply becomes a miss.
#[cold]
fn push_stub(out: &mut Output, request: &Request<'_>, key: &[u8], (stub, from): (Stub, usize)) {
    let mut on_miss = Vec::new();
    if !request.replies.quiet() {
        push_code_line(&mut on_miss, *b"EN", request, key);
    }
    let at = out.staged.len();
    out.staged.extend_from_slice(LINE_END);
    out.push_hole(key, stub, from, at, on_miss);
}

/// The expiries that the flags `T` and `N` request, as times on the server's clock, and the current time. The flag `t` is
/// answered from them.
#[derive(Clone, Copy)]
struct Expiries {
    touched: Option<Timestamp>,
    vivified: Option<Timestamp>,
    now: Timestamp,
}

/// Appends the remainder of a hit's first line: a field for each requested flag that returns one, the marks of the item's state,
/// and the line end.
fn push_flags(
    out: &mut Vec<u8>,
    request: &Request<'_>,
    (key, item): (&[u8], Option<&Item<'_>>),
    seen: &MetaHit,
    at: Expiries,
) {
    let mut exptime = seen.exptime;
    let asked = if request.asks() { request.flags } else { Words::of(b"") };
    for flag in asked {
        match flag[0] {
            b'T' => exptime = at.touched.unwrap_or(exptime),
            b'N' if seen.created => exptime = at.vivified.unwrap_or(exptime),
            b's' => meta::push_number(out, b's', seen.value_bytes),
            b't' => meta::push_ttl(out, ttl(exptime, at.now)),
            b'c' => meta::push_number(out, b'c', seen.cas),
            b'f' => meta::push_number(out, b'f', seen.flags),
            b'l' => meta::push_number(out, b'l', at.now.0.saturating_sub(seen.last_access.0)),
            b'h' => meta::push_number(out, b'h', u8::from(seen.fetched)),
            b'O' => meta::push_flag(out, flag),
            b'k' => match item {
                Some(item) => meta::push_key(out, item.key(), item.key_is_binary()),
                // As in memcached, an item that N has created does not remember that its key came in base64.
                None => meta::push_key(out, key, false),
            },
            _ => {}
        }
    }
    if seen.was_won {
        out.extend_from_slice(b" Z");
    }
    if seen.stale {
        out.extend_from_slice(b" X");
    }
    if seen.won {
        out.extend_from_slice(b" W");
    }
    out.extend_from_slice(LINE_END);
}

/// Runs an `md` and stages its reply.
fn meta_delete(feed: &mut InputBatch<'_, '_>, key: &[u8], request: &Request<'_>) -> Result<(), Retry> {
    let discard = MetaDelete {
        key,
        compare: request.compare,
        stale: request.stale,
        empty: request.empty,
        touch: request.touch,
        flags: request.client_flags,
        cas: request.cas,
    };
    match feed.executor.discard(&discard)? {
        Deleted::Deleted if request.replies == Replies::Quiet => {}
        Deleted::Deleted => code_line(feed, *b"HD", request, key),
        Deleted::NotFound => code_line(feed, *b"NF", request, key),
        Deleted::Exists => code_line(feed, *b"EX", request, key),
        Deleted::NoMemory => feed.out.staged.extend_from_slice(reply::NO_MEMORY),
    }
    Ok(())
}

/// Stages a reply that is only a code, with the opaque and the key if the request asks for them.
fn code_line(feed: &mut InputBatch<'_, '_>, code: [u8; 2], request: &Request<'_>, key: &[u8]) {
    push_code_line(&mut feed.out.staged, code, request, key);
}

/// Appends a reply that is only a code, with the opaque and the key if the request asks for them.
fn push_code_line(out: &mut Vec<u8>, code: [u8; 2], request: &Request<'_>, key: &[u8]) {
    out.extend_from_slice(&code);
    meta::push_opaque_and_key(out, request, key);
    out.extend_from_slice(LINE_END);
}

/// Appends the start of a hit's first line: `VA` and the value's length if the reply has a `value`, otherwise `HD`.
fn push_head(out: &mut Vec<u8>, value: bool, value_bytes: usize) {
    if value {
        out.extend_from_slice(b"VA ");
        number::push(out, value_bytes);
    } else {
        out.extend_from_slice(b"HD");
    }
}

fn push_field(out: &mut Vec<u8>, name: &[u8], number: u64) {
    out.extend_from_slice(name);
    number::push(out, number);
}

/// Returns the seconds from `now` to `exptime`; `None` if `exptime` is never. The number wraps if `exptime` has passed.
fn ttl(exptime: Timestamp, now: Timestamp) -> Option<u32> {
    match exptime {
        Timestamp::NEVER => None,
        exptime => Some(exptime.0.wrapping_sub(now.0)),
    }
}
