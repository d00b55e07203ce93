//! The rows of the comparison.

use crate::load::{Arrivals, Mix, Plan};
use crate::proto::Protocol;
use crate::zipf::Choice;

/// One row. What it does not set is as in [`Plan::new`]: 50 connections, depth 1, 100,000 keys, 100-byte values.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// Short, for `--rows` and records.
    pub(super) id: String,
    /// For people.
    pub(super) title: String,
    pub(super) server_threads: usize,
    pub(super) plan: Plan,
}

pub(super) fn all() -> Vec<Row> {
    use Protocol::{Binary, Meta, Text};
    let get = |protocol, connections, depth| Plan { protocol, connections, depth, ..Plan::new("") };
    let row =
        |id: &str, title: &str, plan| Row { id: id.into(), title: title.into(), server_threads: 1, plan };
    let mixed = Mix::Mixed { set_share: 0.1 };
    let mut rows = vec![
        row("get-1c", "get, text, 1 connection", get(Text, 1, 1)),
        row("get-text", "get, text", get(Text, 50, 1)),
        row("get-binary", "get, binary", get(Binary, 50, 1)),
        row("get-1000c", "get, text, 1,000 connections", get(Text, 1000, 1)),
        row("get-text-16", "get, text, depth 16", get(Text, 50, 16)),
        row("get-binary-16", "get, binary, depth 16", get(Binary, 50, 16)),
        row("get-meta-16", "get, meta, depth 16", get(Meta, 50, 16)),
        row("get-text-50", "get, text, 10 connections, depth 50", get(Text, 10, 50)),
        row(
            "multiget",
            "get of 100 keys, text, per key",
            Plan { mix: Mix::Multiget(100), ..get(Text, 50, 1) },
        ),
        row("mixed", "10 % set, text", Plan { mix: mixed, ..get(Text, 50, 1) }),
        row("mixed-16", "10 % set, text, depth 16", Plan { mix: mixed, ..get(Text, 50, 16) }),
        row("set-text-16", "set, text, depth 16", Plan { mix: Mix::Set, ..get(Text, 50, 16) }),
        row("set-binary", "set, binary", Plan { mix: Mix::Set, ..get(Binary, 50, 1) }),
        row(
            "get-1m-16",
            "get, text, depth 16, 1,000,000 keys zipf 0.99",
            Plan { keys: 1_000_000, choice: Choice::Zipf(0.99), ..get(Text, 50, 16) },
        ),
        row("get-10k-4", "get of 10 KB, text, depth 4", sized("10000", 10_000, get(Text, 50, 4))),
        row("get-500k", "get of 500 KB, text, 10 connections", sized("500000", 400, get(Text, 10, 1))),
        row(
            "set-500k",
            "set of 500 KB, text, 10 connections",
            sized("500000", 400, Plan { mix: Mix::Set, ..get(Text, 10, 1) }),
        ),
    ];
    rows.extend(open_loop());
    let more_threads = [
        ("get-text", &[2][..]),
        ("get-text-16", &[2]),
        ("mixed-16", &[2]),
        ("set-text-16", &[2, 4, 16]),
        ("mixed", &[4, 16]),
    ];
    for (id, threads) in more_threads {
        let Some(one) = rows.iter().find(|row| row.id == id).cloned() else { continue };
        rows.extend(threads.iter().map(|&server_threads| Row {
            id: format!("{id}-t{server_threads}"),
            title: format!("{}, -t {server_threads}", one.title),
            server_threads,
            plan: one.plan.clone(),
        }));
    }
    rows
}

/// What most caches do: this many requests a second come, whatever the server could do.
fn open_loop() -> impl Iterator<Item = Row> {
    let loads = [(5_000, 200), (20_000, 200), (50_000, 200), (100_000, 200), (20_000, 8)];
    loads.into_iter().map(|(rate, connections)| Row {
        id: format!("open-{}k-{connections}c", rate / 1000),
        title: format!("10 % set, text, {connections} connections, {rate} requests a second"),
        server_threads: 1,
        plan: Plan {
            mix: Mix::Mixed { set_share: 0.1 },
            connections,
            rate: Some((f64::from(rate), Arrivals::Poisson)),
            ..Plan::new("")
        },
    })
}

/// The rows with these ids, or with these parts in their ids; all when there are none.
pub(super) fn matching(words: &[String]) -> Vec<Row> {
    let all = all();
    let names_one = |word: &String| all.iter().any(|row| row.id == *word);
    let wanted = |row: &&Row| {
        let fits =
            |word: &String| if names_one(word) { row.id == *word } else { row.id.contains(word.as_str()) };
        words.is_empty() || words.iter().any(fits)
    };
    all.iter().filter(wanted).cloned().collect()
}

fn sized(size: &str, keys: u64, plan: Plan) -> Plan {
    Plan { sizes: size.parse().expect("a number is a size"), keys, ..plan }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_an_id_or_a_part_of_some() {
        let ids = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            matching(&words).into_iter().map(|row| row.id).collect::<Vec<_>>()
        };
        assert_eq!(ids(&["get-text"]), ["get-text"]);
        assert_eq!(ids(&["500k", "binary-16"]), ["get-binary-16", "get-500k", "set-500k"]);
        assert_eq!(ids(&[]).len(), all().len());
        assert!(ids(&["no such row"]).is_empty());
    }

    #[test]
    fn ids_are_unique() {
        let mut ids: Vec<String> = all().into_iter().map(|row| row.id).collect();
        let count = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), count);
        assert_eq!(count, 30);
    }
}
