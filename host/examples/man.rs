//! Writes the man pages of `pearlbed` into the folder that is its one argument.
//!
//! `cargo xtask man` runs it. It is an example program of this package because only this package knows its command
//! line, and the generator has no place in the shipped binary.

use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let folder = PathBuf::from(std::env::args_os().nth(1).expect("usage: man FOLDER"));
    std::fs::create_dir_all(&folder)?;
    clap_mangen::generate_to(pearlbed::cli::command(), &folder)
}
