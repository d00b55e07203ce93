//! The lists of `stats` and `stats settings`: names and values, in memcached's order.
//!
//! The module extends [`Report`] and owns no state; it may import the modules named before it in `engine`. The lines about the
//! flash tier come from `flash`.

use crate::config::settings;
use crate::engine::counters::Sums;
use crate::engine::report::{Report, Sink, Writer};
use crate::limits::MEMCACHED_VERSION;
use crate::store::{Memory, Totals};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use std::fmt::Display;
use std::sync::atomic::Ordering;

impl Report<'_> {
    /// Writes `stats`: memcached's general list, in memcached's order.
    pub fn stats(&self, sink: &mut Sink<'_>) {
        let mut to = Writer::new(sink);
        let (sums, memory, totals) = (self.shared.sums(), self.store.memory(), self.store.totals());
        self.process(&mut to);
        self.connections(&mut to, &sums);
        self.commands(&mut to, &sums);
        self.traffic(&mut to, &sums);
        self.mechanism(&mut to, &sums, &memory, &totals);
        self.items_summary(&mut to, &memory, &totals);
    }

    fn process(&self, to: &mut Writer<'_, '_>) {
        let clock = &self.shared.clock;
        to.put("pid", std::process::id());
        to.put("uptime", clock.uptime(self.now));
        to.put("time", clock.unix(self.now));
        to.put("version", MEMCACHED_VERSION);
        to.put("libevent", "none");
        to.put("pointer_size", usize::BITS);
        if let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) {
            to.put("rusage_user", Seconds(usage.user_time()));
            to.put("rusage_system", Seconds(usage.system_time()));
        }
    }

    fn connections(&self, to: &mut Writer<'_, '_>, sums: &Sums) {
        let config = &self.shared.config;
        let open = self.shared.open_connections();
        to.put("max_connections", config.maxconns);
        to.put("curr_connections", open);
        to.put("total_connections", sums.ring.total_connections);
        if config.maxconns_fast {
            to.put("rejected_connections", sums.ring.rejected_connections);
        }
        to.put("connection_structures", open);
        for name in [
            "response_obj_oom",
            "response_obj_count",
            "response_obj_bytes",
            "read_buf_count",
            "read_buf_bytes",
            "read_buf_bytes_free",
        ] {
            to.put(name, 0);
        }
        to.put("read_buf_oom", sums.ring.read_buf_oom);
        to.put("reserved_fds", 0);
    }

    fn commands(&self, to: &mut Writer<'_, '_>, sums: &Sums) {
        let (ring, class) = (&sums.ring, sums.all_classes());
        to.put("cmd_get", class.get_hits + ring.get_misses);
        to.put("cmd_set", class.cmd_set);
        to.put("cmd_flush", ring.cmd_flush);
        to.put("cmd_touch", class.touch_hits + ring.touch_misses);
        to.put("cmd_meta", ring.cmd_meta);
        to.put("get_hits", class.get_hits);
        to.put("get_misses", ring.get_misses);
        to.put("get_expired", ring.get_expired);
        to.put("get_flushed", ring.get_flushed);
        self.flash_reads(to, ring);
        to.put("delete_misses", ring.delete_misses);
        to.put("delete_hits", class.delete_hits);
        to.put("incr_misses", ring.incr_misses);
        to.put("incr_hits", class.incr_hits);
        to.put("decr_misses", ring.decr_misses);
        to.put("decr_hits", class.decr_hits);
        to.put("cas_misses", ring.cas_misses);
        to.put("cas_hits", class.cas_hits);
        to.put("cas_badval", class.cas_badval);
        to.put("touch_hits", class.touch_hits);
        to.put("touch_misses", ring.touch_misses);
        to.put("store_too_large", ring.store_too_large);
        to.put("store_no_memory", ring.store_no_memory);
        to.put("auth_cmds", ring.auth_cmds);
        to.put("auth_errors", ring.auth_errors);
        if self.shared.config.idle_timeout > 0 {
            to.put("idle_kicks", ring.idle_kicks);
        }
    }

    fn traffic(&self, to: &mut Writer<'_, '_>, sums: &Sums) {
        let gauges = &self.shared.gauges;
        to.put("bytes_read", sums.ring.bytes_read);
        to.put("bytes_written", sums.ring.bytes_written);
        to.put("limit_maxbytes", self.store.memory_limit());
        to.put("accepting_conns", u8::from(gauges.accepting()));
        to.put("listen_disabled_num", gauges.listen_disabled_count.load(Ordering::Relaxed));
        to.put("time_in_listen_disabled_us", gauges.listen_disabled_us.load(Ordering::Relaxed));
        to.put("threads", self.shared.config.num_threads);
        to.put("conn_yields", sums.ring.conn_yields);
    }

    /// Writes memcached's statistics about its hash table, slabs and threads. Most of them are constant here.
    fn mechanism(&self, to: &mut Writer<'_, '_>, sums: &Sums, memory: &Memory, totals: &Totals) {
        let config = &self.shared.config;
        to.put("hash_power_level", hash_power(totals.curr_items, config.hashpower_init));
        to.put("hash_bytes", memory.index);
        to.put("hash_is_expanding", 0);
        if config.slab_reassign {
            for name in [
                "slab_reassign_rescues",
                "slab_reassign_chunk_rescues",
                "slab_reassign_inline_reclaim",
                "slab_reassign_busy_items",
                "slab_reassign_busy_deletes",
                "slab_reassign_busy_nomem",
            ] {
                to.put(name, 0);
            }
            to.put("slab_reassign_last_busy_status", "none");
            to.put("slab_reassign_running", 0);
            to.put("slabs_moved", 0);
        }
        if config.lru_crawler {
            to.put("lru_crawler_running", 0);
            to.put("lru_crawler_starts", 0);
        }
        if config.lru_maintainer_thread {
            to.put("lru_maintainer_juggles", 0);
        }
        to.put("malloc_fails", 0);
        to.put("log_worker_dropped", sums.ring.log_worker_dropped);
        to.put("log_worker_written", sums.ring.log_worker_written);
        let (skipped, sent, watchers) = self.shared.watch.counts();
        to.put("log_watcher_skipped", skipped);
        to.put("log_watcher_sent", sent);
        to.put("log_watchers", watchers);
        self.flash(to);
        if let Some(certificates) = self.shared.certificates() {
            if config.ssl.session_cache {
                to.put("ssl_new_sessions", sums.ring.ssl_new_sessions);
            }
            to.put("ssl_handshake_errors", sums.ring.ssl_handshake_errors);
            to.put("ssl_proto_errors", sums.ring.ssl_proto_errors);
            to.put("time_since_server_cert_refresh", certificates.age_secs());
        }
        to.put("unexpected_napi_ids", 0);
        to.put("round_robin_fallback", 0);
    }

    fn items_summary(&self, to: &mut Writer<'_, '_>, memory: &Memory, totals: &Totals) {
        let maintainer = self.shared.config.lru_maintainer_thread;
        to.put("bytes", totals.bytes);
        to.put("curr_items", totals.curr_items);
        to.put("total_items", totals.total_items);
        to.put("slab_global_page_pool", memory.segments_free);
        to.put("expired_unfetched", totals.expired_unfetched);
        to.put("evicted_unfetched", totals.evicted_unfetched);
        if maintainer {
            to.put("evicted_active", 0);
        }
        to.put("evictions", totals.evictions);
        to.put("reclaimed", totals.reclaimed);
        to.put("crawler_reclaimed", totals.crawler_reclaimed);
        to.put("crawler_items_checked", totals.crawler_items_checked);
        to.put("lrutail_reflocked", 0);
        if maintainer {
            to.put("moves_to_cold", 0);
            to.put("moves_to_warm", totals.moves_to_warm);
            to.put("moves_within_lru", totals.moves_within_lru);
            to.put("direct_reclaims", totals.direct_reclaims);
            to.put("lru_bumps_dropped", 0);
        }
    }

    /// Writes `stats settings`, with the run-time settings as they are at this moment.
    pub fn settings(&self, sink: &mut Sink<'_>) {
        let live = self.shared.runtime_settings(self.store.memory_limit());
        for (name, value) in settings(&self.shared.config, &live) {
            sink(name, &value);
        }
    }
}

/// A time that is shown as `seconds.microseconds`.
struct Seconds(TimeVal);

impl Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:06}", self.0.tv_sec(), self.0.tv_usec())
    }
}

/// Returns the binary logarithm of the number of buckets that memcached's hash table would have. The table doubles when it has
/// one and a half items for each bucket.
fn hash_power(items: u64, initial: u32) -> u32 {
    let start = if initial == 0 { 16 } else { initial };
    start.max((items / 3 * 2).max(1).ilog2() + 1)
}
