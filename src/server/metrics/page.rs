//! The metrics page: every figure of `stats`, `stats memcrsd`, `stats slabs`, `stats items` and `stats settings` that
//! `prometheus/memcached_exporter` exports, under its names, types and labels, so that its dashboards and alerts work; then
//! memcrsd's own figures as `memcrsd_*`.
//!
//! The figures come from the same functions as the replies to `stats`, so the two can differ only by the time between them.
//! A [`Page`] is built per request and holds nothing afterwards.
//!
//! Source: `memcached_exporter` 0.16.0, pkg/exporter/exporter.go; Prometheus, "Exposition formats", text format 0.0.4.

use super::rows::{COUNTER, FLASH, GAUGE, GENERAL, ITEMS, OWN, OWN_FLASH, Row, SETTINGS, SLABS};
use crate::config::OWN_VERSION;
use crate::engine::latency::{Kind, Times};
use crate::engine::ring_stats::RingLoad;
use crate::engine::{Report, Shared};
use crate::store::ReplicaMemory;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

/// Commands whose hits and misses are counted for the whole server, and whose hits are also counted by class.
const COMMANDS: [&str; 6] = ["get", "delete", "incr", "decr", "cas", "touch"];

/// Upper bounds of a histogram's buckets: `n` stands for 2^n - 1 ns, so they go from 255 ns to 1.07 s.
const BUCKETS: [u32; 12] = [8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30];

/// The values of statistics as `stats` shows them, by name.
type Values = BTreeMap<String, String>;

/// The text of a page, to which metrics are appended.
#[derive(Debug, Default)]
struct Page {
    text: String,
}

impl Page {
    /// Writes the `# HELP` and `# TYPE` lines of a metric. The samples of the metric must follow.
    fn family(&mut self, metric: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail, here and below.
        let _ = write!(self.text, "# HELP {metric} {help}\n# TYPE {metric} {kind}\n");
    }

    fn sample(&mut self, metric: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.text.push_str(metric);
        for (place, (label, of)) in labels.iter().enumerate() {
            let _ = write!(self.text, "{}{label}=\"{of}\"", if place == 0 { '{' } else { ',' });
        }
        let _ = writeln!(self.text, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    /// Writes a metric for each row whose statistic is in `values`; other rows are left out.
    fn rows(&mut self, rows: &[Row], values: &Values) {
        for (name, metric, kind, help) in rows {
            if let Some(value) = values.get(*name) {
                self.family(metric, kind, help);
                self.sample(metric, &[], number(value));
            }
        }
    }

    /// Writes a metric for each row that some class has a statistic for, with a sample for each such class.
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

/// The value of a statistic as a number: `yes` becomes 1, `no` becomes 0.
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

/// Collects the present figures, and returns the whole page.
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
    page.rows(FLASH, &general);
    if settings.get("lru_crawler").is_none_or(|on| on != "yes") {
        settings.retain(|name, _| name == "maxconns");
    }
    page.rows(SETTINGS, &settings);
    by_class(&mut page, &items, &slabs);
    own(&mut page, report, shared, &general);
    page.text
}

/// A callback that puts the statistics it is given into `values`.
fn into(values: &mut Values) -> impl FnMut(&str, &str) {
    |name, value| {
        values.insert(name.to_owned(), value.to_owned());
    }
}

/// Writes the metric of the whole server's commands, by kind and outcome.
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

/// Writes the metrics of items and slabs, with a sample for each class.
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

/// Sorts the statistics named `PREFIXclass:name` by class; leaves out all others.
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

/// Writes the metrics that only memcrsd has, `memcrsd_*`.
fn own(page: &mut Page, report: &Report<'_>, shared: &Shared, general: &Values) {
    let engine = shared.change(|live| live.io_engine);
    page.family("memcrsd_info", GAUGE, "The server's own version and its I/O engine.");
    page.sample("memcrsd_info", &[("version", OWN_VERSION), ("io_engine", engine)], 1);
    page.rows(OWN, general);
    page.rows(OWN_FLASH, general);
    let memory = report.memory_parts();
    page.family("memcrsd_memory_bytes", GAUGE, "Memory by use; see stats memory.");
    for (part, bytes) in memory.parts {
        page.sample("memcrsd_memory_bytes", &[("part", part)], bytes);
    }
    replicas(page, &memory.store.replicas);
    ring_loads(page, report);
    times(page, shared, general.contains_key("extstore_limit_maxbytes"));
}

/// Writes the metrics of connections, requests and CPU time, with a sample for each ring; see `stats rings`.
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

fn times(page: &mut Page, shared: &Shared, has_flash: bool) {
    const REQUESTS: &str = "memcrsd_request_seconds";
    const FLASH_READS: &str = "memcrsd_flash_read_seconds";
    let times = shared.times();
    page.family(REQUESTS, "histogram", "Time of sampled requests inside the session; see stats latency.");
    for (kind, name) in Kind::REQUESTS {
        histogram(page, REQUESTS, &[("command", name)], (&times, kind));
    }
    if has_flash {
        page.family(FLASH_READS, "histogram", "Time of reads from flash.");
        histogram(page, FLASH_READS, &[], (&times, Kind::FlashRead));
    }
}

/// Writes the buckets of a histogram, its sum and its count.
fn histogram(page: &mut Page, metric: &str, labels: &[(&str, &str)], (times, kind): (&Times, Kind)) {
    let bucket = format!("{metric}_bucket");
    let mut put = |le: &str, count| page.sample(&bucket, &[labels, &[("le", le)]].concat(), count);
    for power in BUCKETS {
        let bound = Duration::from_nanos((1 << power) - 1);
        put(&format!("{:.9}", bound.as_secs_f64()), times.within(kind, bound));
    }
    let all = times.of(kind).count;
    put("+Inf", all);
    page.sample(&format!("{metric}_sum"), labels, times.sum(kind).as_secs_f64());
    page.sample(&format!("{metric}_count"), labels, all);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_have_one_row_each() {
        let mut names: Vec<_> = [GENERAL, FLASH, SETTINGS, ITEMS, SLABS, OWN, OWN_FLASH]
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
