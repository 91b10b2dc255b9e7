//! `cargo xtask test`: all that CI runs, with the time that each step took.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::lanes::{self, Outcome};
use crate::tally::Tally;
use crate::{demo, dist, sh};

#[derive(clap::Args)]
pub struct Args {
    /// Only these steps, by name
    #[arg(value_name = "STEP")]
    only: Vec<String>,
}

type Step = (&'static str, fn() -> Result<String>);

/// Cheap steps first: a formatting slip should not cost a build.
const STEPS: &[Step] = &[
    ("tools", tools),
    ("fmt", fmt),
    ("clippy", clippy),
    ("doc", doc),
    ("test", test),
    ("emulated", emulated),
    ("matrices", matrices),
    ("machine", crate::machine_code::check),
    ("packages", packages),
    ("readme", readme),
];

/// After one of these has failed the run ends.
const CHEAP: &[&str] = &["tools", "fmt", "clippy", "doc"];

pub fn run(args: &Args) -> Result<()> {
    if let Some(unknown) = args.only.iter().find(|only| STEPS.iter().all(|(name, _)| name != only)) {
        let names: Vec<_> = STEPS.iter().map(|(name, _)| *name).collect();
        bail!("no step is called `{unknown}`; there are {}", names.join(", "));
    }
    // All steps together: one set of features, and no dependency is compiled twice.
    sh::build_whole();
    let mut report: Vec<(&str, Duration, String)> = Vec::new();
    let mut failed = Vec::new();
    for (name, step) in STEPS {
        if !args.only.is_empty() && !args.only.iter().any(|only| only == name) {
            continue;
        }
        println!("=== {name}");
        let begun = Instant::now();
        let result = step();
        let said = match &result {
            Ok(said) => said.clone(),
            Err(err) => format!("FAILED: {}", err.to_string().lines().next().unwrap_or_default()),
        };
        report.push((name, begun.elapsed(), said));
        if let Err(err) = result {
            eprintln!("error: step `{name}` failed: {err:#}");
            failed.push(*name);
            // What cannot be compiled, or is not to be, need not be tried; the later steps tell more about one that failed.
            if CHEAP.contains(name) {
                break;
            }
        }
    }
    summary(&report);
    match failed.is_empty() {
        true => Ok(()),
        false => bail!("failed: {}", failed.join(", ")),
    }
}

fn summary(report: &[(&str, Duration, String)]) {
    println!("=== summary");
    for (name, time, said) in report {
        println!("{name:<10} {:>7.1} s  {said}", time.as_secs_f64());
    }
    let total: Duration = report.iter().map(|(_, time, _)| *time).sum();
    println!("{:<10} {:>7.1} s", "total", total.as_secs_f64());
}

/// What the tests need from the system, and how Debian calls it.
/// A path names files that begin so.
const NEEDED: &[(&str, &str)] = &[
    ("cc", "gcc libc6-dev"),
    ("tar", "tar"),
    ("gzip", "gzip"),
    // The clients in another language.
    ("python3", "python3"),
    // Signs the plugins of an installation.
    ("minisign", "minisign"),
    // A processor that plays a graphics card, for the GPU provider.
    ("/usr/share/vulkan/icd.d/lvp_icd", "mesa-vulkan-drivers libvulkan1"),
];

/// What some tests run besides: a machine with systemd, and a container engine. Nobody's own machine is given these
/// unasked; a test that lacks one says so and is skipped.
const WANTED: &[(&str, &str)] = &[
    ("systemd-nspawn", "systemd-container"),
    ("mmdebstrap", "mmdebstrap"),
    ("dockerd", "docker.io iptables"),
    ("podman", "podman"),
    // Podman without root.
    ("newuidmap", "uidmap"),
    // Finds an installation as a vendor's own project does.
    ("cmake", "cmake"),
    ("pkg-config", "pkgconf"),
    // Compiles the kernels for NVIDIA's cards, to compare.
    ("clang", "clang"),
];

fn tools() -> Result<String> {
    let needed = missing(NEEDED);
    let can_install = sh::has("apt-get") && is_root();
    if !needed.is_empty() && !can_install {
        bail!("missing on this machine: {}; on Debian: apt-get install {0}", needed.join(" "));
    }
    if !needed.is_empty() {
        install(&needed)?;
    }
    let mut said = match needed.is_empty() {
        true => "all there".to_owned(),
        false => format!("installed {}", needed.join(" ")),
    };
    let wanted = missing(WANTED);
    if !wanted.is_empty() {
        let ci = std::env::var_os("CI").is_some_and(|value| value == "true");
        let outcome = match ci && can_install {
            true => install(&wanted).map_or_else(|err| format!("{err:#}"), |()| "installed".to_owned()),
            false => "installed where CI=true only".to_owned(),
        };
        said.push_str(&format!("; for some tests {}: {outcome}", wanted.join(" ")));
    }
    Ok(said)
}

/// The packages of what is not here.
fn missing(programs: &[(&str, &'static str)]) -> Vec<&'static str> {
    let missing = programs.iter().filter(|(what, _)| !is_there(what));
    missing.flat_map(|(_, packages)| packages.split(' ')).collect()
}

fn install(packages: &[&str]) -> Result<()> {
    let mut apt = std::process::Command::new("apt-get");
    sh::run(apt.arg("update"))?;
    let mut apt = std::process::Command::new("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive").args(["install", "-y", "--no-install-recommends"]);
    sh::run(apt.args(packages))
}

/// Whether a program can be found, or a file whose path begins with `what`.
fn is_there(what: &str) -> bool {
    let Some((folder, start)) = what.rsplit_once('/') else { return sh::has(what) };
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with(start))
}

fn is_root() -> bool {
    let id = std::process::Command::new("id").arg("-u").output();
    id.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

fn fmt() -> Result<String> {
    sh::run(&mut sh::cargo(&["fmt", "--all", "--check"]))?;
    Ok(String::new())
}

fn clippy() -> Result<String> {
    sh::run(&mut sh::cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))?;
    Ok(String::new())
}

fn doc() -> Result<String> {
    let mut command = sh::cargo(&["doc", "--workspace", "--no-deps", "--locked"]);
    sh::run(command.env("RUSTDOCFLAGS", "-D warnings"))?;
    Ok(String::new())
}

/// Tests that may fail beside all the others and pass by themselves; more of them are no accident.
const UNSTEADY_MAX: usize = 3;

/// Runs the tests and the doc tests, shows their output but for what passing tests printed, and counts.
///
/// Hundreds of them play whole sessions on whatever else the machine does. One that fails there is asked once more, by
/// itself, and so is a program that hung or died: what fails again is a fault, what passes is named in the summary with what
/// it had said, as something to mend.
fn test() -> Result<String> {
    let mut outcomes = lanes::all()?;
    for skipped in &total(&outcomes).skipped {
        println!("{skipped}");
    }
    let mut unsteady: Vec<String> = Vec::new();
    for outcome in outcomes.iter().filter(|outcome| !outcome.has_passed) {
        for (name, said) in &outcome.tally.said {
            println!("--- {}: {name}\n{}", outcome.program.name, said.join("\n"));
        }
        unsteady.extend(unsteady_of(outcome));
    }
    if unsteady.len() > UNSTEADY_MAX {
        let tally = total(&outcomes);
        bail!("{} failed ({}), {} tests passed", unsteady.len(), unsteady.join(", "), tally.passed);
    }
    let mut failed: Vec<String> = Vec::new();
    for outcome in outcomes.iter_mut().filter(|outcome| !outcome.has_passed) {
        let names = unsteady_of(outcome).join(", ");
        println!("=== test: once more, by themselves: {names}");
        match once_more(outcome)? {
            Some(tally) => outcome.tally = tally,
            None => failed.push(names),
        }
    }
    let tally = total(&outcomes);
    let counted =
        format!("{} passed, {} ignored, {} skipped", tally.passed, tally.ignored, tally.skipped.len());
    match (failed.is_empty(), unsteady.is_empty()) {
        (false, _) => bail!("failed, and again by themselves: {}; {counted}", failed.join(", ")),
        (true, false) => Ok(format!(
            "{counted}; UNSTEADY, failed beside the others and passed alone: {}",
            unsteady.join(", ")
        )),
        (true, true) => Ok(counted),
    }
}

fn total(outcomes: &[Outcome]) -> Tally {
    let none = Tally::default();
    outcomes.iter().fold(none, |all, outcome| all.with(&outcome.tally))
}

/// The tests of a program that failed, or the program itself where it told no whole result.
fn unsteady_of(outcome: &Outcome) -> Vec<String> {
    match outcome.tally.is_whole() && !outcome.tally.failures.is_empty() {
        true => outcome.tally.failures.iter().cloned().collect(),
        false => {
            let slow = outcome.tally.slow.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            vec![format!("all of {} (hung or died; was at: {slow})", outcome.program.name)]
        }
    }
}

/// Asks what failed again; the program's counts then, where all is well.
fn once_more(outcome: &Outcome) -> Result<Option<Tally>> {
    let whole = !outcome.tally.is_whole() || outcome.tally.failures.is_empty();
    let names: Vec<&str> = match whole {
        true => vec![],
        false => outcome.tally.failures.iter().map(String::as_str).collect(),
    };
    let again = lanes::alone(&outcome.program, &names)?;
    let all_passed = again.has_passed && again.tally.is_whole();
    Ok(match (all_passed, whole) {
        (true, true) => Some(again.tally),
        (true, false) if again.tally.passed as usize == names.len() => {
            Some(Tally::default().with(&outcome.tally).with(&again.tally))
        }
        _ => None,
    })
}

/// Runs the CPU provider's tests on processors that this machine does not have; says so where it cannot.
fn emulated() -> Result<String> {
    let mut script = std::process::Command::new("bash");
    let said = sh::output(script.arg(sh::root().join("plugins/cpu-pearl/tests-emulated.sh")))?;
    let said = String::from_utf8_lossy(&said);
    print!("{said}");
    Ok(match said.lines().find(|line| line.starts_with("skipped: ")) {
        Some(skipped) => skipped.to_owned(),
        None => format!("{} processors", said.lines().filter(|line| line.starts_with("== ")).count()),
    })
}

/// Runs the GPU provider's kernels on a newer software device, which has int8 matrices; says so where it cannot be had.
fn matrices() -> Result<String> {
    let program = sh::built_tests()?
        .into_iter()
        .find(|message| message["target"]["name"] == "gpu_pearl")
        .and_then(|message| Some(message["executable"].as_str()?.to_owned()))
        .context("cargo does not say where the tests lie")?;
    let mut script = std::process::Command::new(sh::root().join("plugins/gpu-pearl/software-gpu.sh"));
    script
        .args([&program, "kernels::", "every_kernel_mines", "--show-output"])
        .env("PEARLBED_NEED_MATRICES", "1");
    let kernels = match script_said(script)? {
        Ok(_) => format!("kernels on a newer Mesa; {}", crate::shaders::check()?),
        Err(skipped) => skipped,
    };
    // What they become on AMD's cards, by a Mesa that has matrices there.
    let mut script = std::process::Command::new(sh::root().join("plugins/gpu-pearl/radv.sh"));
    script.args([&program, "radv::", "--show-output"]);
    let code = match script_said(script)? {
        Ok(said)
            if ["int8-", "half-"]
                .iter()
                .all(|kind| said.lines().any(|line| line.starts_with(&format!("product {kind}")))) =>
        {
            "no kernel spills on RDNA".into()
        }
        Ok(_) => bail!("the Mesa of radv.sh compiles no kernels by matrices"),
        Err(skipped) => skipped,
    };
    Ok(format!("{kernels}; {code}"))
}

/// What a script of the GPU provider's printed, or its reason for having skipped.
fn script_said(mut script: std::process::Command) -> Result<std::result::Result<String, String>> {
    let output = script.output().with_context(|| format!("cannot run {}", script.get_program().display()))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    print!("{said}");
    match (output.status.code(), said.lines().find(|line| line.starts_with("skipped: "))) {
        (Some(77), Some(skipped)) => Ok(Err(skipped.to_owned())),
        (Some(0), _) => Ok(Ok(said)),
        _ => bail!("{} failed:\n{}", script.get_program().display(), String::from_utf8_lossy(&output.stderr)),
    }
}

/// Makes the packages, installs them into a scratch root and runs what was installed.
///
/// With the profile that the tests have built: what is checked is the packing.
fn packages() -> Result<String> {
    let made = dist::make(sh::Profile::Dev, &sh::target().join("xtask/dist"))?;
    crate::package::check(&made)
}

/// Runs the first command that the README gives to a newcomer.
fn readme() -> Result<String> {
    let readme = std::fs::read_to_string(sh::root().join("README.md"))?;
    let first = first_command(&readme).context("README.md has no command in a `sh` block")?;
    if first != "cargo xtask demo" {
        bail!("the first command of README.md is `{first}`, and this step knows only `cargo xtask demo`");
    }
    demo::run(&demo::Args::default())?;
    Ok(format!("`{first}` works"))
}

fn first_command(readme: &str) -> Option<&str> {
    let (_, block) = readme.split_once("```sh\n")?;
    block.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_command_is_the_first_line_that_is_no_comment() {
        assert_eq!(first_command("# x\n```sh\n# build\ncargo xtask demo\n```\n"), Some("cargo xtask demo"));
        assert_eq!(first_command("no block"), None);
    }
}
