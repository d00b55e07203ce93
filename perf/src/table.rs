//! A record as a text table.

use std::fmt::Write as _;

use crate::record::{Record, RowRecord, median};

/// A server that uses less of its cores than this was limited by the generator.
const BUSY_MIN: f64 = 0.9;

/// The whole record as text.
pub(crate) fn render(record: &Record) -> String {
    let mut out = String::new();
    let machine = &record.machine;
    // Writing into a String cannot fail.
    let _ = writeln!(
        out,
        "{}  {}: {}, {} cores, {} MiB, Linux {}; checkout {}",
        record.date,
        machine.name,
        machine.cpu,
        machine.cores,
        machine.memory_mib,
        machine.kernel,
        record.revision
    );
    for server in &record.servers {
        let _ = writeln!(out, "{}  {}  {}", server.name, server.version, server.command);
    }
    let _ = writeln!(
        out,
        "{} rounds of {} s each. rate: keys a second; CPU: us of the server per key; busy: cores the server used, \
         * when that is under {:.0} % of what it had (it was not the limit: compare CPU); load: cores of the load; x: {} / peer, median \
         (of each round)\n",
        record.rounds,
        record.seconds,
        BUSY_MIN * 100.0,
        record.servers[0].name
    );
    for row in &record.rows {
        let _ = writeln!(out, "{}", row.title);
        for index in 0..record.servers.len() {
            let _ = writeln!(out, "{}", line(record, row, index).trim_end());
        }
    }
    out
}

fn line(record: &Record, row: &RowRecord, index: usize) -> String {
    let name = &record.servers[index].name;
    let Some(medians) = row.medians(index) else {
        return format!("  {name:<12} {}", row.error(index).unwrap_or("not run"));
    };
    let limited = medians.cores_busy < BUSY_MIN * row.server_cores.len() as f64;
    let mut line = format!(
        "  {name:<12} {:>9.0}/s  CPU {:>6.2}  busy {:.2}{} load {:.2}  p50 {:>6.0}  p99 {:>6.0} us",
        medians.operations_per_sec,
        medians.cpu_us,
        medians.cores_busy,
        if limited { '*' } else { ' ' },
        medians.load_cores_busy,
        medians.p50_us,
        medians.p99_us,
    );
    if index > 0 {
        let ratios = row.ratios(index);
        let each = |ratios: &[f64]| ratios.iter().map(|r| format!("{r:.2}")).collect::<Vec<_>>().join(" ");
        let figures =
            [("rate", &ratios.rate), ("CPU", &ratios.cpu), ("p50", &ratios.p50), ("p99", &ratios.p99)];
        for (what, ratios) in figures {
            if let Some(median) = median(ratios.clone()) {
                let _ = write!(line, "  {what} x {median:.2} ({})", each(ratios));
            }
        }
    }
    if let Some(error) = row.error(index) {
        let _ = write!(line, "  FAILED: {error}");
    }
    line
}
