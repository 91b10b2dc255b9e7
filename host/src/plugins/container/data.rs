//! What a data file may say, and what is refused in it.
//!
//! ```toml
//! schema = 1
//! id = "some-engine"                    # as the file is called: some-engine.container.toml
//! version = "1.0.0"
//! certificate_versions = [1, 2, 3]
//! engines = ["some-engine"]
//!
//! [image]
//! name = "some_image"                   # what `docker_image_tag` replaces
//!
//! [run]
//! entrypoint = ["serve"]
//! arguments = [["{model}"], ["--port", "{port}"], ["--length", "{max_model_len}"]]
//!
//! [serving]
//! health = "/health"
//! ```
//!
//! A word in braces stands for a value: of the session (`socket`, `model`, `served`, `listen`, `port`, `gpus`), or of a
//! setting of that name. An argument group whose value is not there is left out, and so is one whose first word the user
//! gives himself. In `[gateway]` the host's words are others (`socket`, `password`, `node`, `user`, `certificate`, `wallet`,
//! `threads`), so that what mines can never ask for what pays.
//!
//! # Limitations
//!
//! Mounts, devices, privileges and published addresses are the host's business, and there is no word for them here.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use pearlbed_plugin_api::manifest::{MAX_TEXT_BYTES, Manifest, ManifestError};
use pearlbed_plugin_api::setting::Setting;
use serde::Deserialize;

/// How the name of a data file ends.
pub const SUFFIX: &str = ".container.toml";
/// A data file is at most so long, in bytes.
pub const BYTES_MAX: u64 = 64 << 10;
/// Where in the container the folder with the miner port's socket lies.
pub const TARGET: &str = "/run/pearlbed";

/// The only schema there is.
const SCHEMA: u32 = 1;
/// Entries of one list.
const LIST_MAX: usize = 64;
/// What the host says of a session, as words in braces.
const WORDS: [&str; 6] = ["socket", "model", "served", "listen", "port", "gpus"];
/// The same for its gateway.
const GATEWAY_WORDS: [&str; 7] = ["socket", "password", "node", "user", "certificate", "wallet", "threads"];

/// A provider that is a container.
#[derive(Clone, Debug, PartialEq)]
pub struct DataFile {
    /// What it says of itself, in the shape of a library's manifest; it speaks no plugin API and asks for nothing.
    pub manifest: Manifest,
    /// The image.
    pub image: Image,
    /// How it is run.
    pub run: Run,
    /// What it answers on.
    pub serving: Serving,
    /// What it needs.
    pub requires: Requires,
    /// The gateway that is in the same image.
    pub gateway: Option<Gateway>,
}

/// The image that mines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// Its name, with a tag where one is meant. Fetched only where the name begins with a registry's host.
    pub name: String,
    /// How it is made or got, in words.
    #[serde(default)]
    pub how: String,
    /// Names that others write and that exist nowhere: where one of them is asked for and is not on this machine, `name`
    /// is meant.
    #[serde(default)]
    pub stands_for: Vec<String>,
}

/// The variables of the user's that a container may be given: how the network is reached, and in which language and zone.
const PASSED: [&str; 13] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HF_ENDPOINT",
    "HF_HUB_OFFLINE",
    "HF_HUB_DISABLE_TELEMETRY",
    "TRANSFORMERS_OFFLINE",
    "LANG",
    "LC_ALL",
    "TZ",
];

/// How a container is run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// What its container is called; `pearlbed-` and the id without it.
    #[serde(default)]
    pub name: Option<String>,
    /// What takes the place of the image's own entry point; nothing where it is empty.
    #[serde(default)]
    pub entrypoint: Vec<String>,
    /// The arguments, in groups.
    #[serde(default)]
    pub arguments: Vec<Vec<String>>,
    /// The setting that holds the user's own arguments.
    #[serde(default)]
    pub more: Option<String>,
    /// Arguments that are not passed on, each with why.
    #[serde(default)]
    pub refused: BTreeMap<String, String>,
    /// Arguments that take a number which may not be smaller, each with the number.
    #[serde(default)]
    pub at_least: BTreeMap<String, u64>,
    /// Variables, with their values.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Variables of these names are the user's: they are passed on where he has them. None that could be a secret.
    #[serde(default)]
    pub passed: Vec<String>,
    /// Where the cache of models is mounted, which lives on.
    #[serde(default)]
    pub cache: Option<String>,
    /// The setting that names a folder with a model, and where it is mounted.
    #[serde(default)]
    pub model_folder: Option<Mounted>,
    /// The setting that names the variable with a token, where the token is mounted, and the variable that is told.
    #[serde(default)]
    pub token: Option<Token>,
    /// Whether it runs with a root file system that cannot be written.
    #[serde(default)]
    pub read_only: bool,
    /// Shared memory, in bytes; 0 for the engine's own default.
    #[serde(default)]
    pub shared_memory_bytes: u64,
}

/// A folder that a setting names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mounted {
    /// The setting.
    pub setting: String,
    /// Where it is mounted.
    pub target: String,
}

/// A secret that the image is given as a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// The setting that names the host's variable.
    pub setting: String,
    /// The variable in the container that is told where the file is.
    pub variable: String,
}

/// Where a container answers, by HTTP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Serving {
    /// The setting that holds the port on this machine.
    pub port: String,
    /// The path that answers 200 once it serves.
    pub health: String,
    /// The path of what others use, such as `/v1`.
    #[serde(default)]
    pub api: String,
    /// The path of its numbers, in Prometheus' text.
    #[serde(default)]
    pub metrics: Option<String>,
    /// What its numbers are called: `requests_running`, `requests_waiting`, `prompt_tokens`, `generation_tokens`.
    #[serde(default)]
    pub numbers: BTreeMap<String, String>,
    /// What OpenJarvis calls the engine that it finds by a session's record.
    #[serde(default)]
    pub known_as: Option<String>,
    /// A histogram of the tokens of each step, and the tokens from which on a step can mine.
    #[serde(default)]
    pub steps: Option<Steps>,
}

/// How the gateway in the image is run, in a container of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gateway {
    /// What takes the place of the image's own entry point.
    pub entrypoint: Vec<String>,
    /// Variables, with their values.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
}

/// How it is told whether steps are large enough to mine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Steps {
    /// The histogram's name.
    pub histogram: String,
    /// A step of fewer tokens does not mine.
    pub tokens: u32,
}

/// What a machine must have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requires {
    /// The maker of its cards, as `nvidia`; empty where it needs none.
    #[serde(default)]
    pub vendor: String,
    /// NVIDIA's compute capabilities, any of which will do; empty for any.
    #[serde(default)]
    pub compute_capability: Vec<String>,
    /// Cards that have it, for a person.
    #[serde(default)]
    pub such_as: String,
    /// Memory of a card, in bytes.
    #[serde(default)]
    pub memory_bytes: u64,
    /// How the name of a model ends that it can mine with; empty for any.
    #[serde(default)]
    pub model_endings: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    schema: u32,
    id: String,
    version: String,
    #[serde(default)]
    vendor: String,
    #[serde(default)]
    license: String,
    #[serde(default)]
    homepage: String,
    #[serde(default)]
    summary: String,
    certificate_versions: Vec<u32>,
    #[serde(default)]
    platforms: Vec<String>,
    #[serde(default)]
    engines: Vec<String>,
    #[serde(default)]
    settings: Vec<Setting>,
    image: Image,
    #[serde(default)]
    run: Run,
    serving: Serving,
    #[serde(default)]
    requires: Requires,
    #[serde(default)]
    gateway: Option<Gateway>,
}

/// Why bytes are no data file.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message is its variant's documentation")]
pub enum DataError {
    #[error("it is not UTF-8: byte {0} is wrong")]
    NotText(usize),
    #[error("line {line}: {problem}")]
    Syntax { line: usize, problem: String },
    #[error("it is of schema {0}, and this host reads schema {SCHEMA}")]
    Schema(u32),
    #[error("what it says of itself is wrong: {0}")]
    Manifest(ManifestError),
    #[error("{0}")]
    Member(String),
}

impl DataFile {
    /// Reads a data file that is called `name`.
    ///
    /// # Errors
    ///
    /// [`DataError`]: the first mistake in it.
    pub fn parse(name: &str, bytes: &[u8]) -> Result<Self, DataError> {
        let text = std::str::from_utf8(bytes).map_err(|err| DataError::NotText(err.valid_up_to()))?;
        let written: Written = toml::from_str(text).map_err(|err| {
            let before = err.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            DataError::Syntax {
                line: before.matches('\n').count() + 1,
                problem: err.message().replace('\n', ", "),
            }
        })?;
        if written.schema != SCHEMA {
            return Err(DataError::Schema(written.schema));
        }
        let Written { image, run, serving, requires, .. } = &written;
        let (image, run, serving, requires) = (image.clone(), run.clone(), serving.clone(), requires.clone());
        let gateway = written.gateway.clone();
        let manifest = manifest(written)?;
        let file = Self { manifest, image, run, serving, requires, gateway };
        file.check(name).map_err(DataError::Member)?;
        Ok(file)
    }

    /// What its container is called.
    pub fn run_name(&self) -> String {
        self.run.name.clone().unwrap_or_else(|| format!("pearlbed-{}", self.manifest.id))
    }

    fn check(&self, name: &str) -> Result<(), String> {
        let id = &self.manifest.id;
        if name.strip_suffix(SUFFIX) != Some(id) {
            return Err(format!("it calls itself `{id}`, so its name must be `{id}{SUFFIX}`"));
        }
        if self.manifest.certificate_versions.is_empty() {
            return Err("`certificate_versions` is empty".into());
        }
        if !is_image(&self.image.name) {
            return Err("`image.name` is no name of an image".into());
        }
        let named = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        let name = self.run_name();
        if name.len() > 64
            || !name.chars().all(named)
            || !name.starts_with(|c: char| c.is_ascii_alphanumeric())
        {
            return Err("`run.name` is no name of a container".into());
        }
        if !matches!(&*self.requires.vendor, "" | "nvidia") {
            return Err(
                "`requires.vendor` is neither empty nor `nvidia`: no other cards can be handed over".into()
            );
        }
        self.check_sizes()?;
        for (what, path) in
            [("health", Some(&self.serving.health)), ("metrics", self.serving.metrics.as_ref())]
        {
            if path.is_some_and(|path| !is_target(path)) {
                return Err(format!("`serving.{what}` must be a path that begins with `/`"));
            }
        }
        if !(self.serving.api.is_empty() || is_target(&self.serving.api)) {
            return Err("`serving.api` must be a path that begins with `/`".into());
        }
        let targets = [self.run.cache.as_ref(), self.run.model_folder.as_ref().map(|folder| &folder.target)];
        for target in targets.into_iter().flatten() {
            // The folders of the system inside, and the port's, are nobody's to hide.
            let is_own = target.len() > 1 && is_target(target) && !target.contains("..");
            if !is_own || target.contains([',', '=']) || target.starts_with(TARGET) {
                return Err(format!("`{target}` is no place for a mount"));
            }
        }
        let known = |key: &str| self.manifest.settings.iter().any(|setting| setting.key == key);
        let settings = [
            Some(&self.serving.port),
            self.run.more.as_ref(),
            self.run.model_folder.as_ref().map(|folder| &folder.setting),
            self.run.token.as_ref().map(|token| &token.setting),
        ];
        if let Some(key) = settings.into_iter().flatten().find(|key| !known(key)) {
            return Err(format!("`{key}` is none of its `settings`"));
        }
        let texts = self.run.entrypoint.iter().chain(self.run.arguments.iter().flatten());
        for word in texts.chain(self.run.environment.values()).flat_map(|text| placeholders(text)) {
            if !(WORDS.contains(&word) || known(word)) {
                return Err(format!("`{{{word}}}` stands for nothing: it is none of its `settings`"));
            }
        }
        if let Some(gateway) = &self.gateway {
            if gateway.entrypoint.is_empty() {
                return Err("`gateway.entrypoint` is empty".into());
            }
            let texts = gateway.entrypoint.iter().chain(gateway.environment.values());
            for word in texts.flat_map(|text| placeholders(text)) {
                if !(GATEWAY_WORDS.contains(&word) || known(word)) {
                    return Err(format!("`{{{word}}}` stands for nothing in `[gateway]`"));
                }
            }
        }
        self.check_users_own()?;
        let token = self.run.token.as_ref().map(|token| &token.variable);
        let variables = self.run.environment.keys().chain(&self.run.passed).chain(token);
        let variables = variables.chain(self.gateway.iter().flat_map(|gateway| gateway.environment.keys()));
        if let Some(variable) = variables.into_iter().find(|variable| !is_variable(variable)) {
            return Err(format!("`{variable}` is no name of a variable"));
        }
        Ok(())
    }

    /// What is the user's own goes into a container by the user's own word, and by nobody else's.
    fn check_users_own(&self) -> Result<(), String> {
        let named = [
            self.run.model_folder.as_ref().map(|folder| &folder.setting),
            self.run.token.as_ref().map(|token| &token.setting),
        ];
        for key in named.into_iter().flatten() {
            let settings = &self.manifest.settings;
            if settings.iter().any(|setting| setting.key == *key && !setting.default.is_empty()) {
                return Err(format!("`{key}` names a folder or a secret of the user's, and has a default"));
            }
        }
        if let Some(name) = self.run.passed.iter().find(|name| !PASSED.contains(&name.as_str())) {
            let all = PASSED.join(", ");
            return Err(format!(
                "`run.passed` names `{name}`, which may be a secret: only these are passed on: {all}"
            ));
        }
        Ok(())
    }

    /// How its image is got, as its author's word and not ours; empty where it does not say.
    pub fn how(&self) -> String {
        match self.image.how.as_str() {
            "" => String::new(),
            how => {
                format!("its data file says how to get it: {}", crate::text::quotation(how, MAX_TEXT_BYTES))
            }
        }
    }

    fn check_sizes(&self) -> Result<(), String> {
        let run = &self.run;
        let counts = [
            run.entrypoint.len(),
            run.arguments.iter().map(Vec::len).sum(),
            run.environment.len(),
            run.passed.len(),
            run.refused.len(),
            run.at_least.len(),
            self.image.stands_for.len(),
            self.requires.compute_capability.len(),
            self.requires.model_endings.len(),
            self.gateway.as_ref().map_or(0, |gateway| gateway.entrypoint.len() + gateway.environment.len()),
        ];
        if counts.into_iter().any(|count| count > LIST_MAX) {
            return Err(format!("one of its lists has more than {LIST_MAX} entries"));
        }
        if run.arguments.iter().any(Vec::is_empty) {
            return Err("`run.arguments` holds an empty group".into());
        }
        let texts = run.entrypoint.iter().chain(run.arguments.iter().flatten());
        let texts = texts.chain(run.environment.values()).chain(run.refused.values());
        let texts = texts.chain(&self.image.stands_for).chain(&self.requires.model_endings);
        let gateway = self.gateway.iter();
        let texts =
            texts.chain(gateway.flat_map(|one| one.entrypoint.iter().chain(one.environment.values())));
        let texts = texts.chain(&self.serving.known_as);
        let mut texts = texts.chain([&self.image.how, &self.requires.such_as, &self.requires.vendor]);
        let wrong = |text: &&String| text.len() > MAX_TEXT_BYTES || text.chars().any(char::is_control);
        match texts.find(wrong) {
            Some(_) => Err("one of its texts is longer than 512 bytes or holds control characters".into()),
            None => Ok(()),
        }
    }
}

/// The manifest in `written`, checked as a library's is.
fn manifest(written: Written) -> Result<Manifest, DataError> {
    let json = serde_json::json!({
        "id": written.id, "version": written.version, "vendor": written.vendor, "license": written.license,
        "homepage": written.homepage, "summary": written.summary, "plugin_api": [1],
        "certificate_versions": written.certificate_versions, "platforms": written.platforms,
        "engines": written.engines, "settings": written.settings,
    });
    let mut manifest = Manifest::parse(json.to_string().as_bytes()).map_err(DataError::Manifest)?;
    // There is no table to speak.
    manifest.plugin_api.clear();
    Ok(manifest)
}

/// The words in braces of `text`.
pub(super) fn placeholders(text: &str) -> impl Iterator<Item = &str> {
    text.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(word, _)| word).filter(|word| {
        let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        !word.is_empty() && word.chars().all(letter)
    })
}

/// Whether an engine would take `name` for an image: nothing that it would take for a flag.
fn is_image(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
    (1..=255).contains(&name.len())
        && name.chars().all(fits)
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
}

fn is_target(path: &str) -> bool {
    path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_variable(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.is_empty() && name.chars().all(fits) && !name.starts_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests;
