//! Events: reports commands and other events to watchers and to the counts by key prefix. Nothing in this module runs unless one
//! of these is enabled.
//!
//! The module owns the [`Observer`] that an executor hands to its commands, and adds to `shared` the events that are not
//! commands. It only sends: the state is that of `watch`, `prefixes` and `hotkeys`. Evictions and moves to flash are reported under
//! the store's writer lock, so their functions take the lock of `watch` and call nothing of the store. The module may import
//! `shared` and the modules named before it in `engine`, and knows no executor.

use crate::command::Mode;
use crate::engine::counters::RingCounters;
use crate::engine::prefixes::Use;
use crate::engine::shared::{KEYS, PREFIXES, Shared};
use crate::engine::watch::Stream;
use crate::escape;
use crate::store::Item;
use std::net::SocketAddr;

/// The result of a lookup as watchers see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The item was found: its class, and the length of its value in bytes.
    Yes(u8, usize),
    No,
    Flushed,
    Expired,
}

/// The reason why a connection was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The connection failed, or the server closed it because of the client's input.
    Error,
    /// The client has closed the connection, or has sent `quit`.
    Normal,
    /// The connection was idle for longer than the limit, or did not take values whose memory others needed.
    IdleTimeout,
    /// The server is stopping.
    Shutdown,
}

/// Reports commands to watchers and counts. It has copies of an executor's references, so that it can be used while an item
/// borrows the executor.
#[derive(Clone, Copy)]
pub(super) struct Observer<'e> {
    pub(super) shared: &'e Shared,
    pub(super) counters: &'e RingCounters,
    pub(super) observers: u32,
    pub(super) connection: u32,
}

impl Observer<'_> {
    /// Reports a lookup by a command that reads, to the watchers of fetchers and to the counts by key.
    #[cold]
    pub(super) fn fetched(&self, key: &[u8], found: Found) {
        self.count(key, Use::Get(matches!(found, Found::Yes(..))));
        self.looked_up(key, found);
    }

    /// Counts a use of `key` in `stats hotkeys` and `stats detail`, as far as they are enabled for this input.
    fn count(&self, key: &[u8], used: Use) {
        if self.observers & KEYS != 0 {
            self.counters.hotkeys.note(key);
        }
        if self.observers & PREFIXES != 0 {
            self.shared.prefixes.count(key, self.shared.config.prefix_delimiter, used);
        }
    }

    /// Reports a lookup to the watchers of fetchers, and not to the counts by key.
    #[cold]
    pub(super) fn looked_up(&self, key: &[u8], found: Found) {
        if self.observers & Stream::Fetchers as u32 != 0 {
            let (status, class, bytes) = match found {
                Found::Yes(class, bytes) => ("found", class, bytes),
                Found::No => ("not_found", 0, 0),
                Found::Flushed => ("flushed", 0, 0),
                Found::Expired => ("expired", 0, 0),
            };
            let line = format_args!(
                "type=item_get key={} status={status} clsid={class} cfd={} size={bytes}",
                escape::percent(key),
                self.connection
            );
            self.send(Stream::Fetchers, line);
        }
    }

    /// Reports a storage command to the watchers of mutations and to the counts by key. `status` is its result. The numbers are
    /// the class and the value length of its item in bytes, and the seconds that the item has to live.
    #[cold]
    pub(super) fn stored(&self, key: &[u8], mode: Mode, status: &str, (class, bytes, ttl): (u8, usize, u32)) {
        self.count(key, Use::Set);
        if self.observers & Stream::Mutations as u32 != 0 {
            let command = match mode {
                Mode::Set => "set",
                Mode::Add => "add",
                Mode::Replace => "replace",
                Mode::Append => "append",
                Mode::Prepend => "prepend",
                Mode::Cas => "cas",
            };
            let line = format_args!(
                "type=item_store key={} status={status} cmd={command} ttl={ttl} clsid={class} cfd={} size={bytes}",
                escape::percent(key),
                self.connection
            );
            self.send(Stream::Mutations, line);
        }
    }

    /// Reports a delete to the watchers and to the counts by key. `item` is the class and the value length of the deleted item,
    /// bytes; `None` if nothing was deleted.
    #[cold]
    pub(super) fn deleted(&self, key: &[u8], command: &str, item: Option<(u8, usize)>) {
        self.count(key, Use::Delete);
        let Some((class, bytes)) = item else { return self.looked_up(key, Found::No) };
        self.looked_up(key, Found::Yes(class, bytes));
        if self.observers & Stream::Deletions as u32 != 0 {
            let line = format_args!(
                "type=deleted key={} cmd={command} clsid={class} size={bytes}",
                escape::percent(key)
            );
            self.send(Stream::Deletions, line);
        }
    }

    fn send(&self, stream: Stream, line: std::fmt::Arguments<'_>) {
        self.counters.ring.log_worker_written.add(1);
        self.shared.watch.send(&self.shared.clock, stream, line);
    }
}

impl Shared {
    /// Reports the eviction of a live item to the watchers of evictions. `server` calls it for the store.
    pub fn log_eviction(&self, item: &Item<'_>) {
        self.log_leaving("eviction", item, format_args!("size={}", item.value_bytes()));
    }

    /// Reports to the watchers of evictions that the value of a live item moves to flash. `server` calls it for the store.
    pub fn log_flash_write(&self, item: &Item<'_>) {
        self.log_leaving("extwrite", item, format_args!("bucket=0"));
    }

    fn log_leaving(&self, kind: &str, item: &Item<'_>, more: std::fmt::Arguments<'_>) {
        if !self.watch.wants(Stream::Evictions) {
            return;
        }
        let now = self.clock.now();
        let ttl = match item.exptime().0 {
            0 => -1,
            exptime => i64::from(exptime) - i64::from(now.0),
        };
        let line = format_args!(
            "type={kind} key={} fetch={} ttl={ttl} la={} clsid={} {more}",
            escape::percent(item.key()),
            if item.fetched() { "yes" } else { "no" },
            now.0.saturating_sub(item.last_access().0),
            self.class_of(item)
        );
        self.watch.send(&self.clock, Stream::Evictions, line);
    }

    /// Reports to the watchers of the system how many items were examined, and how many expired ones were removed, in the last
    /// second. The line has the form of memcached's crawler.
    pub fn log_sweep(&self, examined: u64, reclaimed: u64) {
        let line = format_args!(
            "type=lru_crawler crawler=0 lru=all low_mark=0 next_reclaims=0 since_run=1 next_run=1 elapsed=0 \
            examined={examined} reclaimed={reclaimed}"
        );
        self.watch.send(&self.clock, Stream::System, line);
    }

    /// Reports a new connection to the watchers of connections. `peer` is the client's address; `None` on UNIX sockets.
    pub fn log_connection(&self, id: u32, peer: Option<SocketAddr>) {
        if self.watch.wants(Stream::Connections) {
            let line = format_args!("type=conn_new {} cfd={id}", Peer(peer));
            self.watch.send(&self.clock, Stream::Connections, line);
        }
    }

    /// Reports the end of a connection to the watchers of connections. `peer` is the client's address; `None` on UNIX sockets.
    pub fn log_disconnection(&self, id: u32, peer: Option<SocketAddr>, reason: Reason) {
        if self.watch.wants(Stream::Connections) {
            let reason = match reason {
                Reason::Error => "error",
                Reason::Normal => "normal",
                Reason::IdleTimeout => "idle_timeout",
                Reason::Shutdown => "shutdown",
            };
            let line = format_args!("type=conn_close {} reason={reason} cfd={id}", Peer(peer));
            self.watch.send(&self.clock, Stream::Connections, line);
        }
    }
}

struct Peer(Option<SocketAddr>);

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(peer) => write!(f, "rip={} rport={} transport=tcp", peer.ip(), peer.port()),
            None => f.write_str("rip=unix rport=0 transport=local"),
        }
    }
}
