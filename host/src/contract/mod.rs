//! `plugins verify`: the contract as a program. Tries a plugin out, obligation by obligation.
//!
//! ```text
//! file ──look, two probes──> P1-P8
//!   └──trial processes (confined)──events──> record ──judge──> P2, P9-P32
//! ```
//!
//! Each trial is a process of its own, with what the user has granted and no more. What the plugin does in it is told by
//! the process itself, but for the proofs, which are verified here; see `child`.
//!
//! # Limitations
//!
//! - A plugin that is written to deceive its trial can. What must hold for the user's safety is not what is tried here,
//!   but what a session enforces.
//! - A provider with machinery of its own, which takes no jobs, cannot be tried beyond its probe.

mod bench;
mod child;
mod container;
mod judge;
mod obligations;
mod past;
mod probes;
mod proofs;
mod trial;
mod words;

use std::collections::BTreeMap;
use std::path::Path;

use pearl_pow::CertificateVersion;
use pearlbed_plugin_api::{Manifest, Permission};
use serde::Serialize;
use serde_json::{Map, Value};

pub use self::child::run as run_child;
pub use self::obligations::{OBLIGATIONS, Obligation};
pub use self::past::{Refused, refused};
use self::words::{Order, Trial};
use crate::config::Config;
use crate::miner::grants::{Grants, is_container_engine};
use crate::plugins::trust::Trust;
use crate::plugins::{Entry, Options, ProbeOptions, survey_file};
use crate::sandbox::{Policy, SpawnError};

/// The hidden subcommand of a trial's process.
pub const SUBCOMMAND: &str = "__trial";

/// The memory of a provider that gives no hint, in bytes.
const MEMORY_BYTES: u64 = 4 << 30;
/// How much more than its hint it may take: the process has some of its own.
const MEMORY_MORE_BYTES: u64 = 64 << 20;

/// The memory in which it is tried besides, where there is time, in bytes: as far as it goes below its own.
const LESS_MEMORY_BYTES: [u64; 4] = [1 << 30, 512 << 20, 256 << 20, 128 << 20];

/// What to try, and how.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Take minutes instead of seconds.
    pub full: bool,
    /// Settings of the provider's, beside the configuration's.
    pub extra: Map<String, Value>,
    /// How it is probed.
    pub probe: ProbeOptions,
    /// Let the file through whoever owns it.
    pub relaxed: bool,
    /// Whom the user trusts.
    pub trust: Trust,
}

/// How an obligation was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Kept, as far as was seen.
    Pass,
    /// Nothing could be seen of it.
    Untried,
    /// Not kept.
    Fail,
}

/// One thing that was seen.
#[derive(Debug, Clone)]
pub struct Finding {
    id: &'static str,
    state: State,
    words: String,
}

impl Finding {
    fn untried(id: &'static str, words: String) -> Self {
        Self { id, state: State::Untried, words }
    }
}

/// Everything that was seen.
#[derive(Debug, Default)]
pub struct Findings {
    findings: Vec<Finding>,
}

impl Findings {
    fn pass(&mut self, id: &'static str, words: impl Into<String>) {
        self.findings.push(Finding { id, state: State::Pass, words: words.into() });
    }

    fn fail(&mut self, id: &'static str, words: String) {
        self.findings.push(Finding { id, state: State::Fail, words });
    }

    fn has_failed(&self, id: &str) -> bool {
        self.findings.iter().any(|finding| finding.id == id && finding.state == State::Fail)
    }

    #[cfg(test)]
    fn failed(&self) -> Vec<&'static str> {
        self.findings
            .iter()
            .filter(|finding| finding.state == State::Fail)
            .map(|finding| finding.id)
            .collect()
    }

    /// One verdict for each obligation: the worst that was seen of it.
    fn verdicts(self, otherwise: &str) -> Vec<Verdict> {
        let mut worst: BTreeMap<&str, Finding> = BTreeMap::new();
        for finding in self.findings {
            let known = worst.get(finding.id);
            if known.is_none_or(|known| finding.state > known.state) {
                worst.insert(finding.id, finding);
            }
        }
        let verdict = |obligation: &Obligation| {
            let found = worst.remove(obligation.id);
            let found = found.unwrap_or_else(|| Finding::untried(obligation.id, otherwise.to_owned()));
            Verdict {
                id: obligation.id,
                asked: obligation.asked,
                state: found.state,
                finding: crate::text::printable(&found.words).into_owned(),
                fix: (found.state == State::Fail).then_some(obligation.fix),
            }
        };
        OBLIGATIONS.iter().map(verdict).collect()
    }
}

/// How one obligation was found.
#[derive(Debug, Clone, Serialize)]
pub struct Verdict {
    /// Its id.
    pub id: &'static str,
    /// What it asks.
    pub asked: &'static str,
    /// How it was found.
    pub state: State,
    /// What was seen: one printable line.
    pub finding: String,
    /// What its author can do, where it is not kept.
    pub fix: Option<&'static str>,
}

/// What became of all of them.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The provider's id, where the manifest could be read.
    pub id: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// No obligation was found broken.
    pub ok: bool,
    /// Every obligation was tried.
    pub complete: bool,
    /// What it wants and was not granted: it was tried without.
    pub withheld: Vec<String>,
    /// How it does with less memory than its own, as far as that was tried: the most first.
    pub memory: Vec<LessMemory>,
    /// What it printed where it panicked, backtraces included: only where these are asked for ([`ProbeOptions::debug`]).
    /// Not printable: escape it before it is shown.
    pub panics: Vec<String>,
    /// One for each obligation, in order.
    pub obligations: Vec<Verdict>,
}

/// What became of it with less memory. No obligation: it helps its author to a `memory-hint`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LessMemory {
    /// What it was given, in bytes.
    pub bytes: u64,
    /// It mined.
    pub mined: bool,
    /// What was seen: one printable line.
    pub finding: String,
}

/// What happens, for whoever watches.
#[derive(Debug, Clone, Copy)]
pub enum Progress {
    /// It is probed.
    Probes,
    /// It mines jobs of this certificate version.
    Mines(u32),
    /// It is started with strange settings.
    Settings,
    /// It mines within so many bytes of memory.
    LessMemory(u64),
}

/// Tries the plugin in the file at `path`.
///
/// # Errors
///
/// Where no confined process could be started.
pub fn run(
    path: &Path,
    config: &Config,
    plan: &Plan,
    watch: &mut dyn FnMut(Progress),
) -> Result<Report, SpawnError> {
    let mut found = Findings::default();
    watch(Progress::Probes);
    let options =
        Options { relaxed: plan.relaxed, probe: Some(plan.probe.clone()), trust: plan.trust.clone() };
    let probes = [(); 2].map(|()| survey_file(path, &options));
    if crate::plugins::is_data_file(path) {
        let [entry, again] = &probes;
        return Ok(of_container(entry, again));
    }
    probes::judge(&probes, &mut found);
    let [entry, _] = probes;
    let mut tried = Tried::default();
    if let Some(probe) = entry.probe.as_ref().filter(|_| plan.probe.debug) {
        tried.printed(&probe.stderr.text);
    }
    let otherwise = match (why_not(&entry), Bed::new(&entry, config, plan)) {
        (None, Some(bed)) => {
            trials(&bed, plan, &mut found, &mut tried, watch)?;
            "it did not come so far".to_owned()
        }
        // `detect` knows no settings: with some it may do what it would not by itself.
        (Some(why), Some(bed)) if entry.is_usable() && !bed.order.extra.is_empty() => {
            let mut with_settings = Findings::default();
            trials(&bed, plan, &mut with_settings, &mut tried, watch)?;
            if with_settings.has_failed("P9") {
                bed.try_out(Trial::Load, &mut found)?;
            } else {
                found.findings.extend(with_settings.findings);
            }
            why
        }
        (Some(why), Some(bed)) if entry.is_usable() => {
            // To compare what it says of itself.
            bed.try_out(Trial::Load, &mut found)?;
            why
        }
        (why, _) => why.unwrap_or_else(|| "it cannot be used".to_owned()),
    };
    let obligations = found.verdicts(&otherwise);
    Ok(Report {
        id: entry.id().map(str::to_owned),
        version: entry.manifest().map(|manifest| manifest.version.clone()),
        ok: obligations.iter().all(|verdict| verdict.state != State::Fail),
        complete: obligations.iter().all(|verdict| verdict.state != State::Untried),
        withheld: tried.withheld,
        memory: tried.memory,
        panics: tried.panics,
        obligations,
    })
}

/// The report on a provider that is a container's data file.
fn of_container(entry: &Entry, again: &Entry) -> Report {
    let found = container::judge(entry, again).into_iter();
    let obligations: Vec<Verdict> = found
        .map(|(id, asked, state, finding, fix)| Verdict {
            id,
            asked,
            state,
            finding: crate::text::printable(&finding).into_owned(),
            fix,
        })
        .collect();
    Report {
        id: entry.id().map(str::to_owned),
        version: entry.manifest().map(|manifest| manifest.version.clone()),
        ok: obligations.iter().all(|verdict| verdict.state != State::Fail),
        complete: obligations.iter().all(|verdict| verdict.state != State::Untried),
        withheld: Vec::new(),
        memory: Vec::new(),
        panics: Vec::new(),
        obligations,
    }
}

/// Why it cannot be tried beyond its probe.
fn why_not(entry: &Entry) -> Option<String> {
    if let Some(reason) = entry.skipped() {
        return Some(format!("it cannot be used: {}", reason.reason));
    }
    match entry.capabilities() {
        Some(answer) if answer.supported => None,
        Some(answer) => {
            let why = answer.reason.as_deref().unwrap_or("it gives no reason");
            Some(format!("it cannot mine on this machine: {why}"))
        }
        None => Some("it was not probed".to_owned()),
    }
}

/// What every trial of one plugin has in common.
struct Bed<'a> {
    manifest: &'a Manifest,
    grants: Grants,
    order: Order,
    policy: Policy,
    memory_bytes: u64,
    /// Have panics bring a backtrace.
    debug: bool,
    /// The manifest as the file shows it.
    shown: Option<Value>,
}

impl<'a> Bed<'a> {
    fn new(entry: &'a Entry, config: &Config, plan: &Plan) -> Option<Self> {
        let (look, manifest) = (entry.look.as_ref()?, entry.manifest()?);
        let mut user = config.mining.grants.get(&manifest.id).cloned().unwrap_or_default();
        if !config.mining.session.container_engines {
            user.retain(|permission| !is_container_engine(permission));
        }
        let grants = Grants::new(&manifest.permissions, &user);
        let mut extra = config.mining.extra.clone();
        extra.retain(|key, _| grants.shows(key));
        extra.extend(plan.extra.clone());
        let memory_bytes = memory_of(manifest);
        let mut policy = grants.policy(&look.real_path);
        policy.limits.memory_bytes = Some(memory_bytes);
        policy.limits.dies_first = true;
        Some(Self {
            manifest,
            grants,
            order: Order {
                path: look.real_path.clone(),
                identity: look.identity?,
                id: manifest.id.clone(),
                extra,
                trial: Trial::Load,
            },
            policy,
            memory_bytes,
            debug: plan.probe.debug,
            shown: look.section.as_deref().and_then(|section| serde_json::from_slice(section).ok()),
        })
    }

    /// One trial, judged; what it printed as errors.
    fn try_out(&self, trial: Trial, found: &mut Findings) -> Result<String, SpawnError> {
        let order = Order { trial, ..self.order.clone() };
        let record = trial::run(SUBCOMMAND, &order, &self.policy, self.memory_bytes, self.debug)?;
        judge::judge(&record, self.memory_bytes, self.shown.as_ref(), found);
        Ok(record.stderr.text)
    }

    /// Mines for a moment within `bytes` of memory.
    fn with_less(&self, bytes: u64, certificate: u32) -> Result<LessMemory, SpawnError> {
        let trial = Trial::Mine { certificate, prove_ms: 1_000, undeclared: None };
        let order = Order { trial, ..self.order.clone() };
        let mut policy = self.policy.clone();
        policy.limits.memory_bytes = Some(bytes);
        let record = trial::run(SUBCOMMAND, &order, &policy, bytes, false)?;
        let mut found = Findings::default();
        judge::judge(&record, bytes, self.shown.as_ref(), &mut found);
        let worst = found.findings.iter().find(|finding| finding.state == State::Fail);
        let proved = found.findings.iter().find(|finding| finding.id == "P11");
        let mined = proved.is_some_and(|proved| proved.state == State::Pass);
        let words = match (worst, proved) {
            (Some(worst), _) => worst.words.clone(),
            (None, Some(proved)) => proved.words.clone(),
            (None, None) => "it did not come so far".to_owned(),
        };
        Ok(LessMemory { bytes, mined, finding: crate::text::printable(&words).into_owned() })
    }
}

/// What the trials told beside verdicts.
#[derive(Default)]
struct Tried {
    /// What the provider wants and was not granted.
    withheld: Vec<String>,
    memory: Vec<LessMemory>,
    panics: Vec<String>,
}

impl Tried {
    /// Keeps what was printed as errors, from the first panic on.
    fn printed(&mut self, text: &str) {
        let lines = text.split_inclusive('\n').skip_while(|line| !line.contains(" panicked at "));
        let text: String = lines.collect();
        if !text.is_empty() {
            self.panics.push(text);
        }
    }
}

/// Runs every trial.
fn trials(
    bed: &Bed<'_>,
    plan: &Plan,
    found: &mut Findings,
    tried: &mut Tried,
    watch: &mut dyn FnMut(Progress),
) -> Result<(), SpawnError> {
    tried.withheld = bed.grants.withheld_text();
    let mut try_out = |trial, found: &mut Findings| {
        let printed = bed.try_out(trial, found)?;
        if bed.debug {
            tried.printed(&printed);
        }
        Ok::<_, SpawnError>(())
    };
    let declared = &bed.manifest.certificate_versions;
    let undeclared = (901..).find(|version| !declared.contains(version));
    for (at, certificate) in versions(bed.manifest).into_iter().enumerate() {
        watch(Progress::Mines(certificate));
        let prove_ms = match (plan.full, at) {
            (true, _) => 20_000,
            (false, 0) => 3_000,
            (false, _) => 1_500,
        };
        let undeclared = undeclared.filter(|_| at == 0);
        try_out(Trial::Mine { certificate, prove_ms, undeclared }, found)?;
    }
    // Settings say nothing of a provider that ends its process with any.
    if !found.has_failed("P24") && !found.has_failed("P25") {
        watch(Progress::Settings);
        try_out(Trial::Settings, found)?;
    }
    if plan.full && !found.has_failed("P11") && !found.has_failed("P25") {
        for bytes in LESS_MEMORY_BYTES.into_iter().filter(|bytes| *bytes < bed.memory_bytes) {
            let Some(&certificate) = versions(bed.manifest).first() else { break };
            watch(Progress::LessMemory(bytes));
            let with_less = bed.with_less(bytes, certificate)?;
            let mined = with_less.mined;
            tried.memory.push(with_less);
            // With less still it would do no better.
            if !mined {
                break;
            }
        }
    }
    Ok(())
}

/// The certificate versions to try: newest first, so that what is tried once is tried with the newest.
fn versions(manifest: &Manifest) -> Vec<u32> {
    let known = CertificateVersion::ALL.into_iter().rev().map(CertificateVersion::number);
    known.filter(|version| manifest.certificate_versions.contains(version)).collect()
}

/// What the provider may use, by its own hint.
fn memory_of(manifest: &Manifest) -> u64 {
    let hints = manifest.permissions.iter().filter_map(|permission| match permission {
        Permission::MemoryHint(bytes) => Some(bytes.saturating_add(MEMORY_MORE_BYTES)),
        _ => None,
    });
    hints.max().unwrap_or(MEMORY_BYTES)
}
