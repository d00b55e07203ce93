//! `perf restore`: how long a server with a memory file (-e) takes to have its items again, after a clean stop and after a
//! kill. Fills it, ends it, starts it, and reads items back.

use std::path::PathBuf;
use std::time::Instant;

use argh::FromArgs;
use nix::sys::signal::Signal;

use crate::client;
use crate::fill::Filler;
use crate::load::{self, Mix, Plan, Span};
use crate::process;
use crate::record::{self, Machine};
use crate::server::{Recipe, Server, Settings, TempFile};
use crate::value::{KEY_LEN_MAX, KEY_LEN_MIN, Pattern};
use crate::zipf::Choice;

/// Fill a server that keeps its items in a memory file, restart it, and print how long that takes.
#[derive(FromArgs, Clone, Debug)]
#[argh(subcommand, name = "restore")]
pub(crate) struct Flags {
    /// items (1000000)
    #[argh(option, default = "1_000_000")]
    items: u64,
    /// value size, bytes (100)
    #[argh(option, default = "100")]
    value_bytes: usize,
    /// key length, bytes (20)
    #[argh(option, default = "20")]
    key_bytes: usize,
    /// memory of the server, MiB (what the items need with every thread's index)
    #[argh(option)]
    memory: Option<usize>,
    /// threads of the server (2)
    #[argh(option, default = "2")]
    threads: usize,
    /// directory of the memory file, on a tmpfs (/dev/shm)
    #[argh(option, default = "PathBuf::from(\"/dev/shm\")")]
    directory: PathBuf,
    /// starts after each way to end (3)
    #[argh(option, default = "3")]
    rounds: usize,
    /// the server, NAME=COMMAND with {port}, {threads} and {memory} in it; -e is added (memcrsd)
    #[argh(option)]
    server: Option<Recipe>,
}

/// Items that are read back after each start.
const READ_MAX: u64 = 100_000;
/// What an item takes besides key and value, without indexes; and what an index takes. Both with a margin.
const HEAD_BYTES: u64 = 32;
const INDEX_BYTES: u64 = 13;

/// # Errors
/// A message, when a server fails, loses an item or gives a wrong value.
pub(crate) fn command(flags: &Flags) -> Result<(), String> {
    if !(KEY_LEN_MIN..=KEY_LEN_MAX).contains(&flags.key_bytes) {
        return Err(format!("--key-bytes is {KEY_LEN_MIN} to {KEY_LEN_MAX}"));
    }
    let file = TempFile(flags.directory.join(format!("memcrsd-perf-restore-{}", std::process::id())));
    let mut recipe = flags.server.clone().unwrap_or_else(Recipe::memcrsd);
    recipe.command = format!("{} -e {}", recipe.command, file.0.display());
    let item_bytes = (flags.key_bytes + flags.value_bytes) as u64 + HEAD_BYTES;
    let item_bytes = item_bytes + INDEX_BYTES * flags.threads.min(4) as u64;
    let needed = ((flags.items * item_bytes) >> 20) as usize + 16;
    let settings = Settings {
        threads: flags.threads,
        memory_mib: flags.memory.unwrap_or(needed + needed / 8),
        cores: process::allowed_cores(),
    };
    let machine = Machine::here();
    println!("{}  {}, Linux {}", record::now(), machine.cpu, machine.kernel);
    println!("{}  -m {}  {}\n", recipe.name, settings.memory_mib, recipe.command);
    println!(
        "{:>9} {:>7} {:>10} {:>12} {:>10} {:>10} {:>9} {:>9}",
        "items", "value", "after", "restored in", "M items/s", "answers in", "RSS MiB", "were MiB"
    );
    let pattern = Pattern::new();
    let mut server = Server::start(&recipe, &settings)?;
    Filler::new(&server.address, flags.key_bytes)?.set(&pattern, flags.items, flags.value_bytes)?;
    let held = client::stat(&server.address, "curr_items")?;
    if held != flags.items {
        return Err(format!("{held} items are held of {}: --memory is too little", flags.items));
    }
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        for _ in 0..flags.rounds {
            let before = process::sample(server.pid())?.rss_bytes;
            server.end(signal)?;
            let start = Instant::now();
            server = Server::start(&recipe, &settings)?;
            let answered = start.elapsed().as_secs_f64();
            let rss_bytes = process::sample(server.pid())?.rss_bytes;
            let secs = check(&server, flags, &pattern)?;
            println!(
                "{:>9} {:>7} {:>10} {:>10.3} s {:>10.2} {:>8.3} s {:>9.1} {:>9.1}",
                flags.items,
                flags.value_bytes,
                signal.as_str(),
                secs,
                flags.items as f64 / secs.max(0.001) / 1e6,
                answered,
                rss_bytes as f64 / 1_048_576.0,
                before as f64 / 1_048_576.0
            );
        }
    }
    Ok(())
}

/// All items must be there, and those that are read right. Seconds that the server says it took.
fn check(server: &Server, flags: &Flags, pattern: &Pattern) -> Result<f64, String> {
    let own = client::stats_of(&server.address, "stats memcrsd")?;
    let number = |name: &str| own.get(name).and_then(|value| value.parse::<u64>().ok());
    let restored = number("memcrsd_restored_items").ok_or("the server does not say what it has restored")?;
    if restored != flags.items {
        return Err(format!("{restored} items are restored of {}", flags.items));
    }
    let count = flags.items.min(READ_MAX);
    let read = Plan {
        mix: Mix::Get,
        connections: 4,
        depth: 16,
        keys: count,
        choice: Choice::Sequential,
        key_bytes: flags.key_bytes,
        sizes: flags.value_bytes.to_string().parse()?,
        span: Span::Requests(count),
        ..Plan::new(&server.address)
    };
    let report = load::run(&read, pattern)?;
    report.verdict()?;
    if report.hits != count {
        return Err(format!("{} items can be read of {count}", report.hits));
    }
    Ok(number("memcrsd_restore_ms").unwrap_or(0) as f64 / 1e3)
}
