//! `check-macos`: type-checks and lints everything for both Apple targets, on a machine that is none.
//!
//! Nothing is linked and nothing runs, so no Mac, no SDK and no linker is needed: only the standard library for the
//! targets, compiled or as sources, and a C compiler for the few dependencies that hold C. It is no part of `test`:
//! with the sources it takes minutes.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::sh;

const TARGETS: [(&str, &str); 2] =
    [("aarch64-apple-darwin", "aarch64-macos"), ("x86_64-apple-darwin", "x86_64-macos")];

/// What a C compiler is asked for that zig does not know or must choose itself.
const ZIG_WRAPPER: &str = r#"#!/bin/sh
n=$#
while [ "$n" -gt 0 ]; do
    arg=$1
    shift
    n=$((n - 1))
    case $arg in
        --target=* | -mmacosx-version-min=* | -mmacos-version-min=*) ;;
        -arch | -isysroot | -target) shift; n=$((n - 1)) ;;
        *) set -- "$@" "$arg" ;;
    esac
done
"#;

#[derive(clap::Args)]
pub struct Args {
    /// Check this target only
    #[arg(long, value_parser = TARGETS.map(|(target, _)| target))]
    target: Option<String>,
}

pub fn run(args: &Args) -> Result<()> {
    let sysroot = sysroot()?;
    let folder = sh::target().join("check-macos");
    std::fs::create_dir_all(&folder)?;
    for (target, zig_target) in TARGETS {
        if args.target.as_ref().is_some_and(|only| only != target) {
            continue;
        }
        println!("checking for {target}");
        let mut command = sh::cargo(&["clippy", "--workspace", "--all-targets", "--locked"]);
        command.args(["--target", target]).env("CARGO_TARGET_DIR", &folder);
        if !has_std(&sysroot, target)? {
            // Naming the parts of the standard library to compile is not stable, which concerns this check alone.
            command.arg("-Zbuild-std=std,panic_unwind,test").env("RUSTC_BOOTSTRAP", "1");
        }
        let compiler = format!("CC_{}", target.replace('-', "_"));
        if std::env::var_os(&compiler).is_none() {
            let wrapper = zig_wrapper(&folder, zig_target).with_context(|| {
                format!("no C compiler for {target}: `pip install ziglang`, or set {compiler} to one")
            })?;
            command.env(compiler, wrapper);
        }
        if std::env::var_os("SDKROOT").is_none() {
            // Nobody looks for Apple's tools then; headers come with the compiler.
            command.env("SDKROOT", &folder);
        }
        command.args(["--", "-D", "warnings"]);
        sh::run(&mut command)?;
    }
    Ok(())
}

/// Where the compiler that cargo will use keeps its libraries.
fn sysroot() -> Result<PathBuf> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let said = sh::output(Command::new(rustc).args(["--print", "sysroot"]))?;
    Ok(String::from_utf8(said)?.trim().into())
}

/// Whether the standard library for `target` is there; an error if not even its sources are.
fn has_std(sysroot: &Path, target: &str) -> Result<bool> {
    let rustlib = sysroot.join("lib/rustlib");
    if rustlib.join(target).is_dir() {
        return Ok(true);
    }
    if !rustlib.join("src/rust/library/Cargo.lock").is_file() {
        bail!(
            "no standard library for {target} in {}: `rustup target add {target}`, or its sources with `rustup \
             component add rust-src`",
            sysroot.display()
        );
    }
    Ok(false)
}

/// A script that calls zig's C compiler as build scripts call one.
fn zig_wrapper(folder: &Path, zig_target: &str) -> Result<PathBuf> {
    let zig = if sh::has("zig") { "zig" } else { "python3 -m ziglang" };
    sh::output(Command::new("sh").args(["-c", &format!("{zig} version")]))?;
    let path = folder.join(format!("cc-{zig_target}"));
    sh::write(&path, format!("{ZIG_WRAPPER}exec {zig} cc -target {zig_target} \"$@\"\n"))?;
    sh::set_mode(&path, 0o755)?;
    Ok(path)
}
