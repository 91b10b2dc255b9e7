//! `cargo xtask demo`: from a fresh clone to verified blocks.
//!
//! Everything lies in `target/demo`, home folder included, and nothing is left running. The session is a child
//! that ends with us however we end: a shell between us waits for its standard input to close.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::sh::{self, Profile};

/// The provider that the demonstration mines with.
const PROVIDER: &str = "cpu-pearl";

#[derive(clap::Args)]
pub struct Args {
    /// How many blocks to wait for
    #[arg(long, default_value_t = 3, value_name = "N")]
    blocks: u64,
    /// Give up after this many seconds of mining
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    limit: u64,
    /// Build with optimisation everywhere (slower to build; the proof code is optimised anyway)
    #[arg(long)]
    release: bool,
}

impl Default for Args {
    fn default() -> Self {
        Self { blocks: 3, limit: 600, release: false }
    }
}

/// Stops the session when it ends, closes its standard input at least.
struct Session {
    child: Child,
}

impl Session {
    /// `program` with `args` under a shell that ends it as soon as we are gone, whatever ended us.
    fn start(program: &Path, args: &[&str], log: &Path) -> Result<Self> {
        // A background job of a shell ignores SIGINT, and so does the shell here: Ctrl-C ends us, our end closes
        // the pipe, and the session gets the one orderly SIGTERM.
        let script = r#"trap '' INT; "$@" </dev/null 3<&- & session=$!
            { cat >/dev/null; kill -TERM "$session" 2>/dev/null; } <&3 & watcher=$!
            wait "$session"; status=$?; kill "$watcher" 2>/dev/null; exit "$status""#;
        let log = std::fs::File::create(log)?;
        let child = Command::new("sh")
            .args(["-c", &format!("exec 3<&0; {script}"), "sh"])
            .arg(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot run sh")?;
        Ok(Self { child })
    }

    /// Whether it has ended, and how.
    fn ended(&mut self) -> Result<Option<std::process::ExitStatus>> {
        Ok(self.child.try_wait()?)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

pub fn run(args: &Args) -> Result<()> {
    let profile = if args.release { Profile::Release } else { Profile::Dev };
    let begun = Instant::now();
    println!("Building pearlbed and {PROVIDER} ...");
    sh::build(profile, &[PROVIDER])?;
    println!("Built in {:.0} s.\n", begun.elapsed().as_secs_f64());

    let folder = sh::target().join("demo");
    sh::fresh(&folder)?;
    let plugins = folder.join("plugins");
    let file = sh::plugin_file(PROVIDER, profile);
    sh::copy(&file, &plugins.join(file.file_name().context("a plugin file has a name")?), 0o755)?;
    let demo = Demo { pearlbed: sh::pearlbed(profile), home: folder.join("home"), plugins };

    let mut session = demo.start(&folder.join("session.out"))?;
    let outcome = demo.watch(&mut session, args);
    if outcome.is_err() {
        println!("\n--- what the session said");
        let _ = demo.show(&["logs", "-n", "40"]);
        print!("{}", std::fs::read_to_string(folder.join("session.out")).unwrap_or_default());
    } else {
        println!();
        demo.show(&["status"])?;
    }
    println!();
    let stopped = demo.show(&["stop"]);
    drop(session);
    outcome?;
    stopped?;
    demo.nothing_is_left()?;
    println!("\nNothing is left running. The files of this run: {}", shown(&folder));
    Ok(())
}

struct Demo {
    pearlbed: PathBuf,
    home: PathBuf,
    plugins: PathBuf,
}

impl Demo {
    fn start(&self, log: &Path) -> Result<Session> {
        let home = self.home.to_str().context("the path of this folder is not UTF-8")?;
        let plugins = self.plugins.to_str().context("the path of this folder is not UTF-8")?;
        println!("$ pearlbed start --devnet --provider {PROVIDER}");
        Session::start(
            &self.pearlbed,
            &[
                "--home",
                home,
                "start",
                "--devnet",
                "--foreground",
                "--provider",
                PROVIDER,
                "--plugin-dir",
                plugins,
            ],
            log,
        )
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.pearlbed);
        command.arg("--home").arg(&self.home).args(args);
        command
    }

    /// Shows the live status until `args.blocks` blocks are verified.
    fn watch(&self, session: &mut Session, args: &Args) -> Result<()> {
        let begun = Instant::now();
        let progress = sh::waiting("the session starts");
        let mut shown = String::new();
        loop {
            if let Some(status) = session.ended()? {
                bail!("the session ended by itself ({status})");
            }
            let status = self.status()?;
            let line = status_line(&status);
            // Until the session has left its mark, the home folder is just an empty one.
            if line != shown && status["state"] != "NOT_CONFIGURED" {
                if progress.is_shown() {
                    progress.say(&line);
                } else {
                    println!("{line}");
                }
                shown = line;
            }
            // The first blocks come at once, because the devnet does not know the machine yet. A little later it does,
            // and the hash rate is more than a guess.
            let known =
                !status["hashrate"]["raw"]["10s"].is_null() || begun.elapsed() > Duration::from_secs(20);
            if known && number(&status, "/proofs/accepted") >= args.blocks {
                if progress.is_shown() {
                    progress.aside(|| println!("{shown}"));
                }
                return Ok(());
            }
            if begun.elapsed() > Duration::from_secs(args.limit) {
                bail!("no {} blocks within {} s", args.blocks, args.limit);
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    fn status(&self) -> Result<Value> {
        // The status of a session that does not earn yet is told by the exit status, too: only the text counts here.
        let output = self.command(&["status", "--json"]).output().context("cannot run pearlbed")?;
        serde_json::from_slice(&output.stdout).with_context(|| {
            format!(
                "`pearlbed status --json` did not print JSON: {}",
                String::from_utf8_lossy(&output.stderr)
            )
        })
    }

    /// Runs a command for the reader to see.
    fn show(&self, args: &[&str]) -> Result<()> {
        println!("$ pearlbed {}", args.join(" "));
        let output = self.command(args).output().context("cannot run pearlbed")?;
        print!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// The session is over by every sign that it could have left.
    fn nothing_is_left(&self) -> Result<()> {
        let status = self.status()?;
        let state = status["state"].as_str().unwrap_or("unknown");
        if !matches!(state, "STOPPED" | "CONFIGURED" | "NOT_CONFIGURED") {
            bail!("after `stop` the state is {state}");
        }
        let sidecar = self.home.join("runtime/mining.json");
        if sidecar.exists() {
            bail!("{} was left behind", sidecar.display());
        }
        Ok(())
    }
}

/// The status in one line of at most 80 columns.
fn status_line(status: &Value) -> String {
    let state = status["state"].as_str().unwrap_or("?");
    let raw = &status["hashrate"]["raw"];
    let rate = ["60s", "10s"].iter().find_map(|window| raw[window].as_f64());
    let rate = rate.map_or("rate n/a".to_owned(), hashrate);
    format!(
        "{state:<9} {rate:>12}   blocks verified {}   accepted {}   rejected {}",
        number(status, "/proofs/verified"),
        number(status, "/proofs/accepted"),
        number(status, "/proofs/rejected"),
    )
}

fn number(status: &Value, pointer: &str) -> u64 {
    status.pointer(pointer).and_then(Value::as_u64).unwrap_or(0)
}

fn hashrate(rate: f64) -> String {
    const PREFIXES: [&str; 6] = ["", "k", "M", "G", "T", "P"];
    let step = if rate >= 1.0 { ((rate.log10() / 3.0) as usize).min(PREFIXES.len() - 1) } else { 0 };
    format!("{:.2} {}H/s", rate / 1000f64.powi(step as i32), PREFIXES[step])
}

/// `path` as seen from the repository.
fn shown(path: &Path) -> String {
    path.strip_prefix(sh::root()).unwrap_or(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_rate_is_not_shown_as_zero() {
        let status = serde_json::json!({"state": "RUNNING", "hashrate": {"raw": {"10s": null}}});
        assert!(status_line(&status).contains("rate n/a"));
    }

    #[test]
    fn rates_have_a_prefix() {
        assert_eq!(hashrate(41_300_000_000.0), "41.30 GH/s");
        assert_eq!(hashrate(0.0), "0.00 H/s");
    }
}
