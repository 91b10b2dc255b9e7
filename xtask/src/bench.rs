//! `cargo xtask bench`: measurements that a person asks for, in release.

use anyhow::Result;

use crate::sh;

#[derive(clap::Args)]
pub struct Args {
    /// What to measure
    #[arg(value_enum)]
    what: What,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum What {
    /// Finding, reading and probing plugins, beside a bare dlopen loop
    Scan,
    /// What a session costs, and how fast it answers
    Session,
}

pub fn run(args: &Args) -> Result<()> {
    let bench = match args.what {
        What::Scan => "scan",
        What::Session => "session",
    };
    sh::run(&mut sh::cargo(&["bench", "--quiet", "--locked", "-p", "pearlbed-tests", "--bench", bench]))
}
