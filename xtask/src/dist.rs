//! `cargo xtask dist`: an installation under `target/dist`, and the packages made of it.
//!
//! ```text
//! bin/pearlbed
//! lib/pearlbed/plugins/*.so
//! lib/systemd/system/pearlbed.service, lib/sysusers.d, lib/tmpfiles.d
//! share/systemd/user/pearlbed.service
//! share/bash-completion/completions, share/zsh/site-functions, share/fish/vendor_completions.d
//! share/man/man1
//! share/doc/pearlbed
//! ```

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::package::{self, Packages};
use crate::sh::{self, Profile};
use crate::units;

#[derive(clap::Args)]
pub struct Args {
    /// Only lay out target/dist; make no packages
    #[arg(long)]
    no_packages: bool,

    /// Pack the debug build instead, into target/xtask/dist: quick, for tests
    #[arg(long)]
    dev: bool,
}

pub fn run(args: &Args) -> Result<()> {
    let (profile, dist, packages) = match args.dev {
        false => (Profile::Release, sh::target().join("dist"), sh::target().join("packages")),
        true => {
            (Profile::Dev, sh::target().join("xtask/dist/tree"), sh::target().join("xtask/dist/packages"))
        }
    };
    sh::build(profile)?;
    let progress = sh::waiting("laying out the installation");
    lay_out(&dist, profile)?;
    progress.aside(|| println!("{}", dist.display()));
    if !args.no_packages {
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
    sh::build(profile)?;
    lay_out(&folder.join("tree"), profile)?;
    package::make(&folder.join("tree"), &folder.join("packages"), profile)
}

/// Lays out what was built as an installation under `dist`.
fn lay_out(dist: &Path, profile: Profile) -> Result<()> {
    sh::fresh(dist)?;
    programs(dist, profile)?;
    let pearlbed = dist.join("bin/pearlbed");
    completions(&pearlbed, dist)?;
    man_pages(&pearlbed, &dist.join("share/man/man1"))?;
    units::lay_out(dist, units::Prefix::Anywhere)?;
    for file in documents()? {
        sh::copy(&sh::root().join(&file), &dist.join("share/doc/pearlbed").join(&file), 0o644)?;
    }
    Ok(())
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
    let documents = prefix.join("share/doc/pearlbed");
    for file in ["LICENSE-MIT", "LICENSE-APACHE"] {
        sh::copy(&sh::root().join(file), &documents.join(file), 0o644)?;
    }
    sh::write(&documents.join("THIRD-PARTY.txt"), third_party()?)
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
