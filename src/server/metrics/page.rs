//! The metrics page: every figure of `stats`, `stats memcrsd`, `stats slabs`, `stats items` and `stats settings` that
//! `prometheus/memcached_exporter` exports, under its names, types and labels, so that its dashboards and alerts work; then
//! memcrsd's own as `memcrsd_*`.
//!
//! The figures come from the same functions as the replies to `stats`, so the two can differ only by the time between
//! them.
//!
//! Source: `memcached_exporter` 0.16.0, pkg/exporter/exporter.go; Prometheus, "Exposition formats", text format 0.0.4.

use crate::config::OWN_VERSION;
use crate::engine::latency::Kind;
use crate::engine::ring_stats::RingLoad;
use crate::engine::{Report, Shared};
use crate::store::ReplicaMemory;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

/// A statistic and its metric: name, type, help.
type Row = (&'static str, &'static str, &'static str, &'static str);

const COUNTER: &str = "counter";
const GAUGE: &str = "gauge";

/// From `stats` and `stats slabs`, for the whole server.
const GENERAL: &[Row] = &[
    ("uptime", "memcached_uptime_seconds", COUNTER, "Seconds since the start."),
    ("time", "memcached_time_seconds", GAUGE, "Unix time of the server."),
    ("rusage_user", "memcached_process_user_cpu_seconds_total", COUNTER, "CPU time in user mode."),
    ("rusage_system", "memcached_process_system_cpu_seconds_total", COUNTER, "CPU time in the kernel."),
    ("bytes", "memcached_current_bytes", GAUGE, "Bytes of all items, as memcached counts them."),
    ("limit_maxbytes", "memcached_limit_bytes", GAUGE, "Memory limit (-m)."),
    ("curr_items", "memcached_current_items", GAUGE, "Items stored."),
    ("total_items", "memcached_items_total", COUNTER, "Items ever stored."),
    ("bytes_read", "memcached_read_bytes_total", COUNTER, "Bytes received from clients."),
    ("bytes_written", "memcached_written_bytes_total", COUNTER, "Bytes sent to clients."),
    ("curr_connections", "memcached_current_connections", GAUGE, "Open connections."),
    ("total_connections", "memcached_connections_total", COUNTER, "Connections accepted."),
    ("rejected_connections", "memcached_connections_rejected_total", COUNTER, "Connections refused for -c."),
    (
        "conn_yields",
        "memcached_connections_yielded_total",
        COUNTER,
        "Times a connection yielded after -R requests.",
    ),
    (
        "listen_disabled_num",
        "memcached_connections_listener_disabled_total",
        COUNTER,
        "Times accepting paused at the limit of connections.",
    ),
    ("evictions", "memcached_items_evicted_total", COUNTER, "Live items evicted."),
    ("reclaimed", "memcached_items_reclaimed_total", COUNTER, "Expired items whose memory was reused."),
    ("store_too_large", "memcached_item_too_large_total", COUNTER, "Stores over the item size limit (-I)."),
    ("store_no_memory", "memcached_item_no_memory_total", COUNTER, "Stores that failed for lack of memory."),
    ("lru_crawler_starts", "memcached_lru_crawler_starts_total", COUNTER, "Always 0: there is no crawler."),
    (
        "direct_reclaims",
        "memcached_direct_reclaims_total",
        COUNTER,
        "Evictions by a write that needed memory.",
    ),
    (
        "crawler_items_checked",
        "memcached_lru_crawler_items_checked_total",
        COUNTER,
        "Items examined by the sweep for expired ones.",
    ),
    ("crawler_reclaimed", "memcached_lru_crawler_reclaimed_total", COUNTER, "Items removed by the sweep."),
    (
        "moves_to_cold",
        "memcached_lru_crawler_moves_to_cold_total",
        COUNTER,
        "Always 0: there are no LRU lists.",
    ),
    ("moves_to_warm", "memcached_lru_crawler_moves_to_warm_total", COUNTER, "Items moved to the main queue."),
    (
        "moves_within_lru",
        "memcached_lru_crawler_moves_within_lru_total",
        COUNTER,
        "Items reinserted into the main queue.",
    ),
    ("total_malloced", "memcached_malloced_bytes", GAUGE, "Memory of segments and large items in use."),
    ("accepting_conns", "memcached_accepting_connections", GAUGE, "1 while connections are accepted."),
];

/// From `stats settings`; those of the crawler only while it is enabled.
const SETTINGS: &[Row] = &[
    ("maxconns", "memcached_max_connections", GAUGE, "Most connections (-c)."),
    ("lru_crawler", "memcached_lru_crawler_enabled", GAUGE, "1 while the sweep for expired items is on."),
    ("lru_crawler_sleep", "memcached_lru_crawler_sleep", GAUGE, "Setting without effect."),
    ("lru_crawler_tocrawl", "memcached_lru_crawler_to_crawl", GAUGE, "Setting without effect."),
    ("lru_maintainer_thread", "memcached_lru_crawler_maintainer_thread", GAUGE, "Setting without effect."),
    ("hot_lru_pct", "memcached_lru_crawler_hot_percent", GAUGE, "Setting without effect."),
    ("warm_lru_pct", "memcached_lru_crawler_warm_percent", GAUGE, "Setting without effect."),
    ("hot_max_factor", "memcached_lru_crawler_hot_max_factor", GAUGE, "Setting without effect."),
    ("warm_max_factor", "memcached_lru_crawler_warm_max_factor", GAUGE, "Setting without effect."),
];

/// From `stats items`, by class.
const ITEMS: &[Row] = &[
    ("number", "memcached_slab_current_items", GAUGE, "Items of the class."),
    ("age", "memcached_slab_items_age_seconds", GAUGE, "Age of the oldest segment."),
    (
        "crawler_reclaimed",
        "memcached_slab_items_crawler_reclaimed_total",
        COUNTER,
        "Items removed by the sweep.",
    ),
    ("evicted", "memcached_slab_items_evicted_total", COUNTER, "Live items evicted."),
    (
        "evicted_nonzero",
        "memcached_slab_items_evicted_nonzero_total",
        COUNTER,
        "Evicted items that had an expiry.",
    ),
    (
        "evicted_time",
        "memcached_slab_items_evicted_time_seconds",
        COUNTER,
        "Seconds between last access and eviction of the last item evicted.",
    ),
    (
        "evicted_unfetched",
        "memcached_slab_items_evicted_unfetched_total",
        COUNTER,
        "Evicted items that were never fetched.",
    ),
    (
        "expired_unfetched",
        "memcached_slab_items_expired_unfetched_total",
        COUNTER,
        "Expired items that were never fetched.",
    ),
    (
        "outofmemory",
        "memcached_slab_items_outofmemory_total",
        COUNTER,
        "Stores that failed for lack of memory.",
    ),
    ("reclaimed", "memcached_slab_items_reclaimed_total", COUNTER, "Expired items removed."),
    ("tailrepairs", "memcached_slab_items_tailrepairs_total", COUNTER, "Always 0."),
    ("mem_requested", "memcached_slab_mem_requested_bytes", COUNTER, "Bytes of the items of the class."),
    ("moves_to_cold", "memcached_slab_items_moves_to_cold", COUNTER, "Always 0."),
    ("moves_to_warm", "memcached_slab_items_moves_to_warm", COUNTER, "Always 0."),
    ("moves_within_lru", "memcached_slab_items_moves_within_lru", COUNTER, "Always 0."),
    ("number_hot", "memcached_slab_hot_items", GAUGE, "Always 0."),
    ("number_warm", "memcached_slab_warm_items", GAUGE, "Always 0."),
    ("number_cold", "memcached_slab_cold_items", GAUGE, "Items of the class."),
    ("number_temp", "memcached_slab_temporary_items", GAUGE, "Always 0."),
    ("age_hot", "memcached_slab_hot_age_seconds", GAUGE, "Always 0."),
    ("age_warm", "memcached_slab_warm_age_seconds", GAUGE, "Always 0."),
];

/// From `stats slabs`, by class.
const SLABS: &[Row] = &[
    ("chunk_size", "memcached_slab_chunk_size_bytes", GAUGE, "Largest item of the class."),
    ("chunks_per_page", "memcached_slab_chunks_per_page", GAUGE, "Items of that size in 1 MiB."),
    ("total_pages", "memcached_slab_current_pages", GAUGE, "Pages memcached would need for the class."),
    ("total_chunks", "memcached_slab_current_chunks", GAUGE, "Chunks in those pages."),
    ("used_chunks", "memcached_slab_chunks_used", GAUGE, "Places taken."),
    ("free_chunks", "memcached_slab_chunks_free", GAUGE, "Places free."),
    ("free_chunks_end", "memcached_slab_chunks_free_end", GAUGE, "Always 0."),
];

/// memcrsd's own.
const OWN: &[Row] = &[
    ("threads", "memcrsd_rings", GAUGE, "Rings, one thread each."),
    ("get_expired", "memcrsd_get_expired_total", COUNTER, "Misses that found an expired item."),
    ("get_flushed", "memcrsd_get_flushed_total", COUNTER, "Misses that found a flushed item."),
    ("idle_kicks", "memcrsd_connections_idle_total", COUNTER, "Idle connections closed."),
    ("auth_cmds", "memcrsd_logins_total", COUNTER, "Logins tried."),
    ("auth_errors", "memcrsd_login_failures_total", COUNTER, "Failed logins."),
    ("ssl_handshake_errors", "memcrsd_tls_handshake_errors_total", COUNTER, "TLS handshakes that failed."),
    ("ssl_proto_errors", "memcrsd_tls_errors_total", COUNTER, "TLS connections that broke."),
    ("memcrsd_pins", "memcrsd_pins", GAUGE, "Values being sent from item memory."),
    ("memcrsd_stuck_rings", "memcrsd_stuck_rings", GAUGE, "Rings that do not turn."),
    ("memcrsd_ring_stalls", "memcrsd_ring_stalls_total", COUNTER, "Times a ring was found not to turn."),
    ("memcrsd_drafts", "memcrsd_drafts", GAUGE, "Values being received into item memory."),
    (
        "memcrsd_restored_items",
        "memcrsd_restored_items",
        GAUGE,
        "Items that the start found in the memory file.",
    ),
    (
        "memcrsd_restored_bytes",
        "memcrsd_restored_bytes",
        GAUGE,
        "Bytes of those items, as memcached counts them.",
    ),
    ("memcrsd_restore_ms", "memcrsd_restore_milliseconds", GAUGE, "Time that the start took to find them."),
];

/// Commands counted by hits and misses; hits by class too.
const COMMANDS: [&str; 6] = ["get", "delete", "incr", "decr", "cas", "touch"];

/// Bounds of the histogram's buckets as powers of two, ns: 255 ns to 1.07 s.
const BUCKETS: [u32; 12] = [8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30];

/// Statistics by name.
type Values = BTreeMap<String, String>;

/// A page under construction.
#[derive(Debug, Default)]
struct Page {
    text: String,
}

impl Page {
    /// Starts a metric. Writing to a String cannot fail, here and below.
    fn family(&mut self, metric: &str, kind: &str, help: &str) {
        let _ = write!(self.text, "# HELP {metric} {help}\n# TYPE {metric} {kind}\n");
    }

    fn sample(&mut self, metric: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.text.push_str(metric);
        for (place, (label, of)) in labels.iter().enumerate() {
            let _ = write!(self.text, "{}{label}=\"{of}\"", if place == 0 { '{' } else { ',' });
        }
        let _ = writeln!(self.text, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    /// A metric for each row whose statistic is present.
    fn rows(&mut self, rows: &[Row], values: &Values) {
        for (name, metric, kind, help) in rows {
            if let Some(value) = values.get(*name) {
                self.family(metric, kind, help);
                self.sample(metric, &[], number(value));
            }
        }
    }

    /// The same, with a sample for each class.
    fn class_rows(&mut self, rows: &[Row], classes: &BTreeMap<u32, Values>) {
        for (name, metric, kind, help) in rows {
            let found: Vec<_> =
                classes.iter().filter_map(|(class, of)| Some((class, of.get(*name)?))).collect();
            if !found.is_empty() {
                self.family(metric, kind, help);
            }
            for (class, value) in found {
                self.sample(metric, &[("slab", &class.to_string())], number(value));
            }
        }
    }
}

/// A statistic as a number; yes = 1, no = 0.
fn number(value: &str) -> &str {
    match value {
        "yes" => "1",
        "no" => "0",
        value => value,
    }
}

fn count(values: &Values, name: &str) -> u64 {
    values.get(name).and_then(|value| value.parse().ok()).unwrap_or(0)
}

/// The current page.
pub(super) fn page(report: &Report<'_>, shared: &Shared) -> String {
    let mut general = Values::new();
    report.stats(&mut into(&mut general));
    report.stats_memcrsd(&mut into(&mut general));
    let (mut slabs, mut items, mut settings) = (Values::new(), Values::new(), Values::new());
    report.stats_slabs(&mut into(&mut slabs));
    report.stats_items(&mut into(&mut items));
    report.settings(&mut into(&mut settings));
    if let Some(malloced) = slabs.remove("total_malloced") {
        general.insert("total_malloced".to_owned(), malloced);
    }
    let mut page = Page::default();
    page.family("memcached_up", GAUGE, "1: the server answers.");
    page.sample("memcached_up", &[], 1);
    page.family("memcached_version", GAUGE, "The version that clients see.");
    let version = general.get("version").map_or("", String::as_str);
    page.sample("memcached_version", &[("version", version)], 1);
    commands(&mut page, &general);
    page.rows(GENERAL, &general);
    if settings.get("lru_crawler").is_none_or(|on| on != "yes") {
        settings.retain(|name, _| name == "maxconns");
    }
    page.rows(SETTINGS, &settings);
    by_class(&mut page, &items, &slabs);
    own(&mut page, report, shared, &general);
    page.text
}

fn into(values: &mut Values) -> impl FnMut(&str, &str) {
    |name, value| {
        values.insert(name.to_owned(), value.to_owned());
    }
}

fn commands(page: &mut Page, general: &Values) {
    const METRIC: &str = "memcached_commands_total";
    page.family(METRIC, COUNTER, "Commands by kind and outcome.");
    let mut put = |command, status, value| {
        page.sample(METRIC, &[("command", command), ("status", status)], value);
    };
    for command in COMMANDS {
        put(command, "hit", count(general, &format!("{command}_hits")));
        put(command, "miss", count(general, &format!("{command}_misses")));
    }
    put("cas", "badval", count(general, "cas_badval"));
    put("flush", "hit", count(general, "cmd_flush"));
    // cmd_set includes stores with a cas.
    let cas = ["cas_misses", "cas_hits", "cas_badval"].map(|name| count(general, name)).iter().sum();
    put("set", "hit", count(general, "cmd_set").saturating_sub(cas));
}

fn by_class(page: &mut Page, items: &Values, slabs: &Values) {
    let (items, slabs) = (classes(items, "items:"), classes(slabs, ""));
    page.class_rows(ITEMS, &items);
    const HITS: &str = "memcached_slab_lru_hits_total";
    page.family(HITS, COUNTER, "Hits; all count as cold.");
    for (class, values) in &items {
        for (name, lru) in [
            ("hits_to_hot", "hot"),
            ("hits_to_warm", "warm"),
            ("hits_to_cold", "cold"),
            ("hits_to_temp", "temporary"),
        ] {
            if let Some(value) = values.get(name) {
                page.sample(HITS, &[("slab", &class.to_string()), ("lru", lru)], value);
            }
        }
    }
    page.class_rows(SLABS, &slabs);
    const METRIC: &str = "memcached_slab_commands_total";
    page.family(METRIC, COUNTER, "Commands that found an item of the class, by kind and outcome.");
    for (class, values) in &slabs {
        let class = class.to_string();
        let mut put = |command, status, value| {
            page.sample(METRIC, &[("slab", &class), ("command", command), ("status", status)], value);
        };
        for command in COMMANDS {
            put(command, "hit", count(values, &format!("{command}_hits")));
        }
        put("cas", "badval", count(values, "cas_badval"));
        let cas = count(values, "cas_hits") + count(values, "cas_badval");
        put("set", "hit", count(values, "cmd_set").saturating_sub(cas));
    }
}

/// Statistics of the form `PREFIXclass:name`, by class.
fn classes(values: &Values, prefix: &str) -> BTreeMap<u32, Values> {
    let mut classes: BTreeMap<u32, Values> = BTreeMap::new();
    for (name, value) in values {
        let parts = name.strip_prefix(prefix).and_then(|rest| rest.split_once(':'));
        if let Some((class, name)) = parts
            && let Ok(class) = class.parse()
        {
            classes.entry(class).or_default().insert(name.to_owned(), value.clone());
        }
    }
    classes
}

fn own(page: &mut Page, report: &Report<'_>, shared: &Shared, general: &Values) {
    let engine = shared.change(|live| live.io_engine);
    page.family("memcrsd_info", GAUGE, "The server's own version and its I/O engine.");
    page.sample("memcrsd_info", &[("version", OWN_VERSION), ("io_engine", engine)], 1);
    page.rows(OWN, general);
    let memory = report.memory_parts();
    page.family("memcrsd_memory_bytes", GAUGE, "Memory by use; see stats memory.");
    for (part, bytes) in memory.parts {
        page.sample("memcrsd_memory_bytes", &[("part", part)], bytes);
    }
    replicas(page, &memory.store.replicas);
    ring_loads(page, report);
    times(page, shared);
}

/// A series for each ring; see stats rings.
fn ring_loads(page: &mut Page, report: &Report<'_>) {
    let loads = report.ring_loads();
    let mut family = |metric: &str, kind, help, value: &dyn Fn(&RingLoad) -> Option<String>| {
        page.family(metric, kind, help);
        for (ring, load) in loads.iter().enumerate() {
            if let Some(value) = value(load) {
                page.sample(metric, &[("ring", &ring.to_string())], value);
            }
        }
    };
    family("memcrsd_ring_connections", GAUGE, "Open connections of each ring.", &|load| {
        Some(load.connections.to_string())
    });
    family("memcrsd_ring_requests_total", COUNTER, "Requests of each ring.", &|load| {
        Some(load.requests.to_string())
    });
    family("memcrsd_ring_cpu_seconds_total", COUNTER, "CPU time of each ring.", &|load| {
        Some(format!("{:.6}", load.cpu?.as_secs_f64()))
    });
}

fn replicas(page: &mut Page, replicas: &[ReplicaMemory]) {
    let mut family = |name, kind, help, value: fn(&ReplicaMemory) -> u64| {
        page.family(name, kind, help);
        for (number, replica) in replicas.iter().enumerate() {
            page.sample(name, &[("replica", &number.to_string())], value(replica));
        }
    };
    family("memcrsd_index_bytes", GAUGE, "Memory of each replica's index.", |replica| replica.index_bytes);
    family("memcrsd_replica_rings", GAUGE, "Rings that share the replica.", |replica| {
        replica.rings.len() as u64
    });
    family(
        "memcrsd_replays_total",
        COUNTER,
        "Replays of the log by one of the rings that share the replica.",
        |replica| replica.replays,
    );
    family("memcrsd_replay_waits_total", COUNTER, "Waits of a ring for another one's replay.", |replica| {
        replica.waits
    });
}

fn times(page: &mut Page, shared: &Shared) {
    const METRIC: &str = "memcrsd_request_seconds";
    page.family(METRIC, "histogram", "Time of sampled requests inside the session; see stats latency.");
    let times = shared.times();
    let bucket = format!("{METRIC}_bucket");
    for (kind, name) in Kind::REQUESTS {
        for power in BUCKETS {
            let bound = Duration::from_nanos((1 << power) - 1);
            let le = format!("{:.9}", bound.as_secs_f64());
            page.sample(&bucket, &[("command", name), ("le", &le)], times.within(kind, bound));
        }
        let of = [("command", name)];
        let all = times.of(kind).count;
        page.sample(&bucket, &[("command", name), ("le", "+Inf")], all);
        page.sample(&format!("{METRIC}_sum"), &of, times.sum(kind).as_secs_f64());
        page.sample(&format!("{METRIC}_count"), &of, all);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_have_one_row_each() {
        let mut names: Vec<_> = [GENERAL, SETTINGS, ITEMS, SLABS, OWN]
            .iter()
            .flat_map(|rows| rows.iter().map(|row| row.1))
            .collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
        assert!(names.iter().all(|name| name.starts_with("memcached_") || name.starts_with("memcrsd_")));
    }

    #[test]
    fn samples_follow_their_metric() {
        let mut page = Page::default();
        let values = Values::from([("1:a".to_owned(), "5".to_owned()), ("b".to_owned(), "yes".to_owned())]);
        page.rows(&[("b", "m_b", GAUGE, "B."), ("none", "m_none", GAUGE, "None.")], &values);
        page.class_rows(&[("a", "m_a", COUNTER, "A.")], &classes(&values, ""));
        page.sample("m_c", &[("x", "1"), ("y", "z")], 0.5);
        let expected = "# HELP m_b B.\n# TYPE m_b gauge\nm_b 1\n\
            # HELP m_a A.\n# TYPE m_a counter\nm_a{slab=\"1\"} 5\nm_c{x=\"1\",y=\"z\"} 0.5\n";
        assert_eq!(page.text, expected);
    }
}
