//! The session log: one line per event, bounded on disk, with no secret in it.
//!
//! ```text
//! 2026-11-23T23:59:59Z info  supervisor  the provider took its first job
//! 2026-11-23T23:59:59Z warn  provider    device 0 is hot
//! ```
//!
//! The third word says who speaks: the `supervisor`, the `provider` through its host, or what the provider process
//! printed (`output`). The log is `mining.log`; full, it becomes `mining.log.1` and so on, and all parts together
//! stay within the configured size. Text of others passes [`printable`], so that one event
//! is one line and no line acts on a terminal. The values of secrets are known here only to be blotted out.
//!
//! A disk that refuses a line costs the line, never the session; how many were lost is said as soon as one goes
//! through again.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::journal::{self, Priority};
use crate::owned;
use crate::text::printable;

/// Rotated parts beside the one that is written.
const PARTS: u64 = 3;
/// Longest line, in bytes before escapes.
const LINE_BYTES_MAX: usize = 2048;
/// What is longer in a log that is read is no line of ours, whatever was escaped in it, in bytes.
const LINE_READ_MAX: usize = 64 << 10;
/// So much of a log is read at a time, in bytes.
const BLOCK_BYTES: u64 = 64 << 10;
/// So much of what was appended is read at a time, in bytes.
const FOLLOWED_BYTES: u64 = 4 << 20;
/// Shorter values are not blotted out: they would tear holes into ordinary text.
const SECRET_BYTES_MIN: usize = 4;

pub use crate::miner::effect::{Level, Speaker};

/// Whether and how each line is repeated on stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Echo {
    /// Not at all: nobody is there.
    No,
    /// As it is in the file.
    Plain,
    /// As systemd's journal wants it: with its priority in front, and without the time, which it stamps itself.
    Journal,
}

/// The log that is being written.
#[derive(Debug)]
pub struct SessionLog {
    path: PathBuf,
    file: Option<File>,
    size: u64,
    size_max: u64,
    secrets: Vec<String>,
    echo: Echo,
    lost: u64,
    /// Why a line was lost last, until one goes through.
    refused: Option<String>,
    recent: std::collections::VecDeque<String>,
}

impl SessionLog {
    /// Opens the log at `path`, whose parts together may take `size_max` bytes.
    ///
    /// # Errors
    ///
    /// Where the folder or the file cannot be made.
    pub fn open(path: &Path, size_max: u64, echo: Echo) -> io::Result<Self> {
        let file = open_for_append(path)?;
        let size = file.metadata()?.len();
        Ok(Self {
            path: path.to_owned(),
            file: Some(file),
            size,
            size_max,
            secrets: Vec::new(),
            echo,
            lost: 0,
            refused: None,
            recent: std::collections::VecDeque::new(),
        })
    }

    /// Blots `value` out of every later line.
    pub fn hide(&mut self, value: &str) {
        if value.len() >= SECRET_BYTES_MIN && !self.secrets.iter().any(|known| known == value) {
            self.secrets.push(value.to_owned());
        }
    }

    /// Changes the bound for all parts together.
    pub fn set_size_max(&mut self, size_max: u64) {
        self.size_max = size_max;
    }

    /// Opens the log anew: where somebody has moved it away, the next line goes to a new file of its name.
    pub fn reopen(&mut self) {
        self.file = None;
        self.size = 0;
    }

    /// Whether the lines go to the file of its name still, and nobody has removed or replaced it.
    pub fn is_there(&self) -> bool {
        // Just moved away by us, it is opened with the next line.
        self.file.as_ref().is_none_or(|file| owned::file_id(&self.path) == owned::id_of(file))
    }

    /// Why lines are lost, if they are.
    pub fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// The last few lines, for `status`.
    pub fn recent(&self) -> impl Iterator<Item = &str> {
        self.recent.iter().map(String::as_str)
    }

    /// Writes one line.
    pub fn line(&mut self, level: Level, speaker: Speaker, text: &str) {
        self.line_at(SystemTime::now(), level, speaker, text);
    }

    fn line_at(&mut self, now: SystemTime, level: Level, speaker: Speaker, text: &str) {
        let clipped = crate::miner::frame::clip(text, LINE_BYTES_MAX);
        let mut text = printable(clipped).into_owned();
        if clipped.len() < text.len() && clipped.len() == LINE_BYTES_MAX {
            text.push('…');
        }
        for secret in &self.secrets {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), "[hidden]");
            }
        }
        let line = format!("{} {:<5} {:<10}  {text}\n", timestamp(now), level.word(), speaker.word());
        if self.lost > 0 {
            let confession = format!(
                "{} warn  supervisor  {} lines were lost: the disk refused them\n",
                timestamp(now),
                self.lost
            );
            if self.write(&confession).is_ok() {
                self.lost = 0;
            }
        }
        match self.write(&line) {
            Ok(()) => self.refused = None,
            Err(err) => {
                self.lost += 1;
                self.refused = Some(err.to_string());
            }
        }
        let echo = match self.echo {
            Echo::No => None,
            Echo::Plain => Some(line.clone()),
            Echo::Journal => {
                Some(journal::marked(priority(level), &format!("{:<10}  {text}", speaker.word())))
            }
        };
        if let Some(echo) = echo {
            // Where stderr is gone there is nobody left to tell.
            let _ = anstream::stderr().lock().write_all(echo.as_bytes());
        }
        if self.recent.len() == 8 {
            self.recent.pop_front();
        }
        self.recent.push_back(line.trim_end().to_owned());
    }

    fn write(&mut self, line: &str) -> io::Result<()> {
        let part_max = (self.size_max / (PARTS + 1)).max(LINE_BYTES_MAX as u64 * 4);
        if self.size + line.len() as u64 > part_max {
            self.rotate()?;
        }
        if self.file.is_none() {
            let file = open_for_append(&self.path)?;
            self.size = file.metadata()?.len();
            self.file = Some(file);
        }
        let file = self.file.as_mut().expect("it was opened just above");
        // One write per line: a reader and a crash see it whole or not at all.
        let written = file.write(line.as_bytes())?;
        self.size += written as u64;
        if written < line.len() { Err(io::ErrorKind::WriteZero.into()) } else { Ok(()) }
    }

    fn rotate(&mut self) -> io::Result<()> {
        for part in (1..PARTS).rev() {
            match std::fs::rename(part_path(&self.path, part), part_path(&self.path, part + 1)) {
                Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
                _ => {}
            }
        }
        std::fs::rename(&self.path, part_path(&self.path, 1))?;
        self.file = None;
        self.size = 0;
        Ok(())
    }
}

/// How the journal counts what we call grave.
const fn priority(level: Level) -> Priority {
    match level {
        Level::Error => Priority::Error,
        Level::Warn => Priority::Warning,
        Level::Info => Priority::Info,
        Level::Debug => Priority::Debug,
    }
}

fn open_for_append(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        owned::create_private(folder)?;
    }
    open_to_append(path)
}

/// Opens the log at `path`, in a folder that is there, and makes it where it is missing. Also what is no file: whoever has put
/// a link to `/dev/null` or to a container's output there means it.
///
/// # Errors
///
/// As [`owned::open_or_make`], and where nobody reads a pipe's other end, for which nobody waits.
pub fn open_to_append(path: &Path) -> io::Result<File> {
    let options = &mut File::options();
    match owned::open_or_make(path, options.append(true)) {
        Err(err) if err.kind() == io::ErrorKind::InvalidInput => {
            options.custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path).map_err(|_| err)
        }
        opened => opened,
    }
}

/// Why a session could not write to what lies in the place of the log at `path`; nothing where nothing does.
pub fn unusable(path: &Path) -> Option<io::Error> {
    let there = path.is_symlink() || path.exists();
    if !there {
        return None;
    }
    File::options().append(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path).err()
}

fn part_path(path: &Path, part: u64) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{part}"));
    name.into()
}

/// `2026-11-23T23:59:59Z`.
pub fn timestamp(at: SystemTime) -> String {
    // A clock before 1970 would make the formatting fail.
    humantime::format_rfc3339_seconds(at.max(UNIX_EPOCH)).to_string()
}

/// Whether a line of the log came from the provider or its process.
pub fn is_from_provider(line: &str) -> bool {
    matches!(line.split_ascii_whitespace().nth(2), Some("provider" | "output"))
}

/// The end of a log.
#[derive(Debug, Default)]
pub struct Tail {
    /// Its last lines, oldest first.
    pub lines: Vec<String>,
    /// The newest part of it that is there and cannot be read, and why.
    pub unread: Option<(PathBuf, io::Error)>,
}

/// The last `count` lines that `keep` wants, from all parts of the log at `path`; none where there is none. A part that cannot
/// be read costs its own lines. Of a part in which somebody has written what is no line of ours the rest is passed over.
pub fn tail(path: &Path, count: usize, keep: impl Fn(&str) -> bool) -> Tail {
    let mut tail = Tail::default();
    for part in 0..=PARTS {
        if tail.lines.len() >= count {
            break;
        }
        let part = if part == 0 { path.to_owned() } else { part_path(path, part) };
        let wanted = count - tail.lines.len();
        match owned::open(&part).and_then(|mut file| last_lines(&mut file, wanted, &keep)) {
            Ok(lines) => tail.lines.extend(lines),
            Err(err) if err.kind() == io::ErrorKind::NotFound => {}
            Err(err) => _ = tail.unread.get_or_insert((part, err)),
        }
    }
    tail.lines.reverse();
    tail
}

/// The last `wanted` lines of `file` that `keep` wants, newest first, read from its end on, however long it is.
fn last_lines(file: &mut File, wanted: usize, keep: &impl Fn(&str) -> bool) -> io::Result<Vec<String>> {
    let mut at = file.seek(SeekFrom::End(0))?;
    let mut found = Vec::new();
    // What was read of a line whose beginning lies before `at`.
    let mut rest: Vec<u8> = Vec::new();
    let mut is_end = true;
    while found.len() < wanted && at > 0 && rest.len() <= LINE_READ_MAX {
        let size = at.min(BLOCK_BYTES);
        at -= size;
        file.seek(SeekFrom::Start(at))?;
        let mut block = Vec::new();
        Read::take(&mut *file, size).read_to_end(&mut block)?;
        block.append(&mut rest);
        rest = block;
        while found.len() < wanted {
            // The first line has none before it.
            let start = match memchr::memrchr(b'\n', &rest) {
                Some(newline) => newline + 1,
                None if at == 0 => 0,
                None => break,
            };
            let line = String::from_utf8_lossy(&rest[start..]);
            // Behind the last newline there is no line yet.
            if !(is_end && line.is_empty()) && keep(&line) {
                found.push(line.into_owned());
            }
            is_end = false;
            if start == 0 {
                break;
            }
            rest.truncate(start - 1);
        }
    }
    Ok(found)
}

/// Reads what is appended to a log from now on, also after it was rotated away.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    file: Option<File>,
    rest: Vec<u8>,
}

impl Follower {
    /// Follows the log at `path` from its present end; it need not exist yet.
    ///
    /// # Errors
    ///
    /// Where it is there and cannot be read.
    pub fn from_end(path: &Path) -> io::Result<Self> {
        let file = match owned::open(path) {
            Ok(mut file) => {
                file.seek(SeekFrom::End(0))?;
                Some(file)
            }
            Err(err) if err.kind() == io::ErrorKind::NotFound => None,
            Err(err) => return Err(err),
        };
        Ok(Self { path: path.to_owned(), file, rest: Vec::new() })
    }

    /// The whole lines that have come since the last call.
    ///
    /// # Errors
    ///
    /// Where reading fails.
    pub fn read(&mut self) -> io::Result<Vec<String>> {
        let mut lines = Vec::new();
        // One rotation between two calls is the rule; more of them than there are parts would mean lines that no
        // longer exist anywhere.
        for _ in 0..=PARTS {
            if let Some(file) = &mut self.file {
                Read::take(&mut *file, FOLLOWED_BYTES).read_to_end(&mut self.rest)?;
                while let Some(end) = self.rest.iter().position(|&byte| byte == b'\n') {
                    let line: Vec<u8> = self.rest.drain(..=end).collect();
                    lines.push(String::from_utf8_lossy(&line[..end]).into_owned());
                }
                if self.rest.len() > LINE_READ_MAX {
                    self.rest.clear();
                }
            }
            let now = match owned::open(&self.path) {
                Ok(file) => file,
                Err(err) if err.kind() == io::ErrorKind::NotFound => break,
                Err(err) => return Err(err),
            };
            if self.file.as_ref().is_some_and(|held| owned::id_of(held) == owned::id_of(&now)) {
                break;
            }
            self.file = Some(now);
            self.rest.clear();
        }
        Ok(lines)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn timestamps_are_those_of_the_calendar() {
        for (seconds, shown) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_477_409, "2026-11-23T23:43:29Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(timestamp(at(seconds)), shown);
        }
    }

    #[test]
    fn the_end_of_a_log_is_found_however_long_it_is_and_a_part_that_is_none_costs_its_own_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mining.log");
        let lines = |count: usize| tail(&path, count, |_| true).lines;
        assert!(lines(9).is_empty());
        for (text, shown) in [
            ("", &[][..]),
            ("\n", &[""]),
            ("one", &["one"]),
            ("one\n", &["one"]),
            ("one\n\ntwo\nthree", &["", "two", "three"]),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(lines(3), shown, "{text:?}");
        }
        // Across many blocks, each line as it was written.
        let all: Vec<String> =
            (0..9000).map(|number| format!("{number} {}", "x".repeat(number % 60))).collect();
        std::fs::write(&path, all.join("\n") + "\n").unwrap();
        assert_eq!(lines(9000), all);
        assert_eq!(tail(&path, 2, |line| line.starts_with("77")).lines, all[7798..7800]);
        // Somebody has grown it: what is before the lines is none, and nobody reads it.
        std::fs::write(&path, "before\n").unwrap();
        let file = File::options().append(true).open(&path).unwrap();
        file.set_len(1 << 40).unwrap();
        (&file).write_all(b"\nbehind\n").unwrap();
        assert_eq!(lines(9), ["behind"]);
        // Of the older parts one is a folder.
        std::fs::create_dir(part_path(&path, 1)).unwrap();
        std::fs::write(part_path(&path, 2), "older\n").unwrap();
        let tail = tail(&path, 9, |_| true);
        assert_eq!(tail.lines, ["older", "behind"]);
        let (part, err) = tail.unread.unwrap();
        assert_eq!((part, err.raw_os_error()), (part_path(&path, 1), Some(libc::EISDIR)));
    }

    #[test]
    fn what_somebody_has_put_in_the_place_of_the_log_is_used_where_it_takes_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mining.log");
        assert!(unusable(&path).is_none());
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        assert!(unusable(&path).is_none());
        open_to_append(&path).unwrap().write_all(b"a line").unwrap();
        std::fs::remove_file(&path).unwrap();
        let _nobody = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(unusable(&path).is_some());
        assert_eq!(open_to_append(&path).unwrap_err().to_string(), "it is a socket, and no file");
    }

    #[test]
    fn lines_of_others_stay_one_line_and_secrets_are_blotted_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logs/mining.log");
        let mut log = SessionLog::open(&path, 1 << 20, Echo::No).unwrap();
        log.hide("hunter2!");
        log.hide("x");
        log.line_at(at(0), Level::Warn, Speaker::Provider, "a\nb \x1b[31m hunter2! x");
        log.line_at(at(1), Level::Info, Speaker::Supervisor, "done");
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            text,
            "1970-01-01T00:00:00Z warn  provider    a\\nb \\u{1b}[31m [hidden] x\n\
             1970-01-01T00:00:01Z info  supervisor  done\n"
        );
        assert_eq!(tail(&path, 9, is_from_provider).lines.len(), 1);
        assert_eq!(tail(&path, 1, |_| true).lines, ["1970-01-01T00:00:01Z info  supervisor  done"]);
    }

    #[test]
    fn a_log_that_was_removed_goes_on_in_a_new_file_and_one_that_cannot_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logs/mining.log");
        let mut log = SessionLog::open(&path, 1 << 20, Echo::No).unwrap();
        assert!(log.is_there());
        std::fs::remove_dir_all(dir.path().join("logs")).unwrap();
        assert!(!log.is_there());
        log.reopen();
        log.line(Level::Info, Speaker::Supervisor, "one");
        assert!(log.is_there() && log.refused().is_none());
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        log.reopen();
        log.line(Level::Info, Speaker::Supervisor, "two");
        assert!(log.refused().unwrap().contains("Is a directory"), "{:?}", log.refused());
        std::fs::remove_dir(&path).unwrap();
        log.line(Level::Info, Speaker::Supervisor, "three");
        assert!(log.refused().is_none());
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("1 lines were lost") && text.contains("three"), "{text}");
    }

    #[test]
    fn all_parts_together_stay_within_the_bound_and_the_tail_spans_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mining.log");
        let bound = 64 << 10;
        let mut log = SessionLog::open(&path, bound, Echo::No).unwrap();
        for number in 0..3000 {
            log.line(Level::Info, Speaker::Provider, &format!("line {number} {}", "x".repeat(60)));
        }
        let sizes: u64 = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .sum();
        assert!(sizes <= bound, "{sizes}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count() as u64, PARTS + 1);
        let lines = tail(&path, 300, |_| true).lines;
        assert_eq!(lines.len(), 300);
        assert!(lines[299].contains("line 2999 ") && lines[0].contains("line 2700 "), "{}", lines[0]);
    }

    #[test]
    fn a_follower_loses_no_line_when_the_log_is_rotated() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mining.log");
        let mut follower = Follower::from_end(&path).unwrap();
        let mut log = SessionLog::open(&path, 64 << 10, Echo::No).unwrap();
        let mut seen = Vec::new();
        for number in 0..1000 {
            log.line(Level::Info, Speaker::Supervisor, &format!("line {number}."));
            if number % 50 == 0 {
                seen.extend(follower.read().unwrap());
            }
        }
        seen.extend(follower.read().unwrap());
        let numbers: Vec<_> = seen.iter().map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect();
        let wanted: Vec<_> = (0..1000).map(|number| format!("{number}.")).collect();
        assert_eq!(numbers, wanted);
    }
}
