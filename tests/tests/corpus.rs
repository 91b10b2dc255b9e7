//! The whole fault corpus where a plugin is held by less, or everybody has less: as an ordinary user, in a group with a share
//! of the processor, a bound of memory or of processes, and on kernels that lack Landlock, user notification, or both.
//!
//! Where two hundred are asked at once, one that is slow, or that came when something was short, is told to be that. So they
//! are asked few at a time, and those again.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails, and says where")]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use pearlbed_tests::build;
use pearlbed_tests::corpus::{self, Fault, HEALTHY, by_name, code, look_at, skipped};
use pearlbed_tests::group::Group;
use pearlbed_tests::lacking::Lacking;
use pearlbed_tests::misbehave::padded_id;
use pearlbed_tests::pearlbed::{Playground, SECRET};
use serde_json::Value;

/// A user that exists nowhere else.
const SOMEBODY: u32 = 61_234;

/// Longer than any plugin takes on a slow and busy machine.
const PATIENCE: &str = "10s";

/// What is said where there was no time, or nothing to probe with.
const SHORT: [&str; 3] = ["not-probed", "no-probe", "timed-out"];

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// What `doctor` says of the plugins in `folder`.
fn doctor(ground: &Playground, folder: &Path, patience: &str, run: &Run<'_>) -> Value {
    let mut command = Command::new(run.program);
    command
        .args(["doctor", "--json", "--probe-timeout", patience, "--plugin-dir"])
        .arg(folder)
        .env_clear()
        .env("PEARLBED_HOME", ground.home())
        .env(SECRET.0, SECRET.1);
    (run.prepare)(&mut command);
    let began = Instant::now();
    let output = command.output().unwrap();
    // Its own deadline and more: this machine may be busy.
    assert!(began.elapsed() < Duration::from_secs(60), "it took {:?}", began.elapsed());
    let shown = [&output.stdout[..], &output.stderr[..]].concat();
    assert!(!String::from_utf8_lossy(&shown).contains(SECRET.1), "a secret of the environment leaked");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|err| panic!("{err}: {output:?}"))
}

/// Adds to `wrong` what is told of a fault and is not true; answers those that had no time, or nothing to be probed with.
fn look_at_all<'a>(answer: &Value, faults: &[&'a Fault], wrong: &mut Vec<String>) -> Vec<&'a Fault> {
    let plugins = by_name(answer);
    let is_short = |fault: &&&Fault| {
        plugins.get(&fault.file).is_some_and(|plugin| {
            let code = code(plugin);
            SHORT.contains(&code) && !fault.codes.split('|').any(|one| one == code)
        })
    };
    let (short, judged): (Vec<&Fault>, Vec<&Fault>) = faults.iter().partition(is_short);
    judged.into_iter().for_each(|fault| look_at(&plugins, fault, wrong));
    for plugin in plugins.values() {
        if plugin["fix"].as_str().unwrap_or_default().contains("curl") {
            wrong.push(format!("advice of its own: {plugin}"));
        }
    }
    short
}

/// None is lost or blamed; how many were probed.
fn healthy(plugins: &BTreeMap<String, Value>) -> usize {
    let mut probed = 0;
    for number in 0..HEALTHY {
        let id = padded_id(&format!("healthy-{number}"));
        let plugin = plugins.values().find(|plugin| plugin["id"] == id.as_str()).unwrap();
        if plugin["state"] == "usable" {
            assert_eq!(plugin["probe"]["supported"], true, "{plugin:#}");
            assert_eq!(plugin["probe"]["pure"], true, "{plugin:#}");
            probed += 1;
        } else {
            assert!(SHORT.contains(&code(plugin)), "{plugin:#}");
        }
    }
    probed
}

/// How `doctor` is run.
struct Run<'a> {
    program: &'a Path,
    /// Whose the plugins are.
    owner: Option<u32>,
    prepare: &'a dyn Fn(&mut Command),
    /// Words that the rows on the confinement must have.
    said: &'a [&'a str],
}

/// Throws the whole corpus at the program. Every fault is judged: few are asked at a time, and those that had no time again;
/// those that hang have a shorter time, beside each other. `expect` says what is expected otherwise than usually.
#[expect(
    clippy::print_stdout,
    reason = "how long it took, and who had no time, is told to whoever asks for it"
)]
fn throw(run: &Run<'_>, expect: fn(&mut Fault)) {
    // One at a time: each uses the machine up.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(|broken| broken.into_inner());
    let ground = Playground::new();
    std::fs::set_permissions(ground.root(), PermissionsExt::from_mode(0o755)).unwrap();
    let give = |path: &Path| {
        if let Some(owner) = run.owner {
            std::os::unix::fs::lchown(path, Some(owner), Some(owner)).unwrap();
        }
    };
    let mut faults = corpus::put_misbehaviour(&ground);
    give(&ground.home());
    give(&ground.victim());
    faults.iter_mut().for_each(expect);
    let mut wrong = vec![];
    let mut folders = 0;
    let mut ask = |few: &[&Fault], patience: &str| {
        folders += 1;
        let folder = ground.plugins().join(format!("few-{folders}"));
        std::fs::create_dir(&folder).unwrap();
        for fault in few {
            std::fs::hard_link(ground.plugins().join(&fault.file), folder.join(&fault.file)).unwrap();
        }
        corpus::put_healthy(&folder);
        let files = if few.is_empty() { corpus::put_files(&folder) } else { vec![] };
        std::fs::read_dir(&folder).unwrap().flatten().for_each(|entry| give(&entry.path()));
        let answer = doctor(&ground, &folder, patience, run);
        let said = confinement(&answer);
        for words in run.said {
            assert!(said.contains(words), "`{words}`: {said}");
        }
        let few: Vec<&Fault> = few.iter().copied().chain(&files).collect();
        let short = look_at_all(&answer, &few, &mut wrong);
        (short.into_iter().cloned().collect::<Vec<_>>(), healthy(&by_name(&answer)))
    };
    let began = Instant::now();
    // The files, of which nearly none is run: nobody is in the way of the healthy ones.
    // A machine that has much else to do gets some more tries.
    let mut asked = (0..3).map(|_| ask(&[], PATIENCE));
    let all = asked.find(|(short, probed)| short.is_empty() && *probed == HEALTHY);
    assert!(all.is_some(), "some of them, or healthy ones, never had time");
    drop(asked);
    let hangs = |fault: &Fault| fault.codes.contains("timed-out");
    let (mut hanging, mut rest): (Vec<Fault>, Vec<Fault>) = faults.iter().cloned().partition(hangs);
    // Some have no time beside the others that hang, or not enough to do what else they do.
    hanging.iter_mut().for_each(|fault| fault.words.push_str("|did not answer within"));
    for few in hanging.chunks(12) {
        ask(&few.iter().collect::<Vec<_>>(), "2s");
    }
    for few in [64, 16] {
        let mut short = vec![];
        for few in rest.chunks(few) {
            short.extend(ask(&few.iter().collect::<Vec<_>>(), PATIENCE).0);
        }
        rest = short;
        let orders: Vec<&str> = rest.iter().map(|fault| &*fault.order).collect();
        if !orders.is_empty() {
            println!("after {:?} had no time: {orders:?}", began.elapsed());
        }
    }
    corpus::assert_none_wrong(&wrong);
    // What uses the processor up runs where nobody else wants to, and on a busy machine somebody always does.
    assert!(rest.len() * 8 < faults.len(), "never had time: {rest:#?}");
    ground.assert_nothing_left();
    println!("all of it took {:?}", began.elapsed());
}

fn as_ever(_: &mut Fault) {}

#[test]
fn the_corpus_is_survived_by_an_ordinary_user() {
    if !is_root() {
        return skipped("the other user", "these tests run as an ordinary user anyway");
    }
    // The real binary may lie where nobody else can reach it.
    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::set_permissions(elsewhere.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let program = elsewhere.path().join("pearlbed");
    build::copy_program(&build::pearlbed(), &program);
    let prepare = |command: &mut Command| {
        command.uid(SOMEBODY).gid(SOMEBODY);
    };
    let run = Run { program: &program, owner: Some(SOMEBODY), prepare: &prepare, said: &[] };
    throw(&run, as_ever);
}

fn in_group(name: &str, settings: &[(&str, &str, &str)], expect: fn(&mut Fault)) {
    let group = match Group::new(name, settings) {
        Ok(group) => group,
        Err(err) => return skipped(&format!("the group {name}"), &err),
    };
    let prepare = |command: &mut Command| group.take(command);
    throw(&Run { program: &build::pearlbed(), owner: None, prepare: &prepare, said: &[] }, expect);
}

/// As in a service or a container: all processes share one share of the processor.
#[test]
fn the_corpus_is_survived_within_a_group_of_the_processor() {
    in_group("cpu", &[("cpu", "cpu.shares", "1024")], as_ever);
}

/// The kernel ends somebody of the group when its memory is used up.
#[test]
fn the_corpus_is_survived_within_a_bound_of_memory() {
    in_group("memory", &[("memory", "memory.limit_in_bytes", "1400000000")], as_ever);
}

/// What is expected where the group may have no more threads: who wants some is told that there are none, and may crash of it.
fn with_few_threads(fault: &mut Fault) {
    const THREADS: [&str; 8] =
        ["late-crash", "threads=", "attempt-", "output-stolen", "spin", "churn", "ping-pong", "deadlock"];
    // The group's bound comes before the host's, so that there may be nothing to name.
    if THREADS.iter().any(|order| fault.order.contains(order)) {
        fault.codes.push_str("|usable|crashed|panicked");
        fault.words.clear();
    }
}

#[test]
fn the_corpus_is_survived_within_a_bound_of_processes() {
    in_group("pids", &[("pids", "pids.max", "120")], with_few_threads);
}

/// What the doctor says of the confinement that is there.
fn confinement(answer: &Value) -> String {
    let checks = answer["checks"].as_array().unwrap();
    let rows = checks.iter().filter(|check| check["section"] == "Confinement");
    rows.map(Value::to_string).collect()
}

/// The corpus on a kernel that lacks something, and what its `doctor` must say of that.
fn lacking(lacking: Lacking, said: &[&str]) {
    let support = pearlbed::sandbox::support();
    if !support.seccomp_notify || support.landlock_abi.is_none() {
        return skipped("a kernel that lacks something", "this one lacks it already");
    }
    let expect = if lacking.notification.is_some() { unnamed } else { as_ever };
    let prepare = |command: &mut Command| lacking.around(command);
    throw(&Run { program: &build::pearlbed(), owner: None, prepare: &prepare, said }, expect);
}

/// What is expected where the parent is not asked: an attempt is refused as ever, and nobody knows of it.
fn unnamed(fault: &mut Fault) {
    if fault.words.starts_with("tried ") {
        fault.words.clear();
    }
}

const NO_LANDLOCK: &str = "plugins can read every file that you can read";
const NO_NAMES: &str = "what a plugin tries is stopped but cannot be named, and no network can be granted";

#[test]
fn the_corpus_is_survived_without_landlock() {
    lacking(Lacking { landlock: Some(libc::ENOSYS), notification: None }, &[NO_LANDLOCK]);
}

#[test]
fn the_corpus_is_survived_without_user_notification() {
    lacking(Lacking { landlock: None, notification: Some(libc::EINVAL) }, &[NO_NAMES]);
}

#[test]
fn the_corpus_is_survived_without_landlock_and_user_notification() {
    let neither = Lacking { landlock: Some(libc::EOPNOTSUPP), notification: Some(libc::EINVAL) };
    lacking(neither, &[NO_LANDLOCK, NO_NAMES]);
}
