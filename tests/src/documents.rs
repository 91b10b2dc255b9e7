//! What the documents say of the tests, held against the tests.

use crate::build;

/// The text of every source of the workspace that may hold a test.
pub fn sources() -> String {
    let root = build::workspace();
    let folders = ["plugin-api/tests", "tests/tests", "tests/src", "host/src", "host/tests", "xtask/src"];
    let mut folders: Vec<_> = folders.map(|folder| root.join(folder)).into();
    let mut sources = String::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder of the repository").flatten() {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                path if path.extension().is_some_and(|suffix| suffix == "rs") => {
                    sources.push_str(&std::fs::read_to_string(path).expect("a source is text"));
                }
                _ => {}
            }
        }
    }
    sources
}

/// A document of the repository.
pub fn document(name: &str) -> String {
    std::fs::read_to_string(build::workspace().join("docs").join(name)).expect("it is in docs")
}

/// The cells of the rows of a table, each row of which begins with such a cell.
pub fn rows(document: &str, is_first: impl Fn(&str) -> bool) -> Vec<Vec<&str>> {
    let lines = document.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let rows = lines.map(|line| line.split(" | ").map(str::trim).collect::<Vec<_>>());
    rows.filter(|cells| is_first(cells[0])).collect()
}
