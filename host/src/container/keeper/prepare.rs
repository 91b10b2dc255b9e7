//! What is done before a container runs, and when none is to run any more: engine, image, folders, what others left behind.

use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use super::run::{Kept, Out};
use crate::container::engine::{Engine, FETCH, Image};
use crate::container::keeper::{Charge, LOOK, What};
use crate::container::life::Phase;
use crate::container::printed::Follower;
use crate::container::recipe::{Ready, token_file};
use crate::container::remembered::{last_image, remember};
use crate::container::trouble::Trouble;
use crate::text::foreign;

impl Kept {
    pub(super) fn find(&mut self) -> Result<(Engine, Image), Out> {
        let cards = !self.charge.recipe.cards.is_empty();
        let Charge { section, env, secrets, .. } = &self.charge;
        let engine = Engine::find(section.engine, env, secrets, cards, &self.called_off)?;
        if self.report.engine.is_none() {
            self.line(false, format!("containers are run by {}", engine.describe()));
        }
        self.report.engine = Some(engine.describe());
        self.engine = Some(engine.clone());
        let image = match engine.image(&self.charge.recipe)? {
            Some(image) => image,
            None => {
                let name = self.fetch(&engine)?;
                self.line(false, format!("the image {name} was fetched"));
                match engine.image(&self.charge.recipe)? {
                    Some(image) => image,
                    None => {
                        let what = format!("the image {name} was fetched and is not there");
                        return Err(
                            Trouble::passing("engine-failed", what, "look into the engine's log").into()
                        );
                    }
                }
            }
        };
        if image.name != self.charge.recipe.image && self.report.digest.is_none() {
            let asked = &self.charge.recipe.image;
            self.line(
                true,
                format!("no image {asked} is on this machine, and {} takes its place", image.name),
            );
        }
        self.report.image.clone_from(&image.name);
        self.report.digest = Some(image.digest.clone());
        self.tell_moved_tag(&image);
        Ok((engine, image))
    }

    /// Fetches the image. What the engine prints meanwhile says how far it is.
    fn fetch(&mut self, engine: &Engine) -> Result<String, Out> {
        let (name, command) = engine.fetch_command(&self.charge.recipe)?;
        self.printed = Arc::default();
        self.phase(Phase::Pulling);
        let begun = Instant::now();
        let Some(mut follower) = Follower::start(command, &self.printed, |_| true) else {
            let what = format!("the image {name} could not be fetched: no process can be started");
            return Err(Trouble::passing("host", what, "free some memory").into());
        };
        while !follower.has_ended() {
            if self.is_to_end() || !self.sleep_until(Instant::now() + LOOK) {
                return Err(Out::Asked);
            }
            if self.rests {
                return Err(Out::Rests);
            }
            if begun.elapsed() >= FETCH {
                let what = format!("the image {name} was not fetched within {} h", FETCH.as_secs() / 3600);
                return Err(Trouble::passing("registry-unreachable", what, "fetch it by hand").into());
            }
            self.tell();
        }
        follower.finish();
        match follower.has_succeeded() {
            true => Ok(name),
            false => {
                let said = self.printed.last().join("\n");
                Err(engine.not_fetched(&self.charge.recipe, &name, &said).into())
            }
        }
    }

    /// A name that leads to another image than when it was used last is told.
    fn tell_moved_tag(&mut self, image: &Image) {
        let Image { name, digest, .. } = image;
        let (home, miner) = (self.charge.recipe.home.clone(), self.charge.recipe.miner.clone());
        if let Some(last) = last_image(&home, &miner, name).filter(|last| last != digest) {
            self.line(
                true,
                format!("{name} is another image than last time: {} then, {digest} now", foreign(&last)),
            );
        }
        remember(&home, &miner, name, digest);
    }

    /// Ends what an earlier session left: its miner has lost the port for good.
    pub(super) fn clear_away(&mut self, engine: &Engine) -> Result<(), Out> {
        let known: BTreeSet<&String> = self.charge.miners.iter().collect();
        let own = self.charge.recipe.miner.clone();
        let mut ended = Vec::new();
        for id in engine.ours(&self.charge.recipe.home)? {
            let miner = engine.miner_of(&id).unwrap_or_default();
            if miner == own || !known.contains(&miner) {
                engine.end(&id, self.charge.section.stop_grace)?;
                ended.push(id);
            }
        }
        for id in ended {
            self.line(true, format!("a container of an earlier session was ended ({})", &id[..12]));
        }
        Ok(())
    }

    pub(super) fn make_folders(&mut self) -> Result<(), Out> {
        let recipe = &self.charge.recipe;
        let failed = |path: &PathBuf, err: std::io::Error| {
            let what = format!("{} cannot be made: {err}", crate::text::printable_path(path));
            let fix = crate::remedy::for_file(&err, path).unwrap_or_else(|| "look at the home folder".into());
            Trouble::lasting("folder", what, fix)
        };
        for mount in recipe.mounts.iter().filter(|mount| !mount.read_only) {
            crate::owned::create_private(&mount.source).map_err(|err| failed(&mount.source, err))?;
        }
        if let Ready::Socket(path) = &recipe.ready {
            // What is left of an earlier one answers nobody, and would be taken for the new one.
            let _ = std::fs::remove_file(path);
        }
        if let Some(variable) = &recipe.token_variable {
            let path = token_file(&recipe.home, &recipe.miner);
            // It may be there from a session that was killed, and cannot be written then.
            let _ = std::fs::remove_file(&path);
            let written = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o400).open(&path);
            let token = self.charge.env.var(variable).unwrap_or_default();
            written
                .and_then(|mut file| file.write_all(token.as_bytes()))
                .map_err(|err| failed(&path, err))?;
        }
        Ok(())
    }

    pub(super) fn leave(&mut self) {
        // One that was being made when it was called off.
        if let Some(engine) = self.engine.take().map(|engine| engine.undisturbed()) {
            let own = engine.ours(&self.charge.recipe.home).unwrap_or_default();
            for id in own {
                if engine.miner_of(&id).as_ref() == Some(&self.charge.recipe.miner) {
                    // The next session tries again.
                    let _ = engine.end(&id, self.stop.unwrap_or_default());
                }
            }
        }
        let path = token_file(&self.charge.recipe.home, &self.charge.recipe.miner);
        // There is none where no token was wanted.
        let _ = std::fs::remove_file(path);
        self.phase(Phase::Stopped);
        self.say(What::Ended);
    }
}
