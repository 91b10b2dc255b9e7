//! Ends the session of a home folder from outside, and clears away what a dead one left.
//!
//! In order: ask through the control socket; where nobody answers, SIGTERM to the process that holds the lock; where
//! that does not help in time, SIGKILL to it. Each signal goes to a process identity, never to a mere pid, and a
//! process that is not a supervisor of this home is never signalled.

use std::time::{Duration, Instant, SystemTime};

use rustix::process::Signal;

use super::control::{self, Request};
use super::lock::{Holder, LockError, SessionLock};
use super::look::{ANSWER_TIME, live_holder};
use super::past;
use super::report::{LastSession, Report};
use crate::config::{Config, Sources};
use crate::explain::Explain;
use crate::home::{Env, Home};
use crate::identity::ProcessIdentity;
use crate::sidecar::{Life, Sidecar, SidecarError, unix_seconds};

/// What a supervisor may take beyond the provider's grace period.
const TIDYING_TIME: Duration = Duration::from_secs(20);
/// Between two looks at a session that is being stopped.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long the kernel may take to end a process that was killed.
const KILL_TIME: Duration = Duration::from_secs(10);

/// What was done.
#[derive(Debug, PartialEq, Eq)]
pub struct End {
    /// The outcome.
    pub what: Ended,
    /// Lines about what was found on the way.
    pub notes: Vec<String>,
}

/// How it came out.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// Nothing ran, and nothing was left.
    Nothing,
    /// A session ended in order.
    Stopped {
        /// Its provider.
        provider: String,
        /// Its supervisor.
        pid: u32,
    },
    /// A session did not end in time and was killed.
    Killed {
        /// Its provider.
        provider: String,
        /// Its supervisor.
        pid: u32,
    },
    /// Only remains were there.
    Forgotten {
        /// What was removed.
        what: String,
    },
    /// The record of a miner of somebody else's was removed.
    Detached {
        /// Its provider.
        provider: String,
    },
}

/// Why nothing could be ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each message is its variant's documentation")]
pub enum EndError {
    #[error("process {pid} holds the session and cannot be ended")]
    Immortal { pid: u32 },
    #[error("the session's lock is held by a process that has not said who it is")]
    Nameless,
    #[error("the session that runs was started by another program ({provider})")]
    Foreign { provider: String },
    #[error("{reason}")]
    NotYours { reason: String, hint: Option<String> },
    #[error("another program recorded a session ({provider}), and whether it runs cannot be told from here")]
    ForeignUnknown { provider: String },
    #[error("the record of the session could not be removed")]
    Record {
        path: std::path::PathBuf,
        #[source]
        err: std::io::Error,
    },
}

impl Explain for EndError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Immortal { .. } => Some("does it belong to another user, or hang in the kernel?".into()),
            Self::Nameless => Some("it may be just starting: try again in a second".into()),
            Self::Foreign { .. } => Some("the program that started it (`jarvis mine stop`) stops it".into()),
            Self::ForeignUnknown { .. } => Some(
                "the program that started it stops it (`jarvis mine stop`); `pearlbed stop --forget` removes the record alone".into(),
            ),
            Self::NotYours { hint, .. } => hint.clone(),
            Self::Record { path, err } => crate::remedy::for_file(err, path),
        }
    }
}

/// Ends the session of `home`, and with `forget` also the record of one of somebody else's that may still run. Bounded by the
/// configured grace period and half a minute more, unless the session says that it waits for a block of its own: then by
/// that, and `tell` hears of it.
///
/// # Errors
///
/// [`EndError`]; then nothing of somebody else's was touched.
pub fn end(home: &Home, env: &Env, forget: bool, tell: &mut dyn FnMut(&str)) -> Result<End, EndError> {
    if let Some(kept) = super::look::kept_from(home) {
        return Err(EndError::NotYours { hint: kept.hint(home, "stop"), reason: kept.reason });
    }
    let mut notes = Vec::new();
    if let Some(holder) = live_holder(home) {
        let what = end_live(home, env, &holder, &mut notes, tell)?;
        notes.extend(left_there(home, forget)?);
        return Ok(End { what, notes });
    }
    clear(home, notes, forget)
}

fn end_live(
    home: &Home,
    env: &Env,
    holder: &Holder,
    notes: &mut Vec<String>,
    tell: &mut dyn FnMut(&str),
) -> Result<Ended, EndError> {
    let report: Option<Report> = control::ask(&home.control_socket(), &Request::Status, ANSWER_TIME)
        .ok()
        .and_then(|value| serde_json::from_value(value).ok());
    notes.extend(report.as_ref().and_then(sum));
    let contains = report.as_ref().is_some_and(|report| !report.containers.is_empty());
    let provider = report.and_then(|report| report.provider).unwrap_or_else(|| "the session".into());
    let pid = holder.supervisor.pid;
    if let Err(err) = control::ask(&home.control_socket(), &Request::Stop, ANSWER_TIME)
        && holder.supervisor.is_alive()
    {
        notes.push(format!("{err}: sending SIGTERM to process {pid}"));
        holder.supervisor.signal(Signal::TERM);
    }
    let file = home.config_file();
    let config = Config::load(&Sources { file: &file, text: None, env, flags: &[] });
    let grace = config.map_or(Duration::from_secs(10), |config| {
        let (session, container) = (config.mining.session.stop_grace, config.mining.container.stop_grace);
        if contains { session.max(container) } else { session }
    });
    let mut told = false;
    let mut deadline = Instant::now() + grace + TIDYING_TIME;
    while Instant::now() < deadline {
        if wait(&holder.supervisor, LOOK_EVERY) {
            return Ok(Ended::Stopped { provider, pid });
        }
        if let Some(why) = waits_for_block(home) {
            if !std::mem::replace(&mut told, true) {
                tell(&why);
            }
            // It ends that by itself, in its own time.
            deadline = Instant::now() + grace + TIDYING_TIME;
        }
    }
    // Its provider process goes with it.
    holder.supervisor.signal(Signal::KILL);
    if !wait(&holder.supervisor, KILL_TIME) {
        return Err(EndError::Immortal { pid });
    }
    match clear(home, Vec::new(), false) {
        Ok(end) => notes.extend(end.notes),
        Err(err) => notes.push(err.to_string()),
    }
    Ok(Ended::Killed { provider, pid })
}

/// Why a session that is being stopped waits, if it does and says so.
fn waits_for_block(home: &Home) -> Option<String> {
    let value = control::ask(&home.control_socket(), &Request::Status, ANSWER_TIME).ok()?;
    let report: Report = serde_json::from_value(value).ok()?;
    let (reason, hint) = (report.reason?, report.hint?);
    (report.condition == "stopping").then(|| format!("{reason}; {hint}"))
}

/// A session in one line: how long, how fast on average, what it found.
fn sum(report: &Report) -> Option<String> {
    let seconds = unix_seconds(SystemTime::now()).checked_sub(report.started_at?)?;
    let found = report.proofs.verified;
    let proofs = if found == 1 { "1 proof".to_owned() } else { format!("{found} proofs") };
    let time = crate::text::duration(Duration::from_secs(seconds));
    // What was claimed; what proofs bear out stands in the status.
    let rate = report.hashes as f64 / seconds as f64;
    let average = match report.hashes > 0 && seconds > 0 {
        true => format!(", at {} on average by its providers' count,", crate::text::hashrate(rate)),
        false => String::new(),
    };
    Some(format!("it ran for {time}{average} and found {proofs}"))
}

fn wait(process: &ProcessIdentity, limit: Duration) -> bool {
    process.wait_gone(limit)
}

/// Clears away what lies there without a session. The lock is held meanwhile, so that nothing of a session that
/// starts in this moment is taken for remains.
fn clear(home: &Home, mut notes: Vec<String>, forget: bool) -> Result<End, EndError> {
    let sidecar = home.sidecar_file();
    let nothing = |notes| Ok(End { what: Ended::Nothing, notes });
    if !home.lock_file().exists() && !sidecar.exists() {
        return nothing(notes);
    }
    let dead = super::lock::holder(&home.lock_file());
    let me = Holder {
        supervisor: ProcessIdentity::own(),
        socket: home.control_socket(),
        since: unix_seconds(SystemTime::now()),
    };
    let lock = match SessionLock::take(home, &me) {
        Ok(lock) => lock,
        Err(LockError::Held { .. }) => return Err(EndError::Nameless),
        // A home that cannot be written holds nothing that could be cleared.
        Err(err) => {
            notes.push(err.to_string());
            return nothing(notes);
        }
    };
    let what = clear_locked(home, dead, &mut notes, forget);
    lock.release();
    what.map(|what| End { what, notes })
}

fn clear_locked(
    home: &Home,
    dead: Option<Holder>,
    notes: &mut Vec<String>,
    forget: bool,
) -> Result<Ended, EndError> {
    let path = home.sidecar_file();
    let remove = || remove(&path).map_err(|err| EndError::Record { path: path.clone(), err });
    let record = match Sidecar::read(&path) {
        Ok(record) => record,
        Err(err @ SidecarError::Corrupt { .. }) => {
            notes.push(err.to_string());
            remove()?;
            return Ok(Ended::Forgotten { what: "a session record that was none".into() });
        }
        Err(err) => {
            notes.push(err.to_string());
            return Ok(Ended::Nothing);
        }
    };
    if let Some(record) = &record {
        let provider = record.provider.clone().unwrap_or_else(|| "without a name".into());
        match &record.pearlbed {
            Some(own) if own.attached => {
                remove()?;
                return Ok(Ended::Detached { provider });
            }
            None if record.foreign_life() == Life::Runs => return Err(EndError::Foreign { provider }),
            None if record.foreign_life() == Life::Unknown && !forget => {
                return Err(EndError::ForeignUnknown { provider });
            }
            None => {
                remove()?;
                return Ok(Ended::Forgotten { what: forgotten(&provider, record.foreign_life()) });
            }
            Some(_) => remove()?,
        }
    }
    let provider = record.as_ref().and_then(|record| record.provider.clone());
    let recorded = record.and_then(|record| record.pearlbed).map(|own| own.supervisor);
    let Some(dead) = recorded.or(dead.map(|holder| holder.supervisor)) else { return Ok(Ended::Nothing) };
    let _ = std::fs::remove_file(home.control_socket());
    let known = past::of(home, &dead);
    let ended = LastSession {
        provider: known.as_ref().and_then(|last| last.provider.clone()).or(provider),
        ended_at: known.as_ref().map_or_else(|| unix_seconds(SystemTime::now()), |last| last.ended_at),
        failed: true,
        reason: past::how_it_ended(&dead, known.as_ref().map(|last| last.ended_at)),
        proofs: known.as_ref().map(|last| last.proofs.clone()).unwrap_or_default(),
        hashes: known.as_ref().map_or(0, |last| last.hashes),
        supervisor: Some(dead.clone()),
        miners: known.map(|last| last.miners).unwrap_or_default(),
    };
    // Without the record, `status` only says less about the past.
    let _ = past::write(home, &ended);
    Ok(Ended::Forgotten { what: format!("what a dead session (process {}) had left", dead.pid) })
}

/// What there is to say of the record of another program, where one lies beside a session of ours that has just ended. With
/// `forget` it is removed, unless it is of a session that runs.
fn left_there(home: &Home, forget: bool) -> Result<Option<String>, EndError> {
    let path = home.sidecar_file();
    let Some(record) = Sidecar::read(&path).ok().flatten().filter(|record| record.pearlbed.is_none()) else {
        return Ok(None);
    };
    let provider = record.provider.as_deref().unwrap_or("without a name");
    Ok(match record.foreign_life() {
        Life::Ended => None,
        Life::Unknown if forget => {
            remove(&path).map_err(|err| EndError::Record { path: path.clone(), err })?;
            Some(format!("removed {}", forgotten(provider, Life::Unknown)))
        }
        Life::Unknown | Life::Runs => Some(format!(
            "the record of a session of another program ({provider}) is left there, for the program that started it"
        )),
    })
}

/// The record of another program's session, in words.
fn forgotten(provider: &str, life: Life) -> String {
    let whether = match life {
        Life::Ended => "that has ended",
        _ => "of which nobody here can tell whether it runs",
    };
    format!("the record of a session of another program ({provider}) {whether}")
}

/// Removes the file at `path`, also a folder without anything in it that lies in its place.
fn remove(path: &std::path::Path) -> std::io::Result<()> {
    match path.symlink_metadata()?.is_dir() {
        true => std::fs::remove_dir(path),
        false => std::fs::remove_file(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home() -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        std::fs::create_dir(home.runtime_dir()).unwrap();
        (dir, home)
    }

    fn ended(home: &Home) -> Ended {
        end(home, &Env::default(), false, &mut |_| {}).unwrap().what
    }

    #[test]
    fn stopping_nothing_is_no_error_and_leaves_no_file() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(ended(&Home::at(dir.path())), Ended::Nothing);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_stranger_with_a_recorded_pid_is_never_signalled() {
        let (_dir, home) = home();
        let mut stranger = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        // Recorded by a session whose pid the stranger has now: the start time tells them apart.
        let record = format!(
            r#"{{"provider":"x","gateway_pid":{0},"miner_loop_pid":{0},"pearlbed":{{"pid":{0},"start_time":1,"version":"0"}}}}"#,
            stranger.id()
        );
        std::fs::write(home.sidecar_file(), record).unwrap();
        assert!(matches!(ended(&home), Ended::Forgotten { .. }));
        assert!(!home.sidecar_file().exists());
        // Recorded by another program, which knows no start times: it may be its miner.
        std::fs::write(home.sidecar_file(), format!(r#"{{"gateway_pid":{}}}"#, stranger.id())).unwrap();
        assert!(matches!(end(&home, &Env::default(), false, &mut |_| {}), Err(EndError::Foreign { .. })));
        assert!(home.sidecar_file().exists());
        assert!(stranger.try_wait().unwrap().is_none(), "it still runs");
        stranger.kill().unwrap();
        stranger.wait().unwrap();
        assert!(matches!(ended(&home), Ended::Forgotten { .. }));
        assert_eq!(ended(&home), Ended::Nothing);
    }

    #[test]
    fn a_corrupt_record_is_cleared_and_an_attached_one_forgotten() {
        let (_dir, home) = home();
        std::fs::write(home.sidecar_file(), "{").unwrap();
        assert!(matches!(ended(&home), Ended::Forgotten { .. }));
        let own = r#"{"pid":1,"start_time":1,"version":"0","attached":true}"#;
        std::fs::write(home.sidecar_file(), format!(r#"{{"provider":"v","pearlbed":{own}}}"#)).unwrap();
        assert_eq!(ended(&home), Ended::Detached { provider: "v".into() });
        assert_eq!(ended(&home), Ended::Nothing);
    }
}
