//! Whether a folder holds a checkpoint that can mine, told from its files before hours of loading are spent on it.
//!
//! Reads names, sizes, small JSON files and the first bytes of weights. It never reads the weights themselves.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::Model;
use super::weights::{self, WeightFile, Weights, regular};
use crate::exit::Exit;
use crate::explain::Explain;

/// JSON files beyond this are not read: a `tokenizer.json` may have tens of megabytes, a `config.json` has kilobytes.
const JSON_BYTES_MAX: u64 = 64 << 20;

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it must be.
    Ok,
    /// Usable, with something to know.
    Warn,
    /// In the way.
    Fail,
    /// Does not matter for this checkpoint.
    Skip,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// A stable id.
    pub id: &'static str,
    /// How it came out.
    pub state: State,
    /// What was found.
    pub finding: String,
    /// What to do, unless all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

/// A checkpoint folder, looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Inspection {
    /// The folder.
    pub path: PathBuf,
    /// Whether nothing is in the way.
    pub ok: bool,
    /// Architectures that `config.json` names.
    pub architectures: Vec<String>,
    /// Bytes of weights.
    pub weight_bytes: u64,
    /// The row of the registry that the checkpoint says it is, if any.
    pub model: Option<Model>,
    /// Everything that was looked at.
    pub checks: Vec<Check>,
}

/// Why a folder could not be looked at.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message is its variant's documentation")]
pub enum InspectError {
    #[error("cannot look into {}", path.display())]
    Folder {
        path: PathBuf,
        #[source]
        err: io::Error,
    },
    #[error("{} is not a folder", path.display())]
    NotAFolder { path: PathBuf },
}

impl Explain for InspectError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Folder { path, err } => crate::remedy::for_file(err, path),
            Self::NotAFolder { .. } => {
                Some("give the folder of the checkpoint: the one with config.json in it".to_owned())
            }
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Folder { err, .. } => crate::remedy::exit_for(err),
            Self::NotAFolder { .. } => Exit::Futile,
        }
    }
}

/// Looks at the checkpoint in the folder `path`.
///
/// # Errors
///
/// [`InspectError`] where there is no folder to look at. What is wrong with the files is a finding.
pub fn inspect(path: &Path) -> Result<Inspection, InspectError> {
    let refused = |err| InspectError::Folder { path: path.to_owned(), err };
    if !fs::metadata(path).map_err(refused)?.is_dir() {
        return Err(InspectError::NotAFolder { path: path.to_owned() });
    }
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(path).map_err(refused)? {
        // Names that are not UTF-8 are no files of a checkpoint.
        if let Ok(name) = entry.map_err(refused)?.file_name().into_string() {
            names.insert(name);
        }
    }
    let mut look = Look { path, names, checks: Vec::new() };
    let config = look.config();
    look.quantisation(config.as_ref());
    let architectures = texts(config.as_ref().and_then(|config| config.get("architectures")));
    look.tokenizer();
    let Weights { bytes: weight_bytes, parameters } = look.weights();
    look.parameters(config.as_ref(), parameters);
    look.experts(config.as_ref(), &architectures);
    look.processor(&architectures);
    let model = look.registry(config.as_ref());
    let ok = look.checks.iter().all(|check| check.state != State::Fail);
    Ok(Inspection { path: path.to_owned(), ok, architectures, weight_bytes, model, checks: look.checks })
}

struct Look<'a> {
    path: &'a Path,
    names: BTreeSet<String>,
    checks: Vec<Check>,
}

impl Look<'_> {
    fn note(&mut self, id: &'static str, state: State, finding: impl Into<String>, fix: Option<&str>) {
        self.checks.push(Check { id, state, finding: finding.into(), fix: fix.map(str::to_owned) });
    }

    fn config(&mut self) -> Option<Value> {
        const FIX: &str = "download the checkpoint again, complete";
        if !self.names.contains("config.json") {
            self.note("config", State::Fail, "there is no config.json", Some(FIX));
            return None;
        }
        match json(&self.path.join("config.json")) {
            Ok(config @ Value::Object(_)) => {
                self.note("config", State::Ok, "config.json is there", None);
                Some(config)
            }
            Ok(_) => {
                self.note("config", State::Fail, "config.json is not a JSON object", Some(FIX));
                None
            }
            Err(problem) => {
                self.note("config", State::Fail, format!("config.json {problem}"), Some(FIX));
                None
            }
        }
    }

    /// Only weights that Pearl quantised make products that are proofs.
    fn quantisation(&mut self, config: Option<&Value>) {
        let id = "quantization";
        let Some(config) = config else {
            return self.note(id, State::Skip, "there is no config.json to tell", None);
        };
        let fix = "use a checkpoint that Pearl has quantised: `pearlbed models` lists them";
        match config.pointer("/quantization_config/quant_method") {
            Some(Value::String(method)) if method == "pearl" => {
                let what =
                    "quant_method is `pearl`: its products are proofs by the miner for certificates 1 to 3";
                self.note(id, State::Ok, what, None);
            }
            Some(Value::String(method)) => {
                let method: String = method.chars().take(40).collect();
                self.note(id, State::Fail, format!("quant_method is `{method}`, not `pearl`"), Some(fix));
            }
            Some(_) => self.note(id, State::Fail, "quant_method is not text", Some(fix)),
            None => {
                let what =
                    "config.json has no quantization_config.quant_method: a plain model, which cannot mine";
                self.note(id, State::Fail, what, Some(fix));
            }
        }
    }

    fn tokenizer(&mut self) {
        let fix = "download the tokenizer files of the checkpoint";
        let there: Vec<_> = ["tokenizer.json", "tokenizer_config.json", "tokenizer.model"]
            .into_iter()
            .filter(|name| self.names.contains(*name))
            .collect();
        if there.is_empty() {
            let what = "neither tokenizer.json nor tokenizer_config.json nor tokenizer.model is there";
            return self.note("tokenizer", State::Fail, what, Some(fix));
        }
        for name in there.iter().filter(|name| name.ends_with(".json")) {
            if let Err(problem) = json(&self.path.join(name)) {
                return self.note("tokenizer", State::Fail, format!("{name} {problem}"), Some(fix));
            }
        }
        if there.contains(&"tokenizer.model")
            && let Err(problem) = tokenizer_model(&self.path.join("tokenizer.model"))
        {
            return self.note("tokenizer", State::Fail, format!("tokenizer.model {problem}"), Some(fix));
        }
        self.note("tokenizer", State::Ok, there.join(", "), None);
    }

    /// The weights are as many as the configuration claims: a checkpoint with a few layers loads, and mines nothing.
    fn parameters(&mut self, config: Option<&Value>, there: u64) {
        let id = "parameters";
        let Some(claimed) = config.and_then(claimed_parameters) else {
            return self.note(id, State::Skip, "config.json does not say how many there are", None);
        };
        if there == 0 {
            return self.note(id, State::Skip, "there are no weights to count", None);
        }
        let shown = |count: u64| crate::text::si(count as f64, "").trim_end().to_owned();
        // Embeddings that are shared or left out take the rest of the margin.
        if there < claimed / 10 * 8 {
            let what = format!(
                "config.json claims about {} parameters, and the tensors cannot hold them: they hold {} at most",
                shown(claimed),
                shown(there)
            );
            return self.note(id, State::Fail, what, Some("download all files of the checkpoint"));
        }
        self.note(id, State::Ok, format!("about {}, as config.json says", shown(claimed)), None);
    }

    /// Mainnet takes proofs of dense products only, whatever the checkpoint is called.
    fn experts(&mut self, config: Option<&Value>, architectures: &[String]) {
        let id = "experts";
        let Some(config) = config else {
            return self.note(id, State::Skip, "there is no config.json to tell", None);
        };
        let inner = config.get("text_config").unwrap_or(config);
        let counts = ["num_experts", "num_local_experts", "n_routed_experts"];
        let count = counts.iter().filter_map(|name| inner.get(*name)?.as_u64()).max().unwrap_or(0);
        let named = architectures.iter().any(|name| name.contains("Moe") || name.contains("Mixtral"));
        if count > 1 || named {
            let what = match count {
                0 | 1 => "a mixture of experts".to_owned(),
                count => format!("a mixture of {count} experts"),
            };
            let what =
                format!("{what}: it serves, and mainnet refuses its proofs, which must be of dense products");
            return self.note(id, State::Fail, what, Some("use a dense model: `pearlbed models` lists them"));
        }
        self.note(id, State::Ok, "none: its products are dense", None);
    }

    /// All shards that the index names are there and are what they say. Returns the bytes of weights.
    fn weights(&mut self) -> Weights {
        let fix = "download the missing or broken files again";
        let is_weights =
            |name: &&String| [".safetensors", ".bin", ".gguf"].iter().any(|ending| name.ends_with(ending));
        let files: Vec<String> = self.names.iter().filter(is_weights).cloned().collect();
        let mut wanted: BTreeSet<String> = files.iter().cloned().collect();
        // The others of `model-00001-of-00004.safetensors` are wanted, too, index or not.
        wanted.extend(files.iter().flat_map(|name| weights::siblings(name)));
        let mut placed: Vec<(String, String)> = vec![];
        let index = "model.safetensors.index.json";
        if self.names.contains(index) {
            match json(&self.path.join(index)) {
                Ok(index) => {
                    let shards = index.get("weight_map").and_then(Value::as_object);
                    let shards = shards.into_iter().flatten();
                    placed.extend(
                        shards.filter_map(|(tensor, file)| Some((tensor.clone(), file.as_str()?.to_owned()))),
                    );
                    wanted.extend(placed.iter().map(|(_, file)| file.clone()));
                }
                Err(problem) => {
                    self.note("weights", State::Fail, format!("{index} {problem}"), Some(fix));
                    return Weights::default();
                }
            }
        }
        if wanted.is_empty() {
            self.note("weights", State::Fail, "there are no weights (*.safetensors)", Some(fix));
            return Weights::default();
        }
        let mut found = Weights::default();
        // Where there are safetensors they are what is loaded, whatever else lies beside them.
        let safe = wanted.iter().any(|name| name.ends_with(".safetensors"));
        for name in &wanted {
            // A name from the index is only ever a file of this folder.
            let problem = if name.contains('/') || !self.names.contains(name) {
                Some("is missing".to_owned())
            } else {
                match weights::file(&self.path.join(name)) {
                    Ok(WeightFile { bytes, parameters, tensors }) => {
                        found.bytes += bytes;
                        found.parameters +=
                            if safe && !name.ends_with(".safetensors") { 0 } else { parameters };
                        let lost =
                            placed.iter().find(|(tensor, file)| file == name && !tensors.contains(tensor));
                        let is_safe = name.ends_with(".safetensors");
                        lost.filter(|_| is_safe).map(|(tensor, _)| {
                            let tensor: String = tensor.chars().take(80).collect();
                            format!("lacks the tensor {tensor}, which the index places in it")
                        })
                    }
                    Err(problem) => Some(problem),
                }
            };
            if let Some(problem) = problem {
                let name: String = name.chars().take(80).collect();
                self.note("weights", State::Fail, format!("{name} {problem}"), Some(fix));
                return found;
            }
        }
        let count = wanted.len();
        let files = if count == 1 { "file" } else { "files" };
        self.note(
            "weights",
            State::Ok,
            format!("{count} {files}, {}", crate::text::bytes(found.bytes)),
            None,
        );
        found
    }

    /// Gemma models that see need files that say how pictures are prepared, and published checkpoints have lacked them.
    fn processor(&mut self, architectures: &[String]) {
        let gemma = architectures.iter().any(|name| {
            name.starts_with("Gemma4")
                || (name.starts_with("Gemma") && name.ends_with("ForConditionalGeneration"))
        });
        if !gemma {
            return self.note("processor", State::Skip, "only Gemma needs processor files", None);
        }
        let missing: Vec<_> = ["processor_config.json", "preprocessor_config.json"]
            .into_iter()
            .filter(|name| !self.names.contains(*name))
            .collect();
        if missing.is_empty() {
            self.note("processor", State::Ok, "the processor files are there", None);
        } else {
            let fix = "copy them from the base model's repository";
            self.note("processor", State::Fail, format!("missing: {}", missing.join(", ")), Some(fix));
        }
    }

    /// Which row of the registry the checkpoint is, by what it calls itself or by the folder's name.
    fn registry(&mut self, config: Option<&Value>) -> Option<Model> {
        let said = config.and_then(|config| config.get("_name_or_path")).and_then(Value::as_str);
        let folder = self.path.file_name().and_then(|name| name.to_str());
        let model = super::registry().into_iter().find(|model| {
            let name = model.id.rsplit('/').next().unwrap_or(&model.id);
            said == Some(&model.id) || folder.is_some_and(|folder| folder.eq_ignore_ascii_case(name))
        });
        match &model {
            Some(model) if model.status == super::Status::Validated => {
                self.note("registry", State::Ok, format!("{}, validated", model.id), None);
            }
            Some(model) if model.status == super::Status::Published => {
                self.note("registry", State::Ok, format!("{}, published", model.id), None);
            }
            Some(model) if model.status == super::Status::Refused => {
                let fix = "use a dense model: `pearlbed models` lists them";
                let what = format!("{}: {}", model.id, model.notes);
                self.note("registry", State::Fail, what, Some(fix));
            }
            Some(model) => {
                let fix = "expect surprises, or use a validated model: `pearlbed models`";
                self.note(
                    "registry",
                    State::Warn,
                    format!("{}, planned: {}", model.id, model.notes),
                    Some(fix),
                );
            }
            None => {
                let what = "not in the registry by its name; a converted checkpoint of your own need not be";
                self.note("registry", State::Skip, what, None);
            }
        }
        model
    }
}

fn texts(value: Option<&Value>) -> Vec<String> {
    let items = value.and_then(Value::as_array).into_iter().flatten();
    items.filter_map(Value::as_str).map(|text| text.chars().take(100).collect()).collect()
}

/// The JSON in the file, or what is wrong with it, as the end of a sentence.
fn json(path: &Path) -> Result<Value, String> {
    let refused = |err: io::Error| format!("cannot be read: {err}");
    let length = regular(path)?;
    let file = crate::owned::open(path).map_err(refused)?;
    if length.len() > JSON_BYTES_MAX {
        return Err(format!("has {}, which is too much", crate::text::bytes(length.len())));
    }
    let mut bytes = Vec::new();
    file.take(JSON_BYTES_MAX).read_to_end(&mut bytes).map_err(refused)?;
    serde_json::from_slice(&bytes).map_err(|err| format!("is not JSON (line {})", err.line()))
}

/// The parameters that a configuration claims, at least: attention and the layers between, and one table of words.
fn claimed_parameters(config: &Value) -> Option<u64> {
    // Models that also see describe the part that speaks by itself.
    let config = config.get("text_config").unwrap_or(config);
    let number = |name: &str| config.get(name).and_then(Value::as_u64);
    let (hidden, layers) = (number("hidden_size")?, number("num_hidden_layers")?);
    let heads = number("num_attention_heads")?.max(1);
    let groups = number("num_key_value_heads").unwrap_or(heads);
    let head = number("head_dim").unwrap_or(hidden / heads);
    let attention = hidden.checked_mul(head)?.checked_mul(heads.checked_add(groups)?)?.checked_mul(2)?;
    let dense = hidden.checked_mul(number("intermediate_size").unwrap_or(0))?.checked_mul(3)?;
    let experts =
        match (number("num_experts").or(number("num_local_experts")), number("moe_intermediate_size")) {
            (Some(count), Some(width)) => hidden.checked_mul(width)?.checked_mul(3)?.checked_mul(count)?,
            _ => 0,
        };
    let words = number("vocab_size").unwrap_or(0).checked_mul(hidden)?;
    attention.checked_add(dense.max(experts))?.checked_mul(layers)?.checked_add(words)
}

/// What is wrong with a SentencePiece model, as the end of a sentence. It begins with the first of its pieces.
fn tokenizer_model(path: &Path) -> Result<(), String> {
    let refused = |err: io::Error| format!("cannot be read: {err}");
    regular(path)?;
    let mut head = [0; 8];
    let count = crate::owned::open(path).map_err(refused)?.read(&mut head).map_err(refused)?;
    match &head[..count] {
        [] => Err("is empty".to_owned()),
        // Field 1, a message.
        [0x0a, ..] => Ok(()),
        _ => Err("is no SentencePiece model: perhaps a pointer of Git LFS".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A checkpoint that passes, in a folder of this name.
    fn checkpoint(name: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::create_dir(&path).unwrap();
        let config =
            r#"{"architectures":["LlamaForCausalLM"],"quantization_config":{"quant_method":"pearl"}}"#;
        fs::write(path.join("config.json"), config).unwrap();
        fs::write(path.join("tokenizer.json"), "{}").unwrap();
        fs::write(path.join("model.safetensors"), safetensors(16, 16)).unwrap();
        (folder, path)
    }

    /// A file with one tensor that ends at `end`, and `present` bytes of tensors.
    fn safetensors(end: u64, present: usize) -> Vec<u8> {
        let header = format!(r#"{{"w":{{"dtype":"I8","shape":[{end}],"data_offsets":[0,{end}]}}}}"#);
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend(vec![7; present]);
        bytes
    }

    fn state(inspection: &Inspection, id: &str) -> (State, String) {
        let check = inspection.checks.iter().find(|check| check.id == id).unwrap();
        assert_eq!(check.fix.is_some(), matches!(check.state, State::Fail | State::Warn), "{check:?}");
        (check.state, check.finding.clone())
    }

    #[test]
    fn a_complete_checkpoint_passes() {
        let (_folder, path) = checkpoint("Llama-3.3-70B-Instruct-pearl");
        let inspection = inspect(&path).unwrap();
        assert!(inspection.ok, "{inspection:#?}");
        assert_eq!(inspection.model.as_ref().unwrap().status, super::super::Status::Validated);
        assert_eq!(state(&inspection, "processor").0, State::Skip);
    }

    #[test]
    fn a_model_that_pearl_did_not_quantise_cannot_mine() {
        let (_folder, path) = checkpoint("plain");
        fs::write(path.join("config.json"), r#"{"quantization_config":{"quant_method":"gptq"}}"#).unwrap();
        let inspection = inspect(&path).unwrap();
        assert!(!inspection.ok);
        assert_eq!(state(&inspection, "quantization").1, "quant_method is `gptq`, not `pearl`");
    }

    #[test]
    fn gemma_without_its_processor_files_fails() {
        let (_folder, path) = checkpoint("gemma");
        let config = r#"{"architectures":["Gemma4ForConditionalGeneration"],"quantization_config":{"quant_method":"pearl"}}"#;
        fs::write(path.join("config.json"), config).unwrap();
        fs::write(path.join("processor_config.json"), "{}").unwrap();
        let inspection = inspect(&path).unwrap();
        assert_eq!(
            state(&inspection, "processor"),
            (State::Fail, "missing: preprocessor_config.json".into())
        );
    }

    #[test]
    fn weights_that_are_missing_cut_off_or_pointers_are_found() {
        let (_folder, path) = checkpoint("weights");
        let weights = |bytes: &[u8]| {
            fs::write(path.join("model.safetensors"), bytes).unwrap();
            let (state, finding) = state(&inspect(&path).unwrap(), "weights");
            (state == State::Ok, finding)
        };
        assert!(weights(&safetensors(16, 16)).0);
        assert!(weights(&safetensors(17, 16)).1.contains("cut off"));
        assert!(weights(b"version https://git-lfs.github.com/spec/v1\n").1.contains("Git LFS"));
        assert!(weights(b"\0\0\0\0\0\0\0\0{}").1.contains("is not a safetensors file"));
        assert!(weights(&u64::MAX.to_le_bytes()).1.contains("is not a safetensors file"));
        assert!(weights(b"").1.contains("is empty"));
        let index = r#"{"weight_map":{"a":"model.safetensors","b":"../../etc/passwd"}}"#;
        fs::write(path.join("model.safetensors.index.json"), index).unwrap();
        assert!(weights(&safetensors(1, 1)).1.ends_with("passwd is missing"));
    }

    #[test]
    fn a_checkpoint_that_cannot_hold_what_it_claims_does_not_pass() {
        let (_folder, path) = checkpoint("small");
        let config = |layers: u32| {
            format!(
                r#"{{"quantization_config":{{"quant_method":"pearl"}},"hidden_size":64,"num_hidden_layers":{layers},
                "num_attention_heads":4,"num_key_value_heads":2,"intermediate_size":128,"vocab_size":100}}"#
            )
        };
        // A layer has 2·64·16·(4+2) + 3·64·128 parameters, and the words 6400.
        fs::write(path.join("model.safetensors"), safetensors(40_000, 40_000)).unwrap();
        fs::write(path.join("config.json"), config(1)).unwrap();
        assert_eq!(state(&inspect(&path).unwrap(), "parameters").0, State::Ok);
        fs::write(path.join("config.json"), config(4)).unwrap();
        let inspection = inspect(&path).unwrap();
        assert!(!inspection.ok);
        let (state, finding) = state(&inspection, "parameters");
        assert!(state == State::Fail && finding.contains("cannot hold them"), "{finding}");
        // Two bytes each hold half as many, and a tensor of no bytes none, whatever shape it claims.
        let wide = |dtype: &str, bytes: u64| {
            let header = format!(
                r#"{{"w":{{"dtype":"{dtype}","shape":[40000],"data_offsets":[0,{bytes}]}},"x":{{"dtype":"I8","shape":[900000],"data_offsets":[0,0]}}}}"#
            );
            let mut file = (header.len() as u64).to_le_bytes().to_vec();
            file.extend(header.as_bytes());
            file.resize(file.len() + bytes as usize, 7);
            fs::write(path.join("model.safetensors"), file).unwrap();
            inspect(&path).unwrap().checks.iter().find(|check| check.id == "parameters").unwrap().state
        };
        fs::write(path.join("config.json"), config(1)).unwrap();
        assert_eq!(
            (wide("I8", 40_000), wide("BF16", 40_000), wide("BF16", 80_000)),
            (State::Ok, State::Fail, State::Ok)
        );
        // What lies beside them is not loaded.
        fs::write(path.join("pytorch_model.bin"), vec![1; 100_000]).unwrap();
        assert_eq!(wide("BF16", 40_000), State::Fail);
    }

    #[test]
    fn a_mixture_of_experts_is_known_by_its_configuration_whatever_it_is_called() {
        let (_folder, path) = checkpoint("my-own-model");
        assert_eq!(state(&inspect(&path).unwrap(), "experts").0, State::Ok);
        for config in [
            r#"{"architectures":["Qwen3MoeForCausalLM"],"quantization_config":{"quant_method":"pearl"}}"#,
            r#"{"num_experts":128,"quantization_config":{"quant_method":"pearl"}}"#,
            r#"{"text_config":{"num_local_experts":8},"quantization_config":{"quant_method":"pearl"}}"#,
        ] {
            fs::write(path.join("config.json"), config).unwrap();
            let inspection = inspect(&path).unwrap();
            let (state, finding) = state(&inspection, "experts");
            assert!(
                !inspection.ok && state == State::Fail && finding.contains("mainnet refuses"),
                "{finding}"
            );
        }
    }

    #[test]
    fn every_shard_is_wanted_and_has_the_tensors_that_the_index_places_in_it() {
        let (_folder, path) = checkpoint("shards");
        fs::remove_file(path.join("model.safetensors")).unwrap();
        fs::write(path.join("model-00001-of-00002.safetensors"), safetensors(4, 4)).unwrap();
        assert!(
            state(&inspect(&path).unwrap(), "weights")
                .1
                .contains("model-00002-of-00002.safetensors is missing")
        );
        fs::write(path.join("model-00002-of-00002.safetensors"), safetensors(4, 4)).unwrap();
        assert_eq!(state(&inspect(&path).unwrap(), "weights").0, State::Ok);
        let index = r#"{"weight_map":{"w":"model-00001-of-00002.safetensors","other":"model-00002-of-00002.safetensors"}}"#;
        fs::write(path.join("model.safetensors.index.json"), index).unwrap();
        assert!(state(&inspect(&path).unwrap(), "weights").1.contains("lacks the tensor other"));
    }

    #[test]
    fn a_tokenizer_model_is_read() {
        let (_folder, path) = checkpoint("words");
        fs::remove_file(path.join("tokenizer.json")).unwrap();
        for (bytes, good) in [(&b"\x0a\x0b"[..], true), (b"", false), (b"version https://git-lfs", false)] {
            fs::write(path.join("tokenizer.model"), bytes).unwrap();
            assert_eq!(state(&inspect(&path).unwrap(), "tokenizer").0 == State::Ok, good, "{bytes:?}");
        }
    }

    #[test]
    fn a_mixture_of_experts_is_told_that_mainnet_refuses_its_proofs() {
        let (_folder, path) = checkpoint("Qwen3-30B-A3B-Instruct-2507-pearl");
        let inspection = inspect(&path).unwrap();
        let (state, finding) = state(&inspection, "registry");
        assert!(!inspection.ok && state == State::Fail && finding.contains("mainnet refuses"), "{finding}");
    }

    #[test]
    fn an_empty_folder_fails_by_findings_and_a_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let inspection = inspect(folder.path()).unwrap();
        assert!(!inspection.ok);
        assert_eq!(state(&inspection, "config").1, "there is no config.json");
        let file = folder.path().join("x");
        fs::write(&file, "").unwrap();
        assert!(matches!(inspect(&file), Err(InspectError::NotAFolder { .. })));
    }
}
