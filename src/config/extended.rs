//! The option `-o`: a comma separated list of `name` and `name=value`, which is read as getsubopt(3) does. Each function stores
//! what it accepts in the [`Config`] being built.
//!
//! A value for a name that takes none is ignored. Of repeated settings the last one wins, except that every `ext_path` adds a
//! file. Every error exits with status 1.

use super::number::{atof, atoi, exact};
use super::suboption::{bad, bytes, integer, number};
use super::{Config, EX_BAD_VALUE, StartupError, VerifyMode, flash};

/// Applies the list of one `-o` to `config`. `Err` if an element is unknown or its value is invalid.
pub(super) fn apply(config: &mut Config, list: &str) -> Result<(), StartupError> {
    // As in getsubopt, a trailing comma adds nothing, but two commas in a row add an empty name.
    let list = list.strip_suffix(',').unwrap_or(list);
    if list.is_empty() {
        return Ok(());
    }
    for text in list.split(',') {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        let taken = flag(config, name)
            || tuning(config, name, value)?
            || buffers(config, name, value)?
            || tls(config, name, value)?
            || flash::apply(config, name, value)?;
        if !taken {
            return bad(match name {
                _ if name.starts_with("proxy_") => {
                    format!("{name} is not supported: this server has no proxy")
                }
                "sock_cookie_id" => format!("{name} is not supported: this server marks no sockets"),
                _ => format!("Illegal suboption \"{text}\""),
            });
        }
    }
    Ok(())
}

/// Applies `name` if it is an option without a value; false if it is not.
fn flag(config: &mut Config, name: &str) -> bool {
    match name {
        "maxconns_fast" => config.maxconns_fast = true,
        "no_maxconns_fast" => config.maxconns_fast = false,
        "slab_reassign" => config.slab_reassign = true,
        "no_slab_reassign" => config.slab_reassign = false,
        "no_slab_automove" => config.slab_automove = 0,
        "lru_crawler" => config.lru_crawler = true,
        "no_lru_crawler" => config.lru_crawler = false,
        "lru_maintainer" => {
            config.lru_maintainer_thread = true;
            config.lru_segmented = true;
        }
        "no_lru_maintainer" => {
            config.lru_maintainer_thread = false;
            config.lru_segmented = false;
        }
        "track_sizes" => config.track_sizes = true,
        "no_modern" => no_modern(config),
        "resp_obj_mem_limit" => {
            let line = "DEPRECATED: resp_obj_mem_limit no longer used. See read_buf_mem_limit,";
            config.warnings.push(line.to_owned());
        }
        "ssl_session_cache" => config.ssl.session_cache = true,
        "ssl_kernel_tls" => config.ssl.kernel_tls = true,
        "drop_privileges" => config.drop_privileges = true,
        "no_drop_privileges" => config.drop_privileges = false,
        // Switches for mechanisms that memcrsd does not have; no statistic shows them.
        "no_hashexpand" | "no_chunked_items" | "inline_ascii_resp" | "no_inline_ascii_resp" | "modern" => {}
        "relaxed_privileges" => return cfg!(feature = "debug"),
        _ => return false,
    }
    true
}

/// Sets the defaults of memcached 1.4 (`no_modern`).
fn no_modern(config: &mut Config) {
    config.slab_chunk_size_max = 1 << 20;
    config.slab_reassign = false;
    config.slab_automove = 0;
    config.maxconns_fast = false;
    config.lru_segmented = false;
    config.hash_algorithm = "jenkins";
    config.lru_crawler = false;
    config.lru_maintainer_thread = false;
}

/// Applies `name` if it is an option for memcached's allocator, hash table or LRU; false if it is not. `Err` if its value is
/// invalid.
#[expect(clippy::too_many_lines, reason = "a table")]
fn tuning(config: &mut Config, name: &str, value: Option<&str>) -> Result<bool, StartupError> {
    let given = || value.map_or_else(|| bad(format!("Missing {name} argument")), Ok);
    let numeric = || value.map_or_else(|| bad(format!("Missing numeric argument for {name}")), Ok);
    match name {
        "hashpower" => config.hashpower_init = hashpower(atoi(numeric()?))?,
        "slab_automove" => match value.map(atoi) {
            None => config.slab_automove = 1,
            Some(mode @ 0..=2) => config.slab_automove = mode as u32,
            Some(_) => return bad("slab_automove must be between 0 and 2"),
        },
        "slab_automove_ratio" => {
            let ratio = atof(given()?);
            if ratio <= 0.0 || ratio > 1.0 {
                return bad("slab_automove_ratio must be > 0 and < 1");
            }
            config.slab_automove_ratio = ratio;
        }
        "slab_automove_window" => match atoi(given()?) {
            window @ 3..=1800 => config.slab_automove_window = window as u32,
            _ => return bad("slab_automove_window must be > 2 and < 1800"),
        },
        "tail_repair_time" => match atoi(numeric()?) {
            ..10 => return bad("Cannot set tail_repair_time to less than 10 seconds"),
            secs => config.tail_repair_time = secs as u32,
        },
        "hash_algorithm" => {
            let known = ["jenkins", "murmur3", "xxh3"].into_iter().find(|&known| Some(known) == value);
            given()?;
            match known {
                Some(known) => config.hash_algorithm = known,
                None => return bad("Unknown hash_algorithm option (jenkins, murmur3, xxh3)"),
            }
        }
        "lru_crawler_sleep" => match value.map(atoi) {
            None => return bad("Missing lru_crawler_sleep value"),
            Some(micros @ 0..=1_000_000) => config.lru_crawler_sleep = micros as u32,
            Some(_) => return bad("LRU crawler sleep must be between 0 and 1 second"),
        },
        "lru_crawler_tocrawl" => match value.map(exact) {
            None => return bad("Missing lru_crawler_tocrawl value"),
            Some(Some(items)) => config.lru_crawler_tocrawl = items,
            Some(None) => return bad("lru_crawler_tocrawl takes a numeric 32bit value"),
        },
        "hot_lru_pct" => config.hot_lru_pct = percent(name, given()?)?,
        "warm_lru_pct" => config.warm_lru_pct = percent(name, given()?)?,
        "hot_max_factor" => config.hot_max_factor = factor(name, given()?)?,
        "warm_max_factor" => config.warm_max_factor = factor(name, given()?)?,
        "temporary_ttl" => {
            config.temp_lru = true;
            config.temporary_ttl = atoi(given()?) as u32;
        }
        "slab_sizes" => {
            // Text that is not a number counts as 0, which is out of every range. So does a missing value.
            config.slab_sizes = given()?.split('-').map(|size| exact(size).unwrap_or(0)).collect();
        }
        "slab_chunk_max" => match integer(name, value)? as i32 {
            ..=0 => return bad("slab_chunk_max must be >= 0"),
            kilobytes @ ..=1024 => config.slab_chunk_size_max = (kilobytes as u32) << 10,
            _ => return bad("slab_chunk_max must be specified in kilobytes."),
        },
        _ => return Ok(false),
    }
    Ok(true)
}

fn hashpower(power: i32) -> Result<u32, StartupError> {
    match power {
        ..12 => bad(format!("Initial hashtable multiplier of {power} is too low")),
        12..=32 => Ok(power as u32),
        _ => Err(StartupError {
            lines: vec![
                format!("Initial hashtable multiplier of {power} is too high"),
                "Choose a value based on \"STAT hash_power_level\" from a running instance".to_owned(),
            ],
            status: EX_BAD_VALUE,
        }),
    }
}

fn percent(name: &str, value: &str) -> Result<u32, StartupError> {
    match atoi(value) {
        percent @ 1..80 => Ok(percent as u32),
        _ => bad(format!("{name} must be > 1 and < 80")),
    }
}

fn factor(name: &str, value: &str) -> Result<f64, StartupError> {
    let factor = atof(value);
    if factor > 0.0 { Ok(factor) } else { bad(format!("{name} must be > 0")) }
}

/// Applies `name` if it limits the time or the memory of connections and logs; false if it does not. `Err` if its value is
/// invalid.
fn buffers(config: &mut Config, name: &str, value: Option<&str>) -> Result<bool, StartupError> {
    match name {
        "idle_timeout" => match value {
            None => return bad("Missing numeric argument for idle_timeout"),
            // A negative number means no timeout.
            Some(secs) => config.idle_timeout = u32::try_from(atoi(secs)).unwrap_or(0),
        },
        "watcher_logbuf_size" => config.logger_watcher_buf_size = bytes(name, value, 1 << 10)?,
        "worker_logbuf_size" => config.logger_buf_size = bytes(name, value, 1 << 10)?,
        "read_buf_mem_limit" => config.read_buf_mem_limit = u64::from(number(name, value)?) << 20,
        _ => return Ok(false),
    }
    Ok(true)
}

/// Applies `name` if it is an option for TLS; false if it is not. `Err` if its value is invalid.
fn tls(config: &mut Config, name: &str, value: Option<&str>) -> Result<bool, StartupError> {
    let given = || value.map_or_else(|| bad(format!("Missing {name} argument")), |text| Ok(text.to_owned()));
    match name {
        "ssl_chain_cert" => config.ssl.chain_cert = Some(given()?),
        "ssl_key" => config.ssl.key = Some(given()?),
        "ssl_ca_cert" => config.ssl.ca_cert = Some(given()?),
        "ssl_ciphers" => config.ssl.ciphers = Some(given()?),
        "ssl_verify_mode" => {
            config.ssl.verify_mode = match integer(name, value)? {
                0 => VerifyMode::None,
                1 => VerifyMode::Request,
                2 => VerifyMode::Require,
                3 => VerifyMode::Once,
                _ => return bad("Invalid ssl_verify_mode. Use help to see valid options."),
            }
        }
        "ssl_min_version" => match integer(name, value)? {
            version @ 0..=3 => config.ssl.min_version = version as u32,
            _ => return bad("Invalid ssl_min_version. Use help to see valid options."),
        },
        "ssl_keyformat" => config.ssl.keyformat = number(name, value)?,
        "ssl_wbuf_size" => config.ssl.wbuf_bytes = bytes(name, value, 1 << 10)?,
        _ => return Ok(false),
    }
    Ok(true)
}
