//! Chooses the plugin of a miner, and loads it in the provider process.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pearlbed_plugin_api::host_side::Provider;
use pearlbed_plugin_api::{HardwareInfo, Manifest, MiningCapabilities};

use super::options::Options;
use super::provider::Order;
use crate::config::Config;
use crate::exit::Exit;
use crate::explain::Explain;
use crate::hardware;
use crate::plugins::container::DataFile;
use crate::plugins::trust::{Signed, Trust};
use crate::plugins::{self, Entry, Failure, Identity, ProbeOptions, Reason, SearchPath, load, units};

/// How long a plugin may take to say what it expects of itself.
const ESTIMATE_TIME: Duration = Duration::from_secs(1);

/// The plugin that a miner runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Chosen {
    /// Its file, links followed.
    pub path: PathBuf,
    /// The file as it was looked at: the provider process loads no other.
    pub identity: Option<Identity>,
    /// What it says of itself.
    pub manifest: Manifest,
    /// What it is, where it is no library but a container's data file.
    pub container: Option<Arc<DataFile>>,
    /// Who vouches for it.
    pub signed: Signed,
    /// Its file is used whoever owns it or may write to it, because the user said so.
    pub relaxed: bool,
    /// Who is trusted to vouch for what takes its place; nobody where nothing may.
    pub trust: Trust,
    /// Hashes per second that it expects of itself on this machine, where it was asked.
    pub estimate: Option<f64>,
}

/// Why there is no plugin to run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each message is its variant's documentation")]
pub enum ChooseError {
    #[error("no plugin here carries the provider `{id}`{}", among(known))]
    Unknown { id: String, known: Vec<String> },
    #[error("the plugin of `{id}` cannot be used ({}): {reason}", crate::text::printable_path(path))]
    Unusable { id: String, path: PathBuf, reason: Reason },
    #[error("there is no plugin to mine with")]
    None,
    #[error("no plugin here supports this machine{}", because(reasons))]
    Unsupported { reasons: Vec<String> },
    #[error("`{id}` does not support this machine: {reason}")]
    Declined { id: String, reason: String },
    #[error("every miner of the configuration is switched off")]
    AllDisabled,
    #[error("there is no device `{device}` in this machine")]
    NoDevice { device: String },
    #[error("`{id}` mines on the processor alone, and not on `{device}`")]
    NoCards { id: String, device: String },
    #[error("`{id}` is a container, which a session alone runs")]
    Container { id: String },
    #[error("`{key}` {problem}")]
    Setting { key: String, problem: String, fix: String },
}

/// Codes of reasons for which a plugin cannot be used now, and perhaps can be in a moment.
const MAY_PASS: [&str; 6] = ["timed-out", "killed", "no-probe", "not-probed", "out-of-memory", "changed"];

/// What to do where a provider says that this machine is none of its.
pub const DECLINED: &str = "`pearlbed doctor` shows what this machine can mine with; `pearlbed start --anyway` starts it all the same";

fn because(reasons: &[String]) -> String {
    if reasons.is_empty() { String::new() } else { format!(": {}", reasons.join("; ")) }
}

/// Why plugins that were to be asked had no answer, one phrase each: they may have had no time for it.
pub(super) fn silent(survey: &plugins::Survey) -> impl Iterator<Item = String> {
    survey.entries.iter().filter_map(|entry| {
        let (id, reason) = (entry.id()?, entry.skipped()?);
        // Another file of the same provider is no reason.
        (!reason.code.starts_with("same-")).then(|| format!("`{id}`: {}", reason.reason))
    })
}

fn among(known: &[String]) -> String {
    if known.is_empty() { String::new() } else { format!("; here are {}", known.join(", ")) }
}

impl Explain for ChooseError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unusable { reason, .. } => reason.fix.clone(),
            Self::Declined { .. } => DECLINED.into(),
            Self::AllDisabled => "set `enabled = true` for one of the [[mining.miners]]".into(),
            Self::NoDevice { .. } => "`pearlbed doctor` lists the devices with their addresses".into(),
            Self::NoCards { .. } => {
                "give it `devices = [\"cpu\"]`, or choose a provider for that device: `pearlbed doctor` shows which".into()
            }
            Self::Container { id } => {
                format!("`pearlbed start --devnet --provider {id}`, and `pearlbed status` for what its proofs bear out")
            }
            Self::Setting { fix, .. } => fix.clone(),
            Self::None => "drop one into the plugin folder; `pearlbed doctor` shows where it looks".into(),
            Self::Unknown { .. } | Self::Unsupported { .. } => {
                "`pearlbed doctor` lists the plugins, and why each one is or is not usable".into()
            }
        })
    }

    /// A machine may yet come to support a plugin, such as when its driver is loaded late; a file that is not there or
    /// is broken stays so. Whether it answers may be the machine's fault, which is busy as it boots, and not its own.
    fn exit(&self) -> Exit {
        match self {
            Self::Unusable { reason, .. } if MAY_PASS.contains(&reason.code) => Exit::Failed,
            Self::Unknown { .. }
            | Self::Unusable { .. }
            | Self::None
            | Self::AllDisabled
            | Self::NoCards { .. }
            | Self::Container { .. }
            | Self::Setting { .. } => Exit::Futile,
            // A card may be found again.
            Self::Unsupported { .. } | Self::Declined { .. } | Self::NoDevice { .. } => Exit::Failed,
        }
    }
}

fn search_path(options: &Options, config: &Config) -> SearchPath {
    SearchPath::new(&options.plugin_dirs, &options.env, Some(&options.home))
        .with_configured(&config.plugins.dirs)
}

pub(super) fn look(options: &Options, config: &Config, probe: Option<ProbeOptions>) -> plugins::Survey {
    let survey = plugins::Options {
        relaxed: options.relax_file_checks || config.plugins.relax_trust,
        probe,
        trust: Trust::of(&config.plugins, Some(&options.home)),
    };
    plugins::survey(&search_path(options, config), &survey)
}

pub(super) fn chosen(entry: &Entry) -> Option<Chosen> {
    Some(Chosen {
        path: entry.real_path().to_owned(),
        identity: entry.look.as_ref().and_then(|look| look.identity),
        manifest: entry.manifest()?.clone(),
        container: entry.container().cloned(),
        signed: entry.judgement.signed.clone(),
        relaxed: entry.look.as_ref().is_some_and(|look| look.relaxed),
        trust: Trust::default(),
        estimate: entry.capabilities().and_then(|capabilities| capabilities.estimated_hashrate),
    })
}

/// Finds the plugin of the configured provider, or the fastest that supports this machine where none is configured.
///
/// No plugin's code runs here; where several could be meant, each is probed in a confined child.
///
/// # Errors
///
/// [`ChooseError`].
pub fn choose(options: &Options, config: &Config) -> Result<Chosen, ChooseError> {
    let listed = look(options, config, None);
    let libraries = listed.usable().filter(|entry| entry.container().is_none());
    let usable: Vec<&str> = libraries.filter_map(Entry::id).collect();
    // One file needs no question. Of two with one id, the first may be broken.
    let ask = match (&config.mining.provider, &usable[..]) {
        (Some(id), _) => listed.is_contested(id),
        (None, []) => return Err(ChooseError::None),
        (None, [only]) => listed.is_contested(only),
        (None, _) => true,
    };
    let survey = if ask { look(options, config, Some(probe_options(config, &listed))) } else { listed };
    if let Some(id) = &config.mining.provider {
        let chosen = named(id, &survey)?;
        return match chosen.container {
            None => Ok(chosen),
            Some(_) => Err(ChooseError::Container { id: id.clone() }),
        };
    }
    let mut libraries = survey.usable().filter(|entry| entry.container().is_none());
    if !ask {
        return libraries.find_map(chosen).ok_or(ChooseError::None);
    }
    let mut best: Option<(f64, &Entry)> = None;
    let mut reasons = Vec::new();
    for entry in libraries {
        let Some(capabilities) = entry.capabilities() else { continue };
        if !capabilities.supported {
            let why = capabilities.reason.as_deref().unwrap_or("it gives no reason");
            reasons.push(format!("`{}`: {why}", entry.id().unwrap_or_default()));
            continue;
        }
        // Without an estimate it comes last, in the order of the search path.
        let speed = capabilities.estimated_hashrate.unwrap_or(0.0);
        if best.is_none_or(|(fastest, _)| speed > fastest) {
            best = Some((speed, entry));
        }
    }
    match best {
        Some((_, entry)) => chosen(entry).ok_or(ChooseError::None),
        None => {
            reasons.extend(silent(&survey));
            Err(ChooseError::Unsupported { reasons })
        }
    }
}

/// What the plugin says of this machine, and expects to do here: it is asked in a confined child. Nothing where it does not
/// answer soon.
pub fn ask(chosen: &Chosen, options: &Options, config: &Config) -> Option<MiningCapabilities> {
    let probe = probe_options_for(config, machine(units::reaches_cards(&chosen.manifest)));
    // It spares the first minute of a session its steering, and whoever starts what cannot mine some waiting.
    let probe = ProbeOptions { timeout: probe.timeout.min(ESTIMATE_TIME), ..probe };
    let survey = plugins::Options {
        relaxed: options.relax_file_checks || config.plugins.relax_trust,
        probe: Some(probe),
        // It was judged when it was chosen.
        trust: Trust::default(),
    };
    plugins::survey_file(&chosen.path, &survey).capabilities().cloned()
}

/// The plugin of the provider `id` among those of `survey`.
///
/// # Errors
///
/// There is none, or it cannot be used.
pub(super) fn named(id: &str, survey: &plugins::Survey) -> Result<Chosen, ChooseError> {
    let Some(entry) = survey.find(id) else {
        let known = survey.usable().filter_map(Entry::id).map(|id| format!("`{id}`")).collect();
        return Err(ChooseError::Unknown { id: id.to_owned(), known });
    };
    match entry.skipped() {
        Some(reason) => {
            Err(ChooseError::Unusable { id: id.to_owned(), path: entry.path.clone(), reason: reason.clone() })
        }
        None => chosen(entry).ok_or(ChooseError::None),
    }
}

fn probe_options(config: &Config, survey: &plugins::Survey) -> ProbeOptions {
    probe_options_for(config, machine(want_cards(survey)))
}

/// Whether any plugin that may be asked can reach a card: it is told then what the drivers know, as `doctor` tells it.
pub(super) fn want_cards(survey: &plugins::Survey) -> bool {
    survey.usable().filter_map(Entry::manifest).any(units::reaches_cards)
}

/// How plugins are asked about `machine`.
pub(super) fn probe_options_for(config: &Config, machine: HardwareInfo) -> ProbeOptions {
    ProbeOptions {
        timeout: config.plugins.probe_timeout,
        model: config.mining.model.clone().unwrap_or_default(),
        ..ProbeOptions::new(machine)
    }
}

/// This machine; `closely` asks the drivers too, which know the cards' own identifiers and take their time.
pub(super) fn machine(closely: bool) -> HardwareInfo {
    let mut options = hardware::Options::default();
    if !closely {
        options.drivers = hardware::Drivers::Skip;
    }
    hardware::inspect(&options).info
}

/// Provider ids here that speak certificate version `version`. Runs no plugin's code.
pub fn speakers(options: &Options, config: &Config, version: u32) -> Vec<String> {
    let survey = look(options, config, None);
    let manifests = survey.usable().filter_map(Entry::manifest);
    manifests
        .filter(|manifest| manifest.certificate_versions.contains(&version))
        .map(|manifest| manifest.id.clone())
        .collect()
}

/// Makes the provider that `order` asks for. For the confined provider process alone: the plugin's code runs here.
///
/// # Errors
///
/// Why there is none.
pub fn load(order: &Order) -> Result<Provider, Failure> {
    // SAFETY: the provider process has confined itself before it was given an order, and is expendable.
    unsafe { load::open(&order.plugin, order.identity.as_ref(), Some(&order.provider)) }
        .map(|loaded| loaded.provider)
        .map_err(|err| err.failure())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_that_had_no_time_to_answer_is_worth_another_try_and_a_broken_one_is_not() {
        let exit = |code| {
            let reason = Reason { code, reason: "it is so".into(), fix: "do this".into() };
            ChooseError::Unusable { id: "a".into(), path: PathBuf::new(), reason }.exit()
        };
        assert_eq!(exit("timed-out"), Exit::Failed);
        assert_eq!(exit("changed"), Exit::Failed);
        for code in ["crashed", "blocked", "load-failed", "missing"] {
            assert_eq!(exit(code), Exit::Futile, "{code}");
        }
    }

    #[test]
    fn where_nobody_answered_no_reason_is_promised() {
        let said = |reasons: &[&str]| {
            ChooseError::Unsupported { reasons: reasons.iter().map(|&reason| reason.into()).collect() }
                .to_string()
        };
        assert_eq!(said(&[]), "no plugin here supports this machine");
        assert_eq!(said(&["`a`: no"]), "no plugin here supports this machine: `a`: no");
    }
}
