//! What one miner is to be: which plugin, with which settings, and what it may.
//!
//! A plan is made from the configuration and the plugins that are there, and is compared with the one in force when the
//! configuration is read again: equal plans are the same miner.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use pearl_pow::CertificateVersion;
use pearlbed_plugin_api::{Manifest, MiningCapabilities, Permission};

pub use super::choice::LeftOut;
use super::choice::{self, Choice};
use super::grants::Grants;
use super::options::Options;
use super::plugin::{self, ChooseError, Chosen};
use super::process::Launcher;
use super::provider::Order;
use super::restart::RestartPolicy;
use crate::config::{Config, MinerSection, keys};
use crate::plugins::settings;
use crate::plugins::trust::{Signed, Trust};

/// One miner, before it runs.
#[derive(Debug, Clone, PartialEq)]
pub struct MinerPlan {
    /// Its name in this session: unique, and what commands call it by.
    pub name: String,
    /// The plugin that it runs.
    pub chosen: Chosen,
    /// What it wants and what it may.
    pub grants: Grants,
    /// What the provider process is told to do.
    pub order: Order,
    /// Hashes per second that the provider expects of itself here, where it was asked.
    pub estimate: Option<f64>,
    /// How far it stands back for other programs, 0 to 19.
    pub nice: u8,
    /// The cards that it mines on, by their addresses on the bus; empty where none was named.
    pub cards: Vec<String>,
    /// Degrees Celsius at which one of its cards has it rest.
    pub temperature_limit: Option<u8>,
    /// Have panics of the plugin bring a backtrace.
    pub debug: bool,
    /// Time between two shares to aim at.
    pub share_every: Duration,
    /// How long it waits before it is started again the first time after it ended unasked.
    pub restart_wait: Duration,
    /// The program that it is, where it is no plugin.
    pub program: Option<Program>,
    /// Others that could mine in its place, where the host chose it by what it expects of itself.
    pub rivals: Vec<Self>,
    /// Settings that were written for other programs' machinery, which it does not hear of.
    pub passed_over: Vec<String>,
}

/// A program that mines by itself and came to the miner port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Which language it speaks, in a word.
    pub dialect: &'static str,
    /// Name and version, as it says; cleaned.
    pub agent: String,
    /// Where it is: `unix`, `container:NAME`, or an address.
    pub address: String,
    /// Its process, where the socket told.
    pub pid: Option<u32>,
}

impl Program {
    /// The miner whose container it is in, where it is in one.
    pub fn container(&self) -> Option<&str> {
        self.address.strip_prefix("container:")
    }
}

/// What a program at the port is called where a provider's id stands.
pub const PROGRAM: &str = "miner-port";

impl MinerPlan {
    /// The plan for `program`, called `name`: whatever this host can verify is offered to it, with a share every
    /// `share_every`.
    pub fn of_program(name: String, program: Program, share_every: Duration) -> Self {
        let versions = CertificateVersion::ALL.map(CertificateVersion::number);
        let manifest: Manifest = serde_json::from_value(serde_json::json!({
            "id": PROGRAM, "version": "", "plugin_api": [], "certificate_versions": versions,
        }))
        .expect("every member that a manifest must have is there");
        let chosen = Chosen {
            path: PathBuf::new(),
            identity: None,
            manifest,
            container: None,
            signed: Signed::default(),
            relaxed: false,
            trust: Trust::default(),
            estimate: None,
        };
        let plan = Self::new(name, chosen, &[], &serde_json::Map::new());
        Self { share_every, program: Some(program), ..plan }
    }

    /// The plan for `chosen`, called `name`, with the provider's own settings `extra` and the permissions that `user` has
    /// granted.
    pub fn new(
        name: String,
        chosen: Chosen,
        user: &[Permission],
        extra: &serde_json::Map<String, serde_json::Value>,
    ) -> Self {
        let grants = Grants::new(&chosen.manifest.permissions, user);
        let machinery = grants.has_machinery();
        let mut extra = extra.clone();
        extra.retain(|key, _| grants.shows(key));
        extra.retain(|key, _| machinery || !settings::passes_over(&chosen.manifest, key));
        let order = Order {
            plugin: chosen.path.clone(),
            identity: chosen.identity,
            provider: chosen.manifest.id.clone(),
            // Of no library's business: work and proofs go by the host alone. The contract has the fields.
            wallet_address: String::new(),
            pearld_rpc_url: String::new(),
            extra,
        };
        let estimate = chosen.estimate;
        let (nice, share_every) = (keys::NICE, super::vardiff::SPACING);
        let restart_wait = RestartPolicy::FIRST_WAIT;
        let (debug, program, rivals, passed_over) = (false, None, Vec::new(), Vec::new());
        let (cards, temperature_limit) = (Vec::new(), None);
        Self {
            name,
            chosen,
            grants,
            order,
            estimate,
            nice,
            cards,
            temperature_limit,
            debug,
            share_every,
            restart_wait,
            program,
            rivals,
            passed_over,
        }
    }

    /// The plan for the miner `section` of the configuration, on `devices` (addresses on the bus) where it names any.
    ///
    /// # Errors
    ///
    /// The provider's manifest says that it would not take one of the settings.
    fn of_section(
        section: MinerSection,
        chosen: Chosen,
        devices: &[String],
        config: &Config,
    ) -> Result<Self, LeftOut> {
        let mut section = section;
        let passes_over = |key: &str| settings::passes_over(&chosen.manifest, key);
        let passed_over = section.extra.keys().filter(|key| passes_over(key)).cloned().collect();
        section.extra.retain(|key, _| !passes_over(key));
        check_settings(&section, &chosen)?;
        let mut user = config.mining.grants.get(&chosen.manifest.id).cloned().unwrap_or_default();
        user.extend(section.grants);
        if !config.mining.session.container_engines {
            user.retain(|permission| !super::grants::is_container_engine(permission));
        }
        let mut extra = section.extra;
        if !devices.is_empty() {
            extra.insert("devices".into(), devices.into());
        }
        let plan = Self::new(section.name, chosen, &user, &extra);
        let restart_wait = config.mining.session.restart_wait;
        Ok(Self {
            nice: section.nice,
            cards: devices.to_vec(),
            temperature_limit: section.temperature_limit,
            debug: config.plugins.debug,
            restart_wait,
            passed_over,
            ..plan
        })
    }

    /// `text`, which speaks of a provider, as it is to be said of this miner.
    pub fn in_its_words(&self, text: String) -> String {
        if self.program.is_none() { text } else { text.replace("the provider", "the program") }
    }

    /// Whether `other` is the same miner: what it expects of itself may be measured anew.
    pub fn is_same(&self, other: &Self) -> bool {
        let without = |plan: &Self| {
            // Who is trusted says who may take its place, and not who it is.
            let chosen = Chosen { estimate: None, trust: Trust::default(), ..plan.chosen.clone() };
            Self { estimate: None, chosen, rivals: Vec::new(), passed_over: Vec::new(), ..plan.clone() }
        };
        without(self) == without(other)
    }

    /// The provider's id.
    pub fn provider(&self) -> &str {
        &self.chosen.manifest.id
    }

    /// What starts its process.
    pub fn launcher(&self) -> Launcher {
        let mut policy = self.grants.policy(&self.chosen.path);
        policy.limits.nice = Some(self.nice);
        Launcher {
            title: format!("pearlbed-miner: {}", self.name),
            order: self.order.clone(),
            policy,
            debug: self.debug,
            relaxed: self.chosen.relaxed,
            trust: self.chosen.trust.clone(),
        }
    }
}

/// The first of the settings `extra` that the provider would not take, by its own word.
pub fn setting_mistake(
    chosen: &Chosen,
    extra: &serde_json::Map<String, serde_json::Value>,
) -> Option<settings::Mistake> {
    settings::check(&chosen.manifest, extra, keys::is_own_extra).into_iter().next()
}

/// Holds the settings of `section` against what the provider says that it takes.
fn check_settings(section: &MinerSection, chosen: &Chosen) -> Result<(), LeftOut> {
    let Some(mistake) = setting_mistake(chosen, &section.extra) else { return Ok(()) };
    let key = match section.line {
        None => format!("mining.extra.{}", mistake.key),
        Some(line) => format!("extra.{} of the miner in line {line}", mistake.key),
    };
    let why = ChooseError::Setting { key, problem: mistake.problem, fix: mistake.fix };
    Err(LeftOut { name: section.name.clone(), why })
}

/// The miners that `config` asks for, in its order; none only where a miner port was asked for and no provider was.
///
/// No plugin's code runs here; where several could be meant, each is probed in a confined child.
///
/// # Errors
///
/// [`ChooseError`]: not one of them can be run.
pub fn plans(options: &Options, config: &Config) -> Result<Plans, ChooseError> {
    let asked = config.setting("mining.provider").is_some()
        || config.mining.miners.iter().any(|section| section.line.is_some());
    if options.port && !asked {
        return Ok(Plans::default());
    }
    // Two miners of one plugin need it asked once.
    let mut answers: HashMap<PathBuf, Option<MiningCapabilities>> = HashMap::new();
    let mut plans = Plans::default();
    for choice in choice::choices(options, config)? {
        match choice {
            Ok(Choice { section, chosen, .. }) if chosen.container.is_some() => {
                match check_settings(&section, &chosen) {
                    Ok(()) => plans.containers.push((section, chosen)),
                    Err(left_out) => plans.left_out.push(left_out),
                }
            }
            Ok(Choice { section, mut chosen, devices, rivals }) => {
                chosen.trust = Trust::of(&config.plugins, Some(&options.home));
                if chosen.estimate.is_none() {
                    let ask = || plugin::ask(&chosen, options, config);
                    let answer = answers.entry(chosen.path.clone()).or_insert_with(ask);
                    chosen.estimate = answer.as_ref().and_then(|answer| answer.estimated_hashrate);
                    if let Some(answer) =
                        answer.as_ref().filter(|answer| !answer.supported && !options.anyway)
                    {
                        let reason = answer.reason.as_deref().unwrap_or("it gives no reason");
                        let id = chosen.manifest.id.clone();
                        let why = ChooseError::Declined { id, reason: crate::text::foreign(reason) };
                        plans.left_out.push(LeftOut { name: section.name, why });
                        continue;
                    }
                }
                match MinerPlan::of_section(section, chosen, &devices, config) {
                    Ok(plan) => {
                        // Who would not take a setting cannot take its place.
                        let rivals = rivals.into_iter().filter_map(|rival| {
                            let Choice { section, mut chosen, devices, .. } = rival;
                            chosen.trust = Trust::of(&config.plugins, Some(&options.home));
                            MinerPlan::of_section(section, chosen, &devices, config).ok()
                        });
                        plans.miners.push(MinerPlan { rivals: rivals.collect(), ..plan });
                    }
                    Err(left_out) => plans.left_out.push(left_out),
                }
            }
            Err(left_out) => plans.left_out.push(left_out),
        }
    }
    if plans.miners.is_empty() && plans.containers.is_empty() && !plans.left_out.is_empty() {
        return Err(plans.left_out.swap_remove(0).why);
    }
    Ok(plans)
}

/// The miners of a session, and those that it goes on without.
#[derive(Debug, Default)]
pub struct Plans {
    /// Those that can be run.
    pub miners: Vec<MinerPlan>,
    /// Those that are containers, each with the data file that was chosen for it.
    pub containers: Vec<(MinerSection, Chosen)>,
    /// Those that cannot.
    pub left_out: Vec<LeftOut>,
}
