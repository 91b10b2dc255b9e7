//! `cargo xtask bench`: measurements that a person asks for, in release.

mod cpu;

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::sh;

#[derive(clap::Args)]
pub struct Args {
    /// What to measure
    #[arg(value_enum)]
    what: What,

    /// With `cpu`: how long each row is measured
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(5..=600))]
    seconds: u64,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum What {
    /// Everything beside its goals: doctor, plugins list, status, start to the first job, job change, the supervisor
    All,
    /// The processor's provider: hashrate against threads, n and k, and memory, as the table of its README
    Cpu,
    /// Finding, reading and probing plugins, beside a bare dlopen loop
    Scan,
    /// What a session costs, and how fast it answers
    Session,
    /// What an honest program at the miner port keeps of its rate beside bad neighbours
    Port,
}

pub fn run(args: &Args) -> Result<()> {
    match args.what {
        What::All => {
            nothing()?;
            for bench in ["scan", "session", "port"] {
                println!();
                measured(bench)?;
            }
            Ok(())
        }
        What::Cpu => cpu::run(args.seconds),
        What::Scan => measured("scan"),
        What::Session => measured("session"),
        What::Port => measured("port"),
    }
}

fn measured(bench: &str) -> Result<()> {
    sh::run(&mut sh::cargo(&["bench", "--quiet", "--locked", "-p", "pearlbed-tests", "--bench", bench]))
}

/// How often a process that does nothing is started.
const RUNS: usize = 31;

/// What starting a process costs here at least: nothing of ours can be faster.
fn nothing() -> Result<()> {
    let mut times = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        let begun = Instant::now();
        Command::new("true").status().context("cannot run `true`")?;
        times.push(begun.elapsed());
    }
    times.sort();
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    println!("what                                                 median     worst    bound");
    println!(
        "{:<50} {:>7.1} ms {:>7.1}",
        "/bin/true, which does nothing",
        ms(times[RUNS / 2]),
        ms(times[RUNS - 1])
    );
    Ok(())
}
