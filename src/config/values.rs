//! [`Config`]: every setting under its own name, with memcached's defaults.
//!
//! It is plain data, filled by `validate`, `extended`, `flash` and `listen`, which also check the values. Afterwards it is only
//! read.

use super::parts::{
    Endpoint, Ext, Flash, FlashPath, IoEngine, ListenSpec, ListenTls, ProbeTarget, Protocol, Tls,
};
use crate::limits::COPY_RATE;

/// The server's settings, under memcached's names in `stats settings` where it has one. "Only shown" means that `stats settings`
/// shows the value and nothing else uses it.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Memory limit at the start, bytes (-m). `cache_memlimit` changes the limit.
    pub maxbytes: u64,
    /// Most client connections at a time, on all rings together (-c).
    pub maxconns: u32,
    /// TCP port (-p); `None` is off, `Some(0)` any free port. With `-s` the value is ignored and `listen` has no TCP listener.
    pub tcpport: Option<u16>,
    /// UDP port (-U); `None` is off, `Some(0)` any free port.
    pub udpport: Option<u16>,
    /// Addresses to listen on (-l), as given, joined by commas; `None` stands for all addresses.
    pub inter: Option<String>,
    /// Path of the UNIX socket (-s); `None` without -s.
    pub socketpath: Option<String>,
    /// Permissions of the UNIX socket, as mode bits (-a).
    pub access: u32,
    /// The listeners that follow from `tcpport`, `udpport`, `inter` and `socketpath`.
    pub listen: Vec<ListenSpec>,
    /// Number of rings that receive the datagrams of one UDP port.
    pub num_threads_per_udp: usize,
    /// Verbosity at the start: the number of -v.
    pub verbosity: u8,
    /// True if items are evicted when memory is full; false with -M.
    pub evictions: bool,
    /// True if the `shutdown` command is accepted (-A).
    pub shutdown_command: bool,
    /// Growth factor of the size classes in statistics (-f).
    pub factor: f64,
    /// Smallest size class in statistics, bytes without the item's header (-n).
    pub chunk_size: u32,
    /// Number of rings (-t).
    pub num_threads: usize,
    /// The kernel interface for I/O (--io-engine).
    pub io_engine: IoEngine,
    /// Number of replicas, which neighbouring rings share (--replicas). At most `num_threads`.
    pub replicas: usize,
    /// Number of rings that serve connections (--serving-rings), at most `num_threads`; `None` is as many as the cores that the
    /// process may use.
    pub serving_rings: Option<usize>,
    /// True if each ring's thread is bound to a core of its own (--pin-rings).
    pub pin_rings: bool,
    /// Seconds without progress of a ring after which the process aborts (--ring-timeout); 0 stands for never.
    pub ring_timeout_secs: u32,
    /// Port of the metrics page (--metrics-port); `None` is no page, `Some(0)` any free port.
    pub metrics_port: Option<u16>,
    /// Host name or address of the metrics page (--metrics-address).
    pub metrics_address: String,
    /// The server whose items are copied (--copy-from); `None` to copy nothing.
    pub copy_from: Option<ProbeTarget>,
    /// Most items that are copied from the other server per second (--copy-rate); 0 stands for no limit.
    pub copy_rate: u32,
    /// The byte that ends a key's prefix in `stats detail` (-D).
    pub prefix_delimiter: u8,
    /// True if `stats detail` is on from the start, as with -D.
    pub detail_enabled: bool,
    /// Commands that a connection may run before other connections have their turn (-R).
    pub reqs_per_event: u32,
    /// True if items have a cas; false with -C.
    pub cas_enabled: bool,
    /// Length of the backlog of each listener (-b).
    pub backlog: i32,
    /// Protocol of the listeners (-B). -S makes it binary, and -Y text.
    pub protocol: Protocol,
    /// True if clients of the binary protocol must log in by SASL (-S).
    pub sasl: bool,
    /// Path of the password file for SASL, from `MEMCACHED_SASL_PWDB`; `None` without -S.
    pub sasl_pwdb: Option<String>,
    /// Path of the file of users and passwords with which clients of the text protocol must log in (-Y); `None` if they need not.
    pub auth_file: Option<String>,
    /// Size limit of an item, bytes (-I).
    pub item_size_max: u64,
    /// True if a connection over -c is closed with an error; false if it waits in the backlog.
    pub maxconns_fast: bool,
    /// `-o hashpower`; only shown.
    pub hashpower_init: u32,
    /// True if `slabs reassign` is accepted. It moves no slab.
    pub slab_reassign: bool,
    /// The mode at the start, which `slabs automove` changes; only shown.
    pub slab_automove: u32,
    /// `-o slab_automove_ratio`; only shown.
    pub slab_automove_ratio: f64,
    /// `-o slab_automove_window`; only shown.
    pub slab_automove_window: u32,
    /// The largest size class in statistics, bytes. Larger items count in it too.
    pub slab_chunk_size_max: u32,
    /// The size classes given by `-o slab_sizes`, bytes. If there are none, -f and -n define the classes.
    pub slab_sizes: Vec<u32>,
    /// True if `lru_crawler` accepts crawls and dumps from the start. Expired items are removed in the background in any case.
    pub lru_crawler: bool,
    /// `-o lru_crawler_sleep`, microseconds; only shown.
    pub lru_crawler_sleep: u32,
    /// `-o lru_crawler_tocrawl`, items; only shown.
    pub lru_crawler_tocrawl: u32,
    /// `-o tail_repair_time`, seconds; only shown.
    pub tail_repair_time: u32,
    /// True if `flush_all` is allowed; false with -F.
    pub flush_enabled: bool,
    /// True if dumps are allowed; false with -X.
    pub dump_enabled: bool,
    /// True if `watch` is allowed; false with -W.
    pub watch_enabled: bool,
    /// `-o hash_algorithm`; only shown.
    pub hash_algorithm: &'static str,
    /// True if `stats` shows the figures of memcached's LRU maintainer, and if `lru mode` and `lru temp_ttl` are accepted.
    pub lru_maintainer_thread: bool,
    /// False with `-o no_lru_maintainer` or `no_modern`; only shown.
    pub lru_segmented: bool,
    /// `-o hot_lru_pct`, percent; only shown.
    pub hot_lru_pct: u32,
    /// `-o warm_lru_pct`, percent; only shown.
    pub warm_lru_pct: u32,
    /// `-o hot_max_factor`; only shown.
    pub hot_max_factor: f64,
    /// `-o warm_max_factor`; only shown.
    pub warm_max_factor: f64,
    /// True if `-o temporary_ttl` is given; only shown.
    pub temp_lru: bool,
    /// `-o temporary_ttl`, seconds; only shown.
    pub temporary_ttl: u32,
    /// Seconds without input after which a TCP connection is closed; 0 stands for never.
    pub idle_timeout: u32,
    /// Length of each watcher's buffer, bytes. Log lines for which the buffer has no room are lost.
    pub logger_watcher_buf_size: u32,
    /// `-o worker_logbuf_size`, bytes; only shown.
    pub logger_buf_size: u32,
    /// Limit on the memory of read buffers, bytes; 0 stands for none. A connection that finds no buffer is closed with an error.
    pub read_buf_mem_limit: u64,
    /// True if `stats sizes` counts the items by size; if false, it says that it is disabled.
    pub track_sizes: bool,
    /// The options of the flash tier without its paths (`-o ext_*`).
    pub ext: Ext,
    /// The files of the flash tier with their sizes as given (`-o ext_path`).
    pub ext_paths: Vec<FlashPath>,
    /// The checked settings of the flash tier that follow from `ext` and `ext_paths`; `None` if there is no tier.
    pub flash: Option<Flash>,
    /// True if listeners use TLS unless `-l` says otherwise (-Z).
    pub ssl_enabled: bool,
    /// TLS settings (`-o ssl_*`).
    pub ssl: Tls,
    /// The user that a process started as root becomes (-u); `None` if not given.
    pub user: Option<String>,
    /// True if system calls that the running server does not need are filtered out (`-o drop_privileges`).
    pub drop_privileges: bool,
    /// True if the server runs in the background (-d).
    pub daemonize: bool,
    /// Path of the file to which the process id is written (-P).
    pub pid_file: Option<String>,
    /// True if core dumps are enabled (-r).
    pub core_dumps: bool,
    /// True if all memory is locked (-k).
    pub lock_memory: bool,
    /// True if large pages are requested for items (-L).
    pub large_pages: bool,
    /// Path of the file that holds the items in memory, from which the next process can restore them (-e).
    pub memory_file: Option<String>,
    /// Path of the file to which the bound ports are written, from `MEMCACHED_PORT_FILENAME`.
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
            serving_rings: None,
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
