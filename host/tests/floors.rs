//! The house keeps to its plan: no module knows a floor above its own, and the host names no provider.
//!
//! `docs/architecture.md` draws the floors; `FLOORS` is the same list, bottom first.

mod circles;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The modules of each floor, bottom first.
const FLOORS: &[&[&str]] = &[
    &[
        "home", "text", "exit", "explain", "panic", "identity", "http", "url", "progress", "journal",
        "owned", "remedy", "limits",
    ],
    &["config", "hardware", "models", "sidecar", "sandbox"],
    &["plugins", "work"],
    &["miner", "port", "container"],
    &["doctor", "init", "session", "bench", "contract"],
    &["cli"],
];

/// The providers that are shipped with the host or known to its authors. The host must not single one out.
const PROVIDERS: &[&str] =
    &["cpu-pearl", "cpu_pearl", "CpuPearl", "vllm-pearl", "apple-mps-pearl", "minimal-provider"];

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The code of every file, by its path below `src`, without comments and without what is compiled for tests only.
fn code() -> BTreeMap<PathBuf, Vec<(usize, String)>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    files
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("a source file is text");
            // The house puts its tests at the end of a file.
            let shipped = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            let lines = shipped
                .lines()
                .enumerate()
                .filter(|(_, line)| !line.trim_start().starts_with("//"))
                .map(|(at, line)| (at + 1, line.to_owned()))
                .collect();
            (path.strip_prefix(&root).expect("it was found there").to_owned(), lines)
        })
        .collect()
}

/// The name at the start of `text`.
fn word(text: &str) -> &str {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    &text[..end]
}

#[test]
fn no_module_knows_a_floor_above_its_own() {
    let mut wrong = Vec::new();
    for (path, lines) in code() {
        let module =
            path.components().next().expect("a file has a name").as_os_str().to_string_lossy().into_owned();
        let module = module.trim_end_matches(".rs");
        if matches!(module, "lib" | "main") {
            continue;
        }
        let Some(own) = floor(module) else {
            panic!("the module `{module}` is on no floor: add it to FLOORS and to docs/architecture.md");
        };
        for (line, text) in lines {
            for (at, _) in text.match_indices("crate::") {
                let name = word(&text[at + "crate::".len()..]);
                if floor(name).is_some_and(|other| other > own) {
                    wrong.push(format!("{}:{line}: {}", path.display(), text.trim()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "these lines look upwards:\n{}", wrong.join("\n"));
}

#[test]
fn the_host_names_no_provider() {
    let mut wrong = Vec::new();
    for (path, lines) in code() {
        for (line, text) in lines {
            if PROVIDERS.iter().any(|name| text.contains(name)) {
                wrong.push(format!("{}:{line}: {}", path.display(), text.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "these lines name a provider:\n{}", wrong.join("\n"));
}

#[test]
fn every_module_of_the_plan_is_drawn_in_the_document() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/architecture.md");
    let document = std::fs::read_to_string(document).expect("the document is there");
    for module in FLOORS.iter().copied().flatten() {
        assert!(
            document.contains(&format!("`{module}`")),
            "docs/architecture.md does not mention `{module}`"
        );
    }
}

#[test]
fn no_two_modules_know_each_other() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut crates: Vec<PathBuf> =
        ["host", "plugin-api", "pow", "xtask"].map(|name| workspace.join(name)).to_vec();
    let plugins = std::fs::read_dir(workspace.join("plugins")).expect("the folder is there");
    crates.extend(plugins.map(|entry| entry.expect("it can be read").path()));
    let mut found = Vec::new();
    for folder in crates {
        let sources = folder.join("src");
        if sources.is_dir() {
            let name = folder.file_name().expect("it has a name").to_string_lossy().into_owned();
            found.extend(circles::circles(&sources).into_iter().map(|circle| format!("{name}: {circle}")));
        }
    }
    assert!(
        found.is_empty(),
        "these know each other; give what they share a room of its own:\n{}",
        found.join("\n")
    );
}
