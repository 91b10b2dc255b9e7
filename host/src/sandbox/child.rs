//! The child's half: reads its policy, gives up everything else, and only then returns to its caller.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

use super::spawn::{GO, HANDSHAKE_BYTES_MAX, MAGIC};
use super::{Limits, Policy, Report, platform};

/// A process that has confined itself.
#[derive(Debug)]
pub struct Entered {
    /// The channel to the parent, at a number that is hard to guess, closed on `exec`.
    pub channel: OwnedFd,
    /// What of the confinement is in force.
    pub report: Report,
}

/// Why a process could not confine itself. It must end then, before any foreign code runs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each message is its variant's documentation")]
pub enum EnterError {
    #[error("this subcommand is for pearlbed itself, which runs it when it needs it")]
    NotSpawned,
    #[error("failed to read the policy")]
    Policy(#[source] io::Error),
    #[error("the process that started this one has gone")]
    Orphaned,
    #[error("failed to set up the confined process")]
    SetUp(#[source] io::Error),
}

impl crate::explain::Explain for EnterError {
    fn hint(&self) -> Option<String> {
        matches!(self, Self::NotSpawned).then(|| "see `pearlbed --help` for the commands".into())
    }

    fn exit(&self) -> crate::exit::Exit {
        match self {
            Self::NotSpawned => crate::exit::Exit::Usage,
            _ => crate::exit::Exit::Failed,
        }
    }
}

/// Confines this process to the policy that its parent sends, and says so to the parent.
///
/// To be called first of all, while the process has one thread. After it, descriptor 0 is `/dev/null`, 1 and 2 lead to
/// the parent, the channel is the only other one that is open, and the confinement holds for good.
///
/// # Errors
///
/// [`EnterError::NotSpawned`] where a person ran the subcommand; else what went wrong. The process must then end.
pub fn enter() -> Result<Entered, EnterError> {
    let stdin = io::stdin();
    let mut bytes = vec![0; HANDSHAKE_BYTES_MAX];
    let count = match rustix::net::recv(stdin.as_fd(), &mut bytes[..], RecvFlags::empty()) {
        Ok((_, count)) => count,
        Err(rustix::io::Errno::NOTSOCK) => return Err(EnterError::NotSpawned),
        Err(err) => return Err(EnterError::Policy(err.into())),
    };
    let hello = bytes[..count].strip_prefix(MAGIC).ok_or(EnterError::NotSpawned)?;
    let (parent, policy): (u32, Policy) =
        serde_json::from_slice(hello).map_err(|err| EnterError::Policy(err.into()))?;

    let channel = move_channel().map_err(EnterError::SetUp)?;
    close_others(channel.as_raw_fd()).map_err(EnterError::SetUp)?;
    // Fails only for the leader of a process group, which a freshly spawned process is not.
    let _ = rustix::process::setsid();
    platform::die_with_parent().map_err(EnterError::SetUp)?;
    // The parent may have died before the line above took effect.
    if rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs()) != Some(parent) {
        return Err(EnterError::Orphaned);
    }
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    if let Some(nice) = policy.limits.nice {
        stand_back(i32::from(nice));
    }
    let unlimited = set_limits(&policy.limits).map_err(EnterError::SetUp)?;

    let (report, listener) = confine_and_report(&policy, &channel, unlimited).map_err(EnterError::SetUp)?;
    wait_for_go(&channel)?;
    // Until now the parent may have fetched it; whoever holds it decides about this process.
    drop(listener);
    platform::tell_crashes();
    Ok(Entered { channel, report })
}

/// Confines this thread, and says so to the parent from another one, which is not confined and ends with that: no confined
/// thread may send an open file, and the listener is one.
fn confine_and_report(
    policy: &Policy,
    channel: &OwnedFd,
    unlimited: Vec<String>,
) -> io::Result<(Report, Option<OwnedFd>)> {
    std::thread::scope(|scope| {
        let (tell, told) = std::sync::mpsc::sync_channel::<(Vec<u8>, Option<RawFd>)>(1);
        let sender = std::thread::Builder::new().stack_size(128 << 10).spawn_scoped(scope, move || {
            let (answer, listener) = told.recv().map_err(|_| io::Error::other("it was not confined"))?;
            send_report(channel, &answer, listener)
        })?;
        let (mut report, listener) = platform::confine(policy)?;
        report.failed.extend(unlimited);
        report.listener = listener.as_ref().map(AsRawFd::as_raw_fd);
        let answer = serde_json::to_vec(&report)?;
        let listening = listener.as_ref().map(AsRawFd::as_raw_fd);
        tell.send((answer, listening)).map_err(|_| io::Error::other("nobody is left to report"))?;
        sender.join().map_err(|_| io::Error::other("the report failed"))??;
        Ok((report, listener))
    })
}

/// Sends `answer` with the listener, or without it where open files of this user that others have under way leave no room
/// for one: the parent then fetches it.
fn send_report(channel: &OwnedFd, answer: &[u8], listener: Option<RawFd>) -> io::Result<()> {
    if let Some(listener) = listener {
        // SAFETY: the thread that owns it waits for this one to end.
        let rights = [unsafe { BorrowedFd::borrow_raw(listener) }];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        ancillary.push(SendAncillaryMessage::ScmRights(&rights));
        match rustix::net::sendmsg(channel, &[IoSlice::new(answer)], &mut ancillary, SendFlags::empty()) {
            Err(rustix::io::Errno::TOOMANYREFS) => {}
            sent => return Ok(sent.map(drop)?),
        }
    }
    Ok(rustix::net::send(channel, answer, SendFlags::empty()).map(drop)?)
}

/// Waits until the parent has read the report: in a stream, words that followed it at once would become part of it.
fn wait_for_go(channel: &OwnedFd) -> Result<(), EnterError> {
    let mut go = [0];
    loop {
        match rustix::net::recv(channel, &mut go[..], RecvFlags::empty()) {
            Ok((_, 1)) if go == GO => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            _ => return Err(EnterError::Orphaned),
        }
    }
}

/// Moves the channel from descriptor 0 to a number that is hard to guess, and puts `/dev/null` in its place.
fn move_channel() -> io::Result<OwnedFd> {
    let at_least = 64 + RawFd::from(u16::from_ne_bytes(super::random_bytes()) % 512);
    // Where so high a number is not allowed, any will do.
    let channel = rustix::io::fcntl_dupfd_cloexec(io::stdin(), at_least)
        .or_else(|_| rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3))?;
    let null = rustix::fs::open("/dev/null", rustix::fs::OFlags::RDWR, rustix::fs::Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    Ok(channel)
}

/// Closes every descriptor from 3 on but `kept`.
fn close_others(kept: RawFd) -> io::Result<()> {
    let open: Vec<RawFd> =
        std::fs::read_dir(if cfg!(target_os = "linux") { "/proc/self/fd" } else { "/dev/fd" })?
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter(|&fd| fd > 2 && fd != kept)
            .collect();
    for fd in open {
        // The listing's own descriptor is in the list and was closed with it.
        if rustix::io::fcntl_getfd(
            // SAFETY: a descriptor that is not open only makes the call fail; it is not kept.
            unsafe { BorrowedFd::borrow_raw(fd) },
        )
        .is_ok()
        {
            // SAFETY: nothing in this young process owns a descriptor but the channel and the first three.
            drop(unsafe { OwnedFd::from_raw_fd(fd) });
        }
    }
    Ok(())
}

/// Lets other programs go first, at least so far as `nice` says; the threads that come later inherit it. Who stands back
/// further already, such as a whole service, stays there.
fn stand_back(nice: i32) {
    let now = rustix::process::getpriority_process(None).unwrap_or(0);
    if nice > now {
        // To go further back needs no privilege; where a system refuses all the same, it mines with what it has.
        let _ = rustix::process::setpriority_process(None, nice);
    }
}

/// Sets the limits. Answers which of them this system does not have, one line each.
///
/// macOS refuses limits of memory since version 12 and did not keep to them before. Linux takes all of them, so there a
/// refusal is an error.
fn set_limits(limits: &Limits) -> io::Result<Vec<String>> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let set = |resource, wanted: u64| {
        // Never above what was inherited: raising it needs privileges and is not ours to do.
        let most = getrlimit(resource).maximum.unwrap_or(u64::MAX);
        let limit = Some(wanted.min(most));
        setrlimit(resource, Rlimit { current: limit, maximum: limit })
    };
    // One, not zero: a kernel that pipes core dumps to a program ignores zero and stops at one.
    set(Resource::Core, 1)?;
    set(Resource::Nofile, limits.open_files)?;
    #[cfg(target_os = "linux")]
    {
        // What its user may have more of than others, or only once: priorities, queues, signals that wait.
        set(Resource::Rtprio, 0)?;
        set(Resource::Nice, 0)?;
        set(Resource::Msgqueue, 0)?;
        set(Resource::Sigpending, 4096)?;
        if limits.dies_first {
            // A container may forbid it, and then the system chooses.
            let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
        }
    }
    let mut unlimited = vec![];
    let memory = [
        ("memory", Resource::Data, limits.memory_bytes),
        ("address space", Resource::As, limits.address_space_bytes),
    ];
    for (what, resource, bytes) in memory {
        let Some(bytes) = bytes else { continue };
        match set(resource, bytes) {
            Err(err) if cfg!(not(target_os = "linux")) => {
                unlimited.push(format!("its {what} could not be limited: {err}"));
            }
            result => result?,
        }
    }
    if let Some(bytes) = limits.file_bytes {
        set(Resource::Fsize, bytes)?;
    }
    if let Some(time) = limits.cpu_time {
        set(Resource::Cpu, time.as_secs().max(1))?;
    }
    Ok(unlimited)
}
