//! What a confined process tried and was refused, in words.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::text;

/// The most different violations of one kind that are kept; more are only counted, so that none crowds out another kind.
const OF_A_KIND_MAX: usize = 8;
/// The longest detail that is kept, in bytes.
const DETAIL_MAX: usize = 512;

/// One kind of thing that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ViolationKind {
    /// `execve`, or `vfork` and the `clone` that is like it, which are for nothing else.
    RunProgram,
    /// `fork`, or `clone` without `CLONE_THREAD`.
    StartProcess,
    /// One more thread than the limit allows.
    StartThread,
    /// A connection or a datagram to a network address.
    Connect,
    /// A socket for a network, before any address is known.
    OpenSocket,
    /// A port or a Unix socket to be called on.
    Listen,
    /// A connection to a Unix socket.
    ConnectUnix,
    /// Opening a file for writing, or creating one.
    WriteFile,
    /// Opening a file for reading that is not granted.
    ReadFile,
    /// Making a folder, a link or a node.
    Create,
    /// Renaming a file or a folder.
    Rename,
    /// Removing a file or a folder.
    Remove,
    /// Changing a file's mode, owner, times or length.
    ChangeFile,
    /// A lease or a lock on a file, which keeps others from it.
    HoldFile,
    /// Being told of what others do with files.
    WatchFile,
    /// Open files sent to another process, which count for their user while they are under way.
    PassFiles,
    /// One more file in memory than the limit allows.
    MemoryFile,
    /// A signal to another process.
    Signal,
    /// A signal that would stop the process itself.
    StopItself,
    /// Looking into another process.
    Trace,
    /// The priority or the processors of another process.
    Steer,
    /// io_uring, which would do all of this unseen.
    IoUring,
    /// Leaving its session, its limits or its watch.
    Escape,
    /// What only an administrator may do.
    Administer,
    /// Shared memory, message queues or keys that outlive the process.
    SharedObject,
    /// A share of something that all programs of the machine have together, and no limit of a process counts.
    SharedLimit,
    /// A system call of another machine or another way of calling.
    ForeignCall,
}

impl ViolationKind {
    /// What was tried, as the end of the sentence "it …".
    pub const fn tried(self) -> &'static str {
        match self {
            Self::RunProgram => "tried to run a program",
            Self::StartProcess => "tried to start a process",
            Self::StartThread => "tried to start too many threads",
            Self::Connect => "tried to open a network connection",
            Self::OpenSocket => "tried to open a socket",
            Self::Listen => "tried to listen on a socket",
            Self::ConnectUnix => "tried to connect to a Unix socket",
            Self::WriteFile => "tried to write a file",
            Self::ReadFile => "tried to read a file",
            Self::Create => "tried to create a folder or link",
            Self::Rename => "tried to rename a file",
            Self::Remove => "tried to remove a file",
            Self::ChangeFile => "tried to change a file",
            Self::HoldFile => "tried to keep others from a file",
            Self::WatchFile => "tried to watch files",
            Self::PassFiles => "tried to pass open files on",
            Self::MemoryFile => "tried to make too many files in memory",
            Self::Signal => "tried to signal a process",
            Self::StopItself => "tried to stop its own process",
            Self::Trace => "tried to trace a process",
            Self::Steer => "tried to change how another process runs",
            Self::IoUring => "tried to use io_uring",
            Self::Escape => "tried to change its confinement",
            Self::Administer => "tried to administer the system",
            Self::SharedObject => "tried to use shared memory or keys",
            Self::SharedLimit => "tried to take from what all programs share",
            Self::ForeignCall => "tried a foreign system call",
        }
    }
}

/// One thing that a confined process tried and was refused. Shown as "tried to run a program: /bin/sh".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// What was tried.
    pub kind: ViolationKind,
    /// On what: a path, an address, a process. Printable, one line, bounded; empty where there is nothing to say.
    pub what: String,
    /// How often it was tried.
    pub count: u64,
}

/// What an attempt was on whose path could not be read: there was none, or nobody left who made it.
pub(super) const UNREADABLE_PATH: &str = "a path that cannot be read";

impl Violation {
    /// Whether nobody can say what was tried: of a process that was ended in the middle of a call it may have been anything,
    /// what is allowed as well.
    pub fn is_unknown(&self) -> bool {
        self.what == UNREADABLE_PATH
    }
}

/// Whether an attempt, as [`Violation`] shows it without its count, is what the libraries of graphics drivers try on
/// their own and do well without: their caches of shaders, and the name service that the C library asks where `HOME` is
/// not set. It is told, but it is no trouble.
pub fn is_harmless(shown: &str) -> bool {
    const CACHES: [&str; 5] =
        ["/mesa_shader_cache", "/.cache/mesa", "/.nv/ComputeCache", "/.nv/GLCache", "/radv_builtin_shaders"];
    let Some((tried, what)) = shown.split_once(": ") else { return false };
    let is = |kind: ViolationKind| tried == kind.tried();
    if is(ViolationKind::ConnectUnix) {
        return matches!(what, "/var/run/nscd/socket" | "/run/nscd/socket");
    }
    let touches_a_file =
        is(ViolationKind::Create) || is(ViolationKind::WriteFile) || is(ViolationKind::ReadFile);
    touches_a_file && CACHES.iter().any(|cache| what.contains(cache))
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.tried())?;
        if !self.what.is_empty() {
            write!(f, ": {}", self.what)?;
        }
        if self.count > 1 {
            write!(f, " ({} times)", self.count)?;
        }
        Ok(())
    }
}

/// The violations of one confined process: each once with its count, in the order of their first appearance.
///
/// Clones share one record. What the record holds is bounded, whatever the process does: each kind has room of its own.
#[derive(Clone, Debug, Default)]
pub struct Violations {
    record: Arc<Mutex<Record>>,
    /// Whose attempts are recorded through this clone; 0 where nobody asked.
    process: u32,
}

#[derive(Debug, Default)]
struct Record {
    seen: Vec<(u32, Violation)>,
    left_out: u64,
    generation: u64,
}

impl Violations {
    /// The same record, for the attempts of the process `process`.
    #[must_use]
    pub fn of(&self, process: u32) -> Self {
        Self { record: Arc::clone(&self.record), process }
    }

    /// Records one attempt. `what` is made printable and cut to a bound.
    pub fn record(&self, kind: ViolationKind, what: &str) {
        let mut what = text::printable(what).into_owned();
        if what.len() > DETAIL_MAX {
            let mut end = DETAIL_MAX;
            while !what.is_char_boundary(end) {
                end -= 1;
            }
            what.truncate(end);
            what.push('…');
        }
        let mut record = self.lock();
        record.generation += 1;
        // Where it leads to says more than that there is a socket.
        if matches!(kind, ViolationKind::Connect | ViolationKind::ConnectUnix | ViolationKind::Listen) {
            record.seen.retain(|(who, seen)| *who != self.process || seen.kind != ViolationKind::OpenSocket);
        }
        let is_own = |who: &u32, seen: &Violation| *who == self.process && seen.kind == kind;
        let known = record.seen.iter_mut().find(|(who, seen)| is_own(who, seen) && seen.what == what);
        if let Some((_, seen)) = known {
            seen.count += 1;
        } else if record.seen.iter().filter(|(who, seen)| is_own(who, seen)).count() < OF_A_KIND_MAX {
            record.seen.push((self.process, Violation { kind, what, count: 1 }));
        } else {
            record.left_out += 1;
        }
    }

    /// What was recorded so far, and how many attempts found no room.
    pub fn snapshot(&self) -> (Vec<Violation>, u64) {
        let record = self.lock();
        (record.seen.iter().map(|(_, seen)| seen.clone()).collect(), record.left_out)
    }

    /// What was recorded since the last call, which is forgotten here.
    pub fn take(&self) -> Vec<Violation> {
        let mut record = self.lock();
        record.left_out = 0;
        std::mem::take(&mut record.seen).into_iter().map(|(_, seen)| seen).collect()
    }

    /// What the process `process` did since the last call, which is forgotten here, as is what others did: an attempt that
    /// is judged after its process was ended is nobody else's.
    pub fn take_of(&self, process: u32) -> Vec<Violation> {
        let mut record = self.lock();
        record.left_out = 0;
        let seen = std::mem::take(&mut record.seen);
        seen.into_iter().filter(|(who, _)| *who == process).map(|(_, seen)| seen).collect()
    }

    /// A number that grows with every attempt: where it has not changed, nothing new was tried.
    pub fn generation(&self) -> u64 {
        self.lock().generation
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Record> {
        // The record is whole between any two statements that hold it.
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_attempt_is_counted_and_the_record_stays_bounded() {
        let violations = Violations::default();
        for _ in 0..3 {
            violations.record(ViolationKind::RunProgram, "/bin/sh");
        }
        for number in 0..1000 {
            violations.record(ViolationKind::WriteFile, &format!("/tmp/{number}"));
        }
        let (seen, left_out) = violations.snapshot();
        assert_eq!(seen[0].to_string(), "tried to run a program: /bin/sh (3 times)");
        assert_eq!((seen.len(), left_out), (1 + OF_A_KIND_MAX, 1000 - OF_A_KIND_MAX as u64));
    }

    #[test]
    fn no_flood_of_one_kind_hides_another_and_nobody_answers_for_another() {
        let violations = Violations::default();
        let (hostile, honest) = (violations.of(7), violations.of(8));
        (0..1000).for_each(|number| hostile.record(ViolationKind::WriteFile, &format!("/tmp/{number}")));
        hostile.record(ViolationKind::Connect, "192.0.2.1:25");
        honest.record(ViolationKind::OpenSocket, "netlink raw");
        let seen = violations.take_of(7);
        assert_eq!(
            seen.last().map(ToString::to_string).as_deref(),
            Some("tried to open a network connection: 192.0.2.1:25")
        );
        // Judged too late to be told: whoever comes next is not blamed for it.
        hostile.record(ViolationKind::RunProgram, "/bin/sh");
        assert!(violations.take_of(9).is_empty() && violations.take().is_empty());
    }

    #[test]
    fn what_drivers_do_well_without_is_harmless_and_its_like_is_not() {
        let tried =
            |kind, what: &str| is_harmless(&Violation { kind, what: what.into(), count: 1 }.to_string());
        assert!(tried(ViolationKind::Create, "/.cache/mesa_shader_cache"));
        assert!(tried(ViolationKind::WriteFile, "/home/me/.nv/ComputeCache/index"));
        assert!(tried(ViolationKind::ConnectUnix, "/var/run/nscd/socket"));
        assert!(!tried(ViolationKind::ConnectUnix, "/run/docker.sock"));
        assert!(!tried(ViolationKind::WriteFile, "/etc/passwd"));
        assert!(!tried(ViolationKind::Remove, "/home/me/.nv/ComputeCache/index"));
        assert!(!tried(ViolationKind::Connect, "127.0.0.1:80"));
    }

    #[test]
    fn what_was_tried_is_one_printable_line_of_bounded_length() {
        let violations = Violations::default();
        violations.record(ViolationKind::WriteFile, &format!("/tmp/\x1b[2J\n{}", "é".repeat(5000)));
        let shown = violations.take()[0].to_string();
        assert!(shown.starts_with("tried to write a file: /tmp/\\u{1b}[2J\\n"), "{shown}");
        assert!(shown.len() < DETAIL_MAX + 50 && shown.ends_with('…'));
        assert!(violations.take().is_empty());
    }
}
