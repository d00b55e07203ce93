//! The record of a comparison: what was measured and where, as JSON.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::load::Report;

/// A comparison of servers on one machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// When it began, UTC.
    pub(crate) date: String,
    /// `git describe` of where it was run; empty outside a checkout.
    #[serde(default)]
    pub(crate) revision: String,
    pub(crate) machine: Machine,
    pub(crate) rounds: usize,
    /// Time measured in each round, seconds.
    pub(crate) seconds: f64,
    /// The first is the subject, the others are what it is compared with.
    pub(crate) servers: Vec<ServerRecord>,
    pub(crate) rows: Vec<RowRecord>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) name: String,
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) memory_mib: u64,
    pub(crate) kernel: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ServerRecord {
    pub(crate) name: String,
    pub(crate) command: String,
    /// The configuration file that the command names, with its placeholders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) config: Option<String>,
    pub(crate) version: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RowRecord {
    pub(crate) id: String,
    pub(crate) title: String,
    /// Cores of the server and of the load.
    pub(crate) server_cores: Vec<usize>,
    pub(crate) load_cores: Vec<usize>,
    /// By server, in the order of [`Record::servers`], then by round.
    pub(crate) cells: Vec<Vec<Cell>>,
}

/// One run of one server: its figures, or an error.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Cell {
    pub(crate) report: Option<Report>,
    pub(crate) error: Option<String>,
}

/// The medians of one server in one row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Medians {
    pub(crate) operations_per_sec: f64,
    pub(crate) cpu_us: f64,
    pub(crate) cores_busy: f64,
    /// Of the generator.
    pub(crate) load_cores_busy: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) rss_bytes: f64,
}

/// The subject's figure divided by a peer's, of each round, in the order of the rounds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ratios {
    pub(crate) rate: Vec<f64>,
    pub(crate) cpu: Vec<f64>,
    pub(crate) p50: Vec<f64>,
    pub(crate) p99: Vec<f64>,
}

impl RowRecord {
    pub(crate) fn medians(&self, server: usize) -> Option<Medians> {
        let reports: Vec<&Report> =
            self.cells.get(server)?.iter().filter_map(|cell| cell.report.as_ref()).collect();
        let of = |figure: fn(&Report) -> f64| median(reports.iter().map(|report| figure(report)).collect());
        Some(Medians {
            operations_per_sec: of(|report| report.operations_per_sec)?,
            cpu_us: of(|report| report.server.map_or(f64::NAN, |server| server.cpu_us_per_operation))?,
            cores_busy: of(|report| report.server.map_or(f64::NAN, |server| server.cores_busy))?,
            load_cores_busy: of(|report| report.load_cores_busy)?,
            p50_us: of(|report| report.latency.p50)?,
            p99_us: of(|report| report.latency.p99)?,
            rss_bytes: of(|report| report.server.map_or(f64::NAN, |server| server.rss_bytes as f64))?,
        })
    }

    pub(crate) fn ratios(&self, peer: usize) -> Ratios {
        let mut ratios = Ratios { rate: Vec::new(), cpu: Vec::new(), p50: Vec::new(), p99: Vec::new() };
        for (ours, theirs) in self.cells[0].iter().zip(&self.cells[peer]) {
            let (Some(ours), Some(theirs)) = (&ours.report, &theirs.report) else { continue };
            ratios.rate.push(ours.operations_per_sec / theirs.operations_per_sec);
            ratios.p50.push(ours.latency.p50 / theirs.latency.p50);
            ratios.p99.push(ours.latency.p99 / theirs.latency.p99);
            if let (Some(ours), Some(theirs)) = (ours.server, theirs.server) {
                ratios.cpu.push(ours.cpu_us_per_operation / theirs.cpu_us_per_operation);
            }
        }
        ratios
    }

    /// The first error of a server in this row.
    pub(crate) fn error(&self, server: usize) -> Option<&str> {
        self.cells.get(server)?.iter().find_map(|cell| cell.error.as_deref())
    }
}

/// The middle value, or the mean of the two middle values; `None` if there are none.
pub(crate) fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    if figures.len() % 2 == 1 {
        return figures.get(middle).copied();
    }
    Some(f64::midpoint(*figures.get(middle.checked_sub(1)?)?, *figures.get(middle)?))
}

impl Machine {
    /// The machine this runs on.
    pub(crate) fn here() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            line.split_once(':').map_or(String::new(), |(_, value)| value.trim().to_owned())
        };
        let memory_kib: u64 =
            field(&read("/proc/meminfo"), "MemTotal").trim_end_matches(" kB").parse().unwrap_or_default();
        Self {
            name: read("/proc/sys/kernel/hostname").trim().to_owned(),
            cpu: field(&read("/proc/cpuinfo"), "model name"),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            memory_mib: memory_kib >> 10,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        }
    }
}

/// `git describe` of the current checkout; empty outside of one.
pub(crate) fn revision() -> String {
    let output = Command::new("git").args(["describe", "--always", "--dirty"]).output();
    output.map_or(String::new(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Now, UTC, to the second.
pub(crate) fn now() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}

impl Record {
    /// # Errors
    /// A message, when the file cannot be read or is no record.
    pub(crate) fn load(path: &Path) -> Result<Self, String> {
        let text = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
        serde_json::from_slice(&text).map_err(|e| format!("{} is no record: {e}", path.display()))
    }

    /// Writes `DATE-MACHINE.json` and the table beside it into `folder`; returns the path of the JSON.
    ///
    /// # Errors
    /// A message, when a file cannot be written.
    pub(crate) fn save(&self, folder: &Path, table: &str) -> Result<PathBuf, String> {
        let failed = |e: std::io::Error| format!("cannot write into {}: {e}", folder.display());
        std::fs::create_dir_all(folder).map_err(failed)?;
        let date: String = self.date.chars().filter(|c| c.is_ascii_digit() || *c == 'T').take(13).collect();
        let path = folder.join(format!("{date}-{}.json", self.machine.name));
        let json = serde_json::to_string_pretty(self).map_err(|e| e.to_string())?;
        std::fs::write(&path, json + "\n").map_err(failed)?;
        std::fs::write(path.with_extension("txt"), table).map_err(failed)?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0]), Some(2.5));
    }
}
