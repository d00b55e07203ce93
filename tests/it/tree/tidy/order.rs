//! A folder whose header says in which order its modules build on each other keeps that order.

use std::collections::BTreeSet;

use super::circles::{Graph, graphs};
use super::files;

/// What a header begins the list with; the list ends with a full stop.
const BEGINNING: &str = "Each module imports only modules named before it:";

/// Folders that say it.
const ORDERED: &[&str] = &[
    "src/config",
    "src/engine",
    "src/fuzzing",
    "src/server",
    "src/session",
    "src/store",
    "src/store/segment_table",
    "src/tls",
    "uring/src",
    "uring/src/completion",
];

/// The modules of the list in `header`, in order.
fn stated_order(header: &str) -> Option<Vec<String>> {
    let text = header.lines().map_while(|line| line.strip_prefix("//!")).collect::<String>();
    let list = text.split_once(BEGINNING)?.1.split('.').next()?;
    Some(list.split('`').skip(1).step_by(2).map(str::to_owned).collect())
}

/// An order that holds: those that import nothing come first.
fn some_order(graph: &Graph) -> Vec<String> {
    let mut rest: BTreeSet<&String> =
        graph.iter().flat_map(|(module, targets)| targets.iter().chain([module])).collect();
    let mut order = Vec::new();
    while !rest.is_empty() {
        let is_next = |module: &&&String| {
            graph.get(**module).is_none_or(|targets| !targets.iter().any(|target| rest.contains(target)))
        };
        let next: Vec<&String> = rest.iter().filter(is_next).copied().collect();
        if next.is_empty() {
            break;
        }
        for module in next {
            rest.remove(module);
            order.push(module.clone());
        }
    }
    order
}

/// What is wrong with the order that the face of `folder` states.
fn wrong_order(files: &[(String, String)], graph: &Graph, folder: &str) -> Option<String> {
    let is_face =
        |path: &str| [format!("{folder}/mod.rs"), format!("{folder}/lib.rs")].contains(&path.to_owned());
    let face = files.iter().find(|(path, _)| is_face(path)).map(|(_, text)| &text[..])?;
    let mut graph = graph.clone();
    graph.retain(|module, _| module != "mod" && !module.ends_with("tests"));
    for targets in graph.values_mut() {
        targets.remove("mod");
    }
    let order = stated_order(face).unwrap_or_default();
    let place = |module: &String| order.iter().position(|named| named == module);
    let edges = graph.iter().flat_map(|(module, targets)| targets.iter().map(move |target| (module, target)));
    let broken: Vec<_> =
        edges.filter(|(module, target)| place(target).is_none() || place(module) <= place(target)).collect();
    (!broken.is_empty())
        .then(|| format!("{folder}: {broken:?} against {order:?}; one that holds: {:?}", some_order(&graph)))
}

#[test]
fn folders_keep_the_order_that_they_state() {
    let (files, graphs) = (files(), graphs(&files()));
    let wrong: Vec<_> =
        ORDERED.iter().filter_map(|&folder| wrong_order(&files, &graphs[folder], folder)).collect();
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn a_broken_order_is_found() {
    let file = |path: &str, text: &str| (path.to_owned(), text.to_owned());
    let mut files = vec![
        file(
            "src/a/mod.rs",
            "//! A.\n//! Each module imports only modules named before it: `b`,\n//! `c`. More.\nmod b;\nmod c;\n",
        ),
        file("src/a/b.rs", "\n"),
        file("src/a/c.rs", "use super::b::B;\n"),
    ];
    let check = |files: &[(String, String)]| wrong_order(files, &graphs(files)["src/a"], "src/a");
    assert_eq!(check(&files), None);
    // A module that is not named, and one that is named too early.
    files[0].1 = files[0].1.replace("`c`", "`d`");
    assert!(check(&files).is_some());
    files[0].1 = files[0].1.replace("`b`,\n//! `d`", "`c`,\n//! `b`");
    assert!(check(&files).is_some());
}
