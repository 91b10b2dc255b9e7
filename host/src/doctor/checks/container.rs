//! What a configured provider that is a container needs beside the machine: its engine, its image, its model, room.
//!
//! Asked only where one is configured: `detect` itself asks none of it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use pearlbed_plugin_api::HardwareInfo;

use super::super::{Facts, Verdict};
use crate::container::engine::{Engine, Image};
use crate::container::recipe::{self, Mount, Recipe, Surroundings};
use crate::container::remembered::last_image;
use crate::container::trouble::Trouble;
use crate::models::{self, Model};
use crate::plugins::Entry;
use crate::plugins::container::DataFile;
use crate::session::look::look;
use crate::text::{bytes, printable, printable_path};

/// Room that a model of a middling size takes.
const FREE_WANTED_BYTES: u64 = 50 << 30;
/// Room that an image with CUDA in it takes.
const IMAGE_BYTES: u64 = 30 << 30;

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
    let known = recipe.model.as_deref().and_then(models::find);
    rows.extend(engine_and_image(facts, file, &recipe));
    rows.extend(cards(&recipe, known.as_ref(), around.hardware));
    rows.extend(model(&recipe));
    rows.extend(token(facts, &recipe, file.run.token.as_ref().map(|token| token.setting.as_str())));
    rows.extend(room(facts.home().root(), &recipe, known.as_ref()));
    rows.extend(running(facts));
    rows
}

/// Whether a session as it is configured would run the gateway in its container's image, if none listens.
pub fn has_gateway(facts: &Facts) -> bool {
    let Ok(config) = facts.config() else { return false };
    let mining = &config.mining;
    let entry = facts.chosen_provider().and_then(|id| facts.survey().find(id));
    let has_one = entry.and_then(|entry| entry.container()).is_some_and(|file| file.gateway.is_some());
    has_one
        && mining.container.gateway
        && !mining.gateway.is_named()
        && mining.node.is_some()
        && mining.wallet_address.is_some()
}

fn engine_and_image(facts: &Facts, file: &DataFile, recipe: &Recipe) -> Vec<Verdict> {
    let Ok(config) = facts.config() else { return Vec::new() };
    let failed = |of: &str, trouble: &Trouble| Verdict::fail(&*trouble.what, &*trouble.fix).of(of.to_owned());
    let go_on = Arc::new(AtomicBool::new(false));
    let wants_cards = !file.requires.vendor.is_empty();
    let env = &facts.scope().env;
    let engine = match Engine::find(config.mining.container.engine, env, &[], wants_cards, &go_on) {
        Ok(engine) => engine,
        Err(trouble) => return vec![failed("engine", &trouble)],
    };
    let mut rows = vec![
        match engine.rootless {
            true => Verdict::ok(engine.describe()),
            false => Verdict::ok(format!(
                "{}; who may run containers with it is as good as root, which rootless Podman is not",
                engine.describe()
            )),
        }
        .of("engine"),
    ];
    let nature = engine.nature();
    if let (true, Ok(nature)) = (wants_cards, &nature) {
        let row = match nature.hands_over_cards {
            true => Verdict::ok(format!("{} hands over NVIDIA cards", engine.kind.program())),
            false => {
                let trouble = Trouble::no_cards(engine.kind);
                Verdict::fail(trouble.what, trouble.fix)
            }
        };
        rows.push(row.of("gpu-runtime"));
    }
    let image = engine.image(recipe);
    let is_here = matches!(image, Ok(Some(_)));
    rows.push(match image {
        Ok(Some(image)) => image_row(facts, file, recipe, &image),
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
    });
    match nature {
        Ok(nature) => rows.extend(engine_room(&nature.store, is_here)),
        Err(trouble) => rows.push(failed("engine-room", &trouble)),
    }
    rows
}

fn image_row(facts: &Facts, file: &DataFile, recipe: &Recipe, image: &Image) -> Verdict {
    let made = humantime::parse_rfc3339_weak(image.created.get(..19).unwrap_or_default()).ok();
    let age = made.and_then(|made| SystemTime::now().duration_since(made).ok());
    let age = age.map(|age| format!(", {} days old", age.as_secs() / 86400)).unwrap_or_default();
    let versions: Vec<String> = file.manifest.certificate_versions.iter().map(u32::to_string).collect();
    let finding = format!(
        "{} ({}){age}; of the generation that mines certificate {}, as {} says",
        image.name,
        image.digest,
        versions.join(", "),
        file.manifest.id
    );
    if image.name != recipe.image {
        let fix = format!("set `docker_image_tag` to {}, or build the other", image.name);
        return Verdict::warn(format!("{} is not here, and in its place: {finding}", recipe.image), fix)
            .of("image");
    }
    match last_image(facts.home().root(), &recipe.miner, &image.name) {
        Some(last) if last != image.digest => Verdict::warn(
            format!("{finding}; the last session ran another one ({})", printable(&last)),
            "nothing, if you have built or fetched it anew; else find out who moved the name",
        ),
        _ => Verdict::ok(finding),
    }
    .of("image")
}

/// Room where the engine keeps images, if that is on this machine.
fn engine_room(store: &Path, image_is_here: bool) -> Option<Verdict> {
    let free = store.is_dir().then(|| free_bytes(store)).flatten()?;
    let finding = format!("{} free for images, in {}", bytes(free), printable_path(store));
    Some(match free < IMAGE_BYTES && !image_is_here {
        true => Verdict::warn(finding, "an image with CUDA and an inference server takes some 20 GB"),
        false => Verdict::ok(finding),
    })
    .map(|row| row.of("engine-room"))
}

/// The cards that it would be given, and whether the model fits on them.
fn cards(recipe: &Recipe, model: Option<&Model>, hardware: &HardwareInfo) -> Option<Verdict> {
    if recipe.cards.is_empty() {
        return None;
    }
    let nvidia = hardware.gpus.iter().filter(|gpu| gpu.vendor == "nvidia").enumerate();
    let given = nvidia.filter(|(number, gpu)| {
        let name = gpu.uuid.clone().unwrap_or_else(|| number.to_string());
        recipe.cards.contains(&name)
    });
    let (mut total, mut words) = (0, Vec::new());
    for (_, gpu) in given {
        let capability = gpu.compute_capability.as_deref().map(printable);
        let capability = capability.map(|text| format!(", compute capability {text}")).unwrap_or_default();
        words.push(format!(
            "{} ({}{capability})",
            printable(&gpu.name),
            bytes(gpu.vram_bytes.unwrap_or_default())
        ));
        total += gpu.vram_bytes.unwrap_or_default();
    }
    let finding = format!("it is given {}", words.join(" and "));
    let wanted = model.map_or(0, |model| u64::from(model.vram) << 30);
    Some(match total < wanted && total > 0 {
        true => Verdict::warn(
            format!("{finding}; its model takes {} at least", bytes(wanted)),
            "serve a smaller model, or give it more cards (`cuda_visible_devices`)",
        ),
        false => Verdict::ok(finding),
    })
    .map(|row| row.of("cards"))
}

/// The containers of the session that runs.
fn running(facts: &Facts) -> Vec<Verdict> {
    let all = look(facts.home(), &facts.scope().env).containers;
    let rows = all.into_iter().map(|one| {
        let finding = format!("{}: {}", one.miner, one.sentence);
        let is_well = matches!(&*one.phase, "serving" | "loading" | "pulling" | "starting" | "looking");
        match one.hint.filter(|_| !is_well) {
            Some(hint) => Verdict::warn(finding, hint),
            None => Verdict::ok(finding),
        }
        .of(format!("running/{}", one.miner))
    });
    rows.collect()
}

/// The user's own folder with the model, where one is configured.
fn model_folder(recipe: &Recipe) -> Option<&Mount> {
    let token = recipe::token_file(&recipe.home, &recipe.miner);
    // The first is the one with the socket.
    recipe.mounts.iter().skip(1).find(|mount| mount.read_only && mount.source != token)
}

/// The folder of the model, where one is configured.
fn model(recipe: &Recipe) -> Option<Verdict> {
    let folder = model_folder(recipe)?;
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

/// Room for the model, where it is fetched.
fn room(home: &Path, recipe: &Recipe, model: Option<&Model>) -> Option<Verdict> {
    // One that lies in a folder of the user's is there already.
    if model_folder(recipe).is_some() {
        return None;
    }
    let folder = home.join("cache");
    let free = free_bytes(Facts::nearest_folder(&folder)?)?;
    let finding = format!("{} free for models, in {}", bytes(free), printable_path(&folder));
    // Weights, what is fetched of them at a time, and what is compiled for the card.
    let wanted = model.map_or(FREE_WANTED_BYTES, |model| (u64::from(model.vram) << 30) * 14 / 5);
    Some(match free < wanted {
        true => Verdict::warn(
            finding,
            format!(
                "its model wants some {}: free room, or set PEARLBED_HOME to a larger disk",
                bytes(wanted)
            ),
        ),
        false => Verdict::ok(finding),
    })
    .map(|verdict| verdict.of("room"))
}

fn free_bytes(folder: &Path) -> Option<u64> {
    let free = rustix::fs::statvfs(folder).ok()?;
    Some(free.f_bavail.saturating_mul(free.f_frsize))
}
