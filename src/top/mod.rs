//! `memcrsd top HOST:PORT`: what a server does, every second.
//!
//! It is a process of its own with one thread, which owns everything: the connection, the last two samples, the terminal.
//!
//! ```text
//!  source: lists of `stats` ──► sample: numbers ──► view: rates between two samples ──► screen (a terminal)
//!                                                                                   └──► lines  (anything else)
//! ```
//!
//! It works with any memcached; latencies, hot keys, parts of the memory and rings are what memcrsd alone reports. Of
//! the server's code it uses only `server::Client`, which connects.

mod lines;
mod sample;
mod screen;
mod source;
mod view;

use crate::config::ProbeTarget;
use sample::Sample;
use source::{PERIOD, Source};
use std::io::{self, IsTerminal as _, Write as _};
use view::View;

/// Shows every second what the server at `target` does, until the user quits or the reader of the lines closes the pipe.
///
/// # Errors
/// The server does not answer, or the terminal cannot be used. The error is a line for the user.
pub fn top(target: &ProbeTarget) -> Result<(), String> {
    let mut source = Source::new(target);
    // Errors of the first sample go to the shell, not to a screen that is wiped.
    let first = source.sample()?;
    if io::stdout().is_terminal() {
        screen::run(source, first).map_err(|error| format!("the terminal cannot be used: {error}"))
    } else {
        print(source, first)
    }
}

/// Prints a line a second; returns when the reader closes the pipe.
fn print(mut source: Source<'_>, mut old: Sample) -> Result<(), String> {
    let mut out = io::stdout();
    for number in 0_usize.. {
        std::thread::sleep(PERIOD.saturating_sub(old.at.elapsed()));
        let new = source.sample()?;
        let view = View::between(&old, &new);
        let header = if number % lines::HEADER_EVERY == 0 { lines::HEADER } else { "" };
        let written = writeln!(out, "{header}{}", lines::line(&view)).and_then(|()| out.flush());
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
            result => result.map_err(|error| format!("cannot write: {error}"))?,
        }
        old = new;
    }
    Ok(())
}
