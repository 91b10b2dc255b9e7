//! What the host and the contract stand on. GPU, Docker and other heavy crates belong to the plugin that needs them.

use std::collections::BTreeSet;
use std::process::Command;

use pearlbed_tests::build;

/// Crates that never enter the host or the contract. `deny.toml` says why.
const HEAVY: [&str; 12] = [
    "wgpu",
    "ash",
    "cudarc",
    "bollard",
    "nvml-wrapper",
    "raw-cpuid",
    "sysinfo",
    "aws-lc-sys",
    "openssl-sys",
    "native-tls",
    "reqwest",
    "bincode",
];
/// The most crates that `package` may stand on, itself included. Raise it with `docs/architecture.md`, and with a reason.
const HOST_MAX: usize = 155;
const CONTRACT_MAX: usize = 50;

/// Every crate that is compiled for `package` on this platform, build scripts and macros included.
fn crates_of(package: &str) -> BTreeSet<String> {
    tree("{p}", &["--package", package])
}

/// The different lines of `cargo tree`, each in this format.
fn tree(format: &str, what: &[&str]) -> BTreeSet<String> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["tree", "--locked", "--edges", "normal,build", "--prefix", "none", "--format", format])
        .args(what)
        .current_dir(build::workspace())
        .output()
        .expect("cargo runs: it started this test");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).expect("crate names are ASCII");
    let crates =
        lines.lines().filter(|line| !line.is_empty()).map(|line| line.trim_end_matches(" (*)").to_owned());
    crates.collect()
}

fn assert_light(package: &str, most: usize) {
    let crates = crates_of(package);
    let name = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
    let heavy: Vec<_> = crates.iter().filter(|line| HEAVY.contains(&&*name(line))).collect();
    assert_eq!(heavy, Vec::<&String>::new(), "{package} has become heavy");
    assert!(
        crates.len() <= most,
        "{package} stands on {} crates, more than {most}: {crates:#?}",
        crates.len()
    );
    assert!(crates.len() > 10, "the list of {package} cannot be right: {crates:#?}");
}

#[test]
fn the_host_stands_on_no_heavy_crate_and_not_on_too_many() {
    assert_light("pearlbed", HOST_MAX);
}

#[test]
fn the_contract_stands_on_no_heavy_crate_and_not_on_too_many() {
    assert_light("pearlbed-plugin-api", CONTRACT_MAX);
    for host_only in ["tokio", "clap", "pearlbed"] {
        let found =
            crates_of("pearlbed-plugin-api").iter().any(|line| line.starts_with(&format!("{host_only} ")));
        assert!(!found, "the contract does nothing, and needs no {host_only}");
    }
}

/// Whether one of the ways that a licence `expression` offers is made of `allowed` licences alone.
fn is_allowed(expression: &str, allowed: &[&str]) -> bool {
    expression.split(" AND ").all(|part| {
        let part = part.trim_start_matches('(').trim_end_matches(')').replace('/', " OR ");
        part.split(" OR ").any(|licence| allowed.contains(&licence))
    })
}

#[test]
fn every_crate_has_a_licence_that_the_list_allows_on_every_system() {
    let list = std::fs::read_to_string(build::workspace().join("deny.toml")).expect("the list is there");
    let (_, rest) = list.split_once("\nallow = [").expect("it lists licences");
    let allowed: Vec<_> = rest.split(']').next().unwrap_or_default().split('"').skip(1).step_by(2).collect();
    assert!(allowed.contains(&"MIT") && !is_allowed("GPL-3.0", &allowed), "{allowed:?}");
    assert!(is_allowed("(MIT OR X) AND Unicode-3.0", &allowed) && !is_allowed("MIT AND X", &allowed));
    let crates = tree("{p}|{l}", &["--workspace", "--target", "all"]);
    let wrong: Vec<_> = crates
        .iter()
        .filter_map(|line| line.split_once('|'))
        .filter(|(name, licence)| {
            let excepted = name
                .split(' ')
                .next()
                .is_some_and(|name| list.contains(&format!("crate = \"{name}\"\nallow = [\"{licence}\"]")));
            !excepted && !is_allowed(licence.trim_end_matches(" (*)"), &allowed)
        })
        .collect();
    assert!(wrong.is_empty() && crates.len() > 100, "deny.toml does not allow {wrong:?}");
}
