//! Asks the watched server for its lists of `stats`, once a second, over one connection that is opened again after a
//! failure.

use super::sample::{List, Sample};
use crate::config::ProbeTarget;
use crate::server::Client;
use std::time::{Duration, Instant};

/// Time between two samples.
pub(super) const PERIOD: Duration = Duration::from_secs(1);
/// How long the server may take to connect, and for each piece of an answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);

/// Takes samples of one server, connecting again after a failure.
#[derive(Debug)]
pub(super) struct Source<'t> {
    target: &'t ProbeTarget,
    client: Option<Client>,
}

impl<'t> Source<'t> {
    pub(super) fn new(target: &'t ProbeTarget) -> Self {
        Self { target, client: None }
    }

    pub(super) fn sample(&mut self) -> Result<Sample, String> {
        let result = self.ask();
        if result.is_err() {
            self.client = None;
        }
        result.map_err(|words| format!("{}: {words}", self.target))
    }

    fn ask(&mut self) -> Result<Sample, String> {
        let client = match &mut self.client {
            Some(client) => client,
            none => none.insert(Client::connect(self.target, ANSWER_TIME_MAX)?),
        };
        let at = Instant::now();
        let general = list(client, "stats")?.ok_or("the server does not know stats")?;
        let mut own = |name| list(client, name).map(Option::unwrap_or_default);
        let memory = own("stats memory")?;
        let latency = own("stats latency")?;
        let rings = own("stats rings")?;
        let hotkeys = own("stats hotkeys")?;
        let settings = own("stats settings")?;
        let memcrsd = own("stats memcrsd")?;
        Ok(Sample { at, general, memory, latency, rings, hotkeys, settings, memcrsd })
    }
}

/// Asks for a list of `stats` by `command`, and makes its texts [`harmless`]; `None` if the server does not know the command.
fn list(client: &mut Client, command: &str) -> Result<Option<List>, String> {
    let list = client.stats(command)?;
    Ok(list.map(|list| list.iter().map(|(name, value)| (harmless(name), harmless(value))).collect()))
}

/// Replaces control characters, and marks that change the direction of text, by `?`, so that the server's text cannot steer the
/// terminal.
fn harmless(text: &str) -> String {
    let is_mark =
        |char| matches!(char, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let shown = |char: char| if char.is_control() || is_mark(char) { '?' } else { char };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(harmless("1:key a\x1b[2Jb\x07\x7f"), "1:key a?[2Jb??");
        assert_eq!(harmless("a\u{9b}31m\u{202e}b"), "a?31m?b");
        assert_eq!(harmless("caf\u{e9} \u{fffd}"), "caf\u{e9} \u{fffd}");
    }
}
