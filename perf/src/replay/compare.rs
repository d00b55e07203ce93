//! `perf replay-compare`: traces against several servers in turn, at the same memory.

use argh::FromArgs;

use super::player::{Play, Player, Report};
use crate::client;
use crate::process;
use crate::proto::Protocol;
use crate::record::{self, Machine};
use crate::server::{Recipe, Server, Settings};
use crate::trace::Trace;

/// Replay traces against memcrsd and memcached in turn and print their hit ratios.
///
/// A trace is FILE or the name of a synthetic one, then :SCALE or :SCALE:MAX, as in scarab.mtr.gz:8:500000.
#[derive(FromArgs, Clone, Debug)]
#[argh(subcommand, name = "replay-compare")]
pub(crate) struct CompareFlags {
    /// the traces (the synthetic ones)
    #[argh(positional)]
    traces: Vec<String>,
    /// a server, NAME=COMMAND with {port}, {threads} and {memory} in it; may be repeated (memcrsd and memcached)
    #[argh(option)]
    server: Vec<Recipe>,
    /// memory of a server, MiB (64)
    #[argh(option, default = "64")]
    memory: usize,
    /// threads of a server (4)
    #[argh(option, default = "4")]
    threads: usize,
    /// requests in flight (64)
    #[argh(option, default = "64")]
    window: usize,
    /// requests a second (unlimited)
    #[argh(option)]
    rate: Option<f64>,
}

const USUAL: [&str; 9] =
    ["zipf10:4", "scan:4", "onehit:4", "overwrite:4", "shift:4", "calcify", "large", "bulk", "ttl:4"];

/// # Errors
/// A message: no such trace, or a server that failed or gave a wrong value.
pub(crate) fn command(flags: &CompareFlags) -> Result<(), String> {
    let servers = Recipe::named_or_usual(&flags.server);
    let traces = match &flags.traces[..] {
        [] => USUAL.map(String::from).to_vec(),
        some => some.to_vec(),
    };
    let machine = Machine::here();
    println!("{}  {}: {}, Linux {}", record::now(), machine.name, machine.cpu, machine.kernel);
    Recipe::introduce(&servers, flags.memory)?;
    println!("-m {}, {} threads, window {}\n", flags.memory, flags.threads, flags.window);
    println!(
        "{:26} {:12} {:>8} {:>8} {:>8} {:>9} {:>8} {:>8} {:>7} {:>6}",
        "trace", "server", "hit %", "(2nd)", "byte %", "items", "RSS MiB", "refused", "bad", "s"
    );
    let mut failure = None;
    for name in &traces {
        let (trace, play) = parse(name, flags)?;
        for recipe in &servers {
            let line = match one(&trace, &play, recipe, flags) {
                Ok((report, items, rss_bytes)) => {
                    failure = failure.or(report.verdict().err());
                    row(&report, items, rss_bytes)
                }
                Err(words) => {
                    failure.get_or_insert(words.clone());
                    format!("FAILED: {words}")
                }
            };
            let short = name.rsplit('/').next().unwrap_or(name);
            println!("{short:26} {:12} {line}", recipe.name);
        }
    }
    failure.map_or(Ok(()), Err)
}

fn row(report: &Report, items: u64, rss_bytes: u64) -> String {
    format!(
        "{:8.2} {:8.2} {:8.2} {items:>9} {:8.1} {:>8} {:>7} {:6.1}",
        report.whole.object_hits(),
        report.second_half.object_hits(),
        report.whole.byte_hits(),
        rss_bytes as f64 / 1_048_576.0,
        report.refused,
        report.wrong + report.stale,
        report.seconds
    )
}

/// Plays one trace against a fresh server; returns the report, and the items and resident bytes at its end.
fn one(
    trace: &Trace,
    play: &Play,
    recipe: &Recipe,
    flags: &CompareFlags,
) -> Result<(Report, u64, u64), String> {
    let settings =
        Settings { threads: flags.threads, memory_mib: flags.memory, cores: process::allowed_cores() };
    let server = Server::start(recipe, &settings)?;
    let report = Player::new(trace, play, &server.address)?.run()?;
    let items = client::stat(&server.address, "curr_items")?;
    Ok((report, items, process::sample(server.pid())?.rss_bytes))
}

fn parse(text: &str, flags: &CompareFlags) -> Result<(Trace, Play), String> {
    let mut parts = text.split(':');
    let name = parts.next().unwrap_or_default();
    let number = |part: &str| part.parse::<f64>().map_err(|e| format!("{text}: {part}: {e}"));
    let scale = parts.next().map(number).transpose()?.unwrap_or(1.0);
    let value_len_max = parts.next().map(number).transpose()?.map(|max| max as u32);
    let play = Play {
        protocol: Protocol::Text,
        scale,
        value_len_max,
        window: flags.window.max(1),
        key_bytes: 30,
        rate: flags.rate,
    };
    Ok((super::open(name)?, play))
}
