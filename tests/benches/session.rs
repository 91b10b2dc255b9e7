//! What a session costs, and how fast it answers: `status`, `start` to the first job, a job change, the supervisor at
//! rest.
//!
//! `cargo xtask bench session` runs it, in release, with the bundled processor miner on one thread. Times of commands
//! are those of whole processes. A shared machine makes all of them longer; the supervisor's own share of a core is
//! measured by its processor time and hardly changes with the neighbours.

#![expect(clippy::print_stdout, reason = "a benchmark prints its numbers")]

use std::path::Path;
use std::time::{Duration, Instant};

use pearlbed_tests::build;
use pearlbed_tests::gateway::Gateway;
use pearlbed_tests::network::Network;
use pearlbed_tests::session::Bed;

const STARTS: usize = 7;
const ANSWERS: usize = 31;
const WATCHED: Duration = Duration::from_secs(30);
/// Miners of a large rig.
const MINERS: usize = 16;
/// Jobs that are followed to all of them.
const JOBS: usize = 11;
/// A block that nobody here finds.
const NBITS: u32 = 0x1801_d1b2;
const ADDRESS: &str = "prl1pqqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc0ss8729k";

fn main() {
    let bed = Bed::new("threads = 1");
    let library = build::plugin("cpu-pearl");
    let name = library.file_name().expect("a library has a name");
    std::fs::copy(&library, Path::new(bed.plugins()).join(name)).expect("the plugin was just built");
    let start = || {
        let answer =
            bed.run(&["start", "--devnet", "--provider", "cpu-pearl", "--plugin-dir", bed.plugins()]);
        assert_eq!(answer.code, 0, "{answer:?}");
    };

    // Built before the clock runs.
    build::pearlbed();
    println!("what                                            median      worst      bound");
    let mut starts = Vec::new();
    for _ in 0..STARTS {
        let begun = Instant::now();
        start();
        starts.push(begun.elapsed());
        bed.run(&["stop"]);
    }
    line("start to first job, on the devnet", &mut starts, "300 ms");

    start();
    let mut answers = Vec::new();
    for _ in 0..ANSWERS {
        let asked = Instant::now();
        let answer = bed.command(&["status"]).output().expect("the binary was just built");
        answers.push(asked.elapsed());
        assert!(!answer.stdout.is_empty());
    }
    line("status", &mut answers, "10 ms");

    // No status is asked meanwhile: a session at rest is what is measured.
    let pid = bed.status()["supervisor_pid"].as_u64().expect("a session runs");
    let before = processor_time(pid);
    let begun = Instant::now();
    std::thread::sleep(WATCHED);
    let share = (processor_time(pid) - before).as_secs_f64() / begun.elapsed().as_secs_f64();
    println!("{:<44} {:>7.2} %                 0.5 %", "supervisor while mining, of a core", share * 100.0);
    println!(
        "{:<44} {:>5.1} MiB                20 MiB",
        "supervisor while mining, resident",
        resident_mib(pid)
    );

    let mut changes = Vec::new();
    let mut last = None;
    let until = Instant::now() + WATCHED;
    while Instant::now() < until {
        let job = bed.status()["job"].clone();
        if let (Some(height), Some(seconds)) = (job["height"].as_u64(), job["taken_after_seconds"].as_f64())
            && last.replace(height) != Some(height)
        {
            changes.push(Duration::from_secs_f64(seconds));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    line(&format!("job change to new work, {} changes", changes.len()), &mut changes, "50 ms");
    bed.run(&["stop"]);
    rig();
}

/// A rig of many miners on a quick network, none of which does more than take its jobs and ask for more: what is left is
/// what the host itself costs.
fn rig() {
    let network = Network::new(NBITS, 3);
    let gateway = Gateway::tcp(&network);
    let extra = format!("odd = \"take\"\ngateway_port = {}", gateway.port());
    let mut mining = format!("[mining]\nprovider = \"odd-miner\"\nwallet_address = \"{ADDRESS}\"\n");
    for number in 2..=MINERS {
        mining.push_str(&format!(
            "[[mining.miners]]\nname = \"m{number}\"\nprovider = \"odd-miner\"\nextra = {{ odd = \"take\" }}\n"
        ));
    }
    let bed = Bed::with(&extra, &mining);
    let answer = bed.run(&["start", "--plugin-dir", bed.plugins()]);
    assert_eq!(answer.code, 0, "{answer:?}\n{}", bed.log());
    let taken = |status: &serde_json::Value| {
        let miners = status["miners"].as_array().map(Vec::as_slice).unwrap_or_default();
        miners.len() == MINERS && miners.iter().all(|miner| miner["job"]["taken"] == true)
    };
    let pid = bed.wait_for(WATCHED, taken)["supervisor_pid"].as_u64().expect("a session runs");
    let before = processor_time(pid);
    let begun = Instant::now();
    std::thread::sleep(WATCHED);
    let share = (processor_time(pid) - before).as_secs_f64() / begun.elapsed().as_secs_f64();
    let what = format!("supervisor with {MINERS} miners");
    println!("{:<44} {:>7.2} %                   1 %", format!("{what}, of a core"), share * 100.0);
    println!("{:<44} {:>5.1} MiB                30 MiB", format!("{what}, resident"), resident_mib(pid));

    let mut reached = Vec::new();
    for _ in 0..JOBS {
        // Old enough to be told from the next.
        std::thread::sleep(Duration::from_millis(2500));
        network.mine_elsewhere(1);
        let is_new = |status: &serde_json::Value| status["job"]["age_seconds"].as_f64() < Some(1.5);
        let status = bed.wait_for(WATCHED, |status| taken(status) && is_new(status));
        // The slowest of all.
        reached.extend(status["job"]["taken_after_seconds"].as_f64().map(Duration::from_secs_f64));
    }
    line(&format!("a new job taken by all {MINERS}, {JOBS} jobs"), &mut reached, "20 ms");
}

fn line(what: &str, times: &mut [Duration], bound: &str) {
    times.sort();
    let Some(worst) = times.last() else { return println!("{what:<44} nothing was measured") };
    let ms = |time: &Duration| time.as_secs_f64() * 1000.0;
    println!("{what:<44} {:>7.1} ms {:>7.1} ms {bound:>10}", ms(&times[times.len() / 2]), ms(worst));
}

fn processor_time(pid: u64) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the session runs");
    let fields = stat.rsplit_once(')').map(|(_, fields)| fields).unwrap_or_default();
    let ticks: u64 =
        fields.split_ascii_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

fn resident_mib(pid: u64) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_ascii_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or_default() / 1024.0
}
