//! The results of a load, as text and as JSON.

use std::fmt;
use std::time::Instant;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::context::Tally;
use crate::process::Sample;

/// Counters, clocks and process at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub(super) at: Instant,
    pub(super) requests: u64,
    pub(super) operations: u64,
    pub(super) process: Option<Sample>,
    /// CPU time of this process.
    pub(super) own_cpu_ns: u64,
}

/// The figures of one load.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Time measured, seconds.
    pub(crate) seconds: f64,
    /// Requests answered a second. A get of 100 keys is one request.
    pub(crate) requests_per_sec: f64,
    /// Keys read or written a second.
    pub(crate) operations_per_sec: f64,
    pub(crate) latency: Latency,
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    pub(crate) sets: u64,
    /// Values with wrong bytes, length or flags; the warm-up included. Must be 0.
    pub(crate) wrong: u64,
    /// Requests answered with an error; the warm-up included.
    pub(crate) refused: u64,
    /// The first error.
    pub(crate) complaint: Option<String>,
    /// Cores the generator kept busy. Close to its number of threads, it was the bottleneck; an open loop spins
    /// while it waits.
    pub(crate) load_cores_busy: f64,
    pub(crate) server: Option<Server>,
}

/// Latencies in microseconds; in an open loop from when a request was due.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) mean: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

/// CPU time and memory of the server's process.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Server {
    /// CPU time (user and kernel, all threads) per operation, microseconds.
    pub(crate) cpu_us_per_operation: f64,
    /// Cores it kept busy: 1.0 is one core all the time.
    pub(crate) cores_busy: f64,
    /// Share of its CPU time in user mode.
    pub(crate) user_share: f64,
    /// Resident bytes at the end.
    pub(crate) rss_bytes: u64,
}

impl Report {
    pub(super) fn new(start: &Mark, end: &Mark, tally: Tally, latency: &Histogram<u64>) -> Self {
        let seconds = (end.at - start.at).as_secs_f64().max(1e-9);
        Self {
            seconds,
            requests_per_sec: (end.requests - start.requests) as f64 / seconds,
            operations_per_sec: (end.operations - start.operations) as f64 / seconds,
            latency: Latency::of(latency),
            hits: tally.hits,
            misses: tally.misses,
            sets: tally.sets,
            wrong: tally.wrong,
            refused: tally.refused,
            complaint: tally.complaint,
            load_cores_busy: (end.own_cpu_ns - start.own_cpu_ns) as f64 / 1e9 / seconds,
            server: server(start, end, seconds),
        }
    }

    /// # Errors
    /// A message, when a reply was wrong or refused.
    pub(crate) fn verdict(&self) -> Result<(), String> {
        if self.wrong == 0 && self.refused == 0 {
            return Ok(());
        }
        let first = self.complaint.as_deref().unwrap_or("");
        Err(format!(
            "{} values were wrong and {} requests refused; the first: {first}",
            self.wrong, self.refused
        ))
    }
}

fn server(start: &Mark, end: &Mark, seconds: f64) -> Option<Server> {
    let (before, after) = (start.process?, end.process?);
    let cpu_ns = (after.cpu_ns - before.cpu_ns) as f64;
    let user = (after.user_ticks - before.user_ticks) as f64;
    let kernel = (after.kernel_ticks - before.kernel_ticks) as f64;
    Some(Server {
        cpu_us_per_operation: cpu_ns / 1e3 / ((end.operations - start.operations).max(1) as f64),
        cores_busy: cpu_ns / 1e9 / seconds,
        user_share: user / (user + kernel).max(1.0),
        rss_bytes: after.rss_bytes,
    })
}

impl Latency {
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        let us = |ns: u64| ns as f64 / 1e3;
        Self {
            mean: histogram.mean() / 1e3,
            p50: us(histogram.value_at_quantile(0.5)),
            p99: us(histogram.value_at_quantile(0.99)),
            p999: us(histogram.value_at_quantile(0.999)),
            max: us(histogram.max()),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "requests/s      {:>12.0}", self.requests_per_sec)?;
        if (self.operations_per_sec - self.requests_per_sec).abs() > 0.5 {
            writeln!(f, "keys/s          {:>12.0}", self.operations_per_sec)?;
        }
        let Latency { mean, p50, p99, p999, max } = self.latency;
        writeln!(
            f,
            "latency, us     mean {mean:.0}  p50 {p50:.0}  p99 {p99:.0}  p99.9 {p999:.0}  max {max:.0}"
        )?;
        if self.hits + self.misses > 0 {
            let share = 100.0 * self.hits as f64 / (self.hits + self.misses) as f64;
            writeln!(f, "hits            {:>12}  ({share:.2} %)", self.hits)?;
        }
        if self.sets > 0 {
            writeln!(f, "sets            {:>12}", self.sets)?;
        }
        if let Some(server) = &self.server {
            writeln!(f, "server CPU      {:>12.2}  us per key", server.cpu_us_per_operation)?;
            writeln!(
                f,
                "server cores    {:>12.2}  busy, {:.0} % of it in user mode",
                server.cores_busy,
                100.0 * server.user_share
            )?;
            writeln!(f, "server memory   {:>12.1}  MiB resident", server.rss_bytes as f64 / 1_048_576.0)?;
        }
        writeln!(f, "load cores      {:>12.2}  busy", self.load_cores_busy)?;
        writeln!(f, "wrong, refused  {:>12}  {}", self.wrong, self.refused)
    }
}

/// A line about the time between two marks.
pub(super) fn progress(last: &Mark, now: &Mark) -> String {
    let seconds = (now.at - last.at).as_secs_f64().max(1e-9);
    let rate = (now.requests - last.requests) as f64 / seconds;
    match server(last, now, seconds) {
        Some(server) => format!(
            "{rate:>10.0} requests/s   server {:.2} cores, {:.1} MiB",
            server.cores_busy,
            server.rss_bytes as f64 / 1_048_576.0
        ),
        None => format!("{rate:>10.0} requests/s"),
    }
}
