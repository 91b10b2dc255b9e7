//! One miner for each device of the machine: what `init` proposes, and what it writes where that is wanted.

use pearlbed_plugin_api::HardwareInfo;
use toml_edit::Value as Toml;

use crate::config::keys::MINERS;
use crate::config::{Change, Device};
use crate::plugins::matrix::{Row, matrix};
use crate::plugins::{Entry, Survey, units};
use crate::text::{hashrate, printable};

/// A miner for each device that some provider supports.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    /// At least two; the first is what `[mining]` itself asks for.
    miners: Vec<Proposed>,
    /// Devices on which nothing would mine, as a person calls them.
    idle: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
struct Proposed {
    name: String,
    provider: String,
    device: Device,
    label: String,
    estimate: Option<f64>,
    /// Whether its provider could take other devices, too, and has to be told which one is meant.
    is_named: bool,
}

impl Proposal {
    /// What to propose for `machine`, whose plugins were asked; nothing where one miner is all there would be.
    pub fn of(machine: &HardwareInfo, survey: &Survey) -> Option<Self> {
        let mut proposal = Self { miners: Vec::new(), idle: Vec::new() };
        for row in matrix(machine, survey) {
            proposal.add(row, survey);
        }
        (proposal.miners.len() > 1).then_some(proposal)
    }

    fn add(&mut self, row: Row, survey: &Survey) {
        let Some(best) = row.best() else {
            self.idle.push(format!("{} ({})", row.device, row.label));
            return;
        };
        let manifest = survey.find(&best.provider).and_then(Entry::manifest);
        let (provider, estimate) = (best.provider.clone(), best.estimate);
        let is_free = |name: &String| self.miners.iter().all(|miner| miner.name != *name);
        let numbered = (2..).map(|number| format!("{provider}-{number}"));
        let name = std::iter::once(provider.clone()).chain(numbered).find(is_free);
        self.miners.push(Proposed {
            name: name.expect("the numbers do not end"),
            provider,
            device: row.device,
            label: row.label,
            estimate,
            is_named: manifest.is_none_or(units::reaches_cards),
        });
    }

    /// The providers, each once, the first miner's first.
    pub fn providers(&self) -> Vec<&str> {
        let mut providers: Vec<&str> = Vec::new();
        for miner in &self.miners {
            if !providers.contains(&miner.provider.as_str()) {
                providers.push(&miner.provider);
            }
        }
        providers
    }

    /// The same for a person, a line each.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec!["A miner for each device that a provider here supports:".to_owned()];
        for miner in &self.miners {
            let rate = miner.estimate.map(|rate| format!(", about {}", hashrate(rate))).unwrap_or_default();
            let Proposed { name, provider, device, label, .. } = miner;
            lines.push(printable(&format!("{name}: {provider} on {device} ({label}){rate}")).into_owned());
        }
        if !self.idle.is_empty() {
            lines
                .push(format!("Nothing here mines on {}; `pearlbed doctor` says why.", self.idle.join(", ")));
        }
        lines
    }

    /// The changes that make it so: the first miner in `[mining]`, the others as `[[mining.miners]]`.
    pub fn changes(&self) -> Vec<Change> {
        let devices = |miner: &Proposed| {
            let names: toml_edit::Array = std::iter::once(miner.device.to_string()).collect();
            miner.is_named.then(|| Toml::from(names))
        };
        let mut changes = Vec::new();
        for (index, miner) in self.miners.iter().enumerate() {
            let provider = Toml::from(miner.provider.as_str());
            if index == 0 {
                changes.push(Change::Set { key: "mining.provider".into(), value: provider });
                changes
                    .extend(devices(miner).map(|value| Change::Set { key: "mining.devices".into(), value }));
                continue;
            }
            let name = ("name".to_owned(), Toml::from(miner.name.as_str()));
            let mut table = vec![name, ("provider".to_owned(), provider)];
            table.extend(devices(miner).map(|value| ("devices".to_owned(), value)));
            changes.push(Change::Append { key: MINERS.to_owned(), table });
        }
        changes
    }
}

#[cfg(test)]
#[cfg(not(target_os = "macos"))]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::hardware::fake;
    use crate::init::Plan;
    use crate::plugins::matrix::testing;

    #[test]
    fn a_rig_of_eight_cards_and_a_processor_gets_a_miner_for_each_that_can_mine() {
        let machine = fake::rig();
        let proposal = Proposal::of(&machine, &testing::survey(&machine)).unwrap();
        assert_eq!(proposal.providers(), ["cores", "green", "any-card"]);
        insta::assert_snapshot!("proposal-for-a-rig", proposal.lines().join("\n"));
        // What is written is read again, and is what was proposed.
        let folder = tempfile::tempdir().unwrap();
        let plan = Plan::new(&folder.path().join("config.toml"), &proposal.changes()).unwrap();
        let read: Vec<(&str, Option<&str>)> = plan
            .config
            .mining
            .miners
            .iter()
            .map(|miner| (miner.name.as_str(), miner.provider.as_deref()))
            .collect();
        let proposed: Vec<(&str, Option<&str>)> = proposal
            .miners
            .iter()
            .map(|miner| (miner.name.as_str(), Some(miner.provider.as_str())))
            .collect();
        assert_eq!(read, proposed);
        let (first, miners) = plan.new.split_at(plan.new.find("\n[[mining.miners]]").unwrap() + 1);
        assert!(first.contains("\nprovider = \"cores\"\n") && !first.contains("devices"), "{first}");
        insta::assert_snapshot!("miners-of-a-rig", miners);
    }

    #[test]
    fn cards_without_a_miner_for_the_processor_are_named_from_the_first_on() {
        let mut machine = fake::rig();
        machine.gpus.truncate(2);
        let survey = testing::survey(&machine);
        let mut survey = survey;
        survey.entries.remove(0);
        let proposal = Proposal::of(&machine, &survey).unwrap();
        let plan = Plan::new(Path::new("/nonexistent/config.toml"), &proposal.changes()).unwrap();
        let miners = &plan.config.mining.miners;
        assert_eq!((miners[0].name.as_str(), miners[1].name.as_str()), ("green", "green-2"));
        assert_eq!(miners[0].devices, ["0000:01:00.0".parse().unwrap()]);
        assert_eq!(miners[1].devices, ["0000:02:00.0".parse().unwrap()]);
    }

    #[test]
    fn where_one_miner_is_all_there_would_be_nothing_is_proposed() {
        let mut machine = fake::rig();
        machine.gpus.clear();
        assert_eq!(Proposal::of(&machine, &testing::survey(&machine)), None);
    }
}
