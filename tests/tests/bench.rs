//! `pearlbed bench` with the real binary and the bundled provider in its confined process.

use pearlbed_tests::build;
use pearlbed_tests::pearlbed::Playground;
use serde_json::Value;

/// A playground with the plugins of `packages`.
fn playground(packages: &[&str]) -> Playground {
    let playground = Playground::new();
    for package in packages {
        let library = build::plugin(package);
        let name = library.file_name().expect("a library has a name");
        std::fs::copy(&library, playground.plugins().join(name)).expect("the folder is our own");
    }
    playground
}

/// Runs `pearlbed bench` with `arguments`; status, stdout and stderr.
fn bench(playground: &Playground, arguments: &[&str]) -> (Option<i32>, String, String) {
    let plugins = playground.plugins();
    let plugins = plugins.to_str().expect("temporary folders have plain names");
    let output = playground.run(&[&["bench", "--plugin-dir", plugins], arguments].concat());
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the answer is text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// A small product: the machine that tests may be busy.
const SMALL: [&str; 6] = ["--extra", "m=256", "--extra", "n=512", "--extra", "k=2048"];

#[test]
fn bench_measures_in_windows_against_the_limit_and_verifies_proofs() {
    let playground = playground(&["cpu-pearl"]);
    let arguments = ["--seconds", "1", "--verify", "20", "--json"];
    let (code, stdout, stderr) = bench(&playground, &[&arguments[..], &SMALL].concat());
    assert_eq!(code, Some(0), "{stderr}");
    // Nobody watches a pipe: the story is whole lines, and nothing on it moves.
    assert!(stderr.contains("mines, ") && !stderr.contains(['\x1b', '\r']), "{stderr:?}");
    let report: Value = serde_json::from_str(&stdout).expect("the answer is JSON");
    assert_eq!(report["schema"], 2);
    assert_eq!(report["provider"], "cpu-pearl");
    let hashrate = report["hashrate"].as_f64().expect("a rate was measured");
    assert!(hashrate > 1e6, "{report:#}");
    assert_eq!(report["windows"].as_array().map(Vec::len), Some(1));
    assert_eq!(report["hashrate_min"], report["hashrate_max"]);
    assert!(report["memory_bytes"].as_u64() > Some(1 << 20), "{report:#}");
    assert_eq!((&report["shape"]["m"], &report["shape"]["n"]), (&256.into(), &512.into()));
    let split = report["split"].as_object().expect("this provider tells its split");
    for part in ["product", "folding", "hashing", "noise", "commitment"] {
        assert!(split[part].as_f64().is_some_and(|share| (0.0..=1.0).contains(&share)), "{report:#}");
    }
    assert!((split.values().filter_map(Value::as_f64).sum::<f64>() - 1.0).abs() < 1e-6);
    if report["peak"].is_null() {
        println!("skipped: this processor has no instructions whose limit is known");
    } else {
        let number = |key: &str| report[key].as_f64().expect("there is a limit");
        let [peak, ratio, share] = ["peak", "peak_ratio", "processor_share"].map(number);
        assert!(peak > 1e9 && ratio > 0.0 && share > 0.0 && share < 1.05, "{report:#}");
        assert!((peak * ratio * share / hashrate - 1.0).abs() < 1e-6, "the numbers agree: {report:#}");
        // What cannot be is called so, however busy the machine is that the tests run on.
        let doubt = report["doubt"].as_str().expect("one second is too short to tell");
        assert_eq!(ratio > 1.0, doubt.contains("fault of the measurement"), "{report:#}");
    }
    assert_eq!(report["proofs"]["accepted"], 20, "{report:#}");
    assert_eq!(report["proofs"]["rejected"], 0, "{report:#}");
    playground.assert_nothing_left();
}

#[test]
fn the_answer_as_text_fits_eighty_columns_and_the_story_is_on_stderr() {
    let playground = playground(&["cpu-pearl"]);
    let (code, stdout, stderr) =
        bench(&playground, &[&["--seconds", "0", "--verify", "2"][..], &SMALL].concat());
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("proofs    2 of 2 accepted"), "{stdout}");
    assert!(stdout.lines().chain(stderr.lines()).all(|line| line.chars().count() <= 80), "{stdout}{stderr}");
    assert!(stderr.contains("cpu-pearl mines"), "{stderr}");
}

#[test]
fn a_setting_that_the_provider_refuses_is_named_with_the_rule_it_breaks() {
    let playground = playground(&["cpu-pearl"]);
    for (setting, said) in [
        ("tile=15x16", "rule 16"),
        ("rank=100", "rule 9"),
        ("k=1000", "rule 12"),
        ("kernel=abacus", "does not exist"),
        ("speed=11", "no setting `speed`"),
    ] {
        let (code, stdout, stderr) = bench(&playground, &["--extra", setting]);
        let said_in_one_line = stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            code == Some(1) && stdout.is_empty() && said_in_one_line.contains(said),
            "{setting}: {stderr}"
        );
    }
    playground.assert_nothing_left();
}

#[test]
fn a_provider_that_tells_nothing_but_its_hashes_is_measured_too() {
    let playground = playground(&["minimal-provider"]);
    let (code, stdout, stderr) = bench(&playground, &["--seconds", "1", "--json"]);
    assert_eq!(code, Some(0), "{stderr}");
    let report: Value = serde_json::from_str(&stdout).expect("the answer is JSON");
    assert!(report["hashrate"].as_f64() > Some(0.0), "{report:#}");
    assert!(
        report["split"].is_null() && report["kernel"].is_null() && report["proofs"].is_null(),
        "{report:#}"
    );
    assert!(report["threads"].is_null() && report["peak"].is_null(), "nothing is guessed: {report:#}");
    assert!(report["peak_scheme"].is_null() || report["peak_thread"].as_f64() > Some(1e9), "{report:#}");
    playground.assert_nothing_left();
}

#[test]
fn a_provider_that_is_not_there_is_an_error() {
    let playground = playground(&["minimal-provider"]);
    let (code, stdout, stderr) = bench(&playground, &["--provider", "nobody"]);
    assert!(code == Some(6) && stdout.is_empty() && stderr.contains("nobody"), "{stdout}{stderr}");
}
