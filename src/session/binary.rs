//! The binary protocol on a session: runs packets, and stages reply packets. Methods of [`Session`] and functions over one
//! [`InputBatch`].
//!
//! `feed` runs the module. It may import every module of the session except `feed`, the modules above `feed`, and the text
//! protocols.

use super::auth::MECHANISM;
use super::body::{Block, BodySource, drops_old};
use super::dump::Form;
use super::list::List;
use super::progress::Next;
use super::staging::{refuse_packet, touch_and_stage};
use super::state::{DeferredReply, InputBatch, Session, State, Step};
use crate::command::{
    ArithResult, Deleted, Exptime, Flushed, Mode, Replies, StorageRequest, Stored, Touched,
};
use crate::limits::{MEMCACHED_VERSION, SASL_BYTES_MAX};
use crate::output::Output;
use crate::proto::binary::{self, Command, Echo, HEADER_BYTES, Packet, Parsed, Parts, Status};

use crate::engine::{ClassSet, Hit};
use crate::store::{Data, Item, Retry, Stub};

/// Length of the extras of a hit, bytes: they are the client flags.
const FLAGS_BYTES: usize = 4;

impl Session {
    /// Runs the packet at the front of the input. `Err` if the same packet must be run again later.
    pub(super) fn binary(&mut self, feed: &mut InputBatch<'_, '_>) -> Result<Step, Retry> {
        self.look_ahead(feed);
        if let Some((echo, replies, key, bytes)) = binary::plain_get(feed.rest())
            && self.authenticated
            && !self.verbose
        {
            feed.at += bytes;
            packet_get(feed, echo, replies, (key, false, None))?;
            return Ok(Step::Done);
        }
        let packet = match binary::parse(feed.rest()) {
            Parsed::Need => return Ok(Step::Need),
            Parsed::Bad => return Ok(Step::Stop(Next::Reject)),
            Parsed::Packet(packet) => packet,
        };
        if !self.verbose {
            return self.run_packet(feed, packet);
        }
        self.trace_packet('<', "Read binary protocol data:", feed.rest());
        let staged = feed.out.staged.len();
        let step = self.run_packet(feed, packet);
        self.trace_packet('>', "Writing bin response:", &feed.out.staged[staged..]);
        step
    }

    /// Runs a parsed packet. If the value of its command has not been received completely, waits for the value, begins to receive
    /// it, or skips it.
    #[inline]
    fn run_packet(&mut self, feed: &mut InputBatch<'_, '_>, packet: Packet<'_>) -> Result<Step, Retry> {
        let Packet { echo, replies, head_bytes, value_bytes, .. } = packet;
        let sasl = feed.executor.shared().config.sasl;
        match packet.command {
            Command::Torn | Command::Invalid => {
                let status =
                    if matches!(packet.command, Command::Torn) { Status::Unknown } else { Status::Invalid };
                refuse_packet(feed, echo, status);
                return Ok(Step::Stop(Next::Reject));
            }
            command if !self.may(&command) => {
                refuse_packet(feed, echo, Status::Auth);
                return Ok(Step::Stop(Next::Reject));
            }
            Command::Store(store) => return self.packet_block(feed, &packet, &store),
            Command::Get { key, with_key, touch } => {
                feed.at += head_bytes;
                packet_get(feed, echo, replies, (key, with_key, touch))?;
                // A gat may have a value, which is ignored.
                self.skip(value_bytes);
            }
            Command::Touch(key, exptime) => {
                feed.at += head_bytes;
                packet_touch(feed, echo, key, exptime)?;
                self.skip(value_bytes);
            }
            Command::SaslList if sasl => {
                feed.at += head_bytes;
                binary::push_reply(&mut feed.out.staged, echo, Status::Ok, MECHANISM, 0);
            }
            Command::SaslAuth(mechanism) if sasl => {
                if value_bytes > SASL_BYTES_MAX {
                    feed.at += head_bytes;
                    self.refuse_sasl(value_bytes, echo);
                    return Ok(Step::Done);
                }
                let Some(value) = feed.rest().get(head_bytes..head_bytes + value_bytes) else {
                    self.lacks_value = true;
                    return Ok(Step::Need);
                };
                feed.at += head_bytes + value_bytes;
                self.sasl(feed, echo, mechanism, value);
            }
            Command::Stat(b"sizes") if feed.executor.shared().config.track_sizes => {
                feed.at += head_bytes;
                self.start_dump(ClassSet::ALL, Form::sizes(Some(echo)));
            }
            Command::Stat(b"detail dump") if feed.executor.shared().config.dump_enabled => {
                feed.at += head_bytes;
                self.start_list(List::PrefixPacket(echo, None, Vec::new()));
            }
            Command::Unknown | Command::SaslList | Command::SaslAuth(_) => {
                feed.at += head_bytes;
                self.discard_body(value_bytes, DeferredReply::Packet(echo, Status::Unknown));
            }
            command => {
                feed.at += head_bytes;
                return Self::packet(feed, echo, replies, command);
            }
        }
        Ok(Step::Done)
    }

    /// True if the client may use `command`. With -S, only version and the SASL commands may be used before the login.
    fn may(&self, command: &Command<'_>) -> bool {
        self.authenticated || matches!(command, Command::SaslList | Command::SaslAuth(_) | Command::Version)
    }

    /// Skips `value_bytes` bytes of a value that the command ignores. No reply follows.
    fn skip(&mut self, value_bytes: usize) {
        if value_bytes > 0 {
            self.discard_body(value_bytes, DeferredReply::Nothing);
        }
    }

    /// Runs a command that has no value and whose head has already been consumed.
    fn packet(
        feed: &mut InputBatch<'_, '_>,
        echo: Echo,
        replies: Replies,
        command: Command<'_>,
    ) -> Result<Step, Retry> {
        match command {
            Command::Delete(key, cas) => {
                let status = match feed.executor.delete(key, (cas != 0).then_some(cas))? {
                    Deleted::Deleted => Status::Ok,
                    Deleted::NotFound => Status::NotFound,
                    Deleted::Exists => Status::Exists,
                    Deleted::NoMemory => Status::NoMemory,
                };
                conclude(feed, echo, replies, status, 0);
            }
            Command::Arith(count) => match feed.executor.arith(&count)? {
                ArithResult::Number { number, cas, .. } => {
                    if !replies.quiet() {
                        binary::push_reply(
                            &mut feed.out.staged,
                            echo,
                            Status::Ok,
                            &number.to_be_bytes(),
                            cas,
                        );
                    }
                }
                ArithResult::NotFound => refuse_packet(feed, echo, Status::NotFound),
                ArithResult::Exists => refuse_packet(feed, echo, Status::Exists),
                ArithResult::NotNumeric => refuse_packet(feed, echo, Status::NotNumeric),
                ArithResult::NoMemory => no_memory(feed, echo, binary::NO_MEMORY_COUNTING),
                ArithResult::NoMemoryToCreate => no_memory(feed, echo, binary::NO_MEMORY_CREATING),
            },
            Command::Flush(exptime) => {
                let status = match feed.executor.flush(exptime)? {
                    Flushed::Done => Status::Ok,
                    Flushed::NotAllowed => Status::Auth,
                    Flushed::NoMemory => Status::NoMemory,
                };
                conclude(feed, echo, replies, status, 0);
            }
            Command::Noop => conclude(feed, echo, Replies::Sent, Status::Ok, 0),
            Command::Version => {
                binary::push_reply(&mut feed.out.staged, echo, Status::Ok, MEMCACHED_VERSION.as_bytes(), 0);
            }
            Command::Quit => {
                conclude(feed, echo, replies, Status::Ok, 0);
                return Ok(Step::Stop(Next::Close));
            }
            Command::Stat(key) => Self::packet_stat(feed, echo, key),
            // The caller has run all other commands.
            _ => refuse_packet(feed, echo, Status::Unknown),
        }
        Ok(Step::Done)
    }

    /// Runs a storage command if its value has been received. If not, waits for the value, begins to receive it into a
    /// reservation, or skips it.
    fn packet_block(
        &mut self,
        feed: &mut InputBatch<'_, '_>,
        packet: &Packet<'_>,
        store: &StorageRequest<'_>,
    ) -> Result<Step, Retry> {
        let Packet { echo, replies, head_bytes, value_bytes, .. } = *packet;
        let head = &feed.rest()[..head_bytes];
        match self.body_source(feed, store, value_bytes, Block { head, bytes: value_bytes })? {
            BodySource::Here(value) => {
                feed.at += head_bytes + value_bytes;
                packet_store(feed, (echo, replies), store, value_bytes, &mut Data::Bytes(value))?;
            }
            BodySource::Need => return Ok(Step::Need),
            BodySource::Receiving => {}
            BodySource::Refused(why) => {
                feed.executor.refuse_store(store, why, drops_old(store))?;
                feed.at += head_bytes;
                let status = if why == Stored::TooLarge { Status::TooLarge } else { Status::NoMemory };
                self.discard_body(value_bytes, DeferredReply::Packet(echo, status));
            }
        }
        Ok(Step::Done)
    }

    /// Runs the storage command whose packet head is in `self.head` and whose value has been received.
    pub(super) fn binary_received(&mut self, feed: &mut InputBatch<'_, '_>) -> Result<Step, Retry> {
        let State::Receive(Some(reservation)) = std::mem::take(&mut self.state) else {
            return Ok(Step::Stop(Next::Reject));
        };
        let mut data = Data::Reservation(reservation);
        let head = std::mem::take(&mut self.head);
        let Parsed::Packet(packet @ Packet { command: Command::Store(store), .. }) = binary::parse(&head)
        else {
            // The head was that of a storage command when its value was announced.
            return Ok(Step::Stop(Next::Reject));
        };
        let done = packet_store(feed, (packet.echo, packet.replies), &store, packet.value_bytes, &mut data);
        self.head = head;
        self.received(done, data)
    }

    /// Logs a packet's header (-vv) as rows of four bytes, in memcached's form. Logs nothing if the header is incomplete.
    fn trace_packet(&self, direction: char, what: &str, packet: &[u8]) {
        let Some(header) = packet.get(..HEADER_BYTES) else { return };
        let id = self.id;
        tracing::debug!(target: "wire", "{direction}{id} {what}");
        for row in header.chunks(4) {
            let [a, b, c, d] = row else { continue };
            tracing::debug!(target: "wire", "{direction}{id}   0x{a:02x} 0x{b:02x} 0x{c:02x} 0x{d:02x}");
        }
    }
}

/// Stores a value that has been received completely, and stages the reply.
fn packet_store(
    feed: &mut InputBatch<'_, '_>,
    (echo, replies): (Echo, Replies),
    store: &StorageRequest<'_>,
    value_bytes: usize,
    data: &mut Data<'_>,
) -> Result<(), Retry> {
    let mut cas = 0;
    let status = match feed.executor.store(store, value_bytes, data)? {
        Stored::Stored(written) => {
            cas = written.cas;
            Status::Ok
        }
        Stored::NotStored => match store.mode {
            Mode::Add => Status::Exists,
            Mode::Replace => Status::NotFound,
            _ => Status::NotStored,
        },
        Stored::Exists => Status::Exists,
        Stored::NotFound => Status::NotFound,
        why @ (Stored::TooLarge | Stored::NoMemory) => {
            feed.executor.refuse_store(store, why, drops_old(store))?;
            if why == Stored::TooLarge { Status::TooLarge } else { Status::NoMemory }
        }
    };
    conclude(feed, echo, replies, status, cas);
    Ok(())
}

/// Stages the reply to a command that returns no value. An error is always staged, a success only if `replies` is not quiet.
fn conclude(feed: &mut InputBatch<'_, '_>, echo: Echo, replies: Replies, status: Status, cas: u64) {
    if status != Status::Ok {
        refuse_packet(feed, echo, status);
    } else if !replies.quiet() {
        binary::push_reply(&mut feed.out.staged, echo, Status::Ok, b"", cas);
    }
}

/// Stages a reply with [`Status::NoMemory`] and the body `text`.
fn no_memory(feed: &mut InputBatch<'_, '_>, echo: Echo, text: &[u8]) {
    binary::push_reply(&mut feed.out.staged, echo, Status::NoMemory, text, 0);
}

/// Looks up `key`, and stages the hit or the miss. With `touch`, the item also gets this expiry.
#[inline]
fn packet_get(
    feed: &mut InputBatch<'_, '_>,
    echo: Echo,
    replies: Replies,
    (key, with_key, touch): (&[u8], bool, Option<Exptime>),
) -> Result<(), Retry> {
    let cas_enabled = feed.executor.shared().config.cas_enabled;
    let form = HitForm { echo, replies, key, with_key, cas_enabled };
    let stage = |out: &mut Output, item: &Item<'_>, stub: Option<Stub>| {
        if let Some(stub) = stub {
            return push_stub(out, &form, item, stub);
        }
        let value = item.value();
        push_hit_head(out, &form, item, value.len());
        out.push_value(item, value);
    };
    let touched = if let Some(exptime) = touch {
        touch_and_stage(feed, key, exptime, stage)?
    } else if let Some(Hit { item, stub }) = feed.executor.get(key) {
        stage(feed.out, &item, stub);
        Touched::Touched
    } else {
        Touched::NotFound
    };
    match touched {
        Touched::Touched => {}
        Touched::NoMemory => refuse_packet(feed, echo, Status::NoMemory),
        Touched::NotFound => push_missed(&mut feed.out.staged, echo, replies, key, with_key),
    }
    Ok(())
}

/// The form of the reply to a get: what its packet needs in addition to the item.
struct HitForm<'k> {
    echo: Echo,
    replies: Replies,
    key: &'k [u8],
    with_key: bool,
    cas_enabled: bool,
}

/// Stages header, flags and key of a hit. The caller then stages the value.
// Always inline: it has two callers, and one of them is cold.
#[inline(always)]
fn push_hit_head(out: &mut Output, form: &HitForm<'_>, item: &Item<'_>, value_bytes: usize) {
    let parts = Parts {
        extras_bytes: FLAGS_BYTES,
        key_bytes: if form.with_key { form.key.len() } else { 0 },
        value_bytes,
        cas: if form.cas_enabled { item.cas() } else { 0 },
    };
    binary::push_header(&mut out.staged, form.echo, Status::Ok, parts);
    out.staged.extend_from_slice(&item.flags().to_be_bytes());
    if form.with_key {
        out.staged.extend_from_slice(form.key);
    }
}

/// Stages a hit whose value is on flash, with a hole for the value. If the value cannot be read, the reply becomes a miss.
#[cold]
#[inline(never)]
fn push_stub(out: &mut Output, form: &HitForm<'_>, item: &Item<'_>, stub: Stub) {
    let from = out.staged.len();
    push_hit_head(out, form, item, stub.place.value_bytes());
    let mut on_miss = Vec::new();
    push_missed(&mut on_miss, form.echo, form.replies, form.key, form.with_key);
    out.push_hole(form.key, stub, from, out.staged.len(), on_miss);
}

/// Appends the reply to a get that finds no item; a quiet get has no such reply.
fn push_missed(out: &mut Vec<u8>, echo: Echo, replies: Replies, key: &[u8], with_key: bool) {
    if replies.quiet() {
        return;
    }
    if !with_key {
        return binary::push_reply(out, echo, Status::NotFound, Status::NotFound.text(), 0);
    }
    let parts = Parts { key_bytes: key.len(), ..Parts::default() };
    binary::push_header(out, echo, Status::NotFound, parts);
    out.extend_from_slice(key);
}

/// Runs a touch: gives the item of `key` a new expiry, and stages a reply with the item's flags and cas.
fn packet_touch(
    feed: &mut InputBatch<'_, '_>,
    echo: Echo,
    key: &[u8],
    exptime: Exptime,
) -> Result<(), Retry> {
    let mut found = (0, 0);
    let cas_enabled = feed.executor.shared().config.cas_enabled;
    let touched = feed.executor.touch(key, exptime, |item, _| {
        found = (item.flags(), if cas_enabled { item.cas() } else { 0 });
    })?;
    match touched {
        Touched::Touched => {
            let (flags, cas) = found;
            let parts = Parts { extras_bytes: FLAGS_BYTES, cas, ..Parts::default() };
            binary::push_header(&mut feed.out.staged, echo, Status::Ok, parts);
            feed.out.staged.extend_from_slice(&flags.to_be_bytes());
        }
        Touched::NotFound => refuse_packet(feed, echo, Status::NotFound),
        Touched::NoMemory => refuse_packet(feed, echo, Status::NoMemory),
    }
    Ok(())
}
