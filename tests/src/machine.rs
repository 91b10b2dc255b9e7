//! A machine of a test's own: Debian with systemd as its first process, in a container, with nothing of ours on it yet.
//!
//! ```text
//! base (mmdebstrap, once a target folder) --overlay in memory--> a root of the test's own --systemd-nspawn--> Machine
//! ```
//!
//! What a test does to its machine is gone with it. It has a loopback interface and no other network. Needs root, and
//! programs that Debian has; a machine that cannot be made says why, in a sentence for a skipped test.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::{build, session};

/// What is installed beside a minimal Debian: systemd with sessions of users, and what the tests type.
const PACKAGES: &str = "systemd,systemd-sysv,dbus,dbus-user-session,libpam-systemd,libgcc-s1,procps";

/// How long a machine may take to boot, and a command in it to end, where other work goes on beside it.
const PATIENCE: Duration = Duration::from_secs(240);

/// One at a time: each mines, and two cores are soon busy.
static TURN: Mutex<()> = Mutex::new(());

/// A machine that has booted. Dropping it is pulling its plug.
#[derive(Debug)]
pub struct Machine {
    container: Child,
    init: u32,
    _work: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

/// What a command on a machine answered.
#[derive(Debug)]
pub struct Said {
    /// Exit status; -1 for a signal.
    pub code: i32,
    /// Its answer.
    pub stdout: String,
    /// Its story.
    pub stderr: String,
}

impl Machine {
    /// Boots a machine, or says why there can be none here.
    ///
    /// # Errors
    ///
    /// What is missing, in a sentence.
    pub fn boot() -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("a container with systemd takes root".into());
        }
        for program in ["systemd-nspawn", "mmdebstrap", "nsenter", "unshare", "setpriv"] {
            if !has(program) {
                return Err(format!("{program} is not on this machine"));
            }
        }
        let turn = TURN.lock().unwrap_or_else(|broken| broken.into_inner());
        let base = base()?;
        let work = tempfile::tempdir().map_err(|err| format!("there is no temporary folder: {err}"))?;
        // The mounts are in a name space of the container's own, so that nothing is left of them.
        let script = "mount -t tmpfs tmpfs \"$1\" && mkdir \"$1/up\" \"$1/work\" \"$1/root\" && \
             mount -t overlay overlay -o \"lowerdir=$0,upperdir=$1/up,workdir=$1/work\" \"$1/root\" && \
             shift && exec setpriv --pdeathsig KILL systemd-nspawn \"$@\"";
        let log = File::create(base.with_extension("log")).map_err(|err| err.to_string())?;
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", script]).arg(&base).arg(work.path());
        command.arg("--directory").arg(work.path().join("root"));
        command.args(["--quiet", "--boot", "--register=no", "--link-journal=no", "--console=pipe"]);
        command.args(["--private-network", &format!("--machine=pearlbed-{}", std::process::id())]);
        // What confines providers; a container's manager allows what its makers knew.
        command.arg(
            "--system-call-filter=seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self",
        );
        if !Path::new("/run/systemd/system").exists() {
            command.arg("--keep-unit");
        }
        let container = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(|err| err.to_string())?)
            .stderr(log)
            .spawn()
            .map_err(|err| format!("no container can be started: {err}"))?;
        let mut machine = Self { container, init: 0, _work: work, _turn: turn };
        machine.wait_for_boot().map_err(|why| {
            let log = std::fs::read_to_string(base.with_extension("log")).unwrap_or_default();
            format!("a container with systemd does not boot here ({why}): {}", log.trim())
        })?;
        Ok(machine)
    }

    fn wait_for_boot(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok(Some(status)) = self.container.try_wait() {
                return Err(format!("it ended with {status}"));
            }
            let comm = |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            let init =
                session::children(self.container.id()).into_iter().find(|pid| comm(pid) == "systemd\n");
            if let Some(init) = init {
                self.init = init;
                let state = self.sh("systemctl is-system-running");
                if ["running", "degraded"].contains(&state.stdout.trim()) {
                    return Ok(());
                }
            }
            if Instant::now() > deadline {
                return Err("it took too long".into());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Runs `script` as root of the machine, to its end.
    pub fn sh(&self, script: &str) -> Said {
        let output = Command::new("nsenter")
            .args(["--target", &self.init.to_string(), "--all", "env", "-i", "HOME=/root", "LANG=C.UTF-8"])
            .args(["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "sh", "-c", script])
            .stdin(Stdio::null())
            .output()
            .expect("nsenter was there a moment ago");
        Said {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs `script` as [`Self::sh`] does, which must succeed; its answer without blanks around it.
    #[track_caller]
    pub fn ok(&self, script: &str) -> String {
        let said = self.sh(script);
        assert_eq!(said.code, 0, "{script}: {said:?}");
        said.stdout.trim().to_owned()
    }

    /// Waits until `script` succeeds; `otherwise` is run for what is told instead.
    #[track_caller]
    pub fn wait_for(&self, script: &str, otherwise: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = self.sh(script);
            if said.code == 0 {
                return;
            }
            assert!(Instant::now() < deadline, "{script}: {said:?}\n{:?}", self.sh(otherwise));
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Copies the file `from` of this computer to `to` on the machine.
    pub fn copy(&self, from: &Path, to: &str) {
        let root = format!("/proc/{}/root", self.init);
        let to = Path::new(&root).join(to.trim_start_matches('/'));
        std::fs::copy(from, &to)
            .unwrap_or_else(|err| panic!("{} to {}: {err}", from.display(), to.display()));
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // The machine's first process takes all others of it along; left alone it would outlive its container.
        for first in session::children(self.container.id()) {
            if let Some(pid) = rustix::process::Pid::from_raw(first.cast_signed()) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        let _ = self.container.kill();
        let _ = self.container.wait();
    }
}

/// Whether `program` can be found.
pub fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// The folder with the machine's system, made where there is none; other test processes wait meanwhile.
fn base() -> Result<PathBuf, String> {
    let folder = build::target().join("machine");
    std::fs::create_dir_all(&folder).map_err(|err| err.to_string())?;
    let lock = File::create(folder.join("lock")).map_err(|err| err.to_string())?;
    lock.lock().map_err(|err| err.to_string())?;
    let (base, made_of) = (folder.join("base"), folder.join("made-of"));
    if std::fs::read_to_string(&made_of).is_ok_and(|packages| packages == PACKAGES) && base.is_dir() {
        return Ok(base);
    }
    let _ = std::fs::remove_dir_all(&base);
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let codename = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let codename =
        codename.ok_or("this system's release has no code name, so no packages for it are known")?;
    let mut command = Command::new("mmdebstrap");
    command.args(["--quiet", "--variant=minbase", &format!("--include={PACKAGES}")]);
    // What is not asked for in a machine of minutes: its documents are not read, and nobody pulls its plug meanwhile.
    command.args(["--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=force-unsafe-io"]);
    command.arg(codename).arg(&base).args(mirrors(codename));
    let output = command.stdin(Stdio::null()).output().map_err(|err| format!("mmdebstrap: {err}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last: Vec<&str> = said.lines().rev().take(3).collect();
        return Err(format!("no Debian can be installed from here: {}", last.join("; ")));
    }
    std::fs::write(&made_of, PACKAGES).map_err(|err| err.to_string())?;
    Ok(base)
}

/// Where this system's own apt gets its packages from, as lines of a list; none where it has not looked yet, and then
/// mmdebstrap goes where it goes by itself.
fn mirrors(codename: &str) -> Vec<String> {
    let output = Command::new("apt-get")
        .args(["indextargets", "--format", "$(REPO_URI) $(CODENAME) $(COMPONENT)", "Identifier: Packages"])
        .output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let mut lines: Vec<String> = text
        .lines()
        .filter_map(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
            [uri, suite, component] if suite == codename && ["main", "universe"].contains(&component) => {
                Some(format!("deb {uri} {suite} {component}"))
            }
            _ => None,
        })
        .collect();
    lines.sort();
    lines.dedup();
    lines
}
