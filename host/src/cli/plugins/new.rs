//! `pearlbed plugins new`: a provider's project that builds, keeps the contract and mines, to put a kernel into.
//!
//! The sources are those of the examples, so that what the tests build and mine with is what a vendor gets.

use std::path::{Path, PathBuf};

use crate::cli::{Context, Error};
use crate::exit::Exit;
use crate::text::printable_path;

const EXAMPLES: &str = "\
The folder's name becomes the provider's id.

Examples:
  pearlbed plugins new --lang rust my-provider
  pearlbed plugins new --lang c ~/src/fast-miner";

/// Make a project for a provider of your own
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The language
    #[arg(long, value_enum)]
    lang: Lang,

    /// The folder to make
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum Lang {
    /// Rust, with the crate `pearlbed-plugin-api`
    Rust,
    /// C, with `pearlbed.h` and `pearl_pow.h`
    C,
}

/// A file of a project: where it goes, and its text.
type Template = (&'static str, &'static str);

const RUST: &[Template] = &[
    ("Cargo.toml", include_str!("../../../data/new/rust/Cargo.toml.in")),
    ("README.md", include_str!("../../../data/new/rust/README.md.in")),
    (".github/workflows/ci.yml", include_str!("../../../data/new/rust/ci.yml.in")),
    (".gitignore", "/target\n"),
    ("rustfmt.toml", include_str!("../../../data/new/rust/rustfmt.toml")),
    ("src/lib.rs", include_str!("../../../data/new/rust/lib.rs")),
    ("src/kernel.rs", include_str!("../../../data/new/rust/kernel.rs")),
    ("tests/provider.rs", include_str!("../../../data/new/rust/provider.rs")),
];

const C: &[Template] = &[
    ("Makefile", include_str!("../../../data/new/c/Makefile.in")),
    ("README.md", include_str!("../../../data/new/c/README.md.in")),
    (".github/workflows/ci.yml", include_str!("../../../data/new/c/ci.yml.in")),
    (".gitignore", "/*.so\n/test-*\n"),
    ("provider.c", include_str!("../../../data/new/c/provider.c")),
    ("test.c", include_str!("../../../data/new/c/test.c")),
];

/// Where the crates and headers come from.
struct Source {
    /// The folder that pearlbed is installed under, where it is installed.
    prefix: Option<PathBuf>,
}

impl Source {
    /// What lies around the program that runs here.
    fn here() -> Self {
        let program = std::env::current_exe().ok().and_then(|program| program.canonicalize().ok());
        let prefix = program.and_then(|program| Some(program.parent()?.parent()?.to_owned()));
        Self { prefix: prefix.filter(|prefix| prefix.join("include/pearlbed.h").is_file()) }
    }

    /// How a manifest asks for `package`: from the installation, else from the repository.
    fn dependency(&self, package: &str) -> String {
        let crates = self.prefix.as_ref().map(|prefix| prefix.join("share/pearlbed/crates").join(package));
        match crates.filter(|folder| folder.join("Cargo.toml").is_file()) {
            Some(folder) => format!("path = {}", toml_text(&folder.to_string_lossy())),
            None => format!("git = {}", toml_text(env!("CARGO_PKG_REPOSITORY"))),
        }
    }

    /// The versions of other crates that the installation was tested with, where it has them.
    fn lock(&self) -> Option<String> {
        std::fs::read_to_string(self.prefix.as_ref()?.join("share/pearlbed/Cargo.lock")).ok()
    }

    fn prefix(&self) -> String {
        self.prefix.as_ref().map_or_else(|| "/usr".to_owned(), |prefix| prefix.to_string_lossy().into_owned())
    }
}

fn toml_text(text: &str) -> String {
    toml_edit::Value::from(text).to_string().trim().to_owned()
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, Error> {
    let id = args.folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if !pearlbed_plugin_api::manifest::is_id(id) {
        return Err(Error::usage(format!("`{}` is no id for a provider", crate::text::printable(id)))
            .with_hint("an id is 1 to 64 lower-case letters, digits and `-`, beginning with a letter: name the folder so"));
    }
    if std::fs::read_dir(&args.folder).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Error::new(format!("{} is there, and not empty", printable_path(&args.folder)))
            .with_hint("name a folder that is not there"));
    }
    let source = Source::here();
    let templates = match args.lang {
        Lang::Rust => RUST,
        Lang::C => C,
    };
    for (name, text) in templates {
        write(&args.folder.join(name), &fill(text, id, &source))?;
    }
    // Cargo drops what the project does not need from it.
    if let (Lang::Rust, Some(lock)) = (args.lang, source.lock()) {
        write(&args.folder.join("Cargo.lock"), &lock)?;
    }
    let steps = match args.lang {
        Lang::Rust => {
            format!("cargo build --release\n  pearlbed plugins verify target/release/lib{}.so", ident(id))
        }
        Lang::C => format!("make\n  pearlbed plugins verify ./lib{}.so", ident(id)),
    };
    context.print(&format!(
        "made {} in {}; it mines already, with a plain loop\n\nnext:\n  cd {}\n  {steps}\n",
        id,
        printable_path(&args.folder),
        printable_path(&args.folder)
    ))?;
    Ok(Exit::Ok)
}

fn ident(id: &str) -> String {
    id.replace('-', "_")
}

/// The template for the provider `id`. The examples' own id is found in what they say of themselves.
fn fill(text: &str, id: &str, source: &Source) -> String {
    let own = ["id: \"", "\\\"id\\\":\\\"", "compute_only(\""];
    let own = own.iter().find_map(|before| {
        let (_, rest) = text.split_once(before)?;
        let end = rest.find(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'))?;
        Some(&rest[..end])
    });
    let mut text = text
        .replace("@ID@", id)
        .replace("@LIB@", &ident(id))
        .replace("@PREFIX@", &source.prefix())
        .replace("@POW@", &source.dependency("pearl-pow"))
        .replace("@API@", &source.dependency("pearlbed-plugin-api"));
    if let Some(own) = own.filter(|own| !own.is_empty()) {
        text = text.replace(own, id).replace(&ident(own), &ident(id));
    }
    text.replace("The pearlbed developers", "Me")
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    let failed = |err| Error::of_other_file(format!("failed to write {}", printable_path(path)), err, path);
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(failed)?;
    std::fs::write(path, text).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_speaks_of_the_new_provider_alone() {
        let source = Source { prefix: None };
        for (name, text) in RUST.iter().chain(C) {
            let filled = fill(text, "new-one", &source);
            for place in ["@ID@", "@LIB@", "@PREFIX@", "@POW@", "@API@"] {
                assert!(!filled.contains(place), "{name}: {filled}");
            }
            for left in ["mining-provider", "mining_provider", "minimal", "pearlbed developers"] {
                assert!(!filled.contains(left), "{name} says {left}");
            }
        }
        let manifest = fill(RUST[0].1, "new-one", &source);
        let table: toml_edit::DocumentMut = manifest.parse().unwrap();
        assert_eq!(table["package"]["name"].as_str(), Some("new-one"));
        assert!(table["dependencies"]["pearl-pow"]["git"].as_str().is_some());
        assert!(fill(C[4].1, "new-one", &source).contains("\\\"id\\\":\\\"new-one\\\""));
    }
}
