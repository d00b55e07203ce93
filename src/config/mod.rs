//! Turns the command line into a configuration that is known to be valid.
//!
//! A [`Config`] is built once on the main thread and then only read: `engine::Shared` holds it for all rings. Settings that
//! commands change while the server runs are in [`RuntimeSettings`], behind a lock in `engine::Shared`.
//!
//! ```text
//! words ─ getopt: one spelling for all ─► options: argh's struct ─► validate: defaults, checks, listeners ─► Config
//!         (help: the table of options)     (number: C's numbers)     (extended: -o; flash: ext_*; listen: -l)  settings ─► `stats settings`
//! ```
//!
//! `parts` has the types of settings, `values` the settings, `request` the input and the result of parsing. Each module imports
//! only modules named before it: `number`, `parts`, `values`, `request`, `suboption`, `options`, `getopt`, `listen`, `settings`,
//! `flash`, `help`, `documents`, `extended`, `validate`.
//!
//! Meaning, defaults, messages and exit statuses are those of memcached 1.6.45. Parsing is pure: the properties of the machine
//! are passed in as [`Environment`], and an error is returned as lines and a status. Only [`Endpoint::addresses`] asks the
//! resolver.
//!
//! Options for memcached's slab allocator, LRU threads and hash table are parsed, checked and shown like all others. `-h` lists
//! them as without effect.

mod documents;
mod extended;
mod flash;
mod getopt;
mod help;
mod listen;
mod number;
mod options;
mod parts;
mod request;
mod settings;
mod suboption;
#[cfg(test)]
mod tests;
mod validate;
mod values;

pub use help::{MEMCACHED_VERSION, OWN_VERSION};
pub use listen::without_brackets;
pub use parts::{
    Endpoint, Ext, Flash, FlashPath, IoEngine, ListenSpec, ListenTls, ProbeTarget, Protocol, Tls, VerifyMode,
};
pub use request::{
    EX_BAD_VALUE, EX_NOUSER, EX_OSERR, EX_USAGE, Environment, HAS_TLS, Probe, Request, StartupError,
};
pub use settings::{RuntimeSettings, settings};
pub use values::Config;

use argh::FromArgs as _;
use std::ffi::OsString;

/// The word before the address of a server to watch. Other words that are not options are ignored, as memcached does.
const TOP: &str = "top";

/// Returns the command line as text: the program's name, and all further words.
///
/// # Errors
/// A word is not UTF-8.
pub fn words(words: impl Iterator<Item = OsString>) -> Result<(String, Vec<String>), StartupError> {
    let refused =
        |word: OsString| StartupError::new(EX_BAD_VALUE, format!("Not valid UTF-8: {}", word.display()));
    let mut words = words.map(|word| word.into_string().map_err(refused));
    let program = words.next().unwrap_or_else(|| Ok("memcached".to_owned()))?;
    Ok((program, words.collect::<Result<_, _>>()?))
}

/// Parses a command line, which must not include the program's name.
///
/// # Errors
/// The command line is invalid: the [`StartupError`] for the first error found.
pub fn parse(args: &[String], environment: &Environment) -> Result<Request, StartupError> {
    if let [word, rest @ ..] = args
        && word == TOP
    {
        return validate::top(rest).map(Request::Top);
    }
    let line = getopt::normalise(help::SPECS, &environment.program, args);
    let words: Vec<&str> = line.words.iter().map(String::as_str).collect();
    let options = options::Options::from_args(&[&environment.program], &words)
        .map_err(|exit| StartupError::new(EX_BAD_VALUE, exit.output.trim_end()))?;
    let config = validate::values(&options, environment)?;
    match line.end {
        getopt::End::Run => match validate::probe(&options)? {
            Some(probe) => Ok(Request::Probe(probe)),
            None if !options.print.is_empty() => validate::document(&options).map(Request::Print),
            None => Ok(Request::Run(Box::new(validate::combinations(config, &options)?))),
        },
        getopt::End::Help => Ok(Request::Print(help::help(environment.tls))),
        getopt::End::Licence => Ok(Request::Print(help::licence())),
        getopt::End::Version => Ok(Request::Print(help::version())),
        getopt::End::Refused(refusal) => Err(refusal),
    }
}
