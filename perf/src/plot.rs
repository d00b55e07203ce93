//! `perf plot`: a record as an SVG of bars. Two columns: rate, where long is good, and CPU time per key, where short is.

use std::fmt::Write as _;
use std::path::PathBuf;

use argh::FromArgs;

use crate::record::{Medians, Record};

/// Draw a record as SVG.
#[derive(FromArgs, Clone, Debug)]
#[argh(subcommand, name = "plot")]
pub(crate) struct Flags {
    /// JSON record of perf compare
    #[argh(positional)]
    record: PathBuf,
    /// the drawing (the record's name with .svg)
    #[argh(option)]
    out: Option<PathBuf>,
}

/// # Errors
/// A message, when the record cannot be read or the drawing not written.
pub(crate) fn command(flags: &Flags) -> Result<(), String> {
    let record = Record::load(&flags.record)?;
    let out = flags.out.clone().unwrap_or_else(|| flags.record.with_extension("svg"));
    std::fs::write(&out, draw(&record)).map_err(|e| format!("{}: {e}", out.display()))?;
    println!("{}", out.display());
    Ok(())
}

const TITLE_WIDTH: usize = 320;
const COLUMN_WIDTH: usize = 300;
/// Room for the figure after the longest bar.
const FIGURE_WIDTH: usize = 90;
const BAR_HEIGHT: usize = 12;
const ROW_GAP: usize = 12;
const TOP: usize = 70;
/// Okabe and Ito's palette, distinguishable without colour vision.
const COLOURS: [&str; 5] = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9"];

fn draw(record: &Record) -> String {
    let row_height = record.servers.len() * BAR_HEIGHT + ROW_GAP;
    let width = TITLE_WIDTH + 2 * (COLUMN_WIDTH + FIGURE_WIDTH);
    let height = TOP + record.rows.len() * row_height + ROW_GAP;
    let mut svg = String::new();
    // Writing into a String cannot fail.
    let _ = writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>"
    );
    let machine = &record.machine;
    let about = format!(
        "{}, Linux {}, {}; medians of {} rounds",
        machine.cpu, machine.kernel, record.date, record.rounds
    );
    text(&mut svg, 8, 18, "start", &about);
    for (index, server) in record.servers.iter().enumerate() {
        let x = 8 + index * 240;
        let _ =
            writeln!(svg, "<rect x=\"{x}\" y=\"30\" width=\"12\" height=\"12\" fill=\"{}\"/>", colour(index));
        text(&mut svg, x + 18, 41, "start", &format!("{} {}", server.name, server.version));
    }
    let columns: [(&str, Figure, Form); 2] = [
        ("keys a second (long is good)", |m| m.operations_per_sec, |n| format!("{:.0} k", n / 1e3)),
        ("server CPU per key, us (short is good)", |m| m.cpu_us, |n| format!("{n:.2}")),
    ];
    for (column, (title, figure, form)) in columns.into_iter().enumerate() {
        let x = TITLE_WIDTH + column * (COLUMN_WIDTH + FIGURE_WIDTH);
        text(&mut svg, x, TOP - 8, "start", title);
        for (index, row) in record.rows.iter().enumerate() {
            let y = TOP + index * row_height;
            if column == 0 {
                text(&mut svg, TITLE_WIDTH - 10, y + BAR_HEIGHT, "end", &row.title);
            }
            let figures: Vec<Option<f64>> =
                (0..record.servers.len()).map(|server| row.medians(server).map(|m| figure(&m))).collect();
            bars(&mut svg, (x, y), &figures, form);
        }
    }
    svg.push_str("</svg>\n");
    svg
}

type Figure = fn(&Medians) -> f64;
type Form = fn(f64) -> String;

/// One row's bars; the longest fills the column, since rows differ by orders of magnitude.
fn bars(svg: &mut String, (x, y): (usize, usize), figures: &[Option<f64>], form: Form) {
    let longest = figures.iter().flatten().copied().fold(f64::MIN_POSITIVE, f64::max);
    for (index, figure) in figures.iter().enumerate() {
        let Some(figure) = *figure else { continue };
        let y = y + index * BAR_HEIGHT;
        let width = figure / longest * COLUMN_WIDTH as f64;
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{width:.1}\" height=\"{}\" fill=\"{}\"/>",
            BAR_HEIGHT - 1,
            colour(index)
        );
        text(svg, x + width as usize + 5, y + BAR_HEIGHT - 2, "start", &form(figure));
    }
}

fn colour(index: usize) -> &'static str {
    COLOURS[index % COLOURS.len()]
}

fn text(svg: &mut String, x: usize, y: usize, anchor: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let _ = writeln!(svg, "<text x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\">{words}</text>");
}
