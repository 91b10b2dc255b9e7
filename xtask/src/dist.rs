//! `cargo xtask dist`: an installation under `target/dist`, and the packages made of it.
//!
//! ```text
//! bin/pearlbed
//! lib/pearlbed/plugins/*.so
//! lib/systemd/{system,user}/pearlbed.service
//! share/bash-completion/completions, share/zsh/site-functions, share/fish/vendor_completions.d
//! share/man/man1
//! share/doc/pearlbed
//! ```

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::package::{self, Packages};
use crate::sh::{self, Profile};

#[derive(clap::Args)]
pub struct Args {
    /// Only lay out target/dist; make no packages
    #[arg(long)]
    no_packages: bool,
}

pub fn run(args: &Args) -> Result<()> {
    let dist = sh::target().join("dist");
    sh::build(Profile::Release)?;
    let progress = sh::waiting("laying out target/dist");
    lay_out(&dist, Profile::Release)?;
    progress.aside(|| println!("{}", dist.display()));
    if !args.no_packages {
        progress.say("packing");
        let made = package::make(&dist, &sh::target().join("packages"), Profile::Release)?;
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
    let pearlbed = dist.join("bin/pearlbed");
    sh::copy(&sh::pearlbed(profile), &pearlbed, 0o755)?;
    for name in sh::bundled_plugins()? {
        let file = sh::plugin_file(&name, profile);
        let to = dist.join("lib/pearlbed/plugins").join(file.file_name().expect("a plugin file has a name"));
        sh::copy(&file, &to, 0o644)?;
    }
    completions(&pearlbed, dist)?;
    man_pages(&pearlbed, &dist.join("share/man/man1"))?;
    units(&dist.join("lib/systemd"), "/usr/local/bin", "%h/.local/bin")?;
    for file in ["README.md", "CHANGELOG.md", "SECURITY.md", "LICENSE-MIT", "LICENSE-APACHE"] {
        sh::copy(&sh::root().join(file), &dist.join("share/doc/pearlbed").join(file), 0o644)?;
    }
    sh::write(&dist.join("share/doc/pearlbed/THIRD-PARTY.txt"), third_party()?)
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

/// Writes the systemd units, with the folders that hold the binary.
pub fn units(folder: &Path, system_bin: &str, user_bin: &str) -> Result<()> {
    for (kind, bin) in [("system", system_bin), ("user", user_bin)] {
        let template = sh::root().join("packaging/systemd").join(kind).join("pearlbed.service");
        let text = std::fs::read_to_string(&template)
            .with_context(|| format!("cannot read {}", template.display()))?
            .replace("@BINDIR@", bin);
        sh::write(&folder.join(kind).join("pearlbed.service"), text)?;
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
