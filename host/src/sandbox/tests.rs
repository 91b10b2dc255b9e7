//! What is granted works, what is not is refused and named: in real children, which are this test program again.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "these are tests and their helpers")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::{RecvFlags, SendFlags};
use serde::{Deserialize, Serialize};

use super::*;

/// Something that a child is told to try.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Try {
    Connect(String),
    ConnectUnix(PathBuf),
    Datagram(String),
    Read(PathBuf),
    Write(PathBuf),
    Rename(PathBuf, PathBuf),
    Run(PathBuf),
    Tune,
    /// Names another thread of its own.
    NameThread,
    /// Writes another file of a thread of its own, or the name of another process.
    Meddle(String),
    List(PathBuf),
}

impl Try {
    fn run(&self) -> std::io::Result<()> {
        match self {
            Self::Connect(address) => TcpStream::connect(address)?.write_all(b"hello"),
            Self::ConnectUnix(path) => UnixStream::connect(path)?.write_all(b"hello"),
            Self::Datagram(address) => {
                let socket = std::os::unix::net::UnixDatagram::unbound()?;
                drop(socket);
                std::net::UdpSocket::bind("0.0.0.0:0")?.send_to(b"hello", address).map(drop)
            }
            Self::Read(path) => std::fs::read(path).map(drop),
            Self::Write(path) => std::fs::write(path, "written"),
            Self::Rename(from, to) => std::fs::rename(from, to),
            Self::Run(path) => {
                let status = std::process::Command::new(path).status()?;
                if status.success() { Ok(()) } else { Err(std::io::Error::other(status.to_string())) }
            }
            // What miners do to their own threads.
            Self::Tune => {
                let tuned = std::thread::spawn(|| {
                    let cores = rustix::thread::sched_getaffinity(None)?;
                    let thread = rustix::thread::gettid();
                    rustix::thread::sched_setaffinity(Some(thread), &cores)?;
                    rustix::process::nice(1)?;
                    rustix::thread::set_name(c"tuned")
                });
                Ok(tuned.join().expect("the thread does not panic")?)
            }
            // As the C library and NVIDIA's driver do it.
            Self::NameThread => {
                let (told, tell) = std::sync::mpsc::channel();
                let (end, ended) = std::sync::mpsc::channel::<()>();
                let thread = std::thread::spawn(move || {
                    told.send(rustix::thread::gettid()).expect("somebody listens");
                    _ = ended.recv();
                });
                let id = tell.recv().expect("the thread says its number").as_raw_nonzero();
                let path = format!("/proc/self/task/{id}/comm");
                let written = std::fs::write(&path, "a driver");
                let read = std::fs::read_to_string(&path);
                drop(end);
                thread.join().expect("the thread does not panic");
                written?;
                if read?.trim() == "a driver" { Ok(()) } else { Err(std::io::Error::other("not named")) }
            }
            Self::Meddle(file) => {
                let own = rustix::thread::gettid().as_raw_nonzero();
                let file = file.replace("OWN", &own.to_string());
                std::fs::File::options().write(true).open(file).map(drop)
            }
            Self::List(folder) => std::fs::read_dir(folder).map(drop),
        }
    }
}

/// The child's side: does nothing when it is run as the test that it looks like.
#[test]
fn child_of_the_sandbox_tests() {
    let entered = match enter() {
        Ok(entered) => entered,
        Err(EnterError::NotSpawned) => return,
        Err(err) => panic!("{err}: {:?}", std::error::Error::source(&err)),
    };
    let mut bytes = vec![0; 64 * 1024];
    let (_, count) = rustix::net::recv(&entered.channel, &mut bytes[..], RecvFlags::empty()).unwrap();
    let tries: Vec<Try> = serde_json::from_slice(&bytes[..count]).unwrap();
    let results: Vec<Option<String>> =
        tries.iter().map(|t| t.run().err().map(|err| err.to_string())).collect();
    rustix::net::send(&entered.channel, &serde_json::to_vec(&results).unwrap(), SendFlags::empty()).unwrap();
    // Not by a return: the test harness would go on in here.
    std::process::exit(0);
}

/// What became of each try, and what was named.
fn confined(policy: &Policy, tries: &[Try]) -> Option<(Vec<Option<String>>, Vec<String>)> {
    let support = support();
    if !support.seccomp_notify || support.landlock_abi.is_none() {
        eprintln!("skipped: this kernel lacks {:?}", support.missing());
        return None;
    }
    let mut child = spawn(&test_child("child_of_the_sandbox_tests"), policy).unwrap();
    assert!(
        child.report().landlock && child.report().seccomp && child.report().notify,
        "{:?}",
        child.report()
    );
    let results = ask(&mut child, tries);
    let named = child.violations().take().iter().map(ToString::to_string).collect();
    Some((results, named))
}

/// This test program again, as the child that is the test `name` here.
fn test_child(name: &str) -> Command {
    Command::this_program(&format!("sandbox::tests::{name}"))
        .unwrap()
        .program(std::env::current_exe().unwrap())
        .arg("--exact")
        .arg("--test-threads=1")
        .arg("--nocapture")
}

/// What becomes of each try in `child`.
fn ask(child: &mut Confined, tries: &[Try]) -> Vec<Option<String>> {
    child.send(&serde_json::to_vec(tries).unwrap()).unwrap();
    let mut bytes = vec![0; 64 * 1024];
    let mut fds = [rustix::event::PollFd::from_borrowed_fd(child.channel(), rustix::event::PollFlags::IN)];
    let patience = Duration::from_secs(60).try_into().unwrap();
    assert_eq!(rustix::event::poll(&mut fds, Some(&patience)), Ok(1), "the child hangs");
    let received = rustix::net::recv(child.channel(), &mut bytes[..], RecvFlags::empty());
    let count = received.map_or(0, |(_, count)| count);
    if count == 0 {
        let ending = child.wait();
        child.stderr.drain();
        panic!("the child ended with {ending}: {}", child.stderr.take().text);
    }
    serde_json::from_slice(&bytes[..count]).unwrap()
}

/// Runs the tries that must succeed and those that must be refused; returns what was named.
fn check(policy: &Policy, granted: &[Try], refused: &[Try]) -> Vec<String> {
    let tries = [granted, refused].concat();
    let Some((results, named)) = confined(policy, &tries) else { return vec![] };
    for (attempt, result) in tries.iter().zip(&results).take(granted.len()) {
        assert_eq!(*result, None, "{attempt:?} was granted; named: {named:?}");
    }
    for (attempt, result) in tries.iter().zip(&results).skip(granted.len()) {
        assert!(result.is_some(), "{attempt:?} was not granted");
    }
    for attempt in refused {
        let what = match attempt {
            Try::Connect(address) | Try::Datagram(address) => address.clone(),
            Try::ConnectUnix(path)
            | Try::Read(path)
            | Try::Write(path)
            | Try::Rename(path, _)
            | Try::List(path) => path.display().to_string(),
            Try::Meddle(path) => path.rsplit('/').next().unwrap().to_owned(),
            Try::NameThread => "/comm".into(),
            // Through `vfork` the program is not known yet.
            Try::Run(_) | Try::Tune => String::new(),
        };
        let what = if matches!(attempt, Try::Datagram(_)) { "0.0.0.0:0" } else { &*what };
        assert!(named.iter().any(|line| line.contains(what)), "{attempt:?} is not named: {named:?}");
    }
    if granted.len() == tries.len() {
        assert_eq!(named, Vec::<String>::new());
    }
    named
}

fn everything() -> Policy {
    Policy { reading: Reading::Everything, ..Policy::default() }
}

#[test]
fn nothing_is_granted_that_the_policy_does_not_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "untouched").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let socket = folder.path().join("socket");
    let _unix = UnixListener::bind(&socket).unwrap();
    let refused = [
        Try::Connect(address),
        Try::ConnectUnix(socket),
        Try::Datagram("127.0.0.1:9".into()),
        Try::Write(file.clone()),
        Try::Rename(file.clone(), folder.path().join("elsewhere")),
        Try::Run("/bin/true".into()),
    ];
    let named = check(&everything(), &[Try::Read(file.clone()), Try::Tune], &refused);
    assert!(named.is_empty() || named.contains(&"tried to run a program".into()), "{named:?}");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "untouched");
}

#[test]
fn whoever_is_granted_a_device_names_its_own_threads_and_nothing_else_of_them() {
    let meddled = [
        Try::Meddle("/proc/self/task/OWN/oom_score_adj".into()),
        Try::Meddle("/proc/self/oom_score_adj".into()),
        Try::Meddle("/proc/self/comm".into()),
        Try::Meddle(format!("/proc/{0}/task/{0}/comm", std::process::id())),
    ];
    let device = Policy { devices: vec!["/dev/full".into()], ..everything() };
    check(&device, &[Try::NameThread], &meddled);
    check(&everything(), &[], &[&[Try::NameThread][..], &meddled].concat());
}

#[test]
fn a_folder_that_may_be_listed_is_listed_and_what_is_in_it_stays_shut() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("node");
    std::fs::write(&file, "shut").unwrap();
    let list = || Try::List(folder.path().to_owned());
    let policy = Policy { listings: vec![folder.path().to_owned()], ..Policy::default() };
    check(&policy, &[list()], &[Try::Read(file.clone()), Try::Write(file.clone())]);
    check(&Policy::default(), &[], &[list(), Try::Read(file)]);
}

#[test]
fn a_host_and_port_is_granted_alone() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let port = Some(address.port());
    for host in [Some("127.0.0.1"), Some("localhost"), None] {
        let granted = HostPort { host: host.map(str::to_owned), port };
        let policy = Policy { network: vec![granted], ..everything() };
        let named = check(
            &policy,
            &[Try::Connect(address.to_string())],
            &[Try::Connect(other.local_addr().unwrap().to_string()), Try::Datagram(address.to_string())],
        );
        if named.is_empty() {
            return;
        }
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
    }
}

#[test]
fn a_unix_socket_is_granted_alone() {
    let folder = tempfile::tempdir().unwrap();
    let [granted, other] = ["granted", "other"].map(|name| folder.path().join(name));
    let _listeners = [UnixListener::bind(&granted).unwrap(), UnixListener::bind(&other).unwrap()];
    let policy = Policy { unix_sockets: vec![granted.clone()], ..everything() };
    check(
        &policy,
        &[Try::ConnectUnix(granted)],
        &[Try::ConnectUnix(other), Try::Connect("127.0.0.1:9".into())],
    );
}

#[test]
fn folders_are_granted_with_what_is_below_them() {
    let folder = tempfile::tempdir().unwrap();
    let [writable, readable, hidden] =
        ["writable", "readable", "hidden"].map(|name| folder.path().join(name));
    for folder in [&writable, &readable, &hidden] {
        std::fs::create_dir(folder).unwrap();
        std::fs::write(folder.join("file"), "text").unwrap();
    }
    std::os::unix::fs::symlink(hidden.join("file"), readable.join("link")).unwrap();
    let policy = Policy {
        reading: Reading::System(vec![readable.clone()]),
        write: vec![writable.clone()],
        ..Policy::default()
    };
    check(
        &policy,
        &[
            Try::Read("/etc/passwd".into()),
            Try::Read(readable.join("file")),
            Try::Read(writable.join("file")),
            Try::Write(writable.join("new")),
            Try::Rename(writable.join("new"), writable.join("newer")),
            Try::Tune,
        ],
        &[
            Try::Read(hidden.join("file")),
            Try::Read(readable.join("link")),
            Try::Write(readable.join("file")),
            Try::Write(writable.join("../hidden/climbed")),
        ]
        .map(|attempt| match attempt {
            // It is named by where it leads.
            Try::Write(path) if path.ends_with("climbed") => Try::Write(hidden.join("climbed")),
            attempt => attempt,
        }),
    );
    assert!(Path::new(&writable.join("newer")).exists() && !hidden.join("climbed").exists());
}

#[test]
fn a_program_is_granted_alone_and_stays_confined() {
    let policy = Policy { programs: vec!["/bin/true".into()], ..everything() };
    let named = check(&policy, &[Try::Run("/bin/true".into())], &[Try::Run("/bin/ls".into())]);
    assert!(named.is_empty() || named[0].starts_with("tried to run a program: /"), "{named:?}");
}

#[test]
fn a_child_that_cannot_be_watched_is_confined_all_the_same() {
    // A thread that is watched itself: what it starts inherits that, and the kernel allows only one watcher.
    let tried = std::thread::spawn(|| {
        rustix::thread::set_no_new_privs(true).unwrap();
        let _watcher = linux::install_idle_watcher()?;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        let tries = [
            Try::Write(file.clone()),
            Try::Run("/bin/true".into()),
            Try::Connect("127.0.0.1:9".into()),
            Try::Tune,
        ];
        let command = test_child("child_of_the_sandbox_tests");
        let mut child = spawn(&command, &everything()).unwrap();
        let report = child.report().clone();
        let results = ask(&mut child, &tries);
        assert!(!file.exists());
        Some((report, results))
    });
    let Some((report, results)) = tried.join().unwrap() else {
        eprintln!("skipped: this kernel has no seccomp user notification");
        return;
    };
    assert!(report.seccomp && !report.notify && !report.failed.is_empty(), "{report:?}");
    let refused: Vec<bool> = results.iter().map(Option::is_some).collect();
    assert_eq!(refused, [true, true, true, false], "{results:?}");
}

/// A child that has something to say before it is asked.
#[test]
fn child_that_speaks_first() {
    let Ok(entered) = enter() else { return };
    rustix::net::send(&entered.channel, b"first words", SendFlags::empty()).unwrap();
    std::process::exit(0);
}

#[test]
fn what_a_child_says_first_is_not_taken_for_its_report() {
    // Unwatched again: a descriptor that travels with the report would part it from what follows.
    let heard = std::thread::spawn(|| {
        rustix::thread::set_no_new_privs(true).unwrap();
        let _watcher = linux::install_idle_watcher()?;
        let command = test_child("child_that_speaks_first").channel(Channel::Stream);
        let child = spawn(&command, &everything()).unwrap();
        let mut stream = UnixStream::from(child.channel().try_clone_to_owned().unwrap());
        let mut words = [0; 11];
        stream.read_exact(&mut words).unwrap();
        Some(words)
    });
    match heard.join().unwrap() {
        Some(words) => assert_eq!(&words, b"first words"),
        None => eprintln!("skipped: this kernel has no seccomp user notification"),
    }
}

#[test]
fn a_child_that_ends_before_it_is_confined_is_an_error() {
    let command = Command::this_program("x").unwrap().program("/bin/false");
    assert!(
        matches!(spawn(&command, &everything()), Err(SpawnError::Ended { ending, .. }) if ending.status == Some(1))
    );
    let command = Command::this_program("x").unwrap().program("/no/such/program");
    assert!(matches!(spawn(&command, &everything()), Err(SpawnError::Start { .. })));
}
