//! [`Config`]: every setting under its name, with memcached's defaults.
//!
//! Plain data, filled by `validate`, `extended`, `flash` and `listen`, which also check the values; then only read.

use super::parts::{
    Endpoint, Ext, Flash, FlashPath, IoEngine, ListenSpec, ListenTls, ProbeTarget, Protocol, Tls,
};
use crate::limits::COPY_RATE;

/// The server's settings, under memcached's names in `stats settings` where it has one. "Shown only" means that `stats
/// settings` shows the value and nothing else uses it.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Memory limit, bytes (-m).
    pub maxbytes: u64,
    /// Most connections at a time (-c).
    pub maxconns: u32,
    /// TCP port (-p); `None` = off, `Some(0)` = any free port. With `-s` there is no TCP listener in `listen` all the same.
    pub tcpport: Option<u16>,
    /// UDP port (-U); `None` = off, `Some(0)` = any free port.
    pub udpport: Option<u16>,
    /// Addresses to listen to (-l), as given; several are joined by commas.
    pub inter: Option<String>,
    /// Path of the UNIX socket (-s).
    pub socketpath: Option<String>,
    /// Permissions of the UNIX socket (-a).
    pub access: u32,
    /// The listeners that follow from `tcpport`, `udpport`, `inter` and `socketpath`.
    pub listen: Vec<ListenSpec>,
    /// How many rings receive the datagrams of one UDP port.
    pub num_threads_per_udp: usize,
    /// Verbosity: the number of -v.
    pub verbosity: u8,
    /// Items are evicted when memory is full; false with -M.
    pub evictions: bool,
    /// The `shutdown` command is accepted (-A).
    pub shutdown_command: bool,
    /// Growth factor of the size classes (-f).
    pub factor: f64,
    /// Smallest size class without the item's header, bytes (-n).
    pub chunk_size: u32,
    /// Number of rings (-t).
    pub num_threads: usize,
    /// The kernel interface for I/O (--io-engine).
    pub io_engine: IoEngine,
    /// Number of replicas of the index (--replicas), which neighbouring rings share; at most as many as rings.
    pub replicas: usize,
    /// Each ring's thread is bound to a core of its own (--pin-rings).
    pub pin_rings: bool,
    /// Seconds without progress of a ring after which the process aborts (--ring-timeout); 0 = never.
    pub ring_timeout_secs: u32,
    /// Port of the metrics page (--metrics-port); `None` = no metrics, `Some(0)` = any free port.
    pub metrics_port: Option<u16>,
    /// Address of the metrics page, a name or an address (--metrics-address).
    pub metrics_address: String,
    /// The server whose items are copied (--copy-from).
    pub copy_from: Option<ProbeTarget>,
    /// Items that are copied from the other server per second, at most (--copy-rate); 0 = no limit.
    pub copy_rate: u32,
    /// Byte that ends a key's prefix for `stats detail` (-D).
    pub prefix_delimiter: u8,
    /// `stats detail` is on from the start; -D turns it on.
    pub detail_enabled: bool,
    /// Commands that a connection may run before others have their turn (-R).
    pub reqs_per_event: u32,
    /// Items have a cas; false with -C.
    pub cas_enabled: bool,
    /// Length of the listeners' backlog (-b).
    pub backlog: i32,
    /// Protocol of the listeners (-B), as -S and -Y change it.
    pub protocol: Protocol,
    /// Clients of the binary protocol must log in, by SASL (-S).
    pub sasl: bool,
    /// The file of SASL users and passwords, from `MEMCACHED_SASL_PWDB`.
    pub sasl_pwdb: Option<String>,
    /// The file of users and passwords with which clients of the text protocol must log in (-Y).
    pub auth_file: Option<String>,
    /// Size limit of an item, bytes (-I).
    pub item_size_max: u64,
    /// If true, a connection over -c is closed with an error; otherwise it waits in the backlog.
    pub maxconns_fast: bool,
    /// Shown only.
    pub hashpower_init: u32,
    /// `slabs reassign` is accepted; no slab is moved.
    pub slab_reassign: bool,
    /// Shown, and changed by `slabs automove`; no slab is moved.
    pub slab_automove: u32,
    /// Shown only.
    pub slab_automove_ratio: f64,
    /// Shown only.
    pub slab_automove_window: u32,
    /// The largest size class, bytes; larger items count in it too.
    pub slab_chunk_size_max: u32,
    /// The size classes given by `-o slab_sizes`, bytes; empty if -f and -n define them.
    pub slab_sizes: Vec<u32>,
    /// `lru_crawler` accepts crawls and dumps from the start. Expired items are removed in the background in any case.
    pub lru_crawler: bool,
    /// Shown only, microseconds.
    pub lru_crawler_sleep: u32,
    /// Shown only.
    pub lru_crawler_tocrawl: u32,
    /// Shown only, seconds.
    pub tail_repair_time: u32,
    /// `flush_all` is allowed; false with -F.
    pub flush_enabled: bool,
    /// Dumps are allowed; false with -X.
    pub dump_enabled: bool,
    /// `watch` is allowed; false with -W.
    pub watch_enabled: bool,
    /// Shown only.
    pub hash_algorithm: &'static str,
    /// `stats` shows the figures of memcached's LRU maintainer, and `lru mode` and `lru temp_ttl` are accepted.
    pub lru_maintainer_thread: bool,
    /// Shown only.
    pub lru_segmented: bool,
    /// Shown only.
    pub hot_lru_pct: u32,
    /// Shown only.
    pub warm_lru_pct: u32,
    /// Shown only.
    pub hot_max_factor: f64,
    /// Shown only.
    pub warm_max_factor: f64,
    /// Shown only.
    pub temp_lru: bool,
    /// Shown only, seconds.
    pub temporary_ttl: u32,
    /// Idle seconds after which a TCP connection is closed; 0 = never.
    pub idle_timeout: u32,
    /// Length of the buffer of each watcher, bytes; log lines that find it full are lost.
    pub logger_watcher_buf_size: u32,
    /// Shown only, bytes.
    pub logger_buf_size: u32,
    /// Limit on the memory of read buffers, bytes; 0 = none. A connection that finds no buffer is closed with an error.
    pub read_buf_mem_limit: u64,
    /// `stats sizes` counts the items by size; otherwise it says that it is disabled.
    pub track_sizes: bool,
    /// Options of the flash tier (`-o ext_*`) but for the paths.
    pub ext: Ext,
    /// The files of `-o ext_path`, with their sizes as given.
    pub ext_paths: Vec<FlashPath>,
    /// The settings of the flash tier that follow from `ext` and `ext_paths`; `None` without paths.
    pub flash: Option<Flash>,
    /// Listeners speak TLS unless `-l` says otherwise (-Z).
    pub ssl_enabled: bool,
    /// TLS settings (`-o ssl_*`).
    pub ssl: Tls,
    /// User that a process started as root becomes (-u).
    pub user: Option<String>,
    /// System calls that the running server does not need are filtered out (`-o drop_privileges`).
    pub drop_privileges: bool,
    /// The server goes into the background (-d).
    pub daemonize: bool,
    /// The file to which the process id is written (-P).
    pub pid_file: Option<String>,
    /// Core dumps are enabled (-r).
    pub core_dumps: bool,
    /// All memory is locked (-k).
    pub lock_memory: bool,
    /// Large pages are asked for (-L).
    pub large_pages: bool,
    /// The file that holds the items in memory, so that the next process can restore them (-e).
    pub memory_file: Option<String>,
    /// The file to which the bound ports are written, from `MEMCACHED_PORT_FILENAME`.
    pub port_file: Option<String>,
    /// Lines to print on standard error before the server starts.
    pub warnings: Vec<String>,
}

impl Default for Config {
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn default() -> Self {
        Self {
            maxbytes: 64 << 20,
            maxconns: 1024,
            tcpport: Some(11211),
            udpport: None,
            inter: None,
            socketpath: None,
            access: 0o700,
            listen: vec![ListenSpec {
                endpoint: Endpoint::Tcp { host: None, port: 11211 },
                protocol: Protocol::Auto,
                tls: ListenTls::Off,
                tag: None,
            }],
            num_threads_per_udp: 4,
            verbosity: 0,
            evictions: true,
            shutdown_command: false,
            factor: 1.25,
            chunk_size: 48,
            num_threads: 4,
            io_engine: IoEngine::Auto,
            replicas: 4,
            pin_rings: false,
            ring_timeout_secs: 60,
            metrics_port: None,
            metrics_address: "127.0.0.1".to_owned(),
            copy_from: None,
            copy_rate: COPY_RATE,
            prefix_delimiter: b':',
            detail_enabled: false,
            reqs_per_event: 20,
            cas_enabled: true,
            backlog: 1024,
            protocol: Protocol::Auto,
            sasl: false,
            sasl_pwdb: None,
            auth_file: None,
            item_size_max: 1 << 20,
            maxconns_fast: true,
            hashpower_init: 0,
            slab_reassign: true,
            slab_automove: 1,
            slab_automove_ratio: 0.8,
            slab_automove_window: 10,
            slab_chunk_size_max: 512 << 10,
            slab_sizes: Vec::new(),
            lru_crawler: true,
            lru_crawler_sleep: 100,
            lru_crawler_tocrawl: 0,
            tail_repair_time: 0,
            flush_enabled: true,
            dump_enabled: true,
            watch_enabled: true,
            hash_algorithm: "murmur3",
            lru_maintainer_thread: true,
            lru_segmented: true,
            hot_lru_pct: 20,
            warm_lru_pct: 40,
            hot_max_factor: 0.2,
            warm_max_factor: 2.0,
            temp_lru: false,
            temporary_ttl: 61,
            idle_timeout: 0,
            logger_watcher_buf_size: 256 << 10,
            logger_buf_size: 64 << 10,
            read_buf_mem_limit: 0,
            track_sizes: false,
            ext: Ext::default(),
            ext_paths: Vec::new(),
            flash: None,
            ssl_enabled: false,
            ssl: Tls::default(),
            user: None,
            drop_privileges: false,
            daemonize: false,
            pid_file: None,
            core_dumps: false,
            lock_memory: false,
            large_pages: false,
            memory_file: None,
            port_file: None,
            warnings: Vec::new(),
        }
    }
}
