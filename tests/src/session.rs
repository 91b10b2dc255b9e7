//! A home folder of a test's own with a session in it, and the commands that a person would type.

use std::fmt::Debug;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::build;

/// How many seconds a start waits for its first job, on the busiest machine; nobody waits for their end where all is well.
pub const START_WAIT: &str = "120";

/// How long a page may take, on the busiest machine.
const HTTP_TIME: Duration = Duration::from_secs(60);

/// A home folder, a plugin folder with the provider `odd-miner`, and the real binary. Dropping it stops the session.
#[derive(Debug)]
pub struct Bed {
    dir: tempfile::TempDir,
    plugins: String,
}

/// What a command answered.
#[derive(Debug)]
pub struct Answer {
    /// Exit status; -1 for a signal.
    pub code: i32,
    /// Its answer.
    pub stdout: String,
    /// Its story.
    pub stderr: String,
}

impl Bed {
    /// A bed whose configuration holds `extra` in `[mining.extra]`; without any configuration where that is empty.
    pub fn new(extra: &str) -> Self {
        Self::with(extra, "")
    }

    /// The same with further sections.
    pub fn with(extra: &str, sections: &str) -> Self {
        let dir = tempfile::tempdir().expect("a test may make a folder");
        let plugins = dir.path().join("plugins");
        std::fs::create_dir(&plugins).expect("the folder is the test's own");
        let plugin = plugins.join(format!("odd_miner{}", std::env::consts::DLL_SUFFIX));
        std::fs::copy(build::plugin("odd-miner"), &plugin).expect("the plugin was just built");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        std::fs::set_permissions(&plugin, mode).expect("the file is the test's own");
        let bed = Self { plugins: plugins.to_str().expect("temporary names are plain").to_owned(), dir };
        if !extra.is_empty() || !sections.is_empty() {
            bed.config(extra, sections);
        }
        bed
    }

    /// Writes the configuration anew.
    pub fn config(&self, extra: &str, sections: &str) {
        std::fs::create_dir_all(self.home()).expect("the folder is the test's own");
        let text = format!("[mining.extra]\n{extra}\n{sections}\n");
        std::fs::write(self.home().join("config.toml"), text).expect("the folder is the test's own");
    }

    /// The folder that everything lies in.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The home folder, which need not exist yet.
    pub fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// The plugin folder.
    pub fn plugins(&self) -> &str {
        &self.plugins
    }

    /// `pearlbed` with `args`, in this home and a plain environment.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(build::pearlbed());
        command.args(args).env_clear().env("PEARLBED_HOME", self.home()).env("PATH", "/usr/bin:/bin");
        command
    }

    /// Runs `pearlbed` with `args` to its end.
    pub fn run(&self, args: &[&str]) -> Answer {
        let output = self.command(args).output().expect("the binary was just built");
        Answer {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Starts a session on the devnet.
    pub fn start(&self) -> Answer {
        self.run(&["start", "--devnet", "--wait", START_WAIT, "--plugin-dir", &self.plugins])
    }

    /// `status --json`.
    pub fn status(&self) -> Value {
        let answer = self.run(&["status", "--json"]);
        serde_json::from_str(&answer.stdout).unwrap_or_else(|err| panic!("{err}: {answer:?}"))
    }

    /// Waits until the status is as wanted, and answers it.
    pub fn wait_for(&self, patience: Duration, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + patience;
        loop {
            let status = self.status();
            if wanted(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "waited in vain: {status:#}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The session log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.home().join("logs/mining.log")).unwrap_or_default()
    }

    /// The session record, where there is one that is JSON.
    pub fn sidecar(&self) -> Option<Value> {
        serde_json::from_slice(&std::fs::read(self.home().join("runtime/mining.json")).ok()?).ok()
    }

    /// Puts a record in the place of the session's, as other programs do: whole from one moment to the next.
    pub fn put_record(&self, text: &str) {
        let file = self.home().join("runtime/mining.json");
        let new = file.with_extension("new");
        std::fs::write(&new, text).expect("the folder is the test's own");
        std::fs::rename(&new, file).expect("the same");
    }

    /// The session's processes: supervisor and provider.
    pub fn pids(&self) -> Vec<u32> {
        let status = self.status();
        let pid = |key: &str| status[key].as_u64().and_then(|pid| u32::try_from(pid).ok());
        [pid("supervisor_pid"), pid("provider_pid")].into_iter().flatten().collect()
    }

    /// Those of `pids` that are there and have not ended.
    pub fn alive(&self, pids: &[u32]) -> Vec<u32> {
        let there = |pid: &&u32| pearlbed::identity::ProcessIdentity::of(**pid).is_some();
        pids.iter().filter(there).copied().collect()
    }

    /// Every process that runs this bed's home: supervisors by their command line, and what they started.
    pub fn processes(&self) -> Vec<u32> {
        let home = self.home();
        let home = home.as_os_str().as_encoded_bytes();
        let mut found = Vec::new();
        let mut parents = Vec::new();
        for entry in std::fs::read_dir("/proc").expect("Linux has /proc").flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            let Some(parent) = parent(pid) else { continue };
            parents.push((pid, parent));
            let title = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            if title.windows(home.len()).any(|window| window == home)
                && title.windows(11).any(|window| window == b"__supervise")
            {
                found.push(pid);
            }
        }
        let children: Vec<u32> =
            parents.iter().filter(|(_, parent)| found.contains(parent)).map(|(pid, _)| *pid).collect();
        found.extend(children);
        found
    }

    /// Sends `signal` to a process that this test started.
    pub fn signal(&self, pid: u32, signal: rustix::process::Signal) {
        let pid =
            i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).expect("a pid is positive");
        let _ = rustix::process::kill_process(pid, signal);
    }

    /// One page over plain HTTP, head included.
    pub fn http(&self, address: &str, path: &str) -> String {
        let mut stream = std::net::TcpStream::connect(address).expect("the session listens there");
        stream.set_read_timeout(Some(HTTP_TIME)).expect("the time is not zero");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        answer
    }

    /// Whether any file of the home holds `text`.
    pub fn any_file_contains(&self, text: &str) -> bool {
        fn search(dir: &Path, text: &[u8]) -> bool {
            std::fs::read_dir(dir).into_iter().flatten().flatten().any(|entry| {
                let path = entry.path();
                if path.is_dir() {
                    return search(&path, text);
                }
                path.is_file()
                    && std::fs::read(&path)
                        .is_ok_and(|bytes| bytes.windows(text.len()).any(|window| window == text))
            })
        }
        search(&self.home(), text.as_bytes())
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.run(&["stop"]);
        for pid in self.processes() {
            self.signal(pid, rustix::process::Signal::KILL);
        }
    }
}

/// The parent of a process that has not ended.
fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") { None } else { fields.next()?.parse().ok() }
}

/// The children of a process that have not ended.
pub fn children(of: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").expect("Linux has /proc").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| parent(*pid) == Some(of)).collect()
}

/// Collects children of this process that have ended, but for `not`, whose starter waits for it: orphans that became
/// children here.
pub fn reap_orphans(not: Option<u32>) {
    let own = std::process::id();
    for entry in std::fs::read_dir("/proc").expect("Linux has /proc").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let Some((_, fields)) = stat.rsplit_once(')') else { continue };
        let mut fields = fields.split_ascii_whitespace();
        let ended = matches!(fields.next(), Some("Z"));
        let ours = fields.next().and_then(|parent| parent.parse().ok()) == Some(own);
        if ended && ours && Some(pid) != not {
            let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
            let _ = rustix::process::waitpid(pid, rustix::process::WaitOptions::NOHANG);
        }
    }
}

/// How a session in the foreground ended, which it has to within `patience`.
pub fn ended(session: &mut Child, patience: Duration) -> ExitStatus {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(status) = session.try_wait().expect("it is a child of this process") {
            return status;
        }
        assert!(Instant::now() < deadline, "process {} does not end", session.id());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until `wanted`; `otherwise` tells what is there instead.
pub fn wait_until<T: Debug>(patience: Duration, wanted: impl Fn() -> bool, otherwise: impl Fn() -> T) {
    let deadline = Instant::now() + patience;
    while !wanted() {
        assert!(Instant::now() < deadline, "waited in vain: {:?}", otherwise());
        std::thread::sleep(Duration::from_millis(20));
    }
}
