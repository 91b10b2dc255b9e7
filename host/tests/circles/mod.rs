//! Finds modules that know each other: neighbours in one folder of which each, by whatever detour, needs the other.
//!
//! A folder's module counts with all that lies below it. That a module and one inside of it know each other is how a
//! room is furnished, and is no circle; that two rooms cannot be understood one after the other is.
//!
//! # Limitations
//!
//! Sources are read as text: paths that begin with `crate`, `super` or `self`, in `use` and elsewhere. What a folder hands
//! on under its own name (`pub use`) counts as the folder's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Modules by their path below the crate's root: `["plugins", "probe"]`.
type Name = Vec<String>;

/// Every circle among the sources below `root` (a folder `src`), as a line each; empty for a good house.
pub fn circles(root: &Path) -> Vec<String> {
    let mut files = BTreeMap::new();
    collect(root, root, &mut files);
    let modules: BTreeSet<Name> = files.keys().cloned().collect();
    // For each folder: which of its modules needs which other.
    let mut needs: BTreeMap<Name, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for (module, text) in &files {
        for path in paths(text) {
            let Some(target) = resolve(module, &path, &modules) else { continue };
            let same = module.iter().zip(&target).take_while(|(a, b)| a == b).count();
            // One inside of the other: no neighbours.
            let (Some(from), Some(to)) = (module.get(same), target.get(same)) else { continue };
            let folder = needs.entry(module[..same].to_vec()).or_default();
            folder.entry(from.clone()).or_default().insert(to.clone());
        }
    }
    let mut found = vec![];
    for (folder, edges) in &needs {
        let mut told = BTreeSet::new();
        for start in edges.keys() {
            let ring: BTreeSet<&String> =
                reach(edges, start).into_iter().filter(|other| reach(edges, other).contains(start)).collect();
            if ring.contains(start) && told.insert(ring.clone()) {
                let names: Vec<&str> = ring.iter().map(|name| name.as_str()).collect();
                let place = if folder.is_empty() { String::new() } else { folder.join("::") + "::" };
                found.push(format!("{place}{{{}}}", names.join(", ")));
            }
        }
    }
    found
}

/// All that `start` needs, by whatever detour.
fn reach<'a>(edges: &'a BTreeMap<String, BTreeSet<String>>, start: &String) -> BTreeSet<&'a String> {
    let mut seen = BTreeSet::new();
    let mut next: Vec<&String> = edges.get(start).into_iter().flatten().collect();
    while let Some(name) = next.pop() {
        if seen.insert(name) {
            next.extend(edges.get(name).into_iter().flatten());
        }
    }
    seen
}

/// The shipped code of each module, without comments.
fn collect(root: &Path, folder: &Path, files: &mut BTreeMap<Name, String>) {
    let entries = std::fs::read_dir(folder).expect("the folder is there");
    let entries: Vec<PathBuf> = entries.map(|entry| entry.expect("it can be read").path()).collect();
    for path in entries {
        if path.is_dir() {
            collect(root, &path, files);
            continue;
        }
        let is_test = path.file_stem().is_some_and(|stem| stem == "tests" || stem == "testing");
        if path.extension().is_none_or(|extension| extension != "rs") || is_test {
            continue;
        }
        let below = path.strip_prefix(root).expect("it was found there").with_extension("");
        let mut name: Name = below.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        if matches!(name.last().map(String::as_str), Some("mod" | "lib" | "main")) {
            name.pop();
        }
        let text = std::fs::read_to_string(&path).expect("a source file is text");
        let shipped = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let lines = shipped.lines().map(|line| line.split("//").next().unwrap_or_default());
        // The library and the program of one crate count as one.
        files.entry(name).or_default().push_str(&lines.collect::<Vec<_>>().join("\n"));
    }
}

/// Every path in `text` that begins with `crate`, `super` or `self`, with what stands in braces written out.
fn paths(text: &str) -> Vec<Vec<String>> {
    let mut found = vec![];
    for start in ["crate::", "super::", "self::"] {
        for (at, _) in text.match_indices(start) {
            // Part of another word (`$crate::`, `pub(self)`), or further along in a path (`super::super::`).
            let before = text[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '$' | ':')) {
                continue;
            }
            tree(&text[at..], &mut vec![], &mut found);
        }
    }
    found
}

/// Reads one tree of a `use`, or a plain path; returns how much of the text it took.
fn tree(text: &str, before: &mut Vec<String>, found: &mut Vec<Vec<String>>) -> usize {
    let depth = before.len();
    let mut at = 0;
    loop {
        let rest = &text[at..];
        if rest.starts_with('{') {
            at += 1;
            loop {
                at += text[at..].len() - text[at..].trim_start_matches([' ', '\n', ',']).len();
                if at >= text.len() || text[at..].starts_with('}') {
                    break;
                }
                let took = tree(&text[at..], before, found);
                if took == 0 {
                    break;
                }
                at += took;
                // ` as name`
                at += text[at..].find([',', '}']).unwrap_or(0);
            }
            before.truncate(depth);
            return (at + 1).min(text.len());
        }
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
        if end > 0 {
            before.push(rest[..end].to_owned());
        }
        at += end;
        if !text[at..].starts_with("::") {
            found.push(before.clone());
            before.truncate(depth);
            return at;
        }
        at += 2;
        if end == 0 {
            before.truncate(depth);
            return at;
        }
    }
}

/// The module that `path`, seen from `module`, lies in: the longest beginning that is one.
fn resolve(module: &[String], path: &[String], modules: &BTreeSet<Name>) -> Option<Name> {
    let mut name = module.to_vec();
    let mut rest = path;
    while let Some((first, more)) = rest.split_first() {
        match first.as_str() {
            "crate" => name.clear(),
            "super" => _ = name.pop()?,
            "self" => {}
            _ => break,
        }
        rest = more;
    }
    for part in rest {
        name.push(part.clone());
        if !modules.contains(&name) {
            name.pop();
            break;
        }
    }
    Some(name)
}

#[test]
fn a_circle_is_found_by_whatever_detour() {
    let folder = std::env::temp_dir().join(format!("circles-{}", std::process::id()));
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().expect("it lies in a folder")).expect("there is room");
        std::fs::write(path, text).expect("there is room");
    };
    write("lib.rs", "mod a; mod b; mod c; mod room; mod alone;");
    write("a.rs", "use super::{alone::Thing, b::{self, Other as O}};");
    write("b.rs", "fn f() { crate::c::call() }");
    write("c.rs", "// crate::alone is only spoken of\nuse crate::a;\n");
    write("alone.rs", "use crate::room;\n#[cfg(test)]\nmod tests {\n    use crate::a;\n}\n");
    write("room/mod.rs", "mod one; mod two; pub use self::one::One;");
    write("room/one.rs", "use super::two::Two;");
    write("room/two.rs", "use super::One;\nuse self::inner::Deep;");
    write("room/two/inner.rs", "use super::super::one::One;");
    let found = circles(&folder);
    std::fs::remove_dir_all(&folder).expect("it is ours");
    assert_eq!(found, ["{a, b, c}", "room::{one, two}"]);
}
