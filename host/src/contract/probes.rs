//! From the probes of the file to verdicts on P1 to P8.

use super::{Finding, Findings};
use crate::plugins::Entry;
use crate::text;

/// What the probe of the file said, twice.
pub fn judge(entries: &[Entry], found: &mut Findings) {
    let Some(entry) = entries.first() else { return };
    if let Some(reason) = entry.look.as_ref().and_then(|look| look.refusal.as_ref()) {
        return found.fail("P1", format!("{} [{}]", reason.reason, reason.code));
    }
    found.pass("P1", "every check of the file holds");
    for entry in entries {
        let Some(probe) = &entry.probe else { continue };
        match &probe.answer {
            Ok(answer) => {
                for id in ["P3", "P4", "P6", "P8"] {
                    let words = answer.reason.clone().unwrap_or_else(|| "it can mine here".to_owned());
                    let words = match id {
                        "P4" => words,
                        "P6" => format!("it took {}", text::duration(probe.times.total)),
                        _ => "it was probed".to_owned(),
                    };
                    found.pass(id, words);
                }
            }
            Err(reason) => {
                let id = match reason.code {
                    "timed-out" => "P6",
                    "crashed" | "killed" | "exited" | "out-of-memory" | "closed-channel" | "stopped" => "P8",
                    "other-id" => "P2",
                    "bad-answer" | "detect-failed" | "panicked" => "P4",
                    "changed" | "not-probed" | "no-probe" => {
                        found.findings.push(Finding::untried("P4", reason.reason.clone()));
                        continue;
                    }
                    _ => "P3",
                };
                found.fail(id, format!("{} [{}]", reason.reason, reason.code));
            }
        }
        let impure: Vec<_> =
            probe.impurities.iter().take(3).map(|impurity| impurity.finding.as_str()).collect();
        if impure.is_empty() && probe.answer.is_ok() {
            found.pass("P5", "it only read and computed");
        } else if !impure.is_empty() && probe.answer.is_ok() {
            found.fail("P5", format!("it {}", impure.join(", ")));
        }
    }
    let answers: Vec<_> = entries.iter().filter_map(Entry::capabilities).collect();
    if let [first, second] = answers[..] {
        if (first.supported, &first.reason) == (second.supported, &second.reason) {
            found.pass("P7", "both answers are the same");
        } else {
            let say = |answer: &pearlbed_plugin_api::MiningCapabilities| {
                format!(
                    "{} ({})",
                    if answer.supported { "yes" } else { "no" },
                    answer.reason.as_deref().unwrap_or("no reason")
                )
            };
            found.fail("P7", format!("first {}, then {}", say(first), say(second)));
        }
    }
}
