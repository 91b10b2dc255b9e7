//! The user's own container engine: which one, what it is asked, and what its answers mean.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::child::{self, ChildError, Said};
use super::command::{self, Kind, User};
use super::recipe::Recipe;
use super::trouble::{Doing, Ending, Trouble, of_engine};
use crate::config::ContainerEngine;
use crate::home::Env;

/// How long a question may take.
const ASK: Duration = Duration::from_secs(20);
/// How long making or starting a container may take.
const MAKE: Duration = Duration::from_secs(180);
/// How long fetching an image may take.
pub const FETCH: Duration = Duration::from_secs(6 * 3600);
/// Bytes of one answer.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// An engine that answers.
#[derive(Debug, Clone)]
pub struct Engine {
    /// Which.
    pub kind: Kind,
    /// Its version.
    pub version: String,
    /// It works without root.
    pub rootless: bool,
    program: PathBuf,
    secrets: Vec<OsString>,
    user: User,
    called_off: Arc<AtomicBool>,
}

/// An image that is on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The name that it was found by.
    pub name: String,
    /// Its digest, or its id where it came from no registry.
    pub digest: String,
    /// When it was made, as its engine writes it.
    pub created: String,
}

/// What an engine says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nature {
    /// Where it keeps images, on whichever machine it is.
    pub store: PathBuf,
    /// Whether it is set up to hand over NVIDIA's cards.
    pub hands_over_cards: bool,
}

/// How a container stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It runs.
    Runs,
    /// It has ended.
    Ended(Ending),
    /// It is gone.
    Gone,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    #[serde(default)]
    running: bool,
    #[serde(default)]
    status: String,
    #[serde(default)]
    exit_code: i64,
    #[serde(default, rename = "OOMKilled")]
    oom_killed: bool,
    #[serde(default)]
    error: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    #[serde(default)]
    id: String,
    #[serde(default)]
    created: String,
    #[serde(default)]
    repo_digests: Option<Vec<String>>,
}

impl Engine {
    /// The engine that `wanted` means; `secrets` are variables that it must not see, `cards` says whether it must hand over
    /// NVIDIA's.
    ///
    /// # Errors
    ///
    /// There is none, or it does not answer.
    pub fn find(
        wanted: ContainerEngine,
        env: &Env,
        secrets: &[OsString],
        cards: bool,
        called_off: &Arc<AtomicBool>,
    ) -> Result<Self, Trouble> {
        let path = env.var_os("PATH").unwrap_or_default();
        let found = |kind: Kind| child::find(kind.program(), path).map(|program| (kind, program));
        let order = match wanted {
            ContainerEngine::Docker => vec![Kind::Docker],
            ContainerEngine::Podman => vec![Kind::Podman],
            // Without a daemon of root's is better, where it can do it.
            ContainerEngine::Auto if !rustix::process::geteuid().is_root() && (!cards || has_cdi()) => {
                vec![Kind::Podman, Kind::Docker]
            }
            ContainerEngine::Auto => vec![Kind::Docker, Kind::Podman],
        };
        let mut first = None;
        for (kind, program) in order.iter().copied().filter_map(found) {
            match Self::ask_for(kind, program, secrets, called_off) {
                Ok(engine) => return Ok(engine),
                Err(trouble) => first = first.or(Some(trouble)),
            }
        }
        Err(first.unwrap_or_else(|| match order[..] {
            [kind] => Trouble::lasting(
                "no-engine",
                format!("`{}`, which [mining.container] asks for, is not on the path", kind.program()),
                "install it, or set `engine` to `auto`",
            ),
            _ => Trouble::no_engine(),
        }))
    }

    fn ask_for(
        kind: Kind,
        program: PathBuf,
        secrets: &[OsString],
        called_off: &Arc<AtomicBool>,
    ) -> Result<Self, Trouble> {
        let user =
            User { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() };
        let mut engine = Self {
            kind,
            version: String::new(),
            rootless: false,
            program,
            secrets: secrets.to_vec(),
            user,
            called_off: Arc::clone(called_off),
        };
        let doing = Doing { kind, image: "", how: "", name: "", port: 0 };
        let said = engine.ask(&command::version(kind), ASK, &doing)?;
        engine.version = serde_json::from_str::<String>(said.out.trim()).unwrap_or_default();
        engine.version = crate::text::foreign(&engine.version);
        // One that does not say is taken for one of root's.
        let said = engine.ask(&command::rootless(kind), ASK, &doing).map(|said| said.out).unwrap_or_default();
        engine.rootless = said.contains("rootless") || said.trim() == "true";
        Ok(engine)
    }

    /// What it says of itself.
    ///
    /// # Errors
    ///
    /// It does not answer.
    pub fn nature(&self) -> Result<Nature, Trouble> {
        let doing = Doing { kind: self.kind, image: "", how: "", name: "", port: 0 };
        let said = self.ask(&command::info(), ASK, &doing)?;
        let said: serde_json::Value = self.read(&said)?;
        let store = match self.kind {
            Kind::Docker => &said["DockerRootDir"],
            Kind::Podman => &said["store"]["graphRoot"],
        };
        let hands_over_cards = has_cdi() || said["Runtimes"].get("nvidia").is_some();
        Ok(Nature { store: store.as_str().unwrap_or_default().into(), hands_over_cards })
    }

    /// The engine in words, such as `podman 4.3.1, rootless`.
    pub fn describe(&self) -> String {
        let how = if self.rootless { "rootless" } else { "as root" };
        format!("{} {}, {how}", self.kind.program(), self.version)
    }

    fn ask(&self, arguments: &[String], limit: Duration, doing: &Doing<'_>) -> Result<Said, Trouble> {
        let command = child::command(&self.program, arguments, &self.secrets);
        match child::run(command, limit, ANSWER_BYTES_MAX, &self.called_off) {
            Ok(said) if said.status.success() => Ok(said),
            Ok(said) => Err(of_engine(&said.err, doing)),
            Err(err) => Err(no_answer(self.kind, &err)),
        }
    }

    fn read<T: DeserializeOwned>(&self, said: &Said) -> Result<T, Trouble> {
        let out = said.out.trim();
        // Podman answers some questions about one thing with a list of one.
        let read = match out.starts_with('[') {
            true => serde_json::from_str(out).map(|[one]: [T; 1]| one),
            false => serde_json::from_str(out),
        };
        read.map_err(|err| {
            let program = self.kind.program();
            let what = format!("{program} gave an answer that is none: {err}");
            Trouble::passing("engine-failed", what, format!("`{program} info` shows whether it works"))
        })
    }

    /// The image that `recipe` means, where one of its names is on this machine.
    ///
    /// # Errors
    ///
    /// The engine fails otherwise than by not knowing it.
    pub fn image(&self, recipe: &Recipe) -> Result<Option<Image>, Trouble> {
        for name in std::iter::once(&recipe.image).chain(&recipe.image_instead) {
            match self.ask(&command::image(name), ASK, &doing(self.kind, recipe, name)) {
                Ok(said) => {
                    let seen: Inspected = self.read(&said)?;
                    let digest = seen.repo_digests.and_then(|digests| digests.into_iter().next());
                    let digest = digest.and_then(|digest| Some(digest.split_once('@')?.1.to_owned()));
                    return Ok(Some(Image {
                        name: name.clone(),
                        digest: crate::text::foreign(&digest.unwrap_or(seen.id)),
                        created: crate::text::foreign(&seen.created),
                    }));
                }
                Err(trouble) if trouble.code == "image-unknown" => {}
                Err(trouble) => return Err(trouble),
            }
        }
        Ok(None)
    }

    /// The name of the image of `recipe`, and a program that fetches it and prints how far it is; it may take
    /// [`FETCH`].
    ///
    /// # Errors
    ///
    /// It names no registry.
    pub fn fetch_command(&self, recipe: &Recipe) -> Result<(String, std::process::Command), Trouble> {
        let name = recipe.image_instead.as_ref().unwrap_or(&recipe.image);
        if !names_registry(name) {
            return Err(Trouble::no_image(&doing(self.kind, recipe, name)));
        }
        Ok((name.clone(), child::command(&self.program, &command::pull(name), &self.secrets)))
    }

    /// Why the image `name` of `recipe` was not fetched, by the last that the program for it `said`.
    pub fn not_fetched(&self, recipe: &Recipe, name: &str, said: &str) -> Trouble {
        of_engine(said, &doing(self.kind, recipe, name))
    }

    /// Makes the container of `recipe` from `image` and starts it; its id. Nothing is left where that fails.
    ///
    /// # Errors
    ///
    /// What the engine complains of.
    pub fn run(&self, recipe: &Recipe, image: &Image) -> Result<String, Trouble> {
        let doing = doing(self.kind, recipe, &image.name);
        let made = self.ask(&command::create(self.kind, recipe, &image.name, self.user), MAKE, &doing)?;
        let id = made.out.lines().map(str::trim).rfind(|line| is_id(line)).map(str::to_owned);
        let Some(id) = id else {
            let what = "the engine did not say which container it made".to_owned();
            return Err(Trouble::passing("engine-failed", what, "run the command again"));
        };
        if let Err(trouble) = self.ask(&command::start(&id), MAKE, &doing) {
            // Both engines leave it behind.
            let _ = self.remove(&id);
            return Err(trouble);
        }
        Ok(id)
    }

    /// How the container stands.
    ///
    /// # Errors
    ///
    /// The engine does not answer.
    pub fn standing(&self, id: &str, last: impl FnOnce() -> Vec<String>) -> Result<Standing, Trouble> {
        let doing = Doing { kind: self.kind, image: "", how: "", name: id, port: 0 };
        let command = child::command(&self.program, &command::state(id), &self.secrets);
        match child::run(command, ASK, ANSWER_BYTES_MAX, &self.called_off) {
            Ok(said) if said.status.success() => {
                let state: State = self.read(&said)?;
                if state.running || matches!(&*state.status, "running" | "created" | "paused" | "restarting")
                {
                    return Ok(Standing::Runs);
                }
                let State { exit_code, oom_killed, error, .. } = state;
                Ok(Standing::Ended(Ending {
                    code: exit_code,
                    out_of_memory: oom_killed,
                    error,
                    last: last(),
                }))
            }
            Ok(said) if is_unknown(&said.err) => Ok(Standing::Gone),
            Ok(said) => Err(of_engine(&said.err, &doing)),
            Err(err) => Err(no_answer(self.kind, &err)),
        }
    }

    /// The containers of sessions of the home folder `home`.
    ///
    /// # Errors
    ///
    /// The engine does not answer.
    pub fn ours(&self, home: &Path) -> Result<Vec<String>, Trouble> {
        let doing = Doing { kind: self.kind, image: "", how: "", name: "", port: 0 };
        let said = self.ask(&command::ours(home), ASK, &doing)?;
        Ok(said.out.lines().map(str::trim).filter(|line| is_id(line)).map(str::to_owned).collect())
    }

    /// The name of the miner that a container of ours is, and nothing where it is none of ours.
    pub fn miner_of(&self, id: &str) -> Option<String> {
        let doing = Doing { kind: self.kind, image: "", how: "", name: id, port: 0 };
        let said = self.ask(&command::labels(id), ASK, &doing).ok()?;
        let labels: serde_json::Map<String, serde_json::Value> = self.read(&said).ok()?;
        Some(labels.get(command::LABEL_MINER)?.as_str()?.to_owned())
    }

    /// Ends a container within `grace`, and removes it.
    ///
    /// # Errors
    ///
    /// It could not be removed.
    pub fn end(&self, id: &str, grace: Duration) -> Result<(), Trouble> {
        let doing_it = child::command(&self.program, &command::stop(id, grace.as_secs()), &self.secrets);
        // Where it has ended already there is nothing to stop; removing it is what counts.
        let _ = child::run(doing_it, grace + ASK, ANSWER_BYTES_MAX, &AtomicBool::new(false));
        self.remove(id)
    }

    fn remove(&self, id: &str) -> Result<(), Trouble> {
        let doing = Doing { kind: self.kind, image: "", how: "", name: id, port: 0 };
        let command = child::command(&self.program, &command::remove(id), &self.secrets);
        match child::run(command, MAKE, ANSWER_BYTES_MAX, &AtomicBool::new(false)) {
            Ok(said) if said.status.success() || is_unknown(&said.err) => Ok(()),
            Ok(said) => Err(of_engine(&said.err, &doing)),
            Err(err) => Err(no_answer(self.kind, &err)),
        }
    }

    /// The same engine, whatever is called off.
    #[must_use]
    pub fn undisturbed(&self) -> Self {
        Self { called_off: Arc::default(), ..self.clone() }
    }

    /// A program that prints what a container prints, from its beginning or from now on, until it ends.
    pub fn log_command(&self, id: &str, from_now: bool) -> std::process::Command {
        child::command(&self.program, &command::logs(id, from_now), &self.secrets)
    }
}

fn doing<'a>(kind: Kind, recipe: &'a Recipe, image: &'a str) -> Doing<'a> {
    Doing { kind, image, how: &recipe.how, name: &recipe.name, port: recipe.port }
}

fn no_answer(kind: Kind, err: &ChildError) -> Trouble {
    let program = kind.program();
    let what = format!("{program} gives no answer: {err}");
    Trouble::passing("engine-silent", what, format!("`{program} info` shows whether it works"))
}

fn is_unknown(said: &str) -> bool {
    let lower = said.to_ascii_lowercase();
    lower.contains("no such container")
        || lower.contains("no such object")
        || lower.contains("no container with")
}

fn is_id(text: &str) -> bool {
    text.len() >= 12 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether the name of an image begins with a registry's host: without one an engine would look where anybody may have put
/// something under that name.
fn names_registry(name: &str) -> bool {
    let first = name.split_once('/').map(|(first, _)| first).unwrap_or_default();
    first.contains(['.', ':']) || first == "localhost"
}

/// Whether there is a file by which Podman knows NVIDIA's cards.
fn has_cdi() -> bool {
    let folders =
        ["/etc/cdi", "/var/run/cdi"].into_iter().filter_map(|folder| std::fs::read_dir(folder).ok());
    folders.flatten().flatten().any(|entry| entry.file_name().to_string_lossy().contains("nvidia"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_with_a_host_is_fetched() {
        for (name, yes) in [
            ("vllm_miner", false),
            ("somebody/vllm_miner:1", false),
            ("registry.example/x:1", true),
            ("registry.example:5000/a/x", true),
            ("localhost/x", true),
            ("x:1", false),
        ] {
            assert_eq!(names_registry(name), yes, "{name}");
        }
    }

    #[test]
    fn an_id_is_told_from_what_an_engine_says_beside_it() {
        assert!(is_id("0123456789abcdef") && !is_id("WARNING: no swap") && !is_id("abc"));
        assert!(is_unknown("Error: No such container: x") && is_unknown("Error: no such object: \"x\""));
        assert!(!is_unknown("Cannot connect"));
    }
}
