//! Watchers: connections that receive log lines about commands and other connections.
//!
//! A ring checks [`WatcherRegistry::wants`] before it formats a line, which is one relaxed load. A line is formatted once, under
//! the registry's lock, and copied to the buffer of each watcher of its stream. The first line in an empty buffer wakes the ring
//! that serves the watcher. A watcher that takes its lines too slowly loses some, and is told their number.
//!
//! All rings share one [`WatcherRegistry`], which is in `engine::Shared`. Its lock may be taken under the store's writer lock.

use crate::clock::Clock;
use crate::limits::WATCHERS_MAX;
use parking_lot::Mutex;
use std::fmt::{Display, Write as _};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The streams of log lines that a client can watch. Each is one bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Stream {
    /// Lookups by any command.
    Fetchers = 1,
    /// Storage commands, whatever their result.
    Mutations = 2,
    /// Evictions, and values that move to flash.
    Evictions = 4,
    /// New and closed connections.
    Connections = 8,
    /// Deletes that found an item.
    Deletions = 16,
    /// Background work: the removal of expired items.
    System = 32,
    /// Requested as `rawcmds`. It is accepted as in memcached, but no line is ever sent.
    Raw = 64,
}

impl Stream {
    /// Returns the first stream whose name begins with `word`, as memcached does; `None` if there is no such stream.
    pub fn named(word: &[u8]) -> Option<Self> {
        [
            (&b"fetchers"[..], Self::Fetchers),
            (b"mutations", Self::Mutations),
            (b"evictions", Self::Evictions),
            (b"connevents", Self::Connections),
            (b"deletions", Self::Deletions),
            (b"sysevents", Self::System),
            (b"rawcmds", Self::Raw),
        ]
        .into_iter()
        .find_map(|(name, stream)| name.starts_with(word).then_some(stream))
    }
}

/// The number of a watcher in its registry. A number is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatcherId(u64);

/// A function that wakes the ring which serves a watcher.
type Wake = Box<dyn Fn() + Send>;

struct Watcher {
    id: WatcherId,
    streams: u32,
    lines: Vec<u8>,
    skipped: u64,
    wake: Option<Wake>,
}

impl std::fmt::Debug for Watcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watcher")
            .field("id", &self.id)
            .field("bytes", &self.lines.len())
            .finish_non_exhaustive()
    }
}

/// All watchers of the server, each with a buffer of log lines. All threads share them, behind a lock.
#[derive(Debug)]
pub struct WatcherRegistry {
    /// The union of the streams that are watched. With it a command sees without taking the lock that nobody watches.
    streams: AtomicU32,
    watchers: Mutex<Vec<Watcher>>,
    /// Number of the last line sent, which lines show as `gid`.
    line: AtomicU64,
    /// The number that the next watcher gets.
    watcher: AtomicU64,
    buffer_bytes: usize,
    skipped: AtomicU64,
    sent: AtomicU64,
}

impl WatcherRegistry {
    /// Makes a registry without watchers. The buffer of each watcher will hold at most `buffer_bytes` bytes; further lines are
    /// lost.
    pub fn new(buffer_bytes: usize) -> Self {
        Self {
            streams: AtomicU32::new(0),
            watchers: Mutex::default(),
            line: AtomicU64::new(0),
            watcher: AtomicU64::new(0),
            buffer_bytes,
            skipped: AtomicU64::new(0),
            sent: AtomicU64::new(0),
        }
    }

    /// Returns the union of all watched streams, as bits of [`Stream`].
    #[inline(always)]
    pub fn streams(&self) -> u32 {
        self.streams.load(Ordering::Relaxed)
    }

    /// True if any client watches `stream`.
    #[inline(always)]
    pub fn wants(&self, stream: Stream) -> bool {
        self.streams() & stream as u32 != 0
    }

    /// Adds a watcher of `streams`, which are bits of [`Stream`]. `None` if there are [`WATCHERS_MAX`] watchers already.
    pub fn add(&self, streams: u32) -> Option<WatcherId> {
        let mut watchers = self.watchers.lock();
        if watchers.len() >= WATCHERS_MAX {
            return None;
        }
        let id = WatcherId(self.watcher.fetch_add(1, Ordering::Relaxed));
        watchers.push(Watcher { id, streams, lines: Vec::new(), skipped: 0, wake: None });
        self.publish(&watchers);
        Some(id)
    }

    /// Makes `wake` be called whenever the empty buffer of the watcher `id` gets its first line; the woken task must then call
    /// [`take`](Self::take). `wake` runs under the registry's lock, on the thread that sends the line.
    pub fn wake_with(&self, id: WatcherId, wake: Wake) {
        if let Some(watcher) = self.watchers.lock().iter_mut().find(|watcher| watcher.id == id) {
            watcher.wake = Some(wake);
        }
    }

    /// Removes a watcher, and the lines in its buffer.
    pub fn remove(&self, id: WatcherId) {
        let mut watchers = self.watchers.lock();
        watchers.retain(|watcher| watcher.id != id);
        self.publish(&watchers);
    }

    /// Stores the union of the watched streams in `streams`. The caller holds the lock.
    fn publish(&self, watchers: &[Watcher]) {
        let streams = watchers.iter().fold(0, |streams, watcher| streams | watcher.streams);
        self.streams.store(streams, Ordering::Relaxed);
    }

    /// Appends a line to the buffers of all watchers of `stream`, and wakes the watchers whose buffer was empty. `line` does not
    /// include the time and the number at the line's start. A watcher whose buffer is full loses the line.
    pub fn send(&self, clock: &Clock, stream: Stream, line: impl Display) {
        let mut watchers = self.watchers.lock();
        let number = self.line.fetch_add(1, Ordering::Relaxed) + 1;
        let at = clock.precise_unix();
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "ts={}.{} gid={number} {line}", at.as_secs(), at.subsec_micros());
        for watcher in watchers.iter_mut().filter(|watcher| watcher.streams & stream as u32 != 0) {
            if watcher.lines.len() + text.len() > self.buffer_bytes {
                watcher.skipped += 1;
                self.skipped.fetch_add(1, Ordering::Relaxed);
            } else {
                if watcher.lines.is_empty()
                    && let Some(wake) = &watcher.wake
                {
                    wake();
                }
                watcher.lines.extend_from_slice(text.as_bytes());
                self.sent.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Moves the lines of a watcher to the end of `out`. If lines were lost since the last call, appends a line with their
    /// number.
    pub fn take(&self, id: WatcherId, out: &mut Vec<u8>) {
        let mut watchers = self.watchers.lock();
        let Some(watcher) = watchers.iter_mut().find(|watcher| watcher.id == id) else { return };
        out.append(&mut watcher.lines);
        if watcher.skipped > 0 {
            out.extend_from_slice(format!("skipped={}\n", watcher.skipped).as_bytes());
            watcher.skipped = 0;
        }
    }

    /// Returns the number of lines lost, of lines sent, and of watchers. A line counts once for each watcher that lost or
    /// received it.
    pub fn counts(&self) -> (u64, u64, usize) {
        (self.skipped.load(Ordering::Relaxed), self.sent.load(Ordering::Relaxed), self.watchers.lock().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    /// Without waking, lines stayed in their buffer until the next second began, and most of them were lost.
    #[test]
    fn the_first_line_in_a_buffer_wakes() {
        let hub = WatcherRegistry::new(100);
        let clock = Clock::start();
        let id = hub.add(Stream::Fetchers as u32).expect("a place");
        let woken = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&woken);
        hub.wake_with(id, Box::new(move || _ = count.fetch_add(1, Ordering::Relaxed)));
        let mut out = Vec::new();
        for round in 1..4 {
            for _ in 0..3 {
                hub.send(&clock, Stream::Fetchers, "type=item_get");
                hub.send(&clock, Stream::Mutations, "type=item_store");
                assert_eq!(woken.load(Ordering::Relaxed), round);
            }
            hub.take(id, &mut out);
        }
        let text = String::from_utf8(out).expect("text");
        assert_eq!(text.lines().filter(|line| line.contains("item_get")).count(), 6, "{text}");
        assert_eq!(text.lines().filter(|line| *line == "skipped=1").count(), 3, "{text}");
    }
}
