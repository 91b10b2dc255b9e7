//! The hidden command behind the hardware inventory: asks the graphics drivers, in a process that may be killed.

use std::io;
use std::path::PathBuf;

use super::{Context, Error};
use crate::exit::Exit;
use crate::hardware::Question;

/// Ask the graphics drivers and print what they say, a JSON line each
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The folder that stands for /
    #[arg(long)]
    root: PathBuf,

    /// NVIDIA's management library
    #[arg(long)]
    nvml: PathBuf,

    /// Ask what the sensors of the cards say, instead of what the cards are
    #[arg(long)]
    sensors: bool,
}

/// Asks and answers.
pub fn run(args: &Args, _context: &Context) -> Result<Exit, Error> {
    let question = if args.sensors { Question::Sensors } else { Question::Inventory };
    crate::hardware::answer_as_child(question, &args.root, &args.nvml, &mut io::stdout().lock())?;
    Ok(Exit::Ok)
}
