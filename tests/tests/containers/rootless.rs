//! Podman without root, by an ordinary user with subordinate ids: what the documents put first.
//!
//! The user exists in a mount name space of the test's own, so that nobody is added to the machine.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use pearlbed_tests::machine::has;

use super::*;

/// Nobody's number on a usual machine.
const USER: u32 = 54_321;

/// An ordinary user with a folder, a Podman and a `pearlbed`.
struct Somebody {
    folder: tempfile::TempDir,
}

impl Somebody {
    fn new() -> Result<Self, String> {
        let needed = ["podman", "newuidmap", "newgidmap", "setpriv", "unshare", "mount"];
        if let Some(lacks) = needed.into_iter().find(|program| !has(program)) {
            return Err(format!("{lacks} is not on this machine"));
        }
        let Some(runtime) = ["crun", "runc"].into_iter().find(|program| has(program)) else {
            return Err("what podman runs containers with is not on this machine".into());
        };
        if !rustix::process::geteuid().is_root() {
            return Err("a user of the test's own takes root".into());
        }
        let folder = tempfile::tempdir().map_err(|err| err.to_string())?;
        let it = Self { folder };
        for name in ["home/.openjarvis", "run", "plugins", "image"] {
            std::fs::create_dir_all(it.at(name)).map_err(|err| err.to_string())?;
        }
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let own = format!("somebody:x:{USER}:{USER}::{}:/bin/sh\n", it.at("home").display());
        let containers = format!(
            "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n[engine]\nruntime = \"{runtime}\"\n\
             cgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n"
        );
        for (name, text) in [
            ("passwd", passwd + &own),
            (
                "group",
                std::fs::read_to_string("/etc/group").unwrap_or_default() + &format!("somebody:x:{USER}:\n"),
            ),
            ("subids", "somebody:600000:65536\n".to_owned()),
            ("storage.conf", "[storage]\ndriver = \"vfs\"\n".to_owned()),
            ("containers.conf", containers),
        ] {
            std::fs::write(it.at(name), text).map_err(|err| err.to_string())?;
        }
        pearlbed_tests::build::copy_program(&pearlbed_tests::build::pearlbed(), &it.at("pearlbed"));
        Ok(it)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Everything in its folder is its own.
    fn takes_over(&self) {
        let owner = format!("{USER}:{USER}");
        let done =
            Command::new("chown").args(["--recursive", &owner]).arg(self.folder.path()).status().unwrap();
        assert!(done.success());
        // The files that take the place of the system's are the system's.
        for name in ["passwd", "group", "subids"] {
            std::os::unix::fs::chown(self.at(name), Some(0), Some(0)).unwrap();
            std::fs::set_permissions(self.at(name), std::fs::Permissions::from_mode(0o644)).unwrap();
        }
    }

    fn run(&self, program: &Path, arguments: &[&str]) -> Output {
        let script = "mount --bind \"$1\" /etc/passwd && mount --bind \"$2\" /etc/group && mount --bind \"$3\" /etc/subuid \
                      && mount --bind \"$3\" /etc/subgid && user=$4 && shift 4 \
                      && exec setpriv --reuid $user --regid $user --clear-groups \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"]);
        command.args(["passwd", "group", "subids"].map(|name| self.at(name)));
        command.arg(USER.to_string()).arg(program).args(arguments);
        command.current_dir(self.at("home")).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("HOME", self.at("home")).env("XDG_RUNTIME_DIR", self.at("run"));
        command.env("PEARLBED_HOME", self.at("home/.openjarvis"));
        command.env("CONTAINERS_STORAGE_CONF", self.at("storage.conf"));
        command.env("CONTAINERS_CONF", self.at("containers.conf"));
        command.output().unwrap()
    }

    fn podman(&self, arguments: &[&str]) -> Output {
        self.run(Path::new("podman"), arguments)
    }

    fn pearlbed(&self, arguments: &[&str]) -> Output {
        self.run(&self.at("pearlbed"), arguments)
    }
}

impl Drop for Somebody {
    fn drop(&mut self) {
        self.pearlbed(&["stop"]);
        self.podman(&["rm", "--force", "--all", "--time", "1"]);
        // Its name space of users is kept by a process that waits for nothing; and what lies in its store is of other users,
        // whom only it can remove.
        self.podman(&["system", "migrate"]);
        self.podman(&["unshare", "rm", "-rf", self.at("home/.local").to_str().unwrap()]);
        self.podman(&["system", "migrate"]);
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn on_podman_without_root_a_container_mines_with_its_users_rights_and_no_more() {
    // It lays the image out.
    let Some(_engine) = have(Engine::podman()) else { return };
    let somebody = match Somebody::new() {
        Ok(somebody) => somebody,
        Err(why) => return println!("skipped: no container was run without root: {why}"),
    };
    let laid_out = pearlbed_tests::build::target().join("stand-in/podman");
    let copied = Command::new("cp").arg("-r").arg(&laid_out).arg(somebody.at("image/it")).status().unwrap();
    assert!(copied.success());
    let port = pearlbed_tests::ports::free();
    std::fs::write(
        somebody.at("plugins/stand-in.container.toml"),
        pearlbed_tests::stand_in::data_file(port, ""),
    )
    .unwrap();
    std::fs::write(
        somebody.at("home/.openjarvis/config.toml"),
        "[mining]\nprovider = \"stand-in\"\n[mining.extra]\nmodel = \"somebody/a-model-pearl\"\n[mining.container]\nengine = \
         \"podman\"\nnetwork = \"host\"\n",
    )
    .unwrap();
    somebody.takes_over();
    let image = pearlbed_tests::stand_in::IMAGE;
    let built =
        somebody.podman(&["build", "--quiet", "--tag", image, somebody.at("image/it").to_str().unwrap()]);
    let tried = somebody.podman(&[
        "run",
        "--rm",
        "--network",
        "host",
        "--userns",
        "keep-id",
        "--env",
        "STAND_IN=exit=7",
        image,
    ]);
    if !built.status.success() || tried.status.code() != Some(7) {
        let said = text(&built) + &text(&tried);
        let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default().to_owned();
        return println!("skipped: podman runs no container without root here: {last}");
    }
    let plugins = somebody.at("plugins");
    let start =
        somebody.pearlbed(&["start", "--devnet", "--plugin-dir", plugins.to_str().unwrap(), "--wait", "240"]);
    let log = || std::fs::read_to_string(somebody.at("home/.openjarvis/logs/mining.log")).unwrap_or_default();
    assert!(start.status.success(), "{}\n{}", text(&start), log());
    let status = || -> Value {
        serde_json::from_slice(&somebody.pearlbed(&["status", "--json"]).stdout).unwrap_or_default()
    };
    wait_until(
        PATIENCE,
        || accepted(&status()) > 0 && Session::container(&status())["phase"] == "serving",
        log,
    );
    let container = Session::container(&status()).clone();
    assert!(container["engine"].as_str().unwrap().ends_with(", rootless"), "{container:#}");
    let id = container["container_id"].as_str().unwrap();
    let top = somebody.podman(&["inspect", "--format", "{{.State.Pid}}", id]);
    let pid: u32 = String::from_utf8_lossy(&top.stdout).trim().parse().unwrap();
    let of = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(format!("/proc/{pid}")).unwrap());
    assert_eq!(of, USER, "its processes are its user's own");
    let stop = somebody.pearlbed(&["stop"]);
    assert!(stop.status.success(), "{}\n{}", text(&stop), log());
    let left = somebody.podman(&["ps", "--all", "--quiet"]);
    assert_eq!(String::from_utf8_lossy(&left.stdout).trim(), "", "{}", log());
}
