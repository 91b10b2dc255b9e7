//! The test programs, run in two lanes side by side.
//!
//! ```text
//! tests    ---[ all others, one after the other, then the doc tests ]--->
//! beside   ---[ what mostly waits for other programs ]--->
//! ```
//!
//! Cargo builds all of them at once and says where they lie; it runs only the doc tests itself. It would run one program after
//! the other, and those of containers leave the processors idle for minutes, because what they wait for is an engine; and
//! asked for some of them alone, it chooses other features and builds half of the workspace again. What computes, or looks at
//! the clock, is better off alone. A program that hangs is ended, so that what comes after it is still tested. Nothing is
//! judged here: that is `test.rs`.

use std::io::{BufRead, BufReader, PipeReader, PipeWriter};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::sh;
use crate::tally::Tally;

/// The test programs that mostly wait.
const BESIDE: &[&str] = &["containers"];

/// After a program has ended so much longer its lines are waited for.
const LAST_LINES: Duration = Duration::from_secs(2);

/// A program that has said nothing for so long hangs: on a slow and busy machine the longest test takes a third of it.
const SILENT_MAX: Duration = Duration::from_secs(600);

/// A test program.
#[derive(Clone)]
pub struct Program {
    /// The package and the target, for people.
    pub name: String,
    target: String,
    package: String,
    /// The package's folder, in which it is run.
    folder: PathBuf,
    /// Cargo itself where there is none: it runs the doc tests.
    executable: Option<PathBuf>,
}

/// What became of a program.
pub struct Outcome {
    pub program: Program,
    pub tally: Tally,
    pub has_passed: bool,
}

/// Builds all tests and runs them; what became of each program.
pub fn all() -> Result<Vec<Outcome>> {
    let programs = programs()?;
    if let Some(gone) = BESIDE.iter().find(|name| !programs.iter().any(|program| program.target == **name)) {
        bail!("no test program is called `{gone}`");
    }
    let (beside, mut rest): (Vec<_>, Vec<_>) =
        programs.into_iter().partition(|program| BESIDE.contains(&&*program.target));
    rest.push(Program {
        name: "doc tests".to_owned(),
        target: "doc".to_owned(),
        package: "xtask".to_owned(),
        folder: sh::root(),
        executable: None,
    });
    std::thread::scope(|scope| {
        let beside = scope.spawn(|| lane(beside, Show::Whole));
        let mut all = lane(rest, Show::Lines)?;
        all.extend(beside.join().expect("a lane does not panic")?);
        Ok(all)
    })
}

/// Runs these tests of a program once more, all where none is named, one after the other and nothing beside them.
pub fn alone(program: &Program, names: &[&str]) -> Result<Outcome> {
    let mut args = vec!["--test-threads", "1"];
    if !names.is_empty() {
        args.push("--exact");
        args.extend(names);
    }
    run(program.clone(), &args, Show::Lines)
}

/// All test programs of the workspace, built.
fn programs() -> Result<Vec<Program>> {
    let messages = sh::built_tests()?;
    let mut programs: Vec<Program> = messages.iter().filter_map(program).collect();
    programs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(programs)
}

/// The test program that a message of cargo's tells of.
fn program(message: &serde_json::Value) -> Option<Program> {
    let executable = message["executable"].as_str()?;
    let target = message["target"]["name"].as_str()?.to_owned();
    let kind = match message["target"]["kind"][0].as_str()? {
        "test" => "test",
        "bin" => "program",
        _ => "library",
    };
    let folder = Path::new(message["manifest_path"].as_str()?).parent()?.to_owned();
    // `path+file:///where#name@1.0.0`, or `…/name#1.0.0` where the folder is called the same.
    let (place, id) = message["package_id"].as_str()?.rsplit_once('#')?;
    let package = match id.split_once('@') {
        Some((name, _)) => name,
        None => place.rsplit('/').next()?,
    };
    Some(Program {
        name: format!("{package} {kind} {target}"),
        target,
        package: package.to_owned(),
        folder,
        executable: Some(executable.into()),
    })
}

/// When lines are shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Show {
    /// Each at once.
    Lines,
    /// Those of a program when it has ended, so that they stand together.
    Whole,
}

/// Runs these programs one after the other.
fn lane(programs: Vec<Program>, show: Show) -> Result<Vec<Outcome>> {
    programs.into_iter().map(|program| run(program, &[], show)).collect()
}

fn run(program: Program, args: &[&str], show: Show) -> Result<Outcome> {
    let (reader, writer) = std::io::pipe().context("cannot make a pipe")?;
    let mut child = start(&program, args, writer)?;
    let lines = lines(reader);
    let (mut tally, mut kept) = (Tally::default(), String::new());
    let (begun, mut last_line) = (Instant::now(), Instant::now());
    let mut show_line = |line: &str| match show {
        Show::Lines => println!("{line}"),
        Show::Whole => {
            kept.push_str(line);
            kept.push('\n');
        }
    };
    show_line(&format!("--- {}", program.name));
    let status: ExitStatus = loop {
        match lines.recv_timeout(LAST_LINES) {
            Ok(line) => {
                last_line = Instant::now();
                if tally.take(&line) {
                    show_line(&line);
                }
            }
            Err(RecvTimeoutError::Disconnected) => break child.wait()?,
            // A process that a test left behind may hold the pipe open for ever.
            Err(RecvTimeoutError::Timeout) => match child.try_wait()? {
                Some(status) => break status,
                None if last_line.elapsed() < SILENT_MAX => {}
                None => {
                    let slow: Vec<_> = tally.slow.iter().map(String::as_str).collect();
                    show_line(&format!(
                        "it said nothing for {} s and is ended; it was at {}",
                        SILENT_MAX.as_secs(),
                        slow.join(", ")
                    ));
                    child.kill().context("cannot end it")?;
                }
            },
        }
    };
    show_line(&format!("--- {}: {status}, {:.1} s\n", program.name, begun.elapsed().as_secs_f64()));
    print!("{kept}");
    Ok(Outcome { program, tally, has_passed: status.success() })
}

/// Starts a program as cargo does.
fn start(program: &Program, args: &[&str], pipe: PipeWriter) -> Result<Child> {
    let mut command = match &program.executable {
        Some(executable) => Command::new(executable),
        None => sh::cargo(&["test", "--workspace", "--locked", "--no-fail-fast", "--doc", "--"]),
    };
    // What a passing test printed is asked for, because a test that had to skip something says so there.
    command.arg("--show-output").args(args).current_dir(&program.folder);
    if program.executable.is_some() {
        command
            .env("CARGO", sh::cargo(&[]).get_program())
            .env("CARGO_MANIFEST_DIR", &program.folder)
            .env("CARGO_PKG_NAME", &program.package)
            .env(sh::BUILT_WHOLE, "1");
    }
    // The step `tools` has seen to it that there is one.
    command.env("PEARLBED_NEED_SOFTWARE_GPU", "1");
    if let Some(folder) = temporary(&std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default()) {
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        command.env("TMPDIR", folder);
    }
    command.stdout(pipe.try_clone().context("cannot share a pipe")?).stderr(pipe);
    // The command itself holds the pipe open, until here.
    command.spawn().with_context(|| format!("cannot run {}", program.name))
}

/// Where the tests keep what they make, if not where the system says: what they copy there is run, and a system may forbid that
/// in `/tmp`. `mounts` is `/proc/self/mountinfo`.
fn temporary(mounts: &str) -> Option<PathBuf> {
    let open = |folder: &Path| {
        let of = |line: &'_ str| {
            let mut fields = line.split(' ').skip(4);
            let (at, options) = (fields.next()?, fields.next()?);
            let shut = options.split(',').any(|option| ["noexec", "ro"].contains(&option));
            folder.starts_with(at).then_some((at.len(), shut))
        };
        // Of two at one place the later one lies above the other.
        mounts.lines().filter_map(of).max_by_key(|(length, _)| *length).is_none_or(|(_, shut)| !shut)
    };
    let usual = std::env::temp_dir();
    let usual = usual.canonicalize().unwrap_or(usual);
    match open(&usual) {
        true => None,
        false => Some(Path::new("/var/tmp"))
            .filter(|folder| open(folder))
            .map(Path::to_owned)
            .or_else(|| Some(sh::target().join("tmp"))),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_keep_what_they_run_where_it_may_be_run() {
        let usual = std::env::temp_dir().canonicalize().unwrap();
        let root = "1 0 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw\n";
        assert_eq!(temporary(root), None);
        let at = |path: &str, options: &str| format!("2 1 0:9 / {path} {options} - tmpfs tmpfs rw\n");
        let shut = |options| format!("{root}{}", at(&usual.display().to_string(), options));
        assert_eq!(temporary(&shut("rw,nosuid,nodev,noexec")), Some("/var/tmp".into()));
        assert_eq!(temporary(&shut("rw,nosuid,nodev")), None);
        let both = shut("rw,noexec") + &at("/var/tmp", "ro");
        assert_eq!(temporary(&both), Some(sh::target().join("tmp")));
    }

    #[test]
    fn a_program_is_known_by_what_cargo_says_of_it() {
        let said = |id: &str, kind: &str| {
            program(&serde_json::json!({
                "executable": "/t/deps/x-1", "manifest_path": "/w/tests/Cargo.toml", "package_id": id,
                "target": { "name": "x", "kind": [kind] },
            }))
        };
        let found = said("path+file:///w/tests#our-tests@0.1.0", "test").unwrap();
        assert_eq!((&*found.name, &*found.package), ("our-tests test x", "our-tests"));
        assert_eq!(found.folder, Path::new("/w/tests"));
        assert_eq!(said("path+file:///w/tests#0.1.0", "cdylib").unwrap().name, "tests library x");
        assert!(program(&serde_json::json!({ "reason": "build-finished" })).is_none());
    }
}
