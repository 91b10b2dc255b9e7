//! What the documents say of commands, numbers and each other is so.

use std::path::{Path, PathBuf};

use pearl_pow::CompactTarget;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(name: &str) -> String {
    let path = root().join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|err| panic!("{}: {err}", path.display()))
}

const PAGES: &[&str] = &[
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs/architecture.md",
    "docs/configuration.md",
    "docs/containers.md",
    "docs/contract.md",
    "docs/exit-statuses.md",
    "docs/faults.md",
    "docs/json.md",
    "docs/limits.md",
    "docs/pearl-protocol.md",
    "docs/plugins.md",
    "docs/pool-protocol.md",
    "docs/reference-pool.md",
    "docs/security.md",
    "docs/use-your-miner.md",
    "docs/user-guide.md",
    "docs/writing-a-provider.md",
];

#[test]
fn the_arithmetic_of_the_readme_is_the_protocols() {
    let readme = read("README.md");
    let target = CompactTarget(0x1801_d1b2).target().0.to_string().parse::<f64>().unwrap();
    let hashes = 2f64.powi(256) / target;
    let network = hashes / 194.0;
    assert!(readme.contains(&format!("that is {:.1} × 10^21 hashes", hashes / 1e21)));
    assert!(readme.contains(&format!("the network does {:.1} EH/s", network / 1e18)));
    // Work for a share of difficulty D: D × 2^48 / 65535 (section 6.4).
    let share = 2_097_152.0 * 2f64.powi(48) / 65535.0;
    for (shown, rate) in [("20 GH/s", 2e10), ("100 GH/s", 1e11), ("400 GH/s", 4e11), ("100 TH/s", 1e14)] {
        let years = hashes / rate / (365.0 * 86_400.0);
        let years = if years < 10.0 { format!("{years:.2}") } else { format!("{years:.0}") };
        let portion = rate / network;
        let power = portion.log10().floor();
        let portion = format!("{:.1} × 10^{power:.0}", portion / 10f64.powf(power));
        let seconds = share / rate;
        let every = match seconds / 3600.0 {
            hours if hours >= 10.0 => format!("{hours:.0} h"),
            hours if hours >= 1.0 => format!("{hours:.1} h"),
            _ => format!("{seconds:.0} s"),
        };
        let row = format!("| {shown} | every {years} years | {portion} | every {every} |");
        assert!(readme.contains(&row), "README.md should say\n{row}");
    }
}

#[test]
fn the_user_guide_has_a_section_for_every_command() {
    let guide = read("docs/user-guide.md");
    for command in pearlbed::cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
        let heading = format!("\n## `pearlbed {}", command.get_name());
        assert!(guide.contains(&heading), "docs/user-guide.md has no section{heading}");
    }
}

#[test]
fn links_between_the_documents_lead_somewhere() {
    for page in PAGES {
        let text = read(page);
        let folder = root().join(page);
        let folder = folder.parent().expect("a page lies in a folder");
        for (at, _) in text.match_indices("](") {
            let link = text[at + 2..].split(')').next().unwrap_or_default();
            if link.contains("://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { root().join(page) } else { folder.join(file) };
            assert!(target.exists(), "{page} links to {link}, which is not there");
            if !anchor.is_empty() {
                let text = std::fs::read_to_string(&target).expect("a page is text");
                let found =
                    text.lines().filter(|line| line.starts_with('#')).any(|heading| slug(heading) == anchor);
                assert!(found, "{page} links to {link}, and there is no such heading");
            }
        }
    }
}

/// The anchor that a heading gets.
fn slug(heading: &str) -> String {
    let words = heading.trim_start_matches('#').trim().to_lowercase();
    words
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[test]
fn the_smallest_provider_is_as_short_as_the_readme_says() {
    assert!(read("README.md").contains("under 60 lines for the smallest useful one"));
    assert!(read("examples/minimal-provider/src/lib.rs").lines().count() < 60);
}

#[test]
fn every_page_is_reached_from_the_readme() {
    let readme = read("README.md");
    for page in PAGES.iter().filter(|page| **page != "README.md") {
        assert!(readme.contains(&format!("({page}")), "README.md does not lead to {page}");
    }
}
