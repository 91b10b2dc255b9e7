//! `cargo xtask dist`: an installation under `target/dist`, and the packages made of it.
//!
//! ```text
//! bin/pearlbed
//! lib/pearlbed/plugins/*.so        and *.container.toml; a .minisig beside each, where a key is given
//! include/pearlbed.h, pearlbed_testing.h, pearl_pow.h  for providers in C
//! lib/libpearl_pow.{a,so}, lib/pkgconfig, lib/cmake/pearlbed
//! share/pearlbed/crates            for providers in Rust
//! lib/systemd/system/pearlbed.service, lib/sysusers.d, lib/tmpfiles.d
//! share/systemd/user/pearlbed.service
//! share/bash-completion/completions, share/zsh/site-functions, share/fish/vendor_completions.d
//! share/man/man1
//! share/doc/pearlbed
//! ```

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::package::{self, Packages};
use crate::sh::{self, Profile};
use crate::sign;
use crate::units;

#[derive(clap::Args)]
pub struct Args {
    /// Only lay out target/dist; make no packages
    #[arg(long)]
    no_packages: bool,

    /// Pack the debug build instead, into target/xtask/dist: quick, for tests
    #[arg(long)]
    dev: bool,

    /// Lay it out in this folder instead, which is emptied, and make no packages
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,

    /// Sign the plugins with the minisign secret key in this file
    #[arg(long, value_name = "FILE")]
    sign_key: Option<PathBuf>,
}

pub fn run(args: &Args) -> Result<()> {
    let (profile, dist, packages) = match args.dev {
        false => (Profile::Release, sh::target().join("dist"), sh::target().join("packages")),
        true => {
            (Profile::Dev, sh::target().join("xtask/dist/tree"), sh::target().join("xtask/dist/packages"))
        }
    };
    let dist = args.to.clone().unwrap_or(dist);
    build(profile)?;
    let progress = sh::waiting("laying out the installation");
    lay_out(&dist, profile)?;
    match &args.sign_key {
        Some(key) => {
            let signed = sign::plugins(&dist, key)?;
            progress.aside(|| println!("{signed} plugins signed with {}", key.display()));
        }
        None => progress
            .aside(|| println!("unsigned: the plugins carry no signature (--sign-key FILE signs them)")),
    }
    progress.aside(|| println!("{}", dist.display()));
    if !args.no_packages && args.to.is_none() {
        progress.say("packing");
        let made = package::make(&dist, &packages, profile)?;
        progress.end();
        println!("{}", made.tar.display());
        match &made.deb {
            Some(deb) => println!("{}", deb.display()),
            None => println!("skipped: no dpkg-deb on this machine, so no .deb"),
        }
    }
    Ok(())
}

/// Builds, lays out and packs into `folder`.
pub fn make(profile: Profile, folder: &Path) -> Result<Packages> {
    build(profile)?;
    lay_out(&folder.join("tree"), profile)?;
    package::make(&folder.join("tree"), &folder.join("packages"), profile)
}

/// Builds what the packages hold.
fn build(profile: Profile) -> Result<()> {
    let mut libraries = sh::bundled_plugins()?;
    libraries.push("pearl-pow-c".to_owned());
    sh::build(profile, &libraries)
}

/// Lays out what was built as an installation under `dist`.
fn lay_out(dist: &Path, profile: Profile) -> Result<()> {
    sh::fresh(dist)?;
    programs(dist, profile)?;
    let pearlbed = dist.join("bin/pearlbed");
    kit(dist, profile)?;
    completions(&pearlbed, dist)?;
    man_pages(&pearlbed, &dist.join("share/man/man1"))?;
    units::lay_out(dist, units::Prefix::Anywhere)?;
    for file in documents()? {
        sh::copy(&sh::root().join(&file), &dist.join("share/doc/pearlbed").join(&file), 0o644)?;
    }
    sh::readable_by_all(dist)
}

/// The program and its plugins below `prefix`, with the texts of their licences: what every way of shipping them holds.
pub fn programs(prefix: &Path, profile: Profile) -> Result<()> {
    sh::copy(&sh::pearlbed(profile), &prefix.join("bin/pearlbed"), 0o755)?;
    for name in sh::bundled_plugins()? {
        let file = sh::plugin_file(&name, profile);
        let to =
            prefix.join("lib/pearlbed/plugins").join(file.file_name().expect("a plugin file has a name"));
        sh::copy(&file, &to, 0o644)?;
    }
    for file in data_files()? {
        let name = file.file_name().expect("a file that was listed has a name");
        sh::copy(&file, &prefix.join("lib/pearlbed/plugins").join(name), 0o644)?;
    }
    let documents = prefix.join("share/doc/pearlbed");
    for file in ["LICENSE-MIT", "LICENSE-APACHE"] {
        sh::copy(&sh::root().join(file), &documents.join(file), 0o644)?;
    }
    sh::write(&documents.join("THIRD-PARTY.txt"), third_party()?)
}

/// The providers that are containers, and not libraries.
fn data_files() -> Result<Vec<PathBuf>> {
    let mut files = vec![];
    for entry in std::fs::read_dir(sh::root().join("containers"))? {
        files.push(entry?.path());
    }
    files.sort();
    Ok(files)
}

/// The crates that a provider in Rust is built from.
const CRATES: [&str; 2] = ["pearlbed-plugin-api", "pearl-pow"];

/// What a vendor builds a provider from: headers and library for C, the sources of the crates for Rust.
fn kit(dist: &Path, profile: Profile) -> Result<()> {
    let (root, built) = (sh::root(), profile.folder());
    for header in ["include/pearlbed.h", "include/pearlbed_testing.h"] {
        sh::copy(&root.join(header), &dist.join(header), 0o644)?;
        // Where the documents, which lie a folder deeper, look for it.
        sh::copy(&root.join(header), &dist.join("share/doc/pearlbed").join(header), 0o644)?;
    }
    sh::copy(&root.join("pow/c/include/pearl_pow.h"), &dist.join("include/pearl_pow.h"), 0o644)?;
    sh::copy(&built.join("libpearl_pow_c.a"), &dist.join("lib/libpearl_pow.a"), 0o644)?;
    sh::copy(&built.join("libpearl_pow_c.so"), &dist.join("lib/libpearl_pow.so.0"), 0o644)?;
    std::os::unix::fs::symlink("libpearl_pow.so.0", dist.join("lib/libpearl_pow.so"))?;
    let version = env!("CARGO_PKG_VERSION");
    for (name, file) in [
        ("packaging/pkgconfig/pearlbed.pc", "lib/pkgconfig/pearlbed.pc"),
        ("packaging/pkgconfig/pearl_pow.pc", "lib/pkgconfig/pearl_pow.pc"),
        ("packaging/cmake/pearlbed-config.cmake", "lib/cmake/pearlbed/pearlbed-config.cmake"),
        ("packaging/cmake/pearlbed-config-version.cmake", "lib/cmake/pearlbed/pearlbed-config-version.cmake"),
    ] {
        let text = std::fs::read_to_string(root.join(name)).with_context(|| format!("cannot read {name}"))?;
        sh::write(&dist.join(file), text.replace("@VERSION@", version))?;
    }
    // The versions that all of this was tested with: a project begins with them.
    sh::copy(&root.join("Cargo.lock"), &dist.join("share/pearlbed/Cargo.lock"), 0o644)?;
    // As `cargo publish` would pack them: without this workspace, so that they stand alone.
    let crates = dist.join("share/pearlbed/crates");
    std::fs::create_dir_all(&crates)?;
    for package in CRATES {
        let packing = ["package", "--quiet", "--no-verify", "--allow-dirty", "--offline", "-p", package];
        sh::run(&mut sh::cargo(&packing))?;
        let packed = newest_package(package)?;
        let folder = crates.join(package);
        std::fs::create_dir_all(&folder)?;
        sh::run(
            Command::new("tar").args(["--strip-components=1", "-xzf"]).arg(&packed).arg("-C").arg(&folder),
        )?;
        for left in ["Cargo.toml.orig", "Cargo.lock", ".cargo_vcs_info.json"] {
            // Not every version of cargo packs each of them.
            let _ = std::fs::remove_file(folder.join(left));
        }
    }
    Ok(())
}

/// The archive that cargo has just packed of `package`.
fn newest_package(package: &str) -> Result<PathBuf> {
    let folder = sh::target().join("package");
    let mut found = vec![];
    for entry in std::fs::read_dir(&folder)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let version = name.strip_prefix(package).and_then(|rest| rest.strip_prefix('-'));
        if version
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()) && rest.ends_with(".crate"))
        {
            found.push((entry.metadata()?.modified()?, entry.path()));
        }
    }
    found.sort();
    found.pop().map(|(_, path)| path).with_context(|| format!("cargo packed no {package}"))
}

fn completions(pearlbed: &Path, dist: &Path) -> Result<()> {
    for (shell, file) in [
        ("bash", "share/bash-completion/completions/pearlbed"),
        ("zsh", "share/zsh/site-functions/_pearlbed"),
        ("fish", "share/fish/vendor_completions.d/pearlbed.fish"),
    ] {
        let script = sh::output(Command::new(pearlbed).args(["completions", shell]))?;
        sh::write(&dist.join(file), script)?;
    }
    Ok(())
}

/// Writes one man page for the program and one for each command, as the binary itself describes them.
pub fn man_pages(pearlbed: &Path, folder: &Path) -> Result<()> {
    sh::fresh(folder)?;
    sh::run(Command::new(pearlbed).arg("__man").arg(folder))
}

/// The documents that are shipped, as paths below the repository: every page that a page links to is among them.
fn documents() -> Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> =
        ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"].map(PathBuf::from).into();
    for entry in std::fs::read_dir(sh::root().join("docs"))? {
        let name = PathBuf::from("docs").join(entry?.file_name());
        if name.extension().is_some_and(|extension| extension == "md" || extension == "svg") {
            found.push(name);
        }
    }
    // What a vendor starts from; the guide for writing a provider leads there.
    files_below(Path::new("examples"), &mut found)?;
    Ok(found)
}

/// Every file below the folder `name` of the repository, but what a build left there.
fn files_below(name: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(sh::root().join(name))? {
        let entry = entry?;
        let name = name.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true if entry.file_name() == "target" => {}
            true => files_below(&name, found)?,
            false => found.push(name),
        }
    }
    Ok(())
}

/// The crates that are linked into what is shipped, with their licences and the texts of these.
fn third_party() -> Result<String> {
    let mut tree = sh::cargo(&["tree", "--locked", "--edges", "normal", "--prefix", "none"]);
    tree.args(["--format", "{p}|{l}|{r}", "-p", "pearlbed"]);
    for name in sh::bundled_plugins()? {
        tree.args(["-p", &name]);
    }
    let tree = String::from_utf8(sh::output(&mut tree)?)?;
    let mut rows: Vec<(String, String)> = tree
        .lines()
        .filter(|line| !line.contains(" (/"))
        .filter_map(|line| {
            let mut parts = line.split('|');
            let name = parts.next()?.trim_end_matches(" (*)").trim_end_matches(" (proc-macro)");
            Some((name.to_owned(), parts.next()?.trim_end_matches(" (*)").to_owned()))
        })
        .collect();
    rows.sort();
    rows.dedup();
    let mut out =
        String::from("Crates that pearlbed and its plugins are built from, and their licences.\n\n");
    for (name, licence) in &rows {
        out.push_str(&format!("{name:<40} {licence}\n"));
    }
    for (name, _) in &rows {
        for file in licence_files(name)? {
            let text = std::fs::read(&file)?;
            out.push_str(&format!(
                "\n\n---- {name}: {}\n\n{}",
                file.file_name().unwrap_or_default().to_string_lossy(),
                String::from_utf8_lossy(&text)
            ));
        }
    }
    Ok(out)
}

/// The licence texts in the source of the crate `name v1.2.3`.
fn licence_files(name: &str) -> Result<Vec<PathBuf>> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let Some(registry) = home.map(|home| home.join("registry/src")).filter(|dir| dir.is_dir()) else {
        return Ok(Vec::new());
    };
    let folder = name.replacen(" v", "-", 1);
    let mut found = Vec::new();
    for index in std::fs::read_dir(registry)? {
        let Ok(entries) = std::fs::read_dir(index?.path().join(&folder)) else { continue };
        for entry in entries {
            let entry = entry?;
            let upper = entry.file_name().to_string_lossy().to_ascii_uppercase();
            let is_licence = ["LICENSE", "LICENCE", "COPYING", "NOTICE", "COPYRIGHT"];
            if is_licence.iter().any(|word| upper.starts_with(word)) && entry.path().is_file() {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}
