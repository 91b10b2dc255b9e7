//! The argument vectors of `docker` and `podman`. Each is a plain function of what is to be done; no shell reads them.

use super::recipe::Recipe;
use crate::config::ContainerNetwork;

/// Which engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A daemon, most often root's.
    Docker,
    /// No daemon; without root for an ordinary user.
    Podman,
}

impl Kind {
    /// Its program.
    pub const fn program(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
        }
    }
}

/// Whose processes a container's are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

/// The label that holds the home folder of the session that a container belongs to.
pub const LABEL_HOME: &str = "pearlbed.home";
/// The label that holds the miner's name.
pub const LABEL_MINER: &str = "pearlbed.miner";
/// Seconds that an engine waits for a container to end before it ends it.
pub const STOP_SECONDS: u64 = 60;

fn words<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}

/// Makes the container of `recipe` from the image `image`, for `user`; it does not run yet.
pub fn create(kind: Kind, recipe: &Recipe, image: &str, user: User) -> Vec<String> {
    let mut all = words(["create", "--name", &recipe.name, "--pull", "never", "--restart", "no"]);
    let mut flag = |name: &str, value: &str| all.extend([name.to_owned(), value.to_owned()]);
    flag("--label", &format!("{LABEL_HOME}={}", recipe.home.display()));
    flag("--label", &format!("{LABEL_MINER}={}", recipe.miner));
    flag("--user", &format!("{}:{}", user.uid, user.gid));
    if kind == Kind::Podman && user.uid != 0 {
        // Without root, its own user is another one inside unless it is told so.
        flag("--userns", "keep-id");
    }
    flag("--cap-drop", "ALL");
    flag("--security-opt", "no-new-privileges");
    flag("--pids-limit", "32768");
    flag("--stop-timeout", &STOP_SECONDS.to_string());
    if recipe.is_gateway() {
        // What it ends the processes at that prove for it.
        flag("--stop-signal", "SIGINT");
    }
    if kind == Kind::Docker {
        // Docker keeps what a container prints for ever otherwise.
        flag("--log-driver", "json-file");
        flag("--log-opt", "max-size=16m");
        flag("--log-opt", "max-file=2");
    } else {
        flag("--log-driver", "k8s-file");
        flag("--log-opt", "max-size=16m");
    }
    if recipe.shared_memory_bytes > 0 {
        flag("--shm-size", &recipe.shared_memory_bytes.to_string());
    }
    match recipe.network {
        ContainerNetwork::Bridge => {
            flag("--network", "bridge");
            flag("--publish", &format!("127.0.0.1:{0}:{0}", recipe.port));
        }
        ContainerNetwork::Host => flag("--network", "host"),
    }
    for mount in &recipe.mounts {
        let read_only = if mount.read_only { ",readonly" } else { "" };
        // `--volume` would make a folder that is not there, as root.
        flag("--mount", &format!("type=bind,src={},dst={}{read_only}", mount.source.display(), mount.target));
    }
    for (name, value) in &recipe.environment {
        flag("--env", &format!("{name}={value}"));
    }
    for name in &recipe.passed {
        // By its name alone: the engine's program takes the value from its own environment.
        flag("--env", name);
    }
    match (kind, &recipe.cards[..]) {
        (_, []) => {}
        // Docker reads a list of fields here, and a comma within one wants quotation marks.
        (Kind::Docker, cards) => flag("--gpus", &format!("\"device={}\"", cards.join(","))),
        (Kind::Podman, cards) => {
            cards.iter().for_each(|card| flag("--device", &format!("nvidia.com/gpu={card}")))
        }
    }
    if let Some(program) = recipe.entrypoint.first() {
        flag("--entrypoint", program);
    }
    if recipe.read_only {
        all.push("--read-only".into());
        all.extend(words(["--tmpfs", "/tmp:exec"]));
    }
    all.push(image.to_owned());
    all.extend(recipe.entrypoint.iter().skip(1).cloned());
    all.extend(recipe.arguments.iter().cloned());
    all
}

/// Asks for the engine's version, and whether it answers.
pub fn version(kind: Kind) -> Vec<String> {
    match kind {
        Kind::Docker => words(["version", "--format", "{{json .Server.Version}}"]),
        Kind::Podman => words(["version", "--format", "{{json .Client.Version}}"]),
    }
}

/// Asks whether the engine works without root.
pub fn rootless(kind: Kind) -> Vec<String> {
    match kind {
        Kind::Docker => words(["info", "--format", "{{json .SecurityOptions}}"]),
        Kind::Podman => words(["info", "--format", "{{json .Host.Security.Rootless}}"]),
    }
}

/// Asks for everything that the engine says of itself.
pub fn info() -> Vec<String> {
    words(["info", "--format", "{{json .}}"])
}

/// Asks what is known of an image.
pub fn image(name: &str) -> Vec<String> {
    words(["image", "inspect", "--format", "{{json .}}", name])
}

/// Fetches an image.
pub fn pull(name: &str) -> Vec<String> {
    words(["pull", name])
}

/// Starts a container.
pub fn start(id: &str) -> Vec<String> {
    words(["start", id])
}

/// Asks how a container stands.
pub fn state(id: &str) -> Vec<String> {
    words(["inspect", "--type", "container", "--format", "{{json .State}}", id])
}

/// Asks for the labels of a container.
pub fn labels(name: &str) -> Vec<String> {
    words(["inspect", "--type", "container", "--format", "{{json .Config.Labels}}", name])
}

/// Lists every container, running or not, of sessions of the home folder `home`.
pub fn ours(home: &std::path::Path) -> Vec<String> {
    let filter = format!("label={LABEL_HOME}={}", home.display());
    words(["ps", "--all", "--quiet", "--no-trunc", "--filter", &filter])
}

/// Ends a container within `seconds`.
pub fn stop(id: &str, seconds: u64) -> Vec<String> {
    words(["stop", "--time", &seconds.to_string(), id])
}

/// Removes a container, whatever it does.
pub fn remove(id: &str) -> Vec<String> {
    words(["rm", "--force", id])
}

/// What a container prints until it ends, from its beginning or from now on.
pub fn logs(id: &str, from_now: bool) -> Vec<String> {
    // Only Docker has a word for "all of it".
    if from_now { words(["logs", "--follow", "--tail", "0", id]) } else { words(["logs", "--follow", id]) }
}

#[cfg(test)]
mod tests;
