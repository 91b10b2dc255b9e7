//! What a user sees of a bug in pearlbed: one paragraph that says where the report lies.
//!
//! The report holds the panic message, where it happened, the program's version and a backtrace. It holds no
//! arguments, no environment and no configuration, so it can be sent to others as it is.

use std::backtrace::Backtrace;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::panic::PanicHookInfo;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::text::{printable, printable_path, wrap};

/// Replaces the default panic message of the whole process.
///
/// The report is written to `runtime`, the home's runtime folder, where that exists, else to the temporary folder. The process
/// ends as it would have ended: with status 101 when the main thread panicked.
pub fn install(command: &'static str, runtime: Option<PathBuf>) {
    std::panic::set_hook(Box::new(move |info| {
        let report = write_report(command, runtime.as_deref(), info);
        let mut paragraph =
            format!("pearlbed has a bug: `{command}` panicked, {}. ", printable(&message(info)));
        match report {
            Ok(path) => paragraph.push_str(&format!("The report is in {}.", printable_path(&path))),
            Err(err) => paragraph.push_str(&format!("No report could be written: {err}.")),
        }
        paragraph.push_str(" Nothing of yours is in it: please send it along with what you did.");
        let mut stderr = io::stderr().lock();
        for line in wrap(&paragraph, 80) {
            // Where stderr is gone there is nobody left to tell.
            let _ = writeln!(stderr, "{line}");
        }
    }));
}

/// What the panic said and where, on one line.
fn message(info: &PanicHookInfo<'_>) -> String {
    let said = info.payload_as_str().unwrap_or("something that is not text");
    match info.location() {
        Some(location) => format!("\"{said}\" at {}:{}", location.file(), location.line()),
        None => format!("\"{said}\""),
    }
}

fn write_report(command: &str, runtime: Option<&Path>, info: &PanicHookInfo<'_>) -> io::Result<PathBuf> {
    let thread = std::thread::current();
    let report = format!(
        "pearlbed {version} ({os} {arch})\ncommand: {command}\nthread: {thread}\npanic: {message}\n\n{trace}\n",
        version = env!("CARGO_PKG_VERSION"),
        os = std::env::consts::OS,
        arch = std::env::consts::ARCH,
        thread = thread.name().unwrap_or("without a name"),
        message = message(info),
        trace = Backtrace::force_capture(),
    );
    let in_runtime = runtime.filter(|dir| dir.is_dir()).map(|dir| create_report(dir, &report));
    match in_runtime {
        Some(Ok(path)) => Ok(path),
        _ => create_report(&std::env::temp_dir(), &report),
    }
}

/// Creates a new file for `report` in `dir`, for its owner alone.
fn create_report(dir: &Path, report: &str) -> io::Result<PathBuf> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let name = format!("pearlbed-crash-{}-{}.txt", now.as_millis(), std::process::id());
    let path = dir.join(name);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(&path)?.write_all(report.as_bytes())?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const CHILD: &str = "PEARLBED_TEST_PANIC_CHILD";

    /// Runs the test below in a process of its own, which is the only way to see a panic hook at work.
    fn panic_in_child(home: &Path, temporary: &Path) -> (String, Option<i32>) {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "panic::tests::child_panics", "--nocapture"])
            .env(CHILD, "1")
            .env("PEARLBED_HOME", home)
            .env("TMPDIR", temporary)
            .output()
            .unwrap();
        (String::from_utf8(output.stderr).unwrap(), output.status.code())
    }

    #[test]
    fn child_panics() {
        if std::env::var_os(CHILD).is_some() {
            install("doctor", std::env::var_os("PEARLBED_HOME").map(|home| Path::new(&home).join("runtime")));
            panic!("the \x1b[1mmoon\nis out");
        }
    }

    fn reports(dir: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(dir).unwrap();
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect()
    }

    #[test]
    fn a_panic_is_one_paragraph_that_names_the_report() {
        let home = tempfile::tempdir().unwrap();
        let temporary = tempfile::tempdir().unwrap();
        let (stderr, status) = panic_in_child(home.path(), temporary.path());
        assert_eq!(status, Some(101));
        let [report] = &reports(temporary.path())[..] else { panic!("no single report") };
        let flat = stderr.replace('\n', "");
        assert!(flat.contains(&report.file_name().unwrap().to_string_lossy().into_owned()), "{stderr}");
        assert!(stderr.contains("moon\\nis out"), "{stderr}");
        assert!(!stderr.contains('\x1b') && !stderr.contains("stack backtrace"), "{stderr}");
        assert!(stderr.lines().all(|line| line.chars().count() <= 80), "{stderr}");
        let report = std::fs::read_to_string(report).unwrap();
        assert!(report.contains("command: doctor") && report.contains("child_panics"), "{report}");
    }

    #[test]
    fn the_report_lies_in_the_runtime_folder_where_there_is_one() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("runtime")).unwrap();
        let temporary = tempfile::tempdir().unwrap();
        panic_in_child(home.path(), temporary.path());
        assert_eq!(reports(&home.path().join("runtime")).len(), 1);
        assert!(reports(temporary.path()).is_empty());
    }
}
