//! Command line to a configuration that cannot be wrong.
//!
//! ```text
//! words ─ getopt: every spelling to one ─► options: argh's struct ─► judge: defaults, refusals, listeners ─► Config
//!         (help: the table of options)      (number: C's numbers)     (extended: -o; listen: -l)       settings ─► `stats settings`
//! ```
//!
//! Meaning, defaults, messages and exit statuses are memcached 1.6.45's. Everything here is pure: what the machine and
//! the environment contribute comes in as [`Surroundings`], and a refusal goes out as lines and a status.
//!
//! The options that steer mechanisms which are not here (slab allocator, LRU threads, hash table) are read, checked and
//! shown like the rest; `-h` names them as without effect. Two whose effect would be missed, -L and -e, warn at the start.

mod extended;
mod getopt;
mod help;
mod judge;
mod listen;
mod number;
mod options;
mod settings;
#[cfg(test)]
mod tests;

pub use help::{MEMCACHED_VERSION, OWN_VERSION};
pub use listen::{Endpoint, ListenSpec, ListenTls, without_brackets};
pub use settings::{LiveSettings, settings};

use argh::FromArgs as _;
use std::ffi::OsString;
use std::time::Duration;

/// Exit status of a value that is bad by itself.
pub const EX_BAD_VALUE: u8 = 1;
/// Exit status of settings that do not go together. Source: sysexits(3).
pub const EX_USAGE: u8 = 64;
/// Exit status of an unknown `-u` user. Source: sysexits(3).
pub const EX_NOUSER: u8 = 67;
/// Exit status of what the operating system denied. Source: sysexits(3).
pub const EX_OSERR: u8 = 71;

/// Whether this build can encrypt (`-Z`).
pub const HAS_TLS: bool = true;

/// Which protocol a listener speaks (-B).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Told from the first byte of each connection.
    Auto,
    /// Text and meta commands.
    Ascii,
    /// Binary packets.
    Binary,
}

/// What does the I/O (--io-engine).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoEngine {
    /// io_uring where it is allowed, else epoll.
    Auto,
    /// io_uring, or no start.
    Uring,
    /// epoll.
    Epoll,
}

impl IoEngine {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Uring => "uring",
            Self::Epoll => "epoll",
        }
    }
}

/// Which certificates a TLS listener asks its clients for (`-o ssl_verify_mode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerifyMode {
    /// None.
    None,
    /// Asks, and takes clients without one.
    Request,
    /// Refuses clients without one.
    Require,
    /// As `Require`, at the first handshake only.
    Once,
}

/// The settings of TLS; they mean something with `-Z`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Certificate chain file, PEM.
    pub chain_cert: Option<String>,
    /// Key file, where the chain file does not hold the key.
    pub key: Option<String>,
    /// File of the CAs that sign client certificates, PEM.
    pub ca_cert: Option<String>,
    /// OpenSSL's cipher list.
    pub ciphers: Option<String>,
    /// What clients must show.
    pub verify_mode: VerifyMode,
    /// OpenSSL's number of the key's format; 1 is PEM.
    pub keyformat: u32,
    /// Output buffer of one connection, bytes.
    pub wbuf_bytes: u32,
    /// Sessions may be resumed.
    pub session_cache: bool,
    /// Encryption may be left to the kernel.
    pub kernel_tls: bool,
    /// Oldest protocol taken: 0 to 3 for TLS 1.0 to 1.3.
    pub min_version: u32,
}

/// The server's settings, as memcached's `stats settings` names them where it has a name.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// -m, bytes.
    pub maxbytes: u64,
    /// -c.
    pub maxconns: u32,
    /// -p; None = no TCP, Some(0) = ephemeral. With `-s`, `listen` has no TCP all the same.
    pub tcpport: Option<u16>,
    /// -U, likewise.
    pub udpport: Option<u16>,
    /// -l as given, several joined by commas.
    pub inter: Option<String>,
    /// -s.
    pub socketpath: Option<String>,
    /// -a.
    pub access: u32,
    /// Every listener that the settings above come to.
    pub listen: Vec<ListenSpec>,
    /// Threads that serve one UDP port.
    pub num_threads_per_udp: usize,
    /// -v, counted.
    pub verbosity: u8,
    /// Not -M.
    pub evictions: bool,
    /// -A.
    pub shutdown_command: bool,
    /// -f.
    pub factor: f64,
    /// -n, bytes.
    pub chunk_size: u32,
    /// -t.
    pub num_threads: usize,
    /// --io-engine.
    pub io_engine: IoEngine,
    /// --ring-timeout: a ring that has not turned for so long ends the process, seconds; 0 is never.
    pub ring_timeout_secs: u32,
    /// --metrics-port; None = no metrics, Some(0) = ephemeral.
    pub metrics_port: Option<u16>,
    /// --metrics-address: a name or an address.
    pub metrics_address: String,
    /// -D.
    pub prefix_delimiter: u8,
    /// -D turns `stats detail` on.
    pub detail_enabled: bool,
    /// -R.
    pub reqs_per_event: u32,
    /// Not -C.
    pub cas_enabled: bool,
    /// -b.
    pub backlog: i32,
    /// -B, or what -S and -Y make of it.
    pub protocol: Protocol,
    /// -S.
    pub sasl: bool,
    /// The file of SASL users and passwords, from `MEMCACHED_SASL_PWDB`.
    pub sasl_pwdb: Option<String>,
    /// -Y.
    pub auth_file: Option<String>,
    /// -I, bytes.
    pub item_size_max: u64,
    /// Connections beyond -c are told so and closed; otherwise they wait in the backlog.
    pub maxconns_fast: bool,
    /// Shown only.
    pub hashpower_init: u32,
    /// `slabs reassign` is answered, not refused.
    pub slab_reassign: bool,
    /// Shown, and set by `slabs automove`; no effect.
    pub slab_automove: u32,
    /// Shown only.
    pub slab_automove_ratio: f64,
    /// Shown only.
    pub slab_automove_window: u32,
    /// The largest size class, bytes.
    pub slab_chunk_size_max: u32,
    /// The size classes given by `-o slab_sizes`, bytes; empty where -f and -n make them.
    pub slab_sizes: Vec<u32>,
    /// Expired items are swept in the background.
    pub lru_crawler: bool,
    /// Shown only, microseconds.
    pub lru_crawler_sleep: u32,
    /// Shown only.
    pub lru_crawler_tocrawl: u32,
    /// Shown only, seconds.
    pub tail_repair_time: u32,
    /// Not -F.
    pub flush_enabled: bool,
    /// Not -X.
    pub dump_enabled: bool,
    /// Not -W.
    pub watch_enabled: bool,
    /// Shown only.
    pub hash_algorithm: &'static str,
    /// memcached's statistics of this thread are shown.
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
    /// Seconds of silence after which a TCP connection is closed; 0 = never.
    pub idle_timeout: u32,
    /// Buffer of one `watch`, bytes.
    pub logger_watcher_buf_size: u32,
    /// Log buffer of one thread, bytes.
    pub logger_buf_size: u32,
    /// Bound of the memory for reading and replying, bytes; 0 = none.
    pub read_buf_mem_limit: u64,
    /// `stats sizes` counts.
    pub track_sizes: bool,
    /// -Z.
    pub ssl_enabled: bool,
    /// `-o ssl_*`.
    pub ssl: Tls,
    /// -u.
    pub user: Option<String>,
    /// -d.
    pub daemonize: bool,
    /// -P.
    pub pid_file: Option<String>,
    /// -r.
    pub core_dumps: bool,
    /// -k.
    pub lock_memory: bool,
    /// -L.
    pub large_pages: bool,
    /// -e.
    pub memory_file: Option<String>,
    /// Where the ports bound are written, from `MEMCACHED_PORT_FILENAME`.
    pub port_file: Option<String>,
    /// Lines for standard error at the start.
    pub warnings: Vec<String>,
}

/// What the machine and the environment say, as far as the command line depends on it.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The name the program was called by; getopt's messages begin with it.
    pub program: String,
    /// Cores this process may use.
    pub cores: usize,
    /// The kernel has large pages for those who ask (-L).
    pub large_pages: bool,
    /// The build can encrypt ([`HAS_TLS`]).
    pub tls: bool,
    /// `MEMCACHED_SASL_PWDB`.
    pub sasl_pwdb: Option<String>,
    /// `MEMCACHED_PORT_FILENAME`.
    pub port_file: Option<String>,
}

/// What a command line asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// To serve.
    Run(Box<Config>),
    /// To ask another server whether it is well (--health).
    Probe(Probe),
    /// To print this on standard output and end with status 0.
    Print(String),
}

/// A server to be asked whether it is well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Where it is.
    pub target: ProbeTarget,
    /// How long all of it may take.
    pub timeout: Duration,
}

/// The place of a server that is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeTarget {
    /// A TCP port.
    Tcp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// The path of a unix socket.
    Unix(String),
}

/// Why the server does not start: lines for standard error, and the exit status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Without line ends.
    pub lines: Vec<String>,
    /// [`EX_BAD_VALUE`], [`EX_USAGE`], [`EX_NOUSER`] or [`EX_OSERR`].
    pub status: u8,
}

impl Refusal {
    /// A refusal in one line.
    pub fn new(status: u8, line: impl Into<String>) -> Self {
        Self { lines: vec![line.into()], status }
    }
}

impl Surroundings {
    /// Asks the machine and the environment. `program` is the first word of the command line.
    pub fn probe(program: String) -> Self {
        let enabled = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
        Self {
            program,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            large_pages: enabled.is_ok_and(|modes| !modes.contains("[never]")),
            tls: HAS_TLS,
            sasl_pwdb: std::env::var("MEMCACHED_SASL_PWDB").ok(),
            port_file: std::env::var("MEMCACHED_PORT_FILENAME").ok(),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        let mut config = Self {
            maxbytes: 64 << 20,
            maxconns: 1024,
            tcpport: Some(11211),
            udpport: None,
            inter: None,
            socketpath: None,
            access: 0o700,
            listen: Vec::new(),
            num_threads_per_udp: 4,
            verbosity: 0,
            evictions: true,
            shutdown_command: false,
            factor: 1.25,
            chunk_size: 48,
            num_threads: 4,
            io_engine: IoEngine::Auto,
            ring_timeout_secs: 60,
            metrics_port: None,
            metrics_address: "127.0.0.1".to_owned(),
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
            ssl_enabled: false,
            ssl: Tls::default(),
            user: None,
            daemonize: false,
            pid_file: None,
            core_dumps: false,
            lock_memory: false,
            large_pages: false,
            memory_file: None,
            port_file: None,
            warnings: Vec::new(),
        };
        config.listen = listen::specs(&config).expect("the default address parses");
        config
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            chain_cert: None,
            key: None,
            ca_cert: None,
            ciphers: None,
            verify_mode: VerifyMode::None,
            keyformat: 1,
            wbuf_bytes: 16 << 10,
            session_cache: false,
            kernel_tls: false,
            min_version: 2,
        }
    }
}

/// The words of a command line as text: the program's name, and the rest.
///
/// # Errors
/// A word is not UTF-8.
pub fn words(words: impl Iterator<Item = OsString>) -> Result<(String, Vec<String>), Refusal> {
    let refused = |word: OsString| Refusal::new(EX_BAD_VALUE, format!("Not valid UTF-8: {}", word.display()));
    let mut words = words.map(|word| word.into_string().map_err(refused));
    let program = words.next().unwrap_or_else(|| Ok("memcached".to_owned()))?;
    Ok((program, words.collect::<Result<_, _>>()?))
}

/// Reads a command line, without the program's name.
///
/// # Errors
/// The [`Refusal`] of the first thing that is wrong.
pub fn parse(args: &[String], surroundings: &Surroundings) -> Result<Request, Refusal> {
    let line = getopt::normalise(help::SPECS, &surroundings.program, args);
    let words: Vec<&str> = line.words.iter().map(String::as_str).collect();
    let options = options::Options::from_args(&[&surroundings.program], &words)
        .map_err(|exit| Refusal::new(EX_BAD_VALUE, exit.output.trim_end()))?;
    let config = judge::values(&options, surroundings)?;
    match line.end {
        getopt::End::Run => match judge::probe(&options)? {
            Some(probe) => Ok(Request::Probe(probe)),
            None => Ok(Request::Run(Box::new(judge::whole(config, &options)?))),
        },
        getopt::End::Help => Ok(Request::Print(help::help(surroundings.tls))),
        getopt::End::Licence => Ok(Request::Print(help::licence())),
        getopt::End::Version => Ok(Request::Print(help::version())),
        getopt::End::Refused(refusal) => Err(refusal),
    }
}
