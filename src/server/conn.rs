//! One connection: read, feed, send, and again.
//!
//! ```text
//!        ┌──────────────── Read ───────────────┐        Resume ──► feed the rest
//!        ▼                                     │        Receive ─► into the draft, then feed
//!   read into a buffer ──► feed in place ──► send all ─ Watch ───► pump until the client goes
//!                           (+ carry)                   Close ───► end
//! ```
//!
//! A reply is sent before anything more is read: a client that does not read its replies stops being served, and costs
//! one output. A command is parsed where it was read; what is left of an unfinished one moves to the carry, a small heap
//! buffer, so that the read buffer is free between commands.

mod tls;

use super::core::{Conversation, Core, Draft as _, End, Event};
use super::ring::{Entry, Local, Phase};
use crate::limits::OUTPUT_BYTES_MAX;
use crate::output::Output;
use crate::session::{Next, Owed};
use crate::store::Pin;
use crate::tls::Channel;
use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};
use uring::{Buffer, Stream};

/// A carry or an output that grew beyond this is given back once it is empty, bytes.
const KEPT_BYTES_MAX: usize = 2 * OUTPUT_BYTES_MAX;

/// The last words to a client whose request there is no memory for.
const NO_READ_MEMORY: &[u8] = b"SERVER_ERROR out of memory reading request\r\n";

/// Turns that a request waits for memory to be read into.
const READ_TURNS_MAX: u32 = 1000;

/// How long log lines are gathered, so that a busy watcher costs one send for many of them.
const GATHER: Duration = Duration::from_millis(1);
/// How long a connection waits before it tries again what others have to make possible.
const WAIT: Duration = Duration::from_millis(1);

/// Serves one client to the end.
pub(super) struct Connection<C: Core> {
    local: Rc<Local<C>>,
    entry: Rc<Entry>,
    talk: C::Talk,
    out: Output,
    /// The front of an unfinished command, and what came behind it.
    carry: Vec<u8>,
    /// The encryption, if there is any. Boxed, so that a plain connection does not pay for it.
    channel: Option<Box<Channel>>,
}

impl<C: Core> Connection<C> {
    pub(super) fn new(
        local: Rc<Local<C>>,
        entry: Rc<Entry>,
        talk: C::Talk,
        channel: Option<Box<Channel>>,
    ) -> Self {
        Self { local, entry, talk, out: Output::default(), carry: Vec::new(), channel }
    }

    /// Runs until the connection ends, and says how it did.
    pub(super) async fn run(&mut self) -> End {
        let end = loop {
            if let Err(end) = self.round().await {
                break end;
            }
        };
        if end != End::Broken {
            // Replies come before the end.
            let _ = self.entry.stream.settled().await;
        }
        self.part(end).await;
        if end == End::Stopped {
            self.linger().await;
        }
        // Before all else goes, since whatever still waits on the socket would keep it open.
        self.entry.stream.shutdown();
        self.talk.ended(end);
        end
    }

    /// Reads on until the client has closed too, or the ring cuts it off, at once if all replies have reached the client's
    /// machine: a socket that is closed with input unread is reset, and what of its replies has not left yet is lost.
    async fn linger(&mut self) {
        self.entry.stream.finish();
        self.entry.phase.set(Phase::Leaving);
        self.let_go();
        drain(&self.local, &self.entry).await;
    }

    /// One read and everything that follows from it.
    async fn round(&mut self) -> Result<(), End> {
        let buffer = self.read().await?;
        if self.channel.is_some() {
            return self.open(buffer).await;
        }
        self.local.core.count(Event::Read(buffer.bytes().len()));
        if self.carry.is_empty() {
            return self.serve(Some(buffer)).await;
        }
        self.carry.extend_from_slice(buffer.bytes());
        drop(buffer);
        self.serve(None).await
    }

    /// The next bytes of the client. While it waits it holds no memory for reading or sending.
    async fn read(&mut self) -> Result<Buffer, End> {
        self.entry.is_mid_value.set(self.talk.owes() != Owed::Nothing);
        self.local.buffers.reuse(std::mem::take(&mut self.out.staged));
        let mut turns_left = READ_TURNS_MAX;
        loop {
            self.goes_on()?;
            self.entry.held_bytes.set(self.own_bytes());
            self.entry.phase.set(Phase::Reading);
            match self.entry.stream.read(&self.local.buffers).await {
                Ok(buffer) if buffer.bytes().is_empty() => {
                    return Err(self.entry.end.get().unwrap_or(End::Normal));
                }
                Ok(buffer) => {
                    self.heard();
                    return Ok(buffer);
                }
                // The sweeper has found it idle.
                Err(error) if Stream::is_interrupted(&error) => self.let_go(),
                // Others give theirs back as soon as they have used up what is in it.
                Err(error) if Stream::is_out_of_read_memory(&error) && turns_left > 0 => {
                    turns_left -= 1;
                    uring::turn().await;
                }
                Err(error) if Stream::is_out_of_read_memory(&error) => {
                    return Err(self.refuse_to_read().await);
                }
                Err(error) => return Err(self.broken(&error)),
            }
        }
    }

    /// Feeds what has been read, in `buffer` or else in the carry, and does what it asks for; what is not used up is then in
    /// the carry.
    ///
    /// The buffer is given back before anything is waited for that takes the client's doing: clients that do not read their
    /// replies must not keep the memory that others are read into.
    async fn serve(&mut self, mut buffer: Option<Buffer>) -> Result<(), End> {
        let mut used = 0;
        if self.out.staged.capacity() == 0 {
            self.out.staged = self.local.buffers.spare();
        }
        let mut stalled_since = None;
        loop {
            let input = buffer.as_ref().map_or(&self.carry[..], Buffer::bytes);
            let progress = self.talk.feed(&input[used..], &mut self.out);
            used += progress.consumed;
            if progress.consumed > 0 || progress.next != Next::Stall {
                stalled_since = None;
            }
            if progress.consumed > 0 {
                self.entry.last_command.set(self.local.now());
            }
            // A client that only has to let others run gets its replies together with those that follow.
            let makes_way = progress.next == Next::Resume && !self.out.is_full();
            if !makes_way || self.goes_on().is_err() {
                // A read follows, which waits for what was queued, and lets the others run.
                let is_last = progress.next == Next::Read;
                if !is_last || !self.out.is_flat() {
                    self.set_aside(&mut buffer, &mut used);
                }
                self.send(is_last).await?;
            }
            match progress.next {
                Next::Read => {
                    self.set_aside(&mut buffer, &mut used);
                    self.drop_used(used);
                    return Ok(());
                }
                Next::Resume => {
                    self.goes_on()?;
                    // A send lets the others run; where there is none, this does.
                    if makes_way {
                        uring::turn().await;
                    }
                }
                Next::Wait => {
                    self.goes_on()?;
                    uring::sleep(WAIT).await;
                }
                Next::Stall => {
                    self.goes_on()?;
                    let since = *stalled_since.get_or_insert_with(Instant::now);
                    // Boxed, since it is rare and would make every connection larger.
                    if !Box::pin(self.local.wait_for_rings(since)).await {
                        self.talk.refuse_stalls();
                    }
                }
                Next::Receive if self.channel.is_some() || self.entry.stream.has_read_ahead().await => {
                    self.entry.begins_to_receive(self.local.now());
                    self.drop_used(used);
                    return Ok(());
                }
                Next::Receive => self.receive().await?,
                Next::Watch => return Err(self.watch().await),
                Next::Close => return Err(End::Normal),
                Next::Reject => return Err(End::Rejected),
            }
        }
    }

    /// Gives a read buffer back; what of it is behind the first `used` bytes moves to the carry, which is empty.
    fn set_aside(&mut self, buffer: &mut Option<Buffer>, used: &mut usize) {
        if let Some(buffer) = buffer.take() {
            self.carry.extend_from_slice(&buffer.bytes()[*used..]);
            *used = 0;
        }
    }

    /// Drops the first `used` bytes of the carry.
    fn drop_used(&mut self, used: usize) {
        if used == 0 {
            return;
        }
        self.carry.drain(..used);
        if self.carry.is_empty() && self.carry.capacity() > KEPT_BYTES_MAX {
            self.carry = Vec::new();
        }
    }

    /// Sends all that is staged; returns before it has left if `is_last` and no value is pinned by it.
    async fn send(&mut self, is_last: bool) -> Result<(), End> {
        if self.out.is_empty() {
            return Ok(());
        }
        let bytes = self.out.len();
        self.entry.held_bytes.set(self.own_bytes());
        self.entry.awaits_send.set(true);
        let result = if let Some(channel) = &mut self.channel {
            let result = tls::send(&self.entry.stream, channel, &self.out).await;
            self.out.clear();
            result
        } else if self.out.is_flat() {
            let staged = std::mem::take(&mut self.out.staged);
            if is_last {
                self.entry.stream.queue_send(staged, &self.local.buffers).await
            } else {
                let (result, staged) = self.entry.stream.send(staged).await;
                self.out.staged = staged;
                result
            }
        } else {
            let reply =
                Reply { staged: std::mem::take(&mut self.out.staged), pinned: self.out.take_pinned() };
            let (result, reply) = self.entry.stream.send_gather(reply).await;
            self.out.staged = reply.staged;
            result
        };
        self.entry.awaits_send.set(false);
        self.out.staged.clear();
        if self.out.staged.capacity() > KEPT_BYTES_MAX {
            self.out.staged = Vec::new();
        }
        result.map_err(|error| self.broken(&error))?;
        self.local.core.count(Event::Written(bytes));
        Ok(())
    }

    /// Receives into the draft until it is full.
    async fn receive(&mut self) -> Result<(), End> {
        self.entry.phase.set(Phase::Receiving);
        self.entry.begins_to_receive(self.local.now());
        while let Some(mut draft) = self.talk.lend_draft() {
            if uring::Receive::spare(&mut draft).1 == 0 {
                self.talk.return_draft(draft);
                break;
            }
            self.goes_on()?;
            let (result, mut draft) = self.entry.stream.recv_into(draft).await;
            match result {
                Ok(0) => return Err(self.entry.end.get().unwrap_or(End::Normal)),
                Ok(count) => {
                    draft.advance(count);
                    self.local.core.count(Event::Read(count));
                    self.entry.has_received(count);
                }
                Err(error) => return Err(self.broken(&error)),
            }
            self.talk.return_draft(draft);
        }
        self.entry.receiving.set(None);
        self.heard();
        Ok(())
    }

    /// Sends log lines as they come, until the client goes.
    async fn watch(&mut self) -> End {
        self.entry.phase.set(Phase::Watching);
        self.let_go();
        let has_gone = Rc::new(Cell::new(false));
        let reader =
            uring::spawn(read_away(Rc::clone(&self.local), Rc::clone(&self.entry), Rc::clone(&has_gone)));
        let local = Rc::clone(&self.local);
        let waker = local.wakers[local.index].clone();
        self.talk.wake_with(Box::new(move || waker.wake()));
        let end = loop {
            // Before pumping, so that what is logged during the send is not slept over.
            let heard = local.bell.heard();
            self.talk.pump(&mut self.out);
            if let Err(end) = self.send(false).await {
                break end;
            }
            if has_gone.get() {
                break self.entry.end.get().unwrap_or(End::Normal);
            }
            heard.await;
            uring::sleep(GATHER).await;
        };
        self.entry.stream.shutdown();
        let _ = reader.await;
        end
    }

    /// The client has sent something, and has the ring's attention.
    fn heard(&mut self) {
        self.entry.phase.set(Phase::Working);
        self.entry.last_active.set(self.local.now());
        self.local.heard();
    }

    /// Tells the client that there is no memory to read its request into.
    async fn refuse_to_read(&mut self) -> End {
        self.local.core.count(Event::NoReadMemory);
        if self.channel.as_ref().is_some_and(|channel| !channel.is_established()) {
            return End::Broken;
        }
        self.out.staged.extend_from_slice(NO_READ_MEMORY);
        self.send(false).await.err().unwrap_or(End::Broken)
    }

    /// Gives back the memory that only a busy connection needs.
    fn let_go(&mut self) {
        self.out.staged = Vec::new();
        self.entry.stream.trim();
        if self.carry.is_empty() {
            self.carry = Vec::new();
        }
        if let Some(channel) = &mut self.channel {
            channel.trim();
        }
    }

    /// Memory of the buffers that are this connection's own.
    fn own_bytes(&self) -> usize {
        self.carry.capacity() + self.out.staged.capacity()
    }

    /// # Errors
    /// The server is stopping, or the sweeper has ended this connection.
    fn goes_on(&self) -> Result<(), End> {
        match self.entry.end.get() {
            Some(end) => Err(end),
            None if self.local.is_stopping() => Err(End::Stopped),
            None => Ok(()),
        }
    }

    fn broken(&self, error: &io::Error) -> End {
        tracing::debug!(id = self.entry.stream.id(), %error, "connection broken");
        self.entry.end.get().unwrap_or(End::Broken)
    }
}

/// Reads and forgets what a client says, until it has gone.
async fn drain<C: Core>(local: &Local<C>, entry: &Entry) {
    loop {
        match entry.stream.read(&local.buffers).await {
            Ok(buffer) if buffer.bytes().is_empty() => break,
            Ok(_) => {}
            Err(error) if Stream::is_interrupted(&error) => {}
            Err(_) => break,
        }
    }
}

/// Waits until a watcher has gone, and rings.
async fn read_away<C: Core>(local: Rc<Local<C>>, entry: Rc<Entry>, has_gone: Rc<Cell<bool>>) {
    drain(&local, &entry).await;
    has_gone.set(true);
    local.bell.ring();
}

/// A reply with values in it that are sent from their place in the store.
struct Reply {
    staged: Vec<u8>,
    pinned: Vec<(usize, Pin)>,
}

#[expect(unsafe_code, reason = "the kernel reads pinned values while they are sent")]
// SAFETY: `staged` and `pinned` are mutated by nobody while the reply is lent (they are private, and nothing here
// does); the vector's bytes are on the heap, and a pin keeps its value's bytes in place and unchanged until it is dropped.
unsafe impl uring::Pieces for Reply {
    // A loop beside `Output::pieces`, whose iterator takes more than 1 % of the instructions of a get of a large value.
    fn each(&self, visit: &mut dyn FnMut(&[u8])) {
        let mut from = 0;
        for (at, pin) in &self.pinned {
            visit(&self.staged[from..*at]);
            visit(pin.bytes());
            from = *at;
        }
        visit(&self.staged[from..]);
    }
}
