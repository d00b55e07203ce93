//! `--copy-from`: copies the items of another memcached, while this server serves.
//!
//! ```text
//!   other server ── metadump ──► keys ─┐                              this server
//!        ▲  │                          │ 256 at a time                 ring 0
//!        │  └── mg: flags, TTL, value ─┼──► ms … ME (add) ── socketpair ──► session (for_copy) ──► store
//!        └────────── mg KEY ───────────┘                                       │
//!                                        HD, NS, … ◄───────────────────────────┘
//! ```
//!
//! One thread, which owns the `Copy`, is a client of both servers; it holds no more than the keys of a batch and a piece of
//! a value. Its connection to this server is an ordinary one of ring 0, so a value is received, and memory made for it, as
//! for any client; but its session stores nothing under a key that a client has written, deleted, touched or flushed since
//! the start ([`crate::store::Store::begin_copy`]). That is decided in the write transaction of the item, so it also holds
//! for a client that writes between the answer of the other server and the store here.
//!
//! A copy that fails keeps what it has stored, and the server continues.

mod wire;

use super::client::{Client, UNAUTHENTICATED, unexpected};
use super::context::{AcceptedConn, Message, Origin};
use crate::config::ProbeTarget;
use crate::engine::Shared;
use crate::engine::copy_progress::CopyState;
use crate::limits::{COPY_KEYS_MAX, COPY_REQUEST_BYTES_MAX, COPY_UNIT_BYTES};
use crate::process::complain;
use crate::session::Copied;
use crate::store::Store;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use uring::Waker;
use wire::{Answer, Dumped, Head};

/// How long the other server may take to connect, and for each piece of an answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// Time between two lines about the progress.
const PROGRESS: Duration = Duration::from_secs(10);
/// How often a dump is requested, [`BUSY_PAUSE`] apart, while the other server is busy with another dump.
const BUSY_TRIES: u32 = 100;
const BUSY_PAUSE: Duration = Duration::from_millis(100);
/// The copy pauses only when it is more than this far ahead of its rate.
const PAUSE_MIN: Duration = Duration::from_millis(5);

/// Which server is copied, and how fast.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) from: ProbeTarget,
    /// Most items per second; 0 means no limit. A long value counts as several items.
    pub(super) rate: u32,
}

/// Starts the thread of the copy, whose connection `ring` serves. [`Store::begin_copy`] must have been called before the
/// first client was served.
///
/// # Errors
/// The sockets or the thread cannot be created.
pub(super) fn start(
    plan: Plan,
    store: Arc<Store>,
    shared: Arc<Shared>,
    ring: &Waker<Message>,
) -> io::Result<()> {
    let (own, served) = UnixStream::pair()?;
    let origin = Origin { id: served.as_raw_fd() as u32, peer: None, listener: None };
    // Before a client can ask for the state.
    shared.copy.set_state(CopyState::Running);
    let body = move || {
        let mut copy = Copy { pace: Pace::new(plan.rate), own: Client::over(own), shared };
        complain(&format!("copying from {}", plan.from));
        let started = Instant::now();
        let outcome = copy.run(&plan.from, &store);
        store.end_copy();
        let secs = started.elapsed().as_secs_f64();
        let (from, tally) = (&plan.from, &copy.shared.copy);
        tally.set_state(if outcome.is_ok() { CopyState::Done } else { CopyState::Failed });
        complain(&match outcome {
            Ok(()) => format!("copied from {from} in {secs:.1} s: {tally}"),
            Err(why) => format!("stopped copying from {from} after {secs:.1} s: {why}; {tally}"),
        });
    };
    std::thread::Builder::new().name("copy".to_owned()).spawn(body)?;
    // A ring that has ended takes no connection; the server is stopping then.
    let _ = ring.post(Message::Adopt(AcceptedConn { socket: served.into(), permit: None, origin }));
    Ok(())
}

/// Keeps the copy from exceeding its rate.
#[derive(Debug)]
struct Pace {
    rate: u32,
    /// The time at which the copy would have reached its present count of items at exactly the allowed rate.
    paid_at: Instant,
}

impl Pace {
    fn new(rate: u32) -> Self {
        Self { rate, paid_at: Instant::now() }
    }

    /// Counts `items` as copied; sleeps if the copy is too far ahead of its rate.
    fn spend(&mut self, items: f64) {
        if self.rate == 0 {
            return;
        }
        let now = Instant::now();
        // Time in which nothing was copied is not made up for later.
        self.paid_at = self.paid_at.max(now) + Duration::from_secs_f64(items / f64::from(self.rate));
        let debt = self.paid_at - now;
        if debt > PAUSE_MIN {
            std::thread::sleep(debt);
        }
    }
}

/// A running copy, owned by its thread.
#[derive(Debug)]
struct Copy {
    pace: Pace,
    /// The connection to this server.
    own: Client,
    /// Holds the progress of the copy, for `stats`.
    shared: Arc<Shared>,
}

impl Copy {
    /// Copies all items of the server at `from`.
    fn run(&mut self, from: &ProbeTarget, store: &Store) -> Result<(), String> {
        let mut peer = Client::connect(from, ANSWER_TIME_MAX)?;
        let total = items_of(&mut peer)?;
        self.shared.copy.expected.add(total);
        let mut dump = Client::connect(from, ANSWER_TIME_MAX)?;
        let mut next_line = begin_dump(&mut dump)?;
        let mut reported_at = Instant::now();
        // Each turn takes a batch of the dump, which ends; a server that stops in the middle of it times out.
        loop {
            let (keys, is_last) = read_keys(&mut dump, &mut next_line)?;
            if !store.takes_copies() {
                return Err("flush_all has been called here".to_owned());
            }
            self.batch(&mut peer, &keys)?;
            if is_last {
                return Ok(());
            }
            if reported_at.elapsed() >= PROGRESS {
                reported_at = Instant::now();
                complain(&format!(
                    "copying from {from}: {} of about {total} items",
                    self.shared.copy.copied.get()
                ));
            }
        }
    }

    /// Asks the other server for `keys`, and stores the items that it returns.
    fn batch(&mut self, peer: &mut Client, keys: &[Vec<u8>]) -> Result<(), String> {
        let mut request = Vec::new();
        for key in keys {
            wire::push_get(&mut request, key);
        }
        peer.send(&request)?;
        let mut lengths = Vec::new();
        for key in keys {
            let line = peer.line()?;
            let item = match wire::answer(&line) {
                None if line == b"ERROR" => {
                    return Err("it does not know mg, which memcached 1.6 and newer do".to_owned());
                }
                None => return Err(unexpected(&line)),
                Some(Answer::Miss) => {
                    self.shared.copy.gone.add(1);
                    self.pace.spend(1.0);
                    continue;
                }
                Some(Answer::Refused) if line.starts_with(UNAUTHENTICATED.as_bytes()) => {
                    return Err(unexpected(&line));
                }
                Some(Answer::Refused) => {
                    self.shared.copy.refused.add(1);
                    self.pace.spend(1.0);
                    continue;
                }
                Some(Answer::Item(item)) => item,
            };
            if self.pass_item(peer, key, &item)? {
                lengths.push(item.value_bytes);
            }
        }
        for bytes in lengths {
            let line = self.own.line().map_err(|why| format!("this server: {why}"))?;
            match Copied::of_reply(&line) {
                Some(Copied::Stored) => {
                    self.shared.copy.copied.add(1);
                    self.shared.copy.value_bytes.add(bytes);
                }
                Some(Copied::Superseded) => self.shared.copy.superseded.add(1),
                Some(Copied::TooLarge) => self.shared.copy.too_large.add(1),
                Some(Copied::NoMemory) => return Err("this server has no memory left".to_owned()),
                None => return Err(format!("this server answered \"{}\"", line.escape_ascii())),
            }
        }
        Ok(())
    }

    /// Passes an item on to this server; true if the item was sent, so that a reply follows, and false if it was skipped.
    fn pass_item(&mut self, peer: &mut Client, key: &[u8], item: &Head) -> Result<bool, String> {
        let count = |bytes: u64| bytes as f64 / COPY_UNIT_BYTES as f64;
        self.pace.spend((1.0 - count(item.value_bytes)).max(0.0));
        let pace = &mut self.pace;
        let passed = |bytes| pace.spend(count(bytes));
        if item.is_stale || item.has_expired() {
            let tally = &self.shared.copy;
            (if item.is_stale { &tally.stale } else { &tally.gone }).add(1);
            peer.skip_value(item.value_bytes, passed)?;
            return Ok(false);
        }
        let mut head = Vec::new();
        let unix_now =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs());
        item.push_set(&mut head, key, unix_now);
        self.own.send(&head)?;
        peer.pass_value(item.value_bytes, &mut self.own, passed)?;
        Ok(true)
    }
}

/// Asks how many items the other server has; 0 if it does not say.
fn items_of(peer: &mut Client) -> Result<u64, String> {
    let stats = peer.stats("stats")?.ok_or("it does not know stats")?;
    Ok(stats.get("curr_items").and_then(|value| value.parse().ok()).unwrap_or(0))
}

/// Begins a dump of the other server's keys and returns its first line. The dump is in the order of the hash table, because a
/// dump in the order of the LRU lists can miss an item that moves from one list to another.
fn begin_dump(dump: &mut Client) -> Result<Vec<u8>, String> {
    for tries_left in (0..BUSY_TRIES).rev() {
        dump.send(b"lru_crawler metadump hash\r\n")?;
        let line = dump.line()?;
        if line == b"OK" {
            return dump.line();
        }
        if !line.starts_with(b"BUSY") {
            return Ok(line);
        }
        if tries_left > 0 {
            std::thread::sleep(BUSY_PAUSE);
        }
    }
    Err("it is busy with another dump".to_owned())
}

/// Reads the keys of the next batch; the flag is true if they are the last. `next_line` is a line that has been read already, or
/// empty; it is empty afterwards.
fn read_keys(dump: &mut Client, next_line: &mut Vec<u8>) -> Result<(Vec<Vec<u8>>, bool), String> {
    let (mut keys, mut bytes) = (Vec::new(), 0);
    while keys.len() < COPY_KEYS_MAX && bytes < COPY_REQUEST_BYTES_MAX {
        let line = if next_line.is_empty() { dump.line()? } else { std::mem::take(next_line) };
        match wire::dumped(&line) {
            Some(Dumped::End) => return Ok((keys, true)),
            Some(Dumped::Key(key)) => {
                bytes += key.len();
                keys.push(key);
            }
            None if keys.is_empty() && line.starts_with(b"ERROR") => {
                return Err(format!("it does not list its keys: {}", line.escape_ascii()));
            }
            None => return Err(unexpected(&line)),
        }
    }
    Ok((keys, false))
}
