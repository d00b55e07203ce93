//! One connection: read, feed, send, and again.
//!
//! ```text
//!        ┌──────────────── Read ───────────────┐        Resume ──► feed the rest
//!        ▼                                     │        Receive ─► into the draft, then feed
//!   read into a buffer ──► feed in place ──► send all ─ Watch ───► pump until the client goes
//!    (or park first)        (+ carry)                   Close ───► end
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
use std::time::Duration;
use uring::{Buffer, Stream};

/// A carry or an output that grew beyond this is given back once it is empty, bytes.
const KEPT_BYTES_MAX: usize = 2 * OUTPUT_BYTES_MAX;

/// The last words to a client whose request there is no memory for.
const NO_READ_MEMORY: &[u8] = b"SERVER_ERROR out of memory reading request\r\n";

/// How long log lines are gathered, so that a busy watcher costs one send for many of them.
const GATHER: Duration = Duration::from_millis(1);

/// So many reads within one second make a client busy.
const BUSY_READS: u32 = 4;

/// Serves one client to the end.
pub(super) struct Connection<C: Core> {
    local: Rc<Local<C>>,
    entry: Rc<Entry>,
    talk: C::Talk,
    out: Output,
    /// The front of an unfinished command, and what came behind it.
    carry: Vec<u8>,
    /// Held between two reads of a busy client.
    buffer: Option<Buffer>,
    /// The encryption, if there is any. Boxed, so that a plain connection does not pay for it.
    channel: Option<Box<Channel>>,
    /// Reads in a row that came within the same second of the clock.
    streak: u32,
}

impl<C: Core> Connection<C> {
    pub(super) fn new(
        local: Rc<Local<C>>,
        entry: Rc<Entry>,
        talk: C::Talk,
        channel: Option<Box<Channel>>,
    ) -> Self {
        let buffer = if local.is_short_of_buffers() { None } else { local.read_buffer() };
        Self { local, entry, talk, out: Output::default(), carry: Vec::new(), buffer, channel, streak: 0 }
    }

    /// Runs until the connection ends, and says how it did.
    pub(super) async fn run(&mut self) -> End {
        let end = loop {
            if let Err(end) = self.round().await {
                break end;
            }
        };
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
        let mut buffer = self.read().await?;
        if self.channel.is_some() {
            self.open(&mut buffer).await?;
        } else {
            self.local.core.count(Event::Read(buffer.bytes().len()));
            if self.carry.is_empty() {
                let used = self.serve(buffer.bytes()).await?;
                self.carry.extend_from_slice(&buffer.bytes()[used..]);
            } else {
                self.carry.extend_from_slice(buffer.bytes());
                self.serve_carry().await?;
            }
        }
        self.buffer = Some(buffer);
        Ok(())
    }

    /// Feeds the carry, and keeps what is left of it.
    async fn serve_carry(&mut self) -> Result<(), End> {
        let mut carry = std::mem::take(&mut self.carry);
        let used = self.serve(&carry).await?;
        carry.drain(..used);
        if carry.is_empty() && carry.capacity() > KEPT_BYTES_MAX {
            carry = Vec::new();
        }
        self.carry = carry;
        Ok(())
    }

    /// The next bytes of the client. A busy client's read holds its buffer while it waits, so that it costs one operation.
    /// Where buffers are scarce one that is not busy waits without, and takes one when there is something to read; so does
    /// one whose buffer the sweeper has taken.
    async fn read(&mut self) -> Result<Buffer, End> {
        self.entry.is_mid_value.set(self.talk.owes() != Owed::Nothing);
        loop {
            self.goes_on()?;
            // Given back before the wait: what a match looks at lives to its end.
            let held = self.buffer.take().filter(|_| self.may_hold());
            let buffer = if let Some(buffer) = held {
                buffer
            } else {
                self.let_go();
                self.entry.held_bytes.set(self.own_bytes());
                self.entry.phase.set(Phase::Parked);
                match self.entry.stream.parked().await {
                    Err(error) if !Stream::is_interrupted(&error) => return Err(End::Broken),
                    Err(_) => continue,
                    Ok(()) => match self.local.read_buffer() {
                        Some(buffer) => buffer,
                        None => return Err(self.refuse_to_read().await),
                    },
                }
            };
            self.entry.phase.set(Phase::Reading);
            self.entry.held_bytes.set(self.own_bytes() + buffer.heap_bytes());
            let (result, buffer) = self.entry.stream.read(buffer).await;
            match result {
                Ok(0) => return Err(self.entry.end.get().unwrap_or(End::Normal)),
                Ok(_) => {
                    self.heard();
                    return Ok(buffer);
                }
                // The sweeper wants the buffer back.
                Err(error) if Stream::is_interrupted(&error) => drop(buffer),
                Err(error) => return Err(self.broken(&error)),
            }
        }
    }

    /// Feeds `input` and does what it asks for; returns how much of it is used up.
    async fn serve(&mut self, input: &[u8]) -> Result<usize, End> {
        let mut used = 0;
        loop {
            let progress = self.talk.feed(&input[used..], &mut self.out);
            used += progress.consumed;
            if progress.consumed > 0 {
                self.entry.last_command.set(self.local.now());
            }
            // A client that only has to let others run gets its replies together with those that follow.
            let makes_way = progress.next == Next::Resume && !self.out.is_full();
            if !makes_way || self.goes_on().is_err() {
                // Only a send that waits lets the others run, and only a read is sure to do that after it.
                self.send(progress.next == Next::Read && self.local.is_lone()).await?;
            }
            match progress.next {
                Next::Read => return Ok(used),
                Next::Resume => {
                    self.goes_on()?;
                    // A send lets the others run; where there is none, this does.
                    if makes_way {
                        uring::turn().await;
                    }
                }
                Next::Receive if self.channel.is_some() => return Ok(used),
                Next::Receive => self.receive().await?,
                Next::Watch => return Err(self.watch().await),
                Next::Close => return Err(End::Normal),
            }
        }
    }

    /// Sends all that is staged, without an operation if `at_once` and the socket takes it.
    async fn send(&mut self, at_once: bool) -> Result<(), End> {
        if self.out.is_empty() {
            return Ok(());
        }
        let bytes = self.out.len();
        self.entry.held_bytes.set(self.own_bytes());
        let result = if let Some(channel) = &mut self.channel {
            let result = tls::send(&self.entry.stream, channel, &self.out).await;
            self.out.clear();
            result
        } else if self.out.is_flat() {
            let staged = std::mem::take(&mut self.out.staged);
            let (result, staged) = if at_once {
                self.entry.stream.send_at_once(staged).await
            } else {
                self.entry.stream.send(staged).await
            };
            self.out.staged = staged;
            result
        } else {
            let reply =
                Reply { staged: std::mem::take(&mut self.out.staged), pinned: self.out.take_pinned() };
            let (result, reply) = self.entry.stream.send_gather(reply).await;
            self.out.staged = reply.staged;
            result
        };
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
                }
                Err(error) => return Err(self.broken(&error)),
            }
            self.talk.return_draft(draft);
        }
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
        self.local.heard(&self.entry.stream);
        let before = self.entry.last_active.replace(self.local.now());
        self.streak = if before == self.local.now() { self.streak.saturating_add(1) } else { 0 };
    }

    /// Many clients that say little are not worth a buffer each; few that say much are.
    fn is_busy(&self) -> bool {
        self.streak >= BUSY_READS
    }

    /// Whether it may keep its buffer while it waits.
    fn may_hold(&self) -> bool {
        match self.local.settings.read_bytes_max {
            0 => self.is_busy() || !self.local.buffers.scarce(),
            // Under a limit nobody is refused because others wait.
            _ => !self.local.is_short_of_buffers(),
        }
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
        self.buffer = None;
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
        match entry.stream.parked().await {
            Ok(()) => match entry.stream.read(local.buffers.take()).await {
                (Ok(1..), _) => {}
                (Err(error), _) if Stream::is_interrupted(&error) => {}
                _ => break,
            },
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
