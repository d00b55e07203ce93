//! The options as argh parses them: each field holds the values given, in order, not yet validated. Read by `validate`.

use super::number::{Bytes, Float, Int, Octal};
use argh::FromArgs;

/// memcached's command line.
#[derive(Debug, FromArgs)]
pub(super) struct Options {
    /// TCP port
    #[argh(option)]
    pub(super) port: Vec<Int>,
    /// UDP port
    #[argh(option)]
    pub(super) udp_port: Vec<Int>,
    /// unix socket
    #[argh(option)]
    pub(super) unix_socket: Vec<String>,
    /// permissions of the unix socket
    #[argh(option)]
    pub(super) unix_mask: Vec<Octal>,
    /// shutdown command
    #[argh(switch)]
    pub(super) enable_shutdown: i32,
    /// addresses
    #[argh(option)]
    pub(super) listen: Vec<String>,
    /// go into the background
    #[argh(switch)]
    pub(super) daemon: i32,
    /// core dumps
    #[argh(switch)]
    pub(super) enable_coredumps: i32,
    /// user to become
    #[argh(option)]
    pub(super) user: Vec<String>,
    /// megabytes
    #[argh(option)]
    pub(super) memory_limit: Vec<Int>,
    /// errors instead of evictions
    #[argh(switch)]
    pub(super) disable_evictions: i32,
    /// connections
    #[argh(option)]
    pub(super) conn_limit: Vec<Int>,
    /// mlockall
    #[argh(switch)]
    pub(super) lock_memory: i32,
    /// verbosity, by count
    #[argh(switch)]
    pub(super) verbose: i32,
    /// pid file
    #[argh(option)]
    pub(super) pidfile: Vec<String>,
    /// class growth factor
    #[argh(option)]
    pub(super) slab_growth_factor: Vec<Float>,
    /// smallest class
    #[argh(option)]
    pub(super) slab_min_size: Vec<Int>,
    /// large pages
    #[argh(switch)]
    pub(super) enable_largepages: i32,
    /// prefix delimiter
    #[argh(option)]
    pub(super) delimiter: Vec<String>,
    /// threads
    #[argh(option)]
    pub(super) threads: Vec<Int>,
    /// requests per event
    #[argh(option)]
    pub(super) max_reqs_per_event: Vec<Int>,
    /// no CAS
    #[argh(switch)]
    pub(super) disable_cas: i32,
    /// listen backlog
    #[argh(option)]
    pub(super) listen_backlog: Vec<Int>,
    /// binding protocol
    #[argh(option)]
    pub(super) protocol: Vec<String>,
    /// item size
    #[argh(option)]
    pub(super) max_item_size: Vec<Bytes>,
    /// SASL
    #[argh(switch)]
    pub(super) enable_sasl: i32,
    /// no `flush_all`
    #[argh(switch)]
    pub(super) disable_flush_all: i32,
    /// no dumps
    #[argh(switch)]
    pub(super) disable_dumping: i32,
    /// no watch
    #[argh(switch)]
    pub(super) disable_watch: i32,
    /// ascii authentication
    #[argh(option)]
    pub(super) auth_file: Vec<String>,
    /// warm restart
    #[argh(option)]
    pub(super) memory_file: Vec<String>,
    /// TLS
    #[argh(switch)]
    pub(super) enable_ssl: i32,
    /// extended options
    #[argh(option)]
    pub(super) extended: Vec<String>,
    /// engine for input and output
    #[argh(option)]
    pub(super) io_engine: Vec<String>,
    /// indexes
    #[argh(option)]
    pub(super) replicas: Vec<Int>,
    /// rings stay on their cores
    #[argh(switch)]
    pub(super) pin_rings: i32,
    /// seconds until a stuck ring aborts
    #[argh(option)]
    pub(super) ring_timeout: Vec<Int>,
    /// metrics port
    #[argh(option)]
    pub(super) metrics_port: Vec<Int>,
    /// metrics address
    #[argh(option)]
    pub(super) metrics_address: Vec<String>,
    /// server to check
    #[argh(option)]
    pub(super) health: Vec<String>,
    /// seconds to wait for it
    #[argh(option)]
    pub(super) health_timeout: Vec<Float>,
    /// server to copy
    #[argh(option)]
    pub(super) copy_from: Vec<String>,
    /// items a second
    #[argh(option)]
    pub(super) copy_rate: Vec<Int>,
    /// document to print
    #[argh(option)]
    pub(super) print: Vec<String>,
    /// refused
    #[argh(option)]
    pub(super) napi_ids: Vec<Int>,
}
