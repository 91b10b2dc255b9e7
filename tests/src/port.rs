//! Two sessions of the real binary, the second of which mines through the miner port of the first, and how their counts
//! must agree.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "what fails here fails the test, and says what it saw"
)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::build;
use crate::session::{Bed, START_WAIT};

/// Long enough for the slowest machine; nothing waits for its end unless something is wrong.
pub const PATIENCE: Duration = Duration::from_secs(180);
/// A wallet for tests only.
pub const WALLET: &str = "prl1pqqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc0ss8729k";
/// What opens the port for both languages.
pub const PORT: &str = "[mining.port]\nunix = true\nlisten = \"127.0.0.1:0\"\n";

/// A session on the devnet that serves programs and mines nothing by itself.
pub fn served() -> Bed {
    let bed = Bed::with("", PORT);
    let answer = bed.run(&["start", "--devnet", "--port", "--plugin-dir", bed.plugins()]);
    assert_eq!(answer.code, 0, "{answer:?}\n{}", bed.log());
    assert!(answer.stdout.contains("waiting for miners at"), "{answer:?}");
    bed
}

/// The port's socket.
pub fn socket(bed: &Bed) -> PathBuf {
    bed.home().join("runtime/miner/gateway.sock")
}

/// The port's TCP address.
pub fn address(bed: &Bed) -> String {
    let status = bed.status();
    let ports = status["endpoints"].as_array().unwrap().iter().filter(|one| one["purpose"] == "port");
    let address = ports.filter_map(|one| one["address"].as_str()?.strip_prefix("tcp:")).next();
    address.unwrap_or_else(|| panic!("{status:#}")).to_owned()
}

/// Of which language a second session is a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// The gateway's miner RPC, over the socket.
    Rpc,
    /// The pool dialect, over TCP.
    Pool,
}

impl Language {
    /// As `status` calls it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Rpc => "gateway-rpc",
            Self::Pool => "pool",
        }
    }
}

/// A second session, not started, whose provider is `provider` and whose work comes from the port of `first`.
pub fn second(first: &Bed, language: Language, provider: &str) -> Bed {
    let source = match language {
        Language::Rpc => format!("[mining.gateway]\nsocket = \"{}\"", socket(first).display()),
        Language::Pool => format!(
            "submit_target = \"pool:stratum+tcp://{}\"\n[mining.pool]\nworker = \"rig1\"",
            address(first)
        ),
    };
    let mining = format!("[mining]\nprovider = \"{provider}\"\nwallet_address = \"{WALLET}\"\n");
    let bed = Bed::with("", &format!("{mining}{source}"));
    let plugin = build::plugin(provider);
    let file = Path::new(bed.plugins()).join(plugin.file_name().unwrap());
    if !file.exists() {
        std::fs::copy(plugin, &file).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        std::fs::set_permissions(&file, mode).unwrap();
    }
    bed
}

/// Starts a session that was made by [`second`].
pub fn start(bed: &Bed, first: &Bed) {
    let answer = bed.run(&["start", "--wait", START_WAIT, "--plugin-dir", bed.plugins()]);
    assert_eq!(answer.code, 0, "{answer:?}\n{}\n{}", bed.log(), first.log());
}

/// The row in `status` of the program of that language.
pub fn row(status: &Value, language: Language) -> Option<&Value> {
    let mut rows = status["miners"].as_array()?.iter();
    rows.find(|miner| miner["program"]["dialect"] == language.word())
}

/// A count among proofs.
pub fn count(proofs: &Value, key: &str) -> u64 {
    proofs[key].as_u64().unwrap_or_else(|| panic!("{key}: {proofs:#}"))
}

/// What every row owes: each proof is in one place, and what pays has a fate.
fn is_settled(proofs: &Value) -> bool {
    let is = |key: &str| count(proofs, key);
    let fates = ["accepted", "rejected", "stale", "not_sent", "untraced"].map(is).iter().sum::<u64>();
    is("found") == is("verified") && is("paying") == fates
}

/// Waits until at least three proofs of the second session were accepted by the source of the first, stops the second one's
/// miner, and compares to the share: what the second handed over is what the first found. Answers the first one's counts
/// for it. `kills` of the port process may each have taken an answer with them: its proof comes again, and is called a
/// duplicate.
pub fn agree(first: &Bed, second: &Bed, language: Language, kills: u64) -> Value {
    first.wait_for(PATIENCE, |status| {
        row(status, language).is_some_and(|miner| {
            let is_mining = miner["condition"] == "mining" && miner["program"]["last_request_at"].is_u64();
            is_mining && miner["proofs"]["accepted"].as_u64() >= Some(3)
        })
    });
    let paused = second.run(&["pause"]);
    assert_eq!(paused.code, 0, "{paused:?}");
    // Nothing is under way any more, on either side.
    let theirs = second.wait_for(PATIENCE, |status| {
        status["miners"][0]["condition"] == "paused"
            && is_settled(&status["proofs"])
            && status["pool"]["shares"]["in_flight"].as_u64().unwrap_or(0) == 0
    });
    let seen = first
        .wait_for(PATIENCE, |status| row(status, language).is_some_and(|miner| is_settled(&miner["proofs"])));
    let ours = row(&seen, language).unwrap()["proofs"].clone();
    println!("{}: here {ours}\nthere {} {}", language.word(), theirs["proofs"], theirs["pool"]["shares"]);
    let told = || format!("{ours:#}\n{theirs:#}\n{}", first.log());
    let duplicates = ours["refused_by"]["duplicate"].as_u64().unwrap_or(0);
    // A client of the gateway's language hands it in three times at most.
    assert!(duplicates <= 3 * kills, "{}", told());
    assert_eq!(count(&ours, "refused"), duplicates, "{}", told());
    let found = count(&ours, "found");
    // What was neither late nor hard enough to pay counts for the rate alone.
    assert!(count(&ours, "late") + count(&ours, "paying") <= found, "{}", told());
    match language {
        Language::Rpc => {
            let handed_over = count(&theirs["proofs"], "submitted");
            // The answer to one may have been lost with the process, and its job with the next block.
            assert!((handed_over..=handed_over + kills).contains(&found), "{}", told());
        }
        Language::Pool => {
            let outcome = |name: &str| theirs["pool"]["shares"]["outcomes"][name].as_u64().unwrap_or(0);
            let (answered, lost) = (outcome("stale") + outcome("accepted"), outcome("unanswered"));
            assert!(lost <= kills, "{}", told());
            // Whether one without an answer has come here is what nobody there can know.
            assert!((answered..=answered + lost).contains(&found), "{}", told());
            if kills == 0 {
                assert_eq!(outcome("stale"), count(&ours, "late"), "{}", told());
                assert_eq!(count(&theirs["pool"]["shares"], "sent"), found, "{}", told());
            }
        }
    }
    ours
}
