//! A miner's link, from its making to what follows from its end.

use std::time::Instant;

use super::{Miner, info};
use crate::miner::effect::{Effect, Level, Speaker};
use crate::miner::frame::ToProvider;
use crate::miner::life::{Fate, Then};

impl Miner {
    pub(super) fn launch(&mut self, now: Instant, out: &mut Vec<Effect>) {
        self.begin(now);
        match self.line.connect() {
            Ok(true) => self.greet(now, out),
            Ok(false) => {}
            Err(err) => {
                let causes = std::iter::successors(std::error::Error::source(&err), |err| err.source());
                let causes: Vec<String> = causes.map(ToString::to_string).collect();
                let fate = self.life.failed(format!("{err}: {}", causes.join(": ")), now);
                self.meet(fate, now, out);
            }
        }
    }

    pub(super) fn begin(&mut self, now: Instant) {
        self.life.begins(now);
        self.account.begin_anew();
    }

    pub(super) fn greet(&mut self, now: Instant, out: &mut Vec<Effect>) {
        if self.line.generation() == 1 {
            for lack in self.line.confinement().unwrap_or_default() {
                let text = format!("the provider process is confined by less: {lack}");
                out.push(Effect::Line(Level::Warn, Speaker::Supervisor, text));
            }
        }
        if let Some(wire) = self.offers.again(now) {
            self.send(ToProvider::Job(wire));
        }
        out.push(Effect::Moved);
    }

    pub(super) fn send(&mut self, frame: ToProvider) {
        if !self.line.send(frame) {
            self.life.pulse.failed.get_or_insert_with(|| "does not read what it is sent".into());
        }
    }

    /// Sees how a link that has ended did, as soon as that can be seen.
    pub(super) fn leave(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let Some((left, look)) = self.line.left(now) else { return };
        self.voice.looked(look, now, out);
        self.gone(now);
        let fate = if self.is_program() { self.life.departed(left) } else { self.life.ended(left, now) };
        self.meet(fate, now, out);
    }

    /// It has no process any more.
    pub(super) fn gone(&mut self, now: Instant) {
        self.stats.devices.begin_anew(self.account.sums(now));
        self.account.idles(now);
    }

    pub(super) fn meet(&mut self, fate: Fate, now: Instant, out: &mut Vec<Effect>) {
        out.push(Effect::Moved);
        match fate {
            Fate::Departed(line) => out.push(info(line)),
            Fate::AsAsked(then, line) => {
                out.extend(line.map(|text| Effect::Line(Level::Warn, Speaker::Supervisor, text)));
                if then == Then::StartAgain {
                    self.launch(now, out);
                }
            }
            Fate::Restarts(line, follows) => {
                self.voice.trouble(line, out);
                out.push(info(follows));
            }
            Fate::GivenUp(line, why) => {
                self.voice.trouble(line, out);
                out.push(Effect::GaveUp(why));
            }
        }
    }

    pub(super) fn end_what_does_not_stop(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let Some((waited, then)) = self.life.stop_waiting(now) else { return };
        if self.line.is_up() {
            let process = self.pid().map(|pid| format!(" process {pid}")).unwrap_or_default();
            self.line.end();
            self.gone(now);
            let waited = crate::text::duration(waited);
            let text = format!("the provider{process} did not stop within {waited} and was ended");
            self.voice.trouble(text, out);
        }
        self.meet(Fate::AsAsked(then, None), now, out);
    }
}
