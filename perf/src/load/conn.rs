//! One connection of the load: requests out, replies in, each reply checked to its last byte.
//!
//! ```text
//!            head of a value               last value byte
//!   Head ───────────────────────► Value ───────────────────► Tail ──► Head
//!    │ ▲                                (binary: no tail)
//!    └─┘ any other reply
//! ```

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use super::context::WorkerContext;
use super::plan::{Mix, Plan};
use crate::proto::{self, Name, Place, Protocol, Reply};
use crate::value::{At, Keys, Pattern};

/// A connection has failed, with a message for the user.
#[derive(Debug)]
pub(super) struct Broken(pub(super) String);

/// A request whose reply is not complete.
#[derive(Debug)]
struct Request {
    /// Time it was sent, or was due (open loop); ns of the worker's clock.
    due_ns: u64,
    /// Objects requested and not received yet; 0 for a set.
    objects_left: usize,
    /// Number of operations it counts as.
    operations: u64,
    is_set: bool,
    /// A terminator follows the values.
    has_end: bool,
}

#[derive(Debug)]
enum Expect {
    Head,
    Value { at: At, left: usize, right: bool },
    Tail { left: usize, right: bool },
}

#[derive(Debug)]
pub(super) struct Conn {
    pub(super) stream: TcpStream,
    protocol: Protocol,
    out: Vec<u8>,
    sent: usize,
    /// The start of an incomplete reply head.
    carry: Vec<u8>,
    requests: VecDeque<Request>,
    /// The objects requested, oldest first.
    objects: VecDeque<u64>,
    expect: Expect,
}

impl Conn {
    pub(super) fn new(stream: TcpStream, protocol: Protocol) -> Self {
        Self {
            stream,
            protocol,
            out: Vec::new(),
            sent: 0,
            carry: Vec::new(),
            requests: VecDeque::new(),
            objects: VecDeque::new(),
            expect: Expect::Head,
        }
    }

    /// Requests in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.requests.len()
    }

    /// Appends one request of the plan's mix to what [`Conn::flush`] sends.
    pub(super) fn issue(&mut self, context: &mut WorkerContext<'_>, due_ns: u64) {
        let object = context.next_object();
        let is_set = match context.plan.mix {
            Mix::Get | Mix::Multiget(_) => false,
            Mix::Set => true,
            Mix::Mixed { set_share } => context.chance(set_share),
        };
        if is_set {
            self.issue_set(context, object);
        } else if let Mix::Multiget(count) = context.plan.mix {
            self.issue_multiget(context, object, count);
        } else {
            proto::encode_get(self.protocol, &mut self.out, context.keys.key(object), object as u32);
            self.objects.push_back(object);
        }
        let multi = if let Mix::Multiget(count) = context.plan.mix { Some(count) } else { None };
        let objects_left = if is_set { 0 } else { multi.unwrap_or(1) };
        self.requests.push_back(Request {
            due_ns,
            objects_left,
            operations: multi.unwrap_or(1) as u64,
            is_set,
            has_end: !is_set && (multi.is_some() || self.protocol.single_get_has_end()),
        });
    }

    fn issue_set(&mut self, context: &mut WorkerContext<'_>, object: u64) {
        let value_len = context.plan.sizes.of(object);
        let ttl_secs = context.ttl_secs();
        proto::encode_set(self.protocol, &mut self.out, context.keys.key(object), ttl_secs, value_len);
        context.pattern.append(&mut self.out, Pattern::start(object, 0), value_len);
        self.out.extend_from_slice(self.protocol.value_tail());
    }

    fn issue_multiget(&mut self, context: &mut WorkerContext<'_>, first: u64, count: usize) {
        let mut object = first;
        let mut place = Place::First;
        for left in (0..count).rev() {
            proto::encode_multiget(
                self.protocol,
                &mut self.out,
                place,
                context.keys.key(object),
                object as u32,
            );
            self.objects.push_back(object);
            place = Place::Later;
            if left > 0 {
                object = context.next_object();
            }
        }
        proto::encode_multiget_end(self.protocol, &mut self.out);
    }

    /// Sends what the socket accepts.
    ///
    /// # Errors
    /// [`Broken`] when the server has closed.
    pub(super) fn flush(&mut self) -> Result<(), Broken> {
        while self.sent < self.out.len() {
            match self.stream.write(&self.out[self.sent..]) {
                Ok(0) => return Err(Broken("the server takes no more bytes".into())),
                Ok(count) => self.sent += count,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(Broken(format!("send: {e}"))),
            }
        }
        self.out.clear();
        self.sent = 0;
        Ok(())
    }

    /// Reads and checks what has arrived. The poll is edge-triggered, so a read that fills its buffer is repeated.
    ///
    /// # Errors
    /// [`Broken`] when the server closed or sent something that is not a reply.
    pub(super) fn receive(&mut self, context: &mut WorkerContext<'_>) -> Result<(), Broken> {
        let mut buf = std::mem::take(&mut context.buf);
        let result = self.receive_into(context, &mut buf);
        context.buf = buf;
        result
    }

    fn receive_into(&mut self, context: &mut WorkerContext<'_>, buf: &mut [u8]) -> Result<(), Broken> {
        loop {
            let carried = self.carry.len();
            buf[..carried].copy_from_slice(&self.carry);
            let count = match self.stream.read(&mut buf[carried..]) {
                Ok(0) => return Err(Broken("the server closed the connection".into())),
                Ok(count) => count,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Err(Broken(format!("receive: {e}"))),
            };
            self.carry.clear();
            let now_ns = context.now_ns();
            self.feed(context, &buf[..carried + count], now_ns)?;
            if carried + count < buf.len() {
                return Ok(());
            }
        }
    }

    fn feed(&mut self, context: &mut WorkerContext<'_>, mut bytes: &[u8], now_ns: u64) -> Result<(), Broken> {
        while !bytes.is_empty() {
            match self.expect {
                Expect::Head => match proto::decode(self.protocol, bytes) {
                    Ok(Some((reply, head_len))) => {
                        self.reply(context, reply, now_ns)?;
                        bytes = &bytes[head_len..];
                    }
                    Ok(None) => {
                        self.carry.extend_from_slice(bytes);
                        return Ok(());
                    }
                    Err(garbage) => return Err(Broken(garbage.0)),
                },
                Expect::Value { at, left, right } => {
                    let here = left.min(bytes.len());
                    let (same, at) = context.pattern.check(at, &bytes[..here]);
                    bytes = &bytes[here..];
                    self.expect = Expect::Value { at, left: left - here, right: right & same };
                }
                Expect::Tail { left, right } => {
                    let tail = self.protocol.value_tail();
                    let here = left.min(bytes.len());
                    let same = bytes[..here] == tail[tail.len() - left..][..here];
                    bytes = &bytes[here..];
                    self.expect = Expect::Tail { left: left - here, right: right & same };
                }
            }
            self.settle(context, now_ns);
        }
        Ok(())
    }

    /// Takes the transitions that need no further bytes.
    fn settle(&mut self, context: &mut WorkerContext<'_>, now_ns: u64) {
        if let Expect::Value { left: 0, right, .. } = self.expect {
            self.expect = Expect::Tail { left: self.protocol.value_tail().len(), right };
        }
        if let Expect::Tail { left: 0, right } = self.expect {
            self.expect = Expect::Head;
            context.tally.hits += 1;
            if !right {
                context.complain(|| "a value with wrong bytes".into());
                context.tally.wrong += 1;
            }
            if self.requests.front().is_some_and(|request| !request.has_end) {
                self.complete(context, now_ns);
            }
        }
    }

    fn reply(
        &mut self,
        context: &mut WorkerContext<'_>,
        reply: Reply<'_>,
        now_ns: u64,
    ) -> Result<(), Broken> {
        let Some(request) = self.requests.front_mut() else {
            return Err(Broken(format!("a reply without a request: {reply:?}")));
        };
        match reply {
            Reply::Value { name, value_len, flags } if !request.is_set => {
                let object = loop {
                    let Some(object) = self.objects.pop_front().filter(|_| request.objects_left > 0) else {
                        return Err(Broken(format!("a value for a key that was not requested: {name:?}")));
                    };
                    request.objects_left -= 1;
                    if is_named(&mut context.keys, name, object) {
                        break object;
                    }
                    context.tally.misses += 1;
                };
                let right =
                    value_len == context.plan.sizes.of(object) && flags.is_none_or(|flags| flags == 0);
                self.expect = Expect::Value { at: Pattern::start(object, 0), left: value_len, right };
                self.settle(context, now_ns);
            }
            Reply::End if request.has_end => self.complete(context, now_ns),
            Reply::Miss if !request.is_set && !request.has_end => self.complete(context, now_ns),
            Reply::Done if request.is_set => self.complete(context, now_ns),
            Reply::Refused(words) => {
                context.tally.refused += 1;
                context.complain(|| words);
                self.complete(context, now_ns);
            }
            other => return Err(Broken(format!("{other:?} is no answer to this request"))),
        }
        Ok(())
    }

    /// Counts the oldest request as answered; objects without a value are misses.
    fn complete(&mut self, context: &mut WorkerContext<'_>, now_ns: u64) {
        let Some(request) = self.requests.pop_front() else { return };
        for _ in 0..request.objects_left {
            self.objects.pop_front();
            context.tally.misses += 1;
        }
        context.tally.requests += 1;
        context.tally.operations += request.operations;
        context.tally.sets += u64::from(request.is_set);
        context.record(now_ns.saturating_sub(request.due_ns));
    }
}

fn is_named(keys: &mut Keys, name: Name<'_>, object: u64) -> bool {
    match name {
        Name::Key(key) => key == keys.key(object),
        Name::Opaque(opaque) => opaque == object as u32,
        Name::None => true,
    }
}

/// Connects, with Nagle's algorithm off.
///
/// # Errors
/// [`Broken`] when the server cannot be reached.
pub(super) fn connect(plan: &Plan) -> Result<TcpStream, Broken> {
    let stream = TcpStream::connect(&plan.server[..])
        .map_err(|e| Broken(format!("cannot connect to {}: {e}", plan.server)))?;
    stream
        .set_nodelay(true)
        .and_then(|()| stream.set_nonblocking(true))
        .map_err(|e| Broken(format!("socket options: {e}")))?;
    Ok(stream)
}
