//! `perf replay`: plays a trace against a server used as a look-aside cache, and reports the hit ratio.
//!
//! Requests are sent in windows. All replies of a window are read before the next one, which starts with sets of what was
//! missed. A second miss of an object within a window is not the server's fault, because its set was not sent yet: the get
//! is repeated after that set and counted then, so that hit ratios do not depend on the window.
//!
//! Every set increments the version of its object, and the value is derived from object and version. So each hit is known
//! to be the last value set, an older, expired or deleted one (stale), or one that was never set (wrong).

mod compare;
mod player;

use std::path::PathBuf;

use argh::FromArgs;

pub(crate) use compare::{CompareFlags, command as compare_command};
pub(crate) use player::{Play, Player};

use crate::proto::Protocol;
use crate::synthetic::Spec;
use crate::trace::Trace;

/// Play a trace against a server (get, and set on a miss) and print hit ratios; every value is checked.
#[derive(FromArgs, Clone, Debug)]
#[argh(subcommand, name = "replay")]
pub(crate) struct Flags {
    /// MTR2 file, or the name of a synthetic trace (see perf gen)
    #[argh(positional)]
    trace: String,
    /// server, HOST:PORT (127.0.0.1:11211)
    #[argh(option, default = "String::from(\"127.0.0.1:11211\")")]
    server: String,
    /// text, meta or binary (text)
    #[argh(option, default = "Protocol::Text")]
    protocol: Protocol,
    /// multiply value sizes by this (1)
    #[argh(option, default = "1.0")]
    scale: f64,
    /// leave out requests for values of more bytes than this (after --scale)
    #[argh(option)]
    max: Option<u32>,
    /// requests in flight (64)
    #[argh(option, default = "64")]
    window: usize,
    /// key length, bytes (30)
    #[argh(option, default = "30")]
    key_bytes: usize,
    /// requests a second (unlimited)
    #[argh(option)]
    rate: Option<f64>,
    /// print JSON instead of a table
    #[argh(switch)]
    json: bool,
}

/// # Errors
/// A message: no such trace, a server that disconnects, or wrong values.
pub(crate) fn command(flags: &Flags) -> Result<(), String> {
    let trace = open(&flags.trace)?;
    let play = Play {
        protocol: flags.protocol,
        scale: flags.scale,
        value_len_max: flags.max,
        window: flags.window.max(1),
        key_bytes: flags.key_bytes,
        rate: flags.rate,
    };
    let report = Player::new(&trace, &play, &flags.server)?.run()?;
    if flags.json {
        println!("{}", serde_json::to_string_pretty(&report).map_err(|e| e.to_string())?);
    } else {
        print!("{report}");
    }
    report.verdict()
}

/// A trace from a file, or a synthetic one if `name` is its name and not a file.
fn open(name: &str) -> Result<Trace, String> {
    let path = PathBuf::from(name);
    match Spec::named(name) {
        Some(spec) if !path.exists() => Ok(spec.generate(1)),
        _ => Trace::load(&path),
    }
}
