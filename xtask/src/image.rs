//! `cargo xtask image`: a container image, by Docker or Podman, that needs no other image.
//!
//! It begins from nothing. The libraries that the program and its plugins are linked with are those of the machine that
//! builds it, found as the loader finds them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::dist;
use crate::sh::{self, Profile};

#[derive(clap::Args)]
pub struct Args {
    /// The program that builds it
    #[arg(long, value_name = "PROGRAM", value_parser = ENGINES)]
    engine: Option<String>,

    /// What the image is called
    #[arg(long, value_name = "NAME:TAG", default_value = concat!("pearlbed:", env!("CARGO_PKG_VERSION")))]
    tag: String,

    /// Pack the debug build instead: quick, for tests
    #[arg(long)]
    dev: bool,
}

const ENGINES: [&str; 2] = ["docker", "podman"];

/// Roots that certificates of nodes and pools are checked against.
const ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

pub fn run(args: &Args) -> Result<()> {
    let engine = match &args.engine {
        Some(engine) => engine.clone(),
        None => match ENGINES.iter().find(|engine| sh::has(engine)) {
            Some(engine) => (*engine).to_owned(),
            None => bail!("an image is built by docker or podman, and neither is on this machine"),
        },
    };
    let profile = if args.dev { Profile::Dev } else { Profile::Release };
    let folder = sh::target().join("xtask/image");
    sh::build(profile, &sh::bundled_plugins()?)?;
    lay_out(&folder, profile)?;
    let mut build = Command::new(&engine);
    // Docker's older builder needs no plugin of its own, and there is nothing here to be clever about.
    build.env("DOCKER_BUILDKIT", "0").args(["build", "--tag", &args.tag, "--file"]);
    build.arg(folder.join("Containerfile")).arg(&folder);
    sh::run(&mut build)?;
    println!("{}", args.tag);
    Ok(())
}

/// Lays out what the image is made of.
fn lay_out(folder: &Path, profile: Profile) -> Result<()> {
    sh::fresh(folder)?;
    sh::copy(&sh::root().join("packaging/container/Containerfile"), &folder.join("Containerfile"), 0o644)?;
    std::fs::create_dir_all(folder.join("home"))?;
    sh::set_mode(&folder.join("home"), 0o700)?;
    let root = folder.join("root");
    dist::programs(&root.join("usr"), profile)?;
    let mut linked = vec![sh::pearlbed(profile)];
    for name in sh::bundled_plugins()? {
        linked.push(sh::plugin_file(&name, profile));
    }
    for library in libraries(&linked)? {
        let name = library.strip_prefix("/").context("the loader names whole paths")?;
        sh::copy(&library, &root.join(name), 0o755)?;
    }
    sh::write(&root.join("etc/passwd"), "root:x:0:0::/:\npearlbed:x:65532:65532::/var/lib/pearlbed:\n")?;
    sh::write(&root.join("etc/group"), "root:x:0:\npearlbed:x:65532:\n")?;
    if Path::new(ROOTS).is_file() {
        sh::copy(Path::new(ROOTS), &root.join(&ROOTS[1..]), 0o644)?;
    } else {
        println!(
            "no {ROOTS} here: the image knows no certificate authorities, only those that are configured"
        );
    }
    sh::readable_by_all(&root)?;
    std::fs::create_dir_all(root.join("tmp"))?;
    sh::set_mode(&root.join("tmp"), 0o1777)
}

/// The files that the loader maps for `programs`, itself among them.
fn libraries(programs: &[PathBuf]) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    for program in programs {
        let said = String::from_utf8(sh::output(Command::new("ldd").arg(program))?)?;
        for line in said.lines().map(str::trim) {
            ensure!(!line.ends_with("not found"), "{}: {line}", program.display());
            // `libc.so.6 => /lib/…/libc.so.6 (0x…)`, or `/lib64/ld-linux-x86-64.so.2 (0x…)`.
            let path = line.split("=> ").last().unwrap_or_default().split(" (").next().unwrap_or_default();
            if path.starts_with('/') {
                found.insert(PathBuf::from(path));
            }
        }
    }
    ensure!(!found.is_empty(), "the loader names no libraries");
    Ok(found)
}
