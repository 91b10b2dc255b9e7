//! What is to be run: a data file, the user's settings and the machine, resolved. Nothing is asked and nothing is written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pearlbed_plugin_api::HardwareInfo;
use serde_json::{Map, Value};

use crate::config::{ContainerNetwork, ContainerSection, Device};
use crate::home::{Env, Home};
use crate::plugins::container::{DataFile, TARGET, fitting};
use crate::text::printable;

/// The name of a file in the folder with the socket.
const SOCKET: &str = "gateway.sock";
/// Where a token is mounted.
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
    /// A token that is written to a file before the container is made: the variable that holds it.
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
    /// The path that answers 200 once it serves.
    pub health: String,
    /// The path of what others use.
    pub api: String,
    /// The path of its numbers.
    pub metrics: Option<String>,
    /// What its numbers are called.
    pub numbers: BTreeMap<String, String>,
    /// The histogram of steps, and the tokens from which on one can mine.
    pub steps: Option<(String, u32)>,
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
        how: file.image.how.clone(),
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
        health: file.serving.health.clone(),
        api: file.serving.api.clone(),
        metrics: file.serving.metrics.clone(),
        numbers: file.serving.numbers.clone(),
        steps: file.serving.steps.as_ref().map(|steps| (steps.histogram.clone(), steps.tokens)),
    })
}

/// The settings, with their defaults.
struct Settings<'a> {
    file: &'a DataFile,
    extra: &'a Map<String, Value>,
}

impl Settings<'_> {
    /// A setting as one text; nothing where it is not set.
    fn text(&self, key: &str) -> Option<String> {
        let text = match self.extra.get(key) {
            Some(Value::String(text)) => text.clone(),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string(),
            Some(_) => return None,
            None => {
                let setting = self.file.manifest.settings.iter().find(|setting| setting.key == key)?;
                setting.default.trim_matches('"').to_owned()
            }
        };
        (!text.is_empty()).then_some(text)
    }
}

/// What stands for the words in braces.
struct Words<'a> {
    settings: &'a Settings<'a>,
    own: BTreeMap<&'static str, Option<String>>,
}

impl Words<'_> {
    /// `text` with its words replaced; nothing where one of them is not there.
    fn fill(&self, text: &str) -> Option<String> {
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('{') {
            let (before, from) = rest.split_at(at);
            out.push_str(before);
            let word = from[1..].split_once('}').map(|(word, _)| word);
            match word.filter(|word| is_word(word)) {
                Some(word) => {
                    let value = match self.own.get(word) {
                        Some(value) => value.clone(),
                        None => self.settings.text(word),
                    };
                    out.push_str(&value?);
                    rest = &from[word.len() + 2..];
                }
                None => {
                    out.push('{');
                    rest = &from[1..];
                }
            }
        }
        out.push_str(rest);
        Some(out)
    }

    fn fill_all(&self, texts: &[String]) -> Option<Vec<String>> {
        texts.iter().map(|text| self.fill(text)).collect()
    }
}

fn is_word(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// Whether `arguments` hold the flag `flag`, alone or with its value.
fn gives(arguments: &[String], flag: &str) -> bool {
    arguments
        .iter()
        .any(|one| one == flag || one.strip_prefix(flag).is_some_and(|rest| rest.starts_with('=')))
}

/// What stands after `flag` in `arguments`, the last time that it does.
fn value_of<'a>(arguments: &'a [String], flag: &str) -> Option<&'a str> {
    let mut found = None;
    for (at, one) in arguments.iter().enumerate() {
        if one == flag {
            found = arguments.get(at + 1).map(String::as_str);
        } else if let Some(value) = one.strip_prefix(flag).and_then(|rest| rest.strip_prefix('=')) {
            found = Some(value);
        }
    }
    found
}

fn check(file: &DataFile, all: &[String], own: &[String]) -> Result<(), Unfit> {
    let key = file.run.more.as_deref().unwrap_or_default();
    for (flag, why) in &file.run.refused {
        if gives(own, flag) {
            return Err(Unfit::new(
                format!("is not given `{flag}`, which stands in `{key}`: {why}"),
                format!("take `{flag}` out of `{key}`"),
            ));
        }
    }
    for (flag, least) in &file.run.at_least {
        let Some(value) = value_of(all, flag) else { continue };
        if value.parse::<u64>().is_ok_and(|value| value < *least) {
            return Err(Unfit::new(
                format!("could never mine with `{flag} {value}`"),
                format!("give at least {least}"),
            ));
        }
    }
    Ok(())
}

/// The user's own arguments: a list, or one text that is split as a shell would.
fn own_arguments(value: Option<&Value>) -> Result<Vec<String>, &'static str> {
    match value {
        Some(Value::Array(items)) => Ok(items.iter().filter_map(Value::as_str).map(str::to_owned).collect()),
        Some(Value::String(text)) => split(text),
        _ => Ok(Vec::new()),
    }
}

/// Splits a text at blanks; quotation marks and backslashes keep them, as in a shell.
fn split(text: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(chars.next()),
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    if quote.is_some() { Err("ends within quotation marks") } else { Ok(words) }
}

fn model_folder(
    file: &DataFile,
    settings: &Settings<'_>,
    env: &Env,
) -> Result<Option<(PathBuf, String)>, Unfit> {
    let Some(folder) = &file.run.model_folder else { return Ok(None) };
    let Some(path) = settings.text(&folder.setting) else { return Ok(None) };
    let path = crate::home::without_tilde(Path::new(&path), env);
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

/// The cards to use, as NVIDIA's runtime calls them: those that the user chose, else all that fit.
fn cards(
    file: &DataFile,
    settings: &Settings<'_>,
    devices: &[Device],
    hardware: &HardwareInfo,
) -> Result<Vec<String>, Unfit> {
    if file.requires.vendor.is_empty() {
        return Ok(Vec::new());
    }
    let fit = fitting(&file.requires, hardware);
    let text = settings.text("cuda_visible_devices").filter(|text| text != "all");
    let nvidia: Vec<usize> = (0..hardware.gpus.len())
        .filter(|index| hardware.gpus[*index].vendor == file.requires.vendor)
        .collect();
    let mut chosen = Vec::new();
    let mut choose = |name: &str, index: Option<usize>| match index {
        Some(index) if fit.contains(&index) => {
            chosen.push(index);
            Ok(())
        }
        Some(index) => Err(Unfit::new(
            format!("cannot mine on {} ({})", printable(name), printable(&hardware.gpus[index].name)),
            "choose a card that `pearlbed doctor` says it can mine on",
        )),
        None => Err(Unfit::new(
            format!("is to mine on {}, and there is no such card", printable(name)),
            "`pearlbed doctor` lists the cards with their addresses",
        )),
    };
    let found = |device: &Device| {
        hardware.gpus.iter().enumerate().find(|(index, gpu)| device.is(*index, gpu)).map(|(index, _)| index)
    };
    for device in devices.iter().filter(|device| **device != Device::Processor) {
        choose(&device.to_string(), found(device))?;
    }
    for name in text.iter().flat_map(|text| text.split(',')).map(str::trim).filter(|name| !name.is_empty()) {
        // A bare number counts NVIDIA's cards alone, as its own tools do.
        let index = match name.parse::<usize>() {
            Ok(number) => nvidia.get(number).copied(),
            Err(_) => name.parse::<Device>().ok().and_then(|device| found(&device)),
        };
        choose(name, index)?;
    }
    if chosen.is_empty() {
        chosen = fit;
    }
    chosen.dedup();
    let name = |index: &usize| {
        let number = nvidia.iter().position(|one| one == index).unwrap_or_default();
        hardware.gpus[*index].uuid.clone().unwrap_or_else(|| number.to_string())
    };
    Ok(chosen.iter().map(name).collect())
}

#[cfg(test)]
mod tests;
