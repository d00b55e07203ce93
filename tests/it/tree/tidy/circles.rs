//! Imports point one way: no folder has a circle of modules. A folder's `mod.rs` is its face and is left out.

use std::collections::{BTreeMap, BTreeSet};

use super::{code, files, is_test, without_tests};

/// Modules of a folder that still lie on a circle. The lists may only shrink.
const CIRCLES: &[(&str, &[&str])] = &[];

/// Imports between the modules of one folder, from importer to imported.
type Graph = BTreeMap<String, BTreeSet<String>>;

/// The module that a file is: `src/store/segment_table/queues.rs` is `["src", "store", "segment_table", "queues"]`.
fn module_path(path: &str) -> Vec<String> {
    let mut parts: Vec<_> = path.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if matches!(parts.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        parts.pop();
    }
    parts
}

/// The part of a module path that is its crate's root.
fn root_len(module: &[String]) -> usize {
    module.iter().position(|part| part == "src").map_or(0, |at| at + 1)
}

/// Paths like `super::a::b` and `crate::a::b`, with braces spread out: `crate::a::{b, c::d}` is two paths.
fn paths(text: &str) -> Vec<Vec<String>> {
    let text: String = code(text).map(|(_, line)| line + "\n").collect();
    let mut found = Vec::new();
    for start in ["crate::", "super::"] {
        let mut rest = text.as_str();
        while let Some(at) = rest.find(start) {
            let is_word = rest[..at].ends_with(|char: char| char.is_alphanumeric() || "_:".contains(char));
            if !is_word {
                spread(&rest[at..], &mut Vec::new(), &mut found);
            }
            rest = &rest[at + start.len()..];
        }
    }
    found
}

/// Reads one path, with what its braces hold; returns what stands behind it.
fn spread<'t>(text: &'t str, prefix: &mut Vec<String>, found: &mut Vec<Vec<String>>) -> &'t str {
    let mut text = text.trim_start();
    let depth = prefix.len();
    loop {
        let end = text.find(|char: char| !char.is_alphanumeric() && char != '_').unwrap_or(text.len());
        if end > 0 {
            prefix.push(text[..end].to_owned());
        }
        text = &text[end..];
        match text.strip_prefix("::") {
            Some(rest) if rest.starts_with('{') => {
                text = &rest[1..];
                loop {
                    text = spread(text, prefix, found).trim_start();
                    match text.strip_prefix(',') {
                        Some(rest) => text = rest,
                        None => break,
                    }
                }
                text = text.strip_prefix('}').unwrap_or(text);
                break;
            }
            Some(rest) => text = rest,
            None => {
                found.push(prefix.clone());
                break;
            }
        }
    }
    prefix.truncate(depth);
    text
}

/// The path in full, from the tree's root. `super` of a file is its folder, and of a `mod.rs` what its folder lies in; both
/// are the module's path without its last part.
fn resolve(module: &[String], path: &[String]) -> Vec<String> {
    let supers = path.iter().take_while(|part| *part == "super").count();
    let kept = if supers == 0 { root_len(module) } else { module.len().saturating_sub(supers) };
    let start = supers.max(1).min(path.len());
    module[..kept].iter().chain(&path[start..]).cloned().collect()
}

/// The imports inside each folder.
fn graphs(files: &[(String, String)]) -> BTreeMap<String, Graph> {
    let sources = || files.iter().filter(|(path, _)| path.contains("src/") && !is_test(path));
    let modules: BTreeSet<_> = sources().map(|(path, _)| module_path(path)).collect();
    let mut graphs = BTreeMap::<String, Graph>::new();
    for (path, text) in sources() {
        let module = module_path(path);
        for imported in paths(without_tests(text)) {
            let mut target = resolve(&module, &imported);
            while !target.is_empty() && !modules.contains(&target) {
                target.pop();
            }
            let shared = module.iter().zip(&target).take_while(|(a, b)| a == b).count();
            if shared >= root_len(&module) && shared < module.len() && shared < target.len() {
                let graph = graphs.entry(module[..shared].join("/")).or_default();
                graph.entry(module[shared].clone()).or_default().insert(target[shared].clone());
            }
        }
    }
    graphs
}

/// Modules from which a way leads back to themselves.
fn on_a_circle(graph: &Graph) -> Vec<&str> {
    let leads_back = |start: &String| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![start]);
        while let Some(module) = open.pop() {
            for next in graph.get(module).into_iter().flatten() {
                if next == start {
                    return true;
                }
                if seen.insert(next) {
                    open.push(next);
                }
            }
        }
        false
    };
    graph.keys().filter(|module| leads_back(module)).map(String::as_str).collect()
}

/// Folders whose circles are not those that are listed.
fn wrong_circles(files: &[(String, String)], listed: &[(&str, &[&str])]) -> Vec<String> {
    let graphs = graphs(files);
    let mut wrong = Vec::new();
    for (folder, graph) in &graphs {
        let found = on_a_circle(graph);
        let allowed = listed.iter().find(|(name, _)| name == folder).map_or(&[][..], |(_, modules)| *modules);
        if found != allowed {
            let imports: Vec<_> =
                graph.iter().filter(|(module, _)| found.contains(&module.as_str())).collect();
            wrong.push(format!("{folder}: on a circle are {found:?}, allowed {allowed:?}: {imports:?}"));
        }
    }
    wrong
}

#[test]
fn no_folder_has_a_circle_of_modules() {
    assert_eq!(wrong_circles(&files(), CIRCLES), Vec::<String>::new());
}

#[test]
fn a_circle_is_found() {
    let file = |path: &str, text: &str| (path.to_owned(), text.to_owned());
    let mut files = vec![
        file("src/store/mod.rs", "mod a;\nmod b;\n"),
        file("src/store/a.rs", "use super::{\n    b::{C, D},\n    E,\n};\n"),
        file("src/store/b.rs", "fn f() {}\n"),
        file("src/engine/mod.rs", "use crate::store::a;\n"),
    ];
    assert_eq!(wrong_circles(&files, &[]), Vec::<String>::new());
    files[2].1 = "fn f(x: crate::store::a::X) {}\n".to_owned();
    assert_eq!(wrong_circles(&files, &[]).len(), 1);
    assert_eq!(wrong_circles(&files, &[("src/store", &["a", "b"])]), Vec::<String>::new());
    // What is below a module counts as the module's.
    files[2].1 = "mod deep;\n".to_owned();
    files.push(file("src/store/b/deep.rs", "use super::super::a::X;\n"));
    assert_eq!(wrong_circles(&files, &[]).len(), 1);
    files[4].1 = "use super::other::X;\n".to_owned();
    assert_eq!(wrong_circles(&files, &[]), Vec::<String>::new());
    // The folders of the root are modules as well.
    files[4].1 = "use crate::engine::X;\n".to_owned();
    assert_eq!(wrong_circles(&files, &[]).len(), 1);
}
