//! Computes a [`View`], which is what is shown, from two samples: rates, shares and sizes; also writes numbers in short form
//! (`short`, `bytes`, `percent`). Does no I/O, so that tests can make up samples.

use super::sample::{List, Sample};
use std::fmt::Write as _;

/// Requests of one kind in the last period, and their share of hits.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rate {
    pub(super) name: &'static str,
    pub(super) per_sec: f64,
    /// Share of these requests that were hits, from 0 to 1; `None` if there was no request, or this kind has no misses.
    pub(super) hits: Option<f64>,
}

/// Percentiles of the time that one kind of request took since the last `stats reset`, microseconds.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Latency {
    pub(super) name: String,
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) p999: f64,
}

/// The load of one ring in the last period.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ring {
    pub(super) connections: u64,
    pub(super) per_sec: f64,
    /// Share of the period, from 0 to 1, in which the ring's thread was on the CPU; `None` if the server does not say.
    pub(super) busy: Option<f64>,
}

/// All figures that the screen or a line shows.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct View {
    pub(super) title: String,
    pub(super) rates: Vec<Rate>,
    pub(super) per_sec: f64,
    pub(super) get_hits: Option<f64>,
    pub(super) latencies: Vec<Latency>,
    /// Parts of the memory in use, each with its bytes; empty for a server that does not report them.
    pub(super) memory: Vec<(&'static str, f64)>,
    pub(super) limit: f64,
    pub(super) used: f64,
    pub(super) items: f64,
    pub(super) evicted_per_sec: f64,
    pub(super) received_per_sec: f64,
    pub(super) sent_per_sec: f64,
    pub(super) connections: f64,
    pub(super) connections_max: f64,
    pub(super) rings: Vec<Ring>,
    /// The most frequent keys, each with its share of requests in percent, which is shown as the server wrote it.
    pub(super) hotkeys: Vec<(String, String)>,
}

/// Kinds of requests, each with the statistics that count its hits, and the statistics that count its misses.
const KINDS: &[(&str, &[&str], &[&str])] = &[
    ("get", &["get_hits"], &["get_misses"]),
    ("set", &["cmd_set"], &[]),
    ("delete", &["delete_hits"], &["delete_misses"]),
    ("incr, decr", &["incr_hits", "decr_hits"], &["incr_misses", "decr_misses"]),
    ("touch", &["touch_hits"], &["touch_misses"]),
    ("cas", &["cas_hits"], &["cas_misses", "cas_badval"]),
];

/// Number of [`KINDS`], from the first on, whose sum is shown as all requests. The last kind, cas, is not added, since a store
/// with a cas is in `cmd_set` too. A hit of gat counts twice, as get and as touch.
const COUNTED_ONCE: usize = 5;

/// The kinds of request in `stats latency`.
const TIMED: &[&str] =
    &["get", "set", "delete", "arith", "touch", "meta_get", "meta_set", "meta_delete", "meta_arith", "other"];

/// Parts of the memory, named as in `stats memory` but without `_bytes`.
const PARTS: &[&str] = &["segments", "large", "index", "ghosts", "free", "resident", "promised"];

fn number(list: &List, name: &str) -> f64 {
    list.get(name)
        .and_then(|value| value.parse().ok())
        .filter(|number: &f64| number.is_finite())
        .unwrap_or(0.0)
}

impl View {
    /// The view of what happened from `old` to `new`.
    pub(super) fn between(old: &Sample, new: &Sample) -> Self {
        let secs = new.at.duration_since(old.at).as_secs_f64().max(1e-3);
        // A counter that went back was reset, or the server is another one.
        let grown = |name: &str| (number(&new.general, name) - number(&old.general, name)).max(0.0);
        let rates: Vec<_> = KINDS
            .iter()
            .map(|(name, hits, misses)| {
                let found: f64 = hits.iter().map(|name| grown(name)).sum();
                let all = found + misses.iter().map(|name| grown(name)).sum::<f64>();
                let hits = (all > 0.0 && !misses.is_empty()).then(|| found / all);
                Rate { name, per_sec: all / secs, hits }
            })
            .collect();
        let memory: Vec<_> = PARTS
            .iter()
            .filter(|part| new.memory.contains_key(&format!("{part}_bytes")))
            .map(|part| (*part, number(&new.memory, &format!("{part}_bytes"))))
            .collect();
        let used =
            if memory.is_empty() { number(&new.general, "bytes") } else { number(&new.memory, "used_bytes") };
        Self {
            title: title(new),
            per_sec: rates[..COUNTED_ONCE].iter().map(|rate| rate.per_sec).sum(),
            get_hits: rates[0].hits,
            rates,
            latencies: latencies(&new.latency),
            memory,
            limit: number(&new.general, "limit_maxbytes"),
            used,
            items: number(&new.general, "curr_items"),
            evicted_per_sec: grown("evictions") / secs,
            received_per_sec: grown("bytes_read") / secs,
            sent_per_sec: grown("bytes_written") / secs,
            connections: number(&new.general, "curr_connections"),
            connections_max: number(&new.general, "max_connections"),
            rings: rings(&old.rings, &new.rings, secs),
            hotkeys: hotkeys(&new.hotkeys),
        }
    }
}

fn title(sample: &Sample) -> String {
    let text = |list: &List, name: &str| list.get(name).cloned().unwrap_or_default();
    let general = &sample.general;
    let version = text(general, "version");
    // Where general `stats` has exactly memcached's names, memcrsd's version is in a list of its own.
    let own = [general, &sample.memcrsd].into_iter().find_map(|list| list.get("memcrsd_version")).cloned();
    let mut title = match own.unwrap_or_default() {
        own if own.is_empty() => format!("memcached {version}"),
        own => format!("memcrsd {own} as memcached {version}"),
    };
    let up = number(general, "uptime") as u64;
    let (days, hours, minutes) = (up / 86_400, up / 3_600 % 24, up / 60 % 60);
    let threads = text(general, "threads");
    // Writing to a String cannot fail.
    let _ = write!(title, ", up {days}d {hours:02}:{minutes:02}:{:02}, {threads} threads", up % 60);
    if let Some(engine) = sample.settings.get("io_engine") {
        let _ = write!(title, ", {engine}");
    }
    title
}

fn latencies(list: &List) -> Vec<Latency> {
    let timed = TIMED.iter().filter(|kind| number(list, &format!("{kind}:count")) > 0.0);
    let mut found: Vec<_> = timed
        .map(|kind| {
            let of = |what: &str| number(list, &format!("{kind}:{what}"));
            let latency = Latency {
                name: (*kind).to_owned(),
                p50: of("p50_us"),
                p99: of("p99_us"),
                p999: of("p999_us"),
            };
            (of("count"), latency)
        })
        .collect();
    // The most frequent first, where there is no room for all.
    found.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    found.into_iter().map(|(_, latency)| latency).collect()
}

/// Most rings that are shown.
const RINGS_MAX: usize = 1024;

fn rings(old: &List, new: &List, secs: f64) -> Vec<Ring> {
    (0..RINGS_MAX)
        .map_while(|ring| {
            let name = |what: &str| format!("{ring}:{what}");
            new.get(&name("requests"))?;
            let grown = |what: &str| (number(new, &name(what)) - number(old, &name(what))).max(0.0);
            let busy = new.contains_key(&name("cpu_seconds")).then(|| (grown("cpu_seconds") / secs).min(1.0));
            let connections = number(new, &name("connections")) as u64;
            Some(Ring { connections, per_sec: grown("requests") / secs, busy })
        })
        .collect()
}

fn hotkeys(list: &List) -> Vec<(String, String)> {
    (1..=20)
        .map_while(|place| {
            let key = list.get(&format!("{place}:key"))?.clone();
            let percent = list.get(&format!("{place}:percent")).cloned().unwrap_or_default();
            Some((key, percent))
        })
        .collect()
}

/// Writes a count in at most five characters, such as `1.50k`.
pub(super) fn short(number: f64) -> String {
    match number {
        n if n < 999.5 => format!("{n:.0}"),
        n if n < 999_500.0 => scaled(n / 1e3, 'k'),
        n if n < 999_500_000.0 => scaled(n / 1e6, 'M'),
        n => scaled(n / 1e9, 'G'),
    }
}

fn scaled(number: f64, unit: char) -> String {
    if number < 9.995 { format!("{number:.2}{unit}") } else { format!("{number:.0}{unit}") }
}

/// Writes a number of bytes, in binary units.
pub(super) fn bytes(number: f64) -> String {
    let mut number = number;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if number < 1023.5 {
            return format!("{number:.0} {unit}");
        }
        number /= 1024.0;
    }
    format!("{number:.1} TiB")
}

/// Writes a share (0 to 1) in percent, or a dash for `None`.
pub(super) fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{:.1}%", 100.0 * share))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn list(text: &str) -> List {
        text.lines()
            .filter_map(|line| line.trim().split_once(' '))
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .collect()
    }

    /// Two samples a second apart, as memcrsd gives them.
    pub(crate) fn samples() -> (Sample, Sample) {
        let at = Instant::now();
        let old = Sample {
            at,
            general: list(
                "get_hits 100\nget_misses 0\ncmd_set 10\nevictions 5\nbytes_read 1000\nbytes_written 0",
            ),
            memory: List::new(),
            latency: List::new(),
            rings: list("0:requests 100\n0:cpu_seconds 1.0\n1:requests 0\n1:cpu_seconds 0.5"),
            hotkeys: List::new(),
            settings: List::new(),
            memcrsd: List::new(),
        };
        let general = "get_hits 19100\nget_misses 1000\ncmd_set 2010\nevictions 105\nbytes_read 2001000\n\
            bytes_written 9000000\nversion 1.6.45\nmemcrsd_version 0.1.0\nuptime 93784\nthreads 2\n\
            limit_maxbytes 67108864\nbytes 30000000\ncurr_items 123456\ncurr_connections 50\nmax_connections 1024\n\
            cas_hits 3\ncas_badval 1";
        let memory = "used_bytes 60000000\nsegments_bytes 50000000\nlarge_bytes 0\nindex_bytes 9000000\n\
            ghosts_bytes 1000000\nfree_bytes 7108864\nresident_bytes 70000000\npromised_bytes 86110596";
        let latency = "sampled_one_in 128\nget:count 1000\nget:p50_us 1.100\nget:p99_us 9.000\nget:p999_us 20.500\n\
            set:count 5000\nset:p50_us 2.000\nset:p99_us 12.000\nset:p999_us 40.000\ntouch:count 0";
        let new = Sample {
            at: at + Duration::from_secs(1),
            general: list(general),
            memory: list(memory),
            latency: list(latency),
            rings: list(
                "0:connections 20\n0:requests 20100\n0:cpu_seconds 1.9\n1:connections 30\n1:requests 1000\n1:cpu_seconds 0.6",
            ),
            hotkeys: list("1:key user%3A1\n1:percent 12.50\n2:key b\n2:percent 3.00"),
            settings: list("io_engine uring"),
            memcrsd: List::new(),
        };
        (old, new)
    }

    #[test]
    fn rates_are_differences_over_time() {
        let (old, new) = samples();
        let view = View::between(&old, &new);
        assert_eq!(view.rates[0], Rate { name: "get", per_sec: 20_000.0, hits: Some(0.95) });
        assert_eq!(view.rates[1], Rate { name: "set", per_sec: 2_000.0, hits: None });
        assert_eq!(view.rates[5], Rate { name: "cas", per_sec: 4.0, hits: Some(0.75) });
        assert_eq!((view.per_sec, view.evicted_per_sec), (22_000.0, 100.0));
        assert_eq!(view.title, "memcrsd 0.1.0 as memcached 1.6.45, up 1d 02:03:04, 2 threads, uring");
        assert_eq!(view.latencies.iter().map(|of| &of.name[..]).collect::<Vec<_>>(), ["set", "get"]);
        assert_eq!((view.rings[0].connections, view.rings[0].per_sec), (20, 20_000.0));
        assert!((view.rings[0].busy.unwrap() - 0.9).abs() < 1e-9);
        assert_eq!(view.hotkeys[0], ("user%3A1".to_owned(), "12.50".to_owned()));
    }

    /// A watched memcached has none of memcrsd's lists, and a counter may go back.
    #[test]
    fn what_a_server_does_not_say_is_left_out() {
        let (mut old, mut new) = samples();
        old.general.insert("get_hits".to_owned(), "999999".to_owned());
        for list in [&mut new.memory, &mut new.latency, &mut new.rings, &mut new.hotkeys, &mut new.settings] {
            list.clear();
        }
        new.general.remove("memcrsd_version");
        new.general.insert("curr_items".to_owned(), "many".to_owned());
        let view = View::between(&old, &new);
        assert_eq!((view.rates[0].per_sec, view.rates[0].hits), (1_000.0, Some(0.0)));
        assert!(view.memory.is_empty() && view.latencies.is_empty() && view.rings.is_empty());
        assert_eq!((view.used, view.items), (30_000_000.0, 0.0));
        assert!(view.title.starts_with("memcached 1.6.45, up"), "{}", view.title);
    }

    #[test]
    fn numbers_are_short() {
        let cases = [
            (0.0, "0"),
            (999.4, "999"),
            (999.6, "1.00k"),
            (12_345.0, "12k"),
            (999_600.0, "1.00M"),
            (5e9, "5.00G"),
        ];
        for (number, text) in cases {
            assert_eq!(short(number), text);
        }
        assert_eq!(
            (bytes(1023.0), bytes(1024.0), bytes(67_108_864.0)),
            ("1023 B".into(), "1 KiB".into(), "64 MiB".into())
        );
        assert_eq!((percent(None), percent(Some(0.951))), ("-".into(), "95.1%".into()));
    }
}
