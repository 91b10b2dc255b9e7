//! Starts a supervisor in the background and hears how it fares until it has its first job.

use std::io;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};

use super::announce::{Announcement, Announcer};
use super::supervise::{SuperviseError, make_folders};
use crate::miner::Options;

/// The hidden subcommand of the supervisor process.
pub const SUBCOMMAND: &str = "__supervise";

/// Longest announcement, in bytes.
const LINE_BYTES_MAX: u64 = 256 << 10;

/// A supervisor that was started, and what it says.
#[derive(Debug)]
pub struct Launched {
    lines: Lines<BufReader<tokio::io::Take<tokio::process::ChildStdout>>>,
    child: tokio::process::Child,
}

/// Starts a supervisor for `options` in a session of its own. Must be called in a tokio runtime.
///
/// # Errors
///
/// - [`SuperviseError::Folder`]: the home cannot be written; nothing was started.
/// - [`SuperviseError::Runtime`]: no process could be made.
pub fn launch(options: &Options) -> Result<Launched, SuperviseError> {
    make_folders(&options.home)?;
    let runtime = SuperviseError::Runtime;
    let path = options.home.log_file();
    let log = super::log::open_to_append(&path).map_err(|err| SuperviseError::Log { path, err })?;
    let program = if cfg!(target_os = "linux") {
        "/proc/self/exe".into()
    } else {
        std::env::current_exe().map_err(runtime)?
    };
    let mut command = Command::new(program);
    std::os::unix::process::CommandExt::arg0(&mut command, "pearlbed");
    command.arg(SUBCOMMAND).arg("--home").arg(options.home.root());
    if options.devnet {
        command.arg("--devnet");
    }
    if options.port {
        command.arg("--port");
    }
    if let Some(provider) = &options.provider {
        command.arg("--provider").arg(provider);
    }
    for dir in &options.plugin_dirs {
        command.arg("--plugin-dir").arg(std::path::absolute(dir).unwrap_or_else(|_| dir.clone()));
    }
    if options.anyway {
        command.arg("--anyway");
    }
    if options.relax_file_checks {
        command.arg("--relax-file-checks");
    }
    command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
    let mut child = tokio::process::Command::from(command).spawn().map_err(runtime)?;
    let pipe = child.stdout.take().expect("stdout was asked to be a pipe");
    let lines = BufReader::new(tokio::io::AsyncReadExt::take(pipe, LINE_BYTES_MAX)).lines();
    Ok(Launched { lines, child })
}

impl Launched {
    /// The next announcement; nothing once the supervisor has ended or says what cannot be read.
    pub async fn next(&mut self) -> Option<Announcement> {
        let line = self.lines.next_line().await.ok().flatten()?;
        serde_json::from_str(&line).ok()
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// How it ended, waiting a moment for that.
    pub async fn ending(&mut self) -> Option<std::process::ExitStatus> {
        tokio::time::timeout(Duration::from_secs(5), self.child.wait()).await.ok()?.ok()
    }
}

/// Turns this process into the background process that a supervisor runs in: a session of its own, and the pipe to
/// whoever started it moved off standard output, so that no stray print reaches it.
///
/// # Errors
///
/// Where the kernel refuses a descriptor.
pub fn detach() -> io::Result<Announcer> {
    // Fails only for the leader of a process group, which a freshly spawned process is not.
    let _ = rustix::process::setsid();
    let stdout = io::stdout();
    let pipe = rustix::io::fcntl_dupfd_cloexec(stdout.as_fd(), 3)?;
    rustix::stdio::dup2_stdout(io::stderr().as_fd())?;
    Ok(Announcer::on(pipe.into()))
}
