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

/// Events of all containers that may wait.
const EVENTS_MAX: usize = 256;

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
        let model = section.extra.get("model").and_then(serde_json::Value::as_str).filter(|_| !own);
        let answer = detect(&file, &machine, "", model.unwrap_or_default());
        if !answer.supported && !options.anyway {
            let reason = answer.reason.unwrap_or_default();
            return Err(ContainerError::Unsupported { miner, reason });
        }
        let recipe = recipe::resolve(&file, &miner, &section.extra, &section.devices, &around);
        let recipe =
            recipe.map_err(|Unfit { problem, fix }| ContainerError::Unfit { miner, problem, fix })?;
        planned.push(Planned { recipe, file, chosen });
    }
    Ok(planned)
}

/// One container.
#[derive(Debug)]
struct One {
    planned: Planned,
    keeper: Option<Keeper>,
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
    /// One was given up.
    pub gave_up: bool,
    /// One has ended, as it was to.
    pub ended: bool,
}

/// The containers.
#[derive(Debug)]
pub(super) struct Containers {
    all: Vec<One>,
    ending: bool,
}

impl Containers {
    /// Keepers for `planned`; nothing is started before [`Self::go`]. `secrets` are variables that no engine may see.
    ///
    /// # Errors
    ///
    /// Where a keeper cannot be started.
    pub fn new(
        planned: Vec<Planned>,
        options: &Options,
        config: &Config,
        secrets: &[&str],
    ) -> Result<(Self, mpsc::Receiver<Event>), ContainerError> {
        let (events, heard) = mpsc::channel(EVENTS_MAX);
        let miners: Vec<String> = planned.iter().map(|one| one.recipe.miner.clone()).collect();
        let mut secrets: Vec<OsString> = secrets.iter().map(Into::into).collect();
        // What it is given as a file is nobody else's to see.
        secrets.extend(planned.iter().filter_map(|one| one.recipe.token_variable.as_ref().map(Into::into)));
        let mut all = Vec::new();
        for one in planned {
            let charge = Charge {
                recipe: one.recipe.clone(),
                provider: one.file.manifest.id.clone(),
                section: config.mining.container.clone(),
                env: options.env.clone(),
                secrets: secrets.clone(),
                miners: miners.clone(),
            };
            let miner = one.recipe.miner.clone();
            let keeper =
                Keeper::start(charge, events.clone()).map_err(|err| ContainerError::Thread { miner, err })?;
            let report = ContainerReport { miner: one.recipe.miner.clone(), ..ContainerReport::default() };
            all.push(One {
                planned: one,
                keeper: Some(keeper),
                report,
                refused: (None, false),
                ended: false,
                given_up: None,
            });
        }
        Ok((Self { all, ending: false }, heard))
    }

    /// Whether there are any.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// There is a job, and the port listens. Said again, it changes nothing.
    pub fn go(&self) {
        self.all.iter().filter_map(|one| one.keeper.as_ref()).for_each(Keeper::go);
    }

    /// The container of the miner `name` is to be ended and started again; answers whether there is one.
    pub fn restart(&self, name: &str) -> bool {
        let one = self.all.iter().find(|one| one.planned.miner() == name);
        let keeper = one.and_then(|one| one.keeper.as_ref());
        keeper.inspect(|keeper| keeper.restart()).is_some()
    }

    /// They are to end within `grace`.
    pub fn stop(&mut self, grace: Duration) {
        self.ending = true;
        self.all.iter().filter_map(|one| one.keeper.as_ref()).for_each(|keeper| keeper.stop(grace));
    }

    /// Whether all have ended, as they were to.
    pub fn are_down(&self) -> bool {
        self.all.iter().all(|one| one.ended)
    }

    /// Why the first was given up, where all are.
    pub fn given_up(&self) -> Option<ContainerError> {
        if self.all.iter().any(|one| one.given_up.is_none()) {
            return None;
        }
        let one = self.all.first()?;
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
            if let Some(keeper) = &one.keeper {
                keeper.seen_at_port(polls.len() as u64, polled);
            }
        }
    }

    /// The data file of the container of the miner called `name`.
    pub fn file(&self, name: &str) -> Option<&DataFile> {
        let one = self.all.iter().find(|one| one.planned.miner() == name)?;
        Some(&one.planned.file)
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
        let text = std::fs::read(kept).ok()?;
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
        let serves = self.all.iter().find(|one| one.report.endpoint.is_some());
        serves.or(self.all.first()).map(|one| &one.report)
    }
}
