//! The models that mine while they serve: a list that is part of the program, and the look at a checkpoint folder.
//!
//! Only providers that run an inference engine need a model. Nothing here loads one, runs anything or asks the network.

mod inspect;
mod weights;

use serde::{Deserialize, Serialize};

pub use inspect::{Check, InspectError, Inspection, State, inspect};

/// How far a model has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Known to mine from end to end.
    Validated,
    /// Can be downloaded, and is not known to mine.
    Published,
    /// Can be downloaded and served, and mainnet refuses its proofs.
    Refused,
    /// Named as a target, not published.
    Planned,
}

impl Status {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Validated => "validated",
            Self::Published => "published",
            Self::Refused => "refused",
            Self::Planned => "planned",
        }
    }
}

/// One row of the registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// The checkpoint's id, `owner/name`.
    pub id: String,
    /// The id of the model that it was made from.
    pub base: String,
    /// How far it has come.
    pub status: Status,
    /// GPU memory that it needs at least, in GiB.
    pub vram: u32,
    /// Tokens that it is served with by default.
    pub context: u32,
    /// A remark.
    pub notes: String,
}

/// The registry, in the order of its file.
pub fn registry() -> Vec<Model> {
    #[derive(Deserialize)]
    struct File {
        model: Vec<Model>,
    }
    let file: File = toml::from_str(include_str!("../../data/models.toml")).expect("a test reads the file");
    file.model
}

/// The row of a checkpoint id or of a base model's id, in any case of letters.
pub fn find(id: &str) -> Option<Model> {
    registry()
        .into_iter()
        .find(|model| model.id.eq_ignore_ascii_case(id) || model.base.eq_ignore_ascii_case(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_reads_and_names_each_model_once() {
        let models = registry();
        assert_eq!(models.iter().filter(|model| model.status == Status::Validated).count(), 1);
        for (at, model) in models.iter().enumerate() {
            assert!(model.id.contains('/') && model.base.contains('/'), "{}", model.id);
            assert!(models[..at].iter().all(|other| other.id != model.id && other.base != model.base));
            assert!(model.vram > 0 && model.context > 0 && !model.notes.is_empty());
        }
    }

    #[test]
    fn a_base_model_leads_to_its_checkpoint() {
        assert_eq!(
            find("meta-llama/llama-3.1-8b-instruct").unwrap().id,
            "pearl-ai/Llama-3.1-8B-Instruct-pearl"
        );
        assert!(registry().iter().all(|model| model.id.ends_with("-pearl")));
        assert_eq!(find("nobody/nothing"), None);
    }
}
