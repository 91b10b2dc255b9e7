//! What this kernel can keep a plugin from, and whether it did so just now.

use super::super::{Facts, Verdict};
use crate::text::printable;

pub fn mechanisms(facts: &Facts) -> Vec<Verdict> {
    let support = facts.confinement();
    let missing = support.missing();
    if missing.is_empty() {
        let mut parts = vec!["system call filter (seccomp)".to_owned()];
        if let Some(interface) = support.landlock_abi {
            parts.push(format!("file rules (Landlock {interface})"));
        }
        parts.push("no new privileges".into());
        return vec![Verdict::ok(parts.join(", "))];
    }
    let verdicts = missing.iter().map(|gap| {
        let thing = gap.mechanism.to_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        Verdict::warn(format!("{} is missing: {}", gap.mechanism, gap.consequence), gap.fix).of(thing)
    });
    verdicts.collect()
}

/// Whether the probes of this run were confined as they should have been.
pub fn probes(facts: &Facts) -> Vec<Verdict> {
    let probes = facts.survey().entries.iter().filter_map(|entry| entry.probe.as_ref());
    let mut probed = 0;
    let mut failed: Vec<&str> = vec![];
    for probe in probes {
        probed += 1;
        failed.extend(probe.confinement.failed.iter().map(String::as_str));
    }
    failed.sort_unstable();
    failed.dedup();
    vec![match (probed, &failed[..]) {
        (0, _) => Verdict::skip("nothing was probed", "put a plugin into a folder that is searched").quiet(),
        (count, []) => {
            let each = if count == 1 { "the one probe ran".into() } else { format!("{count} probes ran") };
            Verdict::ok(format!("{each} without network, programs and writable files"))
        }
        (_, failed) => Verdict::warn(
            format!("probes ran with less confinement than they should: {}", printable(&failed.join("; "))),
            "see the row above; if all is there, this is a bug in pearlbed worth a report",
        ),
    }]
}
