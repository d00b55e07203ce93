//! `perf replay`: plays a trace against a server as a look-aside cache would be used, and reports the hit ratio.
//!
//! Requests go out in windows. All replies of a window are read before the next one; what was missed is set at the start
//! of the next window. A second miss of the same object in a window is no miss of the server's: the set was on its way.
//! It is asked again behind that set and counted then, so that hit ratios do not depend on the window.
//!
//! Every object has a version that grows with every set, and its value follows from object and version. So each hit
//! can be told to be the last value set, an older one (stale), one that should have expired or been deleted (stale
//! too), or nothing that was ever set (wrong).

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
    /// requests a second (as fast as it goes)
    #[argh(option)]
    rate: Option<f64>,
    /// print JSON instead of a table
    #[argh(switch)]
    json: bool,
}

/// # Errors
/// In words: no such trace, a server that breaks off, or values that were wrong.
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

/// A trace from a file, or made when `name` is that of a synthetic one and no file.
fn open(name: &str) -> Result<Trace, String> {
    let path = PathBuf::from(name);
    match Spec::named(name) {
        Some(spec) if !path.exists() => Ok(spec.generate(1)),
        _ => Trace::load(&path),
    }
}
