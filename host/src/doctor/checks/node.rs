//! The user's own node and the gateway before it: asked, never changed.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::{Duration, SystemTime};

use pearl_pow::Address;
use pearl_pow::address::AddressNetwork;

use super::super::{Facts, Verdict};
use super::unreadable_configuration;
use crate::config::{GatewayEndpoint, SubmitTarget};
use crate::explain::Explain;
use crate::plugins::Entry;
use crate::text::{duration, printable};
use crate::work::gateway::command::cannot_start;
use crate::work::node::{Examination, NodeError, Sync};

/// A template that is older holds transactions of long ago, and perhaps a block that is no longer the newest.
const TEMPLATE_AGE_MAX: Duration = Duration::from_secs(10 * 60);
/// How long one address of the gateway may take to let us in.
const CONNECT_TIME: Duration = Duration::from_millis(1500);

/// Whether the gateway listens. Only connects: a gateway that is proving answers nothing for a minute and more.
pub fn gateway(facts: &Facts) -> Vec<Verdict> {
    let Ok(config) = facts.config() else { return unreadable_configuration() };
    let mining = &config.mining;
    if !config.configured || mining.submit_target != SubmitTarget::Solo {
        let fix = "nothing, unless you mean to mine with a node of your own: `pearlbed init`";
        return vec![Verdict::skip("no work comes from a gateway", fix).quiet()];
    }
    let endpoint = printable(&mining.gateway.endpoint.to_string()).into_owned();
    vec![match (connect(&mining.gateway.endpoint), &mining.gateway.command) {
        (Ok(()), _) => Verdict::ok(format!("pearl-gateway listens at {endpoint}")),
        (Err(_), Some(command)) => match cannot_start(command, facts.scope().env.var_os("PATH")) {
            None => Verdict::ok(format!("not at {endpoint} yet; `pearlbed start` starts it")),
            Some(why) => Verdict::fail(
                format!(
                    "nothing listens at {endpoint}, and `{}` cannot be started: {why}",
                    printable(&command[0])
                ),
                "correct `[mining.gateway] command`, or install the gateway",
            ),
        },
        (Err(_), None) if super::container::has_gateway(facts) => Verdict::ok(format!(
            "none listens at {endpoint}; `pearlbed start` runs the one in the container's image, in a container of its own"
        )),
        (Err(err), None) => Verdict::fail(
            format!("nothing listens at {endpoint}: {err}"),
            "start pearl-gateway, or correct `[mining.gateway]`",
        ),
    }]
}

/// What a node that is on another kind of network than the wallet earns: nothing. The names are the node's.
fn other_network(chain: &str, wallet: &str) -> Option<String> {
    let of_node = match chain {
        "mainnet" | "main" => AddressNetwork::Mainnet,
        "testnet" | "test" | "testnet2" | "signet" => AddressNetwork::Testnet,
        "regtest" | "simnet" => AddressNetwork::Regtest,
        _ => return None,
    };
    let of_wallet = wallet.parse::<Address>().ok()?.network;
    (of_wallet != of_node).then(|| {
        let [begins, wants] = [of_wallet, of_node].map(AddressNetwork::prefix);
        format!(
            "the node is on {chain}, whose addresses begin `{wants}1`, and the wallet's begins `{begins}1`"
        )
    })
}

fn connect(endpoint: &GatewayEndpoint) -> io::Result<()> {
    match endpoint {
        GatewayEndpoint::Unix(path) => UnixStream::connect(path).map(drop),
        GatewayEndpoint::Tcp { host, port } => {
            let mut last = io::Error::other("the name stands for no address");
            for address in (host.as_str(), *port).to_socket_addrs()? {
                match TcpStream::connect_timeout(&address, CONNECT_TIME) {
                    Ok(_) => return Ok(()),
                    Err(err) => last = err,
                }
            }
            Err(last)
        }
    }
}

/// The examination, or what to say instead.
fn examined(facts: &Facts) -> Result<&Examination, Verdict> {
    match facts.node() {
        None => Err(Verdict::skip("no node is asked", "see the check `node-access`").quiet()),
        Some(Err(_)) => {
            Err(Verdict::skip("the node cannot be asked", "put right what the check `node-access` says")
                .quiet())
        }
        Some(Ok(examination)) if examination.chain.is_err() => Err(Verdict::skip(
            "the node gave no answer to judge",
            "put right what the check `node-access` says",
        )
        .quiet()),
        Some(Ok(examination)) => Ok(examination),
    }
}

pub fn reachable(facts: &Facts) -> Vec<Verdict> {
    let Ok(config) = facts.config() else { return unreadable_configuration() };
    vec![match facts.node() {
        None if config.configured && config.mining.submit_target == SubmitTarget::Solo => Verdict::warn(
            "no node is configured: nobody can say what becomes of a block that the gateway took",
            "run `pearlbed init`, which asks for the node's URL, user and password variable",
        ),
        None => {
            let fix = "nothing, unless you mean to mine with a node of your own: `pearlbed init`";
            Verdict::skip("no node is needed", fix).quiet()
        }
        Some(Err(err)) | Some(Ok(Examination { chain: Err(err), .. })) => refused(err),
        Some(Ok(Examination { chain: Ok(chain), .. })) => {
            let url = config.mining.node.as_ref().map(|node| printable(&node.url)).unwrap_or_default();
            let wallet = config.mining.wallet_address.as_deref().unwrap_or_default();
            if let Some(what) = other_network(&chain.chain, wallet) {
                let fix =
                    "an address of that network in `wallet_address`, or another node in `pearld_rpc_url`";
                return vec![Verdict::fail(what, fix)];
            }
            Verdict::ok(format!("pearld at {url} lets us in ({})", printable(&chain.chain)))
        }
    }]
}

fn refused(err: &NodeError) -> Verdict {
    let mut finding = err.to_string();
    if let Some(cause) = std::error::Error::source(err) {
        finding.push_str(&format!(": {cause}"));
    }
    let fix = err.hint().unwrap_or_else(|| "see the node's log".into());
    Verdict::fail(printable(&finding), printable(&fix))
}

pub fn synced(facts: &Facts) -> Vec<Verdict> {
    vec![
        examined(facts)
            .map_or_else(|instead| instead, |examination| judge_sync(examination, SystemTime::now())),
    ]
}

fn judge_sync(examination: &Examination, now: SystemTime) -> Verdict {
    match examination.sync(now) {
        Sync::Synced => {
            let height = examination.chain.as_ref().map(|chain| chain.blocks).unwrap_or_default();
            Verdict::ok(format!("synced at block {height}"))
        }
        Sync::Behind { blocks, headers } => Verdict::fail(
            format!("{blocks} of {headers} blocks: the node is {} behind", headers.saturating_sub(blocks)),
            "wait until the node has caught up; what is mined before that is lost",
        ),
        Sync::Unknown { reason } => Verdict::warn(
            format!("whether the node is synced cannot be told: {}", printable(&reason)),
            "see whether the node has peers (`getpeerinfo`), and its log",
        ),
    }
}

pub fn template(facts: &Facts) -> Vec<Verdict> {
    vec![
        examined(facts)
            .map_or_else(|instead| instead, |examination| judge_template(examination, SystemTime::now())),
    ]
}

fn judge_template(examination: &Examination, now: SystemTime) -> Verdict {
    match (&examination.template, examination.template_age(now)) {
        (Some(Ok(template)), Some(age)) if age <= TEMPLATE_AGE_MAX => {
            Verdict::ok(format!("a template for block {}, {} old", template.height, duration(age)))
        }
        (Some(Ok(_)), Some(age)) => Verdict::warn(
            format!("the node's template is {} old", duration(age)),
            "compare the clocks of the node and of this machine; restart the node if they agree",
        ),
        (Some(Err(err)), _) => refused(err),
        _ => {
            Verdict::skip("no template was asked for", "put right what the check `node-access` says").quiet()
        }
    }
}

pub fn certificate(facts: &Facts) -> Vec<Verdict> {
    let required = match examined(facts) {
        Err(instead) => return vec![instead],
        Ok(Examination { template: Some(Ok(template)), .. }) => template.required_certificate,
        Ok(_) => {
            let fix = "put right what the check `node-template` says";
            return vec![Verdict::skip("the node gives no template", fix).quiet()];
        }
    };
    let Some(required) = required else {
        let fix = "update pearld: newer ones say which certificate version the network wants";
        return vec![Verdict::skip("the node does not say which certificate version the network wants", fix)];
    };
    let speaks = |entry: &&Entry| {
        entry.manifest().is_some_and(|manifest| manifest.certificate_versions.contains(&required))
    };
    let survey = facts.survey();
    let speakers: Vec<_> = survey.usable().filter(speaks).filter_map(Entry::id).collect();
    let wanted = format!("the network wants certificate version {required}");
    let speakers_shown = printable(&speakers.join(", ")).into_owned();
    vec![match (facts.chosen_provider(), &speakers[..]) {
        (Some(chosen), able) if able.contains(&chosen) => {
            Verdict::ok(format!("{wanted}, and {} speaks it", printable(chosen)))
        }
        (None, [_, ..]) => Verdict::ok(format!("{wanted}; spoken by {speakers_shown}")),
        (Some(chosen), [_, ..]) => Verdict::fail(
            format!("{wanted}, which {} does not speak", printable(chosen)),
            format!("update its plugin, or choose one that does: {speakers_shown}"),
        ),
        (_, []) => Verdict::fail(format!("{wanted}, which no plugin here speaks"), "update the plugins"),
    }]
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::super::super::State;
    use super::*;
    use crate::work::node::{ChainInfo, TemplateInfo};

    const NOW: u64 = 1_800_000_000;

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(NOW)
    }

    fn examination(blocks: u64, headers: u64, template_time: u64) -> Examination {
        let chain = ChainInfo {
            chain: "mainnet".into(),
            blocks,
            headers,
            best_block_hash: String::new(),
            median_time: NOW - 600,
            initial_download: false,
        };
        let template = TemplateInfo {
            height: blocks + 1,
            time: template_time,
            previous: String::new(),
            required_certificate: Some(3),
        };
        Examination { chain: Ok(chain), template: Some(Ok(template)) }
    }

    fn row(verdict: Verdict) -> (State, String) {
        let check = super::super::CHECKS.iter().find(|check| check.id == "node-access").unwrap();
        let row = verdict.into_row(check, Duration::ZERO);
        (row.state, row.finding)
    }

    #[test]
    fn a_node_is_synced_only_when_that_is_known() {
        assert_eq!(row(judge_sync(&examination(9, 9, NOW), now())), (State::Ok, "synced at block 9".into()));
        let (state, finding) = row(judge_sync(&examination(7, 9, NOW), now()));
        assert_eq!((state, finding.as_str()), (State::Fail, "7 of 9 blocks: the node is 2 behind"));
        let (state, _) = row(judge_sync(&examination(9, 9, NOW), now() + Duration::from_secs(86_400)));
        assert_eq!(state, State::Warn);
        let without = Examination { template: None, ..examination(9, 9, NOW) };
        assert_eq!(row(judge_sync(&without, now())).0, State::Warn);
    }

    #[test]
    fn a_wallet_of_another_network_than_the_nodes_is_named() {
        let wallet = "prl1pqqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc0ss8729k";
        for chain in ["regtest", "simnet", "testnet2"] {
            let what = other_network(chain, wallet).unwrap();
            assert!(what.contains(chain) && what.contains("`prl1`"), "{what}");
        }
        for (chain, wallet) in [("mainnet", wallet), ("a network of tomorrow", wallet), ("regtest", "")] {
            assert_eq!(other_network(chain, wallet), None);
        }
    }

    #[test]
    fn a_template_has_an_age() {
        let (state, finding) = row(judge_template(&examination(9, 9, NOW - 61), now()));
        assert_eq!((state, finding.as_str()), (State::Ok, "a template for block 10, 1 m 01 s old"));
        assert_eq!(row(judge_template(&examination(9, 9, NOW - 3600), now())).0, State::Warn);
        let refused =
            NodeError::Refused { method: "getblocktemplate", code: -10, message: "no peers".into() };
        let without = Examination { template: Some(Err(refused)), ..examination(9, 9, NOW) };
        let (state, finding) = row(judge_template(&without, now()));
        assert_eq!(
            (state, finding.as_str()),
            (State::Fail, "the node refused `getblocktemplate`: no peers (-10)")
        );
    }
}
