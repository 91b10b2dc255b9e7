//! The image of the stand-in, and sessions whose container it is: on Docker and on Podman, each the test's own.
//!
//! The image is the program `stand-in`, the files that its loader maps, and nothing else. Needs root and the engines'
//! programs; where one is missing, whoever asks is told why.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use serde_json::Value;

use crate::build;
use crate::engine::Engine as Docker;
use crate::machine::has;
use crate::session::Bed;

/// What the image is called.
pub const IMAGE: &str = "localhost/pearlbed-stand-in:1";

/// An engine with the image.
#[derive(Debug, Clone)]
pub enum Engine {
    /// A Docker of the test's own, or the one that runs here.
    Docker(Arc<Docker>),
    /// Podman, with a store of the test's own.
    Podman(Arc<Podman>),
}

/// Podman with a store and a configuration of the test's own.
#[derive(Debug)]
pub struct Podman {
    folder: tempfile::TempDir,
}

/// Why nothing can be tried with an engine.
pub type Why = String;

impl Engine {
    /// Docker, with the image in it.
    ///
    /// # Errors
    ///
    /// What is missing.
    pub fn docker() -> Result<Self, Why> {
        let engine = Self::Docker(Docker::bare()?);
        engine.make_image()?;
        Ok(engine)
    }

    /// Podman, with the image in it.
    ///
    /// # Errors
    ///
    /// What is missing.
    pub fn podman() -> Result<Self, Why> {
        if !has("podman") || !(has("runc") || has("crun")) {
            return Err("podman, or what it runs containers with, is not on this machine".into());
        }
        if !rustix::process::geteuid().is_root() {
            return Err("a store of the test's own takes root".into());
        }
        let folder = tempfile::tempdir().map_err(|err| err.to_string())?;
        let runtime = if has("crun") { "crun" } else { "runc" };
        let at = |name: &str| folder.path().join(name).display().to_string();
        let storage = format!(
            "[storage]\ndriver = \"vfs\"\ngraphroot = \"{}\"\nrunroot = \"{}\"\n",
            at("graph"),
            at("run")
        );
        // Limits above those of whatever this runs in cannot be set. Another Podman of the machine is none of its business.
        let containers = format!(
            "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n[network]\n\
             network_config_dir = \"{}\"\n[engine]\nruntime = \"{runtime}\"\ncgroup_manager = \"cgroupfs\"\n\
             events_logger = \"file\"\ntmp_dir = \"{}\"\nlock_type = \"file\"\n",
            at("networks"),
            at("tmp")
        );
        for (name, text) in [("storage.conf", storage), ("containers.conf", containers)] {
            std::fs::write(folder.path().join(name), text).map_err(|err| err.to_string())?;
        }
        let engine = Self::Podman(Arc::new(Podman { folder }));
        let version = engine.run(&["version"]);
        if !version.status.success() {
            return Err(format!("podman does not work here: {}", last_line(&version)));
        }
        engine.make_image()?;
        // Whether containers run at all is the machine's affair.
        let tried = engine.run(&["run", "--rm", "--network", "host", "--env", "STAND_IN=exit=7", IMAGE]);
        match tried.status.code() {
            Some(7) => Ok(engine),
            _ => Err(format!("podman runs no container here: {}", last_line(&tried))),
        }
    }

    /// Its program's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Docker(_) => "docker",
            Self::Podman(_) => "podman",
        }
    }

    /// The variables by which its program finds it.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Docker(docker) => docker.host().map(|host| vec![("DOCKER_HOST", host)]).unwrap_or_default(),
            Self::Podman(podman) => {
                let at = |name: &str| podman.folder.path().join(name).display().to_string();
                vec![
                    ("CONTAINERS_STORAGE_CONF", at("storage.conf")),
                    ("CONTAINERS_CONF", at("containers.conf")),
                ]
            }
        }
    }

    /// Runs the engine's program to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(self.name());
        command.args(arguments).envs(self.variables()).env("DOCKER_BUILDKIT", "0");
        command.output().expect("the engine's program is on this machine")
    }

    fn make_image(&self) -> Result<(), Why> {
        let folder = build::target().join("stand-in");
        let root = folder.join(self.name());
        lay_out(&root).map_err(|err| format!("the image cannot be laid out: {err}"))?;
        let made = self.run(&["build", "--quiet", "--tag", IMAGE, &root.display().to_string()]);
        match made.status.success() {
            true => Ok(()),
            false => Err(format!("the image cannot be built: {}", last_line(&made))),
        }
    }

    /// The containers of sessions of `home`.
    pub fn ours(&self, home: &Path) -> Vec<String> {
        let filter = format!("label=pearlbed.home={}", home.display());
        let said = self.run(&["ps", "--all", "--quiet", "--filter", &filter]);
        String::from_utf8_lossy(&said.stdout).split_whitespace().map(str::to_owned).collect()
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let engine = |name: &str| self.folder.path().join(name);
        let mut command = Command::new("podman");
        command.env("CONTAINERS_STORAGE_CONF", engine("storage.conf"));
        command.env("CONTAINERS_CONF", engine("containers.conf"));
        // What is left lies in a folder that is removed.
        let _ = command.args(["rm", "--force", "--all", "--time", "1"]).output();
    }
}

fn last_line(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing").to_owned()
}

/// Lays out what the image is made of, once for each change of the program.
fn lay_out(root: &Path) -> std::io::Result<()> {
    let program = build::stand_in();
    let said = Command::new("ldd").arg(&program).output()?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let _ = std::fs::remove_dir_all(root);
    std::fs::create_dir_all(root.join("tmp"))?;
    let copy = |from: &Path, to: PathBuf| {
        std::fs::create_dir_all(to.parent().unwrap_or(root))?;
        std::fs::copy(from, to).map(drop)
    };
    copy(&program, root.join("stand-in"))?;
    for line in said.lines().map(str::trim) {
        let path = line.split("=> ").last().unwrap_or_default().split(" (").next().unwrap_or_default();
        if let Some(inside) = path.strip_prefix('/') {
            copy(Path::new(path), root.join("root").join(inside))?;
        }
    }
    // As every image has them: Podman writes its user into copies of them.
    std::fs::create_dir_all(root.join("root/etc"))?;
    std::fs::write(root.join("root/etc/passwd"), "root:x:0:0:root:/:/stand-in\n")?;
    std::fs::write(root.join("root/etc/group"), "root:x:0:\n")?;
    let file =
        "FROM scratch\nCOPY root/ /\nCOPY tmp /tmp\nCOPY stand-in /stand-in\nENTRYPOINT [\"/stand-in\"]\n";
    std::fs::write(root.join("Dockerfile"), file)
}

/// A data file for the stand-in, which serves on `port` and is odd as `odd` says.
pub fn data_file(port: u16, odd: &str) -> String {
    format!(
        r#"
schema = 1
id = "stand-in"
version = "1.0.0"
certificate_versions = [1, 2, 3]
engines = ["stand-in"]
settings = [
    {{ key = "docker_image_tag", kind = "text" }},
    {{ key = "vllm_port", kind = "integer:1..65535", default = "{port}" }},
    {{ key = "local_model_path", kind = "text" }},
    {{ key = "hf_token_env", kind = "text" }},
    {{ key = "vllm_args", kind = "text|list:text" }},
]
[image]
name = "{IMAGE}"
[run]
name = "stand-in-{port}"
arguments = [["{{model}}"], ["--served-model-name", "{{served}}"], ["--host", "{{listen}}"], ["--port", "{{port}}"]]
more = "vllm_args"
read_only = true
cache = "/cache"
model_folder = {{ setting = "local_model_path", target = "/model" }}
token = {{ setting = "hf_token_env", variable = "HF_TOKEN_PATH" }}
environment = {{ MINER_RPC_SOCKET_PATH = "{{socket}}", STAND_IN = "{odd}" }}
[serving]
port = "vllm_port"
health = "/health"
api = "/v1"
metrics = "/metrics"
numbers = {{ prompt_tokens = "vllm:prompt_tokens_total", requests_running = "vllm:num_requests_running" }}
steps = {{ histogram = "vllm:iteration_tokens_total", tokens = 1024 }}
[gateway]
entrypoint = ["/stand-in", "gateway"]
[gateway.environment]
MINER_RPC_SOCKET_PATH = "{{socket}}"
PASSWORD_FILE = "{{password}}"
PEARLD_RPC_URL = "{{node}}"
PEARLD_RPC_USER = "{{user}}"
PEARLD_MINING_ADDRESS = "{{wallet}}"
RAYON_NUM_THREADS = "{{threads}}"
"#
    )
}

/// A home whose provider is the stand-in, run by `engine`.
#[derive(Debug)]
pub struct Session {
    /// The home and its commands.
    pub bed: Bed,
    /// The engine.
    pub engine: Option<Engine>,
    /// The port that the model is served on.
    pub port: u16,
    /// More variables for its commands.
    pub variables: Vec<(&'static str, String)>,
}

impl Session {
    /// A session that does not run yet: the stand-in is as `odd` says, `[mining.extra]` holds `extra`, and `sections` follow.
    pub fn new(engine: &Engine, odd: &str, extra: &str, sections: &str) -> Self {
        Self::working(engine, odd, extra, "", sections)
    }

    /// The same with more lines in `[mining]`.
    pub fn working(engine: &Engine, odd: &str, extra: &str, mining: &str, sections: &str) -> Self {
        let mut session = Self::of(engine.name(), odd, extra, mining, sections);
        session.engine = Some(engine.clone());
        session.variables = engine.variables();
        session
    }

    /// A session whose `docker` is the shell script `script`, with the first argument in `$1`.
    pub fn scripted(script: &str, extra: &str) -> Self {
        let mut session = Self::of("docker", "", extra, "", "");
        let bin = session.bed.dir().join("bin");
        std::fs::create_dir_all(&bin).expect("the folder is the test's own");
        let text = format!("#!/bin/sh\n{script}\n");
        std::fs::write(bin.join("docker"), text).expect("the folder is the test's own");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(bin.join("docker"), mode).expect("the file is the test's own");
        session.variables = vec![("PATH", format!("{}:/usr/bin:/bin", bin.display()))];
        session
    }

    /// The same where no engine is on the path.
    pub fn none(extra: &str, sections: &str) -> Self {
        let mut session = Self::of("docker", "", extra, "", sections);
        session.variables = vec![("PATH", "/no/such/folder".to_owned())];
        session
    }

    fn of(engine: &str, odd: &str, extra: &str, mining: &str, sections: &str) -> Self {
        let port = crate::ports::free();
        let mut extra = extra.to_owned();
        if !extra.contains("model = ") {
            write!(extra, "\nmodel = \"somebody/a-model-pearl\"\n").expect("a text takes text");
        }
        let sections = format!(
            "[mining]\nprovider = \"stand-in\"\n{mining}\n[mining.container]\nengine = \"{engine}\"\nnetwork = \"host\"\n{sections}"
        );
        let bed = Bed::with(&extra, &sections);
        let file = Path::new(bed.plugins()).join("stand-in.container.toml");
        std::fs::write(&file, data_file(port, odd)).expect("the folder is the test's own");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        std::fs::set_permissions(&file, mode).expect("the file is the test's own");
        Self { bed, engine: None, port, variables: Vec::new() }
    }

    /// `pearlbed` with `arguments` to its end.
    pub fn run(&self, arguments: &[&str]) -> crate::session::Answer {
        let mut command = self.bed.command(arguments);
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        let output = command.output().expect("the binary was just built");
        crate::session::Answer {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Writes its data file anew, with `from` in it replaced by `to`.
    pub fn edit(&self, from: &str, to: &str) {
        let file = Path::new(self.bed.plugins()).join("stand-in.container.toml");
        let text = std::fs::read_to_string(&file).expect("it was written");
        assert!(text.contains(from), "{from} is not in {text}");
        std::fs::write(file, text.replace(from, to)).expect("the file is the test's own");
    }

    /// Starts it on the devnet.
    pub fn start(&self) -> crate::session::Answer {
        self.run(&["start", "--devnet", "--plugin-dir", self.bed.plugins(), "--wait", "240"])
    }

    /// Starts it on the work source of its configuration.
    pub fn start_as_configured(&self) -> crate::session::Answer {
        self.run(&["start", "--plugin-dir", self.bed.plugins(), "--wait", "240"])
    }

    /// What its container is called.
    pub fn name(&self) -> String {
        format!("stand-in-{}", self.port)
    }

    /// The report of its container.
    pub fn container(status: &Value) -> &Value {
        &status["containers"][0]
    }

    /// Its containers, by the engine.
    pub fn ours(&self) -> Vec<String> {
        self.engine.as_ref().map(|engine| engine.ours(&self.bed.home())).unwrap_or_default()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // In order first; what a test broke is ended by the engine.
        self.run(&["stop"]);
        for id in self.ours() {
            if let Some(engine) = &self.engine {
                engine.run(&["rm", "--force", &id]);
            }
        }
    }
}
