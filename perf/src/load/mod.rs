//! `perf load`: runs a [`Plan`] against a server and reports rate, latency, and the server's CPU time.

mod conn;
mod context;
mod pace;
mod plan;
mod report;
mod worker;

use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

pub(crate) use pace::Arrivals;
pub(crate) use plan::{Flags, Mix, Plan, Span};
pub(crate) use report::Report;

use crate::process;
use crate::value::Pattern;
use conn::Broken;
use context::Tally;
use report::Mark;
use worker::{Control, Phase, Share, Worker};

/// Runs the load given by the flags and prints the result.
///
/// # Errors
/// A message: bad flags, a server that cannot be reached or disconnects, or wrong replies.
pub(crate) fn command(flags: &Flags) -> Result<(), String> {
    let plan = Plan::from_flags(flags)?;
    if let Some(cpus) = &flags.cpus {
        process::pin(&process::cores(cpus)?)?;
    }
    let pattern = Pattern::new();
    if !flags.no_preload && plan.mix != Mix::Set {
        run(&plan.preload(), &pattern)?.verdict()?;
    }
    let report = run(&plan, &pattern)?;
    if flags.json {
        println!("{}", serde_json::to_string_pretty(&report).map_err(|e| e.to_string())?);
    } else {
        print!("{report}");
    }
    report.verdict()
}

type Outcome = Result<(Tally, Histogram<u64>), Broken>;

/// Runs a plan to its end.
///
/// # Errors
/// A message, when a connection could not be made or broke. Wrong and refused replies are counted in the report.
pub(crate) fn run(plan: &Plan, pattern: &Pattern) -> Result<Report, String> {
    let phase = if let Span::Seconds { .. } = plan.span { Phase::Warmup } else { Phase::Measure };
    let control = Control::new(phase);
    let (sender, outcomes) = mpsc::channel::<Outcome>();
    // Workers connect one after the other, so that the listen backlog does not overflow.
    let mut workers = Vec::new();
    for index in 0..plan.threads {
        let share = Share { index, of: plan.threads };
        workers.push(Worker::new(plan, pattern, &control, share).map_err(|broken| broken.0)?);
    }
    std::thread::scope(|scope| {
        let mut supervisor = Supervisor { plan, control: &control, outcomes: &outcomes, ended: Vec::new() };
        for worker in workers {
            let sender = sender.clone();
            // The receiver is gone only if it has failed already.
            scope.spawn(move || drop(sender.send(worker.run())));
        }
        drop(sender);
        let result = supervisor.run();
        control.enter(Phase::Stop);
        result
    })
}

/// The thread that moves the load through its phases and reads the clocks.
#[derive(Debug)]
struct Supervisor<'a> {
    plan: &'a Plan,
    control: &'a Control,
    outcomes: &'a mpsc::Receiver<Outcome>,
    ended: Vec<(Tally, Histogram<u64>)>,
}

impl Supervisor<'_> {
    fn run(&mut self) -> Result<Report, String> {
        let mut start = self.mark()?;
        let end;
        match self.plan.span {
            Span::Seconds { warmup, measured } => {
                self.wait("warm-up", warmup)?;
                self.control.enter(Phase::Measure);
                start = self.mark()?;
                self.wait("load", measured)?;
                end = self.mark()?;
                self.control.enter(Phase::Stop);
                self.wait("drain", f64::INFINITY)?;
            }
            Span::Requests(_) => {
                self.wait("load", f64::INFINITY)?;
                end = self.mark()?;
            }
        }
        let mut tally = Tally::default();
        let mut latency = Histogram::<u64>::new(3).map_err(|e| e.to_string())?;
        for (part, part_latency) in self.ended.drain(..) {
            latency.add(part_latency).map_err(|e| e.to_string())?;
            tally.requests += part.requests;
            tally.operations += part.operations;
            tally.sets += part.sets;
            tally.hits += part.hits;
            tally.misses += part.misses;
            tally.wrong += part.wrong;
            tally.refused += part.refused;
            tally.complaint = tally.complaint.or(part.complaint);
        }
        Ok(Report::new(&start, &end, tally, &latency))
    }

    fn mark(&self) -> Result<Mark, String> {
        Ok(Mark {
            process: self.plan.pid.map(process::sample).transpose()?,
            own_cpu_ns: process::cpu_ns(std::process::id() as i32)?,
            at: Instant::now(),
            requests: self.control.requests.load(Ordering::Relaxed),
            operations: self.control.operations.load(Ordering::Relaxed),
        })
    }

    /// Collects outcomes until `seconds` have passed or every worker has ended.
    fn wait(&mut self, what: &str, seconds: f64) -> Result<(), String> {
        let start = Instant::now();
        let mut last = self.mark()?;
        while self.ended.len() < self.plan.threads {
            let left = seconds - start.elapsed().as_secs_f64();
            if left <= 0.0 {
                break;
            }
            match self.outcomes.recv_timeout(Duration::from_secs_f64(left.min(1.0))) {
                Ok(outcome) => self.ended.push(outcome.map_err(|broken| broken.0)?),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err("a worker of the generator ended early".into());
                }
                Err(RecvTimeoutError::Timeout) if self.plan.progress => {
                    let now = self.mark()?;
                    eprintln!("{what:8} {}", report::progress(&last, &now));
                    last = now;
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
        Ok(())
    }
}
