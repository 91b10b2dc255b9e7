//! Whether stderr is systemd's journal, and how a line for it begins.
//!
//! The journal stamps, names and folds lines itself. What it cannot know is how grave one is: a line that begins with
//! `<4>` is a warning to it, `<3>` an error. Nothing here writes.

use crate::home::Env;

/// How grave a line is, as syslog counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Priority {
    /// Something failed.
    Error = 3,
    /// Something to look at.
    Warning = 4,
    /// What happened.
    Info = 6,
    /// Detail.
    Debug = 7,
}

/// Whether stderr of this process is the journal's stream: `$JOURNAL_STREAM` names the device and inode of the stream
/// that a service was given, and stderr may have been sent elsewhere since.
pub fn is_stderr(env: &Env) -> bool {
    let Some(stream) = env.var("JOURNAL_STREAM") else { return false };
    let Ok(stat) = rustix::fs::fstat(std::io::stderr()) else { return false };
    stream == format!("{}:{}", stat.st_dev, stat.st_ino)
}

/// `text` with what tells the journal how grave each of its lines is.
pub fn marked(priority: Priority, text: &str) -> String {
    text.lines().map(|line| format!("<{}>{line}\n", priority as u8)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_told_by_device_and_inode() {
        let stat = rustix::fs::fstat(std::io::stderr()).unwrap();
        let stream = |stream: String| is_stderr(&Env::of([("JOURNAL_STREAM", stream)]));
        assert!(stream(format!("{}:{}", stat.st_dev, stat.st_ino)));
        assert!(!stream(format!("{}:{}", stat.st_dev, stat.st_ino + 1)));
        assert!(!stream("rubbish".into()));
        assert!(!is_stderr(&Env::default()));
    }

    #[test]
    fn every_line_says_how_grave_it_is() {
        assert_eq!(marked(Priority::Warning, "a\n  b\n"), "<4>a\n<4>  b\n");
        assert_eq!(marked(Priority::Error, "one"), "<3>one\n");
    }
}
