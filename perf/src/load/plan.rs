//! The definition of a load: the flags of `perf load`, and their validated form.

use argh::FromArgs;

use super::pace::Arrivals;
use crate::proto::Protocol;
use crate::size::Sizes;
use crate::value::{KEY_LEN_MAX, KEY_LEN_MIN};
use crate::zipf::Choice;

/// Load a server and measure it; every reply is checked.
#[derive(FromArgs, Clone, Debug)]
#[argh(subcommand, name = "load")]
pub(crate) struct Flags {
    /// server, HOST:PORT (127.0.0.1:11211)
    #[argh(option, default = "String::from(\"127.0.0.1:11211\")")]
    pub(crate) server: String,
    /// text, meta or binary (text)
    #[argh(option, default = "Protocol::Text")]
    pub(crate) protocol: Protocol,
    /// get, set, mixed or multiget (get)
    #[argh(option, default = "String::from(\"get\")")]
    pub(crate) op: String,
    /// share of sets in mixed, percent (10)
    #[argh(option, default = "10.0")]
    pub(crate) set_percent: f64,
    /// keys in one multiget (100)
    #[argh(option, default = "100")]
    pub(crate) multiget_keys: usize,
    /// connections (50)
    #[argh(option, default = "50")]
    pub(crate) connections: usize,
    /// requests in flight on a connection (1)
    #[argh(option, default = "1")]
    pub(crate) depth: usize,
    /// threads of the generator (1)
    #[argh(option, default = "1")]
    pub(crate) threads: usize,
    /// number of keys (100000)
    #[argh(option, default = "100_000")]
    pub(crate) keys: u64,
    /// uniform, zipf:THETA or sequential (uniform)
    #[argh(option, default = "Choice::Uniform")]
    pub(crate) choice: Choice,
    /// key length, bytes (30)
    #[argh(option, default = "30")]
    pub(crate) key_bytes: usize,
    /// value size: 100, 10-1000, or a mix with weights 100:70,1000:25,10000:5 (100)
    #[argh(option, default = "\"100\".parse().expect(\"a number is a size\")")]
    pub(crate) value_bytes: Sizes,
    /// time to live of values: SECONDS, or a range 10-60; 0 = for ever (0)
    #[argh(option, default = "String::from(\"0\")")]
    pub(crate) ttl: String,
    /// open loop: this many requests a second in all, latency counted from when each was due
    #[argh(option)]
    pub(crate) rate: Option<f64>,
    /// open loop: even or poisson (poisson)
    #[argh(option, default = "String::from(\"poisson\")")]
    pub(crate) arrivals: String,
    /// seconds measured (5)
    #[argh(option, default = "5.0")]
    pub(crate) seconds: f64,
    /// seconds of warm-up before that (1)
    #[argh(option, default = "1.0")]
    pub(crate) warmup: f64,
    /// stop after this many requests instead of after --seconds; no warm-up
    #[argh(option)]
    pub(crate) requests: Option<u64>,
    /// do not set all keys first
    #[argh(switch)]
    pub(crate) no_preload: bool,
    /// seed of every choice (1)
    #[argh(option, default = "1")]
    pub(crate) seed: u64,
    /// process whose CPU time and memory are measured
    #[argh(option)]
    pub(crate) pid: Option<i32>,
    /// cores the generator runs on: 1 or 1,3 or 2-5
    #[argh(option)]
    pub(crate) cpus: Option<String>,
    /// print JSON instead of a table
    #[argh(switch)]
    pub(crate) json: bool,
    /// no progress lines
    #[argh(switch)]
    pub(crate) quiet: bool,
}

/// Which commands are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Mix {
    /// Gets of one key.
    Get,
    /// Sets.
    Set,
    /// Gets, and this share (0 to 1) of sets.
    Mixed {
        /// Share of sets.
        set_share: f64,
    },
    /// Gets of this many keys.
    Multiget(usize),
}

/// When a load ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Span {
    /// After a warm-up and this much time.
    Seconds {
        /// Not measured.
        warmup: f64,
        /// Measured.
        measured: f64,
    },
    /// After this many requests, all measured.
    Requests(u64),
}

/// A load that can be run. Made by [`Plan::from_flags`] or by hand from [`Plan::new`].
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) server: String,
    pub(crate) protocol: Protocol,
    pub(crate) mix: Mix,
    pub(crate) connections: usize,
    pub(crate) depth: usize,
    pub(crate) threads: usize,
    /// The first object; the others follow it.
    pub(crate) first: u64,
    pub(crate) keys: u64,
    pub(crate) choice: Choice,
    pub(crate) key_bytes: usize,
    pub(crate) sizes: Sizes,
    /// Smallest and largest time to live, seconds; 0 is for ever.
    pub(crate) ttl_secs: (u32, u32),
    /// Requests a second and their distribution; `None` = closed loop.
    pub(crate) rate: Option<(f64, Arrivals)>,
    pub(crate) span: Span,
    pub(crate) seed: u64,
    pub(crate) pid: Option<i32>,
    /// Print a progress line every second.
    pub(crate) progress: bool,
}

impl Plan {
    /// Gets over text, 50 connections, depth 1, 100,000 keys of 30 bytes, 100-byte values, 5 seconds.
    pub(crate) fn new(server: &str) -> Self {
        Self {
            server: server.into(),
            protocol: Protocol::Text,
            mix: Mix::Get,
            connections: 50,
            depth: 1,
            threads: 1,
            first: 0,
            keys: 100_000,
            choice: Choice::Uniform,
            key_bytes: 30,
            sizes: "100".parse().expect("a number is a size"),
            ttl_secs: (0, 0),
            rate: None,
            span: Span::Seconds { warmup: 1.0, measured: 5.0 },
            seed: 1,
            pid: None,
            progress: false,
        }
    }

    /// # Errors
    /// A message, when a flag is out of range or two exclude each other.
    pub(crate) fn from_flags(flags: &Flags) -> Result<Self, String> {
        if flags.connections == 0 || flags.depth == 0 || flags.threads == 0 || flags.keys == 0 {
            return Err("--connections, --depth, --threads and --keys are at least 1".into());
        }
        if flags.threads > flags.connections {
            return Err("every thread needs a connection: --threads is above --connections".into());
        }
        if !(KEY_LEN_MIN..=KEY_LEN_MAX).contains(&flags.key_bytes) {
            return Err(format!("--key-bytes is {KEY_LEN_MIN} to {KEY_LEN_MAX}"));
        }
        let mix = match &flags.op[..] {
            "get" => Mix::Get,
            "set" => Mix::Set,
            "mixed" => Mix::Mixed { set_share: flags.set_percent / 100.0 },
            "multiget" if flags.multiget_keys > 0 => Mix::Multiget(flags.multiget_keys),
            other => return Err(format!("--op is get, set, mixed or multiget, not {other}")),
        };
        let arrivals = match &flags.arrivals[..] {
            "even" => Arrivals::Even,
            "poisson" => Arrivals::Poisson,
            other => return Err(format!("--arrivals is even or poisson, not {other}")),
        };
        if flags.rate.is_some_and(|rate| rate.is_nan() || rate <= 0.0) || flags.seconds <= 0.0 {
            return Err("--rate and --seconds are above 0".into());
        }
        let span = match flags.requests {
            Some(count) => Span::Requests(count),
            None => Span::Seconds { warmup: flags.warmup.max(0.0), measured: flags.seconds },
        };
        Ok(Self {
            protocol: flags.protocol,
            mix,
            connections: flags.connections,
            depth: flags.depth,
            threads: flags.threads,
            keys: flags.keys,
            choice: flags.choice,
            key_bytes: flags.key_bytes,
            sizes: flags.value_bytes.clone(),
            ttl_secs: ttl(&flags.ttl)?,
            rate: flags.rate.map(|rate| (rate, arrivals)),
            span,
            seed: flags.seed,
            pid: flags.pid,
            progress: !flags.quiet && !flags.json,
            ..Self::new(&flags.server)
        })
    }

    /// A load that sets every key of this one once.
    pub(crate) fn preload(&self) -> Self {
        Self {
            mix: Mix::Set,
            connections: self.connections.min(8 * self.threads),
            depth: if self.sizes.max() > 100_000 { 2 } else { 32 },
            choice: Choice::Sequential,
            rate: None,
            span: Span::Requests(self.keys),
            progress: false,
            ..self.clone()
        }
    }
}

fn ttl(text: &str) -> Result<(u32, u32), String> {
    let number = |word: &str| word.parse::<u32>().map_err(|e| format!("--ttl {word}: {e}"));
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let (low, high) = (number(low)?, number(high)?);
    if low > high { Err("--ttl goes from small to large".into()) } else { Ok((low, high)) }
}
