//! INTERFACE SKETCH: command-line flags to a configuration that cannot be wrong. Fields may be added; names stay.
#![allow(missing_docs, reason = "sketch")]

/// Which protocol a listener speaks (-B).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol { Auto, Ascii, Binary }

/// The server's settings, as memcached's `stats settings` names them where it has a name.
#[derive(Clone, Debug)]
pub struct Config {
    /// -m, bytes.
    pub maxbytes: u64,
    pub maxconns: u32,
    /// -p; None = no TCP, Some(0) = ephemeral.
    pub tcpport: Option<u16>,
    pub udpport: Option<u16>,
    /// -l as given.
    pub inter: Option<String>,
    pub socketpath: Option<String>,
    pub access: u32,
    pub verbosity: u8,
    pub evictions: bool,
    pub shutdown_command: bool,
    pub factor: f64,
    pub chunk_size: u32,
    pub num_threads: usize,
    pub prefix_delimiter: u8,
    pub detail_enabled: bool,
    pub reqs_per_event: u32,
    pub cas_enabled: bool,
    pub backlog: i32,
    pub protocol: Protocol,
    pub sasl: bool,
    pub auth_file: Option<String>,
    pub item_size_max: u64,
    pub maxconns_fast: bool,
    pub hashpower_init: u32,
    pub slab_reassign: bool,
    pub slab_automove: u32,
    pub slab_automove_ratio: f64,
    pub slab_automove_window: u32,
    pub slab_chunk_size_max: u32,
    pub lru_crawler: bool,
    pub lru_crawler_sleep: u32,
    pub lru_crawler_tocrawl: u32,
    pub tail_repair_time: u32,
    pub flush_enabled: bool,
    pub dump_enabled: bool,
    pub watch_enabled: bool,
    pub hash_algorithm: &'static str,
    pub lru_maintainer_thread: bool,
    pub lru_segmented: bool,
    pub hot_lru_pct: u32,
    pub warm_lru_pct: u32,
    pub hot_max_factor: f64,
    pub warm_max_factor: f64,
    pub temp_lru: bool,
    pub temporary_ttl: u32,
    pub idle_timeout: u32,
    pub logger_watcher_buf_size: u32,
    pub logger_buf_size: u32,
    pub read_buf_mem_limit: u64,
    pub track_sizes: bool,
    pub ssl_enabled: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            maxbytes: 64 << 20, maxconns: 1024, tcpport: Some(11211), udpport: None, inter: None, socketpath: None, access: 0o700,
            verbosity: 0, evictions: true, shutdown_command: false, factor: 1.25, chunk_size: 48, num_threads: 4,
            prefix_delimiter: b':', detail_enabled: false, reqs_per_event: 20, cas_enabled: true, backlog: 1024,
            protocol: Protocol::Auto, sasl: false, auth_file: None, item_size_max: 1 << 20, maxconns_fast: true,
            hashpower_init: 0, slab_reassign: true, slab_automove: 1, slab_automove_ratio: 0.8, slab_automove_window: 10,
            slab_chunk_size_max: 512 << 10, lru_crawler: true, lru_crawler_sleep: 100, lru_crawler_tocrawl: 0,
            tail_repair_time: 0, flush_enabled: true, dump_enabled: true, watch_enabled: true, hash_algorithm: "murmur3",
            lru_maintainer_thread: true, lru_segmented: true, hot_lru_pct: 20, warm_lru_pct: 40, hot_max_factor: 0.2,
            warm_max_factor: 2.0, temp_lru: false, temporary_ttl: 61, idle_timeout: 0, logger_watcher_buf_size: 256 << 10,
            logger_buf_size: 64 << 10, read_buf_mem_limit: 0, track_sizes: false, ssl_enabled: false,
        }
    }
}
