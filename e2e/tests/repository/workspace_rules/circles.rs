//! Finds circles of imports between the files of a crate. An import is a `use` line that begins with `crate`, `super`,
//! `self` or a module that the file declares. It leads from its file to the file of the imported module. The rule: no
//! chain of imports leads back to its start. Declaring a module and re-exporting its items (`mod`,
//! `pub use module::Item`) are not imports, and test modules are not read.
//!
//! The rule does not see paths outside of `use` lines (`super::LIMIT` or `child::run()` in a body). So a parent may
//! call its children, and the children may use what the parent declares.

use std::collections::{BTreeMap, BTreeSet};

/// Returns the crate and the module path of a source file; `None` for files that are not part of a crate.
fn module(path: &str) -> Option<(&str, Vec<String>)> {
    let (member, file) = path.split_once("/src/")?;
    let file = file.strip_suffix(".rs")?;
    let segments: Vec<String> = file.split('/').map(str::to_owned).collect();
    let is_test = segments.iter().any(|segment| segment == "tests");
    let is_root = ["lib", "main"].contains(&file);
    (!is_test && !file.starts_with("bin/")).then(|| (member, if is_root { Vec::new() } else { segments }))
}

/// Returns the paths in the `use` lines of a text. A path that begins with a module of the file is prefixed with
/// `self::`.
fn imports(text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]\nmod").next().unwrap_or_default();
    let children: Vec<&str> =
        code.lines().filter_map(|line| private(line).strip_prefix("mod ")?.strip_suffix(';')).collect();
    let mut found = Vec::new();
    let mut lines = code.lines();
    while let Some(line) = lines.next() {
        let is_export = line.trim_start().starts_with("pub");
        let Some(path) = private(line).strip_prefix("use ") else { continue };
        let mut path = path.to_owned();
        while !path.contains(';') {
            let Some(next) = lines.next() else { break };
            path.push_str(next.trim());
        }
        let path = path.split(';').next().unwrap_or_default();
        let first = path.split("::").next().unwrap_or_default();
        if ["crate", "super", "self"].contains(&first) {
            expand("", path, &mut found);
        } else if !is_export && children.contains(&first) {
            expand("self::", path, &mut found);
        }
    }
    found
}

/// Returns a line without its indentation and visibility.
fn private(line: &str) -> &str {
    let line = line.trim_start();
    if line.starts_with("pub") { line.split_once(' ').map_or("", |(_, rest)| rest) } else { line }
}

/// Expands `a::{b, c::{d, e}}` to `a::b`, `a::c::d` and `a::c::e`.
fn expand(before: &str, tree: &str, found: &mut Vec<String>) {
    let tree = tree.trim();
    let Some((head, rest)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or_default();
        return found.push(format!("{before}{path}"));
    };
    let (before, rest) = (format!("{before}{head}"), rest.strip_suffix('}').unwrap_or(rest));
    let (mut depth, mut start) = (0, 0);
    for (at, character) in rest.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                expand(&before, &rest[start..at], found);
                start = at + 1;
            }
            _ => {}
        }
    }
    if !rest[start..].trim().is_empty() {
        expand(&before, &rest[start..], found);
    }
}

/// Resolves a path that is used in the module `from`: returns the longest beginning of the path that is a file.
fn target(from: &[String], path: &str, modules: &BTreeSet<Vec<String>>) -> Vec<String> {
    let mut segments = path.split("::").peekable();
    let mut current = from.to_vec();
    if segments.next_if_eq(&"crate").is_some() {
        current.clear();
    }
    while let Some(segment) = segments.next_if(|segment| ["super", "self"].contains(segment)) {
        if segment == "super" {
            current.pop();
        }
    }
    for segment in segments {
        current.push(segment.to_owned());
        if !modules.contains(&current) {
            current.pop();
            break;
        }
    }
    current
}

/// Returns every circle with its files.
pub(crate) fn circles(sources: &BTreeMap<String, String>) -> Vec<String> {
    let mut members: BTreeMap<&str, BTreeMap<Vec<String>, &str>> = BTreeMap::new();
    for (path, text) in sources.iter().filter(|(_, text)| !text.contains("#![cfg(test)]")) {
        if let Some((member, module)) = module(path) {
            members.entry(member).or_default().insert(module, text);
        }
    }
    let mut found = Vec::new();
    for (member, files) in &members {
        let modules: BTreeSet<Vec<String>> = files.keys().cloned().collect();
        let of = |(module, text): (&Vec<String>, &&str)| {
            let targets = imports(text).iter().map(|path| target(module, path, &modules)).collect::<BTreeSet<_>>();
            (module.clone(), targets.into_iter().filter(|target| target != module).collect::<Vec<_>>())
        };
        let edges: BTreeMap<Vec<String>, Vec<Vec<String>>> = files.iter().map(of).collect();
        let reached: BTreeMap<&Vec<String>, BTreeSet<&Vec<String>>> =
            edges.keys().map(|module| (module, reachable(module, &edges))).collect();
        let mut seen: BTreeSet<&Vec<String>> = BTreeSet::new();
        for (module, reaches) in &reached {
            if !reaches.contains(*module) || seen.contains(*module) {
                continue;
            }
            let circle = reached.keys().filter(|other| reaches.contains(**other) && reached[**other].contains(*module));
            let circle: Vec<&Vec<String>> = circle.copied().collect();
            seen.extend(&circle);
            let names: Vec<String> = circle.iter().map(|module| module.join("::")).collect();
            found.push(format!("{member}: {} import each other in a circle", names.join(", ")));
        }
    }
    found
}

/// Returns the modules that a module imports, directly or through the imports of other modules.
fn reachable<'e>(
    module: &Vec<String>,
    edges: &'e BTreeMap<Vec<String>, Vec<Vec<String>>>,
) -> BTreeSet<&'e Vec<String>> {
    let (mut reached, mut open) = (BTreeSet::new(), edges[module].iter().collect::<Vec<_>>());
    while let Some(next) = open.pop() {
        if reached.insert(next) {
            open.extend(edges.get(next).into_iter().flatten());
        }
    }
    reached
}

#[test]
fn a_circle_is_found_for_every_form_of_import() {
    let circles = |files: &[(&str, &str)]| {
        circles(&files.iter().map(|&(path, text)| (path.to_owned(), text.to_owned())).collect())
    };
    let direct = [("x/src/a.rs", "use crate::b::B;"), ("x/src/b.rs", "use crate::a::A;")];
    assert_eq!(circles(&direct), ["x: a, b import each other in a circle"]);
    let nested = [
        ("x/src/lib.rs", "mod a;\npub use a::A;"),
        ("x/src/a.rs", "use crate::{\n    b::{C as D, B},\n};"),
        ("x/src/b.rs", "mod c;"),
        ("x/src/b/c.rs", "pub(crate) use super::super::a::A;"),
        ("x/src/d.rs", "use super::b::c::C;"),
    ];
    assert_eq!(circles(&nested), [] as [String; 0], "a uses b, not c");
    let long = [
        ("x/src/a.rs", "use crate::b::c::C;"),
        ("x/src/b/c.rs", "use super::super::d::D;"),
        ("x/src/b.rs", "mod c;"),
        ("x/src/d.rs", "use crate::{a::A, e::E};"),
        ("x/src/e.rs", "use std::fmt;"),
    ];
    assert_eq!(circles(&long), ["x: a, b::c, d import each other in a circle"]);
    let child = [
        ("x/src/a.rs", "mod c;\npub(crate) mod d;\nuse c::{C, D};\npub use d::E;"),
        ("x/src/a/c.rs", "use super::A;"),
        ("x/src/a/d.rs", "use super::A;"),
    ];
    assert_eq!(circles(&child), ["x: a, a::c import each other in a circle"], "a re-exports from d");
    let tests =
        [("x/src/a.rs", "use crate::b::B;"), ("x/src/b.rs", "#[cfg(test)]\nmod tests {\n    use crate::a::A;\n}")];
    assert_eq!(circles(&tests), [] as [String; 0], "a test may use what it tests");
    let apart = [("x/src/a.rs", "use crate::b::B;"), ("y/src/b.rs", "use crate::a::A;")];
    assert_eq!(circles(&apart), [] as [String; 0]);
}
