//! What a session leaves of itself: `runtime/last-session.json`, with its counts and how it ended.
//!
//! It is written as the session begins, while it lives, and at its end. So after an end without a word it holds that
//! session's own counts, a few seconds old, and never those of the one before.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::SystemTime;

use super::report::{LastMiner, LastSession, Report};
use crate::home::Home;
use crate::identity::ProcessIdentity;
use crate::sidecar::unix_seconds;

fn file(home: &Home) -> PathBuf {
    home.runtime_dir().join("last-session.json")
}

/// The record, where there is one that can be read.
pub fn read(home: &Home) -> Option<LastSession> {
    serde_json::from_slice(&crate::owned::read(&file(home)).ok()?).ok()
}

/// The record of the session whose supervisor was `dead`, where there is one.
pub fn of(home: &Home, dead: &ProcessIdentity) -> Option<LastSession> {
    read(home).filter(|last| last.supervisor.as_ref() == Some(dead))
}

/// Writes the record of a session that lives: should it end without a word, this is how.
///
/// # Errors
///
/// Where the file cannot be written. It is not synced to the disk: what it survives is the death of a process.
pub fn write_alive(home: &Home, report: &Report, supervisor: &ProcessIdentity) -> io::Result<()> {
    let last = of_report(report, supervisor, how_it_ended(supervisor), true);
    let dir = home.runtime_dir();
    let mut new = tempfile::Builder::new().prefix(".last-session-").tempfile_in(&dir)?;
    crate::owned::give_to_owner_of(&dir, new.as_file())?;
    // At once: the writer writes each word by itself, which is thousands of calls for a rig.
    new.write_all(&serde_json::to_vec(&last)?)?;
    new.persist(file(home)).map(drop).map_err(|err| err.error)
}

/// Writes the record of a session that ends, for `reason`.
///
/// # Errors
///
/// Where the file cannot be written.
pub fn write_ended(
    home: &Home,
    report: &Report,
    supervisor: &ProcessIdentity,
    reason: String,
    failed: bool,
) -> io::Result<()> {
    write(home, &of_report(report, supervisor, reason, failed))
}

/// Writes the record of a session of which only this is known.
///
/// # Errors
///
/// Where the file cannot be written.
pub fn write(home: &Home, last: &LastSession) -> io::Result<()> {
    let json = serde_json::to_vec_pretty(last).expect("plain values");
    crate::owned::replace(&file(home), &json)
}

fn of_report(report: &Report, supervisor: &ProcessIdentity, reason: String, failed: bool) -> LastSession {
    let miners = report.miners.iter().map(|miner| LastMiner {
        name: miner.name.clone(),
        provider: miner.provider.clone(),
        proofs: miner.proofs.clone(),
    });
    LastSession {
        provider: report.provider.clone(),
        ended_at: unix_seconds(SystemTime::now()),
        failed,
        reason,
        proofs: report.proofs.clone(),
        hashes: report.hashes,
        supervisor: Some(supervisor.clone()),
        miners: miners.collect(),
    }
}

/// How a session ended whose supervisor `dead` has said nothing: a phrase.
pub fn how_it_ended(dead: &ProcessIdentity) -> String {
    let here = ProcessIdentity::own();
    match (&dead.boot_id, &here.boot_id) {
        (Some(then), Some(now)) if then != now => {
            format!("the machine went down while the session ran (process {})", dead.pid)
        }
        _ => format!("the supervisor (process {}) ended without a word: it was killed, or crashed", dead.pid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::report::MinerReport;
    use crate::session::state::State;

    #[test]
    fn what_a_dead_session_left_is_its_own_and_of_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        std::fs::create_dir(home.runtime_dir()).unwrap();
        let me = ProcessIdentity::own();
        let mut report = Report::without_session(State::Running);
        report.proofs.found = 7;
        report.miners = vec![MinerReport::named("a")];
        write_alive(&home, &report, &me).unwrap();
        let last = of(&home, &me).unwrap();
        assert!(last.failed && last.reason.contains("without a word"), "{last:?}");
        assert_eq!((last.proofs.found, last.miners[0].name.as_str()), (7, "a"));
        let other = ProcessIdentity { start_time: me.start_time + 1, ..me.clone() };
        assert!(of(&home, &other).is_none());
        write_ended(&home, &report, &me, "asked to".into(), false).unwrap();
        assert_eq!(read(&home).unwrap().reason, "asked to");
        let names: Vec<_> =
            home.runtime_dir().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["last-session.json"]);
    }

    #[test]
    fn a_machine_that_went_down_is_told_from_a_process_that_did() {
        let me = ProcessIdentity::own();
        let earlier = ProcessIdentity { boot_id: Some("another boot".into()), ..me.clone() };
        let told = how_it_ended(&earlier);
        assert!(me.boot_id.is_none() || told.starts_with("the machine went down"), "{told}");
        assert!(how_it_ended(&me).starts_with("the supervisor"), "of this boot");
    }
}
