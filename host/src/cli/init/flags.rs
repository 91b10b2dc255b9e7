//! What the flags of `pearlbed init` mean: each a change to the file.

use toml_edit::{Array, Value as Toml};

use super::Args;
use crate::cli::Error;
use crate::config::keys::AUTO;
use crate::config::{Change, Config, Place, nearest};
use crate::exit::Exit;
use crate::home::{self, Env};
use crate::init::{Candidate, Proposal, questions};
use crate::text::{printable, printable_path};

impl Args {
    /// Whether only single settings are to be changed, which needs no look at the machine.
    pub(super) fn asks_for_settings_only(&self) -> bool {
        let setup = [
            &self.provider,
            &self.wallet_address,
            &self.submit_target,
            &self.gateway,
            &self.node_url,
            &self.node_user,
            &self.node_password_env,
            &self.node_certificate,
            &self.model,
            &self.image,
            &self.cuda_visible_devices,
            &self.gateway_host,
            &self.gateway_port,
            &self.metrics_port,
        ];
        let lists = [&self.grant, &self.vllm_arg];
        let settings = !(self.set.is_empty() && self.unset.is_empty());
        settings
            && self.local_model_path.is_none()
            && lists.iter().all(|list| list.is_empty())
            && setup.iter().all(|flag| flag.is_none())
    }
}

/// The changes that flags mean by themselves.
pub(super) fn flag_changes(args: &Args) -> Result<Vec<Change>, Error> {
    let mut changes = Vec::new();
    let flag = |name: &str| Place::Flag(name.to_owned());
    for setting in &args.set {
        let Some((key, value)) = setting.split_once('=') else {
            return Err(Error::usage(format!("`--set {}` has no `=`", printable(setting)))
                .with_hint("write it like this: --set mining.extra.gateway_port=8337"));
        };
        changes.push(Change::set(key.trim(), value.trim(), &flag("--set"))?);
    }
    for key in &args.unset {
        changes.push(Change::unset(key, &flag("--unset"))?);
    }
    for (name, key, value) in [
        ("--wallet-address", "mining.wallet_address", &args.wallet_address),
        ("--submit-target", "mining.submit_target", &args.submit_target),
        ("--node-url", "mining.extra.pearld_rpc_url", &args.node_url),
        ("--node-user", "mining.extra.pearld_rpc_user", &args.node_user),
        ("--node-password-env", "mining.extra.pearld_rpc_password_env", &args.node_password_env),
        ("--node-certificate", "mining.node.certificate", &args.node_certificate),
        ("--model", "mining.extra.model", &args.model),
        ("--gateway-host", "mining.extra.gateway_host", &args.gateway_host),
        ("--gateway-port", "mining.extra.gateway_port", &args.gateway_port),
        ("--metrics-port", "mining.extra.metrics_port", &args.metrics_port),
    ] {
        if let Some(value) = value {
            changes.push(Change::set(key, value, &flag(name))?);
        }
    }
    if args.gateway_host.is_some() || args.gateway_port.is_some() {
        // It would win over both.
        changes.push(Change::Unset { key: "mining.gateway.socket".to_owned() });
    }
    if let Some(gateway) = &args.gateway {
        changes.extend(questions::gateway_changes(gateway, &flag("--gateway"))?);
    }
    changes.extend(engine_changes(args)?);
    Ok(changes)
}

/// The changes of the flags for a provider with an inference engine: its own settings, by the names that OpenJarvis has for them.
fn engine_changes(args: &Args) -> Result<Vec<Change>, Error> {
    let set = |name: &str, value: Toml| Change::Set { key: format!("mining.extra.{name}"), value };
    let mut changes = Vec::new();
    // A number among the cards is a name, too, and no number of TOML's.
    for (name, value) in
        [("docker_image_tag", &args.image), ("cuda_visible_devices", &args.cuda_visible_devices)]
    {
        changes.extend(value.as_deref().map(|value| set(name, value.trim().into())));
    }
    if !args.vllm_arg.is_empty() {
        changes.push(set("vllm_args", args.vllm_arg.iter().map(String::as_str).collect::<Array>().into()));
    }
    if let Some(path) = &args.local_model_path {
        // The shell's word for the home folder was not read by a shell behind a `=`; and a session runs in another folder.
        let path = home::without_tilde(path, &Env::of_process()).unwrap_or_else(|| path.clone());
        let path = std::path::absolute(&path).unwrap_or(path);
        if !path.is_dir() {
            return Err(Error::usage(format!(
                "--local-model-path: there is no folder {}",
                printable_path(&path)
            ))
            .with_hint("give the folder of a checkpoint, or its id with --model"));
        }
        let Some(text) = path.to_str() else {
            return Err(Error::usage("--local-model-path: the name of the folder is no text"));
        };
        changes.push(set("local_model_path", text.into()));
    }
    Ok(changes)
}

/// The changes of `--provider` and `--grant`, for which the providers must be known.
pub(super) fn provider_changes(
    args: &Args,
    config: &Config,
    candidates: &[Candidate],
    proposal: Option<&Proposal>,
) -> Result<Vec<Change>, Error> {
    let mut changes = Vec::new();
    let mut ids: Vec<String> = config.mining.provider.clone().into_iter().collect();
    match (args.provider.as_deref(), proposal) {
        (Some(AUTO), Some(proposal)) => {
            changes.extend(proposal.changes());
            ids = proposal.providers().into_iter().map(str::to_owned).collect();
        }
        (Some(wanted), _) => {
            let chosen = if wanted == AUTO { best(candidates)? } else { known(wanted, candidates)? };
            changes.push(Change::set("mining.provider", &chosen.id, &Place::Flag("--provider".into()))?);
            ids = vec![chosen.id.clone()];
        }
        (None, _) => {}
    }
    for text in &args.grant {
        let asks = |id: &&String| {
            let candidate = candidates.iter().find(|candidate| candidate.id == **id);
            candidate.is_some_and(|one| one.permissions.iter().any(|wanted| wanted.to_string() == *text))
        };
        // Of several those that ask for it; what nobody asks for is granted to the first, as it was said.
        let mut to: Vec<&String> = ids.iter().filter(asks).collect();
        if to.is_empty() {
            to.extend(ids.first());
        }
        if to.is_empty() {
            return Err(Error::usage("`--grant` needs a provider to grant to").with_hint("add --provider ID"));
        }
        for id in to {
            changes.push(grant(config, &changes, id, text));
        }
    }
    Ok(changes)
}

/// What grants `text` to `id`, beside what was granted before or by `changes`.
fn grant(config: &Config, changes: &[Change], id: &str, text: &str) -> Change {
    let key = format!("mining.grants.{id}");
    let so_far = changes.iter().rev().find_map(|change| match change {
        Change::Set { key: set, value } if *set == key => value.as_array().cloned(),
        _ => None,
    });
    let before = || config.mining.grants.get(id).into_iter().flatten().map(ToString::to_string).collect();
    let mut list: Array = so_far.unwrap_or_else(before);
    if !list.iter().any(|granted| granted.as_str() == Some(text)) {
        list.push(text);
    }
    Change::Set { key, value: list.into() }
}

fn best(candidates: &[Candidate]) -> Result<&Candidate, Error> {
    candidates.iter().find(|candidate| candidate.supported).ok_or_else(|| {
        let reasons: Vec<_> = candidates
            .iter()
            .map(|candidate| {
                format!("{}: {}", candidate.id, candidate.reason.as_deref().unwrap_or("gives no reason"))
            })
            .collect();
        let what = match reasons.is_empty() {
            true => "there is no provider to choose from".to_owned(),
            false => format!("no provider supports this machine ({})", reasons.join("; ")),
        };
        Error::new(what).with_hint("`pearlbed doctor` says what is missing, and where plugins are looked for")
    })
}

fn known<'a>(wanted: &str, candidates: &'a [Candidate]) -> Result<&'a Candidate, Error> {
    candidates.iter().find(|candidate| candidate.id == wanted).ok_or_else(|| {
        let ids: Vec<&str> = candidates.iter().map(|candidate| candidate.id.as_str()).collect();
        let hint = match (nearest(wanted, ids.iter().copied()), ids.is_empty()) {
            (Some(near), _) => format!("did you mean `{near}`?"),
            (None, true) => "no plugin was found: `pearlbed plugins list` says where it looked".to_owned(),
            (None, false) => format!("there are: {}", ids.join(", ")),
        };
        let err = Error::new(format!("there is no provider `{}`", printable(wanted)));
        err.with_hint(hint).with_exit(Exit::Futile)
    })
}
