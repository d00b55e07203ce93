//! Validation: first each value by itself ([`values`]), then the values together ([`combinations`]). Turns the parsed options
//! into a [`Config`] or a refusal.
//!
//! The order of checks is memcached's: an invalid value is refused even if `-h` follows it, and a contradiction between settings
//! is found only at the end.
//!
//! The module also builds the requests that start no server: --health, top and --print.

use super::options::Options;
use super::{
    Config, EX_BAD_VALUE, EX_USAGE, Environment, IoEngine, ListenSpec, ListenTls, Probe, ProbeTarget,
    Protocol, StartupError, VerifyMode, documents, extended, flash, listen,
};
use crate::limits::{
    HEALTH_SECS_MAX, ITEM_SIZE_MAX, ITEM_SIZE_MIN, RING_TIMEOUT_SECS_MIN, SLAB_PAGE_BYTES, THREADS_MAX,
};
use std::time::Duration;

/// Most replicas unless --replicas asks for more. Each replica costs the memory of an index, and CPU time for every write.
const REPLICAS_DEFAULT_MAX: usize = 4;
/// Most replicas with a flash tier, unless --replicas asks for more. With a flash tier, memory holds mostly keys, beside which an
/// index is large, and a read from flash takes far longer than a lookup in a shared index.
const REPLICAS_WITH_FLASH_MAX: usize = 2;
/// Number of threads above which memcached prints a warning.
const THREADS_ADVISED_MAX: usize = 64;
/// Most sizes in `-o slab_sizes`. The largest chunk is one more class.
const SLAB_SIZES_MAX: usize = 62;
const SLAB_SIZE_STEP_BYTES: u32 = 8;

/// Validates the value of each option by itself, and stores it in a new `Config`. `Err` for the first invalid value.
pub(super) fn values(options: &Options, environment: &Environment) -> Result<Config, StartupError> {
    let mut config = Config {
        num_threads: environment.cores.clamp(1, Config::default().num_threads),
        port_file: environment.port_file.clone(),
        ..Config::default()
    };
    switches(&mut config, options);
    numbers(&mut config, options, environment.cores)?;
    texts(&mut config, options)?;
    if config.large_pages && !environment.large_pages {
        return Err(StartupError::new(EX_BAD_VALUE, "Cannot enable large pages on this system"));
    }
    if options.enable_ssl > 0 && !environment.tls {
        return Err(StartupError::new(EX_USAGE, "This server is not built with TLS support."));
    }
    if !options.napi_ids.is_empty() {
        let line = "-N is not supported: this server does not assign connections by NAPI id.";
        return Err(StartupError::new(EX_USAGE, line));
    }
    if config.sasl {
        config.sasl_pwdb.clone_from(&environment.sasl_pwdb);
    }
    for list in &options.extended {
        extended::apply(&mut config, list)?;
    }
    Ok(config)
}

fn switches(config: &mut Config, options: &Options) {
    config.shutdown_command = options.enable_shutdown > 0;
    config.daemonize = options.daemon > 0;
    config.core_dumps = options.enable_coredumps > 0;
    config.evictions = options.disable_evictions == 0;
    config.lock_memory = options.lock_memory > 0;
    config.verbosity = u8::try_from(options.verbose).unwrap_or(u8::MAX);
    config.large_pages = options.enable_largepages > 0;
    config.pin_rings = options.pin_rings > 0;
    config.cas_enabled = options.disable_cas == 0;
    config.sasl = options.enable_sasl > 0;
    config.flush_enabled = options.disable_flush_all == 0;
    config.dump_enabled = options.disable_dumping == 0;
    config.watch_enabled = options.disable_watch == 0;
    config.ssl_enabled = options.enable_ssl > 0;
}

/// Returns the number of replicas without --replicas: one for each ring while no ring need share one. Rings that cannot all run
/// at the same time share one replica for every two cores, since each further index would cost memory and writes, and would spare
/// no lookup its lock.
fn default_replicas(rings: usize, cores: usize) -> usize {
    if rings <= cores.min(REPLICAS_DEFAULT_MAX) {
        rings
    } else {
        cores.div_ceil(2).clamp(1, REPLICAS_DEFAULT_MAX)
    }
}

/// Validates the options whose value is a number. Each occurrence of an option is checked; the last one wins.
fn numbers(config: &mut Config, options: &Options, cores: usize) -> Result<(), StartupError> {
    for mask in &options.unix_mask {
        config.access = mask.0;
    }
    for connections in &options.conn_limit {
        config.maxconns = above_zero(connections.0, "Maximum connections must be greater than 0")?;
    }
    for factor in &options.slab_growth_factor {
        if factor.0 <= 1.0 {
            return Err(StartupError::new(EX_BAD_VALUE, "Factor must be greater than 1"));
        }
        config.factor = factor.0;
    }
    for bytes in &options.slab_min_size {
        config.chunk_size = above_zero(bytes.0, "Chunk size must be greater than 0")?;
    }
    for threads in &options.threads {
        config.num_threads = above_zero(threads.0, "Number of threads must be greater than 0")? as usize;
        if threads.0 > THREADS_MAX {
            let line = format!("Number of threads cannot be greater than {THREADS_MAX}");
            return Err(StartupError::new(EX_BAD_VALUE, line));
        }
        if config.num_threads > THREADS_ADVISED_MAX {
            config
                .warnings
                .push("WARNING: Setting a high number of worker threads is not recommended.".into());
            config.warnings.push(" Set this value to the number of cores in your machine or less.".into());
        }
    }
    for requests in &options.max_reqs_per_event {
        config.reqs_per_event =
            above_zero(requests.0, "Number of requests per event must be greater than 0")?;
    }
    for backlog in &options.listen_backlog {
        config.backlog = backlog.0;
    }
    config.replicas = default_replicas(config.num_threads, cores);
    for replicas in &options.replicas {
        config.replicas = above_zero(replicas.0, "Number of replicas must be greater than 0")? as usize;
    }
    for rings in &options.serving_rings {
        let rings = above_zero(rings.0, "Number of serving rings must be greater than 0")?;
        config.serving_rings = Some(rings as usize);
    }
    let counts = [("replicas", Some(config.replicas)), ("serving rings", config.serving_rings)];
    if let Some((what, _)) = counts.into_iter().find(|&(_, count)| count > Some(config.num_threads)) {
        let line =
            format!("Number of {what} cannot be greater than the number of threads, {}", config.num_threads);
        return Err(StartupError::new(EX_BAD_VALUE, line));
    }
    for secs in &options.ring_timeout {
        config.ring_timeout_secs = match u32::try_from(secs.0) {
            Ok(secs) if secs == 0 || secs >= RING_TIMEOUT_SECS_MIN => secs,
            _ => {
                let line = format!("Ring timeout must be 0 or at least {RING_TIMEOUT_SECS_MIN} seconds");
                return Err(StartupError::new(EX_BAD_VALUE, line));
            }
        };
    }
    Ok(())
}

fn above_zero(number: i32, line: &str) -> Result<u32, StartupError> {
    match u32::try_from(number) {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(StartupError::new(EX_BAD_VALUE, line)),
    }
}

/// Parses the address of a server: a host and a port, or the path of a UNIX socket. `None` if it is neither of them.
fn target(address: &str) -> Option<ProbeTarget> {
    let address = address.strip_prefix("unix:").unwrap_or(address);
    if address.contains('/') {
        return Some(ProbeTarget::Unix(address.to_owned()));
    }
    let (host, port) = address.rsplit_once(':')?;
    let port = port.parse().ok().filter(|_| !host.is_empty())?;
    Some(ProbeTarget::Tcp { host: listen::without_brackets(host).to_owned(), port })
}

fn bad_target(option: &str, given: &str) -> StartupError {
    let line = format!("Invalid address for {option}: {given}");
    let form = " -- should be host:port, or the path of a UNIX socket".to_owned();
    StartupError { lines: vec![line, form], status: EX_BAD_VALUE }
}

/// Parses the words after `top`: one address, or no word for the default port of this machine.
pub(super) fn top(rest: &[String]) -> Result<ProbeTarget, StartupError> {
    let default = || ProbeTarget::Tcp { host: "127.0.0.1".to_owned(), port: 11211 };
    match rest {
        [] => Ok(default()),
        [given] => target(given).ok_or_else(|| bad_target("top", given)),
        _ => Err(StartupError::new(EX_BAD_VALUE, "top takes one address")),
    }
}

/// Validates --copy-from and --copy-rate, and stores them in `config`.
fn copy(config: &mut Config, options: &Options) -> Result<(), StartupError> {
    for given in &options.copy_from {
        config.copy_from = Some(target(given).ok_or_else(|| bad_target("--copy-from", given))?);
    }
    for rate in &options.copy_rate {
        config.copy_rate = u32::try_from(rate.0)
            .map_err(|_| StartupError::new(EX_BAD_VALUE, "--copy-rate must not be negative"))?;
    }
    Ok(())
}

/// Validates --health and --health-timeout. `None` without --health.
pub(super) fn probe(options: &Options) -> Result<Option<Probe>, StartupError> {
    let Some(given) = options.health.last() else { return Ok(None) };
    let target = target(given).ok_or_else(|| bad_target("--health", given))?;
    let secs = options.health_timeout.last().map_or(2.0, |secs| secs.0);
    if !(secs > 0.0 && secs <= HEALTH_SECS_MAX) {
        let line = format!("--health-timeout must be greater than 0 and at most {HEALTH_SECS_MAX} seconds");
        return Err(StartupError::new(EX_BAD_VALUE, line));
    }
    Ok(Some(Probe { target, timeout: Duration::from_secs_f64(secs) }))
}

/// Returns the text of the document that --print names. `Err` if there is no such document.
pub(super) fn document(options: &Options) -> Result<String, StartupError> {
    let name = options.print.last().map(String::as_str).unwrap_or_default();
    documents::document(name).ok_or_else(|| {
        let form = format!(" -- should be one of {}", documents::NAMES.join(", "));
        StartupError {
            lines: vec![format!("Invalid document for --print: {name}"), form],
            status: EX_BAD_VALUE,
        }
    })
}

/// Validates --metrics-port and --metrics-address, and stores them in `config`.
fn metrics(config: &mut Config, options: &Options) -> Result<(), StartupError> {
    if let Some(number) = options.metrics_port.last() {
        config.metrics_port = port(number.0)?;
    }
    if let Some(host) = options.metrics_address.last() {
        config.metrics_address.clone_from(host);
    }
    Ok(())
}

/// Validates the options whose value is text, and stores them in `config`.
fn texts(config: &mut Config, options: &Options) -> Result<(), StartupError> {
    let last = |given: &[String]| given.last().cloned();
    config.socketpath = last(&options.unix_socket);
    config.user = last(&options.user);
    config.pid_file = last(&options.pidfile);
    config.auth_file = last(&options.auth_file);
    config.memory_file = last(&options.memory_file);
    for list in &options.listen {
        match &mut config.inter {
            None => config.inter = Some(list.clone()),
            // memcached ignores a repetition, which it finds as a substring.
            Some(seen) if seen.contains(list.as_str()) => {}
            Some(seen) => {
                seen.push(',');
                seen.push_str(list);
            }
        }
    }
    for delimiter in &options.delimiter {
        config.prefix_delimiter = *delimiter
            .as_bytes()
            .first()
            .ok_or_else(|| StartupError::new(EX_BAD_VALUE, "No delimiter specified"))?;
        config.detail_enabled = true;
    }
    for name in &options.protocol {
        config.protocol = match name.as_str() {
            "auto" => Protocol::Auto,
            "ascii" => Protocol::Ascii,
            "binary" => Protocol::Binary,
            name => {
                let lines = vec![
                    format!("Invalid value for binding protocol: {name}"),
                    " -- should be one of auto, binary, or ascii".to_owned(),
                ];
                return Err(StartupError { lines, status: EX_USAGE });
            }
        };
    }
    for name in &options.io_engine {
        config.io_engine = match name.as_str() {
            "auto" => IoEngine::Auto,
            "uring" => IoEngine::Uring,
            "epoll" => IoEngine::Epoll,
            name => {
                let lines = vec![
                    format!("Invalid value for I/O engine: {name}"),
                    " -- should be one of auto, uring, or epoll".to_owned(),
                ];
                return Err(StartupError { lines, status: EX_USAGE });
            }
        };
    }
    Ok(())
}

/// Validates the settings against each other, and fills in those that follow from several others.
pub(super) fn combinations(mut config: Config, options: &Options) -> Result<Config, StartupError> {
    sizes(&mut config, options)?;
    flash::check(&config)?;
    slab_sizes(&config)?;
    if config.hot_lru_pct + config.warm_lru_pct > 80 {
        let line = "hot_lru_pct + warm_lru_pct cannot be more than 80% combined";
        return Err(StartupError::new(EX_USAGE, line));
    }
    if config.temp_lru && !config.lru_maintainer_thread {
        return Err(StartupError::new(EX_USAGE, "temporary_ttl requires lru_maintainer to be enabled"));
    }
    authentication(&mut config, options)?;
    ports(&mut config, options)?;
    metrics(&mut config, options)?;
    copy(&mut config, options)?;
    if config.ssl_enabled && config.tcpport.is_none() {
        return Err(StartupError::new(EX_USAGE, "ERROR: You cannot enable SSL without a TCP port."));
    }
    if config.ssl_enabled && config.ssl.ciphers.is_some() {
        let line = "WARNING: ssl_ciphers has no effect: only forward secret, authenticated suites are used.";
        config.warnings.push(line.to_owned());
    }
    config.flash = flash::tier(&config)?;
    if config.flash.is_some() && options.replicas.is_empty() {
        config.replicas = config.replicas.min(REPLICAS_WITH_FLASH_MAX);
    }
    let separate = config.inter.as_ref().is_some_and(|list| list.contains(','));
    config.num_threads_per_udp = if separate { 1 } else { config.num_threads };
    config.listen = listen::specs(&config)?;
    let is_required = |listener: &ListenSpec| match listener.tls {
        ListenTls::Mutual => true,
        ListenTls::On => matches!(config.ssl.verify_mode, VerifyMode::Require | VerifyMode::Once),
        ListenTls::Off | ListenTls::Basic => false,
    };
    if config.ssl.ca_cert.is_none() && config.listen.iter().any(is_required) {
        let line = "WARNING: client certificates are required, and every client fails: -o ssl_ca_cert=FILE is missing.";
        config.warnings.push(line.to_owned());
    }
    Ok(config)
}

fn sizes(config: &mut Config, options: &Options) -> Result<(), StartupError> {
    let usage = |line: String| Err(StartupError::new(EX_USAGE, line));
    if let Some(megabytes) = options.memory_limit.last() {
        // With a negative limit no item would fit, so it is rejected below.
        config.maxbytes = u64::try_from(megabytes.0).unwrap_or(0) << 20;
    }
    let item = options.max_item_size.last().map_or(config.item_size_max as i64, |bytes| bytes.0);
    if item < ITEM_SIZE_MIN {
        return usage("Item max size cannot be less than 1024 bytes.".to_owned());
    }
    if item as u64 > config.maxbytes / 2 {
        return usage("Cannot set item size limit higher than 1/2 of memory max.".to_owned());
    }
    if item > ITEM_SIZE_MAX {
        return usage("Cannot set item size limit higher than a gigabyte.".to_owned());
    }
    config.item_size_max = item as u64;
    let chunk = config.slab_chunk_size_max;
    if i64::from(chunk) > item {
        return usage(format!(
            "slab_chunk_max (bytes: {chunk}) cannot be larger than -I (item_size_max {item})"
        ));
    }
    if item % i64::from(chunk) != 0 {
        return usage(format!(
            "-I (item_size_max: {item}) must be evenly divisible by slab_chunk_max (bytes: {chunk})"
        ));
    }
    if !SLAB_PAGE_BYTES.is_multiple_of(chunk) {
        return usage(format!(
            "slab_chunk_max (bytes: {chunk}) must divide evenly into {SLAB_PAGE_BYTES} (slab_page_size)"
        ));
    }
    Ok(())
}

fn slab_sizes(config: &Config) -> Result<(), StartupError> {
    let usage = |line: String| Err(StartupError::new(EX_USAGE, line));
    let mut last = 0;
    for &size in &config.slab_sizes {
        if size < config.chunk_size || size > config.slab_chunk_size_max {
            return usage(format!("slab size {size} is out of valid range"));
        }
        if size <= last {
            return usage(format!("slab size {size} cannot be lower than or equal to a previous class size"));
        }
        if size <= last + SLAB_SIZE_STEP_BYTES {
            return usage(format!(
                "slab size {size} must be at least {SLAB_SIZE_STEP_BYTES} bytes larger than previous class"
            ));
        }
        last = size;
    }
    if config.slab_sizes.len() > SLAB_SIZES_MAX {
        return usage("too many slab classes specified".to_owned());
    }
    Ok(())
}

/// True if the value of -U is not 0, even if it is not a valid port.
fn has_udp(options: &Options) -> bool {
    options.udp_port.last().is_some_and(|port| port.0 != 0)
}

fn authentication(config: &mut Config, options: &Options) -> Result<(), StartupError> {
    let usage = |line: &str| Err(StartupError::new(EX_USAGE, line));
    let udp = has_udp(options);
    let chosen = !options.protocol.is_empty();
    if config.sasl {
        if chosen && config.protocol != Protocol::Binary {
            return usage("ERROR: You cannot allow the ASCII protocol while using SASL.");
        }
        if udp {
            return usage("ERROR: Cannot enable UDP while using binary SASL authentication.");
        }
        config.protocol = Protocol::Binary;
    }
    if config.auth_file.is_some() {
        if chosen && config.protocol != Protocol::Ascii {
            return usage(
                "ERROR: You cannot allow the BINARY protocol while using ascii authentication tokens.",
            );
        }
        if udp {
            return usage("Cannot use UDP with ascii authentication enabled (-U 0 to disable)");
        }
        config.protocol = Protocol::Ascii;
    }
    Ok(())
}

/// Parses a port: `None` for 0 (off), `Some(0)` for -1 (any free port). `Err` if the number is out of range.
fn port(number: i32) -> Result<Option<u16>, StartupError> {
    match number {
        0 => Ok(None),
        -1 => Ok(Some(0)),
        number => u16::try_from(number)
            .map(Some)
            .map_err(|_| StartupError::new(EX_USAGE, format!("ERROR: Invalid port number {number}."))),
    }
}

/// Validates -p and -U, where 0 is off and -1 any free port. If -U is given without -p, its value is that of -p too.
fn ports(config: &mut Config, options: &Options) -> Result<(), StartupError> {
    if let Some(number) = options.udp_port.last() {
        config.udpport = port(number.0)?;
    }
    match options.port.last() {
        Some(number) => config.tcpport = port(number.0)?,
        None if config.udpport.is_some() => config.tcpport = config.udpport,
        None => {}
    }
    Ok(())
}
