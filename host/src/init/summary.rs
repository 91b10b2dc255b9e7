//! The three sentences at the end: what will run, what it may touch, who is paid.

use super::Candidate;
use crate::config::{Config, SubmitTarget};

/// What will run, what it may touch, and who is paid, each in one sentence.
///
/// `chosen` is the provider's own account, where it was found.
pub fn sentences(config: &Config, chosen: Option<&Candidate>) -> [String; 3] {
    let mining = &config.mining;
    let whose = match &mining.submit_target {
        SubmitTarget::Solo => format!("with work from pearl-gateway at {}", mining.gateway.endpoint),
        SubmitTarget::Pool(url) => format!("with work from the pool {url}"),
        SubmitTarget::Devnet => "on the devnet, a test network inside pearlbed".to_owned(),
    };
    let provider = match (chosen, &mining.provider) {
        (Some(chosen), _) => {
            format!("the provider {} {} ({})", chosen.id, chosen.version, chosen.path.display())
        }
        (None, Some(id)) => format!("the provider {id}"),
        (None, None) => "the fastest provider that supports this machine".to_owned(),
    };
    let run = format!("`pearlbed start` will run {provider} {whose}; nothing runs until then.");

    let asked = chosen.map(|chosen| chosen.permissions.as_slice()).unwrap_or_default();
    let granted = mining.provider.as_ref().and_then(|id| mining.grants.get(id)).map(Vec::as_slice);
    let granted = granted.unwrap_or_default();
    let list = |permissions: &[&pearlbed_plugin_api::Permission]| {
        permissions.iter().map(|permission| format!("`{permission}`")).collect::<Vec<_>>().join(", ")
    };
    let given: Vec<_> = asked.iter().filter(|permission| granted.contains(permission)).collect();
    let refused: Vec<_> = asked.iter().filter(|permission| !granted.contains(permission)).collect();
    // Without the manifest nothing is known of what it asks for; it never gets more than what is granted.
    let given: Vec<_> = if chosen.is_none() { granted.iter().collect() } else { given };
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
        }
    }

    #[test]
    fn a_provider_that_asks_for_nothing_touches_nothing_and_the_devnet_pays_nobody() {
        let config = config("[mining]\nprovider = \"some\"\nsubmit_target = \"devnet\"\n");
        let [run, touch, paid] = sentences(&config, Some(&candidate(&[])));
        assert!(run.contains("some 1.0.0 (/p/libsome.so) on the devnet"), "{run}");
        assert!(touch.ends_with("and no file, network or program."), "{touch}");
        assert!(paid.starts_with("Nobody is paid"), "{paid}");
    }

    #[test]
    fn what_was_asked_and_not_granted_is_said() {
        let text = "[mining]\nprovider = \"some\"\n[mining.grants]\nsome = [\"read:/opt/models\"]\n";
        let asked = candidate(&["read:/opt/models", "network:*:*"]);
        let [_, touch, paid] = sentences(&config(text), Some(&asked));
        assert!(touch.contains("granted it: `read:/opt/models`; it also asked for `network:*:*`"), "{touch}");
        assert!(paid.starts_with("Nobody can be paid yet"), "{paid}");
    }
}
