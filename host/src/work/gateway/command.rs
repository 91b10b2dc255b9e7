//! A `pearl-gateway` that the session starts, keeps running and stops.
//!
//! The gateway takes its settings from the environment; the node's password goes from our variable to its own and is
//! never on a command line. Its log names the password, so of its output only the lines that tell of a proof or an
//! error are passed on, with the password taken out, and few of them.

use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::AsyncRead;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use super::backoff::Backoff;
use super::protocol::bounded;
use crate::config::{GatewayEndpoint, NodeSection};
use crate::work::GatewayConfig;
use crate::work::lines::{LineError, LineReader};

/// Time between asking the gateway to end and ending it. A proof under way may be lost either way.
const GRACE: Duration = Duration::from_secs(3);
/// A gateway that ran this long was healthy: its end is the first failure, not the next.
const HEALTHY: Duration = Duration::from_secs(600);
/// Lines of its log that are passed on in [`LINES_WINDOW`].
const LINES_MAX: u32 = 10;
/// See [`LINES_MAX`].
const LINES_WINDOW: Duration = Duration::from_secs(60);
/// A longer line of its log is skipped.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// Starts the gateway and starts it again whenever it ends, with back-off, until `stop` resolves. What there is to say
/// goes to `notes`.
pub async fn supervise(
    config: GatewayConfig,
    argv: Vec<String>,
    mut stop: tokio::sync::watch::Receiver<bool>,
    notes: mpsc::Sender<String>,
) {
    let password = config.node.as_ref().and_then(|node| std::env::var(&node.password_env).ok());
    let mut backoff = Backoff::new(Duration::from_secs(1));
    loop {
        let started = Instant::now();
        let ended = match spawn(&config, &argv, password.as_deref()) {
            Err(err) => format!("failed to start the gateway `{}`: {err}", bounded(&argv[0])),
            Ok(mut child) => {
                let pid = child.id().unwrap_or_default();
                let _ = notes.send(format!("started the gateway (pid {pid})")).await;
                let log = tokio::spawn(pass_on(child.stderr.take(), password.clone(), notes.clone()));
                let out = tokio::spawn(pass_on(child.stdout.take(), password.clone(), notes.clone()));
                let ended = tokio::select! {
                    status = child.wait() => Some(status),
                    _ = stop.wait_for(|stop| *stop) => None,
                };
                let Some(status) = ended else {
                    end(&mut child).await;
                    return;
                };
                // Its children may hold its output open for long; what they say is not awaited.
                log.abort();
                out.abort();
                match status {
                    Ok(status) => format!("the gateway ended: {status}"),
                    Err(err) => format!("the gateway was lost: {err}"),
                }
            }
        };
        if started.elapsed() >= HEALTHY {
            backoff.worked();
        }
        let wait = backoff.failed();
        let _ = notes.send(format!("{ended}; it is started again in {:.0} s", wait.as_secs_f64())).await;
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
        .kill_on_drop(true);
    if let Some(password) = password {
        command.env("PEARLD_RPC_PASSWORD", password);
    }
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Signal, set_parent_process_death_signal};
        // SAFETY: between fork and exec only async-signal-safe calls are allowed; this is the single system call prctl,
        // and the closure allocates nothing.
        unsafe {
            command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::TERM))?));
        }
    }
    command.spawn()
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
    }
    if let Some(wallet) = wallet {
        variables.push(("PEARLD_MINING_ADDRESS", wallet.to_owned()));
    }
    variables
}

/// Asks the gateway to end, and ends it if it does not.
async fn end(child: &mut Child) {
    let pid = child.id().and_then(|pid| rustix::process::Pid::from_raw(pid.cast_signed()));
    if let Some(pid) = pid {
        // Not reaped yet, so the pid is still its own.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
    if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
}

/// Reads the gateway's output to its end and passes on what matters.
async fn pass_on(
    output: Option<impl AsyncRead + Unpin>,
    password: Option<String>,
    notes: mpsc::Sender<String>,
) {
    let Some(output) = output else { return };
    let mut lines = LineReader::new(output, LINE_BYTES_MAX);
    let mut window = (Instant::now(), 0);
    loop {
        let line = match lines.next().await {
            Ok(Some(line)) => line,
            Ok(None) | Err(LineError::Io(_)) => return,
            Err(LineError::TooLong { .. } | LineError::NotText) => continue,
        };
        if !matters(&line) {
            continue;
        }
        if window.0.elapsed() >= LINES_WINDOW {
            window = (Instant::now(), 0);
        }
        window.1 += 1;
        if window.1 <= LINES_MAX {
            let _ = notes.send(format!("gateway: {}", bounded(&without(&line, password.as_deref())))).await;
        }
    }
}

/// Whether a line of the gateway's log tells of a proof or of trouble (protocol sections 10.2 and 10.6).
fn matters(line: &str) -> bool {
    ["'status'", "Skipping submission", "rror", "panic", "Traceback"].iter().any(|mark| line.contains(mark))
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
