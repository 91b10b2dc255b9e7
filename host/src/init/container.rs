//! What a provider that is a container is asked for: its model, its image, its port, its cards, its token.
//!
//! Only what its data file has a setting for is asked, and each answer is held against what the file and this machine say of it.

use std::path::Path;

use pearlbed_plugin_api::HardwareInfo;
use serde_json::{Map, Value};

use super::asking::Ask;
use crate::config::Change;
use crate::container::recipe::check_cards;
use crate::models::{self, Status};
use crate::plugins::container::{DataFile, fitting};
use crate::plugins::settings;
use crate::text::{bytes, printable};

/// The most characters that are quoted of what a file says of a setting.
const HELP_CHARS_MAX: usize = 512;

/// The setting with the image, as OpenJarvis calls it.
const IMAGE: &str = "docker_image_tag";
/// The setting with the cards.
const CARDS: &str = "cuda_visible_devices";
/// The setting with the model.
const MODEL: &str = "model";
/// No answer.
const NONE: &str = "-";

/// What is known before the first question.
pub struct Known<'a> {
    /// `[mining.extra]` as it is.
    pub extra: &'a Map<String, Value>,
    /// Keys that were given by flags: these are not asked.
    pub given: &'a [String],
    /// This machine.
    pub hardware: &'a HardwareInfo,
    /// Whether a variable of the environment is set.
    pub is_set: &'a dyn Fn(&str) -> bool,
}

/// Asks what the container of `file` needs, and returns the changes that the answers mean.
///
/// # Errors
///
/// What [`Ask`] met.
pub fn ask<A: Ask>(ask: &mut A, file: &DataFile, known: &Known<'_>) -> Result<Vec<Change>, A::Error> {
    let mut asked = Asked { ask, file, known, changes: Vec::new() };
    asked.ask.tell(&format!(
        "{} is a container: your own engine runs its image, which serves a model and mines while it does.",
        file.manifest.id
    ));
    asked.model()?;
    asked.image()?;
    asked.number(&file.serving.port, "Port on this machine that the model is served on")?;
    asked.cards()?;
    asked.token()?;
    asked.others()?;
    if let Some(name) = &file.serving.known_as {
        asked.ask.tell(&format!(
            "`jarvis ask` uses it where its default engine does not answer, or with [engine] default = \"{name}\"."
        ));
    }
    Ok(asked.changes)
}

struct Asked<'a, A: Ask> {
    ask: &'a mut A,
    file: &'a DataFile,
    known: &'a Known<'a>,
    changes: Vec<Change>,
}

fn path(key: &str) -> String {
    format!("mining.extra.{key}")
}

/// `text` as a value that the setting `key` takes.
fn value(file: &DataFile, key: &str, text: &str) -> Result<toml_edit::Value, String> {
    let whole = text.parse::<i64>().ok().map(|number| (Value::from(number), toml_edit::Value::from(number)));
    let part = text.parse::<f64>().ok().map(|number| (Value::from(number), toml_edit::Value::from(number)));
    let word = Some((Value::from(text), toml_edit::Value::from(text)));
    let mut wrong = String::new();
    for (json, toml) in [whole, part, word].into_iter().flatten() {
        let extra = Map::from_iter([(key.to_owned(), json)]);
        match settings::check(&file.manifest, &extra, |_| false).first() {
            None => return Ok(toml),
            Some(mistake) if wrong.is_empty() => wrong = format!("this {}; {}", mistake.problem, mistake.fix),
            Some(_) => {}
        }
    }
    Err(wrong)
}

/// Whether a text is the path of a folder rather than the id of a model.
fn is_path(text: &str) -> bool {
    text.starts_with(['/', '~', '.'])
}

fn folder(text: &str) -> std::path::PathBuf {
    // The shell's word for it was not read by a shell here.
    let env = crate::home::Env::of_process();
    crate::home::without_tilde(Path::new(text), &env).unwrap_or_else(|| text.into())
}

impl<A: Ask> Asked<'_, A> {
    fn has(&self, key: &str) -> bool {
        self.file.manifest.settings.iter().any(|setting| setting.key == key)
    }

    fn is_given(&self, key: &str) -> bool {
        self.known.given.contains(&path(key))
    }

    /// What is set now, or what holds without it.
    fn now(&self, key: &str) -> Option<String> {
        let own = self.known.extra.get(key).map(|value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        });
        let default = || {
            let setting = self.file.manifest.settings.iter().find(|setting| setting.key == key)?;
            Some(setting.default.trim_matches('"').to_owned())
        };
        own.or_else(default).filter(|text| !text.is_empty())
    }

    fn set(&mut self, key: &str, value: toml_edit::Value) {
        self.changes.push(Change::Set { key: path(key), value });
    }

    fn unset(&mut self, key: &str) {
        if self.known.extra.contains_key(key) {
            self.changes.push(Change::Unset { key: path(key) });
        }
    }

    /// The model: an id, or a folder with one.
    fn model(&mut self) -> Result<(), A::Error> {
        let own = self.file.run.model_folder.as_ref().map(|folder| folder.setting.clone());
        if self.is_given(MODEL) || own.as_ref().is_some_and(|key| self.is_given(key)) {
            return Ok(());
        }
        let endings = self.file.requires.model_endings.clone();
        let fits = |id: &str| endings.is_empty() || endings.iter().any(|ending| id.ends_with(&**ending));
        let usual = models::registry().into_iter().find(|one| one.status == Status::Validated);
        let usual = usual.map(|model| model.id).filter(|id| fits(id));
        let now = own.as_ref().and_then(|key| self.now(key)).or_else(|| self.now(MODEL)).or(usual);
        let prompt = if own.is_some() { "Model (an id, or a folder with one)" } else { "Model (an id)" };
        let answer = self.ask.text(prompt, now.as_deref().unwrap_or_default(), &|text| match text {
            "" => Err("it serves a model: `pearlbed models` lists those that mine".into()),
            text if is_path(text) && own.is_none() => Err("it takes the id of a model, not a folder".into()),
            text if is_path(text) && !folder(text).is_dir() => {
                Err(format!("there is no folder {}", printable(text)))
            }
            text if !is_path(text) && (text.contains(char::is_whitespace) || text.starts_with('-')) => {
                Err("this is no id of a model, which is like owner/name".into())
            }
            text if !is_path(text) && !fits(text) => Err(format!(
                "it mines with models whose names end in {} only; `pearlbed models` lists them",
                endings.join(" or ")
            )),
            _ => Ok(()),
        })?;
        let Some(key) = own else {
            self.set(MODEL, answer.into());
            return Ok(());
        };
        if !is_path(&answer) {
            if let Some(model) = models::find(&answer).filter(|model| model.status == Status::Refused) {
                self.ask.tell(&format!("Mind: {}", model.notes));
            }
            self.unset(&key);
            self.set(MODEL, answer.into());
            return Ok(());
        }
        let place = folder(&answer);
        match models::inspect(&place) {
            Ok(seen) if seen.ok => self.ask.tell("`inspect-model` finds nothing in its way."),
            Ok(seen) => {
                let first = seen.checks.iter().find(|check| check.state == models::State::Fail);
                let finding = first.map(|check| check.finding.clone()).unwrap_or_default();
                self.ask.tell(&format!("`inspect-model` says that it cannot mine: {}", printable(&finding)));
            }
            Err(err) => self.ask.tell(&format!("It could not be looked at: {}", printable(&err.to_string()))),
        }
        let name = place.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let name = self.now(MODEL).unwrap_or(name);
        let served = self.ask.text("Name that it is served under", &name, &|text| match text {
            "" => Err("whoever asks it needs a name".into()),
            _ => Ok(()),
        })?;
        // A session runs in another folder than this command.
        let lasting = if answer.starts_with('.') {
            std::path::absolute(&place).unwrap_or(place)
        } else {
            answer.into()
        };
        self.set(&key, lasting.to_string_lossy().into_owned().into());
        self.set(MODEL, served.into());
        Ok(())
    }

    /// The image, where it may be another one than the file's.
    fn image(&mut self) -> Result<(), A::Error> {
        if !self.has(IMAGE) || self.is_given(IMAGE) {
            return Ok(());
        }
        let own = self.file.image.name.clone();
        let now = self.now(IMAGE).unwrap_or_else(|| own.clone());
        let answer = self.ask.text("Image", &now, &|text| {
            let fits = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
            match text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(fits) {
                true => Ok(()),
                false => Err("this is no name of an image, which is like registry.example/name:tag".into()),
            }
        })?;
        if answer == own {
            if !self.file.image.how.is_empty() {
                self.ask.tell(&format!("If it is not on this machine: {}", self.file.how()));
            }
            self.unset(IMAGE);
        } else {
            self.set(IMAGE, answer.into());
        }
        Ok(())
    }

    /// One setting, as its kind says.
    fn number(&mut self, key: &str, prompt: &str) -> Result<(), A::Error> {
        if self.is_given(key) {
            return Ok(());
        }
        let (file, now) = (self.file, self.now(key).unwrap_or_default());
        let answer = self.ask.text(prompt, &now, &|text| value(file, key, text).map(drop))?;
        // It was checked as it was given.
        if let Ok(value) = value(file, key, &answer) {
            self.set(key, value);
        }
        Ok(())
    }

    fn cards(&mut self) -> Result<(), A::Error> {
        let (file, hardware) = (self.file, self.known.hardware);
        let fit = fitting(&file.requires, hardware);
        if file.requires.vendor.is_empty() || fit.is_empty() || !self.has(CARDS) || self.is_given(CARDS) {
            return Ok(());
        }
        let cards = hardware.gpus.iter().enumerate();
        let own = cards.filter(|(_, gpu)| gpu.vendor == file.requires.vendor).enumerate();
        for (number, (index, gpu)) in own {
            let address = gpu.pci_address.as_deref().unwrap_or("no address");
            let memory = gpu.vram_bytes.map(|all| format!(", {}", bytes(all))).unwrap_or_default();
            let verdict = if fit.contains(&index) { "it can mine on it" } else { "it cannot mine on it" };
            let line = format!("card {number}: {} ({address}{memory}): {verdict}", gpu.name);
            self.ask.tell(&printable(&line));
        }
        let now = self.now(CARDS).unwrap_or_else(|| NONE.to_owned());
        let prompt = "Cards, by number or address, with commas (- for all)";
        let answer = self.ask.text(prompt, &now, &|text| match text {
            NONE => Ok(()),
            text => {
                check_cards(file, text, hardware).map_err(|err| format!("it {}; {}", err.problem, err.fix))
            }
        })?;
        match &*answer {
            NONE => self.unset(CARDS),
            _ => self.set(CARDS, answer.into()),
        }
        Ok(())
    }

    fn token(&mut self) -> Result<(), A::Error> {
        let Some(key) = self.file.run.token.as_ref().map(|token| token.setting.clone()) else {
            return Ok(());
        };
        if self.is_given(&key) {
            return Ok(());
        }
        let usual = ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"].into_iter().find(|name| (self.known.is_set)(name));
        let now = self.now(&key).unwrap_or_else(|| usual.unwrap_or(NONE).to_owned());
        let prompt = "Variable with the token for models that are not open (- for none)";
        let answer = self.ask.text(prompt, &now, &|text| {
            let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
            match text == NONE || (!text.is_empty() && text.chars().all(fits)) {
                true => Ok(()),
                false => Err("this is no name of a variable; the token itself stands in no file".into()),
            }
        })?;
        if answer == NONE {
            self.unset(&key);
            return Ok(());
        }
        if !(self.known.is_set)(&answer) {
            self.ask.tell(&format!("{answer} is not set now; set it where `pearlbed start` runs."));
        }
        self.set(&key, answer.into());
        Ok(())
    }

    /// What has a default that suits nearly everybody.
    fn others(&mut self) -> Result<(), A::Error> {
        let asked = [MODEL, IMAGE, CARDS, &*self.file.serving.port];
        let settings = self.file.manifest.settings.iter();
        let rest: Vec<(String, String)> = settings
            .filter(|setting| !setting.default.is_empty() && !asked.contains(&&*setting.key))
            .filter(|setting| !self.is_given(&setting.key))
            .map(|setting| (setting.key.clone(), setting.help.clone()))
            .collect();
        let names: Vec<String> =
            rest.iter().map(|(key, _)| format!("{key} ({})", self.now(key).unwrap_or_default())).collect();
        if rest.is_empty() || !self.ask.confirm(&format!("Change one of {}?", names.join(", ")), false)? {
            return Ok(());
        }
        for (key, help) in rest {
            // Whoever wrote the file asks, and not pearlbed.
            self.ask
                .tell(&format!("`{key}` is described as {}", crate::text::quotation(&help, HELP_CHARS_MAX)));
            self.number(&key, &key)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::asking::testing::Script;
    use super::*;
    use crate::init::edit;

    fn file() -> DataFile {
        let text = r#"
schema = 1
id = "some-engine"
version = "1.0.0"
certificate_versions = [3]
settings = [
    { key = "docker_image_tag", kind = "text" },
    { key = "vllm_port", kind = "integer:1..65535", default = "8000" },
    { key = "local_model_path", kind = "text" },
    { key = "cuda_visible_devices", kind = "text" },
    { key = "hf_token_env", kind = "text" },
    { key = "gpu_memory_utilization", kind = "number:0.05..1.0", default = "0.9", help = "A part." },
]
image = { name = "some_image:1", how = "build it" }
serving = { port = "vllm_port", health = "/health", known_as = "some-engine-mining" }
requires = { vendor = "nvidia", compute_capability = ["9.0"], model_endings = ["-pearl"] }
[run]
model_folder = { setting = "local_model_path", target = "/model" }
token = { setting = "hf_token_env", variable = "TOKEN_PATH" }
"#;
        DataFile::parse("some-engine.container.toml", text.as_bytes()).unwrap()
    }

    fn machine() -> HardwareInfo {
        let card = |name: &str, capability: &str, address: &str| json!({ "name": name, "vendor": "nvidia", "compute_capability": capability, "pci_address": address });
        serde_json::from_value(json!({ "platform": "linux-x86_64", "gpus": [
            card("H100", "9.0", "0000:02:00.0"), card("RTX", "8.9", "0000:03:00.0"), card("H100", "9.0", "0000:04:00.0"),
        ] }))
        .unwrap()
    }

    fn run(script: &mut Script, extra: Value, given: &[&str]) -> String {
        let Value::Object(extra) = extra else { panic!("settings are an object") };
        let given: Vec<String> = given.iter().map(|key| path(key)).collect();
        let machine = machine();
        let known =
            Known { extra: &extra, given: &given, hardware: &machine, is_set: &|name| name == "MY_TOKEN" };
        let changes = ask(script, &file(), &known).unwrap();
        let before: String = extra.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
        edit::apply(&format!("[mining.extra]\n{before}"), &changes).unwrap()
    }

    #[test]
    fn each_answer_is_checked_and_wrong_ones_are_asked_again() {
        let mut script = Script::new(&[
            ("Model", "meta/raw-model"),
            ("Model", "two words-pearl"),
            ("Model", "/no/such/folder"),
            ("Model", "somebody/a-model-pearl"),
            ("Image", "--privileged"),
            ("Image", "registry.example/mine:2"),
            ("Port", "99999"),
            ("Port", "8001"),
            ("Cards", "1"),
            ("Cards", "0, 0000:04:00.0"),
            ("token", "hf_a-token"),
            ("token", "MY_TOKEN"),
            ("Change one", "y"),
            ("gpu_memory_utilization", "2"),
            ("gpu_memory_utilization", "0.96"),
        ]);
        let text = run(&mut script, json!({}), &[]);
        insta::assert_snapshot!("asked", format!("{text}\n{}", script.told.join("\n")));
    }

    #[test]
    fn what_is_set_is_offered_and_what_flags_gave_is_not_asked() {
        // A folder that every machine has, and that holds no model.
        let place = "/usr";
        let set = json!({ "model": "a/b-pearl", "vllm_port": 9000, "hf_token_env": "OTHER" });
        let mut script = Script::new(&[("Model", place)]);
        let text = run(&mut script, set.clone(), &[]);
        assert!(text.contains(&format!("local_model_path = \"{place}\"")), "{text}");
        assert!(text.contains("model = \"a/b-pearl\"") && text.contains("vllm_port = 9000"), "{text}");
        assert!(!text.contains("docker_image_tag") && !text.contains("cuda_visible_devices"), "{text}");
        assert!(script.told.iter().any(|told| told.contains("OTHER is not set now")), "{:?}", script.told);
        assert!(
            script
                .told
                .iter()
                .any(|told| told.contains("could not be looked at") || told.contains("cannot mine")),
            "{:?}",
            script.told
        );

        let mut script = Script::new(&[]);
        let keys = ["model", "docker_image_tag", "vllm_port", "cuda_visible_devices", "hf_token_env"];
        let text = run(&mut script, set, &keys);
        assert!(text.contains("hf_token_env = \"OTHER\""), "{text}");
        assert_eq!(script.asked.len(), 1, "{:?}", script.asked);
    }
}
