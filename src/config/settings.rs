//! The lines of `stats settings`, in memcached's order, and [`RuntimeSettings`]: the settings that commands change while the
//! server runs, which are in `engine::Shared` behind a lock.

use super::{Config, Ext, Protocol, VerifyMode};

/// The settings that commands change while the server runs, under memcached's names in `stats settings`. "Only shown" means that
/// `stats settings` shows the value and nothing else uses it.
#[derive(Clone, Debug, PartialEq)]
pub struct RuntimeSettings {
    /// The memory limit, bytes, which `cache_memlimit` changes. The store has the current limit, which is filled in when the
    /// settings are shown.
    pub maxbytes: u64,
    /// The number of -v, which `verbosity` changes. The current number is filled in when the settings are shown.
    pub verbosity: u8,
    /// The second of the server's clock up to which `flush_all` has removed, or will remove, all stored items; 0 before the first
    /// `flush_all`.
    pub oldest: u32,
    /// True if `stats detail` is on. The current state is filled in when the settings are shown.
    pub detail_enabled: bool,
    /// memcached's mode of moving slabs, which `slabs automove` changes; only shown.
    pub slab_automove: u32,
    /// True if crawls and dumps are accepted (`lru_crawler enable` and `disable`).
    pub lru_crawler: bool,
    /// `lru_crawler sleep`, microseconds; only shown.
    pub lru_crawler_sleep: u32,
    /// `lru_crawler tocrawl`, items; only shown.
    pub lru_crawler_tocrawl: u32,
    /// True after `lru mode segmented`, false after `lru mode flat`; only shown.
    pub lru_segmented: bool,
    /// The first number of `lru tune`, percent; only shown.
    pub hot_lru_pct: u32,
    /// The second number of `lru tune`, percent; only shown.
    pub warm_lru_pct: u32,
    /// The third number of `lru tune`, a factor; only shown.
    pub hot_max_factor: f64,
    /// The fourth number of `lru tune`, a factor; only shown.
    pub warm_max_factor: f64,
    /// True if `lru temp_ttl` has requested a queue for items with a short time to live; only shown.
    pub temp_lru: bool,
    /// Longest time to live of the items in the queue that `temp_lru` stands for, seconds (`lru temp_ttl`); only shown.
    pub temporary_ttl: u32,
    /// The options of the flash tier, which `extstore` and `slabs automove freeratio` change.
    pub ext: Ext,
    /// The kernel interface for I/O: the requested one until the server has started, then the one in use.
    pub io_engine: &'static str,
}

impl RuntimeSettings {
    /// Returns the settings at the start of a server with `config`.
    pub fn new(config: &Config) -> Self {
        Self {
            maxbytes: config.maxbytes,
            verbosity: config.verbosity,
            oldest: 0,
            detail_enabled: config.detail_enabled,
            slab_automove: config.slab_automove,
            lru_crawler: config.lru_crawler,
            lru_crawler_sleep: config.lru_crawler_sleep,
            lru_crawler_tocrawl: config.lru_crawler_tocrawl,
            lru_segmented: config.lru_segmented,
            hot_lru_pct: config.hot_lru_pct,
            warm_lru_pct: config.warm_lru_pct,
            hot_max_factor: config.hot_max_factor,
            warm_max_factor: config.warm_max_factor,
            temp_lru: config.temp_lru,
            temporary_ttl: config.temporary_ttl,
            ext: config.ext,
            io_engine: config.io_engine.name(),
        }
    }
}

/// Returns the names and values of `stats settings`.
///
/// Source: `process_stat_settings` of memcached 1.6.45, for a build with TLS and external storage, without seccomp and proxy.
/// memcrsd's own settings come last.
pub fn settings(config: &Config, live: &RuntimeSettings) -> impl Iterator<Item = (&'static str, String)> {
    let mut lines = Vec::with_capacity(96);
    connections(&mut lines, config, live);
    memory(&mut lines, config, live);
    lru(&mut lines, config, live);
    ext(&mut lines, config, &live.ext);
    if super::HAS_TLS {
        tls(&mut lines, config);
    }
    lines.push(("num_napi_ids", "0".to_owned()));
    lines.push(("memory_file", or(config.memory_file.as_ref(), "(null)")));
    lines.push(("client_flags_size", size_of::<u32>().to_string()));
    lines.push(("io_engine", live.io_engine.to_owned()));
    lines.push(("replicas", config.replicas.to_string()));
    let serving_rings = config.serving_rings.map(|rings| rings.to_string());
    lines.push(("serving_rings", or(serving_rings.as_ref(), "auto")));
    lines.push(("pin_rings", yes(config.pin_rings)));
    lines.push(("ring_timeout", config.ring_timeout_secs.to_string()));
    lines.push(("metrics_port", port(config.metrics_port)));
    lines.push(("metrics_address", config.metrics_address.clone()));
    lines.into_iter()
}

type Lines = Vec<(&'static str, String)>;

fn yes(is: bool) -> String {
    if is { "yes" } else { "no" }.to_owned()
}

fn or(text: Option<&String>, none: &str) -> String {
    text.map_or_else(|| none.to_owned(), Clone::clone)
}

/// Returns a port in the form that -p takes: 0 for off, -1 for any free port.
fn port(port: Option<u16>) -> String {
    match port {
        None => "0".to_owned(),
        Some(0) => "-1".to_owned(),
        Some(port) => port.to_string(),
    }
}

fn connections(lines: &mut Lines, config: &Config, live: &RuntimeSettings) {
    let protocol = match config.protocol {
        Protocol::Auto => "auto-negotiate",
        Protocol::Ascii => "ascii",
        Protocol::Binary => "binary",
    };
    lines.extend([
        ("maxbytes", live.maxbytes.to_string()),
        ("maxconns", config.maxconns.to_string()),
        ("tcpport", port(config.tcpport)),
        ("udpport", port(config.udpport)),
        ("inter", or(config.inter.as_ref(), "NULL")),
        ("verbosity", live.verbosity.to_string()),
        ("oldest", live.oldest.to_string()),
        ("evictions", if config.evictions { "on" } else { "off" }.to_owned()),
        ("domain_socket", or(config.socketpath.as_ref(), "NULL")),
        ("umask", format!("{:o}", config.access)),
        ("shutdown_command", yes(config.shutdown_command)),
        ("growth_factor", format!("{:.2}", config.factor)),
        ("chunk_size", config.chunk_size.to_string()),
        ("num_threads", config.num_threads.to_string()),
        ("num_threads_per_udp", config.num_threads_per_udp.to_string()),
        ("stat_key_prefix", char::from(config.prefix_delimiter).to_string()),
        ("detail_enabled", yes(live.detail_enabled)),
        ("reqs_per_event", config.reqs_per_event.to_string()),
        ("cas_enabled", yes(config.cas_enabled)),
        ("tcp_backlog", config.backlog.to_string()),
        ("binding_protocol", protocol.to_owned()),
        ("auth_enabled_sasl", yes(config.sasl)),
        ("auth_enabled_ascii", or(config.auth_file.as_ref(), "no")),
    ]);
}

fn memory(lines: &mut Lines, config: &Config, live: &RuntimeSettings) {
    lines.extend([
        ("item_size_max", config.item_size_max.to_string()),
        ("maxconns_fast", yes(config.maxconns_fast)),
        ("hashpower_init", config.hashpower_init.to_string()),
        ("slab_reassign", yes(config.slab_reassign)),
        ("slab_automove", live.slab_automove.to_string()),
        ("slab_automove_ratio", format!("{:.2}", config.slab_automove_ratio)),
        ("slab_automove_window", config.slab_automove_window.to_string()),
        ("slab_chunk_max", config.slab_chunk_size_max.to_string()),
        ("lru_crawler", yes(live.lru_crawler)),
        ("lru_crawler_sleep", live.lru_crawler_sleep.to_string()),
        ("lru_crawler_tocrawl", live.lru_crawler_tocrawl.to_string()),
        ("tail_repair_time", config.tail_repair_time.to_string()),
        ("flush_enabled", yes(config.flush_enabled)),
        ("dump_enabled", yes(config.dump_enabled)),
        ("hash_algorithm", config.hash_algorithm.to_owned()),
    ]);
}

fn lru(lines: &mut Lines, config: &Config, live: &RuntimeSettings) {
    lines.extend([
        ("lru_maintainer_thread", yes(config.lru_maintainer_thread)),
        ("lru_segmented", yes(live.lru_segmented)),
        ("hot_lru_pct", live.hot_lru_pct.to_string()),
        ("warm_lru_pct", live.warm_lru_pct.to_string()),
        ("hot_max_factor", format!("{:.2}", live.hot_max_factor)),
        ("warm_max_factor", format!("{:.2}", live.warm_max_factor)),
        ("temp_lru", yes(live.temp_lru)),
        ("temporary_ttl", live.temporary_ttl.to_string()),
        ("idle_timeout", config.idle_timeout.to_string()),
        ("watcher_logbuf_size", config.logger_watcher_buf_size.to_string()),
        ("worker_logbuf_size", config.logger_buf_size.to_string()),
        ("read_buf_mem_limit", config.read_buf_mem_limit.to_string()),
        ("track_sizes", yes(config.track_sizes)),
        ("inline_ascii_response", "no".to_owned()),
    ]);
}

fn ext(lines: &mut Lines, config: &Config, ext: &Ext) {
    let under = |pages: Option<u32>| pages.unwrap_or_else(|| config.ext_pages_under()).to_string();
    lines.extend([
        ("ext_item_size", ext.item_size.to_string()),
        ("ext_item_age", ext.item_age.to_string()),
        ("ext_low_ttl", ext.low_ttl.to_string()),
        ("ext_recache_rate", ext.recache_rate.to_string()),
        ("ext_wbuf_size", ext.wbuf_bytes.to_string()),
        ("ext_compact_under", under(ext.compact_under)),
        ("ext_drop_under", under(ext.drop_under)),
        ("ext_max_sleep", ext.max_sleep.to_string()),
        ("ext_max_frag", format!("{:.2}", ext.max_frag)),
        ("slab_automove_freeratio", format!("{:.3}", ext.slab_automove_freeratio)),
        ("ext_drop_unread", yes(ext.drop_unread)),
    ]);
}

fn tls(lines: &mut Lines, config: &Config) {
    let ssl = &config.ssl;
    let verify_mode = match ssl.verify_mode {
        VerifyMode::None => 0,
        VerifyMode::Request => 1,
        VerifyMode::Require => 2,
        VerifyMode::Once => 3,
    };
    lines.extend([
        ("ssl_enabled", yes(config.ssl_enabled)),
        ("ssl_chain_cert", or(ssl.chain_cert.as_ref(), "(null)")),
        ("ssl_key", or(ssl.key.as_ref(), "(null)")),
        ("ssl_verify_mode", verify_mode.to_string()),
        ("ssl_keyformat", ssl.keyformat.to_string()),
        ("ssl_ciphers", or(ssl.ciphers.as_ref(), "NULL")),
        ("ssl_ca_cert", or(ssl.ca_cert.as_ref(), "NULL")),
        ("ssl_wbuf_size", ssl.wbuf_bytes.to_string()),
        ("ssl_session_cache", yes(ssl.session_cache)),
        ("ssl_kernel_tls", yes(ssl.kernel_tls)),
        ("ssl_min_version", format!("tlsv1.{}", ssl.min_version)),
    ]);
}
