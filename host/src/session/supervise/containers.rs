//! The miners of a session that are containers: each with its keeper, its door at the miner port and its report.
//!
//! What a container's workers hand in comes by the port, as with every program there. Here is what concerns the container
//! as a whole: how far it is, what it prints, whether it is given up.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pearl_pow::diagnosis::{Mistake, diagnose};
use pearl_pow::verify::{Job, verify_canonical};
use pearl_pow::{Header, Target};
use pearlbed_plugin_api::GpuInfo;
use serde_json::{Map, Value};
use tokio::sync::mpsc;

use super::crew::Crew;
use crate::config::{Config, MinerSection};
use crate::container::keeper::{Charge, Event, Keeper, What};
use crate::container::recipe::{self, Recipe, Surroundings, Unfit};
use crate::container::report::ContainerReport;
use crate::container::trouble::Trouble;
use crate::exit::Exit;
use crate::explain::Explain;
use crate::hardware;
use crate::miner::Options;
use crate::miner::plugin::Chosen;
use crate::plugins::container::{DataFile, detect};
use crate::session::announce::MinerNote;
use crate::session::log::{Level, Speaker};
use crate::session::paused::Paused;

/// Events of all containers that may wait.
const EVENTS_MAX: usize = 256;
/// How long the session's own gateway may take to end. A proof under way was waited for before.
const GATEWAY_GRACE: Duration = Duration::from_secs(10);

/// Why a container cannot be run.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message is its variant's documentation")]
pub enum ContainerError {
    #[error("the container `{miner}` {problem}")]
    Unfit { miner: String, problem: String, fix: String },
    #[error("the container `{miner}` cannot mine on this machine: {reason}")]
    Unsupported { miner: String, reason: String },
    #[error("the container `{miner}` is given up: {what}")]
    GivenUp { miner: String, what: String, fix: String },
    #[error("the container `{miner}` cannot be looked after")]
    Thread {
        miner: String,
        #[source]
        err: std::io::Error,
    },
}

impl Explain for ContainerError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Unfit { fix, .. } | Self::GivenUp { fix, .. } => Some(fix.clone()),
            Self::Unsupported { .. } => Some(crate::miner::plugin::DECLINED.into()),
            Self::Thread { err, .. } => crate::remedy::for_process(err),
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Unfit { .. } => Exit::Futile,
            Self::Unsupported { .. } | Self::GivenUp { .. } | Self::Thread { .. } => Exit::Failed,
        }
    }
}

/// A container that is to be run.
#[derive(Debug)]
pub(super) struct Planned {
    recipe: Recipe,
    file: Arc<DataFile>,
    chosen: Chosen,
    extra: Map<String, Value>,
    limit: HeatLimit,
}

/// How hot the cards of a container may get.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct HeatLimit {
    /// Their addresses on the bus; empty where none was named.
    pub cards: Vec<String>,
    /// Degrees Celsius at which one of them has its workers rest.
    pub degrees: Option<u8>,
}

impl Planned {
    /// The miner's name.
    pub fn miner(&self) -> &str {
        &self.recipe.miner
    }

    /// Its data file, as it was chosen.
    pub fn chosen(&self) -> &Chosen {
        &self.chosen
    }

    /// The variable of the user's that holds a secret which it is given.
    pub fn token_variable(&self) -> Option<&str> {
        self.recipe.token_variable.as_deref()
    }

    /// What is to be run.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// Its data file.
    pub fn file(&self) -> &DataFile {
        &self.file
    }

    /// The same provider, run as `recipe` says.
    pub fn as_well(&self, recipe: Recipe) -> Self {
        Self {
            recipe,
            file: Arc::clone(&self.file),
            chosen: self.chosen.clone(),
            extra: self.extra.clone(),
            limit: self.limit.clone(),
        }
    }

    /// Its settings.
    pub fn extra(&self) -> &Map<String, Value> {
        &self.extra
    }

    /// What is told of it before it is started.
    pub fn note(&self) -> MinerNote {
        MinerNote {
            name: self.recipe.miner.clone(),
            provider: self.file.manifest.id.clone(),
            version: self.file.manifest.version.clone(),
            plugin: crate::text::printable_path(&self.chosen.path),
            granted: Vec::new(),
            withheld: Vec::new(),
            container: Some(self.recipe.image.clone()),
        }
    }
}

/// What is to be run for each of `containers`.
///
/// # Errors
///
/// The first that cannot be run as it is configured, or on this machine.
pub(super) fn plan(
    containers: Vec<(MinerSection, Chosen)>,
    options: &Options,
    config: &Config,
) -> Result<Vec<Planned>, ContainerError> {
    if containers.is_empty() {
        return Ok(Vec::new());
    }
    let cards = |(_, chosen): &(_, Chosen)| {
        chosen.container.as_ref().is_some_and(|file| !file.requires.vendor.is_empty())
    };
    let mut look = hardware::Options::default();
    if !containers.iter().any(cards) {
        look.drivers = hardware::Drivers::Skip;
    }
    let machine = hardware::inspect(&look).info;
    let around = Surroundings {
        home: &options.home,
        env: &options.env,
        hardware: &machine,
        section: &config.mining.container,
    };
    let mut planned = Vec::new();
    for (section, chosen) in containers {
        let Some(file) = chosen.container.clone() else { continue };
        let miner = section.name.clone();
        // A folder of the user's own may be called as he likes.
        let folder = file.run.model_folder.as_ref();
        let own = folder.is_some_and(|folder| section.extra.contains_key(&folder.setting));
        let model = section.extra.get("model").and_then(Value::as_str).filter(|_| !own);
        let answer = detect(&file, &machine, "", model.unwrap_or_default());
        if !answer.supported && !options.anyway {
            let reason = answer.reason.unwrap_or_default();
            return Err(ContainerError::Unsupported { miner, reason });
        }
        let recipe = recipe::resolve(&file, &miner, &section.extra, &section.devices, &around);
        let recipe =
            recipe.map_err(|Unfit { problem, fix }| ContainerError::Unfit { miner, problem, fix })?;
        let named = |(index, gpu): &(usize, &GpuInfo)| section.devices.iter().any(|one| one.is(*index, gpu));
        let cards = machine.gpus.iter().enumerate().filter(named);
        let cards = cards.filter_map(|(_, gpu)| gpu.pci_address.clone()).collect();
        let limit = HeatLimit { cards, degrees: section.temperature_limit };
        planned.push(Planned { recipe, file, chosen, extra: section.extra, limit });
    }
    Ok(planned)
}

/// One container.
#[derive(Debug)]
struct One {
    planned: Planned,
    keeper: Keeper,
    report: ContainerReport,
    /// When the reason of a refused proof of its was looked for last, and whether it was told.
    refused: (Option<Instant>, bool),
    /// It has ended, as it was to.
    ended: bool,
    given_up: Option<Trouble>,
}

/// What follows from an event.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Lines for the log.
    pub lines: Vec<(Level, Speaker, String)>,
    /// What one is at, where that is news.
    pub doing: Option<String>,
    /// What the session's record says has changed.
    pub moved: bool,
    /// One was given up, and whether that is the session's own gateway, without which nothing is mined.
    pub gave_up: bool,
    /// See `gave_up`.
    pub is_gateway: bool,
    /// One has ended, as it was to.
    pub ended: bool,
    /// The miner whose container runs no more.
    pub down: Option<String>,
}

/// The containers.
#[derive(Debug)]
pub(super) struct Containers {
    all: Vec<One>,
    ending: bool,
}

impl Containers {
    /// Keepers for `planned`, and for the session's own `gateway`; nothing is started before [`Self::go`] and
    /// [`Self::go_gateway`]. `secrets` are variables that no engine may see, and `paused` are to rest.
    ///
    /// # Errors
    ///
    /// Where a keeper cannot be started.
    pub fn new(
        planned: Vec<Planned>,
        gateway: Option<Planned>,
        options: &Options,
        config: &Config,
        secrets: &[&str],
        paused: &Paused,
    ) -> Result<(Self, mpsc::Receiver<Event>), ContainerError> {
        let (events, heard) = mpsc::channel(EVENTS_MAX);
        let planned: Vec<Planned> = gateway.into_iter().chain(planned).collect();
        let miners: Vec<String> = planned.iter().map(|one| one.recipe.miner.clone()).collect();
        // What one is given as a file is nobody else's to see.
        let tokens = planned.iter().filter_map(|one| one.recipe.token_variable.as_deref());
        let names: Vec<&str> = secrets.iter().copied().chain(tokens).collect();
        let secrets: Vec<OsString> = names.iter().map(Into::into).collect();
        let hidden: Vec<String> =
            names.iter().filter_map(|name| options.env.var(name)).map(str::to_owned).collect();
        let mut all = Vec::new();
        for one in planned {
            let charge = Charge {
                recipe: one.recipe.clone(),
                provider: one.file.manifest.id.clone(),
                section: config.mining.container.clone(),
                env: options.env.clone(),
                secrets: secrets.clone(),
                hidden: hidden.clone(),
                miners: miners.clone(),
                rests: !one.recipe.is_gateway() && paused.contains(&one.recipe.miner),
            };
            let miner = one.recipe.miner.clone();
            let keeper =
                Keeper::start(charge, events.clone()).map_err(|err| ContainerError::Thread { miner, err })?;
            let report = ContainerReport { miner: one.recipe.miner.clone(), ..ContainerReport::default() };
            all.push(One {
                planned: one,
                keeper,
                report,
                refused: (None, false),
                ended: false,
                given_up: None,
            });
        }
        Ok((Self { all, ending: false }, heard))
    }

    /// Those that mine.
    fn miners(&self) -> impl Iterator<Item = &One> {
        self.all.iter().filter(|one| !one.planned.recipe.is_gateway())
    }

    /// The session's own gateway.
    fn gateway(&self) -> Option<&One> {
        self.all.iter().find(|one| one.planned.recipe.is_gateway())
    }

    /// Whether none mines.
    pub fn is_empty(&self) -> bool {
        self.miners().next().is_none()
    }

    /// There is a job for certificate `version`, and the port listens. Said again, it changes nothing. Answers why none of
    /// them mines it, where none does.
    pub fn go(&self, version: u32) -> Option<String> {
        self.miners().for_each(|one| one.keeper.go(version));
        let makes = |one: &&One| one.planned.recipe.certificates.contains(&version);
        let first = self.miners().next().filter(|_| !self.miners().any(|one| makes(&one)))?;
        let list: Vec<String> = first.planned.recipe.certificates.iter().map(u32::to_string).collect();
        Some(format!(
            "the network wants proofs for certificate {version}, and the container {} makes those for {}",
            first.planned.miner(),
            list.join(", ")
        ))
    }

    /// The session's own gateway is wanted, where there is one: without it there is never a job.
    pub fn go_gateway(&self) {
        self.gateway().into_iter().for_each(|one| one.keeper.go(0));
    }

    /// The container of the miner `name` is to be ended and started again; answers whether there is one.
    pub fn restart(&self, name: &str) -> bool {
        let one = self.all.iter().find(|one| one.planned.miner() == name);
        one.inspect(|one| one.keeper.restart()).is_some()
    }

    /// Which of those that mine are meant by `name`; all of them without one.
    pub fn meant(&self, name: Option<&str>) -> Vec<String> {
        let names = self.miners().map(|one| one.planned.miner());
        names.filter(|one| name.is_none_or(|name| name == *one)).map(str::to_owned).collect()
    }

    /// The containers of `names` are to be ended and to rest, or rest no longer.
    pub fn rest(&self, names: &[String], rests: bool) {
        for one in self.miners().filter(|one| names.iter().any(|name| name == one.planned.miner())) {
            if rests { one.keeper.rest() } else { one.keeper.wake() }
        }
    }

    /// Whether all that mine rest.
    pub fn all_rest(&self, paused: &Paused) -> bool {
        self.miners().all(|one| paused.contains(one.planned.miner()))
    }

    /// Those that mine are to end within `grace`.
    pub fn stop(&mut self, grace: Duration) {
        self.ending = true;
        self.miners().for_each(|one| one.keeper.stop(grace));
    }

    /// The session's own gateway is to end: nobody needs it any more. Answers whether there is one that has not.
    pub fn stop_gateway(&self) -> bool {
        let one = self.gateway().filter(|one| !one.ended);
        one.inspect(|one| one.keeper.stop(GATEWAY_GRACE)).is_some()
    }

    /// Whether all that mine have ended, as they were to.
    pub fn are_down(&self) -> bool {
        self.miners().all(|one| one.ended)
    }

    /// What of `wanted` is not as it runs, by the miners' names.
    pub fn changed(&self, wanted: &[Planned]) -> Vec<String> {
        let runs = |name: &str| self.miners().find(|one| one.planned.miner() == name);
        let mut names: Vec<String> = self
            .miners()
            .map(|one| one.planned.miner())
            .filter(|name| wanted.iter().all(|one| one.miner() != *name))
            .map(str::to_owned)
            .collect();
        let other = |one: &&Planned| {
            runs(one.miner()).is_none_or(|runs| {
                let planned = &runs.planned;
                planned.recipe != one.recipe
                    || planned.file.manifest != one.file.manifest
                    || planned.limit != one.limit
            })
        };
        names.extend(wanted.iter().filter(other).map(|one| one.miner().to_owned()));
        names
    }

    /// Why the first was given up, where all that mine are, or nothing comes to them.
    pub fn given_up(&self) -> Option<ContainerError> {
        let gateway = self.gateway().filter(|one| one.given_up.is_some());
        if gateway.is_none() && self.miners().any(|one| one.given_up.is_none()) {
            return None;
        }
        let one = gateway.or(self.miners().next())?;
        let Trouble { what, fix, .. } = one.given_up.clone()?;
        Some(ContainerError::GivenUp { miner: one.planned.miner().to_owned(), what, fix })
    }

    /// Something came from a keeper.
    pub fn heed(&mut self, event: Event) -> Outcome {
        let mut outcome = Outcome::default();
        let many = self.all.len() > 1;
        let Some(one) = self.all.iter_mut().find(|one| one.planned.miner() == event.miner) else {
            return outcome;
        };
        let named = |text: String| if many { format!("[{}] {text}", event.miner) } else { text };
        match event.what {
            What::Line(grave, text) => {
                let level = if grave { Level::Warn } else { Level::Info };
                outcome.lines.push((level, Speaker::Supervisor, named(text)));
            }
            What::Printed(text) => outcome.lines.push((Level::Info, Speaker::Output, named(text))),
            What::Stands(report) => {
                let shown = |report: &ContainerReport| (report.endpoint.clone(), report.container_id.clone());
                outcome.moved = shown(&report) != shown(&one.report);
                if one.report.container_id.is_some() && report.container_id.is_none() {
                    outcome.down = Some(event.miner.clone());
                }
                let is_news = report.sentence != one.report.sentence;
                outcome.doing = is_news.then(|| format!("{}: {}", event.miner, report.sentence));
                if report.phase != "failed" {
                    one.given_up = None;
                }
                one.report = *report;
            }
            What::GivenUp(trouble) => {
                one.given_up = Some(trouble);
                outcome.gave_up = true;
                outcome.is_gateway = one.planned.recipe.is_gateway();
            }
            What::Ended => {
                one.ended = true;
                outcome.ended = true;
            }
        }
        outcome
    }

    /// Tells each keeper what is seen of its workers; about once a second.
    pub fn look(&self, crew: &Crew, now: Instant) {
        for one in &self.all {
            let own = crew.iter().filter(|miner| {
                let program = miner.plan().program.as_ref();
                program.is_some_and(|program| program.container() == Some(one.planned.miner()))
            });
            let polls: Vec<u64> = own.filter_map(crate::miner::Miner::polls).collect();
            let polled = polls.iter().any(|polls| *polls > 0).then_some(now);
            one.keeper.seen_at_port(polls.len() as u64, polled);
        }
    }

    /// The data file of the container of the miner called `name`.
    pub fn file(&self, name: &str) -> Option<&DataFile> {
        let one = self.all.iter().find(|one| one.planned.miner() == name)?;
        Some(&one.planned.file)
    }

    /// How hot the cards of the container of the miner called `name` may get.
    pub fn limit(&self, name: &str) -> Option<&HeatLimit> {
        self.all.iter().find(|one| one.planned.miner() == name).map(|one| &one.planned.limit)
    }

    /// A proof of the container of the miner `name` was refused, and lies in the file `kept`: a line, where its image is too
    /// old for the network. It is looked for once a minute at most, and told once.
    pub fn refused(&mut self, name: &str, kept: &Path, now: Instant) -> Option<String> {
        const EVERY: Duration = Duration::from_secs(60);
        let one = self.all.iter_mut().find(|one| one.planned.miner() == name)?;
        let (looked, told) = one.refused;
        if told || looked.is_some_and(|at| now.saturating_duration_since(at) < EVERY) {
            return None;
        }
        one.refused.0 = Some(now);
        let text = crate::owned::read(kept).ok()?;
        let file = crate::work::proofs::read_file(&text).ok()?.found;
        let job = Job {
            header: Header::from_bytes(file.job.header),
            target: Some(Target::from_le_bytes(file.job.target)),
            certificate: file.job.certificate_version.try_into().ok()?,
            rank_penalty: file.job.rank_penalty,
        };
        let rejection = verify_canonical(&job, &file.proof).err()?;
        let Mistake::SeedRule { .. } = diagnose(&job, &file.proof, &rejection)?.mistake else { return None };
        one.refused.1 = true;
        let image = &one.report.image;
        Some(format!(
            "the container mines under the seed rule of other certificates, and none of its proofs counts: this image is too \
             old ({image}); get a newer one"
        ))
    }

    /// Their reports.
    pub fn reports(&self) -> Vec<ContainerReport> {
        self.all.iter().map(|one| one.report.clone()).collect()
    }

    /// The first that serves or runs, as the session's record names it.
    pub fn first(&self) -> Option<&ContainerReport> {
        let serves = self.miners().find(|one| one.report.endpoint.is_some());
        serves.or(self.miners().next()).map(|one| &one.report)
    }
}
