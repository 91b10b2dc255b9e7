//! A `pearl-gateway` that the session starts, keeps running and stops.
//!
//! The gateway takes its settings from the environment; the node's password goes from our variable to its own and is
//! never on a command line. Its log names the password, so of its output only the lines that tell of a proof or an
//! error are passed on, with the password taken out, and few of them.
//!
//! It runs in a process group of its own, and whoever is left in the group when it has ended is ended as well: a
//! gateway proves in worker processes, and a command may be a script around the gateway.

use std::ffi::OsStr;
use std::io::Read as _;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::io::AsyncRead;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use super::backoff::Backoff;
use crate::config::{GatewayEndpoint, NodeSection};
use crate::text::printable;
use crate::work::GatewayConfig;
use crate::work::endpoint::Found;
use crate::work::lines::{LineError, LineReader};

/// Time between asking the gateway to end and telling its whole group to. A proof under way is lost either way.
const GRACE: Duration = Duration::from_secs(3);
/// Time that the group has then before it is ended.
const GROUP_GRACE: Duration = Duration::from_secs(2);
/// A gateway that ran this long was healthy: its end is the first failure, not the next.
const HEALTHY: Duration = Duration::from_secs(600);
/// Lines of its log that are passed on in [`LINES_WINDOW`].
const LINES_MAX: u32 = 10;
/// See [`LINES_MAX`].
const LINES_WINDOW: Duration = Duration::from_secs(60);
/// A longer line of its log is skipped. An error may quote a whole request.
const LINE_BYTES_MAX: usize = 2 << 20;
/// What is kept of a line, in characters: its end, where an error says what it is.
const LINE_CHARS_MAX: usize = 200;

/// What to do while the gateway that the session has started is not there yet, or somewhere else.
pub const NOT_YET: &str = "the session has started it: `pearlbed logs` has what it says; is the address in `[mining.gateway]` the one it listens on?";

/// Why a command could not be started, as far as that shows without trying: its program is looked for in `path`, or in the
/// usual folders.
pub fn cannot_start(command: &[String], path: Option<&OsStr>) -> Option<String> {
    let program = Path::new(command.first()?);
    let may_run = |file: &Path| {
        if file.is_dir() {
            return Err(std::io::Error::from_raw_os_error(libc::EISDIR));
        }
        rustix::fs::access(file, rustix::fs::Access::EXEC_OK).map_err(std::io::Error::from)
    };
    let why_not = |file: &Path| match may_run(file) {
        Ok(()) => without_interpreter(file),
        Err(err) => Some(err.to_string()),
    };
    if program.components().count() > 1 || program.is_absolute() {
        return why_not(program);
    }
    let folders = path.unwrap_or(OsStr::new("/usr/bin:/bin"));
    let found =
        std::env::split_paths(folders).map(|folder| folder.join(program)).find(|file| may_run(file).is_ok());
    match found {
        Some(file) => without_interpreter(&file),
        None => Some("no such program in $PATH".to_owned()),
    }
}

/// That a script's interpreter is missing: the system says then that the script is.
fn without_interpreter(file: &Path) -> Option<String> {
    /// A longer first line is cut off by the system, too.
    const LINE_BYTES_MAX: u64 = 256;
    let mut head = Vec::new();
    crate::owned::open(file).ok()?.take(LINE_BYTES_MAX).read_to_end(&mut head).ok()?;
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let interpreter = line.split_whitespace().next()?;
    let missing = rustix::fs::access(interpreter, rustix::fs::Access::EXEC_OK).err()?;
    Some(format!(
        "its interpreter `{}` cannot be run: {}",
        printable(interpreter),
        std::io::Error::from(missing)
    ))
}

/// What there is to say of the gateway's process.
#[derive(Debug)]
pub enum Told {
    /// A line for the log.
    Note(String),
    /// Why it does not run, with what to do; nothing while it does.
    Trouble(Option<Found>),
}

/// Starts the gateway and starts it again whenever it ends, with back-off, until `stop` resolves. What there is to say
/// goes to `out`.
pub async fn supervise(
    config: GatewayConfig,
    argv: Vec<String>,
    mut stop: tokio::sync::watch::Receiver<bool>,
    out: mpsc::Sender<Told>,
) {
    let password = config.node.as_ref().and_then(|node| std::env::var(&node.password_env).ok());
    let mut backoff = Backoff::new(Duration::from_secs(1));
    loop {
        let started = Instant::now();
        let (ended, hint) = match spawn(&config, &argv, password.as_deref()) {
            Err(err) => (
                format!(
                    "the gateway's command `{}` cannot be started: {}",
                    printable(&argv[0]),
                    cannot_start(&argv, std::env::var_os("PATH").as_deref())
                        .unwrap_or_else(|| err.to_string())
                ),
                "correct `[mining.gateway] command`, or install the gateway".to_owned(),
            ),
            Ok(mut child) => {
                let group = Group::of(&child);
                // Ended before the group is: what it waits for is not this end.
                let keeper = config.keeper.as_deref().zip(group.leader);
                let keeper = keeper.and_then(|(program, leader)| super::keeper::start(program, leader).ok());
                let pid = child.id().unwrap_or_default();
                let _ = out.send(Told::Trouble(None)).await;
                let _ = out.send(Told::Note(format!("started the gateway (pid {pid})"))).await;
                let errors = tokio::spawn(pass_on(child.stderr.take(), password.clone(), out.clone()));
                let output = tokio::spawn(pass_on(child.stdout.take(), password.clone(), out.clone()));
                let ended = tokio::select! {
                    status = group.wait(&mut child) => Some(status),
                    _ = stop.wait_for(|stop| *stop) => None,
                };
                let Some(status) = ended else {
                    group.end(&mut child).await;
                    drop(keeper);
                    return;
                };
                drop(keeper);
                // What it said last, it has said by now.
                let rest = async { (errors.await, output.await) };
                let _ = tokio::time::timeout(Duration::from_millis(200), rest).await;
                let what = match status {
                    Ok(status) => format!("the gateway ended: {status}"),
                    Err(err) => format!("the gateway was lost: {err}"),
                };
                let hint =
                    "`pearlbed logs` has what it said; `[mining.gateway] command` starts it".to_owned();
                (what, hint)
            }
        };
        let _ = out.send(Told::Trouble(Some((ended.clone(), Some(hint))))).await;
        if started.elapsed() >= HEALTHY {
            backoff.worked();
        }
        let wait = backoff.failed();
        let note = format!("{ended}; it is started again in {:.0} s", wait.as_secs_f64());
        let _ = out.send(Told::Note(note)).await;
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

fn spawn(config: &GatewayConfig, argv: &[String], password: Option<&str>) -> std::io::Result<Child> {
    let mut command = Command::new(&argv[0]);
    command
        .args(&argv[1..])
        .envs(environment(&config.endpoint, config.node.as_ref(), config.wallet_address.as_deref()))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    if let Some(password) = password {
        command.env("PEARLD_RPC_PASSWORD", password);
    }
    // Whoever was started in the background by a script ignores interrupts, and so would all that he starts.
    // SAFETY: between fork and exec only async-signal-safe calls are allowed; signal() is one, and prctl() a single system
    // call; the numbers are constants, and the closure allocates nothing.
    unsafe {
        command.pre_exec(|| {
            for signal in [libc::SIGINT, libc::SIGQUIT, libc::SIGTERM] {
                if libc::signal(signal, libc::SIG_DFL) == libc::SIG_ERR {
                    return Err(std::io::Error::last_os_error());
                }
            }
            #[cfg(target_os = "linux")]
            rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
            Ok(())
        });
    }
    command.spawn()
}

/// The gateway and everybody that it started. Whoever is left is ended when this is dropped.
struct Group {
    /// The group's number, which is its leader's.
    leader: Option<Pid>,
    over: AtomicBool,
}

impl Group {
    fn of(child: &Child) -> Self {
        let leader = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        Self { leader, over: AtomicBool::new(false) }
    }

    /// Waits for the leader's end, and ends whoever it left behind.
    async fn wait(&self, child: &mut Child) -> std::io::Result<ExitStatus> {
        if let Some(leader) = self.leader
            && has_ended(leader).await
        {
            // Its leader has not been waited for, so that the group's number is nobody else's.
            let _ = kill_process_group(leader, Signal::KILL);
        }
        let status = child.wait().await;
        self.over.store(true, Ordering::Relaxed);
        status
    }

    /// Asks the gateway to end, then its group, and ends them if they do not.
    async fn end(&self, child: &mut Child) {
        let Some(leader) = self.leader else { return };
        // An interrupt is what a gateway ends its workers at.
        let _ = kill_process(leader, Signal::INT);
        if tokio::time::timeout(GRACE, self.wait(child)).await.is_ok() {
            return;
        }
        let _ = kill_process_group(leader, Signal::TERM);
        if tokio::time::timeout(GROUP_GRACE, self.wait(child)).await.is_ok() {
            return;
        }
        let _ = kill_process_group(leader, Signal::KILL);
        let _ = self.wait(child).await;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Not waited for yet, so that the number is still its own.
        if let Some(leader) = self.leader.filter(|_| !self.over.load(Ordering::Relaxed)) {
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

/// Waits until a child of ours has ended, without taking its status; `false` at once where that cannot be seen.
#[cfg(target_os = "linux")]
async fn has_ended(pid: Pid) -> bool {
    use rustix::process::{PidfdFlags, pidfd_open};
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    let Ok(descriptor) = pidfd_open(pid, PidfdFlags::NONBLOCK) else { return false };
    // SAFETY: the descriptor is open and owned by the `AsyncFd`, which alone closes it, and it answers the same number each
    // time.
    let Ok(descriptor) = (unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }) else {
        return false;
    };
    descriptor.readable().await.is_ok()
}

/// As on Linux, where it can be seen.
#[cfg(not(target_os = "linux"))]
async fn has_ended(_: Pid) -> bool {
    false
}

/// The gateway's settings, without the password.
fn environment(
    endpoint: &GatewayEndpoint,
    node: Option<&NodeSection>,
    wallet: Option<&str>,
) -> Vec<(&'static str, String)> {
    let mut variables = match endpoint {
        GatewayEndpoint::Unix(path) => vec![
            ("MINER_RPC_TRANSPORT", "uds".to_owned()),
            ("MINER_RPC_SOCKET_PATH", path.to_string_lossy().into_owned()),
        ],
        GatewayEndpoint::Tcp { port, .. } => {
            vec![("MINER_RPC_TRANSPORT", "tcp".to_owned()), ("MINER_RPC_PORT", port.to_string())]
        }
    };
    if let Some(node) = node {
        variables.push(("PEARLD_RPC_URL", node.url.clone()));
        variables.push(("PEARLD_RPC_USER", node.user.clone()));
        // It knows the system's authorities only, and a node signs its certificate itself.
        if let Some(certificate) = &node.certificate {
            let path = std::path::absolute(certificate).unwrap_or_else(|_| certificate.clone());
            variables.push(("SSL_CERT_FILE", path.to_string_lossy().into_owned()));
        }
    }
    if let Some(wallet) = wallet {
        variables.push(("PEARLD_MINING_ADDRESS", wallet.to_owned()));
    }
    variables
}

/// Reads the gateway's output to its end and passes on what matters.
async fn pass_on(output: Option<impl AsyncRead + Unpin>, password: Option<String>, out: mpsc::Sender<Told>) {
    let Some(output) = output else { return };
    let mut lines = LineReader::new(output, LINE_BYTES_MAX);
    let mut window = (Instant::now(), 0);
    loop {
        let line = match lines.next().await {
            Ok(Some(line)) => line,
            Ok(None) | Err(LineError::Io(_)) => return,
            Err(LineError::TooLong { .. } | LineError::NotText) => continue,
        };
        let line = plain(&line);
        if !matters(&line) {
            continue;
        }
        if window.0.elapsed() >= LINES_WINDOW {
            window = (Instant::now(), 0);
        }
        window.1 += 1;
        if window.1 <= LINES_MAX {
            let line = end_of(&without(&line, password.as_deref()));
            let _ = out.send(Told::Note(format!("gateway: {line}"))).await;
        }
    }
}

/// Whether a line of the gateway's log tells of a proof or of trouble (protocol sections 10.2 and 10.6).
pub fn matters(line: &str) -> bool {
    ["'status'", "Skipping submission", "rror", "panic", "Traceback"].iter().any(|mark| line.contains(mark))
}

/// A line of a log without what colours it, and without the date and time that it begins with: ours has its own.
fn plain(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\u{1b}' {
            text.push(c);
        } else if chars.next_if_eq(&'[').is_some() {
            // Parameters, then one letter that says what they are for.
            while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {}
        } else {
            chars.next();
        }
    }
    let mut rest = text.trim();
    while let Some(word) = rest.split_whitespace().next().filter(|word| is_moment(word)) {
        rest = rest[word.len()..].trim_start();
    }
    rest.trim_start_matches(['-', '|', ' ']).to_owned()
}

/// Whether a word is a date, a time or both, however it is bracketed.
fn is_moment(word: &str) -> bool {
    let word = word.trim_matches(['[', ']', '(', ')', ',', '|']);
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    let marks = word.bytes().filter(|byte| b"-:/".contains(byte)).count();
    digits >= 6 && marks >= 2 && word.bytes().all(|byte| byte.is_ascii_digit() || b"-:/.,+TZ".contains(&byte))
}

/// The end of a line, harmless.
fn end_of(line: &str) -> String {
    let chars = line.chars().count();
    let Some(surplus) = chars.checked_sub(LINE_CHARS_MAX).filter(|surplus| *surplus > 0) else {
        return printable(line).into_owned();
    };
    let end: String = line.chars().skip(surplus).collect();
    format!("…{}", printable(&end))
}

/// `line` without the password.
fn without(line: &str, password: Option<&str>) -> String {
    match password.filter(|password| !password.is_empty()) {
        Some(password) => line.replace(password, "[password]"),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_cannot_be_started_is_known_before_it_is_tried() {
        let why = |program: &str| cannot_start(&[program.to_owned()], None);
        assert_eq!(why("sh"), None);
        assert_eq!(why("/bin/sh"), None);
        assert!(why("pearl-gateway-that-is-not-there").unwrap().contains("$PATH"));
        assert!(why("/nowhere/pearl-gateway").unwrap().contains("No such file"));
        assert!(why("/usr").unwrap().contains("directory"));
        assert!(why("/proc/self/status").unwrap().contains("denied"));
        // The system calls the script missing, where what it begins with is.
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("pearl-gateway");
        for (line, missing) in [("#!/bin/sh", false), ("#!/nowhere/python3 -u", true), ("\x7fELF", false)] {
            std::fs::write(&script, line).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
            std::fs::set_permissions(&script, mode).unwrap();
            let named = cannot_start(&["pearl-gateway".to_owned()], Some(folder.path().as_os_str()));
            assert_eq!(why(script.to_str().unwrap()), named);
            assert_eq!(named.is_some_and(|why| why.contains("`/nowhere/python3`")), missing, "{line}");
        }
    }

    #[test]
    fn the_gateway_is_told_everything_but_the_password() {
        let node = NodeSection {
            url: "https://127.0.0.1:44107".to_owned(),
            user: "miner".to_owned(),
            password_env: "SECRET".to_owned(),
            certificate: None,
        };
        let unix = environment(&GatewayEndpoint::Unix("/run/gw.sock".into()), Some(&node), Some("prl1p"));
        let names: Vec<_> = unix.iter().map(|(name, _)| *name).collect();
        assert_eq!(
            names,
            [
                "MINER_RPC_TRANSPORT",
                "MINER_RPC_SOCKET_PATH",
                "PEARLD_RPC_URL",
                "PEARLD_RPC_USER",
                "PEARLD_MINING_ADDRESS"
            ]
        );
        let tcp = environment(&GatewayEndpoint::Tcp { host: "localhost".to_owned(), port: 7 }, None, None);
        assert_eq!(tcp, [("MINER_RPC_TRANSPORT", "tcp".to_owned()), ("MINER_RPC_PORT", "7".to_owned())]);
    }

    /// It knows the system's authorities alone, and a node of one's own is none of theirs.
    #[test]
    fn a_gateway_that_the_host_starts_trusts_the_nodes_own_certificate() {
        let certificate = "/etc/pearld/rpc.cert";
        let node = |certificate: Option<&str>| NodeSection {
            url: "https://127.0.0.1:44107".to_owned(),
            user: "miner".to_owned(),
            password_env: "SECRET".to_owned(),
            certificate: certificate.map(Into::into),
        };
        let trusted = |node: NodeSection| {
            environment(&GatewayEndpoint::Unix("/run/gw.sock".into()), Some(&node), None)
                .into_iter()
                .find(|(name, _)| *name == "SSL_CERT_FILE")
                .map(|(_, value)| value)
        };
        assert_eq!(trusted(node(Some(certificate))).as_deref(), Some(certificate));
        assert_eq!(trusted(node(None)), None);
    }

    #[test]
    fn a_line_of_the_gateways_log_is_told_without_its_colours_and_dates_and_keeps_its_end() {
        let dated = "\u{1b}[31m2026-08-22 10:11:12,123\u{1b}[0m - ERROR - [10:11:12] rejected";
        assert_eq!(plain(dated), "ERROR - [10:11:12] rejected");
        for (line, kept) in [
            ("[2026-08-22T10:11:12.5Z] Error: no", "Error: no"),
            ("08/22/26 10:11:12 error", "error"),
            ("127.0.0.1:8337 error", "127.0.0.1:8337 error"),
            ("\u{1b}", ""),
            ("\u{1b}[1", ""),
        ] {
            assert_eq!(plain(line), kept, "{line:?}");
        }
        let long = format!("Error in {} because: bad-header", "x".repeat(5000));
        let end = end_of(&long);
        assert!(end.starts_with('…') && end.ends_with("because: bad-header"), "{end}");
        assert_eq!(end.chars().count(), LINE_CHARS_MAX + 1);
    }

    #[test]
    fn of_the_gateways_log_only_what_matters_is_kept_and_never_the_password() {
        assert!(matters("INFO {'status': 'accepted'}"));
        assert!(matters("Submitted block with old header. Skipping submission."));
        assert!(!matters("INFO polling getblocktemplate"));
        assert_eq!(
            without("config user=a password=hunter2", Some("hunter2")),
            "config user=a password=[password]"
        );
        assert_eq!(without("abc", Some("")), "abc");
    }
}
