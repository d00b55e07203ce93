//! Administrative commands of the text protocol. Commands for slabs and LRU lists, which do not exist here, are checked and
//! accepted.
//!
//! The commands read and change state that all rings share: `engine::Shared` (settings behind a lock, flags in atomics) and the
//! store's memory limit.
//!
//! The module runs `stats`; it may import `stats`, `slices`, and the modules named before `slices` in `session`. `text` calls it.

use super::dump::Form;
use super::progress::Next;
use super::state::{InputBatch, Session, State, Step};
use super::stats::CLASS_MAX;
use super::watching::Watching;
use crate::config::Ext;
use crate::engine::watch::Stream;
use crate::engine::{ClassSet, Executor, Shared, Stop};
use crate::limits::{MEMLIMIT_MB_MAX, MEMLIMIT_MB_MIN};
use crate::number;
use crate::proto::text::{Admin, Words, replies, reply};
use crate::tls::Certificates;

/// Largest value that `lru_crawler sleep` accepts, microseconds, as in memcached.
const CRAWLER_SLEEP_US_MAX: u64 = 1_000_000;
/// Largest sum of the first two numbers of `lru tune`, the percentages of the hot and the warm queue, as in memcached.
const LRU_PERCENT_MAX: u64 = 80;

/// True if `word` is a prefix of `name`. A prefix is enough, because memcached compares only as many bytes as `word` has.
fn names(name: &[u8], word: &[u8]) -> bool {
    name.starts_with(word)
}

impl Session {
    /// Runs an administrative command and stages its reply. The command's line has already been consumed.
    pub(super) fn admin(&mut self, feed: &mut InputBatch<'_, '_>, admin: Admin, words: Words<'_>) -> Step {
        let line = match admin {
            Admin::Stats => return self.stats(feed, words),
            Admin::Watch => return self.watch(feed, words),
            Admin::LruCrawler => self.lru_crawler(feed, words),
            Admin::Shutdown => match shutdown(feed.executor.shared(), words) {
                Ok(stop) => {
                    feed.executor.shared().request_stop(stop);
                    return Step::Stop(Next::Close);
                }
                Err(line) => line,
            },
            Admin::CacheMemlimit => memory_limit(feed, words),
            Admin::Lru => lru(feed.executor.shared(), words),
            Admin::Slabs => slabs(feed.executor.shared(), words),
            Admin::Extstore => extstore(&feed.executor, words),
            Admin::RefreshCerts => match feed.executor.shared().certificates().map(Certificates::refresh) {
                None => reply::TLS_NOT_ENABLED,
                Some(Ok(())) => reply::OK,
                Some(Err(error)) => {
                    reply::sentence(&mut feed.out.staged, &error);
                    return Step::Done;
                }
            },
            Admin::DebugTime => debug_time(&mut feed.executor, words),
        };
        // memcached counts noreply as one of the words of the command even so.
        if admin == Admin::RefreshCerts || !replies(words, 1).quiet() {
            self.push_line(feed, line);
        }
        Step::Done
    }

    /// Runs `watch`: makes the connection a watcher of the streams in `words`, or stages the line that says why this is refused.
    fn watch(&mut self, feed: &mut InputBatch<'_, '_>, words: Words<'_>) -> Step {
        let shared = feed.executor.shared();
        let mut streams = 0;
        let mut known = true;
        for word in words {
            match Stream::named(word) {
                Some(stream) => streams |= stream as u32,
                None => known = false,
            }
        }
        if streams == 0 {
            streams = Stream::Fetchers as u32;
        }
        let refusal = if !shared.config.watch_enabled {
            reply::WATCH_NOT_ALLOWED
        } else if !feed.out.is_empty() {
            reply::WATCH_PIPELINED
        } else if !known {
            reply::ERROR
        } else if let Some(watching) = Watching::new(shared, streams) {
            self.push_line(feed, reply::OK);
            self.state = State::Watch(watching);
            return Step::Done;
        } else {
            reply::WATCH_TOO_MANY
        };
        self.push_line(feed, refusal);
        Step::Done
    }

    /// Runs `lru_crawler` and returns the reply line. A dump is only started here; its slices are staged in later steps.
    fn lru_crawler(&mut self, feed: &InputBatch<'_, '_>, mut words: Words<'_>) -> &'static [u8] {
        let shared = feed.executor.shared();
        match (words.next(), words.next(), words.next()) {
            (Some(word), Some(classes), None) => {
                if names(b"crawl", word) {
                    crawl(shared, classes)
                } else if names(b"metadump", word) {
                    match may_dump(feed, classes, (reply::METADUMP_NOT_ALLOWED, reply::METADUMP_PIPELINED)) {
                        Ok(classes) => {
                            self.start_dump(classes, Form::Everything);
                            reply::OK
                        }
                        Err(line) => line,
                    }
                } else if names(b"mgdump", word) {
                    match may_dump(feed, classes, (reply::MGDUMP_NOT_ALLOWED, reply::MGDUMP_PIPELINED)) {
                        Ok(classes) => {
                            self.start_dump(classes, Form::Keys);
                            reply::OK
                        }
                        Err(line) => line,
                    }
                } else if names(b"tocrawl", word) {
                    match small_number(classes) {
                        None => reply::BAD_FORMAT,
                        Some(items) => shared.change(|live| {
                            live.lru_crawler_tocrawl = items as u32;
                            reply::OK
                        }),
                    }
                } else if names(b"sleep", word) {
                    match small_number(classes) {
                        None => reply::BAD_FORMAT,
                        Some(micros) if micros > CRAWLER_SLEEP_US_MAX => reply::CRAWLER_BAD_SLEEP,
                        Some(micros) => shared.change(|live| {
                            live.lru_crawler_sleep = micros as u32;
                            reply::OK
                        }),
                    }
                } else {
                    reply::ERROR
                }
            }
            (Some(word), None, _) if names(b"enable", word) => {
                if shared.change(|live| std::mem::replace(&mut live.lru_crawler, true)) {
                    reply::CRAWLER_RUNNING
                } else {
                    reply::OK
                }
            }
            (Some(word), None, _) if names(b"disable", word) => {
                shared.change(|live| live.lru_crawler = false);
                reply::OK
            }
            _ => reply::ERROR,
        }
    }
}

/// Parses `shutdown`: returns how the server is to stop. `Err` is the error line.
fn shutdown(shared: &Shared, mut words: Words<'_>) -> Result<Stop, &'static [u8]> {
    match words.next() {
        _ if !shared.config.shutdown_command => Err(reply::SHUTDOWN_NOT_ENABLED),
        None => Ok(Stop::Now),
        Some(word) if names(b"graceful", word) && words.is_at_end() => Ok(Stop::Graceful),
        Some(_) => Err(reply::BAD_SHUTDOWN_MODE),
    }
}

/// Checks whether a dump may begin, and returns the classes to dump. `Err` is the error line: `not_allowed` if dumps are
/// disabled, `pipelined` if other replies are still staged, or another line.
fn may_dump(
    feed: &InputBatch<'_, '_>,
    classes: &[u8],
    (not_allowed, pipelined): (&'static [u8], &'static [u8]),
) -> Result<ClassSet, &'static [u8]> {
    let shared = feed.executor.shared();
    if !shared.crawler() {
        Err(reply::CRAWLER_DISABLED)
    } else if !shared.config.dump_enabled {
        Err(not_allowed)
    } else if !feed.out.is_empty() {
        Err(pipelined)
    } else if classes == b"all" || classes == b"hash" {
        Ok(ClassSet::ALL)
    } else {
        ClassSet::parse(classes).ok_or(reply::BAD_CLASS)
    }
}

/// Parses an unsigned 32-bit number; `None` if `word` is not such a number.
fn small_number(word: &[u8]) -> Option<u64> {
    number::unsigned_32(word).map(u64::from)
}

/// Returns the reply to `lru_crawler crawl`. Expired items are removed in the background all the time, so there is nothing to
/// start.
fn crawl(shared: &Shared, classes: &[u8]) -> &'static [u8] {
    if !shared.crawler() {
        return reply::CRAWLER_DISABLED;
    }
    match classes {
        b"all" => reply::OK,
        b"hash" => reply::CRAWLER_UNKNOWN_ERROR,
        classes => ClassSet::parse(classes).map_or(reply::BAD_CLASS, |_| reply::OK),
    }
}

/// Runs `cache_memlimit <megabytes>` and returns the reply line.
fn memory_limit(feed: &InputBatch<'_, '_>, mut words: Words<'_>) -> &'static [u8] {
    match words.next().and_then(small_number) {
        None => reply::ERROR,
        Some(megabytes) if megabytes < MEMLIMIT_MB_MIN => reply::MEMLIMIT_TOO_SMALL,
        Some(megabytes) if megabytes > MEMLIMIT_MB_MAX => reply::MEMLIMIT_NOT_BYTES,
        Some(megabytes) if feed.executor.set_memory_limit(megabytes << 20) => reply::OK,
        Some(_) => reply::MEMLIMIT_FAILED,
    }
}

/// Runs `lru tune`, `mode` and `temp_ttl`, which change only what is shown, and returns the reply line.
fn lru(shared: &Shared, mut words: Words<'_>) -> &'static [u8] {
    let (Some(word), Some(first)) = (words.next(), words.next()) else { return reply::ERROR };
    if names(b"tune", word) {
        let (Some(warm), Some(hot_factor), Some(warm_factor)) = (words.next(), words.next(), words.next())
        else {
            return reply::ERROR;
        };
        return match (small_number(first), small_number(warm), factor(hot_factor), factor(warm_factor)) {
            (Some(hot), Some(warm), Some(_), Some(_)) if hot + warm > LRU_PERCENT_MAX => reply::LRU_TOO_MUCH,
            (Some(_), Some(_), Some(hot), Some(warm)) if hot <= 0.0 || warm <= 0.0 => reply::LRU_BAD_FACTOR,
            (Some(hot), Some(warm), Some(hot_factor), Some(warm_factor)) => shared.change(|live| {
                (live.hot_lru_pct, live.warm_lru_pct) = (hot as u32, warm as u32);
                (live.hot_max_factor, live.warm_max_factor) = (hot_factor, warm_factor);
                reply::OK
            }),
            _ => reply::ERROR,
        };
    }
    if !shared.config.lru_maintainer_thread {
        return reply::ERROR;
    }
    if names(b"mode", word) && (names(b"flat", first) || names(b"segmented", first)) {
        shared.change(|live| live.lru_segmented = names(b"segmented", first));
        return reply::OK;
    }
    match number::signed_32(first) {
        Some(ttl) if names(b"temp_ttl", word) => shared.change(|live| {
            live.temp_lru = ttl >= 0;
            live.temporary_ttl = ttl.max(0) as u32;
            reply::OK
        }),
        _ => reply::ERROR,
    }
}

fn factor(word: &[u8]) -> Option<f64> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// Runs `slabs reassign` and `automove`, which change only what is shown, and returns the reply line.
fn slabs(shared: &Shared, mut words: Words<'_>) -> &'static [u8] {
    match (words.next(), words.next(), words.next()) {
        (Some(word), Some(from), Some(to)) if names(b"reassign", word) && words.is_at_end() => {
            if !shared.config.slab_reassign {
                return reply::SLABS_DISABLED;
            }
            // In memcached, class 0 is the pool of free pages.
            let classes = 0..=shared.classes.chunk_bytes().len() as i32;
            match (number::signed_32(from), number::signed_32(to)) {
                (Some(from), Some(to)) if from == to => reply::SLABS_SAME,
                // -1 stands for any class that has pages to spare.
                (Some(from), Some(to)) if !classes.contains(&to) || !classes.contains(&from) => {
                    reply::SLABS_BAD_CLASS
                }
                // No class has pages, so none can be moved.
                (Some(_), Some(_)) => reply::SLABS_NO_SPARE,
                _ => reply::BAD_FORMAT,
            }
        }
        (Some(word), Some(what), value) if names(b"automove", word) => match (what, value) {
            (what, value) if names(b"ratio", what) => {
                value.and_then(factor).map_or(reply::ERROR, |_| reply::OK)
            }
            (what, value) if names(b"freeratio", what) => match value.and_then(factor) {
                None => reply::ERROR,
                Some(ratio) => shared.change(|live| {
                    live.ext.slab_automove_freeratio = ratio;
                    reply::OK
                }),
            },
            (what, Some(value)) if names(b"window", what) => match small_number(value) {
                None => reply::BAD_FORMAT,
                Some(3..=1800) => reply::OK,
                Some(_) => reply::AUTOMOVE_BAD_WINDOW,
            },
            (level, _) => match small_number(level) {
                None => reply::BAD_FORMAT,
                Some(level @ 0..=2) => shared.change(|live| {
                    live.slab_automove = level as u32;
                    reply::OK
                }),
                Some(_) => reply::ERROR,
            },
        },
        _ => reply::ERROR,
    }
}

/// Runs `extstore NAME NUMBER` and returns the reply line. Without a flash tier the setting is only shown.
fn extstore(executor: &Executor<'_>, mut words: Words<'_>) -> &'static [u8] {
    let (Some(name), Some(value)) = (words.next(), words.next()) else { return reply::ERROR };
    let is_good = if names(b"free_memchunks", name) {
        // The number of chunks that memcached leaves free in a slab class.
        small_number(value).is_some_and(|class| class <= CLASS_MAX)
            && words.next().and_then(small_number).is_some()
    } else {
        executor.tune_flash(|ext| tune(ext, name, value))
    };
    if is_good { reply::OK } else { reply::ERROR }
}

/// Sets the setting in `ext` whose name begins with `name` to `value`. False if there is no such setting, or if `value` does not
/// fit it.
fn tune(ext: &mut Ext, name: &[u8], value: &[u8]) -> bool {
    type Set = fn(&mut Ext, u32);
    const NUMBERS: [(&[u8], Set); 8] = [
        (b"item_size", |ext, bytes| ext.item_size = bytes),
        (b"item_age", |ext, secs| ext.item_age = secs),
        (b"low_ttl", |ext, secs| ext.low_ttl = secs),
        (b"recache_rate", |ext, rate| ext.recache_rate = rate),
        (b"compact_under", |ext, pages| ext.compact_under = Some(pages)),
        (b"drop_under", |ext, pages| ext.drop_under = Some(pages)),
        (b"max_sleep", |ext, micros| ext.max_sleep = micros),
        (b"drop_unread", |ext, on| ext.drop_unread = on != 0),
    ];
    if let Some((_, set)) = NUMBERS.iter().find(|(known, _)| names(known, name)) {
        return number::unsigned_32(value).map(|number| set(ext, number)).is_some();
    }
    match factor(value) {
        Some(share) if share.is_finite() && names(b"max_frag", name) => {
            ext.max_frag = share;
            true
        }
        _ => false,
    }
}

/// Runs `debugtime`, which moves, stops or continues the clock, and returns the reply line. All later commands see the new
/// time. Only in builds with the feature `debug`.
fn debug_time(executor: &mut Executor<'_>, mut words: Words<'_>) -> &'static [u8] {
    let clock = &executor.shared().clock;
    match words.next() {
        Some(b"p") => clock.pause(),
        Some(b"r") => clock.resume(),
        word => match word.and_then(number::signed_32) {
            Some(secs) => clock.shift(i64::from(secs)),
            None => return reply::ERROR,
        },
    }
    executor.follow_clock();
    reply::OK
}
