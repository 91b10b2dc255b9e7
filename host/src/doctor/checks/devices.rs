//! What would mine on each device of the machine, and whether the miners that are asked for can be set so.

use pearlbed_plugin_api::{HardwareInfo, Manifest};

use super::hardware;
use crate::config::{Device, MinerSection, keys};
use crate::doctor::facts::Facts;
use crate::doctor::row::Verdict;
use crate::plugins::matrix::{Opinion, Row, matrix};
use crate::plugins::{Entry, settings};
use crate::text::{hashrate, printable};

/// A row for each device: the provider that would mine on it, and for each other why it would not.
pub fn devices(facts: &Facts) -> Vec<Verdict> {
    let survey = facts.survey();
    if survey.usable().next().is_none() {
        let fix = "see the section Plugins: what is usable there is asked here";
        return vec![Verdict::skip("no provider to ask", fix).quiet()];
    }
    let info = &facts.hardware().info;
    matrix(info, survey).iter().map(|row| device(row, info)).collect()
}

fn device(row: &Row, info: &HardwareInfo) -> Verdict {
    let own_estimate = |rate: f64| {
        // What a control group leaves of the processors no provider knows; a card is none of them.
        let left = match row.device {
            Device::Processor => hardware::left_of(rate, info),
            _ => String::new(),
        };
        format!(", by its own estimate at {}{left}", hashrate(rate))
    };
    let other = |opinion: &Opinion| other(opinion, own_estimate);
    let others: Vec<String> = match row.best() {
        Some(_) => row.opinions.iter().skip(1).map(other).collect(),
        None => row.opinions.iter().map(other).collect(),
    };
    let rest = if others.is_empty() { String::new() } else { format!("; {}", others.join("; ")) };
    let verdict = match row.best() {
        Some(best) => {
            let rate = best.estimate.map(own_estimate).unwrap_or_default();
            Verdict::ok(format!("{}: {} would mine here{rate}{rest}", row.label, printable(&best.provider)))
        }
        None => Verdict::skip(
            format!("{}: no provider here mines on it{rest}", row.label),
            "do what one of the reasons asks for, or put a plugin for this device into the folder",
        ),
    };
    verdict.of(row.device.to_string())
}

/// What one of the providers that would not mine says.
fn other(opinion: &Opinion, own_estimate: impl Fn(f64) -> String) -> String {
    let id = printable(&opinion.provider);
    match (opinion.supported, opinion.estimate, &opinion.reason) {
        (true, Some(rate), _) => format!("{id} could{}", own_estimate(rate)),
        (true, None, _) => format!("{id} could, and does not say how fast"),
        (false, _, Some(reason)) => format!("not {id}: {reason}"),
        (false, _, None) => format!("not {id}: it gives no reason"),
    }
}

/// Whether the settings of each miner are such as its provider takes.
pub fn settings_of_miners(facts: &Facts) -> Vec<Verdict> {
    let Ok(config) = facts.config() else { return super::unreadable_configuration() };
    let survey = facts.survey();
    let mut verdicts = Vec::new();
    for miner in config.mining.miners.iter().filter(|miner| miner.enabled) {
        let manifests: Vec<&Manifest> = match miner.provider.as_deref() {
            Some(id) => survey.find(id).and_then(Entry::manifest).into_iter().collect(),
            // Whoever would be chosen is told what is set, too.
            None if miner.extra.is_empty() => Vec::new(),
            None => winners(facts).into_iter().filter_map(|id| survey.find(&id)?.manifest()).collect(),
        };
        for manifest in manifests {
            verdicts.extend(settings_of(miner, manifest));
        }
    }
    if verdicts.is_empty() {
        verdicts.push(Verdict::skip("no provider here says what can be set", "nothing to do").quiet());
    }
    verdicts
}

/// The providers that would mine on the devices of this machine, each once.
fn winners(facts: &Facts) -> Vec<String> {
    let mut ids: Vec<String> = Vec::new();
    for row in matrix(&facts.hardware().info, facts.survey()) {
        if let Some(best) = row.best().filter(|best| !ids.contains(&best.provider)) {
            ids.push(best.provider.clone());
        }
    }
    ids
}

/// What is to be said of the settings of `miner` for the provider of `manifest`.
fn settings_of(miner: &MinerSection, manifest: &Manifest) -> Vec<Verdict> {
    let name = match miner.provider {
        Some(_) => miner.name.as_str(),
        None => &manifest.id,
    };
    let is_passed_over = |key: &str| settings::passes_over(manifest, key);
    let mistakes =
        settings::check(manifest, &miner.extra, |key| keys::is_own_extra(key) || is_passed_over(key));
    if !mistakes.is_empty() {
        let verdict = |mistake: &settings::Mistake| {
            let finding = format!("`{}` {}{}", mistake.key, mistake.problem, place(miner));
            Verdict::fail(finding, &*mistake.fix).of(name)
        };
        return mistakes.iter().map(verdict).collect();
    }
    if manifest.settings.is_empty() {
        return Vec::new();
    }
    let own = miner.extra.keys().filter(|key| !keys::is_own_extra(key) && !is_passed_over(key)).count();
    let mut finding = match own {
        0 => "nothing is set, so its defaults hold".to_owned(),
        1 => "its one setting is such as the provider takes".to_owned(),
        many => format!("its {many} settings are such as the provider takes"),
    };
    let others: Vec<_> = miner.extra.keys().filter(|key| is_passed_over(key)).cloned().collect();
    if !others.is_empty() {
        finding.push_str(&format!("; passed over, as other programs' own: {}", others.join(", ")));
        return vec![Verdict::ok(finding).of(name)];
    }
    vec![Verdict::ok(finding).of(name).quiet()]
}

fn place(miner: &MinerSection) -> String {
    match miner.line {
        Some(line) => format!(" (extra of the miner in line {line})"),
        None => " ([mining.extra])".to_owned(),
    }
}

#[cfg(test)]
#[cfg(not(target_os = "macos"))]
mod tests {
    use super::*;
    use crate::doctor::{CHECKS, State};
    use crate::hardware::fake;
    use crate::plugins::matrix::testing;

    #[test]
    fn a_rig_of_eight_cards_is_a_row_each_with_who_mines_and_why_others_do_not() {
        let rig = fake::rig();
        let rows: Vec<_> = matrix(&rig, &testing::survey(&rig)).iter().map(|row| device(row, &rig)).collect();
        let check = CHECKS.iter().find(|check| check.id == "device").expect("it is in the table");
        let rows: Vec<_> =
            rows.into_iter().map(|verdict| verdict.into_row(check, std::time::Duration::ZERO)).collect();
        assert_eq!(rows.len(), 9);
        assert!(rows.iter().all(|row| row.state == State::Ok || row.fix.is_some()));
        let text: Vec<String> = rows
            .iter()
            .map(|row| format!("{:4} {}\n     {}", row.state.name(), row.id, row.finding))
            .collect();
        insta::assert_snapshot!("matrix-of-a-rig", text.join("\n"));
    }

    #[test]
    fn what_a_control_group_leaves_is_said_of_the_processor_and_of_no_card() {
        let mut rig = fake::rig();
        rig.details = serde_json::json!({ "usable_threads": 10, "processor_quota": 1 });
        let rows = matrix(&rig, &testing::survey(&rig));
        let check = CHECKS.iter().find(|check| check.id == "device").expect("it is in the table");
        let is_told = |row: &Row| {
            let said = device(row, &rig).into_row(check, std::time::Duration::ZERO);
            said.finding.contains("this control group leaves about")
        };
        assert!(rows.iter().any(|row| row.device == Device::Processor && row.best().is_some()));
        for row in rows {
            let has_rate = row.opinions.iter().any(|one| one.supported && one.estimate.is_some());
            assert_eq!(is_told(&row), row.device == Device::Processor && has_rate, "{}", row.label);
        }
    }
}
