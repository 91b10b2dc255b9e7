//! A Docker of a test's own, which leaves nothing behind: no process, no mount, no file outside of its store.
//!
//! ```text
//! test process ──holds a pipe──> keeper (sh) ──starts, and ends when the pipe does──> dockerd ──> containerd, containers
//! ```
//!
//! The keeper ends the daemon in order however the test process ends, also where it is killed. Both live in a name space
//! of mounts of their own, into which the machine's later mounts come, and out of which nothing goes; what another Docker
//! or containerd of this machine has in `/run` and `/etc` is covered there, so that neither sees the other.
//!
//! # Limitations
//!
//! Needs root, and `unshare`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::machine::has;

/// How long a daemon may take to begin, where other work goes on beside it.
const PATIENCE: Duration = Duration::from_secs(120);

/// Covers what other daemons use, starts one, and ends it when the pipe on stdin ends. `$0` is the folder that is removed
/// at last, and the rest is the daemon.
const KEEPER: &str = r#"
folder=$0 made=
for used in /run/containerd /run/docker /etc/docker; do
    [ -d $used ] || { mkdir $used && made="$made $used"; }
    mount -t tmpfs tmpfs $used
done
exec 3<&0
"$@" </dev/null 3<&- &
daemon=$!
(cat <&3; kill -TERM $daemon) 2>/dev/null &
watcher=$!
exec 3<&-
wait $daemon
kill $watcher 2>/dev/null
cd /
# Where another daemon has come to use one meanwhile, that is not empty.
umount -l /run/containerd /run/docker /etc/docker
[ -z "$made" ] || rmdir $made 2>/dev/null
while read -r _ _ _ _ at _; do
    case $at in "$folder"/*) echo "$at" ;; esac
done </proc/self/mountinfo | sort -r | while read -r at; do umount -l "$at"; done
rm -rf --one-file-system "$folder"
"#;

/// Which network a daemon is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// The machine's, as it is: containers have a loopback interface and no other.
    Shared,
    /// One of its own, in which it makes a bridge.
    Own,
}

/// A daemon that answers. Dropping it ends it in order.
#[derive(Debug)]
pub struct Daemon {
    keeper: Child,
    folder: PathBuf,
}

impl Daemon {
    /// Starts one, with its store in `store`, or in a folder that goes with it.
    ///
    /// # Errors
    ///
    /// What is missing, or what it said last, in a sentence.
    pub fn start(store: Option<&Path>, network: Network) -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("a Docker of the test's own takes root".into());
        }
        for program in ["docker", "dockerd", "unshare", "mount"] {
            if !has(program) {
                return Err(format!("{program} is not on this machine"));
            }
        }
        if network == Network::Own && !has("ip") {
            return Err("a bridge of the test's own takes ip".into());
        }
        // The keeper removes it: it lives longer.
        let folder = tempfile::tempdir().map_err(|err| err.to_string())?.keep();
        let at = |name: &str| folder.join(name);
        let log = store.unwrap_or(&folder).join("dockerd.log");
        let said = File::create(&log).map_err(|err| err.to_string())?;
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "slave"]);
        let mut script = String::new();
        if network == Network::Own {
            command.arg("--net");
            script.push_str("ip link set lo up");
        }
        script.push_str(KEEPER);
        command.args(["sh", "-c", &script]).arg(&folder).arg("dockerd");
        command.arg("--data-root").arg(store.unwrap_or(&folder).join("data"));
        command.arg("--exec-root").arg(at("exec")).arg("--pidfile").arg(at("pid"));
        command.arg("--host").arg(format!("unix://{}", at("docker.sock").display()));
        command.args(["--iptables=false", "--ip6tables=false"]);
        if network == Network::Shared {
            command.args(["--bridge", "none"]);
        }
        // What is typed at a terminal is for the test process, which tells the keeper by its end.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command.stdin(Stdio::piped()).stdout(said.try_clone().map_err(|err| err.to_string())?).stderr(said);
        let keeper = command.spawn().map_err(|err| format!("dockerd: {err}"))?;
        let mut daemon = Self { keeper, folder };
        let deadline = Instant::now() + PATIENCE;
        while !daemon.docker(&["version"]).status.success() {
            let ended = daemon.keeper.try_wait().ok().flatten().is_some();
            if ended || Instant::now() > deadline {
                let log = std::fs::read_to_string(&log).unwrap_or_default();
                return Err(format!(
                    "dockerd does not begin here: {}",
                    log.lines().last().unwrap_or_default()
                ));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(daemon)
    }

    /// Where it listens, as `DOCKER_HOST` has it.
    pub fn host(&self) -> String {
        format!("unix://{}", self.folder.join("docker.sock").display())
    }

    /// A process in its network.
    pub fn pid(&self) -> u32 {
        self.keeper.id()
    }

    /// Runs `docker <args>` to its end.
    pub fn docker(&self, args: &[&str]) -> Output {
        let mut command = Command::new("docker");
        command.args(args).env("DOCKER_HOST", self.host()).env("DOCKER_BUILDKIT", "0");
        command.output().expect("docker is on this machine")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}
