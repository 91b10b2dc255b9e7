//! Reads the arguments of a waiting system call from the memory of the child.

use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};

use rustix::process::Pid;

/// The longest path that Linux takes, in bytes, with its end.
const PATH_MAX: usize = 4096;

/// One thread of the child, while it waits for an answer.
#[derive(Debug)]
pub struct Waiting {
    /// The thread's id.
    pub thread: u32,
    memory: Option<File>,
}

impl Waiting {
    pub fn new(thread: u32) -> Self {
        // Kept open: if the thread dies and its number is given away, this still reads nothing of another process.
        Self { thread, memory: File::open(format!("/proc/{thread}/mem")).ok() }
    }

    /// `count` bytes at `address`.
    pub fn bytes(&self, address: u64, count: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.memory.as_ref()?.read_exact_at(&mut bytes, address).ok()?;
        Some(bytes)
    }

    /// The bytes at `address` up to a zero byte.
    fn text(&self, address: u64) -> Option<Vec<u8>> {
        let mut text = vec![];
        while text.len() < PATH_MAX {
            // Never over the end of a page: the next one may not be there.
            let at = address.checked_add(text.len() as u64)?;
            let mut part = [0; 256];
            let count = part.len().min(4096 - (at % 4096) as usize);
            self.memory.as_ref()?.read_exact_at(&mut part[..count], at).ok()?;
            match part[..count].iter().position(|&byte| byte == 0) {
                Some(end) => {
                    text.extend_from_slice(&part[..end]);
                    return Some(text);
                }
                None => text.extend_from_slice(&part[..count]),
            }
        }
        Some(text)
    }

    /// The absolute path that the child means by the path at `address` relative to the folder `folder`.
    pub fn path(&self, folder: i32, address: u64) -> Option<PathBuf> {
        let text = if address == 0 { vec![] } else { self.text(address)? };
        let path = Path::new(std::ffi::OsStr::from_bytes(&text));
        if path.is_absolute() {
            return Some(self.tidy(path));
        }
        let folder = if folder == libc::AT_FDCWD {
            std::fs::read_link(format!("/proc/{}/cwd", self.thread)).ok()?
        } else {
            self.open_file(folder)?
        };
        Some(if text.is_empty() { folder } else { self.tidy(&folder.join(path)) })
    }

    /// The file that the child has open as `descriptor`.
    pub fn open_file(&self, descriptor: i32) -> Option<PathBuf> {
        std::fs::read_link(format!("/proc/{}/fd/{descriptor}", self.thread)).ok()
    }

    /// `path` without `.` and `..`, and with the child's own name for itself made ours. Links are left alone.
    fn tidy(&self, path: &Path) -> PathBuf {
        let mut tidy = PathBuf::new();
        for part in path.components() {
            match part {
                Component::ParentDir => {
                    tidy.pop();
                }
                Component::CurDir => {}
                part => tidy.push(part),
            }
        }
        match tidy.strip_prefix("/proc/self").or_else(|_| tidy.strip_prefix("/proc/thread-self")) {
            Ok(rest) => Path::new("/proc").join(self.thread.to_string()).join(rest),
            Err(_) => tidy,
        }
    }

    /// Whether `thread` is a thread of the same process.
    pub fn is_sibling(&self, thread: i32) -> bool {
        thread == 0 || (thread > 0 && Path::new(&format!("/proc/{}/task/{thread}", self.thread)).exists())
    }

    /// How many threads the process has.
    pub fn threads(&self) -> u32 {
        self.status("Threads:").unwrap_or(0)
    }

    /// The process that the thread is of; 0 where it has ended meanwhile.
    pub fn process(&self) -> u32 {
        self.status("Tgid:").unwrap_or(0)
    }

    /// Whether the process `id` started this one.
    pub fn is_parent(&self, id: i32) -> bool {
        self.status("PPid:").is_some_and(|parent| i64::from(parent) == i64::from(id))
    }

    /// How many timers the process has, where the kernel lists them.
    pub fn timers(&self) -> usize {
        let list = crate::text::read_lossy(format!("/proc/{}/timers", self.thread)).unwrap_or_default();
        list.lines().filter(|line| line.starts_with("ID:")).count()
    }

    /// How many signals of its user are queued.
    pub fn queued_signals(&self) -> u32 {
        let status = crate::text::read_lossy(format!("/proc/{}/status", self.thread)).unwrap_or_default();
        let queue = status
            .lines()
            .find_map(|line| line.strip_prefix("SigQ:")?.split('/').next()?.trim().parse().ok());
        queue.unwrap_or(0)
    }

    fn status(&self, name: &str) -> Option<u32> {
        let status = crate::text::read_lossy(format!("/proc/{}/status", self.thread)).ok()?;
        status.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok()
    }

    /// Whether the process `id`, or the group `-id`, is of the session of this one. Such a session has one group.
    pub fn is_of_its_session(&self, id: i32) -> bool {
        let session = |id: i32| Pid::from_raw(id).and_then(|id| rustix::process::getsid(Some(id)).ok());
        let Some(own) = i32::try_from(self.thread).ok().and_then(session) else { return false };
        match id {
            0 => true,
            id if id > 0 => session(id) == Some(own),
            id => id.checked_neg() == Some(own.as_raw_nonzero().get()),
        }
    }
}
