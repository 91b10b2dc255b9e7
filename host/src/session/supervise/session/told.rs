//! What is told of a session: to the service manager, in its record, in its report.

use std::time::Instant;

use super::Session;
use crate::explain::Explain as _;
use crate::session::announce::Announcement;
use crate::session::past;
use crate::session::report::Report;
use crate::session::supervise::describe;
use crate::session::supervise::verifier::chain;

impl Session {
    /// What the service manager shows of the session: the worst that is known, in a phrase that stays while it lasts.
    pub(super) fn tell_manager(&mut self) {
        if !self.herald.has_manager() {
            return;
        }
        let work = self.source.status.borrow().clone();
        let names: Vec<&str> = self.crew.present().map(|miner| miner.plan().name.as_str()).collect();
        let names = names.join(", ");
        let unfit = |miner: &crate::miner::Miner| {
            miner.unfit().map(|unfit| unfit.sentence(&miner.plan().chosen.manifest))
        };
        let all_unfit = self.crew.present().map(unfit).collect::<Option<Vec<_>>>();
        let line = match (self.course.reason(), all_unfit, work.condition.trouble()) {
            (Some(reason), ..) => format!("stopping: {reason}"),
            (_, Some(unfit), _) if !unfit.is_empty() => unfit.join("; "),
            (.., Some(trouble)) => {
                let at = work.endpoints.iter().find(|endpoint| endpoint.purpose == work.source);
                let at = at.map(|endpoint| format!(" at {}", endpoint.address)).unwrap_or_default();
                format!("{}{at} {trouble}", work.source)
            }
            _ if !self.containers.is_empty() && self.crew.len() == 0 => {
                self.containers.first().map(|one| format!("{}: {}", one.miner, one.phase)).unwrap_or_default()
            }
            _ if self.crew.len() == 0 => "waiting for programs at the miner port".to_owned(),
            _ if self.crew.present().all(|miner| miner.is_paused()) => "every miner is paused".to_owned(),
            _ if self.course.running_since().is_some() => format!("mining with {names}"),
            _ => format!("starting {names}"),
        };
        self.herald.status(&line);
    }

    /// Every miner rests, and was told so in an earlier session: nothing is to be waited for.
    pub(super) fn nobody_wants_to(&mut self) {
        let reason = "every miner is paused".to_owned();
        let hint = Some("`pearlbed resume` lets them mine".to_owned());
        let exit = crate::exit::Exit::NotEarning.code();
        self.herald.announce(&Announcement::Resting { reason, hint, exit });
        self.herald.hush();
    }

    /// Leaves the counts where they outlive this process.
    pub(super) fn remember(&mut self, now: Instant) {
        if !self.record.is_due(now) {
            return;
        }
        let report = self.report(now);
        // A disk that refuses costs the past, never the session.
        let _ = past::write_alive(&self.options.home, &report, &self.record.holder.supervisor);
        self.record.remembered(now);
    }

    pub(super) fn write_record(&mut self) {
        if self.course.running_since().is_none() {
            return;
        }
        let written = self.record.write(
            &self.settings.config,
            &self.crew,
            &self.source.status.borrow(),
            self.containers.first(),
        );
        let trouble = match written {
            Ok(None) => None,
            Ok(Some(foreign)) => {
                let hint = "end that one with the program that started it (`jarvis mine stop`): this one is recorded again by itself";
                Some((foreign, Some(hint.to_owned())))
            }
            // Status, stop and the lock do without it; OpenJarvis does not see the session.
            Err(err) => Some((chain(&err), err.hint())),
        };
        if self.record.follow(trouble, Instant::now()) {
            match self.record.trouble() {
                Some(trouble) => self.herald.trouble(&trouble.text),
                None => self.herald.info("the session is recorded in its place again"),
            }
        }
    }

    /// The session at this moment.
    pub(in super::super) fn report(&mut self, now: Instant) -> Report {
        let work = self.source.status.borrow().clone();
        let fates = work.knows_fates();
        let mut miners: Vec<_> = self.crew.iter_mut().map(|miner| miner.report(fates, now)).collect();
        self.readings.fill(&mut miners, now);
        let view = describe::View {
            work: &work,
            jobs: &self.jobs,
            course: &self.course,
            resting: self.rest.len(),
            stop_waits: self.stop_waits.0,
            record: &self.record,
            last_error: self.herald.last_error().map(str::to_owned),
            log: self.herald.log().recent().map(str::to_owned).collect(),
            containers: self.containers.reports(),
            port: self.programs.endpoints(now),
        };
        describe::report(&view, miners, now)
    }
}
