//! The jobs of one connection: which is current, which live on, and what a share of each is still worth (pool protocol
//! sections 3.5, 6.2, 6.5).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use pearl_pow::{CompactTarget, Header, Target};

use super::ledger::Dropped;
use super::numbers::Numbers;
use crate::work::stratum::target::{is_too_easy, rounded};
use crate::work::stratum::{JobError, JobLine};

/// Jobs of a connection that are remembered.
const JOBS_MAX: usize = 32;

/// Heights from which a certificate version is required on the main network (protocol section 12), newest first. Only
/// for jobs that do not say it.
const VERSIONS: &[(u64, u32)] = &[(99_000, 3), (71_935, 2), (0, 1)];

/// The compact target of the easiest block that the main network may have (protocol section 13), which at its rate is found
/// in less than a microsecond: only a test network is there.
const EASIEST_BLOCK: CompactTarget = CompactTarget(0x1b00_ffff);

/// A job that can be worked on.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    /// Its number in this process.
    pub serial: u64,
    /// The pool's name for it, as JSON text.
    pub job_id: Arc<str>,
    /// The header.
    pub header: Header,
    /// The target as the pool sent it: what a share is worth.
    pub sent: Target,
    /// The target that is mined for: rounded down to what the pool checks.
    pub target: Target,
    /// The certificate version.
    pub certificate_version: u32,
    /// Whether the pool did not say it.
    pub guessed: bool,
    /// Height of the block in the making.
    pub height: Option<u64>,
    /// The pool's label for the difficulty.
    pub label: Option<f64>,
    /// Whether a share may be sent as gzip, named so.
    pub takes_gzip: bool,
    /// When it came.
    pub received: Instant,
}

impl Offer {
    /// The block that it builds on, in the header's byte order.
    pub fn tip(&self) -> [u8; 32] {
        self.header.as_bytes()[4..36].try_into().expect("32 bytes of 76")
    }

    /// Multiply-accumulates that a share of it stands for.
    pub fn work(&self) -> f64 {
        crate::work::stratum::target::work_f64(self.sent)
    }
}

/// What a share of a job is worth now.
#[derive(Clone, Debug, PartialEq)]
pub enum Fitness {
    /// Its job is current.
    Fresh(Arc<Offer>),
    /// Its job was replaced by another of the same tip: the pool may still know it.
    Late(Arc<Offer>),
    /// Nothing.
    Dropped(Dropped),
}

/// The jobs of one connection.
#[derive(Debug)]
pub struct Jobs {
    stated: Option<u32>,
    known: VecDeque<Arc<Offer>>,
    /// Whether the newest was given out.
    taken: bool,
    keeps: bool,
    trouble: Option<String>,
    warned: bool,
    said_guess: bool,
}

impl Jobs {
    /// No job yet. `stated` is the certificate version of jobs that say none.
    pub fn new(stated: Option<u32>) -> Self {
        Self {
            stated,
            known: VecDeque::new(),
            taken: true,
            keeps: false,
            trouble: None,
            warned: false,
            said_guess: false,
        }
    }

    /// The newest job.
    pub fn current(&self) -> Option<&Arc<Offer>> {
        self.known.back()
    }

    /// The block that the newest job builds on.
    pub fn tip(&self) -> Option<[u8; 32]> {
        self.current().map(|offer| offer.tip())
    }

    /// Why what came last is no job.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// The newest job, once, and whether those before it live on.
    pub fn take_new(&mut self) -> Option<(Arc<Offer>, bool)> {
        if std::mem::replace(&mut self.taken, true) {
            return None;
        }
        let keeps = std::mem::replace(&mut self.keeps, true);
        self.known.back().map(|offer| (Arc::clone(offer), keeps))
    }

    /// A `mining.notify`. Answers a line for the log, if there is something to say.
    pub fn notify(
        &mut self,
        job: Result<JobLine, JobError>,
        now: Instant,
        numbers: &mut Numbers,
    ) -> Option<String> {
        let job = match job {
            Ok(job) => job,
            Err(err) => return self.refuse(err.to_string()),
        };
        if is_too_easy(job.target) {
            return self.refuse("a job whose target is easier than a tile can express".to_owned());
        }
        let (certificate_version, guessed) = match job.certificate_version.or(self.stated) {
            Some(version) => (version, false),
            None => (required_version(job.height), true),
        };
        let sent = job.target;
        // A target so hard that its compact form is nothing cannot be mined for.
        let target = rounded(sent);
        if target.0.is_zero() {
            return self.refuse("a job whose target is too hard to be written as a compact one".to_owned());
        }
        let same = self.current().is_some_and(|last| {
            *last.job_id == *job.id
                && last.header == job.header
                && last.sent == sent
                && last.certificate_version == certificate_version
        });
        self.trouble = None;
        if same {
            return None;
        }
        let nbits = job.header.nbits();
        let block = nbits.target();
        self.push(Offer {
            serial: numbers.serial(),
            job_id: job.id.into(),
            header: job.header,
            sent,
            target,
            certificate_version,
            guessed,
            height: job.height,
            label: job.label,
            takes_gzip: job.takes_gzip,
            received: now,
        });
        if block >= EASIEST_BLOCK.target() && !std::mem::replace(&mut self.warned, true) {
            return Some(format!(
                "the pool's blocks are as easy as a test network's (nbits {nbits}): what is earned there is worth nothing"
            ));
        }
        if sent < block && !std::mem::replace(&mut self.warned, true) {
            return Some(
                "the pool's target is harder than the network's: blocks would be discarded, or this is another network"
                    .to_owned(),
            );
        }
        (guessed && !std::mem::replace(&mut self.said_guess, true)).then(|| {
            format!(
                "the pool does not say which certificate version its jobs need; taking {certificate_version}"
            )
        })
    }

    /// A `mining.set_target`: the current job goes on under another target.
    pub fn set_target(&mut self, target: Target, now: Instant, numbers: &mut Numbers) -> Option<String> {
        let last = Arc::clone(self.current()?);
        if last.sent == target {
            return None;
        }
        if is_too_easy(target) || rounded(target).0.is_zero() {
            return self.refuse("a target that no tile can express".to_owned());
        }
        self.push(Offer {
            serial: numbers.serial(),
            sent: target,
            target: rounded(target),
            received: now,
            ..(*last).clone()
        });
        None
    }

    /// A job that is none: what was said of it before is not said again.
    fn refuse(&mut self, why: String) -> Option<String> {
        let news = self.trouble.as_ref() != Some(&why);
        self.trouble = Some(why.clone());
        news.then(|| format!("the pool sent {why}"))
    }

    fn push(&mut self, offer: Offer) {
        // Jobs that were not given out do not count as a chain of earlier ones.
        let same_tip = self.tip() == Some(offer.tip());
        self.keeps = if self.taken { same_tip } else { self.keeps && same_tip };
        if self.known.len() == JOBS_MAX {
            self.known.pop_front();
        }
        self.known.push_back(Arc::new(offer));
        self.taken = false;
    }

    /// The job of a serial number.
    pub fn of(&self, serial: u64) -> Option<Arc<Offer>> {
        self.known.iter().find(|offer| offer.serial == serial).cloned()
    }

    /// What a share of the job `serial` is worth now.
    pub fn fitness(&self, serial: u64) -> Fitness {
        let Some(offer) = self.of(serial) else { return Fitness::Dropped(Dropped::JobReplaced) };
        let Some(current) = self.current() else { return Fitness::Dropped(Dropped::UnknownJob) };
        if current.serial == serial {
            return Fitness::Fresh(offer);
        }
        if current.tip() != offer.tip() {
            return Fitness::Dropped(Dropped::TipChanged);
        }
        // The pool judges by the newest target that it gave the job.
        let newest = self.known.iter().rev().find(|other| other.job_id == offer.job_id);
        if newest.is_some_and(|newest| newest.header == offer.header && newest.target < offer.target) {
            return Fitness::Dropped(Dropped::TargetHarder);
        }
        // The same name now means another header: the pool would check the share against that one.
        if newest.is_some_and(|newest| newest.header != offer.header) {
            return Fitness::Dropped(Dropped::JobReplaced);
        }
        Fitness::Late(offer)
    }
}

/// The certificate version that the main network requires at a height, or today's where the height is not known.
fn required_version(height: Option<u64>) -> u32 {
    let height = height.unwrap_or(u64::MAX);
    VERSIONS.iter().find(|(from, _)| height >= *from).map_or(3, |(_, version)| *version)
}
