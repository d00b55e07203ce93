//! One connection: a task that reads, feeds its session, sends the replies, and repeats.
//!
//! ```text
//!        ┌──────────────── Read ────────────────────────┐        Resume ──► feed the rest
//!        ▼                                              │        Receive ─► into the reservation, then feed
//!   read into a buffer ──► feed in place ──► fill ──► send all ─ Load ────► bring a value back from flash, then feed
//!                           (+ carry)        holes               Watch ───► pump until the client goes
//!                                                                Close ───► end
//! ```
//!
//! A reply is sent before anything more is read: a client that does not read its replies stops being served, and costs
//! one output. A command is parsed in the buffer it was read into. The bytes of an unfinished command move to the carry, a small
//! heap buffer, so that the read buffer is free between commands.
//!
//! The task owns its `Connection`: session, output, carry and TLS channel. Only it touches them; with the ring's sweep it
//! shares its `Entry` (`context`). The ring's engine is borrowed for one call at a time.
//!
//! Of the server a connection imports `context`, `load`, `backoff`, `stall` and `signals` only. It reaches the store through
//! its session; `lend` alone names types of the store.

mod lend;
mod listing;
mod records;
mod tls;
mod waits;
mod watch;

use super::context::{AcceptedConn, CloseReason, Entry, Phase, RingContext};
use super::load::load_holes;
use super::signals::{self, Request};
use crate::engine::Stop;
use crate::limits::OUTPUT_BYTES_MAX;
use crate::output::Output;
use crate::session::{Next, Owed, Progress, Session};
use crate::tls::Channel;
use lend::Reply;
use listing::Listing;
use std::io;
use std::rc::Rc;
use uring::{Buffer, Stream};

/// If a carry or an output had to grow beyond this many bytes, its memory is freed once it is empty.
const KEPT_BYTES_MAX: usize = 2 * OUTPUT_BYTES_MAX;

/// The error that is sent to a client when there is no memory for its request; the connection is then closed.
const NO_READ_MEMORY: &[u8] = b"SERVER_ERROR out of memory reading request\r\n";

/// How often a connection lets other tasks run, so that they may return read buffers, before its request is refused.
const READ_TURNS_MAX: u32 = 1000;

/// Puts an accepted connection on the ring's list and starts its task, which serves the connection and at the end takes it off
/// the list.
pub(super) fn spawn(ring: &Rc<RingContext>, accepted: AcceptedConn) {
    let AcceptedConn { socket, permit, origin } = accepted;
    let words = origin.listener.map_or("connection for the copy", |of| ring.settings.connection_words[of]);
    tracing::debug!("<{} new {words}", origin.id);
    if ring.is_stopping() {
        return;
    }
    let certificates = origin.listener.zip(ring.certificates.as_ref());
    let channel = match certificates.and_then(|(of, all)| all.channel(of)).transpose() {
        Ok(channel) => channel.map(Box::new),
        Err(error) => return tracing::warn!(%error, "cannot encrypt"),
    };
    let entry = Rc::new(Entry::new(socket, origin.peer.is_some(), ring.now()));
    let key = ring.entries.borrow_mut().insert(Rc::clone(&entry));
    ring.counters().total_connections.add(1);
    let session = match origin.listener {
        Some(of) => Session::new(&ring.engine.borrow(), origin.id, ring.shared.config.listen[of].protocol),
        None => Session::for_copy(&ring.engine.borrow(), origin.id),
    };
    let mut connection = Connection {
        listing: Listing::new(ring, &origin),
        ring: Rc::clone(ring),
        entry,
        session,
        ends_server: false,
        out: Output::default(),
        carry: Vec::new(),
        channel,
    };
    let ring = Rc::clone(ring);
    uring::spawn(async move {
        // Borrow: an owned argument would be stored twice in the future.
        let why = connection.run().await;
        drop(connection);
        tracing::debug!("<{} connection closed.", origin.id);
        ring.entries.borrow_mut().remove(key);
        ring.counters().closed_connections.add(1);
        ring.counters().idle_kicks.add(u64::from(why == CloseReason::Idle));
        drop(permit);
    });
}

/// One client's connection, owned by its task.
struct Connection {
    listing: Listing,
    ring: Rc<RingContext>,
    entry: Rc<Entry>,
    session: Session,
    /// True if the client has asked the server to stop. The log then calls the end of this connection a shutdown.
    ends_server: bool,
    out: Output,
    /// Input that the session has not used yet, such as the first part of an unfinished command.
    carry: Vec<u8>,
    /// The TLS state of an encrypted connection; `None` without TLS. Boxed, so that a connection without TLS stays small.
    channel: Option<Box<Channel>>,
}

impl Connection {
    /// Serves the client until the connection ends, and says how it ended.
    pub(super) async fn run(&mut self) -> CloseReason {
        let end = loop {
            if let Err(end) = self.round().await {
                break end;
            }
        };
        if end != CloseReason::Broken {
            // Queued replies leave before the connection ends.
            let _ = self.entry.stream.settled().await;
        }
        if self.channel.is_some() {
            Box::pin(self.close_notify(end)).await;
        }
        if end == CloseReason::Stopped {
            self.drain_until_close().await;
        }
        // Before anything else is dropped, since an operation that still waits on the socket would keep it open.
        self.entry.stream.shutdown();
        self.listing.log_close(end, self.ends_server);
        end
    }

    /// Discards input until the client closes the connection too, or until the ring closes it because all replies are
    /// acknowledged. Without this, a socket closed with unread input would be reset, and replies that have not left would be
    /// lost.
    async fn drain_until_close(&mut self) {
        self.entry.stream.finish();
        self.entry.phase.set(Phase::Leaving);
        self.release_buffers();
        drain(&self.ring, &self.entry).await;
    }

    /// Waits for input, runs the commands in it, and sends their replies.
    async fn round(&mut self) -> Result<(), CloseReason> {
        let buffer = self.read().await?;
        if self.channel.is_some() {
            return Box::pin(self.open(buffer)).await;
        }
        self.ring.counters().bytes_read.add(buffer.bytes().len() as u64);
        self.entry.note_received(buffer.bytes().len());
        if self.carry.is_empty() {
            return self.serve(Some(buffer)).await;
        }
        self.carry.extend_from_slice(buffer.bytes());
        drop(buffer);
        self.serve(None).await
    }

    /// Reads the client's next bytes. While it waits, the connection holds no read buffer and no memory for replies.
    async fn read(&mut self) -> Result<Buffer, CloseReason> {
        let owed = self.session.owes();
        self.entry.is_mid_value.set(owed != Owed::Nothing);
        if owed != Owed::Value {
            self.entry.end_receiving();
        }
        self.ring.buffers.reuse(std::mem::take(&mut self.out.staged));
        let mut turns_left = READ_TURNS_MAX;
        loop {
            self.check_stop()?;
            self.entry.held_bytes.set(self.own_bytes());
            self.entry.phase.set(Phase::Reading);
            match self.entry.stream.read(&self.ring.buffers).await {
                Ok(buffer) if buffer.bytes().is_empty() => {
                    return Err(self.entry.closed_for.get().unwrap_or(CloseReason::Normal));
                }
                Ok(buffer) => {
                    self.note_read();
                    return Ok(buffer);
                }
                // The sweep has found the connection idle, or its value slow.
                Err(error) if Stream::is_interrupted(&error) => {
                    self.release_buffers();
                    self.give_way();
                }
                // Other connections give their buffers back as soon as they have used the bytes in them.
                Err(error) if Stream::is_out_of_read_memory(&error) && turns_left > 0 => {
                    turns_left -= 1;
                    uring::yield_now().await;
                }
                Err(error) if Stream::is_out_of_read_memory(&error) => {
                    return Err(Box::pin(self.refuse_to_read()).await);
                }
                Err(error) => return Err(self.broken(&error)),
            }
        }
    }

    /// Feeds the session what has been read (`buffer`, or the carry if there is none) and does what the session asks for.
    /// Unused input is in the carry afterwards.
    ///
    /// Gives the buffer back before waiting for anything that depends on the client: a client that does not read its replies
    /// must not keep a buffer that others need.
    async fn serve(&mut self, mut buffer: Option<Buffer>) -> Result<(), CloseReason> {
        let mut used = 0;
        if self.out.staged.capacity() == 0 {
            self.out.staged = self.ring.buffers.spare();
        }
        let mut stalled_since = None;
        loop {
            let progress = self.feed(buffer.as_ref(), used);
            used += progress.consumed;
            if progress.consumed > 0 || progress.next != Next::Stall {
                stalled_since = None;
            }
            if progress.consumed > 0 {
                self.entry.last_command.set(self.ring.now());
            }
            // If the session only lets others run, the replies so far are sent together with those that follow.
            let makes_way = progress.next == Next::Resume && !self.out.is_full();
            if !makes_way || self.check_stop().is_err() {
                // A read follows, which waits for the queued bytes and lets others run.
                let is_last = progress.next == Next::Read;
                if !is_last || !self.out.is_flat() {
                    self.set_aside(&mut buffer, &mut used);
                }
                if self.out.has_holes() {
                    // Boxed, as all that is seldom needed.
                    Box::pin(self.fill_holes()).await;
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
                    self.check_stop()?;
                    // A send lets other tasks run. Where there is no send, this yield does.
                    if makes_way {
                        uring::yield_now().await;
                    }
                }
                // Boxed, since it is rare and would make every connection larger.
                next @ (Next::Wait | Next::Stall | Next::Load) => {
                    Box::pin(self.wait_for_others(next, &mut stalled_since)).await?;
                }
                Next::Receive => {
                    self.entry.start_receiving();
                    if self.channel.is_some() || self.entry.stream.stop_receiving().await {
                        self.drop_used(used);
                        return Ok(());
                    }
                    self.receive().await?;
                }
                Next::Watch => return Err(Box::pin(self.watch()).await),
                Next::Close => return Err(CloseReason::Normal),
                Next::Reject => return Err(CloseReason::Rejected),
            }
        }
    }

    /// Lets the session run commands from `buffer`, or from the carry if that is `None`, beginning after the first `used` bytes.
    /// If the client has asked the server to stop, raises the signal that stops it.
    fn feed(&mut self, buffer: Option<&Buffer>, used: usize) -> Progress {
        let input = buffer.map_or(&self.carry[..], Buffer::bytes);
        self.listing.start_commands(&self.ring);
        if self.ring.loader.is_some() {
            self.out.set_holds_short(!self.ring.load_budget.is_short());
        }
        let engine = &mut self.ring.engine.borrow_mut();
        let progress = self.session.feed(engine, &input[used..], &mut self.out);
        self.listing.finish_commands(progress.next, &self.session);
        if progress.next == Next::Close
            && let Some(stop) = self.ring.shared.stop_requested()
        {
            self.ends_server = true;
            signals::raise(match stop {
                Stop::Now => Request::Stop,
                Stop::Graceful => Request::StopGracefully,
            });
        }
        progress
    }

    /// Gives the read buffer back, if there is one. Its bytes after the first `used` move to the carry, which must be empty, and
    /// `used` becomes 0.
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

    /// Sends the whole output. If `is_last`, an unencrypted output without pinned values is only queued, and the call returns
    /// before its bytes have left.
    async fn send(&mut self, is_last: bool) -> Result<(), CloseReason> {
        if self.out.is_empty() {
            return Ok(());
        }
        let bytes = self.out.len();
        self.entry.held_bytes.set(self.own_bytes());
        self.entry.awaits_send.set(true);
        let result = if let Some(channel) = &mut self.channel {
            // Boxed, as all that is for encrypted connections alone: it would make every connection larger.
            let result = Box::pin(records::send(&self.entry.stream, channel, &self.out)).await;
            self.out.clear();
            result
        } else if self.out.is_flat() {
            let staged = std::mem::take(&mut self.out.staged);
            if is_last {
                self.entry.stream.queue_send(staged, &self.ring.buffers).await
            } else {
                let (result, staged) = self.entry.stream.send(staged).await;
                self.out.staged = staged;
                result
            }
        } else {
            let reply =
                Reply { staged: std::mem::take(&mut self.out.staged), values: self.out.take_values() };
            self.entry.holds_pins.set(true);
            let (result, reply) = self.entry.stream.send_gather(reply).await;
            self.entry.holds_pins.set(false);
            self.out.staged = reply.staged;
            result
        };
        self.entry.awaits_send.set(false);
        self.out.staged.clear();
        if self.out.staged.capacity() > KEPT_BYTES_MAX {
            self.out.staged = Vec::new();
        }
        result.map_err(|error| self.broken(&error))?;
        self.ring.counters().bytes_written.add(bytes as u64);
        Ok(())
    }

    /// Reads from flash the values that the replies lack, and puts them into their holes.
    async fn fill_holes(&mut self) {
        let mut holes = self.out.take_holes();
        load_holes(&self.ring, &mut holes).await;
        self.out.fill(holes);
    }

    /// Marks the client as active and the ring as busy; called when input has come.
    fn note_read(&mut self) {
        self.entry.phase.set(Phase::Working);
        self.entry.last_active.set(self.ring.now());
        self.ring.note_read();
    }

    /// Tells the client that there is no memory to read its request into. Returns how the connection ends.
    async fn refuse_to_read(&mut self) -> CloseReason {
        self.ring.counters().read_buf_oom.add(1);
        if self.channel.as_ref().is_some_and(|channel| !channel.is_established()) {
            return CloseReason::Broken;
        }
        self.out.staged.extend_from_slice(NO_READ_MEMORY);
        self.send(false).await.err().unwrap_or(CloseReason::Broken)
    }

    /// Frees the memory that only a busy connection needs, but keeps input that is not used yet.
    fn release_buffers(&mut self) {
        self.out.staged = Vec::new();
        self.entry.stream.trim();
        if self.carry.is_empty() {
            self.carry = Vec::new();
        }
        if let Some(channel) = &mut self.channel {
            channel.trim();
        }
    }

    /// Size of the memory of the carry and of the staged output, bytes.
    fn own_bytes(&self) -> usize {
        self.carry.capacity() + self.out.staged.capacity()
    }

    /// Checks whether the connection may go on.
    ///
    /// # Errors
    /// The server is stopping, or the ring has closed this connection.
    fn check_stop(&self) -> Result<(), CloseReason> {
        match self.entry.closed_for.get() {
            Some(end) => Err(end),
            None if self.ring.is_stopping() => Err(CloseReason::Stopped),
            None => Ok(()),
        }
    }

    fn broken(&self, error: &io::Error) -> CloseReason {
        tracing::debug!(id = self.entry.stream.id(), %error, "connection broken");
        self.entry.closed_for.get().unwrap_or(CloseReason::Broken)
    }
}

/// Reads and discards what a client sends, until the connection ends.
async fn drain(ring: &RingContext, entry: &Entry) {
    loop {
        match entry.stream.read(&ring.buffers).await {
            Ok(buffer) if buffer.bytes().is_empty() => break,
            Ok(_) => {}
            Err(error) if Stream::is_interrupted(&error) => {}
            Err(_) => break,
        }
    }
}
