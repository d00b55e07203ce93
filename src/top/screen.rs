//! Shows the view on a terminal, in blocks that fit 80 by 24 characters and grow with the terminal. `q`, Esc and ^C end the
//! program and restore the terminal.

use super::sample::Sample;
use super::source::{PERIOD, Source};
use super::view::{View, bytes, percent, short};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize as _};
use ratatui::text::Line;
use ratatui::widgets::{Block, Gauge, Paragraph, Row, Table};
use std::io;
use std::time::Duration;

/// Longest wait for a key before signals are checked again.
const KEY_TIME_MAX: Duration = Duration::from_millis(200);

/// Draws every second until the user quits.
///
/// # Errors
/// The terminal cannot be read, drawn on, or restored.
pub(super) fn run(source: Source<'_>, first: Sample) -> io::Result<()> {
    // A signal must leave the terminal restored, so it is read between two keys.
    let ending = SigSet::from_iter([Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT]);
    ending.thread_block()?;
    let signals = SignalFd::with_flags(&ending, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    let mut terminal = ratatui::try_init()?;
    let result = watch(&mut terminal, &signals, source, first);
    ratatui::try_restore()?;
    result
}

fn watch(
    terminal: &mut ratatui::DefaultTerminal,
    signals: &SignalFd,
    mut source: Source<'_>,
    mut old: Sample,
) -> io::Result<()> {
    let mut view = View::between(&old, &old);
    let mut trouble = None;
    let mut due = old.at + PERIOD;
    loop {
        terminal.draw(|frame| draw(frame, &view, trouble.as_deref()))?;
        // Keys do not delay the next sample.
        loop {
            let left = due.saturating_duration_since(std::time::Instant::now());
            if left.is_zero() {
                break;
            }
            if signals.read_signal()?.is_some() {
                return Ok(());
            }
            if event::poll(left.min(KEY_TIME_MAX))? {
                match event::read()? {
                    event if leaves(&event) => return Ok(()),
                    Event::Resize(..) => {
                        terminal.draw(|frame| draw(frame, &view, trouble.as_deref()))?;
                    }
                    _ => {}
                }
            }
        }
        match source.sample() {
            Ok(new) => {
                view = View::between(&old, &new);
                trouble = None;
                old = new;
            }
            Err(words) => trouble = Some(words),
        }
        due = std::time::Instant::now() + PERIOD;
    }
}

fn leaves(event: &Event) -> bool {
    let Event::Key(key) = event else { return false };
    let control_c = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    key.kind == KeyEventKind::Press
        && (control_c || matches!(key.code, KeyCode::Char('q' | 'Q') | KeyCode::Esc))
}

fn draw(frame: &mut Frame<'_>, view: &View, trouble: Option<&str>) {
    let rows = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(9),
        Constraint::Min(7),
        Constraint::Max(8),
        Constraint::Length(1),
    ])
    .split(frame.area());
    frame.render_widget(Line::from(view.title.as_str()).bold(), rows[0]);
    let (left, right) = halves(rows[1]);
    requests(frame, left, view);
    memory(frame, right, view);
    let (left, right) = halves(rows[2]);
    latencies(frame, left, view);
    rings(frame, right, view);
    hotkeys(frame, rows[3], view);
    let foot = match trouble {
        Some(words) => Line::from(words).fg(Color::Red),
        None => Line::from("q quits").dim(),
    };
    frame.render_widget(foot, rows[4]);
}

fn halves(area: Rect) -> (Rect, Rect) {
    let halves = Layout::horizontal([Constraint::Percentage(50), Constraint::Percentage(50)]).split(area);
    (halves[0], halves[1])
}

/// Draws a table with a heading, or, if there are no rows, the text in `none`; either way in a box with a title.
fn table<const N: usize>(
    frame: &mut Frame<'_>,
    area: Rect,
    title: String,
    heading: [&'static str; N],
    rows: Vec<[String; N]>,
    none: &'static str,
) {
    let block = Block::bordered().title(title);
    if rows.is_empty() {
        return frame.render_widget(Paragraph::new(none).dim().block(block), area);
    }
    let mut widths = [Constraint::Length(8); N];
    widths[0] = Constraint::Min(10);
    let rows = rows.into_iter().map(Row::new);
    let heading = Row::new(heading).style(Style::new().bold());
    frame.render_widget(Table::new(rows, widths).header(heading).block(block), area);
}

fn requests(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let rows = view.rates.iter().map(|rate| [rate.name.to_owned(), short(rate.per_sec), percent(rate.hits)]);
    let title = format!("Requests {}/s", short(view.per_sec));
    table(frame, area, title, ["", "per s", "hits"], rows.collect(), "");
}

fn memory(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let block = Block::bordered().title(format!("Memory {} of {}", bytes(view.used), bytes(view.limit)));
    let inside = block.inner(area);
    frame.render_widget(block, area);
    let rows = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).split(inside);
    let share = if view.limit > 0.0 { (view.used / view.limit).clamp(0.0, 1.0) } else { 0.0 };
    frame.render_widget(Gauge::default().ratio(share).gauge_style(Style::new().fg(Color::Blue)), rows[0]);
    let part = |name: &str| {
        view.memory
            .iter()
            .find(|(part, _)| *part == name)
            .map_or_else(|| "-".to_owned(), |(_, of)| bytes(*of))
    };
    let text = vec![
        Line::from(format!("items {}   evicted/s {}", short(view.items), short(view.evicted_per_sec))),
        Line::from(format!("segments {}   large {}", part("segments"), part("large"))),
        Line::from(format!("index {}   ghosts {}", part("index"), part("ghosts"))),
        Line::from(format!("free {}", part("free"))),
        Line::from(format!("resident {}   bound {}", part("resident"), part("promised"))),
        Line::from(format!("in {}/s   out {}/s", bytes(view.received_per_sec), bytes(view.sent_per_sec))),
    ];
    frame.render_widget(Paragraph::new(text), rows[1]);
}

fn latencies(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let rows = view.latencies.iter().map(|of| {
        let micros = |us: f64| format!("{us:.1}");
        [of.name.clone(), micros(of.p50), micros(of.p99), micros(of.p999)]
    });
    let title = "Latency in us, since reset".to_owned();
    table(frame, area, title, ["", "p50", "p99", "p99.9"], rows.collect(), "nothing timed yet");
}

fn rings(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let rows = view.rings.iter().enumerate().map(|(number, ring)| {
        [format!("ring {number}"), ring.connections.to_string(), short(ring.per_sec), percent(ring.busy)]
    });
    let title = format!("Connections {} of {}", short(view.connections), short(view.connections_max));
    table(
        frame,
        area,
        title,
        ["", "conns", "per s", "busy"],
        rows.collect(),
        "no word of rings from this server",
    );
}

fn hotkeys(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let rows = view.hotkeys.iter().map(|(key, percent)| [key.clone(), format!("{percent}%")]);
    table(frame, area, "Hot keys".to_owned(), ["", "of all"], rows.collect(), "no keys yet");
}

#[cfg(test)]
mod tests {
    use super::super::view::tests::samples;
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn shown(width: u16, height: u16, view: &View, trouble: Option<&str>) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, view, trouble)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn all_of_it_fits_80_by_24() {
        let (old, new) = samples();
        let view = View::between(&old, &new);
        let screen = shown(80, 24, &view, None);
        for text in [
            "memcrsd 0.1.0 as memcached 1.6.45, up 1d 02:03:04, 2 threads, uring",
            "Requests 22k/s",
            "95.0%",
            "Memory 57 MiB of 64 MiB",
            "resident 67 MiB   bound 82 MiB",
            "in 2 MiB/s   out 9 MiB/s",
            "set       ",
            "ring 1 ",
            "90.0%",
            "user%3A1",
            "12.50%",
            "q quits",
        ] {
            assert!(screen.contains(text), "{text}:\n{screen}");
        }
    }

    /// A terminal may be any size, also while it is resized.
    #[test]
    fn no_size_is_too_small() {
        let (old, new) = samples();
        let view = View::between(&old, &new);
        for (width, height) in [(1, 1), (2, 30), (10, 5), (40, 12), (80, 23), (300, 100)] {
            shown(width, height, &view, Some("127.0.0.1:1: connection refused"));
        }
        assert!(shown(80, 24, &view, Some("x: no answer")).contains("x: no answer"));
    }
}
