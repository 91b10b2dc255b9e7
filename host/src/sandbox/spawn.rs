//! The parent's half: starts a child, sends it its policy, watches what it tries, ends it for good.

use std::ffi::OsString;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags};
use rustix::process::{Pid, Signal, WaitIdOptions};

use super::ending::Ending;
use super::{Capture, Policy, Report, Violations, platform};
use crate::text;

/// How long a child may take to confine itself, before any foreign code runs.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// How often it is asked meanwhile whether it still lives: not every system tells its death on the channel.
const HANDSHAKE_LOOK: Duration = Duration::from_millis(100);
/// How long a killed child is waited for.
const KILL_LIMIT: Duration = Duration::from_secs(1);
/// The largest message of the handshake, in bytes.
pub(super) const HANDSHAKE_BYTES_MAX: usize = 160 * 1024;
/// What every handshake begins with, so that a person who runs the hidden subcommand is told and nothing else happens.
pub(super) const MAGIC: &[u8] = b"pearlbed-sandbox 1\n";
/// What the parent sends once it has read the report, and only then the child goes on.
pub(super) const GO: [u8; 1] = *b"\n";

/// How a child's listener is received: whatever this process starts afterwards must not have it.
#[cfg(target_os = "linux")]
const CLOSED_ON_EXEC: RecvFlags = RecvFlags::CMSG_CLOEXEC;
/// As on Linux, where descriptors are never passed.
#[cfg(not(target_os = "linux"))]
const CLOSED_ON_EXEC: RecvFlags = RecvFlags::empty();

/// What the channel between parent and child carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Messages whose bounds are kept, so that foreign bytes cannot merge with ours.
    Packets,
    /// A stream of bytes.
    Stream,
}

/// Which child to start: this program again, under one of its hidden subcommands.
#[derive(Clone, Debug)]
pub struct Command {
    program: PathBuf,
    args: Vec<OsString>,
    title: OsString,
    env: Vec<(OsString, OsString)>,
    channel: Channel,
    capture_bytes: usize,
}

impl Command {
    /// This program under the hidden subcommand `subcommand`, with an empty environment.
    ///
    /// # Errors
    ///
    /// Where the system cannot say which file this program is.
    pub fn this_program(subcommand: &str) -> io::Result<Self> {
        // On Linux the link leads to the file that runs here, even after an update replaced it.
        let program =
            if cfg!(target_os = "linux") { "/proc/self/exe".into() } else { std::env::current_exe()? };
        Ok(Self {
            program,
            args: vec![subcommand.into()],
            title: "pearlbed".into(),
            env: vec![],
            channel: Channel::Packets,
            capture_bytes: 64 * 1024,
        })
    }

    /// The same with another program file, which must be a `pearlbed`: for tests and benchmarks.
    #[must_use]
    pub fn program(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = program.into();
        self
    }

    /// What the process is called where processes are listed; `pearlbed` unless said otherwise. No secrets.
    #[must_use]
    pub fn title(mut self, title: impl Into<OsString>) -> Self {
        self.title = title.into();
        self
    }

    /// One more argument. Arguments are visible to every user of the machine: no secrets.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// One variable of the otherwise empty environment. The foreign code reads it: no secrets.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// What the channel carries; packets unless said otherwise.
    #[must_use]
    pub fn channel(mut self, channel: Channel) -> Self {
        self.channel = channel;
        self
    }

    /// How much of each of stdout and stderr is kept until it is taken; 64 KiB unless said otherwise.
    #[must_use]
    pub fn capture_bytes(mut self, bytes_max: usize) -> Self {
        self.capture_bytes = bytes_max;
        self
    }
}

/// Why no confined child was started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each message is its variant's documentation")]
pub enum SpawnError {
    #[error("failed to start `{}` as a confined process", text::printable_path(program))]
    Start {
        program: PathBuf,
        #[source]
        err: io::Error,
    },
    #[error("failed to speak with the confined process while it confined itself")]
    Handshake(#[source] io::Error),
    #[error("the confined process ended before it was confined: {ending}{}", quoted(said))]
    Ended { ending: Ending, said: String },
    #[error("the confined process did not confine itself within {} s", HANDSHAKE_LIMIT.as_secs())]
    Slow,
}

/// The end of a sentence that says what was said.
fn quoted(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(" ({said})") }
}

impl crate::explain::Explain for SpawnError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Start { err, .. } | Self::Handshake(err) => crate::remedy::for_process(err),
            Self::Ended { .. } | Self::Slow => None,
        }
    }
}

/// A running confined child. Dropping it ends it and everything in its process group.
#[derive(Debug)]
pub struct Confined {
    pid: Pid,
    channel: OwnedFd,
    /// What it writes to its standard output. Whoever waits on the channel drains this, too, or the child blocks.
    pub stdout: Capture,
    /// What it writes to its standard error.
    pub stderr: Capture,
    report: Report,
    violations: Violations,
    ending: Option<Ending>,
}

/// Starts `command` confined to `policy` and waits until the confinement is in force.
///
/// The calling thread must outlive the child: the child dies with it.
///
/// # Errors
///
/// - [`SpawnError::Start`]: no process could be made.
/// - [`SpawnError::Handshake`], [`SpawnError::Ended`], [`SpawnError::Slow`]: the child did not confine itself. It has
///   been ended, and no foreign code ran.
pub fn spawn(command: &Command, policy: &Policy) -> Result<Confined, SpawnError> {
    let start = |err| SpawnError::Start { program: command.program.clone(), err };
    platform::hide_from_children();
    let (ours, theirs) = platform::channel(command.channel).map_err(start)?;
    let mut process = std::process::Command::new(&command.program);
    process
        .args(&command.args)
        .env_clear()
        .envs(command.env.iter().map(|(name, value)| (name, value)))
        .envs(platform::resolver_env(policy))
        .current_dir("/")
        // The channel travels as stdin: no other descriptor has to be kept open across `exec`, so nothing leaks into
        // children that other threads start at the same time. The child moves it away first of all.
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    {
        use std::os::unix::process::CommandExt;
        process.arg0(&command.title);
    }
    let mut child = process.spawn().map_err(start)?;
    // Closes our copy of the child's end, so that the child's death is seen on ours.
    drop(process);
    let stdout = child.stdout.take().expect("stdout was asked to be a pipe");
    let stderr = child.stderr.take().expect("stderr was asked to be a pipe");
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a child has a positive pid");
    let mut confined = Confined {
        pid,
        channel: ours,
        stdout: Capture::new(stdout.into(), command.capture_bytes).map_err(start)?,
        stderr: Capture::new(stderr.into(), command.capture_bytes).map_err(start)?,
        report: Report::default(),
        violations: Violations::default(),
        ending: None,
    };
    confined.handshake(policy)?;
    Ok(confined)
}

impl Confined {
    fn handshake(&mut self, policy: &Policy) -> Result<(), SpawnError> {
        let failed = |err: io::Error| SpawnError::Handshake(err);
        let mut hello = MAGIC.to_vec();
        let mine = std::process::id();
        serde_json::to_writer(&mut hello, &(mine, policy)).map_err(|err| failed(err.into()))?;
        if hello.len() > HANDSHAKE_BYTES_MAX {
            return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "the policy is too long")));
        }
        // A child that has already ended is described below by its ending.
        let _ = rustix::net::send(&self.channel, &hello, SendFlags::empty());

        let deadline = Instant::now() + HANDSHAKE_LIMIT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let wait = left.min(HANDSHAKE_LOOK).try_into().expect("ten seconds are a timespec");
            let mut fds = [PollFd::new(&self.channel, PollFlags::IN)];
            match rustix::event::poll(&mut fds, Some(&wait)) {
                Ok(0) if left.is_zero() => return Err(SpawnError::Slow),
                Ok(0) => {
                    if let Some(ending) = self.try_wait() {
                        return Err(self.ended(ending));
                    }
                }
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(err) => return Err(failed(err.into())),
            }
        }
        let mut bytes = vec![0; HANDSHAKE_BYTES_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::net::recvmsg(
            &self.channel,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut ancillary,
            CLOSED_ON_EXEC,
        );
        let count = match received {
            Ok(received) if received.bytes > 0 => received.bytes,
            Ok(_) | Err(rustix::io::Errno::CONNRESET) => {
                let ending = self.wait();
                return Err(self.ended(ending));
            }
            Err(err) => return Err(failed(err.into())),
        };
        let mut listener = None;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                listener = descriptors.last();
            }
        }
        self.report = serde_json::from_slice(&bytes[..count]).map_err(|err| failed(err.into()))?;
        if let Some(number) = self.report.listener.take()
            && listener.is_none()
        {
            let fetched = platform::fetch(self.pid.as_raw_nonzero().get().unsigned_abs(), number);
            listener = Some(fetched.ok_or_else(|| failed(rustix::io::Errno::TOOMANYREFS.into()))?);
        }
        if let Some(listener) = listener {
            platform::watch(listener, self.pid, policy, self.report.landlock, self.violations.clone())
                .map_err(failed)?;
        }
        // A child that has ended since is noticed by whoever speaks with it.
        let _ = rustix::net::send(&self.channel, &GO, SendFlags::empty());
        Ok(())
    }

    /// Why it ended before it was confined: its own words are on its standard error.
    fn ended(&mut self, ending: Ending) -> SpawnError {
        self.stderr.drain();
        let text = self.stderr.take().text;
        // An error and its causes, which have a line each.
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let lines: Vec<&str> = lines.take_while(|line| !line.starts_with("hint: ")).take(3).collect();
        let said = lines.join("; ");
        let said: String = text::printable(&said).chars().take(200).collect();
        SpawnError::Ended { ending, said }
    }

    /// The child's process id, which is its process group, too.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Our end of the channel.
    pub fn channel(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }

    /// What of the confinement is in force.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// What the child tried and was refused: always complete for what it did before it sent what was received.
    pub fn violations(&self) -> &Violations {
        &self.violations
    }

    /// Sends `bytes`: as one packet, or as part of the stream.
    ///
    /// # Errors
    ///
    /// What the socket met, such as a child that has gone.
    pub fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::net::sendmsg(
            &self.channel,
            &[IoSlice::new(bytes)],
            &mut rustix::net::SendAncillaryBuffer::default(),
            SendFlags::empty(),
        )?)
    }

    /// Lets the child run only where the processor is idle otherwise.
    pub fn lower_priority(&self) {
        lower_priority(self.pid());
    }

    /// Whether the child is stopped, as by `SIGSTOP`.
    pub fn is_stopped(&self) -> bool {
        let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        matches!(rustix::process::waitid(rustix::process::WaitId::Pid(self.pid), options),
            Ok(Some(status)) if status.stopped())
    }

    /// How the child ended, if it has. Whatever it left in its process group is ended, too.
    pub fn try_wait(&mut self) -> Option<Ending> {
        if self.ending.is_none() {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
            let ended = rustix::process::waitid(rustix::process::WaitId::Pid(self.pid), options);
            if matches!(ended, Ok(None)) {
                return None;
            }
            self.reap();
        }
        self.ending
    }

    /// Waits for the child to end by itself.
    pub fn wait(&mut self) -> Ending {
        if self.ending.is_none() {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while let Err(rustix::io::Errno::INTR) =
                rustix::process::waitid(rustix::process::WaitId::Pid(self.pid), options)
            {}
            self.reap();
        }
        self.ending.expect("it was just reaped")
    }

    /// Ends the child and its process group with `SIGKILL` and waits for it, at most a second: a process that sleeps in
    /// a driver or on a dead network disk goes when that lets go of it, and then the system collects it.
    pub fn kill(&mut self) -> Ending {
        self.kill_within(KILL_LIMIT)
    }

    /// As [`Self::kill`], but waits at most `limit`, or a second where that is shorter.
    pub fn kill_within(&mut self, limit: Duration) -> Ending {
        if self.ending.is_none() {
            // Before its `setsid` the group is not there yet, so the process itself is named, too.
            let _ = rustix::process::kill_process_group(self.pid, Signal::KILL);
            let _ = rustix::process::kill_process(self.pid, Signal::KILL);
        }
        let deadline = Instant::now() + limit.min(KILL_LIMIT);
        let mut pause = Duration::from_micros(50);
        loop {
            if let Some(ending) = self.try_wait() {
                return ending;
            }
            if Instant::now() >= deadline {
                let unknown = Ending { status: None, signal: None, memory_peak_bytes: 0 };
                return *self.ending.insert(unknown);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(5));
        }
    }

    /// Collects a child that has ended.
    fn reap(&mut self) {
        // Until it is reaped its number cannot be given to another process, so this can only meet its own group.
        let _ = rustix::process::kill_process_group(self.pid, Signal::KILL);
        self.ending = Some(wait_for_ending(self.pid));
    }
}

impl Drop for Confined {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits for the process `id`, which this one has made, and says how it ended.
pub fn reap(id: i32) -> Ending {
    Pid::from_raw(id).map_or(Ending { status: None, signal: None, memory_peak_bytes: 0 }, wait_for_ending)
}

/// Lets every thread of the process `id` run only where the processor is idle otherwise. A thread that is started meanwhile
/// has the priority of the one that started it: whoever wants all of them asks again.
pub fn lower_priority(id: i32) {
    let threads = std::fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
    let threads: Vec<i32> = threads.filter_map(|thread| thread.file_name().to_str()?.parse().ok()).collect();
    let crowded = threads.len() > CROWD;
    // Elsewhere the priority is the process's. What fails competes as before.
    for thread in threads.into_iter().chain([id]).filter_map(Pid::from_raw) {
        let _ = rustix::process::setpriority_process(Some(thread), 19);
        if crowded {
            platform::make_idle(thread);
        }
    }
}

/// More threads than this, each of the lowest priority, are together as good as one of a high one.
const CROWD: usize = 4;

/// The list of a process's mappings is read up to so many bytes, some ten thousand of them: it is as long as the process wants.
const MAPPINGS_BYTES_MAX: u64 = 1 << 20;

/// The memory that the process `id` has in use now, shared memory and mapped files included, in bytes; 0 where the system
/// does not say.
///
/// Shared memory that it has mapped counts whole: it may have been filled and then dropped from the process alone. To find
/// that takes reading all its mappings, which is only done for one that has more than `most` of addresses. Where the list has
/// no end, all its addresses count.
pub fn memory_bytes(id: i32, most: u64) -> u64 {
    let statm = text::read_lossy(format!("/proc/{id}/statm")).unwrap_or_default();
    let mut pages = statm.split(' ').map_while(|pages| pages.parse::<u64>().ok());
    let mut bytes = || pages.next().unwrap_or(0).saturating_mul(rustix::param::page_size() as u64);
    let (addresses, resident, shared) = (bytes(), bytes(), bytes());
    if addresses <= most {
        return resident;
    }
    let mapped = match mappings(id) {
        Some(maps) => shared_mapping_bytes(&maps),
        None => return addresses,
    };
    resident.max(resident.saturating_sub(shared) + mapped)
}

/// The mappings of the process `id` as the kernel lists them; nothing where there are more than are read.
fn mappings(id: i32) -> Option<String> {
    use std::io::Read;
    let mut bytes = Vec::new();
    if let Ok(list) = std::fs::File::open(format!("/proc/{id}/maps")) {
        // One that ends meanwhile has none.
        let _ = list.take(MAPPINGS_BYTES_MAX).read_to_end(&mut bytes);
    }
    ((bytes.len() as u64) < MAPPINGS_BYTES_MAX).then(|| String::from_utf8_lossy(&bytes).into_owned())
}

/// How much memory that only the kernel's own files hold is mapped as shared, by the text of `/proc/PID/maps`, in bytes.
fn shared_mapping_bytes(maps: &str) -> u64 {
    let bytes = |line: &str| {
        let mut parts = line.split_ascii_whitespace();
        let (start, end) = parts.next()?.split_once('-')?;
        let is_shared = parts.next()?.ends_with('s');
        let file = parts.nth(3)?;
        let is_memory = ["/dev/zero", "/memfd:", "/anon_hugepage", "/SYSV", "/dev/shm/"]
            .iter()
            .any(|name| file.starts_with(name));
        let at = |number: &str| u64::from_str_radix(number, 16).ok();
        (is_shared && is_memory).then_some(at(end)?.saturating_sub(at(start)?))
    };
    maps.lines().filter_map(bytes).sum()
}

/// Two ends of a channel for packets, for a confined process and its copy.
///
/// # Errors
///
/// Where there are no descriptors left.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    platform::channel(Channel::Packets)
}

/// Makes this process, a copy of the process `parent`, end with it.
///
/// # Errors
///
/// Where that cannot be had, or `parent` has ended already.
pub fn die_with(parent: u32) -> io::Result<()> {
    platform::die_with_parent()?;
    let is_there =
        rustix::process::getppid().map(|id| id.as_raw_nonzero().get().unsigned_abs()) == Some(parent);
    if is_there { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
}

fn wait_for_ending(pid: Pid) -> Ending {
    let mut status = 0;
    // SAFETY: `rusage` is plain numbers, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: both pointers are to live locals of the types that the call writes.
        let reaped = unsafe { libc::wait4(pid.as_raw_nonzero().get(), &mut status, 0, &mut usage) };
        if reaped >= 0 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            break;
        }
    }
    // Linux counts in KiB, macOS in bytes.
    let unit = if cfg!(target_os = "linux") { 1024 } else { 1 };
    Ending {
        status: libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)),
        signal: libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status)),
        memory_peak_bytes: u64::try_from(usage.ru_maxrss).unwrap_or(0) * unit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_memory_counts_whole_and_files_do_not() {
        let maps = "7f0000000000-7f0004000000 rw-s 00000000 00:01 1027 /dev/zero (deleted)\n\
                    7f0010000000-7f0010100000 rw-s 00000000 00:01 5 /memfd:x (deleted)\n\
                    7f0020000000-7f0020100000 r-xp 00000000 08:01 5 /usr/lib/libc.so.6\n\
                    7f0030000000-7f0030100000 rw-p 00000000 00:00 0\n";
        assert_eq!(shared_mapping_bytes(maps), (64 << 20) + (1 << 20));
        let own = |most| memory_bytes(std::process::id().cast_signed(), most);
        assert!((own(0) > 1 << 20 && own(u64::MAX) > 1 << 20) || cfg!(not(target_os = "linux")));
    }
}
