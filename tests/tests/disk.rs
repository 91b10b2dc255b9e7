//! Sessions on a disk that is full, or that may not be written.
//!
//! Both are made with a small file system of the test's own, which takes the right to mount one.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use pearlbed_tests::build;
use pearlbed_tests::session::Bed;

const PATIENCE: Duration = Duration::from_secs(90);

/// A file system in memory, gone when dropped, and with it the session whose home it is: after that its bed can be removed.
struct Mount(PathBuf);

impl Mount {
    /// Mounts `bytes` at `path`; says why not where that is not allowed.
    fn new(path: &Path, bytes: u64) -> Result<Self, String> {
        std::fs::create_dir_all(path).map_err(|err| err.to_string())?;
        Self::mount(&["-t", "tmpfs", "-o", &format!("size={bytes},mode=0700"), "pearlbed-test"], path)?;
        Ok(Self(path.to_owned()))
    }

    fn mount(args: &[&str], path: &Path) -> Result<(), String> {
        let output = Command::new("mount").args(args).arg(path).output().map_err(|err| err.to_string())?;
        if output.status.success() {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }

    fn read_only(&self, yes: bool) {
        let how = if yes { "remount,ro" } else { "remount,rw" };
        Self::mount(&["-o", how], &self.0).expect("what was mounted can be mounted anew");
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let mut stop = Command::new(build::pearlbed());
        let _ = stop.arg("stop").env("PEARLBED_HOME", &self.0).output();
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_costs_files_and_not_the_session() {
    let bed = Bed::new("");
    let mount = match Mount::new(&bed.home(), 4 << 20) {
        Ok(mount) => mount,
        Err(why) => return println!("skipped: no file system can be mounted here: {why}"),
    };
    assert_eq!(bed.start().code, 0, "{}", bed.log());
    bed.wait_for(PATIENCE, |status| status["proofs"]["verified"].as_u64() >= Some(1));
    // Written in small pieces: the last byte goes, too.
    let mut filler = std::fs::File::create(mount.0.join("filler")).unwrap();
    while std::io::Write::write(&mut filler, &[0; 512]).is_ok_and(|count| count > 0) {}

    let before = bed.status()["proofs"]["verified"].as_u64().unwrap();
    let status = bed.wait_for(PATIENCE, |status| status["proofs"]["verified"].as_u64() >= Some(before + 2));
    let error = status["last_error"].as_str().unwrap_or_default();
    assert!(error.contains("not on disk"), "what a crash would lose is said: {status:#}");
    assert_eq!(status["state"], "RUNNING");

    drop(filler);
    std::fs::remove_file(mount.0.join("filler")).unwrap();
    let before = status["proofs"]["verified"].as_u64().unwrap();
    bed.wait_for(PATIENCE, |status| status["proofs"]["verified"].as_u64() > Some(before));
    assert_eq!(bed.run(&["stop"]).code, 0);
    assert_eq!(bed.status()["state"], "STOPPED");
}

#[test]
fn a_home_that_may_not_be_written_fails_the_start_and_nothing_else() {
    let bed = Bed::new("");
    let mount = match Mount::new(&bed.home(), 4 << 20) {
        Ok(mount) => mount,
        Err(why) => return println!("skipped: no file system can be mounted here: {why}"),
    };
    assert_eq!(bed.start().code, 0);
    assert_eq!(bed.run(&["stop"]).code, 0);
    mount.read_only(true);
    let answer = bed.start();
    assert_eq!(answer.code, 6, "{answer:?}");
    assert!(answer.stderr.contains("cannot make") && answer.stderr.contains("Read-only"), "{answer:?}");
    assert!(answer.stderr.contains("hint: "), "{answer:?}");
    assert!(bed.processes().is_empty());
    assert_eq!(bed.status()["state"], "STOPPED");
    assert_eq!(bed.run(&["stop"]).code, 0);
    mount.read_only(false);
    assert_eq!(bed.start().code, 0);
}
