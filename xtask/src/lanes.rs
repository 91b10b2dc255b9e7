//! The test programs, run in two lanes side by side.
//!
//! ```text
//! tests    ---[ all others, one after the other, then the doc tests ]--->
//! beside   ---[ what mostly waits for other programs ]--->
//! ```
//!
//! Cargo runs one test program after the other, and those of containers leave the processors idle for minutes, because what
//! they wait for is an engine. They have a cargo of their own, which finds everything built. What computes, or looks at the
//! clock, is better off alone. A program that hangs is ended, so that what comes after it is still tested. Nothing is judged
//! here: that is `test.rs`.

use std::io::{BufRead, BufReader, PipeReader};
use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::sh;
use crate::tally::Tally;

/// The test programs that mostly wait.
const BESIDE: &[&str] = &["containers"];

/// After cargo has ended so much longer its lines are waited for.
const LAST_LINES: Duration = Duration::from_secs(2);

/// A test program that has said nothing for so long hangs: on a slow and busy machine the longest test takes a third of it.
const SILENT_MAX: Duration = Duration::from_secs(600);

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
    let mut last_line = Instant::now();
    let status = loop {
        let line = match lines.recv_timeout(LAST_LINES) {
            Ok(line) => line,
            Err(RecvTimeoutError::Disconnected) => break child.wait()?,
            // A process that a test left behind may hold the pipe open for ever.
            Err(RecvTimeoutError::Timeout) => match child.try_wait()? {
                Some(status) => break status,
                None => {
                    if last_line.elapsed() >= SILENT_MAX {
                        eprintln!(
                            "error: nothing was said for {SILENT_MAX:?} while {:?} ran: ended",
                            tally.slow
                        );
                        end_children(child.id())?;
                        last_line = Instant::now();
                    }
                    continue;
                }
            },
        };
        last_line = Instant::now();
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

/// Ends what the process started itself: for cargo the test program, after which it goes on with the next.
///
/// Systems without `/proc` leave it to whoever waits.
fn end_children(parent: u32) -> Result<()> {
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        // The name of a program may hold anything; what follows it is its state and its parent.
        let of = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
        if name.parse::<u32>().is_ok() && of == Some(parent) {
            sh::run(Command::new("kill").args(["-KILL", &name]))?;
        }
    }
    Ok(())
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_started_is_ended_and_it_goes_on() {
        let mut shell = Command::new("sh").args(["-c", "sleep 600; sleep 600; exit 3"]).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        let status = loop {
            end_children(shell.id()).unwrap();
            match shell.try_wait().unwrap() {
                Some(status) => break status,
                None => assert!(Instant::now() < deadline, "it was never ended"),
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        assert_eq!(status.code(), Some(3));
    }
}
