//! The test programs, run in two lanes side by side.
//!
//! ```text
//! tests    ---[ all others, one after the other, then the doc tests ]--->
//! beside   ---[ what mostly waits for other programs ]--->
//! ```
//!
//! Cargo runs one test program after the other, and those of containers leave the processors idle for minutes, because what
//! they wait for is an engine. They have a cargo of their own, which finds everything built. What computes, or looks at the
//! clock, is better off alone. Nothing is judged here: that is `test.rs`.

use std::io::{BufRead, BufReader, PipeReader};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::sh;
use crate::tally::Tally;

/// The test programs that mostly wait.
const BESIDE: &[&str] = &["containers"];

/// After cargo has ended so much longer its lines are waited for.
const LAST_LINES: Duration = Duration::from_secs(2);

/// Runs all tests; what they said, and whether all is well.
pub fn all() -> Result<(Tally, bool)> {
    let tests = programs()?;
    if let Some(gone) = BESIDE.iter().find(|name| !tests.iter().any(|test| test == *name)) {
        bail!("no test program is called `{gone}`");
    }
    // The lanes find nothing left to build.
    sh::run(&mut sh::cargo(&["test", "--workspace", "--locked", "--no-run"]))?;
    let rest = tests.iter().map(String::as_str).filter(|name| !BESIDE.contains(name));
    let mut first: Vec<&str> = vec!["--lib", "--bins", "--examples"];
    first.extend(rest.flat_map(|name| ["--test", name]));
    let second: Vec<&str> = BESIDE.iter().flat_map(|name| ["--test", *name]).collect();
    std::thread::scope(|scope| {
        let second = scope.spawn(|| lane(&second, &[], Show::Whole));
        let first = lane(&first, &[], Show::Lines);
        let doc = lane(&["--doc"], &[], Show::Lines);
        let second = second.join().expect("a lane does not panic");
        [first, doc, second].into_iter().try_fold((Tally::default(), true), |(tally, well), lane| {
            let (more, is_well) = lane?;
            Ok((tally.with(more), well && is_well))
        })
    })
}

/// Runs the tests of these names, one after the other and nothing beside them.
pub fn alone(names: &[&str]) -> Result<(Tally, bool)> {
    let mut args = vec!["--test-threads", "1", "--exact"];
    args.extend(names);
    lane(&[], &args, Show::Lines)
}

/// The names of all test programs of the workspace, each once.
fn programs() -> Result<Vec<String>> {
    let metadata =
        sh::output(&mut sh::cargo(&["metadata", "--no-deps", "--locked", "--format-version", "1"]))?;
    let metadata: serde_json::Value = serde_json::from_slice(&metadata).context("cargo's metadata")?;
    let targets = metadata["packages"].as_array().into_iter().flatten();
    let targets = targets.flat_map(|package| package["targets"].as_array().into_iter().flatten());
    let tests = targets.filter(|target| target["kind"][0] == "test" && target["test"] == true);
    let mut names: Vec<String> =
        tests.filter_map(|target| Some(target["name"].as_str()?.to_owned())).collect();
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// When lines are shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Show {
    /// Each at once.
    Lines,
    /// Those of a program when it has ended, so that they stand together.
    Whole,
}

/// Runs the tests of these targets, all where none is named, with these arguments for each program.
fn lane(targets: &[&str], args: &[&str], show: Show) -> Result<(Tally, bool)> {
    let (reader, writer) = std::io::pipe().context("cannot make a pipe")?;
    let mut command = sh::cargo(&["test", "--workspace", "--locked", "--no-fail-fast"]);
    // What a passing test printed is asked for, because a test that had to skip something says so there.
    command.args(targets).args(["--", "--show-output"]).args(args);
    // The step `tools` has seen to it that there is one.
    command.env("PEARLBED_NEED_SOFTWARE_GPU", "1");
    // Which program the lines are of is said on stderr.
    command.stdout(writer.try_clone().context("cannot share a pipe")?).stderr(writer);
    let mut child = command.spawn().context("cannot run cargo")?;
    // It holds the pipe open.
    drop(command);
    let lines = lines(reader);
    let (mut tally, mut kept) = (Tally::default(), String::new());
    let status = loop {
        let line = match lines.recv_timeout(LAST_LINES) {
            Ok(line) => line,
            Err(RecvTimeoutError::Disconnected) => break child.wait()?,
            // A process that a test left behind may hold the pipe open for ever.
            Err(RecvTimeoutError::Timeout) => match child.try_wait()? {
                Some(status) => break status,
                None => continue,
            },
        };
        let is_next = line.trim_start().starts_with("Running ");
        if is_next {
            print!("{}", std::mem::take(&mut kept));
        }
        if !tally.take(&line) {
            continue;
        }
        match show {
            Show::Lines => println!("{line}"),
            Show::Whole => {
                if is_next {
                    println!("beside: {}", line.trim_start());
                }
                kept.push_str(&line);
                kept.push('\n');
            }
        }
    };
    print!("{kept}");
    Ok((tally, status.success()))
}

/// The lines that come out of a pipe, as they come.
fn lines(pipe: PipeReader) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n') {
            let line = line.map(|line| String::from_utf8_lossy(&line).into_owned());
            if line.is_err() || line.is_ok_and(|line| sender.send(line).is_err()) {
                break;
            }
        }
    });
    receiver
}
