//! Looks at a home folder from outside: who runs there, and if nobody, what the last one left.
//!
//! Nothing here takes the session lock, signals anybody or changes a file.

use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use super::control::{self, AskError, Request};
use super::lock::{self, Holder};
use super::log;
use super::past;
use super::report::{OtherWallet, ProofReport, Report};
use super::state::{self, RemainingFacts, State};
use crate::config::{Config, Sources};
use crate::explain::{Explain, chain};
use crate::home::{Env, Home};
use crate::http;
use crate::identity::ProcessIdentity;
use crate::sidecar::{Life, Sidecar, SidecarError};
use crate::url::Url;

/// How long a supervisor may take to answer.
pub const ANSWER_TIME: Duration = Duration::from_secs(3);
/// How long a supervisor that has just taken the lock may take to open its socket.
const OPENING_TIME: Duration = Duration::from_secs(1);
/// How long the metrics of somebody else's miner may take.
const METRICS_TIME: Duration = Duration::from_millis(700);
const METRICS_BYTES_MAX: usize = 1 << 20;

/// The session of `home` as it is now.
pub fn look(home: &Home, env: &Env) -> Report {
    let asked = Instant::now();
    if let Some(kept) = kept_from(home) {
        let hint = kept.hint(home, "status");
        return Report { hint, ..unknown(&kept.reason, "", None) };
    }
    loop {
        let problem = match control::ask(&home.control_socket(), &Request::Status, ANSWER_TIME) {
            Ok(value) => match serde_json::from_value(value) {
                Ok(report) => return Report { other_wallet: other_wallet(home, env), ..report },
                Err(err) => format!("its answer is not understood ({err}): it may be of another version"),
            },
            Err(AskError::Nobody { .. }) => match live_holder(home) {
                None => return without_supervisor(home, env),
                // Between the lock and the socket, or between the socket and the end.
                Some(_) if asked.elapsed() < OPENING_TIME => {
                    std::thread::sleep(Duration::from_millis(20));
                    continue;
                }
                Some(_) => "it has no control socket".to_owned(),
            },
            Err(err) => err.to_string(),
        };
        let Some(holder) = live_holder(home) else { return without_supervisor(home, env) };
        return unknown(
            &format!("process {} holds the session, but {problem}", holder.supervisor.pid),
            "`pearlbed stop` ends it; `pearlbed logs` shows its last words",
            Some(holder.supervisor.pid),
        );
    }
}

/// What keeps this user from knowing whether a session runs.
#[derive(Debug)]
pub struct Kept {
    /// What it is, as a phrase.
    pub reason: String,
    /// Who else it belongs to: the words for `sudo -u`. Nobody where it is this user's own.
    pub owner: Option<String>,
    /// What to do where it is this user's own.
    fix: Option<String>,
}

impl Kept {
    /// What to do, for whoever wants to run `pearlbed <words>`.
    pub fn hint(&self, home: &Home, words: &str) -> Option<String> {
        match &self.owner {
            Some(owner) => Some(format!("as its owner: `sudo -u {owner} {}`", home.command_of_others(words))),
            None => self.fix.clone(),
        }
    }
}

/// What keeps this user from knowing whether a session runs: the rights of its folder, of its lock or of its control socket.
pub fn kept_from(home: &Home) -> Option<Kept> {
    let denied = |err: &std::io::Error| err.kind() == std::io::ErrorKind::PermissionDenied;
    let (lock, socket) = (home.lock_file(), home.control_socket());
    let (path, err) = match crate::owned::open(&lock) {
        Err(err) if denied(&err) => (lock, err),
        _ => {
            let connected = super::socket::reachable(&socket)
                .and_then(|way| std::os::unix::net::UnixStream::connect(&way.path));
            (socket, connected.err().filter(denied)?)
        }
    };
    let owner =
        path.ancestors().find_map(|path| std::fs::symlink_metadata(path).ok()).map(|found| found.uid());
    let cannot = "whether a session runs cannot be told";
    let me = rustix::process::geteuid().as_raw();
    Some(match owner {
        Some(owner) if owner != me => Kept {
            reason: format!("{cannot}: its record belongs to {}", crate::remedy::user_name(owner)),
            owner: Some(crate::remedy::sudo_name(owner)),
            fix: None,
        },
        _ => Kept {
            reason: format!("{cannot}: {} may not be read", crate::text::printable_path(&path)),
            owner: None,
            fix: crate::remedy::for_file(&err, &path),
        },
    })
}

/// The other wallet that the configuration of `home` names since its session began, where one runs that pays any.
pub fn other_wallet(home: &Home, env: &Env) -> Option<OtherWallet> {
    let file = home.config_file();
    let mining = Config::load(&Sources { file: &file, text: None, env, flags: &[] }).ok()?.mining;
    let record = Sidecar::read(&home.sidecar_file()).ok()??;
    let own = record.pearlbed.filter(|own| !own.attached)?;
    let (pays, configured) = (own.pays, mining.paid());
    let drifted = !pays.is_empty() && !configured.is_empty() && pays != configured;
    (drifted && live_holder(home).is_some())
        .then(|| OtherWallet { pays: pays.join(", "), configured: configured.join(", ") })
}

/// Who holds the lock, if that process still runs.
pub fn live_holder(home: &Home) -> Option<Holder> {
    lock::live_holder(home)
}

fn unknown(reason: &str, hint: &str, pid: Option<u32>) -> Report {
    Report {
        condition: "unknown".into(),
        reason: Some(reason.into()),
        hint: Some(hint.into()),
        supervisor_pid: pid,
        ..Report::without_session(State::Running)
    }
}

fn without_supervisor(home: &Home, env: &Env) -> Report {
    let record = match Sidecar::read(&home.sidecar_file()) {
        Ok(record) => record,
        Err(err) => {
            let report = remains(home, env, None);
            let hint = match &err {
                SidecarError::Corrupt { .. } => {
                    Some("`pearlbed start` sets it aside, `pearlbed stop` removes it".into())
                }
                err => err.hint(),
            };
            return Report { reason: Some(format!("nothing runs; {}", chain(&err))), hint, ..report };
        }
    };
    match record {
        Some(record) if record.pearlbed.as_ref().is_none_or(|own| own.attached) => {
            of_others(home, env, &record)
        }
        record => {
            let dead = record
                .and_then(|record| record.pearlbed)
                .map(|own| own.supervisor)
                .or(lock::holder(&home.lock_file()).map(|holder| holder.supervisor));
            let report = remains(home, env, dead.as_ref());
            let Some(dead) = dead else { return report };
            let last_word = report.last_session.as_ref().map(|last| last.ended_at).or(report.since);
            Report {
                reason: Some(past::how_it_ended(&dead, last_word)),
                hint: Some("`pearlbed logs` shows its last words, `pearlbed start` starts anew".into()),
                ..report
            }
        }
    }
}

/// The state that follows from what lies in the home folder.
fn remains(home: &Home, env: &Env, left_behind: Option<&ProcessIdentity>) -> Report {
    // Of a session that ended without a word, its own counts or none.
    let last = match left_behind {
        Some(dead) => past::of(home, dead),
        None => past::read(home),
    };
    let file = home.config_file();
    let config = Config::load(&Sources { file: &file, text: None, env, flags: &[] });
    // A configuration that cannot be used is one all the same.
    let configured = config.as_ref().map_or(true, |config| config.configured);
    let state = state::of_remains(RemainingFacts {
        configured,
        left_behind: left_behind.is_some(),
        last_failed: last.as_ref().map(|last| last.failed),
    });
    let wrong = config.as_ref().err().map(|err| format!("put the configuration right first: {}", chain(err)));
    let provider = config.ok().and_then(|config| config.mining.provider);
    let (reason, hint) = match state {
        State::NotConfigured => (
            "nothing is set up yet".to_owned(),
            Some("`pearlbed init` sets it up; `pearlbed start --devnet` mines on the built-in test network"),
        ),
        State::Failed => {
            let why = last.as_ref().map_or("for an unknown reason", |last| last.reason.as_str());
            (format!("the last session failed: {why}"), Some("`pearlbed logs` shows more"))
        }
        State::Stopped => {
            let why = last.as_ref().map_or("", |last| last.reason.as_str());
            (format!("the last session was stopped: {why}"), None)
        }
        _ => ("nothing runs".to_owned(), Some("`pearlbed start` starts mining")),
    };
    let lines = log::tail(&home.log_file(), 3, |_| true).lines;
    // A record that cannot be read is none of a session that never was.
    let unread = last.is_none().then(|| past::unread(home)).flatten();
    let (reason, hint) = match unread {
        None => (reason, hint.map(str::to_owned)),
        Some((path, err)) => (
            format!(
                "{reason}; how the last session ended is not known: {} cannot be read: {err}",
                crate::text::printable_path(&path)
            ),
            crate::remedy::for_file(&err, &path).or(hint.map(str::to_owned)),
        ),
    };
    Report {
        reason: Some(reason),
        hint: wrong.or(hint),
        provider: last.as_ref().and_then(|last| last.provider.clone()).or(provider),
        since: last.as_ref().map(|last| last.ended_at),
        last_session: last,
        other_wallet: None,
        log: lines,
        ..Report::without_session(state)
    }
}

/// A miner that somebody else runs: what its record and its metrics say.
fn of_others(home: &Home, env: &Env, record: &Sidecar) -> Report {
    let attached = record.pearlbed.is_some();
    if !attached && record.foreign_life() == Life::Ended {
        let report = remains(home, env, None);
        return Report {
            reason: Some("nothing runs; another program left the record of a session that has ended".into()),
            hint: Some("`pearlbed start` replaces it".into()),
            ..report
        };
    }
    let url = record.metrics_page();
    let page = url.as_ref().map(|url| fetch(url));
    let mut proofs = ProofReport::default();
    let metrics = match &page {
        None => "it names no metrics".to_owned(),
        Some(Err(problem)) => format!("its metrics do not answer ({problem})"),
        Some(Ok(page)) => {
            let count = |name| metric(page, name).unwrap_or(0.0) as u64;
            proofs.submitted = count("pearl_gateway_shares_submitted_total");
            proofs.accepted = count("pearl_gateway_shares_accepted_total");
            proofs.found = proofs.submitted;
            "its metrics answer".to_owned()
        }
    };
    let whose = if attached { "an attached miner" } else { "a miner that another program started" };
    Report {
        provider: record.provider.clone(),
        started_at: record.started_at,
        since: record.started_at,
        proofs,
        last_proof_at: page
            .and_then(Result::ok)
            .and_then(|page| metric(&page, "pearl_gateway_last_share_timestamp"))
            .map(|at| at as u64),
        ..unknown(
            &format!("{whose} is recorded here; {metrics}, and whether it earns cannot be told from here"),
            if attached {
                "`pearlbed stop` forgets it and leaves the miner alone"
            } else {
                "the program that started it (`jarvis mine`) stops it"
            },
            None,
        )
    }
}

/// The first sample of `name` on a Prometheus page, whatever its labels.
fn metric(page: &str, name: &str) -> Option<f64> {
    page.lines().find_map(|line| {
        let rest = line.strip_prefix(name)?;
        let value = match rest.strip_prefix('{') {
            Some(labelled) => labelled.rsplit_once('}')?.1,
            None if rest.starts_with([' ', '\t']) => rest,
            None => return None,
        };
        value
            .split_ascii_whitespace()
            .next()?
            .parse()
            .ok()
            .filter(|value: &f64| value.is_finite() && *value >= 0.0)
    })
}

/// One page by plain HTTP, bounded in time and length.
fn fetch(url: &str) -> Result<String, String> {
    let url = Url::parse(url).map_err(|_| "it is no address")?;
    if url.scheme != "http" {
        return Err("only http is read".into());
    }
    let authority = url.authority(80);
    let request =
        http::Request::get(&url.path).header(http::header::HOST, &authority).body(Default::default());
    let request = request.map_err(|err| err.to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|err| err.to_string())?;
    let exchange = async {
        let stream = tokio::net::TcpStream::connect(&authority).await?;
        http::exchange(stream, request, METRICS_BYTES_MAX).await
    };
    let answer = runtime.block_on(async { tokio::time::timeout(METRICS_TIME, exchange).await });
    // A name look-up that hangs must not hold up the report.
    runtime.shutdown_background();
    let answer = answer.map_err(|_| "too slow")?.map_err(|err| err.to_string())?;
    match answer.status {
        200 => Ok(String::from_utf8_lossy(&answer.body).into_owned()),
        status => Err(format!("HTTP status {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_where_nothing_ever_was_is_not_configured() {
        let dir = tempfile::tempdir().unwrap();
        let report = look(&Home::at(dir.path()), &Env::default());
        assert_eq!(report.state, State::NotConfigured);
        assert_eq!(report.exit(), crate::exit::Exit::Stopped);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "looking leaves nothing behind");
    }

    #[test]
    fn a_configuration_that_cannot_be_used_is_not_advised_to_be_started_with() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.toml"), "[mining]\nprovidr = \"x\"\n").unwrap();
        let report = look(&Home::at(dir.path()), &Env::default());
        let hint = report.hint.unwrap();
        assert!(hint.starts_with("put the configuration right first: unknown key `providr`"), "{hint}");
    }

    #[test]
    fn a_dead_supervisor_is_a_failed_session_and_its_record_stays_for_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        std::fs::create_dir(home.runtime_dir()).unwrap();
        let record = r#"{"provider":"x","pearlbed":{"pid":1,"start_time":1,"version":"0.1.0"}}"#;
        std::fs::write(home.sidecar_file(), record).unwrap();
        let report = look(&home, &Env::default());
        assert_eq!(report.state, State::Failed);
        assert!(report.reason.unwrap().contains("process 1"));
        assert!(home.sidecar_file().exists());
    }

    #[test]
    fn a_miner_of_others_is_never_said_to_earn() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        std::fs::create_dir(home.runtime_dir()).unwrap();
        let own = std::process::id();
        std::fs::write(home.sidecar_file(), format!(r#"{{"provider":"x","gateway_pid":{own}}}"#)).unwrap();
        let report = look(&home, &Env::default());
        assert_eq!((report.condition.as_str(), report.exit()), ("unknown", crate::exit::Exit::Failed));
        std::fs::write(home.sidecar_file(), r#"{"provider":"x","gateway_pid":4194304}"#).unwrap();
        assert_eq!(look(&home, &Env::default()).exit(), crate::exit::Exit::Stopped);
    }

    #[test]
    fn metrics_are_read_by_their_whole_name() {
        let page = "# HELP a b\na_total 9\na{x=\"} 3\"} 4 1700\nb NaN\nc 1e3\n";
        assert_eq!(metric(page, "a"), Some(4.0));
        assert_eq!(metric(page, "b"), None);
        assert_eq!(metric(page, "c"), Some(1000.0));
        assert_eq!(metric(page, "d"), None);
    }
}
