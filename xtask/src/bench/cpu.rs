//! The table of the processor's provider: what it does against its threads, its depth and its columns, and in how much
//! memory.
//!
//! Each row is a run of `pearlbed bench`, which measures and judges; here it is only asked and written down. A row that
//! the bench doubts is marked, and says why below.

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::sh::{self, Profile};

/// The provider, and the package that it is built from.
const PROVIDER: &str = "cpu-pearl";

/// One run: what it is called, and the settings that differ from the defaults.
type Row = (String, Vec<(&'static str, u64)>);

/// The rows for a machine of so many processors: threads up to all of them, then n and k with all.
fn rows(processors: u64) -> Vec<Row> {
    let mut rows: Vec<Row> = [1, 2, 4, 8, 16, 32, 64, 128]
        .into_iter()
        .filter(|&threads| threads <= processors)
        .map(|threads| (format!("threads {threads}"), vec![("threads", threads)]))
        .collect();
    for n in [2048, 4096, 16384] {
        rows.push((format!("n {n}"), vec![("n", n)]));
    }
    for k in [4096, 8192] {
        rows.push((format!("k {k}"), vec![("k", k)]));
    }
    rows
}

/// Builds in release and measures each row for `seconds`.
pub fn run(seconds: u64) -> Result<()> {
    sh::build(Profile::Release, &[PROVIDER])?;
    let folder = sh::target().join("bench-cpu");
    sh::fresh(&folder)?;
    let library = sh::plugin_file(PROVIDER, Profile::Release);
    let name = library.file_name().context("a library has a name")?;
    sh::copy(&library, &folder.join("plugins").join(name), 0o755)?;
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    println!("{HEAD}");
    let (mut doubts, mut stages) = (Vec::new(), Vec::new());
    for (what, settings) in rows(processors) {
        let mut bench = std::process::Command::new(sh::pearlbed(Profile::Release));
        bench
            .env("PEARLBED_HOME", folder.join("home"))
            .args(["bench", "--json", "--provider", PROVIDER, "--seconds", &seconds.to_string()])
            .arg("--plugin-dir")
            .arg(folder.join("plugins"));
        for (key, value) in &settings {
            bench.args(["--extra", &format!("{key}={value}")]);
        }
        let answer = sh::output(&mut bench)?;
        let report: Value =
            serde_json::from_slice(&answer).context("`pearlbed bench --json` gave no JSON")?;
        if let Some(doubt) = report["doubt"].as_str() {
            doubts.push(format!("{what}: {doubt}"));
        }
        println!("{}", told(&what, &report));
        stages.push(staged(&what, &report));
    }
    println!("\n{STAGES}");
    stages.iter().for_each(|row| println!("{row}"));
    for doubt in doubts {
        println!("\n? {doubt}.");
    }
    println!("\n{PEER}");
    Ok(())
}

const HEAD: &str = "\
| | kernel | hashrate | a thread | limit of a thread | ratio | from second to second | memory |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |";

/// The parts of a round that the provider tells, in the order of the table.
const PARTS: [&str; 5] = ["product", "folding", "hashing", "noise", "commitment"];

const STAGES: &str = "\
In units of the time that the limit would need for the same products:

| | product | folding | hashing | noise | commitment | a round |
| --- | ---: | ---: | ---: | ---: | ---: | ---: |";

/// A row of the second table: the share of each part, in units of the limit's time; a round is what the ratio is one over.
fn staged(what: &str, report: &Value) -> String {
    let round = report["peak_ratio"].as_f64().filter(|ratio| *ratio > 0.0).map(f64::recip);
    let part = |part: &str| round.zip(report["split"][part].as_f64()).map(|(round, share)| round * share);
    let cell = |units: Option<f64>| units.map_or("-".to_owned(), |units| format!("{units:.3}"));
    let parts = PARTS.iter().map(|name| cell(part(name))).chain([cell(round)]);
    parts.fold(format!("| {what} |"), |line, cell| format!("{line} {cell} |"))
}

/// What another says of itself: told to its users for eight cores of a Zen 4, not measured here.
const PEER: &str = "\
The best open CPU miner publishes 0.66 TH/s on eight cores of a Zen 4: 82 GH/s a core (told by its author, not measured
here). Ours per core is the column `a thread`.";

/// A row of the table; a question mark where the bench doubts its ratio.
fn told(what: &str, report: &Value) -> String {
    let rate = |rate: Option<f64>| rate.map_or("-".to_owned(), |rate| format!("{:.1} GH/s", rate / 1e9));
    let percent = |share: f64| format!("{:.1}", share * 100.0);
    let (hashrate, threads) = (report["hashrate"].as_f64(), report["threads"].as_f64());
    let doubt = if report["doubt"].is_string() { " ?" } else { "" };
    let ratio = report["peak_ratio"].as_f64().map_or("-".to_owned(), |ratio| percent(ratio) + " %" + doubt);
    let quartile = |index: usize| report["peak_ratio_quartiles"][index].as_f64();
    let spread = quartile(0).zip(quartile(1));
    let spread =
        spread.map_or("-".to_owned(), |(low, high)| format!("{} to {}", percent(low), percent(high)));
    let memory = report["memory_bytes"].as_u64();
    let memory = memory.map_or("-".to_owned(), |bytes| format!("{} MiB", bytes.div_ceil(1 << 20)));
    [
        what,
        report["kernel"].as_str().unwrap_or("-"),
        &rate(hashrate),
        &rate(hashrate.zip(threads).map(|(rate, threads)| rate / threads)),
        &rate(report["peak_thread"].as_f64()),
        &ratio,
        &spread,
        &memory,
    ]
    .iter()
    .fold("|".to_owned(), |line, cell| format!("{line} {cell} |"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_has_what_the_bench_tells_and_marks_what_it_doubts() {
        let mut report = json!({
            "kernel": "avx2", "threads": 2, "hashrate": 180e9, "peak_thread": 110e9, "peak_ratio": 0.8312,
            "peak_ratio_quartiles": [0.825, 0.84], "memory_bytes": 41 << 20, "doubt": null,
        });
        let row =
            "| threads 2 | avx2 | 180.0 GH/s | 90.0 GH/s | 110.0 GH/s | 83.1 % | 82.5 to 84.0 | 41 MiB |";
        assert_eq!(told("threads 2", &report), row);
        assert_eq!(row.matches('|').count(), HEAD.lines().next().map_or(0, |head| head.matches('|').count()));
        report["doubt"] = "the machine was too unsteady to tell".into();
        assert!(told("threads 2", &report).contains("| 83.1 % ? |"));
        let nothing = "| k 4096 | - | - | - | - | - | - | - |";
        assert_eq!(told("k 4096", &json!({"threads": null})), nothing);
    }

    #[test]
    fn the_parts_of_a_round_are_told_in_the_limits_time() {
        let report = json!({
            "peak_ratio": 0.8, "split": {"product": 0.9, "folding": 0.04, "hashing": 0.03, "noise": 0.02, "proofs": 0.01},
        });
        let row = "| k 4096 | 1.125 | 0.050 | 0.037 | 0.025 | - | 1.250 |";
        assert_eq!(staged("k 4096", &report), row);
        assert_eq!(
            row.matches('|').count(),
            STAGES.lines().last().map_or(0, |head| head.matches('|').count())
        );
        assert_eq!(staged("x", &json!({"split": {"product": 1.0}})), "| x | - | - | - | - | - | - |");
        assert_eq!(staged("x", &json!({"peak_ratio": 0.0, "split": null})), "| x | - | - | - | - | - | - |");
    }

    #[test]
    fn no_row_asks_for_more_threads_than_there_are_processors() {
        let threads =
            |processors| rows(processors).into_iter().filter(|(what, _)| what.starts_with("threads")).count();
        assert_eq!((threads(1), threads(2), threads(6), threads(16)), (1, 2, 3, 5));
        assert!(rows(1).iter().any(|(_, settings)| settings == &[("k", 8192)]));
    }
}
