//! Measures memcached servers. It uses the wire protocols only, so it works with any of them.
//!
//! | command | what it measures | where |
//! |---|---|---|
//! | `load` | rate, latency and CPU time per request of one server under one load | `load/` |
//! | `compare` | a table of loads on several servers in turn, as ratios; keeps a record | `compare/`, `record`, `table` |
//! | `ab` | the same for two revisions of memcrsd | `ab` |
//! | `plot` | a record as SVG | `plot` |
//! | `replay`, `replay-compare` | hit ratios on a trace, and whether every value was right | `replay/`, `trace` |
//! | `gen` | synthetic traces | `synthetic` |
//! | `fill` | how many items fit | `fill` |
//! | `flash` | gets of values that are mostly on flash, and how much is written | `flash` |
//! | `restore` | how long a restart with a memory file takes | `restore` |
//! | `growth` | the longest pause while the index grows and while every set evicts | `growth` |
//!
//! Below them: `server` starts what is measured, `process` reads its CPU time, `client` is one plain connection, `proto`
//! has the three protocols, `value` and `size` generate keys and values, `zipf` chooses keys.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool talks to its user")]

mod ab;
mod client;
mod compare;
mod fill;
mod flash;
mod growth;
mod load;
mod plot;
mod process;
mod proto;
mod record;
mod replay;
mod restore;
mod server;
mod size;
mod synthetic;
mod table;
mod trace;
mod value;
mod zipf;

use std::process::ExitCode;

use argh::FromArgs;

/// Measure memcached servers.
#[derive(FromArgs, Debug)]
struct Args {
    #[argh(subcommand)]
    command: Command,
}

#[derive(FromArgs, Debug)]
#[argh(subcommand)]
enum Command {
    Load(load::Flags),
    Compare(compare::Flags),
    Replay(replay::Flags),
    ReplayCompare(replay::CompareFlags),
    Restore(restore::Flags),
    Gen(synthetic::Flags),
    Fill(fill::Flags),
    Flash(flash::Flags),
    Growth(growth::Flags),
    Ab(ab::Flags),
    Plot(plot::Flags),
}

fn main() -> ExitCode {
    process::raise_open_files();
    let result = match argh::from_env::<Args>().command {
        Command::Load(flags) => load::command(&flags),
        Command::Compare(flags) => compare::command(&flags),
        Command::Replay(flags) => replay::command(&flags),
        Command::ReplayCompare(flags) => replay::compare_command(&flags),
        Command::Restore(flags) => restore::command(&flags),
        Command::Gen(flags) => synthetic::command(&flags),
        Command::Fill(flags) => fill::command(&flags),
        Command::Flash(flags) => flash::command(&flags),
        Command::Growth(flags) => growth::command(&flags),
        Command::Ab(flags) => ab::command(&flags),
        Command::Plot(flags) => plot::command(&flags),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(words) => {
            eprintln!("perf: {words}");
            ExitCode::FAILURE
        }
    }
}
