//! In a container: as its first process, in the image, and under every limit that an engine sets.

use std::fs::File;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use pearlbed_tests::build;
use pearlbed_tests::engine::{Container, Engine, IMAGE};
use pearlbed_tests::machine::has;
use pearlbed_tests::session::{Bed, children, wait_until};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(240);

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[expect(clippy::print_stdout, reason = "what could not be tested is said, not hidden")]
fn engine() -> Option<Arc<Engine>> {
    match Engine::get() {
        Ok(engine) => Some(engine),
        Err(why) => {
            println!("skipped: nothing was run in a container: {why}");
            None
        }
    }
}

/// The children of `pid` with the letter of their state.
fn states_of_children(pid: u32) -> Vec<char> {
    let entries = std::fs::read_dir("/proc").expect("Linux has /proc").flatten();
    let stats = entries.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
    stats
        .filter_map(|stat| {
            let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace();
            let state = fields.next()?.chars().next()?;
            (fields.next()?.parse() == Ok(pid)).then_some(state)
        })
        .collect()
}

/// `pearlbed <args>` as the first process of a name space of its own.
fn first_of_its_own(bed: &Bed, args: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]).arg(build::pearlbed()).args(args);
    command.env_clear().env("PEARLBED_HOME", bed.home()).env("PATH", "/usr/bin:/bin");
    command
}

#[test]
fn the_first_process_collects_orphans_hands_signals_on_and_ends_as_the_command_does() {
    let bed = Bed::new("");
    if !rustix::process::geteuid().is_root() || !has("unshare") {
        return println!("skipped: a name space for processes takes root and unshare");
    }
    let wrong = first_of_its_own(&bed, &["doctor", "--only", "moon"]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(2), "{}", said(&wrong));
    assert!(said(&wrong).contains("there is no check `moon`"), "{}", said(&wrong));

    // A container ends with its command: a session in the background would end there and then.
    let args = ["start", "--devnet", "--plugin-dir", bed.plugins()];
    let told = bed.dir().join("told");
    let mut outer = first_of_its_own(&bed, &args).stderr(File::create(&told).unwrap()).spawn().unwrap();
    let first = || children(outer.id()).first().copied();
    wait_until(PATIENCE, || first().is_some() && bed.log().contains("took its first job"), || bed.log());
    let first = first().unwrap();
    let told = std::fs::read_to_string(told).unwrap();
    assert!(
        told.starts_with("a container ends with its command: this session stays in the foreground"),
        "{told}"
    );
    let inside = |script: &str| {
        let mut command = Command::new("nsenter");
        command.args(["--target", &first.to_string(), "--pid", "--mount", "sh", "-c", script]);
        command.env("PEARLBED_HOME", bed.home()).output().unwrap()
    };
    let pearlbed = build::pearlbed();
    let status = inside(&format!("{} status", pearlbed.display()));
    assert!(said(&status).contains("RUNNING"), "{}", said(&status));

    // They hold none of our pipes, which would be waited for.
    let before = states_of_children(first).len();
    assert!(inside("for orphan in 1 2 3; do sleep 10 >/dev/null 2>&1 & done").status.success());
    wait_until(PATIENCE, || states_of_children(first).len() == before + 3, || states_of_children(first));
    wait_until(PATIENCE, || states_of_children(first).len() == before, || states_of_children(first));

    bed.signal(first, rustix::process::Signal::TERM);
    assert_eq!(outer.wait().unwrap().code(), Some(0));
    assert!(bed.log().contains("session ends: told to end (SIGTERM)"), "{}", bed.log());
}

/// What doctor says in a container with `options`: the findings of its rows by their ids, and the exit status.
fn doctor(engine: &Engine, options: &[&str]) -> (Value, Option<i32>) {
    let all = [&["run", "--rm"][..], options, &[IMAGE, "doctor", "--json"]].concat();
    let output = engine.docker(&all);
    let answer: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|err| panic!("{err}: {}", said(&output)));
    (answer, output.status.code())
}

fn row(answer: &Value, id: &str) -> (String, String) {
    let rows = answer["checks"].as_array().expect("an answer has rows");
    let row = rows.iter().find(|row| row["id"] == id).unwrap_or_else(|| panic!("no {id}: {answer:#}"));
    let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
    (text("state"), text("finding"))
}

#[test]
fn doctor_tells_the_truth_of_the_container_that_it_is_in() {
    let Some(engine) = engine() else { return };
    let none = ["--network", "none"];
    let open = ["--network", "none", "--security-opt", "seccomp=unconfined"];
    for options in [
        &none[..],
        &open,
        &["--network", "none", "--read-only"],
        &["--network", "none", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"],
        &["--network", "none", "--user", "0:0"],
        &["--network", "none", "--pids-limit", "64"],
    ] {
        let (answer, code) = doctor(&engine, options);
        assert_eq!((code, &answer["ok"]), (Some(0), &true.into()), "{options:?}: {answer:#}");
        assert_eq!(row(&answer, "provider/cpu-pearl").0, "ok", "{options:?}: {answer:#}");
        assert_eq!(row(&answer, "home-folder").0, "ok", "{options:?}: {answer:#}");
    }
    // Where there may be few threads, each check waits for its turn; where there are none at all, the limit is named.
    let (answer, _) = doctor(&engine, &["--network", "none", "--pids-limit", "12"]);
    let rows = answer["checks"].as_array().expect("an answer has rows");
    let findings = || rows.iter().filter_map(|row| row["finding"].as_str());
    let silent = |finding: &&str| finding.contains("no thread") || finding.contains("without an answer");
    assert_eq!(findings().filter(silent).count(), 0, "{answer:#}");
    // A home that cannot be written is told, before anything is started.
    let (answer, code) =
        doctor(&engine, &["--network", "none", "--read-only", "--tmpfs", "/var/lib/pearlbed:ro"]);
    assert_eq!((code, row(&answer, "home-folder").0.as_str()), (Some(1), "fail"), "{answer:#}");

    let (answer, _) = doctor(&engine, &["--network", "none", "--memory", "256m"]);
    assert!(row(&answer, "memory").1.contains("256 MiB"), "{answer:#}");
    let (answer, _) = doctor(&engine, &["--network", "none", "--cpuset-cpus", "0"]);
    assert!(row(&answer, "provider/cpu-pearl").1.contains("1 thread"), "{answer:#}");
}

#[test]
fn it_mines_with_every_privilege_taken_and_ends_in_order() {
    let Some(engine) = engine() else { return };
    let options = [
        "--read-only",
        "--cap-drop",
        "ALL",
        "--security-opt",
        "no-new-privileges",
        "--pids-limit",
        "64",
        "--memory",
        "512m",
        "--cpus",
        "1",
    ];
    let container = Container::start(&engine, &options, &["start", "--devnet", "--foreground"]);
    let status = || container.pearlbed(&["status"]);
    wait_until(PATIENCE, || status().status.success(), || (said(&status()), container.logs()));
    // Its own second process, and nothing dead.
    assert_eq!(states_of_children(container.pid()).iter().filter(|state| **state == 'Z').count(), 0);
    engine.ok(&["stop", "--time", "60", &container.id]);
    let code = engine.ok(&["inspect", "--format", "{{.State.ExitCode}}", &container.id]);
    assert_eq!(code, "0", "{}", container.logs());
    assert!(container.logs().contains("session ends: told to end (SIGTERM)"), "{}", container.logs());
}

#[test]
fn without_a_configuration_the_image_says_what_sets_it_up_and_is_not_worth_another_try() {
    let Some(engine) = engine() else { return };
    let output = engine.docker(&["run", "--rm", "--network", "none", IMAGE]);
    assert_eq!(output.status.code(), Some(6), "{}", said(&output));
    assert!(said(&output).contains("`pearlbed --home /var/lib/pearlbed init`"), "{}", said(&output));
    // A volume of another user: nothing inside can change that.
    let command = ["run", "--rm", "--network", "none", "--user", "1000:1000", IMAGE, "start", "--devnet"];
    let output = engine.docker(&[&command[..], &["--foreground"]].concat());
    assert_eq!(output.status.code(), Some(6), "{}", said(&output));
    let told = said(&output).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(told.contains("`--user 65532:65532`") && !told.contains("sudo"), "{told}");
}
