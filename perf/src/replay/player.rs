//! Plays one trace on one connection.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::client::{Answer, Client};
use crate::proto::{self, Name, Protocol, Reply};
use crate::trace::{Op, Request, Trace};
use crate::value::{KEY_LEN_MAX, KEY_LEN_MIN, Keys, Pattern};

/// How a trace is played.
#[derive(Clone, Debug)]
pub(crate) struct Play {
    pub(crate) protocol: Protocol,
    /// Multiplies value sizes.
    pub(crate) scale: f64,
    /// Requests for larger values (after scaling) are skipped.
    pub(crate) value_len_max: Option<u32>,
    /// Requests in flight.
    pub(crate) window: usize,
    pub(crate) key_bytes: usize,
    /// Requests a second; `None` = unlimited.
    pub(crate) rate: Option<f64>,
}

/// Grace for expiry, seconds: memcached's clock ticks in seconds, and one more for a slow machine.
const EXPIRY_SLACK_SECS: f64 = 2.0;
/// Older versions compared before a value counts as wrong instead of stale.
const VERSIONS_TRIED: u32 = 64;

/// The expected state of an object on the server.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    /// Version of the last set; 0 if there was none.
    version: u32,
    value_len: u32,
    /// True if a hit is possible: set, not deleted since, not refused.
    live: bool,
    /// Expiry on the player's clock, seconds; infinity without a time to live.
    expires_secs: f64,
    /// The last window that set it or planned to.
    set_in: u32,
}

/// A request in flight.
#[derive(Clone, Copy, Debug)]
struct Awaited {
    request: Request,
    /// The expected state when it was sent.
    held: Held,
    second_half: bool,
}

#[derive(Debug)]
pub(crate) struct Player<'a> {
    trace: &'a Trace,
    play: &'a Play,
    client: Client,
    pattern: Pattern,
    keys: Keys,
    held: Vec<Held>,
    awaited: VecDeque<Awaited>,
    /// Missed in the last window, to be set at the start of this one.
    missed: Vec<Request>,
    /// Missed before the planned set of the same object: to be repeated after that set.
    again: Vec<(Request, bool)>,
    window: u32,
    start: Instant,
    report: Report,
}

/// The result of playing a trace.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) requests: u64,
    pub(crate) seconds: f64,
    pub(crate) whole: Half,
    pub(crate) second_half: Half,
    /// Sets answered with an error.
    pub(crate) refused: u64,
    /// Hits whose bytes were never set for that key. Must be 0.
    pub(crate) wrong: u64,
    /// Hits with a value that was replaced, deleted or had expired. Must be 0.
    pub(crate) stale: u64,
    /// The first of these.
    pub(crate) complaint: Option<String>,
}

/// Gets of a part of the trace.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Half {
    pub(crate) gets: u64,
    pub(crate) hits: u64,
    pub(crate) bytes: u64,
    pub(crate) hit_bytes: u64,
}

impl Half {
    /// Percent of gets.
    pub(crate) fn object_hits(&self) -> f64 {
        100.0 * self.hits as f64 / self.gets.max(1) as f64
    }

    /// Percent of the bytes requested.
    pub(crate) fn byte_hits(&self) -> f64 {
        100.0 * self.hit_bytes as f64 / self.bytes.max(1) as f64
    }
}

impl<'a> Player<'a> {
    /// # Errors
    /// A message, when the server cannot be reached or a setting is out of range.
    pub(crate) fn new(trace: &'a Trace, play: &'a Play, server: &str) -> Result<Self, String> {
        if !(KEY_LEN_MIN..=KEY_LEN_MAX).contains(&play.key_bytes) {
            return Err(format!("--key-bytes is {KEY_LEN_MIN} to {KEY_LEN_MAX}"));
        }
        Ok(Self {
            trace,
            play,
            client: Client::connect(server, play.protocol)?,
            pattern: Pattern::new(),
            keys: Keys::new(play.key_bytes),
            held: vec![Held::default(); trace.sizes.len()],
            awaited: VecDeque::new(),
            missed: Vec::new(),
            again: Vec::new(),
            window: 0,
            start: Instant::now(),
            report: Report::default(),
        })
    }

    /// Plays the trace to its end.
    ///
    /// # Errors
    /// A message, when the server breaks off. Wrong values are counted in the report.
    pub(crate) fn run(mut self) -> Result<Report, String> {
        let count = self.trace.requests.len();
        let mut next = 0;
        while next < count || !self.again.is_empty() {
            self.wait_for_turn(next);
            self.window += 1;
            for request in std::mem::take(&mut self.missed) {
                self.fill(request);
            }
            for (request, second_half) in std::mem::take(&mut self.again) {
                self.send(request, second_half);
            }
            let end = count.min(next + self.play.window);
            for index in next..end {
                let request = self.scaled(self.trace.request(index));
                if self.play.value_len_max.is_none_or(|max| request.value_len <= max) {
                    self.report.requests += 1;
                    self.send(request, index >= count / 2);
                }
            }
            next = end;
            while let Some(awaited) = self.awaited.pop_front() {
                self.receive(awaited)?;
            }
        }
        self.report.seconds = self.start.elapsed().as_secs_f64();
        Ok(self.report)
    }

    fn wait_for_turn(&self, first: usize) {
        let Some(rate) = self.play.rate else { return };
        let due = Duration::from_secs_f64(first as f64 / rate);
        std::thread::sleep(due.saturating_sub(self.start.elapsed()));
    }

    /// Sets what was missed, unless the trace itself has set it since.
    fn fill(&mut self, missed: Request) {
        if self.held[missed.object as usize].set_in + 1 < self.window
            || !self.held[missed.object as usize].live
        {
            self.send_set(Request { op: Op::Set, ..missed }, false);
        }
    }

    fn send(&mut self, request: Request, second_half: bool) {
        match request.op {
            Op::Set => return self.send_set(request, second_half),
            Op::Get => {
                let opaque = request.object;
                let key = self.keys.key(u64::from(request.object));
                proto::encode_get(self.play.protocol, &mut self.client.out, key, opaque);
            }
            Op::Delete => {
                let key = self.keys.key(u64::from(request.object));
                proto::encode_delete(self.play.protocol, &mut self.client.out, key);
                self.held[request.object as usize].live = false;
            }
        }
        let held = self.held[request.object as usize];
        self.awaited.push_back(Awaited { request, held, second_half });
    }

    fn scaled(&self, request: Request) -> Request {
        let value_len = (f64::from(request.value_len) * self.play.scale) as u32;
        Request { value_len, ..request }
    }

    fn send_set(&mut self, request: Request, second_half: bool) {
        let held = &mut self.held[request.object as usize];
        held.version += 1;
        held.value_len = request.value_len;
        held.live = true;
        held.set_in = self.window;
        held.expires_secs = match request.ttl_secs {
            0 => f64::INFINITY,
            secs => self.start.elapsed().as_secs_f64() + f64::from(secs) + EXPIRY_SLACK_SECS,
        };
        let (held, value_len) = (*held, request.value_len as usize);
        let key = self.keys.key(u64::from(request.object));
        proto::encode_set(self.play.protocol, &mut self.client.out, key, request.ttl_secs, value_len);
        let start = Pattern::start(u64::from(request.object), held.version);
        self.pattern.append(&mut self.client.out, start, value_len);
        self.client.out.extend_from_slice(self.play.protocol.value_tail());
        self.awaited.push_back(Awaited { request, held, second_half });
    }

    fn receive(&mut self, awaited: Awaited) -> Result<(), String> {
        let request = awaited.request;
        let mut hit_bytes = None;
        let answer = self.client.answer()?;
        match answer {
            Answer::Value { name, value, well_ended } if request.op == Op::Get => {
                hit_bytes = Some(value.len() as u64);
                let named = match name {
                    Name::Key(key) => key == self.keys.key(u64::from(request.object)),
                    Name::Opaque(opaque) => opaque == request.object,
                    Name::None => true,
                };
                let late = self.start.elapsed().as_secs_f64() > awaited.held.expires_secs;
                match judge(&self.pattern, &awaited, value) {
                    Judgement::Last if named && well_ended && !late => {}
                    Judgement::Last | Judgement::Older if named && well_ended => self.report.stale += 1,
                    _ => self.report.wrong += 1,
                }
                if self.report.complaint.is_none() && self.report.stale + self.report.wrong > 0 {
                    self.report.complaint = Some(format!("{request:?}, {awaited:?}, {} bytes", value.len()));
                }
                if self.play.protocol.single_get_has_end() {
                    match self.client.answer()? {
                        Answer::Other(Reply::End) => {}
                        other => return Err(format!("{other:?} instead of the end of a get")),
                    }
                }
            }
            Answer::Other(Reply::End | Reply::Miss) if request.op == Op::Get => {}
            Answer::Other(Reply::Done) if request.op == Op::Set => {}
            Answer::Other(Reply::Deleted | Reply::NotFound | Reply::Done) if request.op == Op::Delete => {}
            Answer::Other(Reply::Refused(words)) => self.refused(&awaited, words),
            other => return Err(format!("{other:?} does not answer {request:?}")),
        }
        if request.op == Op::Get {
            if hit_bytes.is_none() {
                if self.missed.iter().any(|missed| missed.object == request.object) {
                    self.again.push((request, awaited.second_half));
                    return Ok(());
                }
                self.missed.push(request);
            }
            self.count(&awaited, hit_bytes);
        }
        Ok(())
    }

    /// A refused set removes the item: memcached drops the old value, so that it is not read as the new one.
    fn refused(&mut self, awaited: &Awaited, words: String) {
        self.report.refused += 1;
        let held = &mut self.held[awaited.request.object as usize];
        if held.version == awaited.held.version {
            held.live = false;
        }
        self.report.complaint.get_or_insert(words);
    }

    fn count(&mut self, awaited: &Awaited, hit_bytes: Option<u64>) {
        let asked = hit_bytes.unwrap_or(u64::from(awaited.request.value_len));
        let halves = [Some(&mut self.report.whole), Some(&mut self.report.second_half)];
        for half in halves.into_iter().flatten().take(1 + usize::from(awaited.second_half)) {
            half.gets += 1;
            half.bytes += asked;
            half.hits += u64::from(hit_bytes.is_some());
            half.hit_bytes += hit_bytes.unwrap_or(0);
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judgement {
    /// The value set last, neither deleted nor expired.
    Last,
    /// An earlier value, or one deleted or expired.
    Older,
    /// Neither: never set.
    Unknown,
}

fn judge(pattern: &Pattern, awaited: &Awaited, value: &[u8]) -> Judgement {
    let is = |version: u32| {
        let start = Pattern::start(u64::from(awaited.request.object), version);
        pattern.check(start, value).0
    };
    let held = awaited.held;
    if held.version > 0 && value.len() == held.value_len as usize && is(held.version) {
        return if held.live { Judgement::Last } else { Judgement::Older };
    }
    let oldest = held.version.saturating_sub(VERSIONS_TRIED).max(1);
    if (oldest..held.version).any(is) { Judgement::Older } else { Judgement::Unknown }
}

impl Report {
    /// # Errors
    /// A message, when a value was wrong or stale.
    pub(crate) fn verdict(&self) -> Result<(), String> {
        if self.wrong + self.stale == 0 {
            return Ok(());
        }
        let first = self.complaint.as_deref().unwrap_or("");
        Err(format!("{} values were wrong and {} stale; the first: {first}", self.wrong, self.stale))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} requests in {:.1} s", self.requests, self.seconds)?;
        for (what, half) in [("whole", &self.whole), ("second half", &self.second_half)] {
            writeln!(
                f,
                "{what:12} object hits {:6.2} %  byte hits {:6.2} %  of {} gets, {:.1} MB",
                half.object_hits(),
                half.byte_hits(),
                half.gets,
                half.bytes as f64 / 1e6
            )?;
        }
        writeln!(f, "sets refused {}  values wrong {}  stale {}", self.refused, self.wrong, self.stale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_told_apart() {
        let pattern = Pattern::new();
        let value = |version, len| {
            let mut value = Vec::new();
            pattern.append(&mut value, Pattern::start(5, version), len);
            value
        };
        let request = Request { op: Op::Get, object: 5, value_len: 100, ttl_secs: 0 };
        let held = Held { version: 3, value_len: 100, live: true, expires_secs: f64::INFINITY, set_in: 1 };
        let awaited = Awaited { request, held, second_half: false };
        assert_eq!(judge(&pattern, &awaited, &value(3, 100)), Judgement::Last);
        assert_eq!(judge(&pattern, &awaited, &value(2, 80)), Judgement::Older);
        assert_eq!(judge(&pattern, &awaited, &value(4, 100)), Judgement::Unknown);
        let deleted = Awaited { held: Held { live: false, ..held }, ..awaited };
        assert_eq!(judge(&pattern, &deleted, &value(3, 100)), Judgement::Older);
        let never = Awaited { held: Held::default(), ..awaited };
        assert_eq!(judge(&pattern, &never, &value(1, 100)), Judgement::Unknown);
    }
}
