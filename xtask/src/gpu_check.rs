//! `cargo xtask gpu-check`: what whoever has a card runs to say what it does, in under three minutes.
//!
//! The self-tests and the limit loop run at every start of the provider; this measures each kernel for a while, checks
//! proofs of each, and mines on the devnet. The answer is a table, and `target/gpu-check/gpu-check.json`.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::sh::{self, Profile};

const PROVIDER: &str = "gpu-pearl";

#[derive(clap::Args)]
pub struct Args {
    /// Use software devices, and small matrices: to try this command itself
    #[arg(long)]
    software: bool,
    /// Measure each kernel so long
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    seconds: u64,
    /// Only these kernels; all that the device takes otherwise
    #[arg(long, value_name = "NAME")]
    kernel: Vec<String>,
    /// Build without optimisation of the host (quicker to build)
    #[arg(long)]
    dev: bool,
}

/// A home folder and a plugin folder of this command's own.
struct Bench {
    pearlbed: PathBuf,
    folder: PathBuf,
}

pub fn run(args: &Args) -> Result<()> {
    let profile = if args.dev { Profile::Dev } else { Profile::Release };
    sh::build(profile, &[PROVIDER])?;
    let folder = sh::target().join("gpu-check");
    sh::fresh(&folder)?;
    let file = sh::plugin_file(PROVIDER, profile);
    let name = file.file_name().context("a plugin file has a name")?;
    sh::copy(&file, &folder.join("plugins").join(name), 0o644)?;
    let (mut extra, mut sections) = ("", "");
    if args.software {
        extra = "software = true\ndevices = [\"software\"]\nm = 128\nn = 512\nk = 2048";
        // It computes on the processor, at which a miner else stands back for every program.
        sections = "[mining]\nnice = 0\n[mining.session]\nstall_after = \"5m\"";
    }
    sh::write(
        &folder.join("home/config.toml"),
        format!(
            "[mining.extra]\n{extra}\n[mining.grants]\n{PROVIDER} = [\"device:/dev/dri/renderD*\", \
             \"device:/dev/nvidia*\", \"device:/dev/nvidia-caps/*\"]\n{sections}\n"
        ),
    )?;
    let bench = Bench { pearlbed: sh::pearlbed(profile), folder };
    let begun = Instant::now();
    let doctor = bench.json(&["doctor", "--json"]).unwrap_or(Value::Null);
    let mut kernels = Vec::new();
    for kernel in bench.kernels(args)? {
        println!("kernel {kernel}: proofs, then {} s ...", args.seconds);
        kernels.push(bench.kernel(&kernel, args.seconds));
    }
    println!("a session on the devnet ...");
    let session = bench.session().unwrap_or_else(|err| json!({ "error": format!("{err:#}") }));
    let answer = json!({
        "seconds": begun.elapsed().as_secs_f64(), "software": args.software, "doctor": doctor,
        "kernels": kernels, "session": session,
    });
    let to = bench.folder.join("gpu-check.json");
    sh::write(&to, serde_json::to_vec_pretty(&answer)?)?;
    table(&kernels, &session);
    println!("\n{:.0} s in all; the whole answer is {}", begun.elapsed().as_secs_f64(), to.display());
    Ok(())
}

impl Bench {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.pearlbed);
        command
            .args(args)
            .args(["--plugin-dir", &self.plugins()])
            .env("PEARLBED_HOME", self.folder.join("home"));
        command
    }

    fn plugins(&self) -> String {
        self.folder.join("plugins").to_string_lossy().into_owned()
    }

    fn json(&self, args: &[&str]) -> Result<Value> {
        let output = self.command(args).output().context("cannot run pearlbed")?;
        if output.stdout.is_empty() {
            bail!("{}", complaint(&String::from_utf8_lossy(&output.stderr)));
        }
        serde_json::from_slice(&output.stdout).context("pearlbed did not answer in JSON")
    }

    /// The kernels to try: those asked for, or all, as the provider lists them where it is asked for one that is none.
    fn kernels(&self, args: &Args) -> Result<Vec<String>> {
        if !args.kernel.is_empty() {
            return Ok(args.kernel.clone());
        }
        let none = ["bench", "--provider", PROVIDER, "--seconds", "1", "--extra", "kernel=none"];
        let said = self.command(&none).output().context("cannot run pearlbed")?;
        let said = String::from_utf8_lossy(&said.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
        let Some((_, list)) = said.split_once("there are ") else {
            bail!("the provider lists no kernels: {said}")
        };
        let names =
            list.split([',', ' ']).map(|name| name.trim_matches(['.', '`'])).filter(|name| !name.is_empty());
        Ok(names.take_while(|name| name.contains(|c: char| c.is_ascii_digit())).map(str::to_owned).collect())
    }

    fn kernel(&self, kernel: &str, seconds: u64) -> Value {
        let (extra, seconds) = (format!("kernel={kernel}"), seconds.to_string());
        let args = [
            "bench",
            "--json",
            "--provider",
            PROVIDER,
            "--verify",
            "5",
            "--seconds",
            &seconds,
            "--extra",
            &extra,
        ];
        match self.json(&args) {
            Ok(report) => json!({"kernel": kernel, "report": report}),
            Err(err) => json!({"kernel": kernel, "error": err.to_string()}),
        }
    }

    /// Mines until three proofs are accepted, for at most a minute, and says what became of it.
    fn session(&self) -> Result<Value> {
        let started = self.command(&["start", "--devnet", "--anyway", "--provider", PROVIDER]).output()?;
        // A device can take longer to open and to test itself than `start` waits; then it says 4, "not yet".
        if !matches!(started.status.code(), Some(0 | 4)) {
            bail!("the session did not start: {}", String::from_utf8_lossy(&started.stderr).trim_end());
        }
        let status = || -> Result<Value> {
            let mut command = Command::new(&self.pearlbed);
            command.args(["status", "--json"]).env("PEARLBED_HOME", self.folder.join("home"));
            Ok(serde_json::from_slice(&command.output()?.stdout)?)
        };
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut last = status();
        while Instant::now() < deadline {
            let enough = |status: &Value| status["proofs"]["accepted"].as_u64() >= Some(3);
            if last.as_ref().is_ok_and(enough) {
                break;
            }
            std::thread::sleep(Duration::from_millis(500));
            last = status();
        }
        let mut stop = Command::new(&self.pearlbed);
        sh::output(stop.arg("stop").env("PEARLBED_HOME", self.folder.join("home")))?;
        last
    }
}

/// What a command complained of, without its hint: one line.
fn complaint(stderr: &str) -> String {
    let told =
        stderr.split("hint:").next().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
    told.trim_start_matches("error: ").to_owned()
}

/// The rate as a share of the limit, marked where it cannot be.
fn ratio(rate: f64, limit: f64) -> String {
    match rate / limit {
        _ if limit <= 0.0 => "?".into(),
        ratio if ratio > 1.0 => format!("{:.1} % !", 100.0 * ratio),
        ratio => format!("{:.1} %", 100.0 * ratio),
    }
}

/// Whether a report has a rate above its limit.
fn is_wrong(report: &Value) -> bool {
    report["hashrate"]
        .as_f64()
        .zip(report["peak"].as_f64())
        .is_some_and(|(rate, limit)| limit > 0.0 && rate > limit)
}

fn table(kernels: &[Value], session: &Value) {
    println!("\n{:<20} {:>12} {:>12} {:>9}  proofs", "kernel", "rate, GH/s", "limit, GH/s", "ratio");
    for kernel in kernels {
        let name = kernel["kernel"].as_str().unwrap_or_default();
        if let Some(error) = kernel["error"].as_str() {
            println!("{name:<20} {error}");
            continue;
        }
        let report = &kernel["report"];
        let (rate, limit) =
            (report["hashrate"].as_f64().unwrap_or(0.0), report["peak"].as_f64().unwrap_or(0.0));
        let ratio = ratio(rate, limit);
        println!(
            "{name:<20} {:>12.1} {:>12.1} {ratio:>9}  {} of {}",
            rate / 1e9,
            limit / 1e9,
            report["proofs"]["accepted"],
            report["proofs"]["wanted"]
        );
    }
    if kernels.iter().any(|kernel| is_wrong(&kernel["report"])) {
        println!(
            "! a ratio above 100 % is a fault of the measurement: the loop that tells the limit is slower there"
        );
    }
    match session["error"].as_str() {
        Some(error) => println!("devnet: {error}"),
        None => println!(
            "devnet: {} accepted, {} rejected",
            session["proofs"]["accepted"], session["proofs"]["rejected"]
        ),
    }
    for device in session["provider_stats"]["details"]["devices"].as_array().into_iter().flatten() {
        if let Some(time) = device["job_to_work_ms"].as_f64() {
            let name = device["name"].as_str().unwrap_or_default();
            println!("{name}: {time:.1} ms from the last job to the end of its first chunk");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_above_its_limit_is_called_a_fault() {
        assert_eq!((ratio(1.0, 4.0).as_str(), ratio(5.0, 4.0).as_str()), ("25.0 %", "125.0 % !"));
        assert_eq!(ratio(1.0, 0.0), "?");
        assert!(is_wrong(&json!({"hashrate": 5.0, "peak": 4.0})));
        for report in
            [json!({"hashrate": 3.0, "peak": 4.0}), json!({"hashrate": 3.0, "peak": null}), Value::Null]
        {
            assert!(!is_wrong(&report), "{report}");
        }
    }

    #[test]
    fn a_complaint_is_one_line_without_its_hint() {
        let stderr =
            "error: the provider refused to start: card: no kernel\nworks on it\nhint: its documentation\n";
        assert_eq!(complaint(stderr), "the provider refused to start: card: no kernel works on it");
    }
}
