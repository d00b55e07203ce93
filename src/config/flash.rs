//! The options of the flash tier: `-o ext_*`, and `slab_automove_freeratio`, which memcached knows only in builds with external
//! storage. Parses and checks the options; opens no files.
//!
//! `ext_path` is the switch. Without it, the other options are still parsed and shown, but have no effect. Messages, exit
//! statuses and the order of checks are memcached's, except where memcached crashes or a number wraps.

use super::number::atoi;
use super::parts::{Ext, Flash, FlashPath};
use super::request::{EX_BAD_VALUE, EX_USAGE, StartupError};
use super::suboption::{bad, bytes, number, ratio};
use super::values::Config;
use crate::limits::{FLASH_CHUNK_BYTES_MAX, FLASH_PAGES_MAX};

/// The unit of pages and chunks, bytes: their lengths must be multiples of it, as in memcached, which aligns them to the erase
/// blocks of flash. Source: memcached's extstore.c.
const ALIGNMENT_BYTES: u64 = 2 << 20;
/// The words that may end an `ext_path`. In memcached each of them reserves the path for one kind of values.
const BUCKETS: [&str; 6] = ["default", "compact", "lowttl", "chunked", "coldcompact", "old"];

/// Applies `name` if it is an option of the flash tier; false if it is not. `Err` if its value is invalid.
pub(super) fn apply(config: &mut Config, name: &str, value: Option<&str>) -> Result<bool, StartupError> {
    let ext = &mut config.ext;
    match name {
        "ext_path" => path(config, value)?,
        "ext_page_size" => ext.page_bytes = bytes(name, value, 1 << 20)?,
        "ext_wbuf_size" => ext.wbuf_bytes = bytes(name, value, 1 << 20)?,
        "ext_item_size" => ext.item_size = number(name, value)?,
        "ext_item_age" => ext.item_age = number(name, value)?,
        "ext_low_ttl" => ext.low_ttl = number(name, value)?,
        "ext_recache_rate" => ext.recache_rate = number(name, value)?,
        "ext_compact_under" => ext.compact_under = Some(number(name, value)?),
        "ext_drop_under" => ext.drop_under = Some(number(name, value)?),
        "ext_max_sleep" => ext.max_sleep = number(name, value)?,
        "ext_max_frag" => ext.max_frag = ratio(name, value)?,
        "ext_drop_unread" => ext.drop_unread = true,
        "slab_automove_freeratio" => ext.slab_automove_freeratio = ratio(name, value)?,
        // These are checked, but no statistic shows them.
        "ext_threads" | "ext_io_depth" => {
            number(name, value)?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// Parses the value of one `ext_path`, `FILE:SIZE[:BUCKET]`. Repeated colons count as one, as with strtok(3).
fn path(config: &mut Config, value: Option<&str>) -> Result<(), StartupError> {
    let unparsed = |lines: &[String]| {
        let mut lines = lines.to_vec();
        lines.push("failed to parse ext_path argument".to_owned());
        Err(StartupError { lines, status: EX_BAD_VALUE })
    };
    let without_size = |units: &str| {
        unparsed(&[format!("must supply size to ext_path, ie: ext_path=/f/e:64m ({units} supported)")])
    };
    let Some(value) = value else { return bad("missing argument to ext_path, ie: ext_path=/d/file:5G") };
    let mut parts = value.split(':').filter(|part| !part.is_empty());
    let Some(file) = parts.next() else { return unparsed(&[]) };
    let Some(size) = parts.next() else { return without_size("M|G|T|P") };
    let unit = match size.as_bytes().last() {
        Some(b'm' | b'M') => 1 << 20,
        Some(b'g' | b'G') => 1 << 30,
        Some(b't' | b'T') => 1 << 40,
        Some(b'p' | b'P') => 1 << 50,
        _ => return without_size("m|g|t|p"),
    };
    // A negative size is handled like one that is too large, as in memcached.
    let bytes = u64::try_from(atoi(size)).map_or(u64::MAX, |count| count.saturating_mul(unit));
    if let Some(bucket) = parts.next() {
        if !BUCKETS.contains(&bucket) {
            return unparsed(&[format!("Unknown extstore bucket: {bucket}")]);
        }
        if bucket != "default" {
            let line = format!("WARNING: ext_path {file} takes values of all kinds: {bucket} has no effect.");
            config.warnings.push(line);
        }
    }
    config.ext_paths.push(FlashPath { path: file.to_owned(), bytes });
    Ok(())
}

/// Checks the options `ext_*` against each other and against -I. `Err` has memcached's message.
pub(super) fn check(config: &Config) -> Result<(), StartupError> {
    let usage = |line: String| Err(StartupError::new(EX_USAGE, line));
    let ext = &config.ext;
    if config.ext_paths.is_empty() {
        return Ok(());
    }
    if config.item_size_max > u64::from(ext.wbuf_bytes) {
        return usage(format!(
            "-I (item_size_max: {}) cannot be larger than ext_wbuf_size: {}",
            config.item_size_max, ext.wbuf_bytes
        ));
    }
    if ext.page_bytes == 0 {
        return usage("ext_page_size must be greater than 0".to_owned());
    }
    if config.ext_paths.iter().any(|path| path.bytes < u64::from(ext.page_bytes)) {
        return usage("supplied ext_path has zero size, cannot use".to_owned());
    }
    Ok(())
}

/// Returns the flash tier that follows from the settings; `None` without `ext_path`. `Err` if no tier can be made from them. The
/// caller must have called [`check`] first.
pub(super) fn tier(config: &Config) -> Result<Option<Flash>, StartupError> {
    let failed = |why: &str| bad(format!("Failed to initialize external storage: {why}"));
    let ext = &config.ext;
    if config.ext_paths.is_empty() {
        return Ok(None);
    }
    let (page_bytes, wbuf_bytes) = (u64::from(ext.page_bytes), u64::from(ext.wbuf_bytes));
    if !page_bytes.is_multiple_of(wbuf_bytes) {
        return failed("page_size must be divisible by wbuf_size");
    }
    if !wbuf_bytes.is_multiple_of(ALIGNMENT_BYTES) {
        return failed("page_size and wbuf_size must be divisible by 1024*1024*2");
    }
    if wbuf_bytes > FLASH_CHUNK_BYTES_MAX {
        let megabytes = FLASH_CHUNK_BYTES_MAX >> 20;
        return failed(&format!("wbuf_size must be at most {megabytes} megabytes"));
    }
    let mut paths = config.ext_paths.clone();
    for (at, path) in paths.iter_mut().enumerate() {
        path.bytes -= path.bytes % page_bytes;
        // memcached would write a file that is given twice from two places.
        if config.ext_paths[..at].iter().any(|other| other.path == path.path) {
            return failed(&format!("{} is given twice", path.path));
        }
    }
    let pages = paths.iter().fold(0u64, |sum, path| sum.saturating_add(path.bytes / page_bytes));
    if pages > FLASH_PAGES_MAX {
        return failed("page_count must total to < 65536. Increase page_size or lower path sizes");
    }
    let Ext { item_size, item_age, recache_rate, .. } = *ext;
    Ok(Some(Flash { paths, page_bytes, wbuf_bytes, item_size, item_age, recache_rate }))
}

impl Config {
    /// Returns the value of `ext_compact_under` and `ext_drop_under` that is shown if they are not set, pages. It is a hundredth
    /// of the last path, but at least 1; 0 without a flash tier.
    pub(super) fn ext_pages_under(&self) -> u32 {
        let last = self.flash.as_ref().and_then(|flash| Some(flash.paths.last()?.bytes / flash.page_bytes));
        // The total is below 65,535, so the number fits.
        last.map_or(0, |pages| (pages / 100).max(1) as u32)
    }
}
