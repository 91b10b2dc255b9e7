//! What a configured provider that is a container needs beside the machine: its engine, its image, its model, room.
//!
//! Asked only where one is configured: `detect` itself asks none of it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::super::{Facts, Verdict};
use crate::container::engine::Engine;
use crate::container::recipe::{self, Recipe, Surroundings};
use crate::container::trouble::Trouble;
use crate::plugins::Entry;
use crate::text::{bytes, printable, printable_path};

/// Room that a model of a middling size takes.
const FREE_WANTED_BYTES: u64 = 50 << 30;

/// Engine, image, model and room of the configured provider, where it is a container.
pub fn container(facts: &Facts) -> Vec<Verdict> {
    let Ok(config) = facts.config() else { return super::unreadable_configuration() };
    let entry = facts.chosen_provider().and_then(|id| facts.survey().find(id));
    let Some((id, file)) = entry.and_then(|entry: &Entry| entry.id().zip(entry.container())) else {
        let fix = "see docs/containers.md, if you want one";
        return vec![Verdict::skip("no provider that is a container is configured", fix).quiet()];
    };
    let around = Surroundings {
        home: facts.home(),
        env: &facts.scope().env,
        hardware: &facts.hardware().info,
        section: &config.mining.container,
    };
    let mut rows = Vec::new();
    let recipe = match recipe::resolve(file, id, &config.mining.extra, &[], &around) {
        Ok(recipe) => recipe,
        Err(unfit) => return vec![Verdict::fail(format!("{} {}", printable(id), unfit.problem), unfit.fix)],
    };
    rows.extend(engine_and_image(facts, &recipe));
    rows.extend(model(&recipe));
    rows.extend(token(facts, &recipe, file.run.token.as_ref().map(|token| token.setting.as_str())));
    rows.extend(room(facts.home().root()));
    rows
}

fn engine_and_image(facts: &Facts, recipe: &Recipe) -> Vec<Verdict> {
    let Ok(config) = facts.config() else { return Vec::new() };
    let failed = |of: &str, trouble: &Trouble| Verdict::fail(&*trouble.what, &*trouble.fix).of(of.to_owned());
    let go_on = Arc::new(AtomicBool::new(false));
    let cards = !recipe.cards.is_empty();
    let engine = match Engine::find(config.mining.container.engine, &facts.scope().env, &[], cards, &go_on) {
        Ok(engine) => engine,
        Err(trouble) => return vec![failed("engine", &trouble)],
    };
    let said = match (engine.rootless, cards) {
        (true, _) => Verdict::ok(engine.describe()),
        (false, _) => Verdict::ok(format!(
            "{}; who may run containers with it is as good as root, which rootless Podman is not",
            engine.describe()
        )),
    };
    let cards = match &recipe.cards[..] {
        [] => None,
        cards => Some(Verdict::ok(format!("it is given {}", cards.join(", "))).of("cards")),
    };
    let image = match engine.image(recipe) {
        Ok(Some(image)) => {
            Verdict::ok(format!("{} ({}), made {}", image.name, image.digest, image.created)).of("image")
        }
        Ok(None) => {
            let how =
                if recipe.how.is_empty() { "set `docker_image_tag`".to_owned() } else { recipe.how.clone() };
            let what = format!("the image {} is not on this machine", printable(&recipe.image));
            Verdict::warn(
                what,
                format!("{how}; one whose name begins with a registry's host is fetched by `start`"),
            )
            .of("image")
        }
        Err(trouble) => failed("image", &trouble),
    };
    std::iter::once(said.of("engine")).chain(cards).chain([image]).collect()
}

/// The folder of the model, where one is configured.
fn model(recipe: &Recipe) -> Option<Verdict> {
    let folder = recipe.mounts.iter().skip(1).find(|mount| mount.read_only && mount.source.is_absolute())?;
    if recipe.token_variable.is_some() && folder.source.extension().is_some_and(|end| end == "token") {
        return None;
    }
    let shown = printable_path(&folder.source);
    Some(match folder.source.is_dir() {
        true => Verdict::ok(format!("{shown}; `pearlbed inspect-model` looks into it")).of("model"),
        false => Verdict::fail(
            format!("there is no folder {shown}"),
            "set `local_model_path` to the model's folder",
        )
        .of("model"),
    })
}

/// The variable with the token, where one is named.
fn token(facts: &Facts, recipe: &Recipe, setting: Option<&str>) -> Option<Verdict> {
    let config = facts.config().ok()?;
    let name = config.mining.extra.get(setting?)?.as_str().filter(|name| !name.is_empty())?;
    let shown = printable(name);
    Some(match recipe.token_variable {
        Some(_) => Verdict::ok(format!("{shown} is set")).of("token"),
        None => Verdict::warn(format!("{shown} is not set here"), "set it where `pearlbed start` is run")
            .of("token"),
    })
}

fn room(home: &Path) -> Option<Verdict> {
    let folder = home.join("cache");
    let free = rustix::fs::statvfs(Facts::nearest_folder(&folder)?).ok()?;
    let free = free.f_bavail.saturating_mul(free.f_frsize);
    let finding = format!("{} free for models, in {}", bytes(free), printable_path(&folder));
    Some(match free < FREE_WANTED_BYTES {
        true => Verdict::warn(
            finding,
            "a model of 8 billion parameters takes some 10 GB, one of 70 billion 80 GB",
        ),
        false => Verdict::ok(finding),
    })
    .map(|verdict| verdict.of("room"))
}
