//! A container engine for tests: a Docker of the test's own that ends with it, or, without root, the one that runs here.
//!
//! The image is built once a test process, by `cargo xtask image --dev`. Nothing is left of it: where the engine is
//! somebody's, the image is removed again.

use std::process::{Command, Output};
use std::sync::{Arc, Mutex, Weak};

use crate::build;
use crate::dockerd::{Daemon, Network};
use crate::machine::has;

/// What the image of the tests is called.
pub const IMAGE: &str = "pearlbed:tests";

/// An engine with the image. The last one to let it go ends it.
#[derive(Debug)]
pub struct Engine {
    own: Option<Daemon>,
    /// What is made in it.
    image: &'static str,
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
        let engine = Arc::new(Self::find("container", IMAGE)?);
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
        let engine = Arc::new(Self::find("container-bare", crate::stand_in::IMAGE)?);
        *shared = Arc::downgrade(&engine);
        Ok(engine)
    }

    /// Where it listens, if it is the test's own.
    pub fn host(&self) -> Option<String> {
        self.own.as_ref().map(Daemon::host)
    }

    fn find(store: &str, image: &'static str) -> Result<Self, String> {
        if !has("docker") {
            return Err("docker is not on this machine".into());
        }
        if rustix::process::geteuid().is_root() && has("dockerd") {
            let folder = build::target().join(store);
            std::fs::create_dir_all(&folder).map_err(|err| err.to_string())?;
            return Ok(Self { own: Some(Daemon::start(Some(&folder), Network::Shared)?), image });
        }
        let running = Self { own: None, image };
        match running.docker(&["version"]).status.success() {
            true => Ok(running),
            false => Err("no Docker runs here, and one of the test's own takes root and dockerd".into()),
        }
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
            command.env("DOCKER_HOST", own.host());
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
        // What is somebody's is left as it was; where there is no such image it says so to nobody.
        if self.own.is_none() {
            self.docker(&["rmi", self.image]);
        }
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
