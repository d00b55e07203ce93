//! Replies of the text protocols: every fixed reply line, and the writers of replies with parameters. Constants and pure
//! functions.

use crate::limits::MEMCACHED_VERSION;
use crate::number;

/// The end of each line and value that is sent. A client may end its lines with `\n` alone, but not its values.
pub const LINE_END: &[u8] = b"\r\n";

macro_rules! lines {
    ($($(#[$meta:meta])* $name:ident = $text:literal;)*) => {
        $($(#[$meta])* #[doc = concat!("`", $text, "`")] pub const $name: &[u8] = concat!($text, "\r\n").as_bytes();)*
    };
}

lines! {
    STORED = "STORED";
    NOT_STORED = "NOT_STORED";
    EXISTS = "EXISTS";
    NOT_FOUND = "NOT_FOUND";
    DELETED = "DELETED";
    TOUCHED = "TOUCHED";
    OK = "OK";
    END = "END";
    RESET = "RESET";
    ERROR = "ERROR";
    BAD_FORMAT = "CLIENT_ERROR bad command line format";
    DELETE_USAGE = "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]";
    BAD_CHUNK = "CLIENT_ERROR bad data chunk";
    BAD_EXPTIME = "CLIENT_ERROR invalid exptime argument";
    BAD_DELTA = "CLIENT_ERROR invalid numeric delta argument";
    NOT_NUMERIC = "CLIENT_ERROR cannot increment or decrement non-numeric value";
    FLUSH_NOT_ALLOWED = "CLIENT_ERROR flush_all not allowed";
    DUPLICATE_FLAG = "CLIENT_ERROR duplicate flag";
    INVALID_FLAG = "CLIENT_ERROR invalid flag";
    INVALID_OR_DUPLICATE_FLAG = "CLIENT_ERROR invalid or duplicate flag";
    BAD_TOKEN = "CLIENT_ERROR bad token in command line format";
    BAD_INITIAL = "CLIENT_ERROR invalid numeric initial value";
    BAD_DELTA_FLAG = "CLIENT_ERROR invalid numeric delta value";
    BAD_KEY_ENCODING = "CLIENT_ERROR error decoding key";
    OPAQUE_TOO_LONG = "CLIENT_ERROR opaque token too long";
    TOO_MANY_FLAGS = "CLIENT_ERROR options flags are too long";
    BAD_SET_MODE = "CLIENT_ERROR invalid mode for ms M token";
    BAD_COUNT_MODE = "CLIENT_ERROR invalid mode for ma M token";
    NO_MEMORY_CREATING = "SERVER_ERROR Out of memory allocating new item";
    MN = "MN";
    EN = "EN";
    BAD_USAGE_DETAIL = "CLIENT_ERROR usage: stats detail on|off|dump";
    DETAIL_NOT_ALLOWED = "CLIENT_ERROR stats detail not allowed";
    HOTKEYS_NOT_ALLOWED = "CLIENT_ERROR stats hotkeys not allowed";
    CACHEDUMP_NOT_ALLOWED = "CLIENT_ERROR stats cachedump not allowed";
    BAD_COMMAND_LINE = "CLIENT_ERROR bad command line";
    ILLEGAL_SLAB_ID = "CLIENT_ERROR Illegal slab id";
    SIZES_DISABLED = "STAT sizes_status disabled";
    SHUTDOWN_NOT_ENABLED = "SERVER_ERROR: shutdown not enabled";
    BAD_SHUTDOWN_MODE = "CLIENT_ERROR invalid shutdown mode";
    MEMLIMIT_TOO_SMALL = "MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m";
    MEMLIMIT_NOT_BYTES = "MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes";
    MEMLIMIT_FAILED = "MEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust";
    LRU_TOO_MUCH = "ERROR hot and warm pcts must not exceed 80";
    LRU_BAD_FACTOR = "ERROR hot/warm age factors must be greater than 0";
    CRAWLER_RUNNING = "ERROR failed to start lru crawler thread";
    CRAWLER_DISABLED = "CLIENT_ERROR lru crawler disabled";
    CRAWLER_BAD_SLEEP = "CLIENT_ERROR sleep must be one second or less";
    CRAWLER_UNKNOWN_ERROR = "ERROR an unknown error happened";
    BAD_CLASS = "BADCLASS invalid class id";
    METADUMP_NOT_ALLOWED = "ERROR metadump not allowed";
    MGDUMP_NOT_ALLOWED = "ERROR key dump not allowed";
    METADUMP_PIPELINED = "ERROR cannot pipeline other commands before metadump";
    MGDUMP_PIPELINED = "ERROR cannot pipeline other commands before mgdump";
    SLABS_BAD_CLASS = "BADCLASS invalid src or dst class id";
    SLABS_NO_SPARE = "NOSPARE source class has no spare pages";
    SLABS_SAME = "SAME src and dst class are identical";
    SLABS_DISABLED = "CLIENT_ERROR slab reassignment disabled";
    AUTOMOVE_BAD_WINDOW = "CLIENT_ERROR automove window too low or too high";
    TLS_NOT_ENABLED = "Error TLS not enabled";
    WATCH_NOT_ALLOWED = "CLIENT_ERROR watch commands not allowed";
    WATCH_PIPELINED = "ERROR cannot pipeline other commands before watch";
    WATCH_TOO_MANY = "WATCHER_TOO_MANY log watcher limit reached";
    UNAUTHENTICATED = "CLIENT_ERROR unauthenticated";
    AUTH_FAILED = "CLIENT_ERROR authentication failure";
    AUTH_TOO_LONG = "CLIENT_ERROR auth token too long";
    AUTH_BAD_TOKEN = "CLIENT_ERROR bad authentication token format";
    AUTH_BAD_END = "CLIENT_ERROR bad command line termination";
    TOO_LARGE = "SERVER_ERROR object too large for cache";
    NO_MEMORY_STORING = "SERVER_ERROR out of memory storing object";
    NO_MEMORY = "SERVER_ERROR out of memory";
}

/// The bytes that follow the value in the reply to a get of one key.
pub const VALUE_END: &[u8] = b"\r\nEND\r\n";

/// Length of the longest first line of a hit without its key, bytes.
const HEAD_BYTES_MAX: usize = "VALUE  4294967295 1073741824 18446744073709551615\r\n".len();

/// Appends `VALUE <key> <flags> <bytes>[ <cas>]\r\n`.
#[inline]
pub fn value_head(out: &mut Vec<u8>, key: &[u8], flags: u32, value_bytes: usize, cas: Option<u64>) {
    // Reserved in one step: a line never needs more than this.
    out.reserve(key.len() + HEAD_BYTES_MAX);
    out.extend_from_slice(b"VALUE ");
    out.extend_from_slice(key);
    if flags == 0 && cas.is_none() && value_bytes < SHORT_VALUE_BYTES {
        // This is nearly every hit. One copy of fixed length and a truncation are cheaper than four copies of variable length.
        let (end, unused) = short_end(value_bytes);
        out.extend_from_slice(&end);
        out.truncate(out.len() - unused);
        return;
    }
    if flags == 0 {
        out.extend_from_slice(b" 0 ");
    } else {
        out.push(b' ');
        number::push(out, flags);
        out.push(b' ');
    }
    number::push(out, value_bytes);
    if let Some(cas) = cas {
        out.push(b' ');
        number::push(out, cas);
    }
    out.extend_from_slice(LINE_END);
}

/// Length below which a value takes the fast path of [`value_head`], bytes.
const SHORT_VALUE_BYTES: usize = 10_000;

/// Returns the bytes ` 0 <bytes>\r\n` padded to a fixed length, and the number of padding bytes.
#[inline]
fn short_end(value_bytes: usize) -> ([u8; 9], usize) {
    let digit = |place: usize| b'0' + (value_bytes / place % 10) as u8;
    let mut end = *b" 0 \r\n\0\0\0\0";
    let digits = match value_bytes {
        0..10 => 1,
        10..100 => 2,
        100..1000 => 3,
        _ => 4,
    };
    match digits {
        1 => end[3..6].copy_from_slice(&[digit(1), b'\r', b'\n']),
        2 => end[3..7].copy_from_slice(&[digit(10), digit(1), b'\r', b'\n']),
        3 => end[3..8].copy_from_slice(&[digit(100), digit(10), digit(1), b'\r', b'\n']),
        _ => end[3..9].copy_from_slice(&[digit(1000), digit(100), digit(10), digit(1), b'\r', b'\n']),
    }
    (end, 4 - digits)
}

/// Appends a line that consists of `number`.
pub fn number_line(out: &mut Vec<u8>, number: u64) {
    number::push(out, number);
    out.extend_from_slice(LINE_END);
}

/// Appends the reply to `version`, which names memcached's version.
pub fn version(out: &mut Vec<u8>) {
    out.extend_from_slice(b"VERSION ");
    out.extend_from_slice(MEMCACHED_VERSION.as_bytes());
    out.extend_from_slice(LINE_END);
}

/// Appends a line with a message that is made at run time.
pub fn sentence(out: &mut Vec<u8>, words: &impl std::fmt::Display) {
    out.extend_from_slice(words.to_string().as_bytes());
    out.extend_from_slice(LINE_END);
}

/// Appends the line of one statistic.
pub fn stat(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(b"STAT ");
    out.extend_from_slice(name);
    out.push(b' ');
    out.extend_from_slice(value);
    out.extend_from_slice(LINE_END);
}

/// Appends the line of one prefix in `stats detail dump`, with the numbers of its gets, hits, sets and deletes.
pub fn prefix(out: &mut Vec<u8>, name: &[u8], counts: [u64; 4]) {
    out.extend_from_slice(b"PREFIX ");
    out.extend_from_slice(name);
    for (what, count) in [&b" get "[..], b" hit ", b" set ", b" del "].into_iter().zip(counts) {
        out.extend_from_slice(what);
        number::push(out, count);
    }
    out.extend_from_slice(LINE_END);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_of_all_lengths_are_right() {
        for bytes in (0..20_000).chain([1 << 20, 1 << 30]) {
            let mut out = b"x".to_vec();
            value_head(&mut out, b"key", 0, bytes, None);
            assert_eq!(out, format!("xVALUE key 0 {bytes}\r\n").as_bytes());
        }
        let mut out = Vec::new();
        value_head(&mut out, b"k", u32::MAX, 1 << 30, Some(u64::MAX));
        assert_eq!(out, b"VALUE k 4294967295 1073741824 18446744073709551615\r\n");
    }

    #[test]
    fn prefixes_are_listed_as_memcached_lists_them() {
        let mut out = Vec::new();
        prefix(&mut out, b"user", [3, 2, 1, u64::MAX]);
        assert_eq!(out, b"PREFIX user get 3 hit 2 set 1 del 18446744073709551615\r\n");
    }
}
