//! One thread of the load: its connections, its poll, its counters.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Instant;

use hdrhistogram::Histogram;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::conn::{self, Broken, Conn};
use super::context::{Tally, WorkerContext};
use super::pace::Pace;
use super::plan::{Plan, Span};
use crate::value::{Keys, Pattern};
use crate::zipf::{Choice, Chooser};

/// Phase of a load; written by the thread that started it, read by the workers.
#[derive(Debug)]
pub(super) struct Control {
    phase: AtomicU8,
    /// Requests and operations completed, of all workers.
    pub(super) requests: AtomicU64,
    pub(super) operations: AtomicU64,
    pub(super) clock: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    Warmup,
    Measure,
    Stop,
}

impl Control {
    pub(super) fn new(phase: Phase) -> Self {
        Self {
            phase: AtomicU8::new(phase as u8),
            requests: AtomicU64::new(0),
            operations: AtomicU64::new(0),
            clock: Instant::now(),
        }
    }

    pub(super) fn enter(&self, phase: Phase) {
        // Relaxed: nothing else is published with it, and a worker may see it a little late.
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Warmup,
            1 => Phase::Measure,
            _ => Phase::Stop,
        }
    }
}

const READ_LEN: usize = 256 << 10;
/// Higher latencies are recorded as this; far above any client's timeout.
const LATENCY_NS_MAX: u64 = 300_000_000_000;
/// Silence after which a server is considered dead.
const SILENCE_NS_MAX: u64 = 20_000_000_000;

#[derive(Debug)]
pub(super) struct Worker<'a> {
    context: WorkerContext<'a>,
    control: &'a Control,
    conns: Vec<Conn>,
    poll: Epoll,
    pace: Option<Pace>,
    /// Requests that may still be sent; `u64::MAX` when time ends the load.
    budget: u64,
    /// Open loop: the next connection, and the connections with bytes to send.
    turn: usize,
    dirty: Vec<usize>,
    published: (u64, u64),
}

/// One worker's part of the load.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    pub(super) index: usize,
    pub(super) of: usize,
}

impl Share {
    /// The `index`-th of `of` nearly equal parts of `whole`: where it starts and how long it is.
    fn part(self, whole: u64) -> (u64, u64) {
        let (index, of) = (self.index as u64, self.of as u64);
        let at = |i: u64| (u128::from(whole) * u128::from(i) / u128::from(of)) as u64;
        (at(index), at(index + 1) - at(index))
    }
}

impl<'a> Worker<'a> {
    /// Connects the worker's share of the connections.
    ///
    /// # Errors
    /// [`Broken`] when the server cannot be reached.
    pub(super) fn new(
        plan: &'a Plan,
        pattern: &'a Pattern,
        control: &'a Control,
        share: Share,
    ) -> Result<Self, Broken> {
        let failed = |e: nix::Error| Broken(format!("epoll: {e}"));
        let poll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(failed)?;
        let (_, conn_count) = share.part(plan.connections as u64);
        let mut conns = Vec::new();
        for index in 0..conn_count {
            let stream = conn::connect(plan)?;
            let interest =
                EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
            poll.add(&stream, EpollEvent::new(interest, index)).map_err(failed)?;
            conns.push(Conn::new(stream, plan.protocol));
        }
        // Sequential: each worker has a part of its own; otherwise all draw from the whole.
        let (first, count) = match plan.choice {
            Choice::Sequential => share.part(plan.keys),
            Choice::Uniform | Choice::Zipf(_) => (0, plan.keys),
        };
        let budget = match plan.span {
            Span::Seconds { .. } => u64::MAX,
            Span::Requests(count) => share.part(count).1,
        };
        let latency = Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).expect("the bounds are in order");
        let context = WorkerContext {
            plan,
            pattern,
            keys: Keys::new(plan.key_bytes),
            tally: Tally::default(),
            latency,
            buf: vec![0; READ_LEN],
            chooser: Chooser::new(plan.choice, plan.first + first, count.max(1)),
            rng: SmallRng::seed_from_u64(plan.seed << 16 | share.index as u64),
            clock: control.clock,
        };
        let pace = plan.rate.map(|(rate, arrivals)| Pace::new(rate / share.of as f64, arrivals));
        Ok(Self {
            context,
            control,
            conns,
            poll,
            pace,
            budget,
            turn: 0,
            dirty: Vec::new(),
            published: (0, 0),
        })
    }

    /// Runs until the plan's end, then waits for the requests in flight.
    ///
    /// # Errors
    /// [`Broken`] when a connection broke or the server fell silent.
    pub(super) fn run(mut self) -> Result<(Tally, Histogram<u64>), Broken> {
        match (self.work(), &self.context.tally.complaint) {
            (Ok(()), _) => Ok((self.context.tally, self.context.latency)),
            // A server that disconnects often sends the reason first.
            (Err(Broken(words)), Some(complaint)) => {
                Err(Broken(format!("{words}; before that: {complaint}")))
            }
            (Err(broken), None) => Err(broken),
        }
    }

    fn work(&mut self) -> Result<(), Broken> {
        let mut phase = self.control.phase();
        let mut events = vec![EpollEvent::empty(); 1024];
        let mut heard_ns = self.context.now_ns();
        if let Some(pace) = &mut self.pace {
            pace.start(heard_ns);
        } else {
            for index in 0..self.conns.len() {
                self.top_up(index)?;
            }
        }
        loop {
            self.send_what_is_due(phase)?;
            let timeout = self.timeout();
            let count = match self.poll.wait(&mut events, timeout) {
                Ok(count) => count,
                Err(nix::Error::EINTR) => 0,
                Err(e) => return Err(Broken(format!("epoll: {e}"))),
            };
            for event in &events[..count] {
                let index = event.data() as usize;
                if event.events().intersects(!EpollFlags::EPOLLOUT) {
                    self.conns[index].receive(&mut self.context)?;
                }
                if phase != Phase::Stop && self.pace.is_none() {
                    self.top_up(index)?;
                } else {
                    self.conns[index].flush()?;
                }
            }
            self.publish();
            let entered = self.control.phase();
            if entered != phase {
                match entered {
                    Phase::Measure => {
                        self.context.start_measuring();
                        self.published = (0, 0);
                    }
                    Phase::Warmup | Phase::Stop => self.give_up_waiting(),
                }
                phase = entered;
            }
            if (phase == Phase::Stop || self.budget == 0) && self.conns.iter().all(|c| c.in_flight() == 0) {
                return Ok(());
            }
            let now_ns = self.context.now_ns();
            if count > 0 || self.pace.is_some() && self.conns.iter().all(|c| c.in_flight() == 0) {
                heard_ns = now_ns;
            } else if now_ns - heard_ns > SILENCE_NS_MAX {
                return Err(Broken("the server has not answered for 20 seconds".into()));
            }
        }
    }

    /// Closed loop: fills the connection to its depth.
    fn top_up(&mut self, index: usize) -> Result<(), Broken> {
        let conn = &mut self.conns[index];
        let missing = (self.context.plan.depth - conn.in_flight())
            .min(usize::try_from(self.budget).unwrap_or(usize::MAX));
        if missing > 0 {
            let now_ns = self.context.now_ns();
            for _ in 0..missing {
                conn.issue(&mut self.context, now_ns);
            }
            self.budget -= missing as u64;
        }
        conn.flush()
    }

    /// Open loop: hands due requests to the connections in turn.
    fn send_what_is_due(&mut self, phase: Phase) -> Result<(), Broken> {
        let Some(pace) = &mut self.pace else { return Ok(()) };
        if phase == Phase::Stop {
            return Ok(());
        }
        pace.advance(self.context.clock.elapsed().as_nanos() as u64, &mut self.context.rng);
        while self.budget > 0 {
            let count = self.conns.len();
            let free = (0..count).map(|i| (self.turn + i) % count);
            let Some(index) = free.into_iter().find(|&i| self.conns[i].in_flight() < self.context.plan.depth)
            else {
                break;
            };
            let Some(due_ns) = pace.take() else { break };
            self.conns[index].issue(&mut self.context, due_ns);
            self.budget -= 1;
            self.turn = (index + 1) % count;
            if self.dirty.last() != Some(&index) {
                self.dirty.push(index);
            }
        }
        for index in self.dirty.drain(..) {
            self.conns[index].flush()?;
        }
        Ok(())
    }

    /// Records requests that were due and not sent with the time they have waited, a lower bound.
    fn give_up_waiting(&mut self) {
        let now_ns = self.context.now_ns();
        while let Some(due_ns) = self.pace.as_mut().and_then(Pace::take) {
            self.context.record(now_ns - due_ns);
        }
    }

    /// Sleeps if nothing is due for two milliseconds, otherwise spins, because the poll has millisecond resolution.
    fn timeout(&self) -> EpollTimeout {
        let wait_ms = match &self.pace {
            None => 100,
            Some(pace) => {
                pace.next_ns().saturating_sub(self.context.now_ns()).saturating_sub(1_000_000) / 1_000_000
            }
        };
        EpollTimeout::from(wait_ms.min(100) as u8)
    }

    fn publish(&mut self) {
        let now = (self.context.tally.requests, self.context.tally.operations);
        // Relaxed: counters for a rate; nothing is published with them.
        self.control.requests.fetch_add(now.0 - self.published.0, Ordering::Relaxed);
        self.control.operations.fetch_add(now.1 - self.published.1, Ordering::Relaxed);
        self.published = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_cover_the_whole() {
        for (whole, of) in [(10, 3), (1, 4), (0, 2), (1_000_003, 7)] {
            let mut next = 0;
            for index in 0..of {
                let (start, count) = Share { index, of }.part(whole);
                assert_eq!(start, next);
                next += count;
            }
            assert_eq!(next, whole);
        }
    }
}
