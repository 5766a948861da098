//! No two folders need each other, on no level: read from the `use` lines and paths of all files. Files of one folder may.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// A module by its names from the root on.
type Module = Vec<String>;

/// All modules, each with the text of its file, without comments and tests.
fn modules() -> BTreeMap<Module, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all = BTreeMap::new();
    for path in crate::tidy::rust_files("src") {
        let name = path.strip_prefix(&root).unwrap().with_extension("");
        let mut module: Module = name.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
        if module.last().is_some_and(|last| last == "mod") {
            module.pop();
        }
        if matches!(module.last().map(String::as_str), Some("main" | "lib" | "tests")) {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
        all.insert(module, lines.collect::<Vec<_>>().join("\n"));
    }
    all
}

/// The paths that a file names: those of its `use` lines, and those that begin with `crate::` or `super::` anywhere.
fn paths(text: &str) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("use ") {
        let after = &rest[at + 4..];
        let end = after.find(';').unwrap_or(after.len());
        expand(&[], &after[..end], &mut all);
        rest = &after[end..];
    }
    for start in ["crate::", "super::"] {
        for (at, _) in text.match_indices(start) {
            let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
            let path = text[at..].split(|c| !is_path(c)).next().unwrap_or_default();
            all.push(parts(path));
        }
    }
    all
}

fn parts(path: &str) -> Vec<String> {
    let path = path.split(" as ").next().unwrap_or_default();
    let parts = path.split("::").map(str::trim).filter(|part| !part.is_empty());
    parts.map(str::to_owned).collect()
}

/// The single paths of a `use` tree.
fn expand(before: &[String], tree: &str, all: &mut Vec<Vec<String>>) {
    let Some(open) = tree.find('{') else {
        all.push([before, &parts(tree)].concat());
        return;
    };
    let before = [before, &parts(&tree[..open])].concat();
    let (mut depth, mut from) = (0, open + 1);
    for (at, c) in tree.char_indices().skip(open + 1) {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                expand(&before, &tree[from..at], all);
                from = at + 1;
            }
            _ => {}
        }
    }
}

/// The module that `path` means where `here` says it.
fn resolved(here: &Module, path: &[String], modules: &BTreeMap<Module, String>) -> Option<Module> {
    let mut full: Module = match path.first()?.as_str() {
        "crate" => path[1..].to_vec(),
        "self" => [here.as_slice(), &path[1..]].concat(),
        "super" => {
            let up = path.iter().take_while(|part| *part == "super").count();
            [&here[..here.len().checked_sub(up)?], &path[up..]].concat()
        }
        _ => return None,
    };
    while !full.is_empty() && !modules.contains_key(&full) {
        full.pop();
    }
    (!full.is_empty()).then_some(full)
}

/// What can be reached from `start`.
fn reach<'a>(edges: &'a BTreeMap<String, BTreeSet<String>>, start: &str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&str> = edges.get(start).into_iter().flatten().map(String::as_str).collect();
    while let Some(one) = next.pop() {
        if reached.insert(one) {
            next.extend(edges.get(one).into_iter().flatten().map(String::as_str));
        }
    }
    reached
}

#[test]
fn no_two_folders_need_each_other() {
    let modules = modules();
    let uses: Vec<(&Module, Module)> = modules
        .iter()
        .flat_map(|(module, text)| {
            let used = paths(text);
            let used = used.iter().filter_map(|path| resolved(module, path, &modules));
            used.map(move |used| (module, used)).collect::<Vec<_>>()
        })
        .collect();
    assert!(uses.len() > 1000, "the paths were not read: {}", uses.len());
    let folders: BTreeSet<Module> = modules
        .keys()
        .flat_map(|module| (1..module.len()).map(|len| module[..len].to_vec()))
        .collect();
    let mut circles = Vec::new();
    for level in folders.iter().map(Vec::as_slice).chain([&[] as &[String]]) {
        let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (from, to) in &uses {
            let depth = level.len();
            let both_inside =
                from.len() > depth && to.len() > depth && from.starts_with(level) && to.starts_with(level);
            if both_inside && from[depth] != to[depth] {
                edges.entry(from[depth].clone()).or_default().insert(to[depth].clone());
            }
        }
        let inside: Vec<&String> = folders
            .iter()
            .filter(|folder| folder.len() == level.len() + 1 && folder.starts_with(level))
            .filter_map(|folder| folder.last())
            .collect();
        for (at, one) in inside.iter().enumerate() {
            for other in &inside[at + 1..] {
                if reach(&edges, one).contains(other.as_str()) && reach(&edges, other).contains(one.as_str()) {
                    circles.push(format!("{}: {one} and {other}", level.join("/")));
                }
            }
        }
    }
    assert!(circles.is_empty(), "folders that need each other: {circles:#?}");
}
