//! What is to be run: a data file, the user's settings and the machine, resolved. Nothing is asked and nothing is written.

mod arguments;
mod cards;
mod gateway;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pearlbed_plugin_api::HardwareInfo;
use serde_json::{Map, Value};

use self::arguments::{Settings, Words, check, gives, own_arguments};
use self::cards::cards;
pub use self::cards::check_cards;
pub use self::gateway::{Payee, folder as gateway_folder, resolve as gateway, socket as gateway_socket};
use crate::config::{ContainerNetwork, ContainerSection, Device};
use crate::home::{Env, Home};
use crate::plugins::container::{DataFile, TARGET};

/// The name of a file in the folder with the socket.
const SOCKET: &str = "gateway.sock";
/// Where a token, or a password, is mounted.
const TOKEN: &str = "/run/pearlbed-token";

/// Everything about a container before it is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// The miner's name in its session.
    pub miner: String,
    /// The container's name.
    pub name: String,
    /// The home folder, by which a container is told to be ours.
    pub home: PathBuf,
    /// The image that is asked for.
    pub image: String,
    /// The name of the data file's own image, where another one was asked for that may exist nowhere.
    pub image_instead: Option<String>,
    /// How the image is got, in words.
    pub how: String,
    /// What takes the place of the image's entry point.
    pub entrypoint: Vec<String>,
    /// The arguments.
    pub arguments: Vec<String>,
    /// Variables, with their values.
    pub environment: BTreeMap<String, String>,
    /// Variables of the user's that are passed on by name.
    pub passed: Vec<String>,
    /// What is mounted.
    pub mounts: Vec<Mount>,
    /// A token, or a password, that is written to a file before the container is made: the variable that holds it.
    pub token_variable: Option<String>,
    /// The port that it serves on, on this machine's loopback.
    pub port: u16,
    /// How it is on the network.
    pub network: ContainerNetwork,
    /// The cards, as NVIDIA's runtime calls them.
    pub cards: Vec<String>,
    /// With a root file system that cannot be written.
    pub read_only: bool,
    /// Shared memory, in bytes.
    pub shared_memory_bytes: u64,
    /// The model, as it is served.
    pub model: Option<String>,
    /// How it is told that it serves.
    pub ready: Ready,
    /// The path of what others use.
    pub api: String,
    /// The path of its numbers.
    pub metrics: Option<String>,
    /// What its numbers are called.
    pub numbers: BTreeMap<String, String>,
    /// The certificate versions that it makes proofs for.
    pub certificates: Vec<u32>,
    /// The histogram of steps, and the tokens from which on one can mine.
    pub steps: Option<(String, u32)>,
}

impl Recipe {
    /// Whether it is the gateway that a session runs for itself.
    pub fn is_gateway(&self) -> bool {
        matches!(self.ready, Ready::Socket(_))
    }

    /// The word for what it is in its session.
    pub fn role(&self) -> &'static str {
        if self.is_gateway() { "gateway" } else { "miner" }
    }

    /// Where it serves, once it does.
    pub fn endpoint(&self) -> String {
        match &self.ready {
            Ready::Http(_) => format!("http://127.0.0.1:{}{}", self.port, self.api),
            Ready::Socket(path) => format!("unix:{}", path.display()),
        }
    }
}

/// How it is told that a container serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ready {
    /// This path answers 200 on its port.
    Http(String),
    /// Somebody listens on this socket.
    Socket(PathBuf),
}

/// A folder or file of this machine inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Here.
    pub source: PathBuf,
    /// There.
    pub target: String,
    /// It cannot be written.
    pub read_only: bool,
}

/// Why a container cannot be run as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit {
    /// What is wrong, as the end of the sentence "`name` …".
    pub problem: String,
    /// What to do.
    pub fix: String,
}

impl Unfit {
    fn new(problem: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { problem: problem.into(), fix: fix.into() }
    }
}

/// What a recipe is made of, beside its data file.
#[derive(Debug)]
pub struct Surroundings<'a> {
    /// The home folder.
    pub home: &'a Home,
    /// The environment.
    pub env: &'a Env,
    /// This machine, with what its drivers say.
    pub hardware: &'a HardwareInfo,
    /// `[mining.container]`.
    pub section: &'a ContainerSection,
}

/// The folder that holds the socket of the miner called `miner`, and that its container sees.
pub fn socket_folder(home: &Home, miner: &str) -> PathBuf {
    home.runtime_dir().join("container").join(miner)
}

/// The socket of the miner called `miner`.
pub fn socket(home: &Home, miner: &str) -> PathBuf {
    socket_folder(home, miner).join(SOCKET)
}

/// The file that a token is handed over in.
pub fn token_file(home: &Path, miner: &str) -> PathBuf {
    home.join("runtime").join("container").join(format!("{miner}.token"))
}

/// What the container of `file` is run as, for the miner `miner` with the settings `extra` and, where it was given any,
/// `devices`.
///
/// # Errors
///
/// The first setting with which it could not be run, or could never mine.
pub fn resolve(
    file: &DataFile,
    miner: &str,
    extra: &Map<String, Value>,
    devices: &[Device],
    around: &Surroundings<'_>,
) -> Result<Recipe, Unfit> {
    let root = around.home.root().to_string_lossy();
    if root.contains([',', '"']) {
        return Err(Unfit::new(
            format!("cannot have a home folder with a comma or a quotation mark in its path: {root}"),
            "set PEARLBED_HOME to another one",
        ));
    }
    let settings = Settings { file, extra };
    let port = settings.text(&file.serving.port).and_then(|text| text.parse().ok());
    let port: u16 = port.ok_or_else(|| {
        Unfit::new("has no port to serve on", format!("set `{}` to a port", file.serving.port))
    })?;
    let cards = cards(file, &settings, devices, around.hardware)?;
    let mut mounts =
        vec![Mount { source: socket_folder(around.home, miner), target: TARGET.into(), read_only: true }];
    let folder = model_folder(file, &settings, around.env)?;
    let served = settings.text("model").or_else(|| {
        let name = folder.as_ref()?.0.file_name()?;
        Some(name.to_string_lossy().into_owned())
    });
    let model = match &folder {
        Some((source, target)) => {
            mounts.push(Mount { source: source.clone(), target: target.clone(), read_only: true });
            Some(target.clone())
        }
        None => served.clone(),
    };
    if model.is_none() && file.run.arguments.iter().flatten().any(|word| word.contains("{model}")) {
        return Err(Unfit::new(
            "has no model to serve",
            "set `model` in [mining.extra], or a folder with one",
        ));
    }
    if let Some(target) = &file.run.cache {
        let source = around.home.root().join("cache").join("models");
        mounts.push(Mount { source, target: target.clone(), read_only: false });
    }
    let token_variable = file.run.token.as_ref().and_then(|token| {
        let variable = settings.text(&token.setting)?;
        around.env.var(&variable).is_some().then_some(variable)
    });

    let network = around.section.network;
    let listen = if network == ContainerNetwork::Host { "127.0.0.1" } else { "0.0.0.0" };
    let words = Words {
        settings: &settings,
        own: BTreeMap::from([
            ("socket", Some(format!("{TARGET}/{SOCKET}"))),
            ("model", model),
            ("served", served.clone()),
            ("listen", Some(listen.to_owned())),
            ("port", Some(port.to_string())),
            ("gpus", (!cards.is_empty()).then(|| cards.len().to_string())),
        ]),
    };
    let more = match &file.run.more {
        Some(key) => own_arguments(extra.get(key))
            .map_err(|why| Unfit::new(format!("has a `{key}` that {why}"), "close the quotation marks"))?,
        None => Vec::new(),
    };
    let mut arguments = Vec::new();
    for group in &file.run.arguments {
        let given = group.first().is_some_and(|flag| flag.starts_with('-') && gives(&more, flag));
        if let (false, Some(group)) = (given, words.fill_all(group)) {
            arguments.extend(group);
        }
    }
    arguments.extend(more.iter().cloned());
    check(file, &arguments, &more)?;
    let mut environment = BTreeMap::new();
    for (name, value) in &file.run.environment {
        if let Some(value) = words.fill(value) {
            environment.insert(name.clone(), value);
        }
    }
    if let (Some(token), Some(_)) = (&file.run.token, &token_variable) {
        environment.insert(token.variable.clone(), TOKEN.into());
        let source = token_file(around.home.root(), miner);
        mounts.push(Mount { source, target: TOKEN.into(), read_only: true });
    }
    let entrypoint = words.fill_all(&file.run.entrypoint).ok_or_else(|| {
        Unfit::new("has an entry point with a value that is not set", "set what its data file asks for")
    })?;
    let asked = settings.text("docker_image_tag").filter(|image| !image.is_empty());
    let stands_for = asked.as_ref().is_some_and(|asked| file.image.stands_for.contains(asked));
    let id = &file.manifest.id;
    Ok(Recipe {
        miner: miner.to_owned(),
        name: if miner == id { file.run_name() } else { format!("pearlbed-{miner}") },
        home: around.home.root().to_owned(),
        image: asked.unwrap_or_else(|| file.image.name.clone()),
        image_instead: stands_for.then(|| file.image.name.clone()),
        how: file.how(),
        entrypoint,
        arguments,
        environment,
        passed: file.run.passed.clone(),
        mounts,
        token_variable,
        port,
        network,
        cards,
        read_only: around.section.read_only.unwrap_or(file.run.read_only),
        shared_memory_bytes: file.run.shared_memory_bytes,
        model: served,
        ready: Ready::Http(file.serving.health.clone()),
        api: file.serving.api.clone(),
        metrics: file.serving.metrics.clone(),
        numbers: file.serving.numbers.clone(),
        certificates: file.manifest.certificate_versions.clone(),
        steps: file.serving.steps.as_ref().map(|steps| (steps.histogram.clone(), steps.tokens)),
    })
}

fn model_folder(
    file: &DataFile,
    settings: &Settings<'_>,
    env: &Env,
) -> Result<Option<(PathBuf, String)>, Unfit> {
    let Some(folder) = &file.run.model_folder else { return Ok(None) };
    let Some(path) = settings.text(&folder.setting) else { return Ok(None) };
    let path = crate::home::without_tilde(Path::new(&path), env).unwrap_or_else(|| path.into());
    let path = std::path::absolute(&path).unwrap_or(path);
    if path.to_string_lossy().contains([',', '"']) {
        return Err(Unfit::new(
            format!(
                "cannot have a model folder with a comma or a quotation mark in its path: {}",
                path.display()
            ),
            format!("give the folder another name, or set `{}` to a link to it", folder.setting),
        ));
    }
    Ok(Some((path, folder.target.clone())))
}

#[cfg(test)]
mod tests;
