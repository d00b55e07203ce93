//! Writes a view as one line, for pipes and files. Pure functions.

use super::view::{View, bytes, percent, short};

/// Number of lines from one header to the next.
pub(super) const HEADER_EVERY: usize = 20;

/// Names of the columns.
pub(super) const HEADER: &str =
    "  req/s   get/s   set/s   hits  p50us  p99us      used   items evict/s  conns busiest\n";

/// The view as one line, without its line end.
pub(super) fn line(view: &View) -> String {
    let first = view.latencies.first();
    let micros = |of: Option<f64>| of.map_or_else(|| "-".to_owned(), |us| format!("{us:.0}"));
    let busy = view.rings.iter().filter_map(|ring| ring.busy).max_by(f64::total_cmp);
    format!(
        "{:>7} {:>7} {:>7} {:>6} {:>6} {:>6} {:>9} {:>7} {:>7} {:>6} {:>7}",
        short(view.per_sec),
        short(view.rates[0].per_sec),
        short(view.rates[1].per_sec),
        percent(view.get_hits),
        micros(first.map(|of| of.p50)),
        micros(first.map(|of| of.p99)),
        bytes(view.used),
        short(view.items),
        short(view.evicted_per_sec),
        short(view.connections),
        percent(busy),
    )
}

#[cfg(test)]
mod tests {
    use super::super::view::tests::samples;
    use super::*;

    #[test]
    fn columns_stand_below_their_names() {
        let (old, new) = samples();
        let line = line(&View::between(&old, &new));
        assert_eq!(line.len(), HEADER.trim_end().len());
        assert_eq!(line.split_whitespace().collect::<Vec<_>>()[..5], ["22k", "20k", "2.00k", "95.0%", "2"]);
    }
}
