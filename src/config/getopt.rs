//! Does what glibc's `getopt_long` does, before argh: reduces every spelling of the command line to one. Pure functions.
//!
//! memcached's users write `-vv`, `-m64`, `-dp 11211`, `--port=11211`, `--po 11211`, and stray words. The only form that argh
//! accepts is `--port 11211`. So the output consists of `--name` and `--name value`, in the order given, with values without
//! leading spaces. What argh cannot do is done here too: getopt's own messages, and that `-h` takes effect where it stands.
//!
//! Source: getopt(3), "Argument scanning"; the messages are those of glibc's `getopt.c`.

use super::StartupError;
use std::fmt::Write as _;

/// Says whether an option is followed by a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    Nothing,
    Value,
    /// The option may have a value in the form `--name=value`, which is ignored.
    Ignored,
}

/// An option: how it is spelled, whether it takes a value, and its lines in `-h`.
#[derive(Debug)]
pub(super) struct Spec {
    pub(super) short: Option<char>,
    /// The long name. It is also the name of the field in [`Options`](super::options::Options), with `_` for `-`.
    pub(super) long: &'static str,
    pub(super) takes: Takes,
    /// The name of the value in the help; empty if the option takes none.
    pub(super) value: &'static str,
    pub(super) help: &'static [&'static str],
}

/// The reason why the scan of the command line ended. For [`End::Help`], [`End::Licence`] and [`End::Version`] the process prints
/// the text of that name and exits.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// All words have been scanned. The other options decide what the process does.
    Run,
    Help,
    Licence,
    Version,
    /// getopt rejects a word, with this message.
    Refused(StartupError),
}

/// The command line up to the word that ended the scan, in argh's spelling, and the reason for the end.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) words: Vec<String>,
    pub(super) end: End,
}

/// Rewrites `args`, which must not include the program's name, for argh, which accepts only some of getopt's spellings.
///
/// `program` is the name with which getopt's messages begin.
pub(super) fn normalise(specs: &[Spec], program: &str, args: &[String]) -> Line {
    let mut words = Vec::with_capacity(args.len() * 2);
    let mut rest = args.iter();
    let mut end = End::Run;
    while let Some(arg) = rest.next() {
        if arg == "--" {
            break;
        }
        let step = if let Some(long) = arg.strip_prefix("--") {
            long_option(specs, long, &mut rest, &mut words)
        } else if let Some(group) = arg.strip_prefix('-').filter(|group| !group.is_empty()) {
            short_options(specs, group, &mut rest, &mut words)
        } else {
            continue;
        };
        match step {
            Ok(End::Run) => {}
            Ok(stop) => {
                end = stop;
                break;
            }
            Err(complaint) => {
                let lines = vec![format!("{program}: {complaint}"), "Illegal argument \"?\"".to_owned()];
                end = End::Refused(StartupError { lines, status: 1 });
                break;
            }
        }
    }
    Line { words, end }
}

/// Scans `--name`, `--name=value` or `--name value`, where `name` may be an unambiguous prefix, and appends the option to
/// `words`. Takes the value from `rest` if it is a word of its own. `Err` is getopt's message.
fn long_option<'a>(
    specs: &[Spec],
    long: &str,
    rest: &mut impl Iterator<Item = &'a String>,
    words: &mut Vec<String>,
) -> Result<End, String> {
    let (name, joined) = match long.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (long, None),
    };
    let spec = match specs.iter().find(|spec| spec.long == name) {
        Some(spec) => spec,
        None => only_match(specs, name)?,
    };
    match (spec.takes, joined) {
        (Takes::Nothing, Some(_)) => Err(format!("option '--{}' doesn't allow an argument", spec.long)),
        (Takes::Nothing | Takes::Ignored, _) => Ok(push_flag(spec, words)),
        (Takes::Value, Some(value)) => {
            push_value(spec, value, words);
            Ok(End::Run)
        }
        (Takes::Value, None) => {
            let value =
                rest.next().ok_or_else(|| format!("option '--{}' requires an argument", spec.long))?;
            push_value(spec, value, words);
            Ok(End::Run)
        }
    }
}

/// Returns the option whose long name begins with `name`. `Err` is getopt's message. memcached's options, all of which have a
/// letter, take precedence over others, so that each abbreviation that memcached accepts means the same here.
fn only_match<'s>(specs: &'s [Spec], name: &str) -> Result<&'s Spec, String> {
    let begins = |spec: &&Spec| spec.long.starts_with(name);
    let is_common = specs.iter().any(|spec| begins(&spec) && spec.short.is_some());
    let mut matches = specs.iter().filter(|spec| begins(spec) && (!is_common || spec.short.is_some()));
    let Some(first) = matches.next() else {
        return Err(format!("unrecognized option '--{name}'"));
    };
    let mut ambiguous = matches.peekable();
    if ambiguous.peek().is_none() {
        return Ok(first);
    }
    let mut complaint = format!("option '--{name}' is ambiguous; possibilities: '--{}'", first.long);
    for spec in ambiguous {
        let _ = write!(complaint, " '--{}'", spec.long);
    }
    Err(complaint)
}

/// Scans a group of short options, for example `dvm64`: switches, then at most one option with a value. The value is the rest of
/// the word or, if the word ends there, the next word.
fn short_options<'a>(
    specs: &[Spec],
    group: &str,
    rest: &mut impl Iterator<Item = &'a String>,
    words: &mut Vec<String>,
) -> Result<End, String> {
    for (at, letter) in group.char_indices() {
        let spec = specs
            .iter()
            .find(|spec| spec.short == Some(letter))
            .ok_or_else(|| format!("invalid option -- '{letter}'"))?;
        if spec.takes == Takes::Value {
            let joined = &group[at + letter.len_utf8()..];
            let value = match joined {
                "" => {
                    rest.next().ok_or_else(|| format!("option requires an argument -- '{letter}'"))?.as_str()
                }
                joined => joined,
            };
            push_value(spec, value, words);
            return Ok(End::Run);
        }
        match push_flag(spec, words) {
            End::Run => {}
            stop => return Ok(stop),
        }
    }
    Ok(End::Run)
}

fn push_flag(spec: &Spec, words: &mut Vec<String>) -> End {
    match spec.long {
        "help" => End::Help,
        "license" => End::Licence,
        "version" => End::Version,
        long => {
            words.push(format!("--{long}"));
            End::Run
        }
    }
}

fn push_value(spec: &Spec, value: &str, words: &mut Vec<String>) {
    words.push(format!("--{}", spec.long));
    words.push(value.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '\x0b').to_owned());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::help::SPECS;

    fn line(args: &[&str]) -> Line {
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        normalise(SPECS, "memcached", &args)
    }

    #[test]
    fn every_spelling_is_normalised() {
        for args in [
            &["-m64"][..],
            &["-m", "64"],
            &["-m", "  64"],
            &["--memory-limit=64"],
            &["--memory-limit", "64"],
            &["--memory-l=64"],
            &["stray", "-m", "64", "words"],
            &["-m64", "--", "-p", "1"],
            &["-", "-m64"],
        ] {
            assert_eq!(line(args).words, ["--memory-limit", "64"], "{args:?}");
        }
        assert_eq!(line(&["-dvvm64"]).words, ["--daemon", "--verbose", "--verbose", "--memory-limit", "64"]);
        assert_eq!(line(&["--verbose=3"]).words, ["--verbose"]);
        assert_eq!(line(&["-p", "-1"]).words, ["--port", "-1"]);
        assert_eq!(line(&["--pid", "x"]).words, ["--pidfile", "x"]);
    }

    #[test]
    fn errors_are_worded_as_by_getopt() {
        for (args, message) in [
            (&["-q"][..], "memcached: invalid option -- 'q'"),
            (&["-dq"], "memcached: invalid option -- 'q'"),
            (&["--foo=1"], "memcached: unrecognized option '--foo'"),
            (&["-p"], "memcached: option requires an argument -- 'p'"),
            (&["--port"], "memcached: option '--port' requires an argument"),
            (&["--daemon=3"], "memcached: option '--daemon' doesn't allow an argument"),
            (&["--ver"], "memcached: option '--ver' is ambiguous; possibilities: '--verbose' '--version'"),
        ] {
            let End::Refused(refusal) = line(args).end else { panic!("{args:?} was taken") };
            assert_eq!(refusal.lines, [message, "Illegal argument \"?\""]);
            assert_eq!(refusal.status, 1);
        }
    }

    #[test]
    fn help_version_and_licence_take_effect_where_they_stand() {
        let stopped = line(&["-t", "2", "-vhq", "-p"]);
        assert_eq!(stopped.words, ["--threads", "2", "--verbose"]);
        assert_eq!(stopped.end, End::Help);
        assert_eq!(line(&["-V"]).end, End::Version);
        assert_eq!(line(&["--license"]).end, End::Licence);
    }
}
