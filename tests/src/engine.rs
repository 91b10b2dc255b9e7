//! A container engine for tests: the one that runs here, or a Docker of the test's own that ends with it.
//!
//! The image is built once a test process, by `cargo xtask image --dev`. Needs root where no engine runs.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use crate::build;
use crate::machine::has;

/// How long the engine may take to begin, where other work goes on beside it.
const PATIENCE: Duration = Duration::from_secs(120);

/// What the image of the tests is called.
pub const IMAGE: &str = "pearlbed:tests";

/// An engine with the image. The last one to let it go ends it.
#[derive(Debug)]
pub struct Engine {
    own: Option<Own>,
}

/// A Docker of the test's own.
#[derive(Debug)]
struct Own {
    daemon: Child,
    socket: PathBuf,
    _run: tempfile::TempDir,
}

static SHARED: Mutex<Weak<Engine>> = Mutex::new(Weak::new());
static BARE: Mutex<Weak<Engine>> = Mutex::new(Weak::new());

impl Engine {
    /// The engine, shared by all tests of this process; or why there is none.
    ///
    /// # Errors
    ///
    /// What is missing, in a sentence.
    pub fn get() -> Result<Arc<Self>, String> {
        let mut shared = SHARED.lock().unwrap_or_else(|broken| broken.into_inner());
        if let Some(engine) = shared.upgrade() {
            return Ok(engine);
        }
        let engine = Arc::new(Self::find("container")?);
        engine.build_image()?;
        *shared = Arc::downgrade(&engine);
        Ok(engine)
    }

    /// The same without an image, and, where it is the test's own, with a store of its own.
    ///
    /// # Errors
    ///
    /// What is missing, in a sentence.
    pub fn bare() -> Result<Arc<Self>, String> {
        let mut shared = BARE.lock().unwrap_or_else(|broken| broken.into_inner());
        if let Some(engine) = shared.upgrade() {
            return Ok(engine);
        }
        let engine = Arc::new(Self::find("container-bare")?);
        *shared = Arc::downgrade(&engine);
        Ok(engine)
    }

    /// Where it listens, if it is the test's own.
    pub fn host(&self) -> Option<String> {
        self.own.as_ref().map(|own| format!("unix://{}", own.socket.display()))
    }

    fn find(store: &str) -> Result<Self, String> {
        if !has("docker") {
            return Err("docker is not on this machine".into());
        }
        let running = Self { own: None };
        if running.docker(&["version"]).status.success() {
            return Ok(running);
        }
        if !rustix::process::geteuid().is_root() || !has("dockerd") {
            return Err("no Docker runs here, and one of the test's own takes root and dockerd".into());
        }
        let run = tempfile::tempdir().map_err(|err| err.to_string())?;
        let socket = run.path().join("docker.sock");
        let folder = build::target().join(store);
        std::fs::create_dir_all(&folder).map_err(|err| err.to_string())?;
        let log = File::create(folder.join("dockerd.log")).map_err(|err| err.to_string())?;
        let mut daemon = Command::new("dockerd");
        daemon.arg("--data-root").arg(folder.join("data")).arg("--exec-root").arg(run.path().join("exec"));
        daemon.arg("--pidfile").arg(run.path().join("pid"));
        daemon.arg("--host").arg(format!("unix://{}", socket.display()));
        // Containers of the tests have a loopback interface and no other, so the system's own network stays as it is.
        daemon.args(["--bridge", "none", "--iptables=false", "--ip6tables=false"]);
        let daemon = daemon
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(|err| err.to_string())?)
            .stderr(log)
            .spawn()
            .map_err(|err| format!("dockerd: {err}"))?;
        let mut engine = Self { own: Some(Own { daemon, socket, _run: run }) };
        let deadline = Instant::now() + PATIENCE;
        while !engine.docker(&["version"]).status.success() {
            let own = engine.own.as_mut().expect("it was made above");
            let ended = own.daemon.try_wait().ok().flatten();
            if ended.is_some() || Instant::now() > deadline {
                let log = std::fs::read_to_string(folder.join("dockerd.log")).unwrap_or_default();
                return Err(format!(
                    "dockerd does not begin here: {}",
                    log.lines().last().unwrap_or_default()
                ));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(engine)
    }

    fn build_image(&self) -> Result<(), String> {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args([
            "run", "--quiet", "--locked", "-p", "xtask", "--", "image", "--dev", "--engine", "docker",
        ]);
        cargo.args(["--tag", IMAGE]).current_dir(build::workspace());
        let output = self.with_host(&mut cargo).output().map_err(|err| err.to_string())?;
        assert!(output.status.success(), "an engine is here, and the image is not built: {output:?}");
        Ok(())
    }

    fn with_host<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        if let Some(own) = &self.own {
            command.env("DOCKER_HOST", format!("unix://{}", own.socket.display()));
        }
        command.env("DOCKER_BUILDKIT", "0")
    }

    /// Runs `docker <args>` to its end.
    pub fn docker(&self, args: &[&str]) -> Output {
        let mut command = Command::new("docker");
        self.with_host(command.args(args)).output().expect("docker was there a moment ago")
    }

    /// Runs `docker <args>`, which must succeed; its answer without blanks around it.
    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.docker(args);
        assert!(output.status.success(), "docker {args:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let Some(own) = &mut self.own else { return };
        let pid = i32::try_from(own.daemon.id()).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            // In order: it ends the containers and its own helper.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = own.daemon.wait();
    }
}

/// A container that is removed when this is dropped.
#[derive(Debug)]
pub struct Container {
    engine: Arc<Engine>,
    /// Its number.
    pub id: String,
}

impl Container {
    /// Starts the image in the background with `options` and the command line `args`.
    #[track_caller]
    pub fn start(engine: &Arc<Engine>, options: &[&str], args: &[&str]) -> Self {
        let all = [&["run", "--detach", "--network", "none"][..], options, &[IMAGE], args].concat();
        Self { id: engine.ok(&all), engine: Arc::clone(engine) }
    }

    /// Runs `pearlbed <args>` in it.
    pub fn pearlbed(&self, args: &[&str]) -> Output {
        self.engine.docker(&[&["exec", &self.id, "/usr/bin/pearlbed"][..], args].concat())
    }

    /// What it has written.
    pub fn logs(&self) -> String {
        let output = self.engine.docker(&["logs", &self.id]);
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    }

    /// The number that its first process has outside.
    pub fn pid(&self) -> u32 {
        let pid = self.engine.ok(&["inspect", "--format", "{{.State.Pid}}", &self.id]);
        pid.parse().expect("a running container has a process")
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.engine.docker(&["rm", "--force", "--volumes", &self.id]);
    }
}
