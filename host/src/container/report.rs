//! What is said of a container, as a part of what its session says. Written down in `docs/json.md`.

use serde::{Deserialize, Serialize};

/// A container that mines, at one moment. What is not known is absent (`null`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ContainerReport {
    /// The miner's name, as commands call it.
    pub miner: String,
    /// What it is in its session: `miner`, or `gateway` for the one that a session runs for itself.
    #[serde(default)]
    pub role: String,
    /// Provider id.
    pub provider: String,
    /// How far it is, in a word: `waiting`, `paused`, `needs-update`, `looking`, `pulling`, `starting`, `loading`, `serving`, `silent`,
    /// `small-steps`, `restarting`, `failed`, `stopping` or `stopped`.
    pub phase: String,
    /// The same in a sentence.
    pub sentence: String,
    /// What to do about it, where there is something.
    pub hint: Option<String>,
    /// Seconds for which it is so.
    pub since_seconds: f64,
    /// The engine, such as `podman 4.3.1, rootless`.
    pub engine: Option<String>,
    /// The image.
    pub image: String,
    /// The image's digest, or its id.
    pub digest: Option<String>,
    /// The container's id.
    pub container_id: Option<String>,
    /// The container's name.
    pub name: String,
    /// The model, as it is served.
    pub model: Option<String>,
    /// Where it serves, once it does.
    pub endpoint: Option<String>,
    /// Workers that ask for jobs.
    pub workers: u64,
    /// Seconds since one asked last.
    pub last_poll_seconds: Option<f64>,
    /// Steps large enough to mine, about, since it was started.
    pub steps_large: Option<u64>,
    /// All its steps.
    pub steps: Option<u64>,
    /// Requests that are being served.
    pub requests_running: Option<u64>,
    /// Requests that wait.
    pub requests_waiting: Option<u64>,
    /// Tokens of prompts that were served.
    pub prompt_tokens: Option<u64>,
    /// Tokens that were generated.
    pub generation_tokens: Option<u64>,
    /// How often it was started again.
    pub restarts: u64,
}
