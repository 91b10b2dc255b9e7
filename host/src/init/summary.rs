//! The three sentences at the end: what will run, what it may touch, who is paid.

use pearlbed_plugin_api::Permission;

use super::Candidate;
use crate::config::{Config, MinerSection, SubmitTarget};

/// What will run, what it may touch, and who is paid, each in one sentence.
///
/// `known` are the providers' own accounts, as far as they were found.
pub fn sentences(config: &Config, known: &[Candidate]) -> [String; 3] {
    let mining = &config.mining;
    let whose = match &mining.submit_target {
        SubmitTarget::Solo => format!("with work from pearl-gateway at {}", mining.gateway.endpoint),
        SubmitTarget::Pool(url) => format!("with work from the pool {url}"),
        SubmitTarget::Devnet => "on the devnet, a test network inside pearlbed".to_owned(),
    };
    let mut ids: Vec<&str> = Vec::new();
    for id in mining.miners.iter().filter_map(|miner| miner.provider.as_deref()) {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    let chosen: Vec<&Candidate> =
        ids.iter().filter_map(|id| known.iter().find(|candidate| candidate.id == *id)).collect();
    let miners: Vec<String> = mining.miners.iter().filter(|miner| miner.enabled).map(called).collect();
    let what = match (miners.as_slice(), chosen.as_slice(), &mining.provider) {
        ([_, _, ..], ..) => format!("{} miners ({})", miners.len(), miners.join(", ")),
        (_, [one, ..], _) => format!("the provider {} {} ({})", one.id, one.version, one.path.display()),
        (_, [], Some(id)) => format!("the provider {id}"),
        (_, [], None) => "the fastest provider that supports this machine".to_owned(),
    };
    let run = format!("`pearlbed start` will run {what} {whose}; nothing runs until then.");

    let asked: Vec<(&str, &Permission)> = chosen
        .iter()
        .flat_map(|one| one.permissions.iter().map(|permission| (one.id.as_str(), permission)))
        .collect();
    let granted = |id: &str| mining.grants.get(id).map(Vec::as_slice).unwrap_or_default();
    let is_granted = |(id, permission): &(&str, &Permission)| granted(id).contains(permission);
    let several = ids.len() > 1;
    let list = |permissions: &[(&str, &Permission)]| {
        let whose = |id: &str| if several { format!(" for {id}") } else { String::new() };
        let texts = permissions.iter().map(|(id, permission)| format!("`{permission}`{}", whose(id)));
        texts.collect::<Vec<_>>().join(", ")
    };
    let (mut given, refused): (Vec<_>, Vec<_>) = asked.iter().copied().partition(is_granted);
    if chosen.is_empty() {
        // Without the manifest nothing is known of what it asks for; it never gets more than what is granted.
        given = ids.iter().flat_map(|id| granted(id).iter().map(|permission| (*id, permission))).collect();
    }
    let images: Vec<&str> =
        chosen.iter().filter_map(|one| one.container.as_ref()).map(|file| &*file.image.name).collect();
    let mut touch = "It may use the processor and memory of a confined process, ".to_owned();
    touch += &match (given.is_empty(), refused.is_empty()) {
        (true, true) => "and no file, network or program.".to_owned(),
        (false, true) => format!("and what you granted it: {}.", list(&given)),
        (true, false) => {
            format!("and nothing that it asked for, because you have not granted it: {}.", list(&refused))
        }
        (false, false) => {
            format!("and what you granted it: {}; it also asked for {}.", list(&given), list(&refused))
        }
    };

    if !images.is_empty() {
        // What an engine keeps it from is the engine's to say.
        touch = format!(
            "A container is confined by your own engine, and gets jobs, a cache and its cards, and neither wallet nor node{}.",
            if images.len() < chosen.len() { "; the others run in confined processes" } else { "" }
        );
    }

    let paid = match (&mining.submit_target, &mining.wallet_address) {
        (SubmitTarget::Devnet, _) => "Nobody is paid: blocks of the devnet are worth nothing.".to_owned(),
        (_, None) => "Nobody can be paid yet: there is no wallet address.".to_owned(),
        (SubmitTarget::Solo, Some(wallet)) if mining.gateway.command.is_none() => format!(
            "Paid is the address that your pearl-gateway was started with, which should be {wallet}; pearlbed takes no \
             fee."
        ),
        (_, Some(wallet)) => format!("All of it is paid to {wallet}; pearlbed takes no fee."),
    };
    [run, touch, paid]
}

/// A miner as a person calls it: its provider, and the devices where it names any.
fn called(miner: &MinerSection) -> String {
    let provider = miner.provider.as_deref().unwrap_or("whatever supports this machine");
    let devices: Vec<String> = miner.devices.iter().map(ToString::to_string).collect();
    if devices.is_empty() { provider.to_owned() } else { format!("{provider} on {}", devices.join(", ")) }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Sources;
    use crate::home::Env;

    fn config(text: &str) -> Config {
        let env = Env::default();
        Config::load(&Sources { file: Path::new("config.toml"), text: Some(text), env: &env, flags: &[] })
            .unwrap()
    }

    fn candidate(permissions: &[&str]) -> Candidate {
        Candidate {
            id: "some".into(),
            version: "1.0.0".into(),
            path: "/p/libsome.so".into(),
            supported: true,
            reason: None,
            estimated_hashrate: None,
            permissions: permissions.iter().map(|text| text.parse().unwrap()).collect(),
            container: None,
        }
    }

    #[test]
    fn a_provider_that_asks_for_nothing_touches_nothing_and_the_devnet_pays_nobody() {
        let config = config("[mining]\nprovider = \"some\"\nsubmit_target = \"devnet\"\n");
        let [run, touch, paid] = sentences(&config, &[candidate(&[])]);
        assert!(run.contains("some 1.0.0 (/p/libsome.so) on the devnet"), "{run}");
        assert!(touch.ends_with("and no file, network or program."), "{touch}");
        assert!(paid.starts_with("Nobody is paid"), "{paid}");
    }

    #[test]
    fn what_was_asked_and_not_granted_is_said() {
        let text = "[mining]\nprovider = \"some\"\n[mining.grants]\nsome = [\"read:/opt/models\"]\n";
        let asked = candidate(&["read:/opt/models", "network:*:*"]);
        let [_, touch, paid] = sentences(&config(text), &[asked]);
        assert!(touch.contains("granted it: `read:/opt/models`; it also asked for `network:*:*`"), "{touch}");
        assert!(paid.starts_with("Nobody can be paid yet"), "{paid}");
    }

    #[test]
    fn several_miners_are_listed_and_each_provider_has_its_own_grants() {
        let text = "[mining]\nprovider = \"some\"\nsubmit_target = \"devnet\"\n\
                    [mining.grants]\nsome = [\"read:/opt/models\"]\nother = [\"device:/dev/dri/renderD*\"]\n\
                    [[mining.miners]]\nprovider = \"other\"\ndevices = [\"0000:01:00.0\"]\n";
        let some = candidate(&["device:/dev/dri/renderD*"]);
        let other =
            Candidate { id: "other".into(), ..candidate(&["device:/dev/dri/renderD*", "network:*:*"]) };
        let [run, touch, _] = sentences(&config(text), &[some, other]);
        assert!(run.contains("will run 2 miners (some, other on 0000:01:00.0) on the devnet"), "{run}");
        assert!(touch.contains("granted it: `device:/dev/dri/renderD*` for other; it also"), "{touch}");
        assert!(
            touch.contains("for `device:/dev/dri/renderD*` for some, `network:*:*` for other"),
            "{touch}"
        );
    }
}
