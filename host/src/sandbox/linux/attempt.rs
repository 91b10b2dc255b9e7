//! Judges a waiting system call: what it is, in words, and what it is answered.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{Mode, OFlags};
use rustix::process::Pid;

use super::super::violation::UNREADABLE_PATH;
use super::super::{Policy, Reading, ViolationKind as Kind, Violations};
use super::connect::{self, Destination};
use super::desk::{Answer, Desk, Notification};
use super::memory::Waiting;
use super::message::{self, Message};
use super::others;
use super::rules::{
    ATTRIBUTES, About, ESCAPES, F_NOTIFY, F_SETOWN_EX, FILE_CHANGES, IO_OF_PROCESS, LOCKS, MEMFD_SECRET,
    NEVER, SIGNAL_OWNER, SOCKET_TYPE, WRITING,
};
use crate::text::printable_path;

/// The most connections that are being made at once for one child.
const CONNECTING_MAX: usize = 32;
/// How often a message that finds no room is tried again, and for how long.
const SEND_AGAIN: std::time::Duration = std::time::Duration::from_millis(100);
/// The longest socket address, in bytes.
const ADDRESS_BYTES_MAX: u64 = 128;

/// The most timers that a process may have, and the most signals of its user that may be queued when it queues one more.
/// Together they are well below what `sandbox::child` lets a user have of them.
const TIMERS_MAX: usize = 64;
const QUEUED_MAX: u32 = 2048;
/// The first real-time signal that is not the C library's own.
const REAL_TIME_FIRST: i32 = 34;

/// How a signal is sent without a call that sends one.
const BY_FILE: &str = "by a file that is ready";

/// Decides for one child.
#[derive(Clone, Debug)]
pub struct Judge {
    /// The process that was started.
    child: u32,
    policy: Arc<Policy>,
    /// Landlock decides again about each file, by what the kernel really opens.
    landlock: bool,
    violations: Violations,
    connecting: Arc<AtomicUsize>,
    /// How many files in memory which process has made.
    memory_files: Arc<Mutex<(u32, u32)>>,
}

impl Judge {
    pub fn new(child: Pid, policy: Policy, landlock: bool, violations: Violations) -> Self {
        let child = child.as_raw_nonzero().get().unsigned_abs();
        Self {
            child,
            policy: Arc::new(policy),
            landlock,
            violations,
            connecting: Arc::default(),
            memory_files: Arc::default(),
        }
    }

    /// Decides about `notification`, records it where it is refused, and lets the child go on.
    pub fn answer(&self, notification: Notification, desk: &Desk) {
        let waiting = Waiting::new(notification.thread);
        // While it waits its process is certain; by the time of the verdict it may have been ended.
        let judge = Self { violations: self.violations.of(waiting.process()), ..self.clone() };
        judge.judge(notification, waiting, desk);
    }

    fn judge(&self, notification: Notification, waiting: Waiting, desk: &Desk) {
        if notification.arch != OWN_ARCH {
            self.violations.record(Kind::ForeignCall, &format!("number {}", notification.number));
            return desk.send(&notification, Answer::Fail(libc::ENOSYS));
        }
        if notification.number == libc::SYS_connect {
            return self.connect(notification, waiting, desk);
        }
        if notification.number == libc::SYS_sendmsg {
            return self.send_message(notification, &waiting, desk);
        }
        let answer = self.decide(&notification, &waiting, || desk.still_waits(&notification));
        desk.send(&notification, answer);
    }

    fn decide(&self, call: &Notification, waiting: &Waiting, still_waits: impl Fn() -> bool) -> Answer {
        let args = call.args;
        let int = |index: usize| args[index] as i32;
        if self.is_own_copying(call) {
            return Answer::Go;
        }
        match call.number {
            libc::SYS_execve => return self.run(waiting.path(libc::AT_FDCWD, args[0]), still_waits),
            libc::SYS_execveat => {
                self.refuse(Kind::RunProgram, &shown(waiting.path(int(0), args[1])));
                return Answer::Fail(libc::EACCES);
            }
            libc::SYS_clone if args[0] & libc::CLONE_THREAD as u64 != 0 => return self.thread(waiting),
            // A process that waits for its child to run another program wants just that.
            libc::SYS_clone if args[0] & libc::CLONE_VFORK as u64 != 0 => {
                return self.refuse(Kind::RunProgram, "");
            }
            libc::SYS_clone => return self.refuse(Kind::StartProcess, ""),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_vfork => return self.refuse(Kind::RunProgram, ""),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_fork => return self.refuse(Kind::StartProcess, ""),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_open => {
                return self.open(
                    waiting,
                    waiting.path(libc::AT_FDCWD, args[0]),
                    args[1] as u32,
                    still_waits,
                );
            }
            libc::SYS_openat => {
                return self.open(waiting, waiting.path(int(0), args[1]), args[2] as u32, still_waits);
            }
            libc::SYS_kill | libc::SYS_rt_sigqueueinfo => return self.signal(int(0), int(1), waiting),
            libc::SYS_tgkill | libc::SYS_rt_tgsigqueueinfo => return self.signal(int(0), int(2), waiting),
            libc::SYS_tkill => return self.signal(int(0), int(1), waiting),
            libc::SYS_pidfd_send_signal => {
                return self.refuse(Kind::Signal, &format!("signal {} by descriptor", int(1)));
            }
            libc::SYS_socket => return self.socket(int(0), args[1] as u32, int(2)),
            libc::SYS_socketpair => {
                let words = socket_words(int(0), args[1] as u32, int(2));
                return self.refuse(Kind::OpenSocket, &format!("a pair, {words}"));
            }
            libc::SYS_ioctl if SIGNAL_OWNER.contains(&int(1)) => return self.refuse(Kind::Signal, BY_FILE),
            libc::SYS_ioctl => {
                let file = paths_of(About::Open(0), &args, waiting);
                return self.change_files(Kind::ChangeFile, &file, still_waits);
            }
            libc::SYS_fcntl if int(1) == libc::F_SETLEASE => {
                return self.refuse_file(Kind::HoldFile, waiting.open_file(int(0)));
            }
            libc::SYS_fcntl if int(1) == F_NOTIFY => {
                return self.refuse_file(Kind::WatchFile, waiting.open_file(int(0)));
            }
            libc::SYS_fcntl if LOCKS.contains(&int(1)) => {
                return self.lock(waiting.open_file(int(0)), still_waits);
            }
            libc::SYS_flock => return self.lock(waiting.open_file(int(0)), still_waits),
            libc::SYS_memfd_create | MEMFD_SECRET => return self.memory_file(waiting),
            // Its first message may be looked at, but how many bytes went out would have to be written to memory.
            libc::SYS_sendmmsg => {
                return match message::read(waiting, args[1]) {
                    Some(Message::Loaded) => self.refuse(Kind::PassFiles, ""),
                    _ => Answer::Fail(libc::ENOSYS),
                };
            }
            libc::SYS_fcntl if int(1) == F_SETOWN_EX => return self.refuse(Kind::Signal, BY_FILE),
            libc::SYS_fcntl if int(2) > 0 && waiting.is_sibling(int(2)) => return Answer::Go,
            libc::SYS_fcntl => {
                let whom = process(int(2), waiting);
                return self.refuse(Kind::Signal, &format!("{whom}, {BY_FILE}"));
            }
            libc::SYS_bind => {
                let at = waiting.bytes(args[1], args[2].min(ADDRESS_BYTES_MAX) as usize);
                return self
                    .refuse(Kind::Listen, &at.map(|at| connect::parse(&at).to_string()).unwrap_or_default());
            }
            libc::SYS_sendto => {
                let to = waiting
                    .bytes(args[4], args[5].min(ADDRESS_BYTES_MAX) as usize)
                    .map(|to| connect::parse(&to));
                let shown = to.map_or_else(|| "an unknown address".into(), |to| to.to_string());
                self.refuse(Kind::Connect, &shown);
                return Answer::Fail(libc::EACCES);
            }
            libc::SYS_timer_create => return self.timer(waiting),
            libc::SYS_prctl => return self.refuse(Kind::Escape, &format!("prctl operation {}", int(0))),
            libc::SYS_prlimit64 => return self.refuse(Kind::Escape, &format!("resource limit {}", int(1))),
            libc::SYS_setrlimit => return self.refuse(Kind::Escape, &format!("resource limit {}", int(0))),
            libc::SYS_personality => return self.refuse(Kind::Administer, "personality"),
            libc::SYS_sched_setaffinity
            | libc::SYS_sched_setscheduler
            | libc::SYS_sched_setparam
            | libc::SYS_sched_setattr => return self.schedule(int(0), waiting),
            libc::SYS_setpriority if int(0) == libc::PRIO_PROCESS as i32 => {
                return self.schedule(int(1), waiting);
            }
            libc::SYS_ioprio_set if int(0) == IO_OF_PROCESS => return self.schedule(int(1), waiting),
            // Of many at once, which are never all its own: a user's, or a group's that others may be in.
            libc::SYS_setpriority | libc::SYS_ioprio_set => {
                return self.refuse(Kind::Steer, "all of a group or a user");
            }
            _ => {}
        }
        if let Some(&(_, kind, about)) = FILE_CHANGES.iter().find(|&&(number, ..)| number == call.number) {
            return self.change_files(kind, &paths_of(about, &args, waiting), still_waits);
        }
        if let Some(&(_, about)) = ATTRIBUTES.iter().find(|&&(number, _)| number == call.number) {
            return self.refuse_file(Kind::ReadFile, paths_of(about, &args, waiting).first().cloned());
        }
        match NEVER.iter().find(|&&(_, number, ..)| number == call.number) {
            Some(&(name, _, kind, about)) => {
                let mut what = match about {
                    About::Process(index) if args[index] as i32 != 0 => process(args[index] as i32, waiting),
                    about => paths_of(about, &args, waiting)
                        .first()
                        .map(|path| printable_path(path))
                        .unwrap_or_default(),
                };
                if matches!(kind, Kind::Administer | Kind::Escape | Kind::SharedObject | Kind::SharedLimit) {
                    what = if what.is_empty() { name.to_owned() } else { format!("{name} {what}") };
                }
                self.refuse(kind, &what)
            }
            None => self.refuse(Kind::Administer, &format!("system call {}", call.number)),
        }
    }

    /// Whether the process that was started makes a copy of itself, as it may. The copies have other numbers.
    fn is_own_copying(&self, call: &Notification) -> bool {
        let copies = match call.number {
            libc::SYS_clone => call.args[0] as u32 & (ESCAPES | libc::CLONE_VFORK as u32) == 0,
            #[cfg(target_arch = "x86_64")]
            libc::SYS_fork => true,
            _ => false,
        };
        copies && self.rules_copies(call.thread)
    }

    fn rules_copies(&self, thread: u32) -> bool {
        self.policy.copies_itself && thread == self.child
    }

    fn refuse(&self, kind: Kind, what: &str) -> Answer {
        self.violations.record(kind, what);
        Answer::Fail(libc::EPERM)
    }

    fn refuse_file(&self, kind: Kind, path: Option<PathBuf>) -> Answer {
        self.violations.record(kind, &shown(path));
        Answer::Fail(libc::EACCES)
    }

    /// What is granted takes place: Landlock looks again at what is really opened, so a path that changed since is
    /// no way out. Without Landlock this is the limitation that the module admits.
    fn go(&self, still_waits: impl Fn() -> bool) -> Answer {
        if still_waits() { Answer::Go } else { Answer::Fail(libc::EINTR) }
    }

    fn run(&self, path: Option<PathBuf>, still_waits: impl Fn() -> bool) -> Answer {
        match path {
            Some(path) if is_below(&real(&path), &self.policy.programs) => match interpreter(&path) {
                // Landlock would refuse it all the same, and nobody would know why.
                Some(interpreter) if !is_below(&real(&interpreter), &self.policy.programs) => {
                    let what = format!("{}, which runs {}", shown(Some(interpreter)), shown(Some(path)));
                    self.violations.record(Kind::RunProgram, &what);
                    Answer::Fail(libc::EACCES)
                }
                _ => self.go(still_waits),
            },
            // A program that is run by its name is looked for in one folder after the other.
            Some(path) if !self.policy.programs.is_empty() && is_missing(&path) => Answer::Fail(libc::ENOENT),
            path => self.refuse_file(Kind::RunProgram, path),
        }
    }

    fn open(
        &self,
        waiting: &Waiting,
        path: Option<PathBuf>,
        flags: u32,
        still_waits: impl Fn() -> bool,
    ) -> Answer {
        let writing = flags & WRITING != 0;
        let kind = if writing { Kind::WriteFile } else { Kind::ReadFile };
        let Some(path) = path else { return self.refuse_file(kind, None) };
        if path == Path::new("/dev/null") {
            return self.go(still_waits);
        }
        let real = real(&path);
        let policy = &self.policy;
        let may_read = |real: &Path| self.may_read(real) && !self.shows_others(&path, real, waiting);
        let granted = is_below(&real, &policy.write)
            || is_below(&real, &policy.devices)
            || (!policy.devices.is_empty() && names_own_thread(&path, waiting))
            || (!writing && (may_read(&real) || policy.listings.contains(&real)));
        if granted {
            return self.go(still_waits);
        }
        if !writing && !self.landlock && std::fs::symlink_metadata(&path).is_err() {
            return Answer::Fail(libc::ENOENT);
        }
        // Looking for a file that is not there is how programs find the one that is.
        if !writing && is_missing(&path) {
            return Answer::Fail(libc::ENOENT);
        }
        self.refuse_file(kind, Some(path))
    }

    fn may_read(&self, real: &Path) -> bool {
        match &self.policy.reading {
            Reading::Everything => true,
            Reading::System(more) => {
                is_below(real, more)
                    || is_below(real, &self.policy.programs)
                    || !is_roots_alone(real)
                        && super::files::SYSTEM.iter().chain(&super::files::HARMLESS_DEVICES).any(|root| {
                            real.starts_with(root)
                                || Path::new(root).canonicalize().is_ok_and(|root| real.starts_with(root))
                        })
            }
        }
    }

    /// Whether `path`, which leads to `real`, shows in `/proc` what is not the child's own.
    fn shows_others(&self, path: &Path, real: &Path, waiting: &Waiting) -> bool {
        match &self.policy.reading {
            Reading::System(granted) if !is_below(real, granted) => {}
            _ => return false,
        }
        // What it was granted to run is its own, too.
        let runs = !self.policy.programs.is_empty();
        let is_own = |id: u32| {
            let id = id.cast_signed();
            id > 0 && (waiting.is_sibling(id) || (runs && waiting.is_of_its_session(id)))
        };
        // Followed here, the system's own links to `/proc/self` have led to this process.
        let is_us = |id: u32| id == std::process::id() && !path.starts_with(format!("/proc/{id}"));
        others::shows_others(path, is_own) || others::shows_others(real, |id| is_own(id) || is_us(id))
    }

    fn change_files(&self, kind: Kind, paths: &[PathBuf], still_waits: impl Fn() -> bool) -> Answer {
        let within = |path: &PathBuf| is_below(&real_parent(path), &self.policy.write);
        if !paths.is_empty() && paths.iter().all(within) {
            return self.go(still_waits);
        }
        let refused = paths.iter().find(|path| !within(path)).or(paths.first());
        self.refuse_file(kind, refused.cloned())
    }

    /// A lock keeps others from a file as much as writing to it does.
    fn lock(&self, path: Option<PathBuf>, still_waits: impl Fn() -> bool) -> Answer {
        match path {
            Some(path) if is_below(&path, &self.policy.write) || is_below(&path, &self.policy.devices) => {
                self.go(still_waits)
            }
            path => self.refuse_file(Kind::HoldFile, path),
        }
    }

    /// Files in memory count for no limit unless they are mapped, so their number is bounded as their size is.
    fn memory_file(&self, waiting: &Waiting) -> Answer {
        let Some(most) = self.policy.limits.memory_files else { return Answer::Go };
        let process = waiting.process();
        let mut made = self.memory_files.lock().unwrap_or_else(PoisonError::into_inner);
        if made.0 != process {
            *made = (process, 0);
        }
        if made.1 < most {
            made.1 += 1;
            return Answer::Go;
        }
        self.violations.record(Kind::MemoryFile, &format!("more than {most}"));
        Answer::Fail(libc::EMFILE)
    }

    fn signal(&self, process_id: i32, signal: i32, waiting: &Waiting) -> Answer {
        if waiting.is_sibling(process_id) && process_id > 0 && signal == libc::SIGSTOP {
            return self.refuse(Kind::StopItself, "");
        }
        if process_id > 0 && waiting.is_sibling(process_id) {
            // Those that are queued are few for a user, and others have timers.
            let full = signal >= REAL_TIME_FIRST && waiting.queued_signals() > QUEUED_MAX;
            return if full { Answer::Fail(libc::EAGAIN) } else { Answer::Go };
        }
        if self.rules_copies(waiting.thread) && waiting.is_of_its_session(process_id) {
            return Answer::Go;
        }
        // What it was granted to run may be signalled: all of it stays in one session, and in one group.
        if !self.policy.programs.is_empty() && waiting.is_of_its_session(process_id) {
            return Answer::Go;
        }
        // Signal 0 only asks whether somebody is there.
        if signal == 0 {
            return Answer::Fail(libc::EPERM);
        }
        let whom = process(process_id, waiting);
        self.refuse(Kind::Signal, &format!("signal {signal} to {whom}"))
    }

    /// Threads are counted where a limit is set: nothing else keeps one process from using up the system's numbers.
    fn thread(&self, waiting: &Waiting) -> Answer {
        let Some(most) = self.policy.limits.threads else { return Answer::Go };
        if waiting.threads() < most {
            return Answer::Go;
        }
        self.violations.record(Kind::StartThread, &format!("more than {most}"));
        Answer::Fail(libc::EAGAIN)
    }

    /// Timers are counted for the user, each as a signal that may be under way.
    fn timer(&self, waiting: &Waiting) -> Answer {
        if waiting.timers() < TIMERS_MAX {
            return Answer::Go;
        }
        self.violations.record(Kind::SharedLimit, &format!("more than {TIMERS_MAX} timers"));
        Answer::Fail(libc::EAGAIN)
    }

    fn schedule(&self, thread: i32, waiting: &Waiting) -> Answer {
        let is_copy = self.rules_copies(waiting.thread) && waiting.is_of_its_session(thread);
        if waiting.is_sibling(thread) || is_copy {
            return Answer::Go;
        }
        self.refuse(Kind::Steer, &process(thread, waiting))
    }

    /// Hands out a socket that leads nowhere, so that the address that it is to be connected to will be known.
    fn socket(&self, family: i32, kind: u32, protocol: i32) -> Answer {
        let what = socket_words(family, kind, protocol);
        self.violations.record(Kind::OpenSocket, &what);
        match UnixStream::pair() {
            Ok((decoy, _)) if matches!(family, libc::AF_UNIX | libc::AF_INET | libc::AF_INET6) => {
                if kind & libc::SOCK_NONBLOCK as u32 != 0 {
                    let _ = decoy.set_nonblocking(true);
                }
                Answer::Descriptor(decoy.into(), kind & libc::SOCK_CLOEXEC as u32)
            }
            _ => Answer::Fail(libc::EACCES),
        }
    }

    fn connect(&self, call: Notification, waiting: Waiting, desk: &Desk) {
        let bytes = waiting.bytes(call.args[1], call.args[2].min(ADDRESS_BYTES_MAX) as usize);
        let destination =
            bytes.map_or_else(|| Destination::Other("an unknown address".into()), |b| connect::parse(&b));
        let nothing_granted = self.policy.network.is_empty() && self.policy.unix_sockets.is_empty();
        if nothing_granted || self.connecting.load(Ordering::Relaxed) >= CONNECTING_MAX {
            return desk.send(&call, self.refuse_connection(&destination));
        }
        // Names are looked up and connections made on a thread, so that the child's other threads go on.
        self.connecting.fetch_add(1, Ordering::Relaxed);
        let (judge, its_desk, its_destination) = (self.clone(), desk.clone(), destination.clone());
        let work = move || {
            let answer = if !connect::is_granted(&judge.policy, &its_destination) {
                judge.refuse_connection(&its_destination)
            } else if !its_desk.still_waits(&call) {
                Answer::Fail(libc::EINTR)
            } else {
                match connect::connect(&judge.policy, call.thread, call.args[0] as i32, &its_destination) {
                    Ok(()) => Answer::Value(0),
                    Err(err) => Answer::Fail(err.raw_os_error()),
                }
            };
            judge.connecting.fetch_sub(1, Ordering::Relaxed);
            its_desk.send(&call, answer);
        };
        if std::thread::Builder::new().name("connect".into()).spawn(work).is_err() {
            self.connecting.fetch_sub(1, Ordering::Relaxed);
            desk.send(&call, Answer::Fail(libc::EAGAIN));
        }
    }

    /// Sends the bytes of a message in the child's stead: see [`message`].
    fn send_message(&self, call: Notification, waiting: &Waiting, desk: &Desk) {
        let bytes = match message::read(waiting, call.args[1]) {
            Some(Message::Bytes(bytes)) => bytes,
            Some(Message::Loaded) => return desk.send(&call, self.refuse(Kind::PassFiles, "")),
            Some(Message::Addressed(at, len)) => {
                let to = waiting.bytes(at, len.min(ADDRESS_BYTES_MAX) as usize).map(|to| connect::parse(&to));
                let shown = to.map_or_else(|| "an unknown address".into(), |to| to.to_string());
                self.violations.record(Kind::Connect, &shown);
                return desk.send(&call, Answer::Fail(libc::EACCES));
            }
            None => return desk.send(&call, Answer::Fail(libc::EFAULT)),
        };
        let Some(socket) = connect::fetch(call.thread, call.args[0] as i32) else {
            return desk.send(&call, Answer::Fail(libc::ENOTSOCK));
        };
        if !desk.still_waits(&call) {
            return desk.send(&call, Answer::Fail(libc::EINTR));
        }
        let flags = call.args[2];
        let answer = |sent: Result<usize, rustix::io::Errno>| match sent {
            Ok(count) => Answer::Value(count as i64),
            Err(err) => Answer::Fail(err.raw_os_error()),
        };
        let sent = message::send(&socket, &bytes, flags);
        if sent != Err(rustix::io::Errno::AGAIN) || !message::waits(&socket, flags) {
            return desk.send(&call, answer(sent));
        }
        // No room, and it waits for some: on a thread, so that its other threads go on.
        if self.connecting.load(Ordering::Relaxed) >= CONNECTING_MAX {
            return desk.send(&call, Answer::Fail(libc::ENOBUFS));
        }
        self.connecting.fetch_add(1, Ordering::Relaxed);
        let (connecting, its_desk) = (Arc::clone(&self.connecting), desk.clone());
        let work = move || {
            let mut sent = Err(rustix::io::Errno::AGAIN);
            while sent == Err(rustix::io::Errno::AGAIN) && its_desk.still_waits(&call) {
                let mut fds = [rustix::event::PollFd::new(&socket, rustix::event::PollFlags::OUT)];
                let again = SEND_AGAIN.try_into().expect("a tenth of a second is a timespec");
                // Interruptions only make it try again.
                let _ = rustix::event::poll(&mut fds, Some(&again));
                sent = message::send(&socket, &bytes, flags);
            }
            connecting.fetch_sub(1, Ordering::Relaxed);
            its_desk.send(&call, answer(sent));
        };
        if std::thread::Builder::new().name("send".into()).spawn(work).is_err() {
            self.connecting.fetch_sub(1, Ordering::Relaxed);
            desk.send(&call, Answer::Fail(libc::EAGAIN));
        }
    }

    fn refuse_connection(&self, destination: &Destination) -> Answer {
        let kind = match destination {
            Destination::Unix(_) => Kind::ConnectUnix,
            Destination::Other(words) if words.starts_with('@') => Kind::ConnectUnix,
            _ => Kind::Connect,
        };
        self.violations.record(kind, &destination.to_string());
        Answer::Fail(libc::EACCES)
    }
}

#[cfg(target_arch = "x86_64")]
const OWN_ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const OWN_ARCH: u32 = 0xc000_00b7;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const OWN_ARCH: u32 = 0;

fn paths_of(about: About, args: &[u64; 6], waiting: &Waiting) -> Vec<PathBuf> {
    let int = |index: usize| args[index] as i32;
    let found = match about {
        About::Nothing | About::Process(_) => [None, None],
        About::Path(index) => [waiting.path(libc::AT_FDCWD, args[index]), None],
        About::At(index) => [waiting.path(int(index), args[index + 1]), None],
        About::Paths(from, to) => {
            [waiting.path(libc::AT_FDCWD, args[from]), waiting.path(libc::AT_FDCWD, args[to])]
        }
        About::Ats(from, to) => {
            [waiting.path(int(from), args[from + 1]), waiting.path(int(to), args[to + 1])]
        }
        About::Open(index) => [waiting.open_file(int(index)), None],
    };
    found.into_iter().flatten().collect()
}

/// A kind of socket in words.
fn socket_words(family: i32, kind: u32, protocol: i32) -> String {
    let family_name = match family {
        libc::AF_UNIX => "Unix",
        libc::AF_INET => "IPv4",
        libc::AF_INET6 => "IPv6",
        libc::AF_NETLINK => "netlink",
        libc::AF_PACKET => "packet",
        _ => "",
    };
    let kind_name = match (kind & SOCKET_TYPE) as i32 {
        libc::SOCK_STREAM => "stream",
        libc::SOCK_DGRAM => "datagram",
        libc::SOCK_RAW => "raw",
        libc::SOCK_SEQPACKET => "packet",
        _ => "other",
    };
    match family_name {
        "" => format!("address family {family}"),
        name if protocol != 0 => format!("{name} {kind_name}, protocol {protocol}"),
        name => format!("{name} {kind_name}"),
    }
}

/// A process in words.
fn process(id: i32, waiting: &Waiting) -> String {
    match id {
        0 => "its process group".into(),
        -1 => "every process".into(),
        id if id < 0 => format!("process group {}", id.unsigned_abs()),
        id if id.unsigned_abs() == std::process::id() || waiting.is_parent(id) => {
            "the process that started it".into()
        }
        id if waiting.is_sibling(id) => "itself".into(),
        id => format!("process {id}"),
    }
}

fn shown(path: Option<PathBuf>) -> String {
    path.map_or_else(|| UNREADABLE_PATH.into(), |path| printable_path(&path))
}

/// The program that runs the script at `path`, if it is one.
fn interpreter(path: &Path) -> Option<PathBuf> {
    use std::io::Read;
    let mut line = [0; 256];
    let file =
        rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty()).ok()?;
    let count = std::fs::File::from(file).read(&mut line).ok()?;
    let line = line[..count].strip_prefix(b"#!")?.split(|&byte| byte == b'\n').next()?;
    let words = line.trim_ascii_start().split(u8::is_ascii_whitespace).next()?;
    Some(PathBuf::from(OsStr::from_bytes(words)))
}

fn is_missing(path: &Path) -> bool {
    std::fs::metadata(path).is_err_and(|err| err.kind() == std::io::ErrorKind::NotFound)
}

/// Whether `path` is the name of a thread of the process that `waiting` is a thread of.
fn names_own_thread(path: &Path, waiting: &Waiting) -> bool {
    let is_own = |id: &OsStr| {
        let id = id.to_str().and_then(|id| id.parse::<i32>().ok());
        id.is_some_and(|id| id > 0 && waiting.is_sibling(id))
    };
    let parts: Vec<&OsStr> = path.iter().collect();
    match parts[..] {
        [root, proc, process, task, thread, comm] => {
            [root, proc, task, comm] == ["/", "proc", "task", "comm"].map(OsStr::new)
                && is_own(process)
                && is_own(thread)
        }
        _ => false,
    }
}

/// `path` with its links followed as far as it exists.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| real_parent(path))
}

/// `path` with the links of its folder followed: for what acts on the name and not on what it leads to.
fn real_parent(path: &Path) -> PathBuf {
    match (path.parent().and_then(|parent| parent.canonicalize().ok()), path.file_name()) {
        (Some(parent), Some(name)) => parent.join(name),
        _ => path.to_owned(),
    }
}

/// Whether `real` is for root's eyes alone in a session of root: another user's provider could not read it either. What
/// `/proc` shows of the process itself is its own.
fn is_roots_alone(real: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    if !rustix::process::geteuid().is_root() || real.starts_with("/proc") {
        return false;
    }
    let lacks =
        |path: &Path, bits: u32| std::fs::metadata(path).is_ok_and(|metadata| metadata.mode() & bits != bits);
    lacks(real, 0o004) || real.ancestors().skip(1).any(|folder| lacks(folder, 0o001))
}

fn is_below(path: &Path, granted: &[PathBuf]) -> bool {
    granted
        .iter()
        .any(|root| path.starts_with(root) || root.canonicalize().is_ok_and(|root| path.starts_with(root)))
}
