//! The options as argh parses them. Each field holds the values given, in order, not yet validated; `validate` reads them.

use super::number::{Bytes, Float, Int, Octal};
use argh::FromArgs;

/// memcached's options. An option that is not given has an empty list, and a switch counts how often it was given.
#[derive(Debug, FromArgs)]
pub(super) struct Options {
    /// TCP port (-p)
    #[argh(option)]
    pub(super) port: Vec<Int>,
    /// UDP port (-U)
    #[argh(option)]
    pub(super) udp_port: Vec<Int>,
    /// path of the UNIX socket (-s)
    #[argh(option)]
    pub(super) unix_socket: Vec<String>,
    /// permissions of the UNIX socket (-a)
    #[argh(option)]
    pub(super) unix_mask: Vec<Octal>,
    /// accept the command `shutdown` (-A)
    #[argh(switch)]
    pub(super) enable_shutdown: i32,
    /// addresses to listen on (-l)
    #[argh(option)]
    pub(super) listen: Vec<String>,
    /// run in the background (-d)
    #[argh(switch)]
    pub(super) daemon: i32,
    /// enable core dumps (-r)
    #[argh(switch)]
    pub(super) enable_coredumps: i32,
    /// user that a process started as root becomes (-u)
    #[argh(option)]
    pub(super) user: Vec<String>,
    /// memory limit, megabytes (-m)
    #[argh(option)]
    pub(super) memory_limit: Vec<Int>,
    /// refuse to store instead of evicting items (-M)
    #[argh(switch)]
    pub(super) disable_evictions: i32,
    /// most connections at a time (-c)
    #[argh(option)]
    pub(super) conn_limit: Vec<Int>,
    /// lock all memory (-k)
    #[argh(switch)]
    pub(super) lock_memory: i32,
    /// verbosity, as the number of -v
    #[argh(switch)]
    pub(super) verbose: i32,
    /// path of the file for the process id (-P)
    #[argh(option)]
    pub(super) pidfile: Vec<String>,
    /// growth factor of the size classes (-f)
    #[argh(option)]
    pub(super) slab_growth_factor: Vec<Float>,
    /// smallest size class, bytes (-n)
    #[argh(option)]
    pub(super) slab_min_size: Vec<Int>,
    /// use large pages (-L)
    #[argh(switch)]
    pub(super) enable_largepages: i32,
    /// byte that ends the prefix of a key in `stats detail` (-D)
    #[argh(option)]
    pub(super) delimiter: Vec<String>,
    /// number of rings (-t)
    #[argh(option)]
    pub(super) threads: Vec<Int>,
    /// commands that a connection may run before other connections are served (-R)
    #[argh(option)]
    pub(super) max_reqs_per_event: Vec<Int>,
    /// items have no cas (-C)
    #[argh(switch)]
    pub(super) disable_cas: i32,
    /// length of the listeners' backlog (-b)
    #[argh(option)]
    pub(super) listen_backlog: Vec<Int>,
    /// protocol of the listeners (-B)
    #[argh(option)]
    pub(super) protocol: Vec<String>,
    /// size limit of an item, bytes (-I)
    #[argh(option)]
    pub(super) max_item_size: Vec<Bytes>,
    /// require a login by SASL (-S)
    #[argh(switch)]
    pub(super) enable_sasl: i32,
    /// refuse `flush_all` (-F)
    #[argh(switch)]
    pub(super) disable_flush_all: i32,
    /// refuse dumps (-X)
    #[argh(switch)]
    pub(super) disable_dumping: i32,
    /// refuse `watch` (-W)
    #[argh(switch)]
    pub(super) disable_watch: i32,
    /// path of the password file for the text protocol (-Y)
    #[argh(option)]
    pub(super) auth_file: Vec<String>,
    /// path of the memory file, which a later process can restore items from (-e)
    #[argh(option)]
    pub(super) memory_file: Vec<String>,
    /// listeners speak TLS (-Z)
    #[argh(switch)]
    pub(super) enable_ssl: i32,
    /// lists of extended options (-o)
    #[argh(option)]
    pub(super) extended: Vec<String>,
    /// kernel interface for I/O
    #[argh(option)]
    pub(super) io_engine: Vec<String>,
    /// number of replicas
    #[argh(option)]
    pub(super) replicas: Vec<Int>,
    /// number of rings that serve connections
    #[argh(option)]
    pub(super) serving_rings: Vec<Int>,
    /// bind each ring to a core of its own
    #[argh(switch)]
    pub(super) pin_rings: i32,
    /// seconds after which a stuck ring aborts the process; 0 is never
    #[argh(option)]
    pub(super) ring_timeout: Vec<Int>,
    /// port of the metrics page
    #[argh(option)]
    pub(super) metrics_port: Vec<Int>,
    /// address of the metrics page
    #[argh(option)]
    pub(super) metrics_address: Vec<String>,
    /// address of the server whose health is checked
    #[argh(option)]
    pub(super) health: Vec<String>,
    /// seconds that the health check may take
    #[argh(option)]
    pub(super) health_timeout: Vec<Float>,
    /// address of the server whose items are copied
    #[argh(option)]
    pub(super) copy_from: Vec<String>,
    /// most items that are copied per second; 0 is no limit
    #[argh(option)]
    pub(super) copy_rate: Vec<Int>,
    /// name of the document to print
    #[argh(option)]
    pub(super) print: Vec<String>,
    /// NAPI ids (-N), which are refused
    #[argh(option)]
    pub(super) napi_ids: Vec<Int>,
}
