//! `perf growth`: the slowest requests while the index grows, and while every set evicts.
//!
//! Sets of new items, closed loop, on few connections, so that a pause of the server shows as the maximum of
//! its interval.

use argh::FromArgs;

use crate::load::{self, Mix, Plan, Report, Span};
use crate::process;
use crate::record::{self, Machine};
use crate::server::{Layout, Recipe, Server, Settings};
use crate::value::Pattern;
use crate::zipf::Choice;

/// Measure latency while the index grows million by million, and while evicting at full speed.
#[derive(FromArgs, Clone, Debug)]
#[argh(subcommand, name = "growth")]
pub(crate) struct Flags {
    /// a server, NAME=COMMAND with {port}, {threads} and {memory} in it; may be repeated (memcrsd and memcached)
    #[argh(option)]
    server: Vec<Recipe>,
    /// items, in steps of a million (8)
    #[argh(option, default = "8")]
    millions: u64,
    /// value size, bytes (10)
    #[argh(option, default = "10")]
    value_bytes: usize,
    /// memory while growing, MiB (4096)
    #[argh(option, default = "4096")]
    memory: usize,
    /// memory while evicting, MiB (64)
    #[argh(option, default = "64")]
    evict_memory: usize,
    /// threads of a server (1)
    #[argh(option, default = "1")]
    threads: usize,
}

const MILLION: u64 = 1_000_000;

/// # Errors
/// A message, when a server fails.
pub(crate) fn command(flags: &Flags) -> Result<(), String> {
    let servers = Recipe::named_or_usual(&flags.server);
    let machine = Machine::here();
    println!("{}  {}, Linux {}", record::now(), machine.cpu, machine.kernel);
    Recipe::introduce(&servers, flags.memory)?;
    println!("10 connections, depth 4, values of {} bytes; latencies in us\n", flags.value_bytes);
    println!(
        "{:12} {:24} {:>9} {:>8} {:>8} {:>8} {:>9} {:>9} {:>9}",
        "server", "items", "sets/s", "p50", "p99", "p99.9", "max", "RSS MiB", "refused"
    );
    let pattern = Pattern::new();
    for recipe in &servers {
        phase(recipe, flags, flags.memory, "growing to", &pattern)?;
        phase(recipe, flags, flags.evict_memory, "evicting at", &pattern)?;
    }
    Ok(())
}

fn phase(
    recipe: &Recipe,
    flags: &Flags,
    memory_mib: usize,
    what: &str,
    pattern: &Pattern,
) -> Result<(), String> {
    let cores = process::allowed_cores();
    let layout = Layout::new(&cores, flags.threads);
    let settings = Settings { threads: flags.threads, memory_mib, cores: layout.server };
    let server = Server::start(recipe, &settings)?;
    process::pin(&layout.load)?;
    let mut worst_us = 0.0f64;
    for million in 0..flags.millions {
        let plan = Plan {
            mix: Mix::Set,
            connections: 10,
            depth: 4,
            first: million * MILLION,
            keys: MILLION,
            choice: Choice::Sequential,
            sizes: flags.value_bytes.to_string().parse()?,
            span: Span::Requests(MILLION),
            pid: Some(server.pid()),
            ..Plan::new(&server.address)
        };
        let report = load::run(&plan, pattern)?;
        // memcached refuses a few sets while it evicts: that is a result, not an error.
        if report.wrong > 0 {
            report.verdict()?;
        }
        print_row(&recipe.name, &format!("{what} {} M", million + 1), &report);
        worst_us = worst_us.max(report.latency.max);
    }
    println!("{:12} {what}: longest {:.1} ms\n", recipe.name, worst_us / 1e3);
    process::pin(&cores)
}

fn print_row(server: &str, what: &str, report: &Report) {
    let latency = report.latency;
    println!(
        "{server:12} {what:24} {:>9.0} {:>8.0} {:>8.0} {:>8.0} {:>9.0} {:>9.1} {:>9}",
        report.requests_per_sec,
        latency.p50,
        latency.p99,
        latency.p999,
        latency.max,
        report.server.map_or(0.0, |server| server.rss_bytes as f64 / 1_048_576.0),
        report.refused
    );
}
