//! Every plugin there is, usable or not, each with its reason.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pearlbed_plugin_api::{Manifest, MiningCapabilities};

use super::container::{DataFile, detect};
use super::file_identity::Identity;
use super::look::{Look, look};
use super::probe::{Job, Probe, ProbeOptions, no_time_left, probe};
use super::reason::Reason;
use super::search::{Folder, FolderState, SearchPath};
use super::trust::{Judgement, Trust};
use super::units::asks_one_by_one;
use crate::text::printable_path;

/// How to survey.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Let files through that others own or may write to. The answer says so for each.
    pub relaxed: bool,
    /// Probe what passes the look; without, nothing of any plugin runs.
    pub probe: Option<ProbeOptions>,
    /// Whom the user trusts.
    pub trust: Trust,
}

/// What was found on a search path.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// Every folder, in order.
    pub folders: Vec<Folder>,
    /// Every file that was looked at, in order, and every folder that failed.
    pub entries: Vec<Entry>,
}

impl Survey {
    /// The entries that can be used.
    pub fn usable(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.is_usable())
    }

    /// Whether more than one file carries the provider `id`, so that it takes a probe to tell which of them is used.
    pub fn is_contested(&self, id: &str) -> bool {
        self.entries.iter().any(|entry| entry.id() == Some(id) && entry.is_second())
    }

    /// The usable entry of the provider `id`, else the first skipped one that calls itself so.
    pub fn find(&self, id: &str) -> Option<&Entry> {
        self.usable()
            .find(|entry| entry.id() == Some(id))
            .or_else(|| self.entries.iter().find(|entry| entry.id() == Some(id)))
    }
}

/// One file that was looked at.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The file, as it was found.
    pub path: PathBuf,
    /// Whether it can be used.
    pub state: State,
    /// What was seen of the file; `None` for a folder that failed.
    pub look: Option<Look>,
    /// How long the look took.
    pub look_time: Duration,
    /// What became of the probe, where it was probed.
    pub probe: Option<Probe>,
    /// Who vouches for it.
    pub judgement: Judgement,
}

/// Whether a plugin can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It passed every check, and where it was probed, it answered. Whether it supports this machine is its answer.
    Usable,
    /// It is left out.
    Skipped(Reason),
}

impl Entry {
    /// What it says of itself, where that could be read; also where it is skipped.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.look.as_ref()?.manifest.as_ref()
    }

    /// The provider's id, where the manifest could be read.
    pub fn id(&self) -> Option<&str> {
        self.manifest().map(|manifest| &*manifest.id)
    }

    /// Whether it can be used.
    pub fn is_usable(&self) -> bool {
        self.state == State::Usable
    }

    /// Why it is skipped, if it is.
    pub fn skipped(&self) -> Option<&Reason> {
        match &self.state {
            State::Usable => None,
            State::Skipped(reason) => Some(reason),
        }
    }

    /// Whether all that speaks against it is that another file with its id comes first: another one, or a copy, which may lie
    /// where code can be loaded while the first does not.
    fn is_second(&self) -> bool {
        self.skipped().is_some_and(|reason| [SAME_ID, SAME_CONTENTS].contains(&reason.code))
    }

    /// What `detect` answered, where it was probed and answered.
    pub fn capabilities(&self) -> Option<&MiningCapabilities> {
        self.probe.as_ref()?.answer.as_ref().ok()
    }

    /// What it says, where it is no library but the data file of a container.
    pub fn container(&self) -> Option<&Arc<DataFile>> {
        self.look.as_ref()?.container.as_ref()
    }

    /// The file with its links followed.
    pub fn real_path(&self) -> &Path {
        self.look.as_ref().map_or(&self.path, |look| &look.real_path)
    }

    fn take(&mut self, probe: Probe) {
        if let Err(reason) = &probe.answer {
            self.state = State::Skipped(reason.clone());
        }
        self.probe = Some(probe);
    }

    /// What the look at it shows. Who vouches for it is not known yet.
    fn of_file(path: PathBuf, options: &Options) -> Self {
        let started = Instant::now();
        let look = look(&path, options.relaxed);
        let state = look.refusal.clone().map_or(State::Usable, State::Skipped);
        let judgement = Judgement::default();
        Self { path, state, look: Some(look), look_time: started.elapsed(), probe: None, judgement }
    }

    /// Finds out who vouches for it, until `until` where that takes reading it.
    fn judge(&mut self, trust: &Trust, until: Option<Instant>) {
        let (State::Usable, Some(look)) = (&self.state, &self.look) else { return };
        let started = Instant::now();
        self.judgement = trust.judge(&self.path, look, until);
        self.look_time += started.elapsed();
        if let Some(refusal) = &self.judgement.refusal {
            self.state = State::Skipped(refusal.clone());
        }
    }
}

/// For how long files are read for their signatures and their hashes: where somebody waits for the answer, and elsewhere.
const CHECKING_AWAITED_MAX: Duration = Duration::from_secs(1);
const CHECKING_MAX: Duration = Duration::from_secs(5);

/// Judges all of them, the shortest first: so that none that is as long as a disk is in the way of another.
fn judge_all(entries: &mut [Entry], options: &Options) {
    let is_awaited = options.probe.as_ref().is_some_and(|probe| probe.deadline.is_some());
    let most = if is_awaited { CHECKING_AWAITED_MAX } else { CHECKING_MAX };
    let until = Some(Instant::now() + most);
    let mut by_length: Vec<&mut Entry> = entries.iter_mut().collect();
    let length = |entry: &Entry| entry.look.as_ref()?.identity.map(|identity| identity.len);
    by_length.sort_by_key(|entry| length(entry));
    by_length.into_iter().for_each(|entry| entry.judge(&options.trust, until));
}

/// The code of a file whose provider another file carries as well.
const SAME_ID: &str = "same-id";
/// The code of a copy.
const SAME_CONTENTS: &str = "same-contents";

/// What a survey has found so far, for whoever cannot wait for its end.
#[derive(Debug, Default)]
pub struct Watch(Mutex<Survey>);

impl Watch {
    /// What was found so far. What was not probed yet had no time, and says so.
    pub fn so_far(&self) -> Survey {
        let mut survey = self.lock().clone();
        for entry in survey.entries.iter_mut().filter(|entry| entry.is_usable() && entry.probe.is_none()) {
            entry.state = State::Skipped(no_time_left());
        }
        survey
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Survey> {
        // It is whole between any two statements that hold it.
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Looks at every file on `path`, and probes what passes if `options` say so.
///
/// Of several files with one id the first is used that can be: one that fails its probe makes way for the next.
///
/// Never fails and loses no file. Takes microseconds for each file, and for probes at most the time-out of the slowest,
/// or until their common deadline.
pub fn survey(path: &SearchPath, options: &Options) -> Survey {
    survey_watched(path, options, &Watch::default())
}

/// The same; what is found on the way is in `watch` as it is found.
pub fn survey_watched(path: &SearchPath, options: &Options, watch: &Watch) -> Survey {
    let (folders, files) = path.list();
    let mut entries: Vec<Entry> = vec![];
    for folder in &folders {
        if let FolderState::Failed(reason) = &folder.state {
            entries.push(Entry {
                path: folder.path.clone(),
                state: State::Skipped(reason.clone()),
                look: None,
                look_time: Duration::ZERO,
                probe: None,
                judgement: Judgement::default(),
            });
        }
    }
    entries.extend(files.into_iter().map(|file| Entry::of_file(file, options)));
    judge_all(&mut entries, options);
    skip_duplicates(&mut entries);
    *watch.lock() = Survey { folders: folders.clone(), entries: entries.clone() };
    probe_entries(&mut entries, options, watch);
    while options.probe.is_some() && make_way(&mut entries) {
        watch.lock().entries.clone_from(&entries);
        probe_entries(&mut entries, options, watch);
    }
    Survey { folders, entries }
}

/// Looks at the one file at `path`, and probes it if `options` say so.
pub fn survey_file(path: &Path, options: &Options) -> Entry {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut entries = [Entry::of_file(path, options)];
    entries[0].judge(&options.trust, None);
    probe_entries(&mut entries, options, &Watch::default());
    let [entry] = entries;
    entry
}

/// Lets the next file with the same id take the place of each that failed. Returns whether there was one.
fn make_way(entries: &mut [Entry]) -> bool {
    let failed = |entry: &&Entry| {
        let blamed = |reason: &Reason| !reason.is_unasked();
        entry.probe.is_some() && entry.skipped().is_some_and(blamed)
    };
    let ids: HashSet<String> =
        entries.iter().filter(failed).filter_map(Entry::id).map(str::to_owned).collect();
    let mut made = false;
    for id in ids {
        let mut of_id = entries.iter().filter(|entry| entry.id() == Some(&id));
        if of_id.any(Entry::is_usable) {
            continue;
        }
        let mut seconds = entries.iter_mut().filter(|entry| entry.id() == Some(&id) && entry.is_second());
        let Some(next) = seconds.next() else { continue };
        next.state = State::Usable;
        seconds.for_each(|entry| entry.state = State::Skipped(second(&id, &next.path)));
        made = true;
    }
    made
}

/// Why a file is skipped whose provider `first` carries as well.
fn second(id: &str, first: &Path) -> Reason {
    Reason::new(
        SAME_ID,
        format!("it has the same id as {}, `{id}`, which comes first", printable_path(first)),
        "remove this one, or the other if this one is meant",
    )
}

/// Skips what is there twice: under two names, or under one id. The first usable one wins.
fn skip_duplicates(entries: &mut [Entry]) {
    let mut files: HashMap<(u64, u64), PathBuf> = HashMap::new();
    let mut ids: HashMap<String, (PathBuf, Identity)> = HashMap::new();
    let mut comparing = Comparing { bytes: COMPARED_BYTES_MAX, until: Instant::now() + COMPARING_MAX };
    for entry in entries.iter_mut() {
        let Some(identity) = entry.look.as_ref().and_then(|look| look.identity) else { continue };
        if !entry.is_usable() {
            continue;
        }
        let file = (identity.device, identity.inode);
        if let Some(first) = files.get(&file) {
            entry.state = State::Skipped(Reason::new(
                "same-file",
                format!("it is the same file as {}", printable_path(first)),
                "remove one of the two names",
            ));
            continue;
        }
        files.insert(file, entry.path.clone());
        let Some(id) = entry.id().map(str::to_owned) else { continue };
        if let Some((first, seen)) = ids.get(&id) {
            let copy =
                seen.len == identity.len && comparing.has_same_contents(first, &entry.path, identity.len);
            entry.state = State::Skipped(match copy {
                true => Reason::new(
                    SAME_CONTENTS,
                    format!("it is a copy of {}, which comes first", printable_path(first)),
                    "remove one of the two",
                ),
                false => second(&id, first),
            });
            continue;
        }
        ids.insert(id, (entry.path.clone(), identity));
    }
}

/// How many bytes are compared in all, and for how long: whether a second file is a copy or another one only chooses the
/// words of its reason.
const COMPARED_BYTES_MAX: u64 = 256 << 20;
const COMPARING_MAX: Duration = Duration::from_millis(200);

/// What is left for comparisons.
struct Comparing {
    bytes: u64,
    until: Instant,
}

impl Comparing {
    /// Whether two files of `len` bytes hold the same; no where that cannot be told within the bounds.
    fn has_same_contents(&mut self, one: &Path, other: &Path, len: u64) -> bool {
        use std::io::Read;
        let Some(left) = self.bytes.checked_sub(len) else { return false };
        self.bytes = left;
        let (Ok(mut one), Ok(mut other)) = (crate::owned::open(one), crate::owned::open(other)) else {
            return false;
        };
        let (mut left, mut right) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
        while Instant::now() < self.until {
            match (one.read(&mut left), other.read(&mut right)) {
                (Ok(a), Ok(b)) if a == b && left[..a] == right[..b] => {
                    if a == 0 {
                        return true;
                    }
                }
                _ => return false,
            }
        }
        false
    }
}

/// A plugin is asked about so many of its engines: each costs a part of its time.
const ENGINES_MAX: usize = 8;

fn probe_entries(entries: &mut [Entry], options: &Options, watch: &Watch) {
    let Some(how) = &options.probe else { return };
    for (index, entry) in entries.iter_mut().enumerate() {
        let (true, None, Some(file)) = (entry.is_usable(), &entry.probe, entry.container()) else { continue };
        // There is no code to be asked: what it requires is compared.
        let begun = Instant::now();
        let answer = detect(file, &how.hardware, &how.engine_id, &how.model);
        let probe = Probe::compared(answer, begun.elapsed());
        if let Some(entry) = watch.lock().entries.get_mut(index) {
            entry.take(probe.clone());
        }
        entry.take(probe);
    }
    let mut indices = vec![];
    let mut jobs = vec![];
    for (index, entry) in entries.iter().enumerate() {
        let (true, None, Some(look)) = (entry.is_usable(), &entry.probe, &entry.look) else { continue };
        let (Some(identity), Some(manifest)) = (look.identity, &look.manifest) else { continue };
        if look.container.is_some() {
            continue;
        }
        indices.push(index);
        jobs.push(Job {
            path: look.real_path.clone(),
            identity,
            id: manifest.id.clone(),
            engines: match how.engine_id.as_str() {
                "" => manifest.engines.iter().take(ENGINES_MAX).cloned().collect(),
                asked => vec![asked.to_owned()],
            },
            each_device: asks_one_by_one(manifest, &how.hardware),
        });
    }
    let done = |job: usize, probe: &Probe| {
        if let Some(entry) = watch.lock().entries.get_mut(indices[job]) {
            entry.take(probe.clone());
        }
    };
    let probes = probe(jobs, how, &done);
    for (index, probe) in indices.iter().zip(probes) {
        entries[*index].take(probe);
    }
}
