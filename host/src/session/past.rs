//! What a session leaves of itself: `runtime/last-session.json`, with its counts and how it ended.
//!
//! It is written as the session begins, while it lives, and at its end. So after an end without a word it holds that
//! session's own counts, a few seconds old, and never those of the one before.

use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

use super::report::{LastMiner, LastSession, Report};
use crate::home::Home;
use crate::identity::ProcessIdentity;
use crate::sidecar::unix_seconds;

fn file(home: &Home) -> PathBuf {
    home.runtime_dir().join("last-session.json")
}

/// A rig of hundreds of miners has a tenth of that, in bytes.
const BYTES_MAX: u64 = 1 << 20;

/// The record, where there is one that can be read.
pub fn read(home: &Home) -> Option<LastSession> {
    serde_json::from_slice(&crate::owned::read_at_most(&file(home), BYTES_MAX).ok()?).ok()
}

/// Why the record that is there tells nothing, and where it lies; nothing where there is none, or a good one.
pub fn unread(home: &Home) -> Option<(PathBuf, io::Error)> {
    let path = file(home);
    let err = match crate::owned::read_at_most(&path, BYTES_MAX) {
        Ok(bytes) => serde_json::from_slice::<LastSession>(&bytes).err().map(io::Error::other),
        Err(err) if err.kind() == io::ErrorKind::NotFound && !path.is_symlink() => None,
        Err(err) => Some(err),
    };
    err.map(|err| (path, err))
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
    let last = of_report(report, supervisor, how_it_ended(supervisor, None), true);
    // At once: the writer writes each word by itself, which is thousands of calls for a rig.
    crate::owned::replace_unsynced(&file(home), &serde_json::to_vec(&last)?)
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

/// How a session ended whose supervisor `dead` has said nothing: a phrase. `last_word` is when it was known to live, in
/// seconds since 1970.
pub fn how_it_ended(dead: &ProcessIdentity, last_word: Option<u64>) -> String {
    let here = ProcessIdentity::own();
    let other_boot = matches!((&dead.boot_id, &here.boot_id), (Some(then), Some(now)) if then != now);
    if other_boot && !lived_since(ProcessIdentity::booted_unix(), last_word) {
        return format!("the machine went down while the session ran (process {})", dead.pid);
    }
    format!("the supervisor (process {}) ended without a word: it was killed, or crashed", dead.pid)
}

/// Whether something lived at `last_word` that the system, which began at `boot`, has seen: a container may show other
/// boots to other processes of one and the same.
fn lived_since(boot: Option<u64>, last_word: Option<u64>) -> bool {
    matches!((boot, last_word), (Some(boot), Some(word)) if word > boot)
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
        // Whatever else lies there says nothing of the last session, and that is said.
        assert!(unread(&home).is_none());
        std::fs::write(file(&home), "{\"ended_at\":").unwrap();
        assert!(read(&home).is_none() && unread(&home).is_some());
        std::fs::remove_file(file(&home)).unwrap();
        assert!(unread(&home).is_none());
        std::fs::create_dir(file(&home)).unwrap();
        assert_eq!(unread(&home).unwrap().1.raw_os_error(), Some(libc::EISDIR));
    }

    #[test]
    fn a_machine_that_went_down_is_told_from_a_process_that_did() {
        let me = ProcessIdentity::own();
        let earlier = ProcessIdentity { boot_id: Some("another boot".into()), ..me.clone() };
        for last_word in [None, Some(1)] {
            let told = how_it_ended(&earlier, last_word);
            assert!(me.boot_id.is_none() || told.starts_with("the machine went down"), "{told}");
        }
        assert!(how_it_ended(&me, None).starts_with("the supervisor"), "of this boot");
        // A container's processes may be shown other boots than their services: what lived since the start was no boot ago.
        let now = unix_seconds(SystemTime::now());
        let told = how_it_ended(&earlier, Some(now));
        assert!(ProcessIdentity::booted_unix().is_none() || told.starts_with("the supervisor"), "{told}");
    }
}
