//! `perf compare`: the same loads against several servers in turn, round by round, and the ratio of each round.
//!
//! A machine's speed drifts over minutes, by its neighbours and its temperature. So the servers alternate within each
//! round and the ratio is taken within a round; the result is the median over the rounds.

mod rows;

use std::path::PathBuf;

use argh::FromArgs;

use crate::load::{self, Mix, Plan, Report, Span};
use crate::process;
use crate::record::{self, Cell, Machine, Record, RowRecord, ServerRecord};
use crate::server::{Layout, Recipe, Server, Settings};
use crate::table;
use crate::value::Pattern;
use rows::Row;

/// Run a table of loads against memcrsd and memcached in turn.
#[derive(FromArgs, Clone, Debug)]
#[argh(subcommand, name = "compare")]
pub(crate) struct Flags {
    /// the subject, NAME=COMMAND with {port}, {threads}, {memory} (MiB) and {bytes} in it, or in the file of {config:FILE}
    /// (memcrsd of the target directory)
    #[argh(option, default = "Recipe::memcrsd()")]
    pub(crate) server: Recipe,
    /// what it is compared with, in the same form; may be repeated (memcached, the one that tests/yardstick fetches)
    #[argh(option)]
    pub(crate) peer: Vec<Recipe>,
    #[argh(positional)]
    /// ids, or parts of ids, of the rows to run (all)
    pub(crate) rows: Vec<String>,
    /// rounds (3)
    #[argh(option, default = "3")]
    pub(crate) rounds: usize,
    /// seconds measured in each round (1.5)
    #[argh(option, default = "1.5")]
    pub(crate) seconds: f64,
    /// seconds of warm-up before that (0.3)
    #[argh(option, default = "0.3")]
    pub(crate) warmup: f64,
    /// memory of a server, MiB (1024)
    #[argh(option, default = "1024")]
    pub(crate) memory: usize,
    /// folder for the record (perf/records)
    #[argh(option, default = "PathBuf::from(\"perf/records\")")]
    pub(crate) records: PathBuf,
    /// keep no record
    #[argh(switch)]
    pub(crate) no_record: bool,
    /// print the ids of the rows and exit
    #[argh(switch)]
    pub(crate) list: bool,
}

/// # Errors
/// A message: no such row, or a server that failed in one of them.
pub(crate) fn command(flags: &Flags) -> Result<(), String> {
    if flags.list {
        for row in rows::all() {
            println!("{:16} {}", row.id, row.title);
        }
        return Ok(());
    }
    let peers = if flags.peer.is_empty() { vec![Recipe::memcached()] } else { flags.peer.clone() };
    let servers: Vec<Recipe> = std::iter::once(flags.server.clone()).chain(peers).collect();
    let record = run(&servers, flags)?;
    let text = table::render(&record);
    print!("{text}");
    if !flags.no_record {
        println!("\nrecord: {}", record.save(&flags.records, &text)?.display());
    }
    let failed = |row: &&RowRecord| (0..servers.len()).any(|server| row.error(server).is_some());
    match record.rows.iter().find(failed) {
        Some(row) => Err(format!("{}: a server failed, see the table", row.id)),
        None => Ok(()),
    }
}

/// Runs the rows that the flags name against `servers`, the first of which is the subject.
///
/// # Errors
/// A message, when no row matches or a server cannot be started at all.
pub(crate) fn run(servers: &[Recipe], flags: &Flags) -> Result<Record, String> {
    let rows = rows::matching(&flags.rows);
    if rows.is_empty() {
        return Err("no row has this id; see perf compare --list".into());
    }
    let cores = process::allowed_cores();
    let bench = Bench { flags, servers, pattern: Pattern::new(), cores: cores.clone() };
    let mut record = Record {
        date: record::now(),
        revision: record::revision(),
        machine: Machine::here(),
        rounds: flags.rounds,
        seconds: flags.seconds,
        servers: servers.iter().map(|recipe| bench.describe(recipe)).collect::<Result<_, _>>()?,
        rows: Vec::new(),
    };
    for (index, row) in rows.iter().enumerate() {
        eprintln!("{:2} of {}  {}", index + 1, rows.len(), row.title);
        let result = bench.row(row);
        process::pin(&cores)?;
        record.rows.push(result);
    }
    Ok(record)
}

/// What all rows share.
#[derive(Debug)]
struct Bench<'a> {
    flags: &'a Flags,
    servers: &'a [Recipe],
    pattern: Pattern,
    cores: Vec<usize>,
}

impl Bench<'_> {
    fn describe(&self, recipe: &Recipe) -> Result<ServerRecord, String> {
        Ok(ServerRecord {
            name: recipe.name.clone(),
            command: recipe.command.clone(),
            config: recipe.config()?,
            version: recipe.version(self.flags.memory)?,
        })
    }

    fn row(&self, row: &Row) -> RowRecord {
        let layout = Layout::new(&self.cores, row.server_threads);
        let mut cells = vec![Vec::new(); self.servers.len()];
        for _ in 0..self.flags.rounds {
            for (index, recipe) in self.servers.iter().enumerate() {
                let cell = match self.cell(row, &layout, recipe) {
                    Ok(report) => Cell { error: report.verdict().err(), report: Some(report) },
                    Err(words) => Cell { report: None, error: Some(words) },
                };
                cells[index].push(cell);
            }
        }
        RowRecord {
            id: row.id.clone(),
            title: row.title.clone(),
            server_cores: layout.server,
            load_cores: layout.load,
            cells,
        }
    }

    /// One run of one server, started and stopped for it.
    fn cell(&self, row: &Row, layout: &Layout, recipe: &Recipe) -> Result<Report, String> {
        process::pin(&self.cores)?;
        let settings = Settings {
            threads: row.server_threads,
            memory_mib: self.flags.memory,
            cores: layout.server.clone(),
        };
        let mut server = Server::start(recipe, &settings)?;
        process::pin(&layout.load)?;
        let plan = Plan {
            server: server.address.clone(),
            pid: Some(server.pid()),
            threads: layout.load_threads.min(row.plan.connections),
            span: Span::Seconds { warmup: self.flags.warmup, measured: self.flags.seconds },
            ..row.plan.clone()
        };
        let result = self.preload_and_run(&plan);
        match server.ended() {
            Some(status) => Err(format!("the server ended: {status}")),
            None => result,
        }
    }

    fn preload_and_run(&self, plan: &Plan) -> Result<Report, String> {
        if plan.mix != Mix::Set {
            load::run(&plan.preload(), &self.pattern)?.verdict()?;
        }
        load::run(plan, &self.pattern)
    }
}
