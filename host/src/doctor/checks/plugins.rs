//! The files that might be plugins, and what the providers in them say about this machine.

use std::collections::BTreeMap;

use pearlbed_plugin_api::Permission;

use super::super::{Facts, Verdict};
use super::hardware;
use crate::config::nearest;
use crate::plugins::{Entry, FolderState, Reason, Survey};
use crate::text::{duration, hashrate, printable, printable_os, printable_path};

/// The folders of the search path.
pub fn folders(facts: &Facts) -> Vec<Verdict> {
    let survey = facts.survey();
    let mut searched = 0;
    let mut files = 0;
    let mut passed_over = 0;
    let mut broken = vec![];
    let mut lines = vec![];
    for folder in &survey.folders {
        let state = match &folder.state {
            FolderState::Listed { files: count, hidden } => {
                searched += 1;
                files += count;
                passed_over += hidden;
                let more =
                    if *hidden > 0 { format!(", {hidden} hidden and passed over") } else { String::new() };
                format!("{count} {}{more}", plural(*count, "file"))
            }
            FolderState::Missing => "does not exist".into(),
            FolderState::Repeated => "is one of the others".into(),
            FolderState::Ignored => "not searched: this program runs with raised privileges".into(),
            FolderState::Failed(reason) => {
                broken.push((folder, reason));
                reason.reason.clone()
            }
        };
        lines.push(format!("{} ({}): {state}", printable_path(&folder.path), folder.origin.describe()));
    }
    let mut finding =
        format!("{files} {} in {searched} {}", plural(files, "file"), plural(searched, "folder"));
    if passed_over > 0 {
        finding.push_str(&format!("; {passed_over} hidden {} passed over", plural(passed_over, "file")));
    }
    let mut verdict = if let Some((folder, reason)) = broken.first() {
        Verdict::warn(format!("{}: {}", printable_path(&folder.path), reason.reason), reason.fix.clone())
    } else if files == 0 {
        let finding = match searched {
            0 => "no plugin found: none of the folders that are searched exists".into(),
            _ => format!("no plugin found in {searched} {}", plural(searched, "folder")),
        };
        Verdict::warn(
            finding,
            format!("put a plugin into {}, or pass --plugin-dir DIR", printable_path(&place(facts, survey))),
        )
    } else {
        Verdict::ok(finding)
    };
    for line in lines {
        verdict = verdict.more(line);
    }
    vec![verdict]
}

/// Where a user would put a plugin: the first folder of the search path.
fn place(facts: &Facts, survey: &Survey) -> std::path::PathBuf {
    match facts.scope().plugin_dirs.first() {
        Some(first) if !survey.folders.is_empty() => first.clone(),
        _ => facts.home().plugins_dir(),
    }
}

fn plural(count: usize, one: &str) -> String {
    if count == 1 { one.into() } else { format!("{one}s") }
}

/// Every file that was looked at.
pub fn files(facts: &Facts) -> Vec<Verdict> {
    let survey = facts.survey();
    let mut names: BTreeMap<_, usize> = BTreeMap::new();
    for entry in &survey.entries {
        *names.entry(entry.path.file_name()).or_default() += 1;
    }
    // A folder that cannot be listed is an entry, too, and the folders' check tells of it.
    let entries = survey.entries.iter().filter(|entry| entry.look.is_some());
    let verdicts = entries.map(|entry| {
        let name = entry.path.file_name();
        let name = match name {
            Some(file) if names[&name] == 1 => printable_os(file),
            _ => printable_path(&entry.path),
        };
        file(facts, survey, entry).of(name)
    });
    verdicts.collect()
}

fn file(facts: &Facts, survey: &Survey, entry: &Entry) -> Verdict {
    let verdict = match entry.skipped() {
        Some(reason) => {
            let finding = format!("skipped: {}", reason.reason);
            if is_wanted_in_vain(facts, survey, entry) {
                Verdict::fail(finding, &*reason.fix)
            } else {
                Verdict::warn(finding, &*reason.fix)
            }
        }
        None => usable(entry),
    };
    detailed(verdict, entry)
}

/// Whether this is the chosen provider's plugin, and no other file carries it.
fn is_wanted_in_vain(facts: &Facts, survey: &Survey, entry: &Entry) -> bool {
    let chosen = facts.chosen_provider();
    chosen.is_some() && entry.id() == chosen && !survey.usable().any(|usable| usable.id() == chosen)
}

fn usable(entry: &Entry) -> Verdict {
    let says = entry.manifest().map_or_else(String::new, |manifest| {
        let vendor =
            if manifest.vendor.is_empty() { String::new() } else { format!(" by {}", manifest.vendor) };
        format!("{} {}{vendor}, {}", manifest.id, manifest.version, entry.judgement.signed)
    });
    let says = printable(&says).into_owned();
    let impurities = entry.probe.iter().flat_map(|probe| &probe.impurities);
    let did: Vec<_> = impurities.map(|impurity| &*impurity.finding).collect();
    if !did.is_empty() {
        let finding = format!("{says}; while it was only asked about this machine, it {}", did.join(", it "));
        return Verdict::warn(finding, "ask its vendor why: it was kept from all of that and may still work");
    }
    if entry.look.as_ref().is_some_and(|look| look.relaxed) {
        let finding = format!("{says}; others own the file or may write to it, and you let it through");
        return Verdict::warn(finding, "make it yours and `chmod go-w` it");
    }
    Verdict::ok(says)
}

/// What `--verbose` adds.
fn detailed(mut verdict: Verdict, entry: &Entry) -> Verdict {
    verdict = verdict.more(format!("file: {}", printable_path(&entry.path)));
    if let Some(manifest) = entry.manifest() {
        let numbers = |numbers: &[u32]| numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let kind = match entry.container() {
            Some(file) => format!("a container of the image {}", file.image.name),
            None => format!("plugin API {}", numbers(&manifest.plugin_api)),
        };
        verdict = verdict.more(format!(
            "{kind}, certificate versions {}, licence {}",
            numbers(&manifest.certificate_versions),
            printable(&manifest.license),
        ));
        let wants: Vec<_> = manifest.permissions.iter().map(ToString::to_string).collect();
        let wants = match wants[..] {
            [] if entry.container().is_some() => "docker or podman to run it".into(),
            [] => "nothing but to compute".into(),
            _ => wants.join(" "),
        };
        verdict = verdict.more(format!("wants: {}", printable(&wants)));
        if let Some(note) = &entry.judgement.note {
            verdict = verdict.more(format!("note: {note}"));
        }
    }
    if let Some(probe) = &entry.probe {
        let mut line = format!("probed in {}", duration(probe.times.total));
        if let (Some(load), Some(detect)) = (probe.times.load, probe.times.detect) {
            line.push_str(&format!(" (loading {}, detect {})", duration(load), duration(detect)));
        }
        verdict = verdict.more(line);
        for (stream, captured) in [("stdout", &probe.stdout), ("stderr", &probe.stderr)] {
            let mut lines = captured.text.lines();
            for said in lines.by_ref().take(5) {
                let said: String = said.chars().take(400).collect();
                verdict = verdict.more(format!("{stream}: {}", printable(&said)));
            }
            if lines.next().is_some() {
                verdict = verdict.more(format!("{stream}: … (`pearlbed plugins inspect` shows all)"));
            }
        }
    }
    verdict
}

/// What each usable provider says about this machine.
pub fn providers(facts: &Facts) -> Vec<Verdict> {
    let survey = facts.survey();
    let chosen = facts.chosen_provider();
    let answers = survey.usable().filter_map(|entry| Some((entry, entry.id()?, entry.capabilities()?)));
    let mut verdicts: Vec<_> = answers
        .map(|(entry, id, answer)| {
            let reason = answer.reason.as_deref().map(printable).unwrap_or_default();
            let verdict = if answer.supported {
                let mut finding = String::from("can mine here");
                if let Some(rate) = answer.estimated_hashrate {
                    finding.push_str(&format!(", by its own estimate at {}", hashrate(rate)));
                    if computes_only(entry) {
                        finding.push_str(&hardware::left_of(rate, &facts.hardware().info));
                    }
                }
                if !reason.is_empty() {
                    finding.push_str(&format!(": {reason}"));
                }
                Verdict::ok(finding)
            } else {
                let reason = if reason.is_empty() { "it gives no reason".into() } else { reason };
                let finding = format!("cannot mine here: {reason}");
                let fix = unsupported_fix(entry);
                if chosen == Some(id) { Verdict::fail(finding, fix) } else { Verdict::skip(finding, fix) }
            };
            verdict.of(printable(id))
        })
        .collect();
    if verdicts.is_empty() {
        let fix = "see the section Plugins: what is usable there is asked here";
        verdicts.push(Verdict::skip("no provider to ask", fix).quiet());
    }
    verdicts
}

/// Whether the processor is all that it asks for.
fn computes_only(entry: &Entry) -> bool {
    let wanted = entry.manifest().map(|manifest| &manifest.permissions[..]).unwrap_or_default();
    !wanted.iter().any(|wanted| matches!(wanted, Permission::Device(_)))
}

fn unsupported_fix(entry: &Entry) -> String {
    match entry
        .manifest()
        .map(|manifest| &*manifest.homepage)
        .filter(|homepage| !homepage.is_empty())
        .map(crate::text::value)
    {
        Some(homepage) => {
            format!("do what the reason asks for, if this provider is meant to mine here; see {homepage}")
        }
        None => "do what the reason asks for, if this provider is meant to mine here".into(),
    }
}

/// Whether there is a provider to mine with: the chosen one, or any.
pub fn choice(facts: &Facts) -> Vec<Verdict> {
    let survey = facts.survey();
    let able: Vec<_> = survey
        .usable()
        .filter(|entry| entry.capabilities().is_some_and(|answer| answer.supported))
        .filter_map(Entry::id)
        .collect();
    let can_mine = |finding| hardware::as_far_as_memory_goes(finding, &facts.hardware().info);
    vec![match facts.chosen_provider() {
        Some(chosen) if able.contains(&chosen) => can_mine(format!("{}, as configured", printable(chosen))),
        Some(chosen) => the_chosen_one(survey, chosen, &able),
        None if able.is_empty() => {
            let unasked = || survey.entries.iter().filter_map(Entry::skipped).filter(|why| why.is_unasked());
            if let Some(first) = unasked().next() {
                return vec![Verdict::warn(
                    format!(
                        "whether a provider can mine here is not known: {} could not be asked",
                        unasked().count()
                    ),
                    ask_alone(first, "one"),
                )];
            }
            let fix = if survey.entries.iter().any(|entry| entry.look.is_some()) {
                "do what one of the reasons above asks for, or put a plugin for this machine into the folder"
                    .into()
            } else {
                format!("put a plugin for this machine into {}", printable_path(&place(facts, survey)))
            };
            Verdict::fail("no provider can mine on this machine", fix)
        }
        None => can_mine(format!("{} can mine here", printable(&able.join(", ")))),
    }]
}

/// What to do where a plugin could not be asked, for the reason `why`: others may have taken its time, or the system lacks
/// something, which its own remedy is for.
fn ask_alone(why: &Reason, which: &str) -> String {
    match why.code {
        "no-probe" => why.fix.clone(),
        _ => {
            format!("`pearlbed plugins inspect` on {which} alone says more; take away the plugins that hang")
        }
    }
}

/// What keeps the configured provider from mining. `able` can.
fn the_chosen_one(survey: &Survey, chosen: &str, able: &[&str]) -> Verdict {
    let shown = printable(chosen);
    let instead = match able {
        [] => String::new(),
        able => format!(", or choose one that can: {}", printable(&able.join(", "))),
    };
    match survey.find(chosen) {
        Some(entry) if entry.is_usable() => Verdict::fail(
            format!("the configured provider `{shown}` cannot mine here"),
            format!("do what its reason asks for{instead}"),
        ),
        Some(entry) => match entry.skipped().filter(|why| why.is_unasked()) {
            Some(why) => Verdict::warn(
                format!("the configured provider `{shown}` could not be asked"),
                ask_alone(why, &shown),
            ),
            None => Verdict::fail(
                format!("the plugin of the configured provider `{shown}` is skipped"),
                format!("put right what the section Plugins says of it{instead}"),
            ),
        },
        None => {
            let ids: Vec<_> = survey.entries.iter().filter_map(Entry::id).collect();
            let meant = nearest(chosen, ids.iter().copied());
            let fix = match meant {
                Some(meant) => format!(
                    "did you mean `{}`? `pearlbed init --set mining.provider=…` changes it",
                    printable(meant)
                ),
                None => format!("put its plugin into a folder that is searched{instead}"),
            };
            Verdict::fail(format!("no plugin carries the configured provider `{shown}`"), fix)
        }
    }
}

/// Whether the chosen provider was granted what it wants.
pub fn grants(facts: &Facts) -> Vec<Verdict> {
    let Ok(config) = facts.config() else { return super::unreadable_configuration() };
    let Some(chosen) = config.mining.provider.as_deref() else {
        return vec![Verdict::skip("no provider is configured", "run `pearlbed init`").quiet()];
    };
    let Some(manifest) = facts.survey().find(chosen).and_then(Entry::manifest) else {
        return vec![
            Verdict::skip("what the provider wants is not known", "put right what the check `choice` says")
                .quiet(),
        ];
    };
    let granted = config.mining.grants.get(chosen).map(Vec::as_slice).unwrap_or_default();
    let wanted: Vec<_> = manifest.permissions.iter().filter(|wanted| !wanted.is_hint()).collect();
    let missing: Vec<_> = wanted.iter().filter(|wanted| !granted.contains(wanted)).copied().collect();
    let shown = |permissions: &[&Permission]| {
        let texts: Vec<_> = permissions.iter().map(ToString::to_string).collect();
        printable(&texts.join(" ")).into_owned()
    };
    vec![match (&wanted[..], &missing[..]) {
        ([], _) => Verdict::ok(format!("{} wants nothing beyond its own processor time", printable(chosen))),
        (wanted, []) => Verdict::ok(format!("{} has what it wants: {}", printable(chosen), shown(wanted))),
        (_, missing) => Verdict::warn(
            format!("{} wants more than it was granted: {}", printable(chosen), shown(missing)),
            "run `pearlbed init`, which shows what each means and asks; what is not granted is refused",
        ),
    }]
}
