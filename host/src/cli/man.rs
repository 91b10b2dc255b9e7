//! `pearlbed __man`: the man pages of our own command line. Packaging runs it; nobody else needs to.

use std::path::PathBuf;

use super::{Context, Error};
use crate::exit::Exit;
use crate::text::printable_path;

const EXAMPLES: &str = "Example:\n  pearlbed __man share/man/man1";

/// Write the man pages into a folder
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The folder, which is made where it does not exist
    folder: PathBuf,
}

/// Writes one page for the program and one for each command.
pub fn run(args: &Args, _: &Context) -> Result<Exit, Error> {
    let failed = |err| {
        Error::of_other_file(
            format!("failed to write into {}", printable_path(&args.folder)),
            err,
            &args.folder,
        )
    };
    std::fs::create_dir_all(&args.folder).map_err(failed)?;
    clap_mangen::generate_to(super::command(), &args.folder).map_err(failed)?;
    Ok(Exit::Ok)
}
