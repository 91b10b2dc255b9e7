//! Whether a miner mines, and why not: one word, one sentence, one piece of advice.

use std::time::Duration;

use pearlbed_plugin_api::Manifest;

/// Refused proofs in a row after which a miner is not said to mine.
const REFUSED_MAX: u64 = 3;
/// The condition of a miner whose proofs are refused.
pub const REFUSED: &str = "refused-proofs";
/// How long a job may be on offer before a miner that took the one before is not said to mine.
const TAKING_TIME: Duration = Duration::from_secs(5);

/// How a miner stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Whether it works on what the network wants.
    pub mines: bool,
    /// One word.
    pub condition: String,
    /// A sentence, unless it mines.
    pub reason: Option<String>,
    /// What to do about it, where there is something.
    pub hint: Option<String>,
}

impl Standing {
    /// It does not mine.
    pub fn not(condition: &str, reason: impl Into<String>) -> Self {
        Self { mines: false, condition: condition.into(), reason: Some(reason.into()), hint: None }
    }

    /// The same with advice.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// How one stands that runs and has a job on offer, which has waited to be taken for `waits`.
    pub fn of_runner(took_a_job: bool, waits: Option<Duration>, mining: bool, refused_in_a_row: u64) -> Self {
        if !took_a_job {
            return Self::not("starting", "the provider has not taken its first job yet");
        }
        if let Some(waits) = waits.filter(|&waits| waits > TAKING_TIME || !mining) {
            let seconds = waits.as_secs();
            let sentence = format!("the provider has not taken the job that is on offer for {seconds} s");
            return Self::not("idle", sentence);
        }
        if refused_in_a_row >= REFUSED_MAX {
            let sentence = format!(
                "the last {refused_in_a_row} proofs were refused by the host's verifier and never sent"
            );
            return Self::not(REFUSED, sentence)
                .hint("the plugin computes something else than the network wants: look for a newer one");
        }
        Self { mines: true, condition: "mining".into(), reason: None, hint: None }
    }
}

/// Whether a miner of this condition is out of the game for now, whatever the work source does.
pub fn is_down(condition: &str) -> bool {
    matches!(
        condition,
        "removed" | "given-up" | "stopping" | "paused" | "needs-update" | "restarting" | "gone" | "too-hot"
    )
}

/// The network wants what a miner, or this host, does not speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unfit {
    /// The certificate version that it wants.
    pub version: u32,
    /// Whether this host can verify it.
    pub host_speaks: bool,
}

impl Unfit {
    /// What the network wants, in words.
    pub fn sentence(&self, manifest: &Manifest) -> String {
        let version = self.version;
        if !self.host_speaks {
            return format!(
                "the network wants certificate version {version}, which this pearlbed {} cannot verify",
                env!("CARGO_PKG_VERSION")
            );
        }
        let spoken: Vec<String> = manifest.certificate_versions.iter().map(u32::to_string).collect();
        format!(
            "the network wants certificate version {version}, and `{}` speaks {}",
            manifest.id,
            spoken.join(", ")
        )
    }

    /// What to do; `speakers` are the providers here that speak it.
    pub fn advice(&self, speakers: &[String]) -> String {
        if !self.host_speaks {
            return "install a newer pearlbed; mining resumes by itself when a fitting job comes".into();
        }
        match speakers {
            [] => format!("no plugin here speaks version {}: install a newer one", self.version),
            [one] => format!("`{one}` here speaks it: `pearlbed start --provider {one}`"),
            many => format!("these here speak it: {}", many.join(", ")),
        }
    }
}
