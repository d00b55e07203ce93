//! `perf flash`: servers with values on flash (memcached's extstore, memcrsd's tier): CPU time and latency of gets whose values
//! are mostly there, and how much is written for what is moved.
//!
//! memcached reads and writes through the page cache, memcrsd directly where the file system allows it: so the device is faster
//! for memcached as long as the kernel has memory for its file.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use argh::FromArgs;

use crate::client;
use crate::load::{self, Arrivals, Mix, Plan, Report, Span};
use crate::process;
use crate::record::{self, Machine};
use crate::server::{Layout, Recipe, Server, Settings, TempFile};
use crate::value::Pattern;
use crate::zipf::Choice;

/// Compare servers whose values are mostly on flash.
#[derive(FromArgs, Clone, Debug)]
#[argh(subcommand, name = "flash")]
pub(crate) struct Flags {
    /// items (150000)
    #[argh(option, default = "150_000")]
    items: u64,
    /// value size, bytes (4096)
    #[argh(option, default = "4096")]
    value_bytes: usize,
    /// memory of a server, MiB (64)
    #[argh(option, default = "64")]
    memory: usize,
    /// size of its file, MiB (2048)
    #[argh(option, default = "2048")]
    size: usize,
    /// threads of a server (1)
    #[argh(option, default = "1")]
    threads: usize,
    /// sets a second while it is filled, so that the device keeps up (15000)
    #[argh(option, default = "15_000.0")]
    fill_rate: f64,
    /// seconds measured of each load (3)
    #[argh(option, default = "3.0")]
    seconds: f64,
    /// rounds (3)
    #[argh(option, default = "3")]
    rounds: usize,
    /// directory of the files, on the device to be measured (/var/tmp)
    #[argh(option, default = "PathBuf::from(\"/var/tmp\")")]
    directory: PathBuf,
    /// a server, NAME=COMMAND with {port}, {threads} and {memory} in it; `-o ext_path` is added; may be repeated (memcrsd,
    /// memcached)
    #[argh(option)]
    server: Vec<Recipe>,
}

/// The longest wait until a server has written what it is going to.
const SETTLE_SECS_MAX: u64 = 30;
const KEYS_OF_MULTIGET: usize = 50;

/// What the server counts that has a tier.
#[derive(Clone, Copy, Debug)]
struct Counted {
    objects_read: u64,
    objects_written: u64,
    objects_used: u64,
    bytes_written: u64,
    misses_of_reads: u64,
}

impl Counted {
    fn of(server: &Server) -> Result<Self, String> {
        let stats = client::stats(&server.address)?;
        let number = |name: &str| {
            let value = stats.get(name).ok_or_else(|| format!("the server's stats have no {name}"))?;
            value.parse::<u64>().map_err(|e| format!("{name} {value:?}: {e}"))
        };
        Ok(Self {
            objects_read: number("extstore_objects_read")?,
            objects_written: number("extstore_objects_written")?,
            objects_used: number("extstore_objects_used")?,
            bytes_written: number("extstore_bytes_written")?,
            misses_of_reads: number("miss_from_extstore")?,
        })
    }
}

/// # Errors
/// A message, when a server fails or gives a wrong value.
pub(crate) fn command(flags: &Flags) -> Result<(), String> {
    let machine = Machine::here();
    let servers = Recipe::named_or_usual(&flags.server);
    println!("{}  {}, Linux {}", record::now(), machine.cpu, machine.kernel);
    println!(
        "{} items of {} bytes, -m {}, file of {} MiB in {}\n",
        flags.items,
        flags.value_bytes,
        flags.memory,
        flags.size,
        flags.directory.display()
    );
    println!(
        "{:10} {:24} {:>9} {:>9} {:>9} {:>9} {:>9} {:>8} {:>8}",
        "server", "load", "ops/s", "us CPU/op", "p50 us", "p99 us", "p99.9", "hits %", "flash %"
    );
    for _ in 0..flags.rounds {
        for recipe in &servers {
            measure(flags, recipe)?;
        }
    }
    Ok(())
}

/// One server, from an empty file on.
fn measure(flags: &Flags, recipe: &Recipe) -> Result<(), String> {
    let file = TempFile(flags.directory.join(format!("perf-flash-{}-{}", recipe.name, std::process::id())));
    let mut recipe = recipe.clone();
    recipe.command = format!("{} -o ext_path={}:{}m", recipe.command, file.0.display(), flags.size);
    let cores = process::allowed_cores();
    let layout = Layout::new(&cores, flags.threads);
    let settings = Settings { threads: flags.threads, memory_mib: flags.memory, cores: layout.server };
    let server = Server::start(&recipe, &settings)?;
    process::pin(&layout.load)?;
    let result = run(flags, &recipe, &server);
    process::pin(&cores)?;
    result
}

fn run(flags: &Flags, recipe: &Recipe, server: &Server) -> Result<(), String> {
    let pattern = Pattern::new();
    let plan = Plan {
        pid: Some(server.pid()),
        keys: flags.items,
        sizes: flags.value_bytes.to_string().parse()?,
        span: Span::Seconds { warmup: 0.5, measured: flags.seconds },
        ..Plan::new(&server.address)
    };
    let fill = Plan { rate: Some((flags.fill_rate, Arrivals::Even)), ..plan.preload() };
    let filled = load::run(&fill, &pattern)?;
    filled.verdict()?;
    settle(server)?;
    show(&recipe.name, "fill", &filled, 0, filled.sets);
    let loads = [
        ("get, 50 connections", Plan { connections: 50, ..plan.clone() }),
        ("get, depth 16", Plan { connections: 50, depth: 16, ..plan.clone() }),
        ("get, 1 connection", Plan { connections: 1, ..plan.clone() }),
        (
            "get of 50 keys, 1 conn.",
            Plan { connections: 1, mix: Mix::Multiget(KEYS_OF_MULTIGET), ..plan.clone() },
        ),
    ];
    for (title, load) in loads {
        let before = Counted::of(server)?;
        let report = load::run(&load, &pattern)?;
        report.verdict()?;
        let after = Counted::of(server)?;
        let read = after.objects_read - before.objects_read;
        show(&recipe.name, title, &report, read, report.hits + report.misses);
    }
    write_amplification(flags, recipe, server, &plan, &pattern)
}

/// Overwrites by popularity; bytes written to the device for each byte of a value that was moved there.
fn write_amplification(
    flags: &Flags,
    recipe: &Recipe,
    server: &Server,
    plan: &Plan,
    pattern: &Pattern,
) -> Result<(), String> {
    let before = Counted::of(server)?;
    let overwrite = Plan {
        mix: Mix::Mixed { set_share: 0.5 },
        choice: Choice::Zipf(1.0),
        rate: Some((flags.fill_rate, Arrivals::Even)),
        span: Span::Requests(2 * flags.items),
        ..plan.clone()
    };
    let report = load::run(&overwrite, pattern)?;
    report.verdict()?;
    settle(server)?;
    let after = Counted::of(server)?;
    let moved = (after.objects_written - before.objects_written) * flags.value_bytes as u64;
    let written = after.bytes_written - before.bytes_written;
    show(&recipe.name, "50 % set, zipf 1.0", &report, after.objects_read - before.objects_read, report.hits);
    println!(
        "{:10} {} MiB written for {} MiB of sets, {:.2} for a byte that was moved; {} values on flash, {} reads missed",
        recipe.name,
        written >> 20,
        (report.sets * flags.value_bytes as u64) >> 20,
        written as f64 / moved.max(1) as f64,
        after.objects_used,
        after.misses_of_reads
    );
    Ok(())
}

/// Waits until nothing more is written.
fn settle(server: &Server) -> Result<(), String> {
    let deadline = Instant::now() + Duration::from_secs(SETTLE_SECS_MAX);
    let mut written = Counted::of(server)?.bytes_written;
    loop {
        // There is no event for another process's writes.
        std::thread::sleep(Duration::from_millis(500));
        let now = Counted::of(server)?.bytes_written;
        if now == written || Instant::now() > deadline {
            return Ok(());
        }
        written = now;
    }
}

fn show(server: &str, title: &str, report: &Report, read: u64, of: u64) {
    let cpu = report.server.map_or(0.0, |server| server.cpu_us_per_operation);
    let latency = report.latency;
    let looked_up = (report.hits + report.misses).max(1);
    println!(
        "{server:10} {title:24} {:>9.0} {cpu:>9.2} {:>9.0} {:>9.0} {:>9.0} {:>8.2} {:>8.1}",
        report.operations_per_sec,
        latency.p50,
        latency.p99,
        latency.p999,
        100.0 * report.hits as f64 / looked_up as f64,
        100.0 * read as f64 / of.max(1) as f64
    );
}
