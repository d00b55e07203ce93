//! Imports point one way: no folder has a circle of modules.
//!
//! A folder's `mod.rs` is its face. A name that it only passes on counts as the name of the module that defines it; what it
//! defines itself makes it a module like the others, called `mod`, so that those below may not name it.

use std::collections::{BTreeMap, BTreeSet};

use super::{code, files, is_test, without_tests};

/// Imports between the modules of one folder, from importer to imported.
pub(super) type Graph = BTreeMap<String, BTreeSet<String>>;

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

/// A path as it is written.
struct Written {
    path: Vec<String>,
    /// In a `use`.
    is_import: bool,
    /// In a `pub use`.
    is_passed_on: bool,
}

/// Paths that begin with one of `starts`, like `super::a::b`, with braces spread out: `crate::a::{b, c::d}` is two paths.
fn paths<'s>(text: &str, starts: impl Iterator<Item = &'s str>) -> Vec<Written> {
    let text: String = code(text).map(|(_, line)| line + "\n").collect();
    let mut found = Vec::new();
    for start in starts {
        let start = format!("{start}::");
        for (at, _) in text.match_indices(&start) {
            let before = &text[..at];
            if before.ends_with(|char: char| char.is_alphanumeric() || "_:".contains(char)) {
                continue;
            }
            let statement = before.rsplit([';', '}']).next().unwrap_or_default().trim_start();
            let is_import = statement.trim_end().ends_with("use");
            let is_passed_on = is_import && statement.starts_with("pub");
            let mut spread_out = Vec::new();
            spread(&text[at..], &mut Vec::new(), &mut spread_out);
            found.extend(spread_out.into_iter().map(|path| Written { path, is_import, is_passed_on }));
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
/// are the module's path without its last part. Other paths of a face begin with a module below it.
fn resolve(module: &[String], path: &[String]) -> Vec<String> {
    let supers = path.iter().take_while(|part| *part == "super").count();
    let (kept, start) = match path[0].as_str() {
        "crate" => (root_len(module), 1),
        "super" => (module.len().saturating_sub(supers), supers),
        _ => (module.len(), 0),
    };
    module[..kept].iter().chain(&path[start..]).cloned().collect()
}

/// The modules of a tree, and the names that each face has from modules below it, with the module that each comes from.
struct Tree {
    modules: BTreeSet<Vec<String>>,
    borrowed: BTreeMap<(Vec<String>, String), String>,
}

impl Tree {
    fn new(files: &[(String, String)]) -> Self {
        let sources = || files.iter().filter(|(path, _)| path.contains("src/") && !is_test(path));
        let modules = sources().map(|(path, _)| module_path(path)).collect();
        let mut tree = Self { modules, borrowed: BTreeMap::new() };
        for (path, text) in sources() {
            let module = module_path(path);
            for Written { path, is_import, .. } in tree.written(&module, text) {
                if is_import && tree.below(&module).any(|child| child == path[0]) {
                    let name = path.last().cloned().unwrap_or_default();
                    tree.borrowed.insert((module.clone(), name), path[0].clone());
                }
            }
        }
        tree
    }

    /// The modules directly below `module`.
    fn below<'m>(&'m self, module: &'m [String]) -> impl Iterator<Item = &'m str> + Clone {
        let is_below = |other: &&Vec<String>| other.len() == module.len() + 1 && other.starts_with(module);
        self.modules.iter().filter(is_below).map(|child| child[child.len() - 1].as_str())
    }

    fn written(&self, module: &[String], text: &str) -> Vec<Written> {
        paths(without_tests(text), ["crate", "super"].into_iter().chain(self.below(module)))
    }

    /// The module that defines what `path` names; `None` if it names a module and nothing in it.
    fn owner(&self, path: &[String]) -> Option<Vec<String>> {
        let length = (1..=path.len()).rev().find(|&length| self.modules.contains(&path[..length]))?;
        let mut owner = path[..length].to_vec();
        let is_face = self.below(&owner).next().is_some();
        let Some(name) = path.get(length) else { return (!is_face).then_some(owner) };
        if let Some(child) = self.borrowed.get(&(owner.clone(), name.clone())) {
            owner.push(child.clone());
        } else if is_face {
            owner.push("mod".to_owned());
        }
        Some(owner)
    }
}

/// The imports inside each folder.
pub(super) fn graphs(files: &[(String, String)]) -> BTreeMap<String, Graph> {
    let tree = Tree::new(files);
    let mut graphs = BTreeMap::<String, Graph>::new();
    for (path, text) in files.iter().filter(|(path, _)| path.contains("src/") && !is_test(path)) {
        let mut module = module_path(path);
        let written = tree.written(&module, text);
        let imported: Vec<_> = written
            .iter()
            .filter(|written| !written.is_passed_on)
            .filter_map(|written| tree.owner(&resolve(&module, &written.path)))
            .collect();
        if tree.below(&module).next().is_some() {
            module.push("mod".to_owned());
        }
        for target in imported {
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

/// The circles of all folders.
fn circles(files: &[(String, String)]) -> Vec<String> {
    let graphs = graphs(files);
    let mut all = Vec::new();
    for (folder, graph) in &graphs {
        let found = on_a_circle(graph);
        if !found.is_empty() {
            let imports: Vec<_> =
                graph.iter().filter(|(module, _)| found.contains(&module.as_str())).collect();
            all.push(format!("{folder}: on a circle are {found:?}: {imports:?}"));
        }
    }
    all
}

#[test]
fn no_folder_has_a_circle_of_modules() {
    assert_eq!(circles(&files()), Vec::<String>::new());
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
    assert_eq!(circles(&files), Vec::<String>::new());
    files[2].1 = "fn f(x: crate::store::a::X) {}\n".to_owned();
    assert_eq!(circles(&files).len(), 1);
    // What is below a module counts as the module's.
    files[2].1 = "mod deep;\n".to_owned();
    files.push(file("src/store/b/deep.rs", "use super::super::a::X;\n"));
    assert_eq!(circles(&files).len(), 1);
    files[4].1 = "use super::other::X;\n".to_owned();
    assert_eq!(circles(&files), Vec::<String>::new());
    // A name that the face passes on is its owner's, and what the face defines makes it a module too.
    files[4].1 = "use super::super::{C, Own};\n".to_owned();
    assert_eq!(circles(&files), Vec::<String>::new());
    files[0].1 = "mod a;\nmod b;\npub use a::C;\n".to_owned();
    assert_eq!(circles(&files).len(), 1);
    files[0].1 = "mod a;\nmod b;\nuse b::B;\nstruct Own(B);\n".to_owned();
    assert_eq!(circles(&files).len(), 1);
    // The folders of the root are modules as well.
    files[0].1 = "mod a;\nmod b;\n".to_owned();
    files[4].1 = "use crate::engine::X;\n".to_owned();
    assert_eq!(circles(&files).len(), 1);
}
